"""Carries what participants say to each other: log heads, cosignatures, refusals. What it carries it can't make.

What is for somebody who is away waits in memory, the newest of each kind from each sender. A daemon says again what
matters each time that it connects, so that nothing is lost with this process.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Final, Protocol

import structlog

from gateway.store import Rows
from parties.errors import GatewayError
from parties.messages import FromGateway, FromPartner, encode

MAX_BYTES: Final = 64 << 10  # of one message
MAX_WAITING: Final = 64  # messages from one to another

log = structlog.get_logger()


class Line(Protocol):
    """A participant's live stream. Neither call waits."""

    def send(self, message: FromGateway) -> None: ...

    def close(self) -> None: ...


class Relay:
    """Messages between participants; `lines` are the streams of those that are connected, kept by the caller."""

    def __init__(self, lines: Mapping[str, Line]) -> None:
        self._lines = lines
        self._waiting: dict[str, dict[str, dict[tuple[str, ...], FromPartner]]] = defaultdict(dict)  # to, from, slot

    def pass_on(self, rows: Rows, sender: str, message: FromPartner) -> None:
        """Carry it under its sender's name, at once or once the receiver is back.

        Raises: GatewayError if it is too long.
        """
        if len(encode(message)) > MAX_BYTES:
            raise GatewayError(f"{sender} sent a '{message.type}' message of more than {MAX_BYTES} bytes")
        receiver = message.peer
        if rows.member(receiver) is None or receiver == sender:
            log.warning("message for nobody", who=sender, type=message.type)
            return
        signed = message.model_copy(update={"peer": sender})
        if line := self._lines.get(receiver):
            line.send(signed)
            return
        waiting = self._waiting[receiver].setdefault(sender, {})
        waiting.pop(signed.slot, None)
        waiting[signed.slot] = signed
        while len(waiting) > MAX_WAITING:
            del waiting[next(iter(waiting))]

    def deliver(self, name: str) -> None:
        """Send what waits for somebody who is connected now."""
        line = self._lines[name]
        for waiting in self._waiting.pop(name, {}).values():
            for message in waiting.values():
                line.send(message)
