"""A process that hands bytes on between two ends, each chunk a fixed time after it came: this kernel has no netem.

Bandwidth is not limited. A chunk that waits does not hold up the next one: delays do not add up.
"""

from __future__ import annotations

import contextlib
import queue
import signal
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.measuring import live
from benchmarks.processes import Start, background

CHUNK_BYTES = 1 << 16
HOST = "127.0.0.1"


@dataclass(frozen=True)
class Detour:
    """Where the proxy listens for one end's calls, and where it hands them on to."""

    listening_fd: int
    target_port: int


@contextlib.contextmanager
def detours(ports: list[int], delay_ms: float) -> Iterator[list[int]]:
    """Delayed ways to these ports of this machine: other ports, as long as the block runs."""
    with contextlib.ExitStack() as stack:
        doors = [stack.enter_context(socket.create_server((HOST, 0))) for _ in ports]
        pairs = [[door.fileno(), port] for door, port in zip(doors, ports, strict=True)]
        job = {"delay_ms": delay_ms, "detours": pairs}
        start = Start("proxy", "benchmarks.proxy", job, descriptors=tuple(door.fileno() for door in doors))
        stack.enter_context(background(start))
        yield [door.getsockname()[1] for door in doors]


def _hand_on(source: socket.socket, target: socket.socket, delay_s: float) -> None:
    """One direction: this thread receives, another sends what has waited long enough."""
    waiting: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()
    threading.Thread(target=_release, args=(waiting, target), daemon=True).start()
    chunk = b"-"
    while chunk:
        try:
            chunk = source.recv(CHUNK_BYTES)
        except OSError:
            chunk = b""
        waiting.put((time.monotonic() + delay_s, chunk))


def _release(waiting: queue.SimpleQueue[tuple[float, bytes]], target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            due, chunk = waiting.get()
            time.sleep(max(0.0, due - time.monotonic()))
            if not chunk:
                target.shutdown(socket.SHUT_WR)
                return
            target.sendall(chunk)


def _attend(door: socket.socket, port: int, delay_s: float) -> None:
    while True:
        near, _ = door.accept()
        try:
            far = socket.create_connection((HOST, port))
        except OSError:
            near.close()  # nobody there yet: the caller tries again
            continue
        for one, other in ((near, far), (far, near)):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=_hand_on, args=(one, other, delay_s), daemon=True).start()


def _run(job: dict) -> dict:
    for descriptor, port in job["detours"]:
        door = socket.socket(fileno=descriptor)
        threading.Thread(target=_attend, args=(door, port, job["delay_ms"] / 1000), daemon=True).start()
    signal.pause()
    return {}


if __name__ == "__main__":
    live(_run)
