"""A bundle shows one session, or a whole log, to somebody who has nothing else, and nothing passes for one."""

import hashlib
import io
import zipfile
from dataclasses import replace

import pytest
import rfc8785

from parties.audit import notes, proof
from parties.audit.agreements import Agreement
from parties.audit.bundle import BUNDLE_TYPE, MANIFEST, pack, read
from parties.audit.events import (
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
from parties.keys.identity import Identity
from parties.testimony.commitment import Commitment, DealerKey, sign

OTHER = "0f" * 32
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


@pytest.mark.parametrize("kind", ["approvals", "transcripts", "commitments"])
def test_envelopes_that_are_none_are_named(made, bundle, kind):
    """A file of envelopes that is no object by participant does not verify, whoever signed the bundle."""
    _, identity, digest, _ = made
    name = f"{kind}/{digest}.json"
    files = {**dict(read(bundle).files), name: b"[]"}
    manifest, _ = read(bundle).signed()
    listed = {**manifest.files, name: hashlib.sha256(b"[]").hexdigest()}
    sealed = identity.seal(BUNDLE_TYPE, rfc8785.dumps(manifest.model_copy(update={"files": listed}).model_dump()))
    bundle.write_bytes(pack({**files, MANIFEST: rfc8785.dumps(sealed)}))
    assert f"{name} can't be read" in verify(bundle).failure.what


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
