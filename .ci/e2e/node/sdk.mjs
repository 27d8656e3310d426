// A program as its users write it: it calls a provider with the provider's
// own SDK, which finds base URL, proxy and roots in the environment. It
// writes the bytes that the SDK received to standard output.
//
//     node sdk.mjs anthropic|chat|responses|gemini stream|json MODEL RECORDING

const [api, form, model, recording] = process.argv.slice(2);
const stream = form === 'stream';
const prompt = 'planted prompt';
const headers = { 'X-Replay': recording };

// All three SDKs call the global fetch.
const copies = [];
const fetchOnly = globalThis.fetch;
globalThis.fetch = async (url, init) => {
  const response = await fetchOnly(url, init);
  const [forSDK, forUs] = response.body.tee();
  copies.push(write(forUs));
  return new Response(forSDK, response);
};

async function write(body) {
  for await (const chunk of body) process.stdout.write(chunk);
}

async function drain(events) {
  for await (const _ of events);
}

const calls = {
  async anthropic() {
    const { default: Anthropic } = await import('@anthropic-ai/sdk');
    const client = new Anthropic({ apiKey: 'sk-ant-planted-key', maxRetries: 0, defaultHeaders: headers });
    const params = { model, max_tokens: 64, messages: [{ role: 'user', content: prompt }] };
    if (stream) await drain(await client.messages.create({ ...params, stream }));
    else await client.messages.create(params);
  },
  async chat() {
    const client = await openai();
    const params = { model, messages: [{ role: 'user', content: prompt }] };
    if (stream) await drain(await client.chat.completions.create({ ...params, stream }));
    else await client.chat.completions.create(params);
  },
  async responses() {
    const client = await openai();
    const params = { model, input: prompt };
    if (stream) await drain(await client.responses.create({ ...params, stream }));
    else await client.responses.create(params);
  },
  async gemini() {
    const { GoogleGenAI } = await import('@google/genai');
    const client = new GoogleGenAI({ apiKey: 'planted-key', httpOptions: { headers } });
    const params = { model, contents: prompt };
    if (stream) await drain(await client.models.generateContentStream(params));
    else await client.models.generateContent(params);
  },
};

async function openai() {
  const { default: OpenAI } = await import('openai');
  return new OpenAI({ apiKey: 'sk-planted-key', maxRetries: 0, defaultHeaders: headers });
}

await calls[api]();
await Promise.all(copies);
