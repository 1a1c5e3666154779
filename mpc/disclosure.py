"""The only way out for a value: named, permitted by the ledger, recorded before a share leaves.

Inside a kernel an opening is masked by a fresh one-time mask. Everything else is a disclosure; anything that is neither
is refused, whichever of CrypTen's methods asks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from mpc.channel import Channel
from mpc.design import Recipients
from mpc.errors import DisclosureRefused
from mpc.keys import SessionKeys
from mpc.prediction_program import Runnable
from mpc.randomness import Words
from mpc.transcript import Transcript


@dataclass(frozen=True)
class Disclosure:
    """What is about to be opened, to whom, and how many numbers."""

    name: str
    recipients: Recipients
    values: int
    transcript: bytes = b""  # keyed digest of all opened words so far; filled in where it is opened

    def to(self, world: int) -> tuple[int, ...]:
        return tuple(range(world)) if self.recipients == "session" else self.recipients


class Ledger(Protocol):
    """Who permits a disclosure: at a node, the contract and the audit log."""

    def permit(self, disclosure: Disclosure) -> None:
        """Return only once the disclosure is durably recorded. Raises: DisclosureRefused."""
        ...

    def told(self, disclosure: Disclosure, opened: Words) -> None:
        """At a recipient: what it was just told, so that it can be shown later to be that."""
        ...


class ProgramLedger:
    """Permits exactly what the program names, so often and no larger; then asks whoever records it."""

    def __init__(self, program: Runnable, record: Callable[[Disclosure], None] = lambda _: None) -> None:
        self._openings = program.disclosures()
        self._used = dict.fromkeys(range(len(self._openings)), 0)
        self._record = record

    def permit(self, disclosure: Disclosure) -> None:
        for number, opening in enumerate(self._openings):
            if (opening.name, opening.recipients) != (disclosure.name, disclosure.recipients):
                continue
            if self._used[number] >= opening.count or disclosure.values > opening.values:
                break
            self._record(disclosure)
            self._used[number] += 1
            return
        raise DisclosureRefused(
            f"the contract does not allow another disclosure of '{disclosure.name}' "
            f"({disclosure.values} values) to {disclosure.recipients}",
            action="the session ends here; nothing of it was opened",
        )

    def told(self, disclosure: Disclosure, opened: Words) -> None:
        """Kept by nobody here."""


class Discloser:
    """Opens what the ledger permits, to the recipients alone."""

    def __init__(self, channel: Channel, keys: SessionKeys, ledger: Ledger, transcript: Transcript) -> None:
        self._channel, self._ledger, self._transcript = channel, ledger, transcript
        self._before, self._after = keys.zero_streams("disclosure")

    def open(self, disclosure: Disclosure, share: Words) -> Words | None:
        """The opened words at a recipient, None at others. All parties call it with their shares.

        Cost: 2 rounds: one to compare transcripts, one of 8 bytes a word to each recipient.
        Raises: DisclosureRefused, before anything leaves this party.
        """
        asked = replace(disclosure, transcript=self._transcript.digest())
        self._ledger.permit(asked)
        self._transcript.compare(self._channel)
        rank, world = self._channel.rank, self._channel.world
        fresh = share + self._before.words(share.shape) - self._after.words(share.shape)
        recipients = disclosure.to(world)
        others = [peer for peer in range(world) if peer != rank]
        received = self._channel.exchange(
            "disclosure",
            {peer: fresh for peer in others if peer in recipients},
            dict.fromkeys(others, ("i8", share.shape)) if rank in recipients else {},
        )
        if rank not in recipients:
            return None
        for theirs in received.values():
            fresh = fresh + theirs.astype(np.int64)
        self._ledger.told(asked, fresh)
        return fresh
