"""A server that answers at once, for machines without nginx: so that the client is what is measured.

    python -m tests.bench.stub

Prints the port it listens on. It reads no more of a request than it needs to find the next one.
"""

from __future__ import annotations

import asyncio
import base64
import json

POOL = "pool"


def _token() -> str:
    claims = base64.urlsafe_b64encode(json.dumps({"scoped_userpool_id": POOL}).encode()).decode().rstrip("=")
    return f"e30.{claims}.c2ln"


BODIES = {
    b"get-management-token": {
        "statusCode": 200,
        "message": "",
        "data": {"access_token": _token(), "expires_in": 7200},
    },
    b"get-user-batch": {"statusCode": 200, "message": "", "data": []},
    b"list-users": {"statusCode": 200, "message": "", "data": {"totalCount": 0, "list": []}},
    b"": {"statusCode": 200, "message": "Operation successful", "requestId": "r", "data": {"success": True}},
}
"""Answers by what the path ends with; the empty one is for everything else."""


def text_of(answer: object) -> str:
    """An answer's body."""
    return json.dumps(answer, separators=(",", ":"))


def _response(answer: object) -> bytes:
    body = text_of(answer).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


RESPONSES = {end: _response(answer) for end, answer in BODIES.items()}


class Answering(asyncio.Protocol):
    """One connection. Requests may come in pieces, or several in one piece."""

    def __init__(self) -> None:
        self._rest = b""
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        data = self._rest + data
        answers = []
        while (head := data.find(b"\r\n\r\n")) >= 0:
            lines = data[:head].lower()
            at = lines.find(b"content-length:")
            size = int(lines[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(data) < head + 4 + size:
                break
            path = data.split(b" ", 2)[1].split(b"?", 1)[0]
            answers.append(next(answer for end, answer in RESPONSES.items() if path.endswith(end)))
            data = data[head + 4 + size :]
        self._rest = data
        if answers:
            assert self._transport is not None
            self._transport.write(b"".join(answers))


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(Answering, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
