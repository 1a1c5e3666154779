"""Do two organisations' logs tell the same story of one session? Offline, from the bundle that each of them exported.

A bundle alone is the word of its owner: that no entry is missing, nobody else can say. Two of them hold each other to
it, for the engine gives both parties of a session the same contract, approvals, disclosures, transcript and counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from parties.agreement.kinds import AnyContract
from parties.audit.agreements import Agreement
from parties.audit.bindings import Told, commitments, dealer_keys
from parties.audit.bundle import Bundle
from parties.audit.bundle_check import examine
from parties.audit.events import (
    ContractExpired,
    ContractRefused,
    DisclosureRecorded,
    Event,
    OpeningsCounted,
    SessionCancelled,
    SessionCompleted,
    SessionFailed,
    TranscriptCompared,
)
from parties.audit.verdict import Found, Verdict
from parties.errors import AuditError
from parties.keys.identity import parse_fingerprint
from parties.testimony.statement import Statement, read_statement

Topic = Literal["contract", "approvals", "disclosures", "transcript", "openings", "sent", "ending", "consent", "heads"]
Kind = TypeVar("Kind", bound=Event)

COMPLETED: Final = "completed"


@dataclass(frozen=True)
class Difference:
    """The first thing of this topic on which the two do not agree."""

    topic: Topic
    what: str


@dataclass(frozen=True)
class Reconciliation:
    """What came of it; nothing is compared unless both bundles verify."""

    verdicts: tuple[Verdict, Verdict]
    differences: tuple[Difference, ...] = ()
    notes: tuple[str, ...] = ()  # whose signatures on transcript and stages each holds, or lacks; which bundle is old

    @property
    def ok(self) -> bool:
        return all(verdict.ok for verdict in self.verdicts) and not self.differences

    def line(self) -> str:
        """The outcome in one line, for people."""
        one, other = self.verdicts
        if not (one.ok and other.ok):
            return "NOT RECONCILED: what does not verify tells no story"
        if self.differences:
            return (
                f"NOT RECONCILED: {one.origin} and {other.origin} differ in {len(self.differences)} of what they tell"
            )
        return f"reconciled: {one.origin} and {other.origin} tell the same of session {one.session[:12]}"

    def as_dict(self) -> dict[str, Any]:
        return {
            "reconciled": self.ok,
            "bundles": [verdict.as_dict() for verdict in self.verdicts],
            "differences": [{"topic": item.topic, "what": item.what} for item in self.differences],
            "notes": list(self.notes),
        }


def reconcile(paths: tuple[Path, Path], keys: tuple[str | None, str | None] = (None, None)) -> Reconciliation:
    """Verify both bundles, then compare them; `keys` are their signers' fingerprints as confirmed.

    Raises: PartnerError if a key is no fingerprint; AuditError if they verify but are not of one session's two sides.
    """
    first, second = (
        examine(path, parse_fingerprint(key) if key is not None else None, ())
        for path, key in zip(paths, keys, strict=True)
    )
    verdicts = (first[0], second[0])
    if not all(verdict.ok for verdict in verdicts) or first[1] is None or second[1] is None:
        return Reconciliation(verdicts)
    one, other = _Side(first[0], first[1]), _Side(second[0], second[1])
    if one.name == other.name:
        raise AuditError(f"both bundles are of {one.name}'s log", action="give one of each of two organisations")
    notes = (*_signatures(one, other), *_unheard(one, other), *_behind(one, other))
    return Reconciliation(verdicts, tuple(_differences(one, other)), notes)


class _Side:
    """What one organisation's bundle says. Raises: AuditError unless it is about one session."""

    def __init__(self, verdict: Verdict, bundle: Bundle) -> None:
        if not verdict.session:
            raise AuditError(
                f"the bundle of {verdict.origin} is about a whole log",
                action="have it exported with the session's id: `privity audit export SESSION`",
            )
        self.name, self.session = verdict.origin, verdict.session
        self.keys, self.head = bundle.keys(bundle.signed()[0]), bundle.head().checkpoint
        self.witnessed = bundle.witnessed()
        self.agreement: Agreement | None = bundle.agreements().get(self.session)
        self.events = [entry.event for entry in bundle.entries()]
        self.ending = next((end for event in self.events if (end := _ending(event, self.name))), None)

    def told(self) -> Told:
        return Told(self.name, self.events)

    def every(self, kind: type[Kind]) -> list[Kind]:
        return [event for event in self.events if isinstance(event, kind)]

    def signed(self, name: str) -> Statement | None:
        """What this side holds as signed by a party on its transcript; the bundle's check has verified it."""
        contract = self.contract()
        if self.agreement is None or contract is None or name not in self.agreement.transcripts:
            return None
        return read_statement(contract, name, self.agreement.transcripts[name])

    def stages(self, name: str) -> int:
        """Of how many stages this side holds what a party signed of all that it had sent; verified likewise."""
        places = self.agreement.commitments if self.agreement is not None else {}
        return sum(place.partition("/")[0] == name for place in places)

    def withdrawals(self) -> dict[str, dict[str, Any]]:
        """Words by which parties ended their consent; verified likewise."""
        return self.agreement.withdrawals if self.agreement is not None else {}

    def contract(self) -> AnyContract | None:
        return self.agreement.parsed() if self.agreement is not None else None


