"""Consent ends: what it destroys, what it stops, who is told, and that it is done whole whatever dies."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from typer.testing import CliRunner

from gateway.cli import app
from parties.agreement.plan import RetentionPlan
from parties.audit.snapshot import locate, take
from parties.audit.verify import verify
from parties.columns.preparation import Standardiser
from parties.errors import ConsentWithdrawn, ContractError, LifecycleError
from parties.keys.identity import Identity, fingerprint
from parties.keys.partners import Partners
from parties.keys.tls import TlsKey
from parties.process.job import Done, ModelPart
from parties.service.daemon import Live
from parties.service.lifecycle import Step
from parties.service.messages import Fault, Refuse, Start, Withdraw, Withdrawn, decode_from_daemon
from parties.service.node import Node
from parties.testimony.withdrawal import WITHDRAWAL_TYPE, Withdrawal, check_withdrawal, digest_of, sign_withdrawal
from tests.parties.conftest import plain
from tests.parties.page.conftest import Clinic

WHEN = datetime(2026, 11, 3, tzinfo=UTC)
FAULT = Fault(code="cancelled", who="gateway", what="the analyst cancelled the session")


@pytest.fixture
def clinic(tmp_path) -> Iterator[Clinic]:
    made = Clinic(tmp_path)
    yield made
    if made._thread.is_alive():
        made.stop()


def told(node) -> list:
    """What the node would tell the gateway, in order, beside its data and head."""
    return [decode_from_daemon(content) for content in node.stream._outbox]


def kinds(home, session) -> list[str]:
    """Types of the log's entries about a session or the model that it left; the log verifies."""
    assert verify(home.path("audit.sqlite")).ok
    found = [entry.event for entry in take(locate(home.directory)).entries()]
    about = [event for event in found if session in {getattr(event, "session", ""), getattr(event, "model", "")}]
    return [event.type for event in about]


def withdrawn_word(identity, contract, name, digest=""):
    word = Withdrawal(contract=digest or contract.digest, name=name, public_key=identity.public.hex(), at=WHEN)
    return sign_withdrawal(identity, word)


def withdraw(clinic, session) -> str:
    async def do() -> str:
        return clinic.node.withdraw(session)

    return clinic.do(do())


def test_a_party_s_word_holds(consortium):
    """Signed by the party that the contract names, for this contract, it is what was said."""
    envelope = withdrawn_word(consortium.identities["clinic-b"], consortium.contract, "clinic-b")
    assert check_withdrawal(consortium.contract, "clinic-b", envelope).at == WHEN
    assert len(digest_of(envelope)) == 64


BAD = {
    "signed by another": lambda c: ("clinic-b", withdrawn_word(c.identities["clinic-a"], c.contract, "clinic-b")),
    "by a dealer": lambda c: ("dealer", withdrawn_word(c.identities["dealer"], c.contract, "dealer")),
    "in another's name": lambda c: ("clinic-b", withdrawn_word(c.identities["clinic-b"], c.contract, "clinic-a")),
    "of another contract": lambda c: (
        "clinic-b",
        withdrawn_word(c.identities["clinic-b"], c.contract, "clinic-b", "ab" * 32),
    ),
    "an approval": lambda c: ("clinic-b", c.envelopes()["clinic-b"]),
    "no such payload": lambda c: ("clinic-b", c.identities["clinic-b"].seal(WITHDRAWAL_TYPE, b'{"name":"clinic-b"}')),
    "no envelope": lambda _: ("clinic-b", {"payload": 1}),
}


@pytest.mark.parametrize("case", BAD)
def test_a_word_that_does_not_hold_is_refused(consortium, case):
    """Whoever passes it on can make none, and can't turn one into another."""
    name, envelope = BAD[case](consortium)
    with pytest.raises(ContractError):
        check_withdrawal(consortium.contract, name, envelope)


