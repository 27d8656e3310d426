// What the exchanges cost that ../provider/testdata/recordings holds, as
// extractUsage and calcPrice of @pydantic/genai-prices have it, with the
// searches counted from the output where extractUsage leaves them out.

import { readFileSync } from "node:fs";

const recordings = "../provider/testdata/recordings";
// The files, and the package's names of the providers in them.
const files = {
  anthropic: "anthropic", openai: "openai", gemini: "google", groq: "groq", mistral: "mistral", deepseek: "deepseek",
  openrouter: "openrouter",
};
const endpoints = /^(\/openai|\/api)?(\/v1)?\/(messages|chat\/completions|embeddings|responses(\/resp_\w+)?)$|:(generateContent|streamGenerateContent|batchEmbedContents)$/;
const timestamp = new Date("2026-09-02T00:00:00Z");

// recordedCosts returns source and nano-USD, null where the package knows no
// price, of each recording with a usage.
export function recordedCosts(genai) {
  const costs = [];
  for (const [file, id] of Object.entries(files)) {
    const provider = genai.findProvider({ providerId: id });
    for (const line of readFileSync(`${recordings}/${file}.jsonl`, "utf8").trim().split("\n")) {
      const recording = JSON.parse(line);
      const path = new URL(recording.url).pathname;
      if (!endpoints.test(path)) continue;
      const body = id === "anthropic" ? message(recording) : answer(recording);
      if (!body?.usage && !body?.usageMetadata) continue;
      if (id === "google") body.modelVersion = (body.modelVersion ?? path.match(/([^/]+):/)[1]).replace(/^models\//, "");
      const flavor = id === "openai" ? path.split("/")[2] : ["deepseek", "openrouter"].includes(id) ? "chat" : "default";
      costs.push({ source: recording.source, nano_usd: nanoUSD(genai, provider, body, flavor) });
    }
  }
  return costs;
}

function nanoUSD(genai, provider, body, flavor) {
  let usd = 0;
  // Searches have a price of their own that the package lacks: unknown.
  if (body.grounded || body.usage?.server_tool_use_details?.web_search_requests) return null;
  for (const part of [body, ...(body.usage?.iterations ?? []).filter(billedApart)]) {
    const response = part === body ? body : { model: part.model ?? body.model, usage: part };
    const { usage } = genai.extractUsage(provider, response, flavor);
    for (const item of part.output ?? []) {
      if (item.type === "image_generation_call") return null;
      if (item.type === "file_search_call") usage.storage_searches = (usage.storage_searches ?? 0) + 1;
      if (item.type === "web_search_call" && item.action?.type === "search") {
        usage.web_searches = (usage.web_searches ?? 0) + 1;
      }
    }
    const result = genai.calcPrice(usage, response.model ?? response.modelVersion, { providerId: provider.id, timestamp });
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

// answer is the last chunk or response that bears a usage, with the names of
// counts that the package's extractors lack put into those that they know.
function answer({ url, stream, response_body }) {
  const objects = stream ? events(response_body).map((event) => event.response ?? event) : [JSON.parse(response_body)];
  const body = objects.findLast(({ usage, usageMetadata, x_groq }) => usage ?? usageMetadata ?? x_groq?.usage);
  if (!body) return undefined;
  body.usage ??= body.x_groq?.usage;
  body.grounded = objects.some(({ candidates }) => candidates?.some((c) => c.groundingMetadata?.webSearchQueries));
  if (body.usage?.num_cached_tokens) {
    body.usage.prompt_tokens_details = { cached_tokens: body.usage.num_cached_tokens };
  }
  if (/deepseek.*responses|openrouter.*responses/.test(url)) {
    const { input_tokens, output_tokens, input_tokens_details } = body.usage;
    body.usage = { prompt_tokens: input_tokens, completion_tokens: output_tokens, prompt_tokens_details: input_tokens_details };
  }
  return body;
}

function events(text) {
  return text.split(/\r?\n/).filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trim())
    .filter((data) => data !== "[DONE]").map((data) => JSON.parse(data));
}
