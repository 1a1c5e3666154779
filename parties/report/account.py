"""From a session's contract and log entries to the facts of its report. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Generic, TypeVar

from parties.agreement.contract import Contract, Disclosure, Participant, check_approval
from parties.agreement.kinds import AnyContract, parse_contract
from parties.agreement.leaving import inferences, leaving
from parties.agreement.match_plan import MatchingContract
from parties.agreement.prediction import PredictionContract
from parties.audit import events
from parties.errors import ContractError
from parties.report.facts import (
    GATEWAY,
    Bound,
    Facts,
    Incident,
    Involved,
    MatchedSet,
    Moment,
    OwnRecords,
    Recording,
    Share,
    State,
    Told,
)
from parties.report.material import Material
from parties.report.words import incident, reason, step

E = TypeVar("E", bound=events.Event)


@dataclass(frozen=True)
class _Seen(Generic[E]):
    time: datetime
    event: E


def facts_of(material: Material, now: datetime) -> Facts:
    """Raises: ContractError if this release can't read the contract."""
    contract = parse_contract(material.session.contract.encode())
    return _Telling(contract, material).facts(now)


class _Telling:
    """One session's facts in the making."""

    def __init__(self, contract: AnyContract, material: Material) -> None:
        self._contract, self._material = contract, material
        self._name, self._digest = material.name, material.session.digest
        self._parties = tuple(party.name for party in contract.parties)

    def facts(self, now: datetime) -> Facts:
        contract, own = self._contract, self._name
        state, ended, why, blamed = self._ending()
        training = contract if isinstance(contract, Contract) else None
        is_party = own in self._parties
        matched = [entry.event.rows for entry in self._all(events.RecordsMatched)]
        counted = [entry.event.words for entry in self._all(events.OpeningsCounted)]
        trained = training.program.rows if training else 0
        return Facts(
            organisation=own,
            role="party" if is_party else "dealer",
            made=now.astimezone(UTC),
            session=self._digest,
            kind=contract.kind,
            purpose=contract.purpose,
            legal_basis=contract.legal_basis,
            impact_assessment=contract.impact_assessment,
            impact_assessment_sha256=contract.impact_assessment_sha256,
            model=contract.model if isinstance(contract, PredictionContract) else "",
            created=contract.created.astimezone(UTC),
            expires=contract.expires.astimezone(UTC),
            state=state,
            began=next((seen.time for seen in self._all(events.SessionStarted)), None),
            ended=ended,
            reason=why,
            blamed=blamed,
            told_apart=training.label.told_apart if training else (),
            partition=None if isinstance(contract, MatchingContract) else contract.partition,
            training_rows=trained,
            held_out_rows=sum(training.division.counts(training.parties)) - trained if training else 0,
            involved=tuple(self._involved(one) for one in (*contract.parties, contract.dealer)),
            told=tuple(self._told()),
            inferences=tuple(inferences(contract, own)) if is_party else (),
            matched_rows=matched[0] if matched else None,
            compared=tuple((e.event.partner, e.event.equal) for e in self._all(events.TranscriptCompared)),
            bound=tuple(self._bound()),
            masked_words=counted[0] if counted else None,
            share=self._share(training.retention.model_days if training else 0),
            found=self._found(),
            recording=self._recording(),
            records=self._records(),
            incidents=tuple(self._incidents()),
            moments=tuple(self._moments()),
            checked=self._material.checked,
        )

    def _all(self, kind: type[E]) -> list[_Seen[E]]:
        """Entries of one kind, oldest first."""
        return [_Seen(entry.time, entry.event) for entry in self._material.entries if isinstance(entry.event, kind)]

    def _ending(self) -> tuple[State, datetime | None, str, str]:
        """Where the session stands by the log's last word of it, since when, why, and who caused it."""
        state: tuple[State, datetime | None, str, str] = ("waiting", None, "", "")
        for entry in self._material.entries:
            match entry.event:
                case events.ContractApproved():
                    state = ("agreed", None, "", "")
                case events.SessionStarted():
                    state = ("running", None, "", "")
                case events.SessionCompleted():
                    state = ("completed", entry.time, "", "")
                case events.ContractRefused(reason=code):
                    state = ("refused", entry.time, reason(code), self._name)
                case events.ContractExpired():
                    state = ("expired", entry.time, reason("expired"), "")
                case events.SessionFailed(reason=code, who=who):
                    state = ("failed", entry.time, reason(code), who)
                case events.SessionCancelled(reason=code, who=who):
                    state = ("cancelled", entry.time, reason(code), who)
        return state

    def _involved(self, one: Participant) -> Involved:
        party = next((party for party in self._contract.parties if party.name == one.name), None)
        label = self._contract.label if isinstance(self._contract, Contract) and party is not None else None
        words, at = self._agreed(one.name)
        withdrawn = [seen.time for seen in self._all(events.ConsentWithdrawn) if seen.event.who == one.name]
        return Involved(
            name=one.name,
            role="party" if party is not None else "dealer",
            fingerprint=one.fingerprint,
            data=party.data if party else "",
            schema_sha256=party.schema_sha256 if party else "",
            rows=party.rows if party else 0,
            id_column=party.id_column if party else "",
            columns=party.columns if party else (),
            label=label.column if label and label.held_by(one.name) else "",
            agreed=words,
            agreed_at=at,
            withdrew_at=withdrawn[0] if withdrawn else None,
        )

    def _agreed(self, name: str) -> tuple[str, datetime | None]:
        if name == self._name:
            return self._agreed_here()
        envelope = self._material.approvals.get(name)
        if envelope is None:
            refused = [seen.event.who for seen in self._all(events.SessionCancelled)]
            return ("ended the session" if name in refused else "not known here: no signature came"), None
        try:
            check_approval(self._contract, name, envelope)
        except ContractError:
            return "a signature is kept that does NOT hold", None
        return "signed; who decided there is not known here", None

    def _agreed_here(self) -> tuple[str, datetime | None]:
        for seen in self._all(events.ContractApproved):
            who = "the operator" if seen.event.by == "operator" else "the organisation's policy, without asking"
            return f"signed by decision of {who}", seen.time
        for refusal in self._all(events.ContractRefused):
            who = "the operator" if refusal.event.by == "operator" else "the organisation's policy"
            return f"refused by {who}", refusal.time
        return "not decided", None

    def _told(self) -> list[Told]:
        records, told_here = self._all(events.DisclosureRecorded), self._all(events.DisclosureTold)
        told = []
        for item, line in zip(self._contract.disclosures, leaving(self._contract, ""), strict=True):
            times = [seen.time for seen in records if seen.event.clause == item.clause]
            told.append(
                Told(
                    clause=item.clause,
                    name=item.name,
                    what=line.what,
                    to=line.to,
                    recipients=self._recipients(item),
                    numbers=item.values,
                    allowed=item.count,
                    recorded=len(times),
                    digests=sum(seen.event.clause == item.clause for seen in told_here),
                    first=times[0] if times else None,
                    last=times[-1] if times else None,
                )
            )
        return told

    def _recipients(self, item: Disclosure) -> tuple[str, ...]:
        """Names; the dealer has a guard's bits from which random numbers it is asked for."""
        if item.recipient != "session":
            return tuple(item.recipient.partition(":")[2].split(","))
        return (*self._parties, *([self._contract.dealer.name] if item.name == "guard" else []), GATEWAY)

    def _bound(self) -> Iterator[Bound]:
        if own := len(self._all(events.CommitmentSigned)):
            yield Bound(name=self._name, stages=own)
        for name in self._parties:
            if came := [e.event for e in self._all(events.CommitmentReceived) if e.event.partner == name]:
                yield Bound(name=name, stages=len(came), equal=all(event.equal for event in came))

    def _share(self, days: int) -> Share:
        stored = [seen.time for seen in self._all(events.ModelStored)]
        deleted = [(seen.time, seen.event.by) for seen in self._all(events.ModelDeleted)]
        used = [seen for seen in self._all(events.ModelUsed) if seen.event.model == self._digest]
        return Share(
            days=days,
            stored=stored[0] if stored else None,
            until=stored[0] + timedelta(days=days) if stored else None,
            used=tuple((seen.time, seen.event.session) for seen in used),
            deleted=deleted[0][0] if deleted else None,
            deleted_by=deleted[0][1] if deleted else "",
        )

    def _found(self) -> MatchedSet | None:
        if not isinstance(self._contract, MatchingContract) or self._contract.is_estimate:
            return None
        name, days = self._contract.leaves, self._contract.keep_days
        for seen in self._all(events.DataMatched):
            return MatchedSet(name=name, days=days, rows=seen.event.rows, stored=seen.time)
        return MatchedSet(name=name, days=days)

    def _recording(self) -> Recording | None:
        if not self._contract.replay_days or self._name not in self._parties:
            return None
        kept, deleted = self._all(events.ReplayKept), self._all(events.ReplayDeleted)
        return Recording(
            days=self._contract.replay_days,
            kept=kept[0].time if kept else None,
            deleted=deleted[0].time if deleted else None,
            deleted_by=deleted[0].event.by if deleted else "",
            replayed=tuple((seen.time, seen.event.equal) for seen in self._all(events.Replayed)),
        )

    def _records(self) -> OwnRecords:
        kept = [seen.time + timedelta(days=seen.event.days) for seen in self._all(events.RecordsKept)]
        destroyed = [seen.time for seen in self._all(events.RecordsDestroyed)]
        return OwnRecords(until=kept[0] if kept else None, destroyed=destroyed[0] if destroyed else None)

    def _incidents(self) -> list[Incident]:
        told = ((entry.time, incident(entry.event, self._name)) for entry in self._material.entries)
        return [Incident(at=at, what=what) for at, what in told if what]

    def _moments(self) -> list[Moment]:
        """Every step in order; of a disclosure that was made several times the first and the last."""
        found, everybody = [], (*self._parties, self._contract.dealer.name)
        for entry in self._material.entries:
            match entry.event:
                case events.DisclosureRecorded():
                    continue
                case events.SessionStarted():
                    found.append(Moment(at=entry.time, what="all had agreed; computing began", acting=everybody))
                case events.RecordsMatched():
                    what = "the parties made sure that their records fit together"
                    found.append(Moment(at=entry.time, what=what, acting=self._parties))
                case events.SessionCompleted():
                    found.append(Moment(at=entry.time, what="the session ended as agreed", acting=everybody))
                case event:
                    if step_of_one := self._step(event):
                        who, what = step_of_one
                        found.append(Moment(at=entry.time, what=what, acting=(who,)))
        return sorted([*found, *self._tellings()], key=lambda moment: moment.at)

    def _step(self, event: events.Event) -> tuple[str, str] | None:
        """What one participant did, and which."""
        what = step(event, self._name)
        who = str(getattr(event, "who", self._name))
        known = who in {*self._parties, self._contract.dealer.name}
        return (who if known else GATEWAY, what) if what else None

    def _tellings(self) -> list[Moment]:
        """What was told, the first and the last time; disclosures of one name within a second are one moment."""
        together: dict[tuple[str, datetime], list[tuple[datetime, Told]]] = {}
        for told in self._told():
            for at in sorted({at for at in (told.first, told.last) if at is not None}):
                together.setdefault((told.name, at.replace(microsecond=0)), []).append((at, told))
        return [
            Moment(
                at=several[0][0],
                what=_said(several[0][0], [told for _, told in several]),
                acting=self._parties,
                told=tuple(dict.fromkeys(name for _, told in several for name in told.recipients)),
            )
            for several in together.values()
        ]


def _said(at: datetime, told: list[Told]) -> str:
    one = told[0]
    if len(told) > 1 and one.name == "coefficients":
        return "told: the model’s coefficients, to each party those of its own columns"
    turn = ""
    if one.recorded > 1 and one.first != one.last:
        turn = f", {'the first' if at == one.first else 'the last'} of {one.recorded} times"
    return f"told: {one.what}{turn}"