def test_a_word_by_the_key_that_follows_holds(consortium, tmp_path):
    """Consent may end after the key was handed over: whoever accepted the next key takes its word, and no other's."""
    contract, name, next_key = consortium.contract, "clinic-b", Identity.generate()
    envelope = withdrawn_word(next_key, contract, name)
    partners = Partners(tmp_path / "partners.json")
    partners.add(name, contract.party(name).fingerprint)

    def follows(party, key):
        return partners.is_same(party.name, party.fingerprint, fingerprint(key))

    with pytest.raises(ContractError, match="does not verify"):
        check_withdrawal(contract, name, envelope, follows)
    partners.offer(name, next_key.fingerprint)
    partners.accept(name)
    assert check_withdrawal(contract, name, envelope, follows).public_key == next_key.public.hex()
    with pytest.raises(ContractError, match="does not verify"):
        check_withdrawal(contract, name, withdrawn_word(Identity.generate(), contract, name), follows)


def test_what_waits_is_refused(clinic):
    """A contract that was not answered is refused, for this reason; the gateway is told both."""
    session = clinic.proposed()
    assert withdraw(clinic, session[:10]) == session
    fault = clinic.node.store.get(session).fault
    assert (clinic.state(session), fault.code, fault.who) == ("refused", "withdrawn", "clinic-a")
    assert kinds(clinic.home, session)[-2:] == ["session:consent:withdrawn", "session:contract:refused"]
    word, refusal = (next(m for m in told(clinic.node) if isinstance(m, kind)) for kind in (Withdraw, Refuse))
    check_withdrawal(clinic.agreed(session), "clinic-a", word.envelope)
    assert refusal.fault.code == "withdrawn"


def test_what_was_signed_never_starts(clinic):
    """An approved session is cancelled here; a start that comes too late starts nothing."""
    session = clinic.proposed()
    clinic.do(clinic.node.sign(session, by="operator"))
    withdraw(clinic, session)
    assert clinic.state(session) == "cancelled"
    assert [m.fault.code for m in told(clinic.node) if isinstance(m, Refuse)] == ["withdrawn"]
    clinic.do(clinic.node.start(Start(session=session, approvals={})))
    assert clinic.state(session) == "cancelled"
    assert "session:run:started" not in kinds(clinic.home, session)


def kept(clinic) -> tuple[str, str]:
    """A completed training whose share is kept, and a prediction by it that waits."""
    session = clinic.proposed(retention=RetentionPlan(model_days=30))
    for step in (Step.APPROVE, Step.START, Step.COMPLETE):
        clinic.node.store.step(session, step)
    clinic.node.store.begin_epoch(session, 1)
    waits = clinic.prediction(clinic.agreed(session))
    assert clinic.state(waits.digest) == "proposed"
    return session, waits.digest


def test_a_model_goes_and_serves_nobody(clinic):
    """The share is destroyed, predictions that wait are refused, and so are later ones: each says why."""
    session, waits = kept(clinic)
    withdraw(clinic, session)
    assert clinic.node.models.list() == ()
    assert kinds(clinic.home, session)[-2:] == ["session:consent:withdrawn", "vault:model:deleted"]
    assert (clinic.state(waits), clinic.node.store.get(waits).fault.code) == ("refused", "withdrawn")
    later = clinic.prediction(clinic.agreed(session), keep=False, nonce="0d" * 32)
    fault = clinic.node.store.get(later.digest).fault
    assert (clinic.state(later.digest), fault.code) == ("refused", "withdrawn")
    assert "clinic-a withdrew its consent" in fault.what
    assert clinic.state(session) == "completed"  # what was done stays done


def test_a_prediction_that_was_signed_never_starts(clinic):
    """It had not begun when consent to its model's training ended: it is cancelled here, and everybody is told why."""
    session, waits = kept(clinic)
    clinic.do(clinic.node.sign(waits, by="operator"))
    assert clinic.state(waits) == "approved"
    withdraw(clinic, session)
    assert (clinic.state(waits), clinic.node.store.get(waits).fault.code) == ("cancelled", "withdrawn")
    assert [(m.session, m.fault.code) for m in told(clinic.node) if isinstance(m, Refuse)] == [(waits, "withdrawn")]
    assert "session:run:cancelled" in kinds(clinic.home, waits)


