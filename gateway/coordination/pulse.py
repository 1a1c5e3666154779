"""Which gateways on one database live: each counts its beats up, and one that stands still is forgotten by the others.

Clocks are not compared: each gateway judges by how long, on its own clock, another's count did not change.
"""

from __future__ import annotations

from typing import Final

import structlog

from gateway.coordination.switchboard import Switchboard, Turn

log = structlog.get_logger()

STILL_S: Final = 10.0  # without a beat, and a gateway counts as gone


class Pulse:
    """This gateway's own beats, and what it knows of the others'."""

    def __init__(self, board: Switchboard) -> None:
        self._board = board
        self._known: dict[str, tuple[int, float]] = {}  # by gateway: its count, and when that changed

    def lives(self, gateway: str) -> bool:
        return gateway == self._board.id or gateway in self._known

    def beat(self, turn: Turn) -> None:
        """Within a turn: show that this one lives, and forget who does not."""
        if not self._board.store.is_shared:
            return
        gateways, now = turn.rows.gateways, self._board.monotonic()
        gateways.beat(self._board.id)
        for gateway, count in gateways.beats().items():
            known, since = self._known.get(gateway, (None, now))
            self._known[gateway] = count, now if count != known else since
            if now - self._known[gateway][1] > STILL_S:
                log.warning("a gateway stands still and is given up", gateway=gateway)
                gateways.bury(gateway)
        self._known = {gateway: self._known[gateway] for gateway in gateways.beats()}
        turn.present = {name: gateway for name, gateway in turn.present.items() if gateway in self._known}
