// Writes the bundled price book with its notice, genai-prices, and the golden
// costs of testdata, from the npm package @pydantic/genai-prices. Needs Node 20 and
// npm; run it with `go generate ./meter/pricing`.
//
// To take a newer package: set version and date to those that
// `npm view @pydantic/genai-prices time` lists, run it, and read the diff.

import { execFileSync } from "node:child_process";
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { goldenCases } from "./golden.mjs";
import { recordedCosts } from "./recorded.mjs";

const version = "0.1.8";
const date = "2026-09-23"; // when npm published it

// The providers of the book. Perplexity tells the cost itself, and bills by the
// request too, which its usage does not tell.
const providers = [
  "anthropic",
  "openai",
  "aws",
  "azure",
  "cerebras",
  "cohere",
  "deepseek",
  "google",
  "groq",
  "mistral",
  "moonshotai",
  "openrouter",
  "x-ai",
  "zai",
];

const home = mkdtempSync(join(tmpdir(), "genai-prices-"));
try {
  execFileSync("npm", ["install", "--prefix", home, "--ignore-scripts", "--no-audit", "--no-fund",
    `@pydantic/genai-prices@${version}`], { stdio: ["ignore", "ignore", "inherit"] });
  const modules = join(home, "node_modules");
  const genai = createRequire(join(modules, "generate.cjs"))("@pydantic/genai-prices");
  const book = providers.map((id) => read(genai, id));
  writeFileSync("genai-prices/prices.json", encodeBook(book));
  copyFileSync(join(modules, "@pydantic", "genai-prices", "LICENSE"), "genai-prices/LICENSE");
  writeFileSync("testdata/golden.json", `[\n${lines(goldenCases(genai, book))}\n]\n`);
  writeFileSync("testdata/recorded.json", `[\n${lines(recordedCosts(genai))}\n]\n`);
} finally {
  rmSync(home, { recursive: true });
}

// read returns what the book keeps of a provider: ids, match clauses, prices.
function read(genai, id) {
  const p = genai.findProvider({ providerId: id });
  if (p?.id !== id) throw new Error(`the package has no provider ${id}`);
  return {
    id,
    fallback: p.fallback_model_providers?.filter((other) => providers.includes(other)),
    models: p.models.map(({ id, match, prices }) => ({
      id,
      match: portable(match),
      prices: Array.isArray(prices) ? prices : [{ prices }],
    })),
  };
}

// portable rewrites the one kind of expression that RE2 lacks: a name without
// some part, written as a lookahead, becomes a clause of its own.
function portable(clause) {
  const [[kind, value]] = Object.entries(clause);
  if (Array.isArray(value)) return { [kind]: value.map(portable) };
  const without = kind === "regex" && /^\^\(\?!\.\*(.*)\)$/.exec(value);
  return without ? { not: { regex: without[1] } } : clause;
}

function lines(values) {
  return values.map((v) => JSON.stringify(v)).join(",\n");
}

// encodeBook writes a line a model, so that a diff shows which prices changed.
function encodeBook(book) {
  const entries = book.map(({ models, ...provider }) => {
    const head = JSON.stringify(provider).slice(0, -1);
    return `${head},"models":[\n${lines(models)}\n]}`;
  });
  const source = JSON.stringify(`@pydantic/genai-prices ${version}`);
  return `{"source":${source},"date":"${date}","providers":[\n${entries.join(",\n")}\n]}\n`;
}
