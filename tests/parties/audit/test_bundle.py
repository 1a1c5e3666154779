"""A bundle shows one session, or a whole log, to somebody who has nothing else, and nothing passes for one."""

import hashlib
import io
import zipfile
from dataclasses import replace
from datetime import UTC, datetime

import pytest
import rfc8785
from typer.testing import CliRunner

from parties.audit import notes, proof
from parties.audit.agreements import Agreement
from parties.audit.bundle import BUNDLE_TYPE, MANIFEST, pack, read
from parties.audit.cli import app
from parties.audit.events import (
    ConsentWithdrawn,
    ContractApproved,
    ContractReceived,
    ModelDeleted,
    ModelStored,
    ServiceStarted,
    SessionStarted,
)
from parties.audit.export import export
from parties.audit.heads import Cosigner, KnownHead
from parties.audit.log import AuditLog, utc_now
from parties.audit.snapshot import take
from parties.audit.verify import verify
from parties.errors import AuditError
from parties.keys.handover import hand_over
from parties.keys.identity import Identity
from parties.testimony.commitment import Commitment, DealerKey, sign
from parties.testimony.withdrawal import Withdrawal, digest_of, sign_withdrawal

OTHER = "0f" * 32
WHEN, LATER = datetime(2026, 11, 3, tzinfo=UTC), datetime(2026, 11, 4, tzinfo=UTC)
STARTED = ServiceStarted(role="node", version="0.1.0")


@pytest.fixture(scope="module")
def made(consortium, tmp_path_factory):
    """clinic-a's log of two sessions, what was agreed on in one of them, and its key."""
    path = tmp_path_factory.mktemp("log") / "audit.sqlite"
    digest, identity = consortium.contract.digest, consortium.identities["clinic-a"]
    with AuditLog.open(path, identity, "clinic-a") as log:
        for session in (OTHER, digest):
            log.append(ContractReceived(session=session, parties=2))
            log.append_all([ContractApproved(session=session, by="operator"), STARTED])
            log.append(ModelStored(model=session, days=30))
        log.append(SessionStarted(session=digest, epoch=1, parties=2))
        log.append(ModelDeleted(model=digest, by="expiry"))
    return path, identity, digest, {digest: Agreement(consortium.contract.canonical(), consortium.envelopes())}


@pytest.fixture
def bundle(made, tmp_path):
    path, identity, digest, agreements = made
    out = tmp_path / "session.bundle"
    out.write_bytes(export(path, identity, digest[:12], agreements))
    return out


def test_a_session_is_shown_and_no_other(made, bundle):
    """The bundle verifies by itself, holds the session's entries, and no word of another session."""
    path, identity, digest, _ = made
    verdict = verify(bundle, identity.fingerprint)
    assert (verdict.ok, verdict.kind, verdict.session, verdict.entries) == (True, "bundle", digest, 5)
    assert "word of the log's owner" in verdict.remarks[0]
    assert list(read(bundle).entries()) == [
        entry for entry in take(path).entries() if digest in entry.event.model_dump().values()
    ]
    assert OTHER.encode() not in bundle.read_bytes()


def test_a_whole_log_is_shown(made, tmp_path):
    """Without a session every entry is there, and together they have the head's root."""
    path, identity, _, agreements = made
    out = tmp_path / "log.bundle"
    out.write_bytes(export(path, identity, "", agreements))
    verdict = verify(out, identity.fingerprint)
    assert (verdict.ok, verdict.session, verdict.remarks) == (True, "", ())
    assert list(read(out).entries()) == list(take(path).entries())


def test_the_same_log_gives_the_same_bytes(made, bundle):
    """Two exports are one file."""
    path, identity, digest, agreements = made
    assert export(path, identity, digest, agreements) == bundle.read_bytes()


def test_another_signer_is_found(bundle):
    """A bundle under another key than the one confirmed is refused."""
    assert verify(bundle, Identity.generate().fingerprint).failure.fault == "key"


