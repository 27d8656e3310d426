// The golden costs: what calcPrice of @pydantic/genai-prices answers for every
// model of the book, over usages that touch every bucket, every tier's edge,
// and every date at which a price changes.

// usages in the disjoint buckets of provider.Usage.
const usages = [
  { input: 11, write5m: 3, write1h: 4, read: 5, output: 9 },
  { input: 1234567, output: 76543 },
  { input: 317, read: 48211, write5m: 1999, output: 733, audioIn: 101, cachedAudioIn: 47, audioOut: 53 },
  { input: 5, output: 7, webSearches: 3, fileSearches: 2 },
];

// Around each tier's start, the prompt is one below, on, and one above it.
const edges = [-1, 0, 1];

// goldenCases returns the cases; cost is in nano-USD.
export function goldenCases(genai, book) {
  const cases = [];
  for (const provider of book) {
    for (const model of provider.models) {
      const name = nameOf(model.match);
      if (!name) continue;
      for (const [at, prices] of moments(model.prices)) {
        if (unsupported(prices)) continue;
        // OpenRouter's list is long and plain.
        for (const usage of [...(provider.id === "openrouter" ? usages.slice(0, 1) : usages), ...tierUsages(prices)]) {
          const c = goldenCase(genai, provider.id, name, fit(usage, prices), at);
          if (c && !cases.some((other) => same(other, c))) cases.push(c);
        }
      }
    }
  }
  return cases;
}

// nameOf makes a model name that the clause matches, if it is a simple one.
// That the name finds this model and not an earlier one is for calcPrice.
function nameOf(clause) {
  if (clause.or) return nameOf(clause.or[0]) ?? nameOf(clause.or[1] ?? {});
  if (clause.and) return undefined;
  return clause.equals ?? clause.starts_with ?? clause.ends_with ?? clause.contains;
}

// moments are dates on both sides of each change, with the prices then listed.
function moments(history) {
  const list = history.map(({ constraint, prices }) => {
    if (constraint?.start_date) return [`${constraint.start_date}T00:00:00Z`, prices];
    if (constraint?.start_time) return [`2026-09-01T${constraint.start_time}`, prices];
    return ["2026-09-02T00:00:00Z", prices];
  });
  for (const { constraint, prices } of history) {
    const edge = constraint?.start_date ? `${constraint.start_date}T00:00:00Z`
      : constraint?.end_time ? `2026-09-01T${constraint.end_time}` : undefined;
    if (edge) list.push([new Date(Date.parse(edge) - 1).toISOString(), prices]);
  }
  return list;
}

const known = new Set(["input_mtok", "cache_read_mtok", "cache_write_mtok", "cache_write_5m_mtok",
  "cache_write_1h_mtok", "output_mtok", "input_audio_mtok", "cache_audio_read_mtok", "output_audio_mtok",
  "web_searches_kcount", "storage_searches_kcount", "social_searches_kcount", "code_executions_kcount"]);

// unsupported: the book refuses a model that is billed by what no usage tells.
function unsupported(prices) {
  return Object.keys(prices).some((key) => !known.has(key));
}

function tierUsages(prices) {
  const starts = new Set(Object.values(prices).flatMap((price) => (price.tiers ?? []).map((t) => t.start)));
  return [...starts].flatMap((start) => edges.flatMap((edge) => [
    { input: start + edge, output: 1000 },
    { input: 2000, read: start + edge - 2100, write5m: 60, write1h: 40, output: 100 },
  ]));
}

// fit drops the buckets for which the book, unlike the package, has no price:
// the package charges an hour's cache write at the price of a short one, and
// nothing for output or calls without a price.
function fit(usage, prices) {
  const u = { ...usage };
  if (prices.cache_write_1h_mtok === undefined) {
    u.write5m = (u.write5m ?? 0) + (u.write1h ?? 0);
    delete u.write1h;
  }
  if (prices.output_mtok === undefined) {
    delete u.output;
    delete u.audioOut;
  }
  if (prices.web_searches_kcount === undefined) delete u.webSearches;
  if (prices.storage_searches_kcount === undefined) delete u.fileSearches;
  for (const key of Object.keys(u)) if (!u[key]) delete u[key];
  return u;
}

function goldenCase(genai, provider, model, u, at) {
  const n = (key) => u[key] ?? 0;
  const usage = {
    input_tokens: n("input") + n("read") + n("write5m") + n("write1h"),
    cache_read_tokens: n("read"),
    cache_write_tokens: n("write5m") + n("write1h"),
    cache_write_5m_tokens: n("write5m"),
    cache_write_1h_tokens: n("write1h"),
    output_tokens: n("output"),
    input_audio_tokens: n("audioIn") + n("cachedAudioIn"),
    cache_audio_read_tokens: n("cachedAudioIn"),
    output_audio_tokens: n("audioOut"),
    web_searches: n("webSearches"),
    storage_searches: n("fileSearches"),
  };
  const result = genai.calcPrice(usage, model, { providerId: provider, timestamp: new Date(at) });
  if (!result) throw new Error(`calcPrice knows no ${provider} ${model}`);
  // The model found may be another one, which lists fewer prices.
  if (unsupported(result.model_price) || u.write1h && result.model_price.cache_write_1h_mtok === undefined) return undefined;
  if (u.output && result.model_price.output_mtok === undefined) return undefined;
  if (u.webSearches && result.model_price.web_searches_kcount === undefined) return undefined;
  if (u.fileSearches && result.model_price.storage_searches_kcount === undefined) return undefined;
  if (result.model_price.input_mtok === undefined) return undefined;
  // Fifteen digits drop the noise of binary fractions, which matters at halves.
  const nano = Math.round(Number((result.total_price * 1e9).toPrecision(15)));
  return { provider, model, at, usage: u, nano_usd: nano };
}

function same(a, b) {
  return JSON.stringify(a) === JSON.stringify(b);
}
