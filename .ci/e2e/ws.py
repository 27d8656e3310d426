"""What wsclient does, with the websockets library of Debian.

    python3 ws.py URL client|server CODE REASON
"""

import asyncio
import base64
import hashlib
import os
import socket
import ssl
import sys
from urllib.parse import urlsplit

import websockets

REQUEST = '{"type":"response.create","model":"gpt-5","input":"planted prompt"}'
HEADERS = {"Authorization": "Bearer sk-planted-key", "OpenAI-Beta": "responses_websockets=2026-02-06"}


def dial(host):
    """Connects by hand: the library knows proxies from its version 15 on only."""
    proxy = os.environ.get("HTTPS_PROXY")
    if not proxy:
        return socket.create_connection((host, 443))
    at = urlsplit(proxy)
    conn = socket.create_connection((at.hostname, at.port))
    head = f"CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\n"
    if at.username:
        user = base64.b64encode(f"{at.username}:{at.password}".encode()).decode()
        head += f"Proxy-Authorization: Basic {user}\r\n"
    conn.sendall((head + "\r\n").encode())
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        byte = conn.recv(1)
        if not byte:
            break
        answer += byte
    if b" 200 " not in answer.split(b"\r\n")[0]:
        raise SystemExit(f"the proxy answered {answer!r}")
    return conn


async def main(url, side, code, reason):
    host = urlsplit(url).hostname
    new = int(websockets.__version__.split(".")[0]) >= 14
    headers = {"additional_headers": HEADERS, "proxy": None} if new else {"extra_headers": HEADERS}
    ws = await websockets.connect(
        url, sock=dial(host), ssl=ssl.create_default_context(), server_hostname=host,
        compression="deflate", max_size=None, **headers)
    answered = ws.response.headers if new else ws.response_headers
    print(answered["Sec-WebSocket-Extensions"])

    for _ in range(2):
        await ws.send([REQUEST[:10], REQUEST[10:20], REQUEST[20:]])
        last = False
        while not last:
            event = await ws.recv()
            print(event)
            last = '"type":"response.completed"' in event

    pong = await ws.ping("from the client")
    await ws.send("ping")
    answer = (await ws.recv()).encode()
    print(len(answer), hashlib.sha256(answer).hexdigest())
    blob = b"".join(hashlib.sha256(str(i).encode()).digest() for i in range(6400))
    await ws.send([blob[at:at + 70_000] for at in range(0, len(blob), 70_000)])
    answer = await ws.recv()
    print(len(answer), hashlib.sha256(answer).hexdigest())
    await pong
    print("pong")

    if side == "client":
        await ws.close(int(code), reason)
    else:
        await ws.send(f"close {code} {reason}")
        await ws.wait_closed()
    print("closed", ws.close_code, ws.close_reason)


asyncio.run(main(*sys.argv[1:]))
