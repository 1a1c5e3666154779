"""Two bundles of one session are compared, and whatever differs has its sentence."""

import json
from datetime import UTC, datetime

import pytest
from typer.testing import CliRunner

from parties.agreement.contract import sign_approval
from parties.audit.agreements import Agreement
from parties.audit.cli import app
from parties.audit.events import (
    CommitmentReceived,
    CommitmentSigned,
    ConsentWithdrawn,
    ContractExpired,
    ContractReceived,
    ContractRefused,
    DealerKeyBound,
    DisclosureRecorded,
    OpeningsCounted,
    SessionCancelled,
    SessionCompleted,
    SessionFailed,
    SessionStarted,
    TranscriptCompared,
)
from parties.audit.export import export
from parties.audit.log import AuditLog
from parties.audit.reconcile import reconcile
from parties.errors import AuditError, SettingsError
from parties.keys.identity import Identity
from parties.testimony.withdrawal import Withdrawal, digest_of, sign_withdrawal

A, B, DEALER = "clinic-a", "clinic-b", "dealer"
DIGEST, OTHER_DIGEST = "5a" * 32, "0f" * 32


class Story:
    """What each organisation's log tells of the consortium's session."""

    def __init__(self, consortium, directory):
        self.consortium, self.directory = consortium, directory
        self.session = consortium.contract.digest

    def disclosed(self, count, name="loss", recipient="session", shape=(1,), clause="disclosures.0"):
        return DisclosureRecorded(
            session=self.session, name=name, recipients=(recipient,), shape=shape, clause=clause, count=count
        )

    def counted(self, rounds=9, words=90):
        return OpeningsCounted(session=self.session, rounds=rounds, words=words, bytes_sent=700)

    def compared(self, partner, digest=DIGEST, *, equal=True):
        return TranscriptCompared(session=self.session, partner=partner, digest=digest, equal=equal)

    def completed(self, rounds=30):
        return SessionCompleted(session=self.session, rounds=rounds, bytes_sent=800)

    def failed(self, who=B, reason="engine.peer-lost"):
        return SessionFailed(session=self.session, reason=reason, who=who)

    def run(self, partner, bound=None):
        """A party's session that completes; `bound`: what was signed of what was sent."""
        disclosures = [self.disclosed(1), self.disclosed(1, "coefficients", "party:clinic-a", (2,), "disclosures.1")]
        bound = [signed(self), received(self, partner)] if bound is None else bound
        return [*disclosures, *bound, self.compared(partner), self.counted(), self.completed()]

    def bundle(self, name, events, *, envelopes=None, identity=None, contract=True, withdrawals=None):
        path = self.directory / f"{name}.bundle"
        log_file = self.directory / f"{name}.sqlite"
        log_file.unlink(missing_ok=True)
        signer = identity or self.consortium.identities[name]
        with AuditLog.open(log_file, signer, name) as log:
            log.append_all([ContractReceived(session=self.session, parties=2), *events])
        kept = {"approvals": envelopes or self.envelopes(), "withdrawals": withdrawals or {}}
        agreement = Agreement(self.consortium.contract.canonical(), **kept)
        path.write_bytes(export(log_file, signer, self.session, {self.session: agreement} if contract else {}))
        return path

    def envelopes(self):
        return self.consortium.envelopes()

    def differences(self, mine, theirs, **changed):
        outcome = reconcile((self.bundle(A, mine), self.bundle(B, theirs, **changed)))
        return {item.topic: item.what for item in outcome.differences}


@pytest.fixture
def story(consortium, tmp_path):
    return Story(consortium, tmp_path)


def test_the_same_story_is_reconciled(story):
    """Two parties of a session that completed agree, though each sent another number of bytes and rounds."""
    theirs = [*story.run(A)[:-1], story.completed(rounds=31)]
    assert story.differences(story.run(B), theirs) == {}


def test_the_dealer_tells_of_approvals_and_the_ending(story):
    """The dealer records no disclosure, and is not asked for any."""
    paths = story.bundle(A, story.run(B)), story.bundle(DEALER, [story.completed()])
    assert reconcile(paths).ok
    paths = story.bundle(A, story.run(B)), story.bundle(DEALER, [story.failed()])
    assert [item.topic for item in reconcile(paths).differences] == ["ending"]


