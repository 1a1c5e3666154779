"""Who vanished first, when participants of a session lose one another: one death makes others close their streams."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mpc.errors import PeerLost
from parties.service.messages import Fault


def first_cause(losses: Mapping[str, Fault], away: Sequence[str]) -> Fault:
    """The fault to end a session with. `losses` is by reporter, in order; `away` has those whose daemons are gone.

    Whoever is away went first; else whoever is accused and accuses nobody; else the first word counts.
    """
    if away:
        error = PeerLost(away[0], "left its peers and the gateway in the middle of the session")
        return Fault.of(error, away[0])
    silent = [fault for fault in losses.values() if fault.who not in losses]
    return (silent or list(losses.values()))[0]
