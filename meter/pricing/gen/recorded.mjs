// What the exchanges cost that ../provider/testdata/recordings holds, as
// extractUsage and calcPrice of @pydantic/genai-prices have it, with the
// searches counted from the output where extractUsage leaves them out.

import { readFileSync } from "node:fs";

const recordings = "../provider/testdata/recordings";
const timestamp = new Date("2026-09-02T00:00:00Z");

// recordedCosts returns source and nano-USD, null where the package knows no
// price, of each recording with a usage.
export function recordedCosts(genai) {
  const costs = [];
  for (const id of ["anthropic", "openai"]) {
    const provider = genai.findProvider({ providerId: id });
    for (const line of readFileSync(`${recordings}/${id}.jsonl`, "utf8").trim().split("\n")) {
      const recording = JSON.parse(line);
      const path = new URL(recording.url).pathname;
      if (!/^\/v1\/(messages|chat\/completions|embeddings|responses(\/resp_\w+)?)$/.test(path)) continue;
      const body = id === "anthropic" ? message(recording) : answer(recording);
      if (!body?.usage) continue;
      const flavor = id === "anthropic" ? "default" : path.split("/")[2];
      costs.push({ source: recording.source, nano_usd: nanoUSD(genai, provider, body, flavor) });
    }
  }
  return costs;
}

function nanoUSD(genai, provider, body, flavor) {
  let usd = 0;
  for (const part of [body, ...(body.usage.iterations ?? []).filter(billedApart)]) {
    const response = part === body ? body : { model: part.model ?? body.model, usage: part };
    const { usage } = genai.extractUsage(provider, response, flavor);
    for (const item of part.output ?? []) {
      if (item.type === "image_generation_call") return null;
      if (item.type === "file_search_call") usage.storage_searches = (usage.storage_searches ?? 0) + 1;
      if (item.type === "web_search_call" && item.action?.type === "search") {
        usage.web_searches = (usage.web_searches ?? 0) + 1;
      }
    }
    const result = genai.calcPrice(usage, response.model, { providerId: provider.id, timestamp });
    if (!result) return null;
    usd += result.total_price;
  }
  return Math.round(Number((usd * 1e9).toPrecision(15)));
}

function billedApart(iteration) {
  return iteration.type === "compaction" || iteration.type === "advisor_message";
}

// message merges the usage of a stream's events into one message.
function message({ stream, response_body }) {
  if (!stream) return JSON.parse(response_body);
  const merged = { usage: {} };
  for (const event of events(response_body)) {
    if (event.message) merged.model = event.message.model;
    for (const [key, value] of Object.entries(event.message?.usage ?? event.usage ?? {})) {
      if (value !== null) merged.usage[key] = value;
    }
  }
  return merged;
}

// answer is the last chunk or response that bears a usage.
function answer({ stream, response_body }) {
  if (!stream) return JSON.parse(response_body);
  return events(response_body).map((event) => event.response ?? event).findLast((object) => object.usage);
}

function events(text) {
  return text.split(/\r?\n/).filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trim())
    .filter((data) => data !== "[DONE]").map((data) => JSON.parse(data));
}