def altered(story):
    """Changes of clinic-b's events, by what is to be said of them."""
    loss, coefficients, *bound, compared, counted, completed = story.run(A)
    told = [loss, coefficients, *bound]
    return [
        ("disclosures", "'coefficients' to party:clinic-a (2)", [loss, *bound, compared, counted, completed]),
        ("disclosures", "to session (2) by", [story.disclosed(1, shape=(2,)), *story.run(A)[1:]]),
        ("disclosures", "to party:clinic-b", [story.disclosed(1, recipient="party:clinic-b"), *story.run(A)[1:]]),
        ("disclosures", "disclosures.7", [story.disclosed(1, clause="disclosures.7"), *story.run(A)[1:]]),
        ("disclosures", "no. 2", [story.disclosed(2), *story.run(A)[1:]]),
        ("disclosures", "missing at clinic-a", [loss, coefficients, story.disclosed(2), *story.run(A)[2:]]),
        ("transcript", "0f0f", [*told, story.compared(A, OTHER_DIGEST), counted, completed]),
        ("transcript", "differs", [*told, story.compared(A, equal=False), counted, completed]),
        ("transcript", "did not record", [*told, counted, completed]),
        ("openings", "8 rounds", [*told, compared, story.counted(rounds=8), completed]),
        ("openings", "91 words", [*told, compared, story.counted(words=91), completed]),
        ("openings", "did not record", [*told, compared, completed]),
        ("ending", "ended early by clinic-b", [*told, compared, counted, story.failed()]),
        ("ending", "has not ended", [*told, compared, counted]),
    ]


@pytest.mark.parametrize("case", range(14))
def test_each_difference_has_its_sentence(story, case):
    """Whatever clinic-b's log tells otherwise is found, under its topic and no other, and named."""
    topic, words, theirs = altered(story)[case]
    found = story.differences(story.run(B), theirs)
    assert list(found) == [topic]
    assert words in found[topic]


def test_approvals_are_compared(story):
    """Another approval of the same participant, signed as well, or none, is found."""
    genuine = story.envelopes()
    missing = {name: item for name, item in genuine.items() if name != DEALER}
    found = story.differences(story.run(B), story.run(A), envelopes=missing)
    assert found == {"approvals": "the approval of dealer is missing at clinic-b"}
    moved = story.consortium.approval(DEALER, endpoint="127.0.0.1:10")
    another = {**genuine, DEALER: sign_approval(story.consortium.identities[DEALER], moved)}
    found = story.differences(story.run(B), story.run(A), envelopes=another)
    assert "different approvals of dealer" in found["approvals"]


def test_a_broken_session_may_end_between_two_records(story):
    """Where neither completed, one party may have recorded one disclosure more, and no two."""
    ahead = [story.disclosed(1), story.disclosed(2), story.failed()]
    assert story.differences(ahead, [story.disclosed(1), story.failed()]) == {}
    assert list(story.differences(ahead, [story.failed()])) == ["disclosures"]
    assert list(story.differences(ahead, [story.failed(who=A)])) == ["disclosures", "ending"]


def test_endings_without_a_run(story):
    """A refusal is one thing at its author and where it was heard of; so is a contract's end of time."""
    session = story.session
    heard = SessionCancelled(session=session, reason="operator.purpose", who=B)
    refused = ContractRefused(session=session, by="operator", reason="operator.purpose")
    assert story.differences([heard], [refused]) == {}
    itself = ContractRefused(session=session, by="policy", reason="policy.hours")
    assert story.differences([itself], [refused]) == {}
    assert list(story.differences([story.failed()], [refused])) == ["ending"]
    expired = SessionCancelled(session=session, reason="expired", who="gateway")
    assert story.differences([expired], [ContractExpired(session=session)]) == {}
    assert list(story.differences([expired], [refused])) == ["ending"]


def test_what_does_not_verify_is_not_compared(story):
    """A bundle that was altered, or another signer than confirmed, tells no story."""
    paths = story.bundle(A, story.run(B)), story.bundle(B, story.run(A))
    keys = [story.consortium.identities[name].fingerprint for name in (A, B)]
    assert reconcile(paths, tuple(keys)).ok
    wrong = reconcile(paths, (keys[1], keys[0]))
    assert (wrong.ok, wrong.differences, wrong.verdicts[0].failure.fault) == (False, (), "key")
    paths[1].write_bytes(paths[1].read_bytes().replace(b'"count":1', b'"count":2'))
    assert not reconcile(paths).ok


def test_a_bundle_needs_a_contract_that_names_its_owner(story):
    """Without the contract nothing says whose keys count; a stranger's log of the session is not a side of it."""
    found = story.differences(story.run(B), story.run(A), contract=False)
    assert found == {"contract": "the bundle of clinic-b holds no contract of the session"}
    paths = story.bundle(A, story.run(B)), story.bundle("clinic-c", story.run(A), identity=Identity.generate())
    assert "does not name clinic-c" in reconcile(paths).differences[0].what


def test_other_sessions_and_other_bundles(story):
    """Two sessions are no story; one organisation's bundle twice, or a whole log, can't be compared."""
    mine = story.bundle(A, story.run(B))
    with pytest.raises(AuditError, match="both bundles are of clinic-a"):
        reconcile((mine, mine))
    identity = story.consortium.identities[B]
    path, whole = story.directory / "other.sqlite", story.directory / "other.bundle"
    with AuditLog.open(path, identity, B) as log:
        log.append(SessionStarted(session=OTHER_DIGEST, epoch=1, parties=2))
    whole.write_bytes(export(path, identity, OTHER_DIGEST, {}))
    assert [item.topic for item in reconcile((mine, whole)).differences] == ["contract"]
    whole.write_bytes(export(path, identity, "", {}))
    with pytest.raises(AuditError, match="about a whole log"):
        reconcile((mine, whole))