def test_any_altered_or_missing_file_is_named(bundle):
    """Whichever file is altered, removed or added, the bundle does not verify, and says which."""
    files = dict(read(bundle).files)
    for name in files.keys() - {MANIFEST}:
        bundle.write_bytes(pack({**files, name: files[name] + b"\n"}))
        assert name in verify(bundle).failure.what
        bundle.write_bytes(pack({other: content for other, content in files.items() if other != name}))
        assert f"{name} is missing" in verify(bundle).failure.what
    bundle.write_bytes(pack({**files, "more": b""}))
    assert "'more' does not belong" in verify(bundle).failure.what


@pytest.mark.parametrize("kind", ["approvals", "transcripts", "commitments", "withdrawals"])
def test_envelopes_that_are_none_are_named(made, bundle, kind):
    """A file of envelopes that is no object by participant does not verify, whoever signed the bundle."""
    _, identity, digest, _ = made
    name = f"{kind}/{digest}.json"
    put(bundle, identity, name, b"[]")
    assert f"{name} can't be read" in verify(bundle).failure.what


def test_a_withdrawal_without_a_canonical_form_is_named(made, bundle):
    """No digest can be compared of a number that JSON readers take for different ones."""
    _, identity, digest, _ = made
    put(bundle, identity, f"withdrawals/{digest}.json", b'{"clinic-b":{"payload":9007199254740993}}')
    assert "the withdrawal of clinic-b has no canonical form" in verify(bundle).failure.what


def put(bundle, identity, name, content):
    """Add a file, and sign the list of files anew."""
    manifest, _ = read(bundle).signed()
    listed = {**manifest.files, name: hashlib.sha256(content).hexdigest()}
    sealed = identity.seal(BUNDLE_TYPE, rfc8785.dumps(manifest.model_copy(update={"files": listed}).model_dump()))
    bundle.write_bytes(pack({**read(bundle).files, name: content, MANIFEST: rfc8785.dumps(sealed)}))


def commitment(consortium, session, signer="clinic-b", **changed):
    facts = {"session": session, "epoch": 1, "name": "clinic-b", "stage": 2, "sent": {"clinic-a": "11" * 32}}
    digests = dict.fromkeys(("dealer", "block", "dealer_key"), "22" * 32)
    return sign(consortium.identities[signer], Commitment(**{**facts, **digests, **changed}))


def test_commitments_are_checked(made, consortium, tmp_path):
    """What each signed of all that it sent goes along, and holds only by its key, for its session and stage."""
    path, identity, digest, agreements = made
    out = tmp_path / "committed.bundle"
    of_dealer = sign(
        consortium.identities["dealer"],
        DealerKey(session=digest, epoch=1, name="dealer", party="clinic-a", dealer_key="22" * 32),
    )
    for place, envelope, complaint in [
        ("clinic-b/2", commitment(consortium, digest), ""),
        ("dealer/0", of_dealer, ""),
        ("clinic-b/1", commitment(consortium, digest), "another session, or another stage"),
        ("clinic-b/2", commitment(consortium, "cd" * 32), "another session, or another stage"),
        ("clinic-b/2", commitment(consortium, digest, "clinic-a"), "does not verify"),
        ("clinic-a/2", commitment(consortium, digest, "clinic-a"), "another session, or another stage"),
        ("clinic-c/2", commitment(consortium, digest), "not a party"),
        ("dealer/0", commitment(consortium, digest), "another type"),
    ]:
        committed = {digest: replace(agreements[digest], commitments={place: envelope})}
        out.write_bytes(export(path, identity, digest, committed))
        verdict = verify(out, identity.fingerprint)
        assert verdict.ok == (not complaint)
        if verdict.failure is not None:
            assert (verdict.failure.fault, complaint in verdict.failure.what) == ("contract", True), verdict.failure


def word(identity, agreed, name="clinic-b", **changed):
    facts = {"contract": agreed.digest, "name": name, "public_key": identity.public.hex(), "at": WHEN}
    return sign_withdrawal(identity, Withdrawal(**{**facts, **changed}))


