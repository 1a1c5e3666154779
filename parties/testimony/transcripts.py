"""Each party's signature on its hash chain of all that was opened, exchanged at a session's end and kept as evidence.

Parties compare their chains before each disclosure already. What is signed here binds a party to its chain afterwards:
whoever told two peers different things can't tell auditors a third.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import rfc8785

from parties.agreement.contract import Party
from parties.agreement.kinds import AnyContract, parse_contract
from parties.audit.events import TranscriptSigned
from parties.audit.log import AuditLog
from parties.errors import TranscriptError
from parties.keys.identity import Identity
from parties.service.lifecycle import FINAL, State
from parties.service.messages import SignedTranscript
from parties.service.store import SessionStore
from parties.testimony.statement import TRANSCRIPT_TYPE, Statement, read_statement

UNCONFIRMED: Final = "unconfirmed"  # the reason of an error: not everybody has signed yet
MAX_EARLY: Final = 64  # statements that came before the own run ended
MAX_REMINDERS: Final = 64  # sessions, the newest, for which missing statements are asked


def unconfirmed(contract: AnyContract, own: str, held: Mapping[str, dict[str, Any]]) -> list[str]:
    """Parties of whom no signature is held that a session ended well with them too, with the own transcript."""
    if own not in held:
        return [party.name for party in contract.parties if party.name != own]
    said = read_statement(contract, own, held[own]).said
    return [
        party.name
        for party in contract.parties
        if party.name not in held or read_statement(contract, party.name, held[party.name]).said != said
    ]


class Transcripts:
    """One party's side of all sessions."""

    def __init__(self, name: str, identity: Identity, store: SessionStore, journal: AuditLog) -> None:
        self._name, self._identity, self._store, self._journal = name, identity, store, journal
        self._early: dict[tuple[str, str], SignedTranscript] = {}
        self._contradicted: set[tuple[str, str]] = set()

    def conclude(
        self, contract: AnyContract, epoch: int, digest: str, openings: int, words: int
    ) -> list[SignedTranscript]:
        """Sign the own chain at the end of a run: what to send to each other party."""
        statement = Statement(
            session=contract.digest, epoch=epoch, name=self._name, digest=digest, openings=openings, words=words
        )
        envelope = self._identity.seal(TRANSCRIPT_TYPE, rfc8785.dumps(statement.model_dump(mode="json")))
        self._store.keep_transcript(contract.digest, self._name, envelope)
        return [self._for(party, contract, envelope, ask=False) for party in self._others(contract)]

    def catch_up(self, contract: AnyContract) -> None:
        """Compare what came before the own run had ended. Raises: TranscriptError as `hear`."""
        for party in self._others(contract):
            if (message := self._early.pop((contract.digest, party.name), None)) is not None:
                self._compare(contract, party, message)

    def forget(self, session: str) -> None:
        """The own run failed: what came for it counts no more."""
        for key in [key for key in self._early if key[0] == session]:
            del self._early[key]

    def hear(self, message: SignedTranscript) -> list[SignedTranscript]:
        """A party's statement came: compare and keep it; answer with the own one if it asks.

        Raises: TranscriptError if it is not the own party's chain, once that is recorded, or is about no session that
        ended well here; ContractError if it is not signed by the key in the contract.
        """
        session = self._store.find(message.session)
        if session is None:
            raise TranscriptError(f"a transcript of a session came that {self._name} does not know")
        contract = parse_contract(session.contract.encode())
        party = next((one for one in self._others(contract) if one.name == message.peer), None)
        if party is None:
            raise TranscriptError(f"a transcript came from {message.peer}, who is no other party of the session")
        if session.state is not State.COMPLETED:
            if session.state in FINAL:
                raise TranscriptError(f"a transcript of {message.peer} came for a session that did not end well here")
            read_statement(contract, party.name, message.envelope)
            if len(self._early) < MAX_EARLY:
                self._early[message.session, party.name] = message
            return []
        self._compare(contract, party, message)
        own = self._store.transcripts(message.session).get(self._name)
        return [self._for(party, contract, own, ask=False)] if message.ask and own is not None else []

    def reminders(self) -> list[SignedTranscript]:
        """The own statements on sessions of which others' are missing, with the request for theirs."""
        asked = []
        for session in self._store.all([State.COMPLETED], newest=MAX_REMINDERS):
            held = self._store.transcripts(session.digest)
            if self._name not in held:
                continue
            contract = parse_contract(session.contract.encode())
            missing = [party for party in self._others(contract) if party.name not in held]
            asked += [self._for(party, contract, held[self._name], ask=True) for party in missing]
        return asked

    def _compare(self, contract: AnyContract, party: Party, message: SignedTranscript) -> None:
        theirs = read_statement(contract, party.name, message.envelope)
        held = self._store.transcripts(contract.digest)
        if (known := held.get(party.name)) is not None:
            self._compare_with_known(contract, party, theirs, known)
            return
        own = read_statement(contract, self._name, held[self._name])
        equal = theirs.said == own.said
        self._journal.append(
            TranscriptSigned(session=contract.digest, partner=party.name, digest=theirs.digest, equal=equal)
        )
        self._store.keep_transcript(contract.digest, party.name, message.envelope)
        if not equal:
            raise TranscriptError(
                f"{party.name} signed another transcript than {self._name}'s",
                action="export the session's bundle, and reconcile it with those of the other parties",
            )

    def _compare_with_known(
        self, contract: AnyContract, party: Party, theirs: Statement, known: dict[str, Any]
    ) -> None:
        """Ed25519 signs the same twice in the same bytes; what counts is what was signed."""
        if theirs.said == read_statement(contract, party.name, known).said:
            return
        if (contract.digest, party.name) not in self._contradicted:  # once: it can be sent again for ever
            self._contradicted.add((contract.digest, party.name))
            self._journal.append(
                TranscriptSigned(session=contract.digest, partner=party.name, digest=theirs.digest, equal=False)
            )
        raise TranscriptError(
            f"{party.name} signed two different transcripts of one session",
            action="keep both logs, and ask the partner's compliance officer",
        )

    def _for(self, party: Party, contract: AnyContract, envelope: dict[str, Any], *, ask: bool) -> SignedTranscript:
        return SignedTranscript(
            peer=party.name,
            public_key=self._identity.public.hex(),
            session=contract.digest,
            envelope=envelope,
            ask=ask,
        )

    def _others(self, contract: AnyContract) -> list[Party]:
        return [party for party in contract.parties if party.name != self._name]