def test_withdrawals_are_compared(story):
    """Two words of one party are a difference; one that the other did not hear yet is noted."""

    def said(day):
        key = story.consortium.identities[B]
        at = datetime(2026, 11, day, tzinfo=UTC)
        own = {"contract": story.session, "name": B, "public_key": key.public.hex()}
        return sign_withdrawal(key, Withdrawal(**own, at=at))

    def side(name, events, envelope):
        event = ConsentWithdrawn(session=story.session, who=B, by="partner", digest=digest_of(envelope))
        return story.bundle(name, [*events, event], withdrawals={B: envelope})

    mine = side(A, story.run(B), said(3))
    for day, differences in ((3, []), (4, ["consent"])):
        outcome = reconcile((mine, side(B, story.run(A), said(day))))
        assert [item.topic for item in outcome.differences] == differences
        assert not [note for note in outcome.notes if "withdrawal" in note]
    outcome = reconcile((mine, story.bundle(B, story.run(A))))
    assert outcome.ok
    assert "clinic-a holds the withdrawal of clinic-b, clinic-b does NOT" in outcome.notes


def signed(story, stage=1, digest="d1" * 32):
    return CommitmentSigned(session=story.session, stage=stage, digest=digest)


def received(story, partner, stage=1, digest="d1" * 32, equal=True):
    return CommitmentReceived(session=story.session, partner=partner, stage=stage, digest=digest, equal=equal)


def test_what_one_signed_is_what_the_other_received(story):
    """Stage by stage both logs have the same statement on what was sent; each difference has its sentence."""
    back, mine = signed(story), story.run(B)
    for theirs, words in [
        ([received(story, A, equal=False)], "clinic-b recorded that what clinic-a signed at stage 1 is not what came"),
        ([received(story, A, digest="d2" * 32)], "at stage 1 clinic-a recorded another statement than clinic-b"),
        ([received(story, A), received(story, A, stage=2)], "at stage 2, clinic-a did not"),
        ([], "clinic-b did not record what clinic-a signed at stage 1"),
    ]:
        assert story.differences(mine, story.run(A, [back, *theirs]))["sent"].count(words) == 1


def both(story, *stages):
    """Each party's statements of these stages, at both."""
    return [
        [event for stage in stages for event in (signed(story, stage), received(story, of, stage))] for of in (B, A)
    ]


def test_what_both_leave_out_is_missed(story):
    """Stages count from 1 without a gap, and the last comes after all disclosures: two logs can't drop one alike."""
    for stages, words in [
        ((1, 2, 3), None),
        ((2, 3), "at stage 1"),
        ((1, 3), "at stage 2"),
        ((), "signature on what it"),
    ]:
        mine, theirs = both(story, *stages)
        found = story.differences(story.run(B, mine), story.run(A, theirs))
        assert list(found) == ([] if words is None else ["sent"])
        assert words is None or words in found["sent"]
    (_, *mine), (_, *theirs) = (story.run(partner, []) for partner in (B, A))
    early = [[*bound, story.disclosed(1), *rest] for bound, rest in zip(both(story, 1), (mine, theirs), strict=True)]
    assert "after everything was disclosed" in story.differences(*early)["sent"]


def test_the_dealer_s_key_is_the_party_s(story):
    """Party and dealer have the same statement on the key that they share."""
    mine = [DealerKeyBound(session=story.session, partner=DEALER, digest="d1" * 32), *story.run(B)]
    for digest, topics in (("d1" * 32, []), ("d2" * 32, ["sent"])):
        theirs = [DealerKeyBound(session=story.session, partner=A, digest=digest), story.completed()]
        outcome = reconcile((story.bundle(A, mine), story.bundle(DEALER, theirs)))
        assert [item.topic for item in outcome.differences] == topics


def test_the_command(story):
    """The outcome stands first; the exit status is for scripts, and --json says the same."""
    mine, good = story.bundle(A, story.run(B)), story.bundle(B, story.run(A))

    def run(*arguments):
        return CliRunner().invoke(app, ["reconcile", str(mine), str(good), *arguments])

    result = run()
    assert (result.exit_code, result.stdout.startswith("reconciled: clinic-a and clinic-b")) == (0, True)
    assert json.loads(run("--json").stdout)["reconciled"] is True
    assert isinstance(run("--key", story.consortium.identities[A].fingerprint).exception, SettingsError)
    story.bundle(B, [*story.run(A)[:-2], story.counted(rounds=8), story.completed()])
    result = run()
    assert (result.exit_code, result.stdout.startswith("NOT RECONCILED: ")) == (1, True)
    assert "openings: clinic-a counted 9 rounds and 90 words of openings, clinic-b 8 rounds" in result.stdout
    assert json.loads(run("--json").stdout)["differences"][0]["topic"] == "openings"
