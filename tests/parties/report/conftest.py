"""A home with a session's contract in its store and a log that says how the session went."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from parties.agreement.contract import Approval, Contract, sign_approval
from parties.agreement.kinds import AnyContract
from parties.agreement.plan import RetentionPlan
from parties.audit import events
from parties.audit.log import AuditLog
from parties.keys.identity import Identity
from parties.keys.tls import Invitation, TlsKey, utc_now
from parties.service.home import Home, Role, init
from parties.service.store import SessionStore
from tests.parties.conftest import draft, draft_matching, draft_prediction

BEGAN = datetime(2026, 11, 2, 9, tzinfo=UTC)


class Ward:
    """The home of clinic-a, or of the dealer, whose clock goes a second for each entry."""

    def __init__(self, directory: Path, name: str = "clinic-a") -> None:
        token = Invitation.create(name, "127.0.0.1:1", "ab" * 32).token()
        role: Role = "dealer" if name == "dealer" else "party"
        self.home: Home = init(directory / "home", role, token, "127.0.0.1:0", utc_now())
        self.identities = {one: Identity.generate() for one in ("clinic-a", "clinic-b", "dealer")}
        self.identities[name] = self.home.identity
        self.store = SessionStore(self.home.path("state.sqlite"))
        self.now = BEGAN
        self.log = AuditLog.open(self.home.path("audit.sqlite"), self.home.identity, name, clock=self._tick)

    def _tick(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now

    def contract(self, **changed: Any) -> Contract:
        made = draft(*(identity.public.hex() for identity in self.identities.values()))
        return made.model_copy(update={"retention": RetentionPlan(model_days=30), **changed})

    def prediction(self, trained: Contract) -> AnyContract:
        return draft_prediction(trained, trained.parties)

    def matching(self) -> AnyContract:
        return draft_matching(self.contract())

    def receive(self, contract: AnyContract) -> str:
        """The contract came and waits."""
        self.say(events.ContractReceived(session=contract.digest, parties=2))
        self.store.receive(contract.digest, contract.canonical().decode())
        return contract.digest

    def say(self, *several: events.Event) -> None:
        for event in several:
            self.log.append(event)

    def approve(self, contract: AnyContract) -> None:
        """All signed, and the session began."""
        keys = {name: TlsKey.generate(name, now=utc_now()) for name in self.identities}
        envelopes = {
            name: sign_approval(
                identity,
                Approval(
                    contract=contract.digest,
                    name=name,
                    role="dealer" if name == "dealer" else "party",
                    certificate=keys[name].certificate,
                    endpoint="127.0.0.1:9",
                ),
            )
            for name, identity in self.identities.items()
        }
        self.store.keep_approvals(contract.digest, envelopes)
        self.say(
            events.ContractApproved(session=contract.digest, by="operator"),
            events.SessionStarted(session=contract.digest, epoch=1, parties=2),
        )

    def tell(self, contract: AnyContract, counts: Sequence[int] | None = None) -> None:
        """Disclosures as the contract allows them, each once or as often as said."""
        for item, count in zip(contract.disclosures, counts or [1] * len(contract.disclosures), strict=True):
            for number in range(count):
                self.say(
                    events.DisclosureRecorded(
                        session=contract.digest,
                        name=item.name,
                        recipients=(item.recipient,),
                        shape=(item.values,),
                        clause=item.clause,
                        count=number + 1,
                    )
                )

    def complete(self, contract: AnyContract) -> None:
        digest = contract.digest
        self.say(
            events.RecordsMatched(session=digest, rows=contract.parties[0].rows, equal=True),
            events.OpeningsCounted(session=digest, rounds=90, words=123456, bytes_sent=1 << 20),
            events.CommitmentSigned(session=digest, stage=1, digest="ab" * 32),
            events.CommitmentReceived(session=digest, partner="clinic-b", stage=1, digest="ef" * 32, equal=True),
            events.TranscriptCompared(session=digest, partner="clinic-b", digest="cd" * 32, equal=True),
            events.SessionCompleted(session=digest, rounds=90, bytes_sent=1 << 20),
        )


@pytest.fixture
def ward(tmp_path: Path) -> Iterator[Ward]:
    made = Ward(tmp_path)
    yield made
    made.log.close()