def withdrawn(directory, consortium, recorded, envelopes, identity=None):
    """A bundle of clinic-a's log, which has these withdrawals, beside the signed words that its home keeps."""
    identity, digest = identity or consortium.identities["clinic-a"], consortium.contract.digest
    path, out = directory / "withdrawn.sqlite", directory / "withdrawn.bundle"
    path.unlink(missing_ok=True)
    with AuditLog.open(path, identity, "clinic-a") as log:
        log.append(ContractReceived(session=digest, parties=2))
        for name, envelope in recorded.items():
            by = "operator" if name == "clinic-a" else "partner"
            log.append(ConsentWithdrawn(session=digest, who=name, by=by, digest=digest_of(envelope)))
    agreement = Agreement(consortium.contract.canonical(), withdrawals=envelopes)
    out.write_bytes(export(path, identity, digest, {digest: agreement}))
    return out


def test_a_withdrawal_is_shown_to_a_third_party(consortium, tmp_path):
    """That consent ended, when, by whom and under which key, with nothing but the file and a fingerprint."""
    keys = consortium.identities
    words = {name: word(keys[name], consortium.contract, name) for name in ("clinic-a", "clinic-b")}
    out = withdrawn(tmp_path, consortium, words, words)
    verdict = verify(out, keys["clinic-a"].fingerprint)
    about = f"from session {consortium.contract.digest[:12]}, 2026-11-03 00:00 UTC, signed by"
    assert verdict.ok
    assert verdict.withdrawn == tuple(f"{name} {about} {keys[name].fingerprint}" for name in words)
    assert not [remark for remark in verdict.remarks if "clinic-b" in remark]
    shown = CliRunner().invoke(app, ["verify", str(out)]).stdout
    assert f"  withdrawn: clinic-b {about} {keys['clinic-b'].fingerprint}" in shown.splitlines()


def test_withdrawals_that_do_not_hold_are_found(consortium, tmp_path):
    """Another's key, another session, a stranger, or another word than the log recorded: the bundle does not verify."""
    keys, contract = consortium.identities, consortium.contract
    genuine, stranger = word(keys["clinic-b"], contract), Identity.generate()
    broken = {**genuine, "signatures": [{**genuine["signatures"][0], "sig": "AAAA"}]}
    for name, envelope, recorded, complaint in [
        ("clinic-b", word(stranger, contract), {}, "does not verify under the key"),
        ("clinic-a", word(stranger, contract, "clinic-a"), None, "does not verify under the key"),
        ("clinic-b", word(keys["clinic-b"], contract, contract="cd" * 32), None, "is of another contract or party"),
        ("clinic-a", genuine, None, "does not verify under the key"),
        ("dealer", word(keys["dealer"], contract, "dealer"), None, "'dealer' is not a party"),
        ("clinic-b", broken, None, "does not verify under the key"),
        ("clinic-b", word(keys["clinic-b"], contract, at=LATER), {"clinic-b": genuine}, "is another than the log"),
    ]:
        logged = {name: envelope} if recorded is None else recorded
        verdict = verify(withdrawn(tmp_path, consortium, logged, {name: envelope}))
        assert verdict.failure is not None, complaint
        assert (verdict.failure.fault, complaint in verdict.failure.what) == ("contract", True), verdict.failure
        assert verdict.withdrawn == ()


def test_what_a_withdrawal_in_a_bundle_can_t_show_is_said(consortium, tmp_path):
    """A word that is missing, one that is not in the log yet, and a key whose hand-over only the log's owner saw."""
    genuine = word(consortium.identities["clinic-b"], consortium.contract)
    follower = Identity.generate()
    follows = word(follower, consortium.contract)
    for recorded, envelopes, remark in [
        ({"clinic-b": genuine}, {}, "that clinic-b withdrew its consent is the log's word alone"),
        ({}, {"clinic-b": genuine}, "the log has no entry of the withdrawal of clinic-b yet"),
        ({"clinic-b": follows}, {"clinic-b": follows}, f"that {follower.fingerprint}, which signed the withdrawal"),
    ]:
        verdict = verify(withdrawn(tmp_path, consortium, recorded, envelopes))
        assert (verdict.ok, len(verdict.withdrawn)) == (True, len(envelopes))
        assert [found for found in verdict.remarks if remark in found], verdict.remarks