def _differences(one: _Side, other: _Side) -> Iterator[Difference]:
    if one.session != other.session:
        what = f"{one.name} tells of session {one.session[:12]}, {other.name} of session {other.session[:12]}"
        yield Difference("contract", what)
        return
    for side in (one, other):
        if (contract := side.contract()) is None:
            yield Difference("contract", f"the bundle of {side.name} holds no contract of the session")
            return
        parties = {party.name for party in contract.parties}
        if side.name not in parties | {contract.dealer.name}:
            yield Difference("contract", f"the contract of the session does not name {side.name}")
            return
    checks: list[tuple[Topic, str | None]] = [("approvals", _approvals(one, other))]
    if {one.name, other.name} <= parties:  # the dealer opens nothing
        checks.append(("disclosures", _disclosures(one, other)))
        checks.append(("transcript", _transcript(one, other) or _contradiction(one, other, sorted(parties))))
        checks.append(("openings", _openings(one, other)))
        checks.append(("sent", commitments(one.told(), other.told(), completed=_completed(one, other))))
    else:
        party, dealer = (one, other) if one.name in parties else (other, one)
        checks.append(("sent", dealer_keys(party.told(), dealer.told())))
    checks.append(("ending", _endings(one, other)))
    checks.append(("consent", _withdrawals(one, other)))
    checks += [("heads", _forked(one, other)), ("heads", _forked(other, one))]
    yield from (Difference(topic, what) for topic, what in checks if what)


def _approvals(one: _Side, other: _Side) -> str | None:
    mine, theirs = (side.agreement.approvals if side.agreement else {} for side in (one, other))
    for name in sorted(mine.keys() | theirs.keys()):
        for side, held in ((one, mine), (other, theirs)):
            if name not in held:
                return f"the approval of {name} is missing at {side.name}"
        if mine[name] != theirs[name]:
            return f"{one.name} and {other.name} hold different approvals of {name}, both signed by it"
    return None


def _disclosures(one: _Side, other: _Side) -> str | None:
    """Every party records every disclosure, whoever it is for, before its share leaves."""
    pairs = list(zip_longest(one.every(DisclosureRecorded), other.every(DisclosureRecorded)))
    if pairs and not _completed(one, other) and None in pairs[-1]:
        pairs.pop()  # where a session breaks, one party may have come to record what the other never did
    for mine, theirs in pairs:
        if mine is not None and theirs is not None:
            if _shown(mine) == _shown(theirs) and mine.transcript != theirs.transcript:
                return f"at {_shown(mine)} the transcript of {one.name} was another than that of {other.name}"
            if _shown(mine) != _shown(theirs):
                return f"{one.name} recorded {_shown(mine)}, where {other.name} recorded {_shown(theirs)}"
        elif mine is not None:
            return f"{one.name} recorded {_shown(mine)}, which is missing at {other.name}"
        elif theirs is not None:
            return f"{other.name} recorded {_shown(theirs)}, which is missing at {one.name}"
    return None


def _shown(event: DisclosureRecorded) -> str:
    """All of a disclosure that both parties know."""
    shape = " x ".join(map(str, event.shape)) or "one number"
    return f"'{event.name}' to {', '.join(event.recipients)} ({shape}) by {event.clause}, no. {event.count}"


def _transcript(one: _Side, other: _Side) -> str | None:
    for side in (one, other):
        for event in side.every(TranscriptCompared):
            if not event.equal:
                return f"{side.name} recorded that its transcript differs from {event.partner}'s"
    mine, theirs = (
        _distinct(event.digest for event in side.every(TranscriptCompared) if event.partner == partner.name)
        for side, partner in ((one, other), (other, one))
    )
    for side, partner, digests in ((one, other, mine), (other, one, theirs)):
        if not digests and (mine or theirs or _completed(one, other)):
            return f"{side.name} did not record that it compared transcripts with {partner.name}"
    if mine != theirs:
        return (
            f"{one.name} recorded the transcript {_short(mine)} of its session with {other.name}, "
            f"{other.name} recorded {_short(theirs)}"
        )
    return None


