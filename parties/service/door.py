"""A daemon's one inbound port: it reads the first line of a connection and hands the socket to the session's process.

TLS begins after that line and ends in the process: the daemon never has a session's traffic. Whoever names no live
session is sent away without a word, and so is whoever names none in time.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket

from mpc.errors import PrivityError
from parties.errors import LifecycleError
from parties.process.links import MAX_GREETING_BYTES, parse_greeting

GREETING_S = 5.0  # for a caller's first line
MAX_CALLERS = 256  # whose first line is awaited; one more is sent away, and dials again if it means it
PAUSE_S = 0.1  # when the system has no descriptor left for a caller


class Door:
    """The port, and a Unix socket to the process of each live session."""

    def __init__(self, listen: str, advertise: str) -> None:
        self._listen, self._advertise = listen, advertise
        self._listener: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._callers: set[asyncio.Task[None]] = set()
        self._inboxes: dict[str, socket.socket] = {}

    @property
    def endpoint(self) -> str:
        """HOST:PORT that others dial. Raises: LifecycleError if it is not open yet."""
        if self._listener is None:
            raise LifecycleError("the port is not open yet")
        return self._advertise or f"{self._listen.rpartition(':')[0]}:{self._listener.getsockname()[1]}"

    async def open(self) -> None:
        """Raises: OSError if the address can't be listened on."""
        host, port = self._listen.rsplit(":", 1)
        self._listener = socket.create_server((host, int(port)), backlog=64)
        self._listener.setblocking(False)
        self._accepting = asyncio.create_task(self._accept(self._listener))

    def close(self) -> None:
        for task in (self._accepting, *self._callers):
            if task is not None:
                task.cancel()
        for end in (self._listener, *self._inboxes.values()):
            if end is not None:
                end.close()

    def inbox(self, session: str) -> socket.socket:
        """Where a session's new process finds who calls; whoever asked closes this end once the process has it."""
        self.shut(session)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)  # a process that takes nobody in must not hold up the daemon
        self._inboxes[session] = ours
        return theirs

    def shut(self, session: str) -> None:
        """No more callers for this session."""
        inbox = self._inboxes.pop(session, None)
        if inbox is not None:
            inbox.close()

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                raw, _ = await loop.sock_accept(listener)
            except OSError:  # a caller that is gone already, or too many descriptors
                await asyncio.sleep(PAUSE_S)
                continue
            if len(self._callers) >= MAX_CALLERS:
                raw.close()
                continue
            task = asyncio.create_task(self._hand_over(raw))
            self._callers.add(task)
            task.add_done_callback(self._callers.discard)

    async def _hand_over(self, raw: socket.socket) -> None:
        """Give a connection to the process of the session that its first line names."""
        with raw:
            try:
                line = await asyncio.wait_for(_first_line(raw), GREETING_S)
                inbox = self._inboxes.get(parse_greeting(line).session)
            except (PrivityError, OSError, TimeoutError):
                return
            if inbox is None:
                return  # not live here yet; the caller tries again
            with contextlib.suppress(OSError):
                socket.send_fds(inbox, [line], [raw.fileno()])


async def _first_line(raw: socket.socket) -> bytes:
    loop = asyncio.get_running_loop()
    raw.setblocking(False)
    line = b""
    while not line.endswith(b"\n") and len(line) < MAX_GREETING_BYTES:
        content = await loop.sock_recv(raw, MAX_GREETING_BYTES)  # the caller waits for an answer before it goes on
        if not content:
            break
        line += content
    return line
