"""At a session's end each party signs its transcript, holds the others' signatures, and knows one that differs."""

from __future__ import annotations

import json

import pytest

from parties.audit.agreements import Agreement
from parties.audit.events import ContractReceived, TranscriptCompared, TranscriptSigned
from parties.audit.export import export
from parties.audit.heads import KnownHead
from parties.audit.log import AuditLog
from parties.audit.notes import Checkpoint, sign
from parties.audit.reconcile import reconcile
from parties.audit.snapshot import take
from parties.audit.verify import verify
from parties.errors import ContractError, TranscriptError
from parties.keys.identity import Identity
from parties.service.lifecycle import Step
from parties.service.store import SessionStore
from parties.testimony.statement import read_statement
from parties.testimony.transcripts import MAX_EARLY, Transcripts, unconfirmed

DIGEST, OTHER = "5a" * 32, "0f" * 32


class Side:
    """One party of the consortium's session, which runs here."""

    def __init__(self, consortium, place, name):
        place.mkdir()
        self.name, self.contract, self.place = name, consortium.contract, place
        self.identity = consortium.identities[name]
        self.store = SessionStore(place / "state.sqlite")
        self.journal = AuditLog.open(place / "audit.sqlite", self.identity, name)
        self.transcripts = Transcripts(name, self.identity, self.store, self.journal)
        self.journal.append(ContractReceived(session=self.contract.digest, parties=2))
        self.store.receive(self.contract.digest, self.contract.canonical().decode())
        for step in (Step.APPROVE, Step.START):
            self.store.step(self.contract.digest, step)

    def end(self, digest=DIGEST, words=90):
        """The run ends well; what it sends to the others."""
        for partner in self.contract.parties:
            if partner.name != self.name:
                self.journal.append(
                    TranscriptCompared(session=self.contract.digest, partner=partner.name, digest=digest, equal=True)
                )
        said = self.transcripts.conclude(self.contract, 1, digest, 9, words)
        self.store.step(self.contract.digest, Step.COMPLETE)
        return said

    def events(self):
        entries = take(self.place / "audit.sqlite").entries()
        return [entry.event for entry in entries if isinstance(entry.event, TranscriptSigned)]

    def bundle(self, witnessed=None, **changed):
        held = changed or self.store.transcripts(self.contract.digest)
        agreement = Agreement(self.contract.canonical(), {}, held)
        out = self.place / "session.bundle"
        session = self.contract.digest
        out.write_bytes(export(self.journal.path, self.identity, session, {session: agreement}, witnessed=witnessed))
        return out


def carried(sender, message):
    return message.model_copy(update={"peer": sender.name})


@pytest.fixture
def sides(consortium, tmp_path):
    made = [Side(consortium, tmp_path / name, name) for name in ("clinic-a", "clinic-b")]
    yield made
    for side in made:
        side.journal.close()


def signed(side, digest=DIGEST, *, equal=True):
    return TranscriptSigned(session=side.contract.digest, partner=side.name, digest=digest, equal=equal)


def exchange(a, b):
    """Both end, and hear of each other."""
    (mine,), (theirs,) = a.end(), b.end()
    assert a.transcripts.hear(carried(b, theirs)) == []
    assert b.transcripts.hear(carried(a, mine)) == []
    return mine, theirs


def test_each_holds_the_other_s_signature(sides):
    """Both logs say that the other's signed transcript is the own one; bundles show the signatures to auditors."""
    a, b = sides
    exchange(a, b)
    assert a.events() == [signed(b)]
    assert b.events() == [signed(a)]
    assert a.store.transcripts(a.contract.digest) == b.store.transcripts(b.contract.digest)
    assert verify(a.bundle()).ok
    outcome = reconcile((a.bundle(), b.bundle()))
    assert outcome.differences == ()
    assert outcome.notes == (
        "clinic-a holds clinic-b's signature on the transcript",
        "clinic-a does NOT hold clinic-b's signature on what it sent",  # no run was behind these logs
        "clinic-b holds clinic-a's signature on the transcript",
        "clinic-b does NOT hold clinic-a's signature on what it sent",
    )


def test_what_comes_early_waits(sides):
    """A party that ends first is not in vain: its statement is compared when the own run has ended."""
    a, b = sides
    (theirs,) = b.end()
    assert a.transcripts.hear(carried(b, theirs)) == []
    assert a.events() == []
    a.end()
    a.transcripts.catch_up(a.contract)
    assert a.events() == [signed(b)]


def test_what_waits_is_bounded_and_forgotten(sides):
    """A run that failed compares nothing, and says so to what comes later."""
    a, b = sides
    (theirs,) = b.end()
    for _ in range(MAX_EARLY + 1):
        a.transcripts.hear(carried(b, theirs))
    a.transcripts.forget(a.contract.digest)
    a.transcripts.catch_up(a.contract)
    a.store.step(a.contract.digest, Step.FAIL)
    with pytest.raises(TranscriptError, match="did not end well here"):
        a.transcripts.hear(carried(b, theirs))
    assert a.events() == []


@pytest.mark.parametrize("lie", [{"digest": OTHER}, {"words": 91}])
def test_another_transcript_is_recorded_and_kept(sides, lie):
    """A party that signs another chain than ours is in our log, and its signature in our bundle."""
    a, b = sides
    a.end()
    (theirs,) = b.end(**lie)
    with pytest.raises(TranscriptError, match="clinic-b signed another transcript than clinic-a's"):
        a.transcripts.hear(carried(b, theirs))
    assert a.events() == [signed(b, lie.get("digest", DIGEST), equal=False)]
    assert "clinic-b" in a.store.transcripts(a.contract.digest)