def _contradiction(one: _Side, other: _Side, parties: Sequence[str]) -> str | None:
    """Who signed two different transcripts, or another than the two recorded."""
    recorded = {event.digest for side in (one, other) for event in side.every(TranscriptCompared)}
    for name in parties:
        held = [statement for side in (one, other) if (statement := side.signed(name)) is not None]
        if len({statement.said for statement in held}) > 1:
            return f"{name} signed two different transcripts: {one.name} holds one, {other.name} another"
        if recorded and any(statement.digest not in recorded for statement in held):
            return f"{name} signed another transcript than {one.name} and {other.name} recorded"
    return None


def _signatures(one: _Side, other: _Side) -> Iterator[str]:
    """Whether each of two parties holds the other's signature."""
    contract = one.contract()
    parties = {party.name for party in contract.parties} if contract is not None else set()
    if not {one.name, other.name} <= parties:
        return
    for holder, signer in ((one, other), (other, one)):
        verb = "holds" if holder.signed(signer.name) is not None else "does NOT hold"
        yield f"{holder.name} {verb} {signer.name}'s signature on the transcript"
        if stages := holder.stages(signer.name):
            yield f"{holder.name} holds {signer.name}'s signatures on what it sent, of {stages} stages"
        else:
            yield f"{holder.name} does NOT hold {signer.name}'s signature on what it sent"


def _openings(one: _Side, other: _Side) -> str | None:
    mine, theirs = (
        _distinct(f"{event.rounds} rounds and {event.words} words" for event in side.every(OpeningsCounted))
        for side in (one, other)
    )
    for side, counts in ((one, mine), (other, theirs)):
        if not counts and (mine or theirs or _completed(one, other)):
            return f"{side.name} did not record how much was opened"
    if mine != theirs:
        return f"{one.name} counted {', '.join(mine)} of openings, {other.name} {', '.join(theirs)}"
    return None


def _endings(one: _Side, other: _Side) -> str | None:
    if one.ending == other.ending or (one.every(ContractRefused) and other.every(ContractRefused)):
        return None  # of two that refused each did so first, as far as it knows
    mine, theirs = (side.ending or "has not ended" for side in (one, other))
    return f"at {one.name} the session {mine}, at {other.name} it {theirs}"


def _withdrawals(one: _Side, other: _Side) -> str | None:
    """A party has one word to end its consent by, which it tells everybody."""
    mine, theirs = one.withdrawals(), other.withdrawals()
    for name in sorted(mine.keys() & theirs.keys()):
        if mine[name] != theirs[name]:
            return f"{one.name} and {other.name} hold different withdrawals of {name}, both signed by it"
    return None


def _unheard(one: _Side, other: _Side) -> Iterator[str]:
    """Withdrawals that one holds and the other does not: the latter may hear of it yet."""
    for holder, lacking in ((one, other), (other, one)):
        for name in sorted(holder.withdrawals().keys() - lacking.withdrawals().keys()):
            yield f"{holder.name} holds the withdrawal of {name}, {lacking.name} does NOT"


def _ending(event: Event, owner: str) -> str | None:
    """How the session ended; a refusal at its author and the end that it makes elsewhere read the same."""
    match event:
        case SessionCompleted():
            return COMPLETED
        case ContractExpired() | SessionCancelled(reason="expired"):  # found by the participant, or by the gateway
            return "expired"
        case SessionFailed(reason=reason, who=who) | SessionCancelled(reason=reason, who=who):
            return f"ended early by {who} ({reason})"
        case ContractRefused(reason=reason):
            return f"ended early by {owner} ({reason})"
        case _:
            return None


def _forked(witness: _Side, owner: _Side) -> str | None:
    """Whether the owner's log is another than the one of which the witness cosigned a head."""
    seen = witness.witnessed.get(owner.name)
    if seen is None:
        return None
    size = seen.checkpoint.size
    try:
        seen.accept(owner.name, *owner.keys)
    except Found:
        return f"{witness.name} shows a head of {owner.name}'s log that {owner.name} did not sign"
    if size == owner.head.size and seen.checkpoint.root != owner.head.root:
        return f"{witness.name} cosigned another log of {owner.name}, as long as the one in its bundle"
    return None


def _behind(one: _Side, other: _Side) -> Iterator[str]:
    """A bundle that is older than a head that the other cosigned: it was written before, or the log rolled back."""
    for witness, owner in ((one, other), (other, one)):
        seen = witness.witnessed.get(owner.name)
        if seen is not None and seen.checkpoint.size > owner.head.size:
            yield (
                f"{witness.name} cosigned {seen.checkpoint.size} entries of {owner.name}'s log, whose bundle is of "
                f"{owner.head.size}: have it exported again"
            )


def _completed(*sides: _Side) -> bool:
    return any(side.ending == COMPLETED for side in sides)


def _distinct(items: Iterable[str]) -> list[str]:
    return sorted(set(items))


def _short(digests: Sequence[str]) -> str:
    return ", ".join(digest[:12] for digest in digests)