def test_a_withdrawal_by_the_next_own_key_holds(consortium, tmp_path):
    """The owner's hand-overs lead from the contract's key to the one that signed; without them it does not hold."""
    old, new, digest = consortium.identities["clinic-a"], Identity.generate(), consortium.contract.digest
    said = word(new, consortium.contract, "clinic-a")
    path, out = tmp_path / "log.sqlite", tmp_path / "log.bundle"
    agreement = Agreement(consortium.contract.canonical(), withdrawals={"clinic-a": said})
    recorded = ConsentWithdrawn(session=digest, who="clinic-a", by="operator", digest=digest_of(said))
    with AuditLog.open(path, old, "clinic-a") as log:
        log.append(recorded)
        out.write_bytes(export(path, old, digest, {digest: agreement}))
        assert "does not verify under the key" in verify(out).failure.what
        log.rotate(new)
    out.write_bytes(export(path, new, digest, {digest: agreement}, handovers=[hand_over("clinic-a", old, new, WHEN)]))
    verdict = verify(out, new.fingerprint)
    assert (verdict.failure, len(verdict.withdrawn), len(verdict.remarks)) == (None, 1, 1)


def test_flipped_bits_are_found(bundle):
    """Whichever byte is altered, the bundle does not verify."""
    content = bundle.read_bytes()
    for at in range(0, len(content), 97):
        altered = bytearray(content)
        altered[at] ^= 1
        bundle.write_bytes(altered)
        assert not verify(bundle).ok, at


def test_a_compressed_archive_is_refused(bundle):
    """Nothing is unfolded."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("head", b"x" * 10_000)
    bundle.write_bytes(buffer.getvalue())
    assert "compressed" in verify(bundle).failure.what


def test_an_unknown_session_is_an_error(made):
    """A session of which the log has no entry gives no bundle."""
    path, identity, _, agreements = made
    with pytest.raises(AuditError, match="0 sessions in this log"):
        export(path, identity, "ee", agreements)


def test_cosigned_heads_are_checked(made, consortium, tmp_path):
    """A head that a partner cosigned goes along with the proof that the log continues it; a wrong one is found."""
    path, identity, digest, agreements = made
    partner, out = consortium.identities["clinic-b"], tmp_path / "cosigned.bundle"
    head = notes.parse_note(proof.prove(path, 0).note.render())
    line = notes.cosign(head.text, "clinic-b", partner, utc_now())
    for key, fault in ((partner.public, None), (Identity.generate().public, "cosignature")):
        known = KnownHead.parse(head.with_signatures(line).render(), Cosigner("clinic-b", key))
        out.write_bytes(export(path, identity, digest, agreements, [known]))
        verdict = verify(out, identity.fingerprint)
        assert (verdict.failure.fault if verdict.failure else None) == fault
        assert len(verdict.cosigned) == (fault is None)
    longer = notes.sign(notes.Checkpoint("clinic-a", 99, bytes(32)).render(), "clinic-a", identity)
    known = KnownHead.parse(longer.render(), Cosigner("clinic-b", partner.public))
    with pytest.raises(AuditError, match="clinic-b cosigned a head over 99 entries; the log has 11"):
        export(path, identity, digest, agreements, [known])
    forked = notes.sign(notes.Checkpoint("clinic-a", 2, bytes(32)).render(), "clinic-a", identity)
    line = notes.cosign(forked.text, "clinic-b", partner, utc_now())
    known = KnownHead.parse(forked.with_signatures(line).render(), Cosigner("clinic-b", partner.public))
    out.write_bytes(export(path, identity, digest, agreements, [known]))
    assert verify(out).failure.fault == "fork"
