// What wsclient does, with npm's ws.
//
//     node ws.mjs URL client|server CODE REASON

import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { HttpsProxyAgent } from 'https-proxy-agent';
import WebSocket from 'ws';

const [url, side, code, reason] = process.argv.slice(2);
const request = '{"type":"response.create","model":"gpt-5","input":"planted prompt"}';
const proxy = process.env.HTTPS_PROXY;

const ws = new WebSocket(url, {
  agent: proxy ? new HttpsProxyAgent(proxy) : undefined,
  perMessageDeflate: { threshold: 0 },
  headers: { Authorization: 'Bearer sk-planted-key', 'OpenAI-Beta': 'responses_websockets=2026-02-06' },
});
const closed = once(ws, 'close');
const pong = once(ws, 'pong');

const waiting = [];
const arrived = [];
ws.on('message', (data) => {
  if (waiting.length > 0) waiting.shift()(data);
  else arrived.push(data);
});
const read = () => (arrived.length > 0 ? arrived.shift() : new Promise((resolve) => waiting.push(resolve)));

const hex = (data) => createHash('sha256').update(data).digest('hex');
const sha = (text) => createHash('sha256').update(text).digest();

function sendInFragments(data, size, binary) {
  for (let at = 0; at < data.length; at += size) {
    ws.send(data.subarray(at, at + size), { binary, fin: at + size >= data.length });
  }
}

const [[response]] = await Promise.all([once(ws, 'upgrade'), once(ws, 'open')]);
console.log(response.headers['sec-websocket-extensions']);

for (let i = 0; i < 2; i++) {
  sendInFragments(Buffer.from(request), 10, false);
  for (let last = false; !last; ) {
    const event = (await read()).toString();
    console.log(event);
    last = event.includes('"type":"response.completed"');
  }
}

ws.ping('from the client');
ws.send('ping');
let answer = await read();
console.log(answer.length, hex(answer));
const blob = Buffer.concat(Array.from({ length: 6400 }, (_, i) => sha(String(i))));
sendInFragments(blob, 70_000, true);
answer = await read();
console.log(answer.length, hex(answer));
await pong;
console.log('pong');

if (side === 'client') ws.close(Number(code), reason);
else ws.send(`close ${code} ${reason}`);
const [gotCode, gotReason] = await closed;
console.log('closed', gotCode, gotReason.toString());
