"""Do two logs of a session agree on what was signed of the words that were sent, and of the dealer's keys?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from parties.audit.events import CommitmentReceived, CommitmentSigned, DealerKeyBound, DisclosureRecorded, Event


@dataclass(frozen=True)
class Told:
    """One organisation's entries about the session."""

    name: str
    events: Sequence[Event]

    def signed(self) -> dict[int, str]:
        """Digests of its own statements, by stage."""
        return {event.stage: event.digest for event in self.events if isinstance(event, CommitmentSigned)}

    def received(self, name: str) -> list[CommitmentReceived]:
        """What came as a party's statements."""
        return [event for event in self.events if isinstance(event, CommitmentReceived) and event.partner == name]

    def keys(self, name: str) -> list[str]:
        """Digests of the dealer's statements on a key that it shares: with a party, or of this dealer."""
        return [event.digest for event in self.events if isinstance(event, DealerKeyBound) and event.partner == name]


def commitments(one: Told, other: Told, *, completed: bool) -> str | None:
    """The first thing on which two parties do not agree. `completed`: whether either log says that the run did."""
    found = [*_of(one, other, completed=completed), *_of(other, one, completed=completed)]
    if completed:
        found += [*_unsigned(one), *_unsigned(other)]
    return found[0] if found else None


def _unsigned(signer: Told) -> Iterator[str]:
    """What a whole run lacks of statements, where both logs left it out: stages count from 1, and the last ends it."""
    stages = signer.signed()
    missing = sorted(set(range(1, max(stages, default=0))) - stages.keys())
    if missing:
        yield f"{signer.name} did not record what it signed at stage {missing[0]}"
    kinds = [type(event) for event in signer.events if isinstance(event, CommitmentSigned | DisclosureRecorded)]
    if kinds and kinds[-1] is DisclosureRecorded:
        yield f"{signer.name} recorded no signature on what it sent at last, after everything was disclosed"


def _of(signer: Told, holder: Told, *, completed: bool) -> Iterator[str]:
    signed, received = signer.signed(), holder.received(signer.name)
    for event in received:
        if not event.equal:
            yield f"{holder.name} recorded that what {signer.name} signed at stage {event.stage} is not what came"
        elif event.stage not in signed:
            yield f"{holder.name} recorded what {signer.name} signed at stage {event.stage}, {signer.name} did not"
        elif signed[event.stage] != event.digest:
            yield f"at stage {event.stage} {signer.name} recorded another statement than {holder.name} received"
    missing = sorted(signed.keys() - {event.stage for event in received})
    if completed and missing:
        yield f"{holder.name} did not record what {signer.name} signed at stage {missing[0]}"


def dealer_keys(party: Told, dealer: Told) -> str | None:
    """Whether both have the same statement on the key that they share."""
    mine, theirs = party.keys(dealer.name), dealer.keys(party.name)
    if mine and mine != theirs:
        return f"{party.name} recorded another statement on its key with {dealer.name} than {dealer.name}"
    return None