def test_withdrawing_twice_is_withdrawing_once(clinic):
    """The second time changes nothing, and says the same."""
    session, _ = kept(clinic)
    assert withdraw(clinic, session) == session
    size = clinic.node.journal.size
    assert withdraw(clinic, session) == session
    assert clinic.node.journal.size == size


@pytest.mark.parametrize("ends", ["refused", "cancelled"])
def test_what_never_began_has_no_consent(clinic, ends):
    """A session that ended before it began is left as it is."""
    session = clinic.proposed()
    if ends == "refused":
        clinic.node.refuse_for(session, "purpose")
    else:
        clinic.node.stop(session, FAULT)
    size = clinic.node.journal.size
    with pytest.raises(LifecycleError, match="no consent to withdraw"):
        withdraw(clinic, session)
    with pytest.raises(LifecycleError, match="0 sessions begin"):
        withdraw(clinic, "ff" * 32)
    assert clinic.node.journal.size == size


KILLS = ("before it was recorded", "after it was recorded", "in the middle of the share", "before the rest ended")


@pytest.mark.parametrize("kill", KILLS)
def test_a_withdrawal_that_was_cut_off_is_completed(clinic, kill):
    """Wherever the daemon dies, the next start records, destroys and ends what is left."""
    session, waits = kept(clinic)
    node, path = clinic.node, clinic.home.path("models") / f"{session}.model"
    word = withdrawn_word(clinic.home.identity, clinic.agreed(session), "clinic-a")
    node.store.keep_withdrawal(session, "clinic-a", word)
    if kill != KILLS[0]:
        node.withdrawals._record(session, "clinic-a")
    if kill == KILLS[2]:
        path.write_bytes(bytes(path.stat().st_size))
    if kill == KILLS[3]:
        node.destroy_share(session)
    clinic.stop()
    again = Node(clinic.home)
    for withdrawn in again.withdrawals.resume():
        again._end_withdrawn(withdrawn)
    again.journal.close()
    assert not path.exists()
    assert again.store.get(waits).fault.code == "withdrawn"
    assert kinds(clinic.home, session).count("session:consent:withdrawn") == 1
    assert kinds(clinic.home, session).count("vault:model:deleted") == 1
    assert [m.session for m in again.greetings() if isinstance(m, Withdraw)] == [session]


def test_no_share_is_kept_after_a_withdrawal(clinic):
    """A run that ended in the moment of the withdrawal leaves no model."""
    session, _ = kept(clinic)
    withdraw(clinic, session)
    part = ModelPart(
        encoding=plain("age"),
        standardiser=Standardiser(names=("age",), mean=(0.0,), deviation=(1.0,), clip=32.0),
        share="00" * 8,
    )
    live = Live(clinic.agreed(session), TlsKey.generate("clinic-a", now=WHEN), {})
    clinic.node.finish(live, Done(model=part))
    assert clinic.node.models.list() == ()
    with pytest.raises(ConsentWithdrawn):
        clinic.node._model(clinic.prediction(clinic.agreed(session), keep=False, nonce="0c" * 32))


def test_a_partner_s_word_is_recorded(clinic):
    """What another party withdrew is in this log too, once; by its model nothing is predicted here any more."""
    session, _ = kept(clinic)
    contract = clinic.agreed(session)
    word = withdrawn_word(clinic.others["clinic-b"], contract, "clinic-b")
    for _ in range(2):
        clinic.do(clinic.node.on_message(Withdrawn(session=session, name="clinic-b", envelope=word)))
    (entry,) = [
        entry.event
        for entry in take(locate(clinic.home.directory)).entries()
        if entry.event.type == "session:consent:withdrawn"
    ]
    assert (entry.who, entry.by, entry.digest) == ("clinic-b", "partner", digest_of(word))
    later = clinic.prediction(contract, keep=False, nonce="0d" * 32)
    assert "clinic-b withdrew" in clinic.node.store.get(later.digest).fault.what
    assert clinic.node.models.list() == (session,)  # ours to delete, or to let run out


