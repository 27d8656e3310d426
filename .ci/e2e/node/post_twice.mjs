// Two POSTs of the same body over one HTTP/2 connection, with Node's own client.
//
//     node post_twice.mjs URL

import { once } from 'node:events';
import http from 'node:http';
import http2 from 'node:http2';
import tls from 'node:tls';

const url = new URL(process.argv[2]);
const proxy = new URL(process.env.HTTPS_PROXY);
const authorization = `Basic ${Buffer.from(`${proxy.username}:${proxy.password}`).toString('base64')}`;
const body = '{"model":"gpt-4o","stream":true,"messages":[{"role":"user","content":"planted prompt"}]}';

const connect = http.request({
  method: 'CONNECT', host: proxy.hostname, port: proxy.port, path: `${url.hostname}:443`,
  headers: { 'Proxy-Authorization': authorization },
});
connect.end();
const [{ statusCode }, socket] = await once(connect, 'connect');
if (statusCode !== 200) throw new Error(`the proxy answered ${statusCode}`);
const secure = tls.connect({ socket, servername: url.hostname, ALPNProtocols: ['h2'] });
const session = http2.connect(url.origin, { createConnection: () => secure });
for (let i = 0; i < 2; i++) {
  const stream = session.request({
    ':method': 'POST', ':path': url.pathname, authorization: 'Bearer sk-planted-key', 'content-type': 'application/json',
  });
  stream.end(body);
  for await (const piece of stream) process.stdout.write(piece);
}
session.close();
