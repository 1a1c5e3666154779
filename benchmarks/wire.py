"""HTTP/1.1 as a load generator speaks it: requests made beforehand, answers read no further than they must be.

A client library takes more computing time for a request than the gateway does; here it is a tenth of that.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from dataclasses import dataclass

IDLE_S = 2.0  # after which a connection is not used again: the gateway closes it at 5
END = b"0\r\n\r\n"  # of a chunked body
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


@dataclass(frozen=True)
class Answer:
    status: int
    head: bytes
    body: bytes


class _Connection(asyncio.Protocol):
    """One request at a time."""

    def __init__(self, heard: Callable[[int], None] | None = None) -> None:
        """`heard` is told how many events of a stream came; without it an answer must state its length."""
        self._heard, self._received, self._head = heard, bytearray(), b""
        self._awaited: asyncio.Future[Answer] | None = None
        self.transport: asyncio.Transport | None = None
        self.idle_since = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.Transport):
            self.transport = transport

    def ask(self, request: bytes) -> asyncio.Future[Answer]:
        """Raises, in the future: ConnectionError."""
        self._awaited = asyncio.get_running_loop().create_future()
        self._received.clear()
        self._head = b""
        if self.transport is None or self.transport.is_closing():
            self._awaited.set_exception(ConnectionResetError("closed before it was asked"))
        else:
            self.transport.write(request)
        return self._awaited

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._head:
            end = self._received.find(b"\r\n\r\n")
            if end < 0:
                return
            self._head = bytes(self._received[: end + 2])
            del self._received[: end + 4]
        stated = _LENGTH.search(self._head)
        if stated is None:
            self._stream()
        elif len(self._received) >= int(stated[1]):
            self._answer()

    def _stream(self) -> None:
        if self._heard is None:
            raise ValueError("an answer does not state its length")
        self._heard(self._received.count(b"\ndata: "))
        if self._received.endswith(END):
            self._answer()
        else:
            del self._received[:-8]  # where a line or the end may have begun

    def _answer(self) -> None:
        if self._awaited is not None and not self._awaited.done():
            self._awaited.set_result(Answer(int(self._head[9:12]), self._head, bytes(self._received)))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._awaited is not None and not self._awaited.done():
            self._awaited.set_exception(exc or ConnectionResetError("the gateway closed the connection"))

    @property
    def is_fresh(self) -> bool:
        idle = time.perf_counter() - self.idle_since
        return self.transport is not None and not self.transport.is_closing() and idle < IDLE_S

    def close(self) -> None:
        if self.transport is not None:
            self.transport.close()


class Wire:
    """One host, with as many connections as are asked at once; they are kept."""

    def __init__(self, address: str, token: str) -> None:
        self.address, self._token = address, token
        self._idle: list[_Connection] = []

    def request(self, method: str, path: str, body: bytes = b"", *headers: str) -> bytes:
        """The request's bytes."""
        lines = [f"{method} {path} HTTP/1.1", f"host: {self.address}", f"authorization: Bearer {self._token}"]
        lines += headers
        if body:
            lines += ["content-type: application/json", f"content-length: {len(body)}"]
        return "\r\n".join([*lines, "", ""]).encode() + body

    async def ask(self, request: bytes) -> Answer:
        """Raises: OSError."""
        connection = await self._connected()
        answer = await connection.ask(request)
        connection.idle_since = time.perf_counter()
        self._idle.append(connection)
        return answer

    async def _connected(self) -> _Connection:
        while self._idle:
            if (connection := self._idle.pop()).is_fresh:
                return connection
            connection.close()
        return await self._open(None)

    async def _open(self, heard: Callable[[int], None] | None) -> _Connection:
        host, _, port = self.address.rpartition(":")
        _, connection = await asyncio.get_running_loop().create_connection(lambda: _Connection(heard), host, int(port))
        return connection

    async def stream(self, heard: Callable[[int], None]) -> Stream:
        """A connection for one event stream after another. Raises: OSError."""
        return Stream(await self._open(heard))

    def close(self) -> None:
        for connection in self._idle:
            connection.close()


class Stream:
    """Event streams, one after the other."""

    def __init__(self, connection: _Connection) -> None:
        self._connection = connection

    async def follow(self, request: bytes) -> Answer:
        """Until it ends. Raises: OSError."""
        return await self._connection.ask(request)

    def close(self) -> None:
        self._connection.close()