def test_a_partner_s_word_that_was_cut_off_is_recorded(clinic):
    """Kept and not yet recorded when the daemon died: it is recorded when the gateway says it again."""
    session, _ = kept(clinic)
    word = withdrawn_word(clinic.others["clinic-b"], clinic.agreed(session), "clinic-b")
    clinic.node.store.keep_withdrawal(session, "clinic-b", word)
    for _ in range(2):
        clinic.do(clinic.node.on_message(Withdrawn(session=session, name="clinic-b", envelope=word)))
    assert kinds(clinic.home, session).count("session:consent:withdrawn") == 1


def test_an_exported_bundle_has_the_words(clinic, tmp_path):
    """Own and partner's, as the home keeps them: whoever gets the file sees whose consent ended, by which keys."""
    session, _ = kept(clinic)
    word = withdrawn_word(clinic.others["clinic-b"], clinic.agreed(session), "clinic-b")
    clinic.do(clinic.node.on_message(Withdrawn(session=session, name="clinic-b", envelope=word)))
    withdraw(clinic, session)
    out = tmp_path / "session.bundle"
    done = CliRunner().invoke(
        app, ["audit", "export", session, "--home", str(clinic.home.directory), "--out", str(out)]
    )
    assert done.exit_code == 0, done.output
    verdict = verify(out, clinic.home.identity.fingerprint)
    assert verdict.failure is None
    mine, theirs = verdict.withdrawn
    assert mine.startswith(f"clinic-a from session {session[:12]}, ")
    assert mine.endswith(f" UTC, signed by {clinic.home.identity.fingerprint}")
    by = clinic.others["clinic-b"].fingerprint
    assert theirs == f"clinic-b from session {session[:12]}, 2026-11-03 00:00 UTC, signed by {by}"


@pytest.mark.parametrize("case", ["forged", "unknown session"])
def test_a_false_word_changes_nothing(clinic, case):
    """A gateway that makes up a withdrawal, or one of a session that is not ours, is not believed."""
    session, waits = kept(clinic)
    word = withdrawn_word(clinic.others["dealer"], clinic.agreed(session), "clinic-b")
    size = clinic.node.journal.size
    about = session if case == "forged" else "ab" * 32
    clinic.do(clinic.node.on_message(Withdrawn(session=about, name="clinic-b", envelope=word)))
    assert clinic.node.journal.size == size
    assert clinic.state(waits) == "proposed"
    assert clinic.node.store.withdrawals(about) == {}


def test_the_command_says_what_can_t_be_undone_and_asks(clinic):
    """Without a daemon the files are worked on; no is no, and --yes asks nobody."""
    session, _ = kept(clinic)
    clinic.stop()
    arguments = ["session", "withdraw", session[:12], "--home", str(clinic.home.directory)]
    refused = CliRunner().invoke(app, arguments, input="n\n")
    assert refused.exit_code == 1
    assert "Nothing was told by this session" in refused.stdout
    assert "Withdraw consent?" in refused.stdout
    assert "session:consent:withdrawn" not in kinds(clinic.home, session)
    done = CliRunner().invoke(app, [*arguments, "--yes"])
    assert (done.exit_code, done.stdout.splitlines()[-1]) == (0, f"withdrew consent to session {session}")
    assert kinds(clinic.home, session)[-2:] == ["session:consent:withdrawn", "vault:model:deleted"]
    report = CliRunner().invoke(app, ["audit", "report", session, "--home", str(clinic.home.directory), "--json"])
    facts = json.loads(report.stdout)
    assert facts["share"]["deleted_by"] == "withdrawal"
    assert facts["involved"][0]["withdrew_at"]


def test_a_stop_while_a_process_is_started_is_kept(clinic):
    """Between start and process there is nothing to kill yet: the session is marked, and does not run on."""
    session = clinic.proposed()
    clinic.do(clinic.node.sign(session, by="operator"))
    live = clinic.node.live[session]
    live.approvals = {"clinic-a": object()}
    clinic.node.stop(session, FAULT)
    assert live.stopped is not None
    assert clinic.state(session) == "approved"  # its own task ends it