def test_who_has_not_confirmed_a_session_is_known(sides):
    """Until the other has signed that it ended well with it too; a signature on another transcript is none."""
    a, b = sides
    assert unconfirmed(a.contract, a.name, a.store.transcripts(a.contract.digest)) == ["clinic-b"]
    exchange(a, b)
    held = a.store.transcripts(a.contract.digest)
    assert unconfirmed(a.contract, a.name, held) == []
    (lie,) = b.transcripts.conclude(b.contract, 1, OTHER, 9, 90)
    assert unconfirmed(a.contract, a.name, held | {b.name: lie.envelope}) == ["clinic-b"]


def test_two_signatures_of_one_party_are_evidence(sides):
    """Whoever signs a second, different transcript is recorded once; the first signature stays."""
    a, b = sides
    _, theirs = exchange(a, b)
    (second,) = b.transcripts.conclude(b.contract, 1, OTHER, 9, 90)
    for _ in range(2):
        with pytest.raises(TranscriptError, match="two different transcripts"):
            a.transcripts.hear(carried(b, second))
    assert a.events() == [signed(b), signed(b, OTHER, equal=False)]
    assert a.store.transcripts(a.contract.digest)["clinic-b"] == theirs.envelope
    outcome = reconcile((a.bundle(), b.bundle()))
    assert [item.what for item in outcome.differences] == [
        "clinic-b signed two different transcripts: clinic-a holds one, clinic-b another"
    ]


def test_a_missing_signature_is_asked_for(sides):
    """After a reconnect each asks for what it lacks, and is answered; with nothing missing nobody asks."""
    a, b = sides
    a.end()
    b.end()
    (ask,) = a.transcripts.reminders()
    assert ask.ask
    (answer,) = b.transcripts.hear(carried(a, ask))
    assert not answer.ask
    assert a.transcripts.hear(carried(b, answer)) == []
    assert a.transcripts.reminders() == b.transcripts.reminders() == []
    outcome = reconcile((a.bundle(), b.bundle()))
    assert outcome.ok


def test_a_signature_that_lacks_is_said(sides):
    """Reconciling says whose signature is not there; a dealer is not asked for one."""
    a, b = sides
    a.end()
    b.end()
    outcome = reconcile((a.bundle(), b.bundle()))
    assert outcome.differences == ()
    assert outcome.notes[0] == "clinic-a does NOT hold clinic-b's signature on the transcript"


def test_a_log_that_a_partner_saw_otherwise_is_found(sides):
    """Reconciling holds each bundle against the head of its log that the other side cosigned."""
    a, b = sides
    exchange(a, b)

    def outcome(text, name="clinic-b", signer=b):
        head = KnownHead.parse(sign(text, name, signer.identity).render())
        return reconcile((a.bundle(witnessed={"clinic-b": head, "stranger": head}), b.bundle()))

    size, root = b.journal.size, b.journal.root(b.journal.size)
    good = outcome(Checkpoint("clinic-b", size, root).render())
    assert (good.differences, len(good.notes)) == ((), 4)  # of each side on transcripts, and on what was sent
    (fork,) = outcome(Checkpoint("clinic-b", size, bytes(32)).render()).differences
    assert fork.what == "clinic-a cosigned another log of clinic-b, as long as the one in its bundle"
    (forged,) = outcome(Checkpoint("clinic-b", size, root).render(), signer=a).differences
    assert forged.what == "clinic-a shows a head of clinic-b's log that clinic-b did not sign"
    later = outcome(Checkpoint("clinic-b", size + 5, root).render())
    assert later.differences == ()
    assert later.notes[-1].endswith(f"whose bundle is of {size}: have it exported again")
    assert b"stranger" not in (a.place / "session.bundle").read_bytes()


def test_a_gateway_s_forgeries_are_refused(sides):
    """Altered, under another name, of another session, signed by another key: nothing is taken."""
    a, b = sides
    mine, theirs = exchange(a, b)
    good = carried(b, theirs)
    forged = Identity.generate().seal(good.envelope["payloadType"], b"{}")
    empty = b.identity.seal(good.envelope["payloadType"], b"{}")
    for message, error in [
        (good.model_copy(update={"envelope": {**good.envelope, "payload": "e30="}}), "does not verify"),
        (good.model_copy(update={"envelope": forged}), "does not verify"),
        (good.model_copy(update={"envelope": empty}), "no statement on a transcript"),
        (good.model_copy(update={"envelope": mine.envelope}), "does not verify"),
    ]:
        with pytest.raises(ContractError, match=error):
            a.transcripts.hear(message)
    for message, error in [
        (good.model_copy(update={"peer": "clinic-a"}), "no other party"),
        (good.model_copy(update={"peer": "dealer"}), "no other party"),
        (good.model_copy(update={"session": OTHER}), "does not know"),
    ]:
        with pytest.raises(TranscriptError, match=error):
            a.transcripts.hear(message)
    assert a.events() == [signed(b)]
    other = a.contract.model_copy(update={"nonce": OTHER})
    with pytest.raises(ContractError, match="another session"):
        read_statement(other, "clinic-b", theirs.envelope)


def test_a_bundle_with_a_forged_transcript_does_not_verify(sides):
    """What a bundle shows as signed by a party is checked by the key in the contract."""
    a, b = sides
    _, theirs = exchange(a, b)
    forged = json.loads(json.dumps(theirs.envelope))
    forged["payload"] = a.store.transcripts(a.contract.digest)["clinic-a"]["payload"]
    verdict = verify(a.bundle(**{"clinic-b": forged}))
    assert verdict.failure.fault == "contract"
