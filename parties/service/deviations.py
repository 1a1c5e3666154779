"""What a session's process saw other parties' processes do that the contract does not have: evidence for the own log.

A process names what it asks for in words of its own; of these the log takes what reads like a name, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator

from parties.agreement.contract import Terms
from parties.audit import events
from parties.process.job import Broken


def evidence(contract: Terms, own: str, broken: Broken) -> Iterator[events.Event]:
    """What to record of a run that failed: a refused frame by its sender, and each transcript that differs."""
    names = [party.name for party in contract.parties]
    if (frame := broken.refused) is not None and broken.who in names:
        yield events.FrameRefused(
            session=contract.digest,
            who=broken.who,
            name=_named(frame.name),
            shape=frame.shape if all(length <= events.MAX_COUNT for length in frame.shape) else (),
            expected=_named(frame.expected) or "nothing",
        )
    for place in broken.differing:
        if place < len(names) and names[place] != own and broken.transcript is not None:
            yield events.TranscriptCompared(
                session=contract.digest, partner=names[place], digest=broken.transcript, equal=False
            )


def _named(frame: str) -> str | None:
    return events.allowed_name(frame.replace(" ", "-"))
