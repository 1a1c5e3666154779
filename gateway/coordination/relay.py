"""Carries what participants say to each other: log heads, cosignatures, refusals. What it carries it can't make.

What is for somebody who is away waits in the database, the newest of each kind from each sender. A daemon says again
what matters each time that it connects.
"""

from __future__ import annotations

from typing import Final, Protocol

import structlog

from gateway.storage.store import Rows
from parties.errors import GatewayError
from parties.service.messages import FromGateway, FromPartner, decode_from_gateway, encode

MAX_BYTES: Final = 64 << 10  # of one message
MAX_WAITING: Final = 64  # messages from one to another

log = structlog.get_logger()


class Line(Protocol):
    """A participant's live stream. Neither call waits."""

    def send(self, message: FromGateway) -> None: ...

    def close(self) -> None: ...


def addressed(rows: Rows, sender: str, message: FromPartner) -> FromPartner | None:
    """The message under its sender's name; None if it is for nobody. Raises: GatewayError if it is too long."""
    if len(encode(message)) > MAX_BYTES:
        raise GatewayError(f"{sender} sent a '{message.type}' message of more than {MAX_BYTES} bytes")
    if rows.member(message.peer) is None or message.peer == sender:
        log.warning("message for nobody", who=sender, type=message.type)
        return None
    return message.model_copy(update={"peer": sender})


def keep(rows: Rows, receiver: str, message: FromPartner) -> None:
    """Let it wait for somebody who is away."""
    content = encode(message).decode()
    rows.gateways.keep_relayed(receiver, message.peer, " ".join(message.slot), content, MAX_WAITING)


def kept(rows: Rows, receiver: str) -> list[FromGateway]:
    """What waited for somebody who is back; it waits no longer."""
    return [decode_from_gateway(content.encode()) for content in rows.gateways.take_relayed(receiver)]
