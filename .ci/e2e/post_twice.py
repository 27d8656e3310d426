"""Two POSTs of the same body over one HTTP/2 connection, with Debian's httpx.

    python3 post_twice.py URL
"""

import ssl
import sys

import httpx

HEADERS = {"Authorization": "Bearer sk-planted-key", "Content-Type": "application/json"}
BODY = b'{"model":"gpt-4o","stream":true,"messages":[{"role":"user","content":"planted prompt"}]}'

with httpx.Client(http2=True, verify=ssl.create_default_context(), headers=HEADERS, timeout=None) as client:
    for _ in range(2):
        with client.stream("POST", sys.argv[1], content=BODY) as answer:
            assert answer.http_version == "HTTP/2", answer.http_version
            for piece in answer.iter_bytes():
                sys.stdout.buffer.write(piece)
