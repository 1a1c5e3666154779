"""Two ends of a TCP connection on loopback, with somebody who listens in between."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

DEADLINE_S = 30


def connected() -> tuple[socket.socket, socket.socket]:
    """Both ends of one connection: who dialled, and who was dialled."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        dialled = socket.create_connection(listener.getsockname(), DEADLINE_S)
        accepted, _ = listener.accept()
    return dialled, accepted


class Wire:
    """Carries bytes both ways between two ends, keeps all of them, and may change one on the way."""

    def __init__(self) -> None:
        self.client, near = connected()
        far, self.server = connected()
        self.to_server, self.to_client = bytearray(), bytearray()
        self.flip_next = threading.Event()  # the next bytes to the client arrive changed
        self._inner = (near, far)
        self._threads = [
            threading.Thread(target=self._carry, args=(near, far, self.to_server, None)),
            threading.Thread(target=self._carry, args=(far, near, self.to_client, self.flip_next)),
        ]
        for thread in self._threads:
            thread.start()

    @staticmethod
    def _carry(source: socket.socket, target: socket.socket, kept: bytearray, flip: threading.Event | None) -> None:
        with contextlib.suppress(OSError):
            while content := source.recv(1 << 16):
                kept += content
                if flip is not None and flip.is_set():
                    flip.clear()
                    content = content[:-1] + bytes([content[-1] ^ 1])
                target.sendall(content)
            target.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        for end in (self.client, self.server):
            end.close()
        for end in self._inner:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(DEADLINE_S)
        for end in self._inner:
            end.close()


@contextlib.contextmanager
def wire() -> Iterator[Wire]:
    made = Wire()
    try:
        yield made
    finally:
        made.close()


def at_once(*acts):
    """Run functions in threads of their own; what each returned or raised, in order."""
    found: list[object] = [None] * len(acts)

    def run(number: int) -> None:
        try:
            found[number] = acts[number]()
        except Exception as exc:  # noqa: BLE001 - handed to the test
            found[number] = exc

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(acts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S)
        assert not thread.is_alive()
    return found
