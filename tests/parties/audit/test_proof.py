"""One entry can be proven to somebody who sees no other, and nothing else passes for a proof."""

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymerkle import InmemoryTree

from parties.audit import notes, proof
from parties.audit.events import ContractRefused, ServiceStarted
from parties.audit.log import AuditLog
from parties.audit.merkle import leaf_hash
from parties.audit.snapshot import take
from parties.audit.verify import verify
from parties.errors import AuditError
from parties.keys.identity import Identity

IDENTITY = Identity.generate()
SECRET = "ab" * 32
ENTRIES = 11


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    """A log of eleven entries in five commits, one of them about a session."""
    path = tmp_path_factory.mktemp("log") / "audit.sqlite"
    with AuditLog.open(path, IDENTITY, "clinic-a") as log:
        for count in (1, 2, 3):
            log.append_all([ServiceStarted(role="node", version="0.1.0")] * count)
        log.append(ContractRefused(session=SECRET, by="operator", reason="purpose"))
        log.append_all([ServiceStarted(role="node", version="0.1.0")] * 3)
    return path


@pytest.fixture
def written(log, tmp_path):
    """The proof of entry 7."""
    path = tmp_path / "7.tlog-proof"
    path.write_text(proof.prove(log, 7).render())
    return path


def test_every_entry_can_be_proven(log, tmp_path):
    """Each entry's proof verifies by itself, and shows that entry as the log has it."""
    for entry in take(log).entries():
        path = tmp_path / f"{entry.index}.tlog-proof"
        path.write_text(proof.prove(log, entry.index).render())
        verdict = verify(path, IDENTITY.fingerprint)
        assert (verdict.ok, verdict.kind, verdict.index, verdict.remarks) == (True, "proof", entry.index, ())
        assert proof.read(path).entry() == entry
    assert entry.index == ENTRIES - 1


def test_a_proof_shows_no_other_entry(log):
    """Who gets the proof of one entry learns how long the log is, and nothing that stands in another entry."""
    text = proof.prove(log, 1).render()
    extra = base64.b64decode(text.split()[2])
    assert extra.count(b'"id"') == 1
    assert SECRET not in text
    assert SECRET.encode() not in extra


def test_a_proof_has_the_form_of_c2sp(log):
    """First line, extra, index, hashes, an empty line and the signed head; the hashes are those of pymerkle."""
    tree, contents = InmemoryTree(algorithm="sha256"), [entry.encode() for entry in take(log).entries()]
    for content in contents:
        tree.append_entry(content)
    made = proof.prove(log, 7)
    above, _, note = made.render().partition("\n\n")
    lines = above.split("\n")
    assert (lines[0], lines[2]) == ("c2sp.org/tlog-proof@v1", "index 7")
    theirs = [node for node in tree.prove_inclusion(8, ENTRIES).path if node != leaf_hash(contents[7])]
    assert [base64.b64decode(line) for line in lines[3:]] == theirs
    head = notes.parse_checkpoint(notes.parse_note(note).text)
    assert (head.size, head.root) == (ENTRIES, tree.get_root(ENTRIES))


def test_what_is_not_confirmed_is_said(written):
    """Without the signer's fingerprint the proof holds together, and the verdict says what that is worth."""
    verdict = verify(written)
    assert verdict.ok
    assert "signer is not confirmed" in verdict.remarks[0]
    assert "entry 7 of clinic-a" in verdict.line()


def test_another_signer_is_found(written):
    """A proof of a log under another key than the one confirmed is refused."""
    verdict = verify(written, Identity.generate().fingerprint)
    assert verdict.failure.fault == "key"


def altered(made, **changed):
    return proof.Proof(**made.__dict__ | changed)


def signed(size=ENTRIES, origin="clinic-a", identity=IDENTITY, root=bytes(32)):
    return notes.sign(notes.Checkpoint(origin, size, root).render(), origin, identity)


@pytest.mark.parametrize(
    ("change", "fault", "complaint"),
    [
        (lambda _: {"index": 8}, "moved", "entry 8 was written as entry 7"),
        (lambda made: {"content": made.content.replace(b"purpose", b"purpore")}, "proof", "entry 7 is not in the log"),
        (lambda _: {"content": b"{}"}, "entry", "entry 7 is not an event"),
        (lambda made: {"hashes": made.hashes[:-1]}, "proof", "entry 7 is not in the log"),
        (lambda made: {"hashes": made.hashes[::-1]}, "proof", "entry 7 is not in the log"),
        (lambda _: {"note": signed()}, "proof", "entry 7 is not in the log"),
        (lambda _: {"note": signed(identity=Identity.generate())}, "head", "not signed by the log's key"),
        (lambda _: {"note": signed(origin="clinic-b")}, "head", "not signed by the log's key"),
        (lambda _: {"public_key": Identity.generate().public}, "head", "not signed by the log's key"),
    ],
)
def test_each_alteration_has_its_own_finding(log, tmp_path, change, fault, complaint):
    """Another entry, place, path, head or key than the log's own is named."""
    made = proof.prove(log, 7)
    path = tmp_path / "proof"
    path.write_text(altered(made, **change(made)).render())
    failure = verify(path).failure
    assert failure.fault == fault
    assert complaint in failure.what


@settings(max_examples=200)
@given(st.data())
def test_no_flipped_bit_survives(log, tmp_path_factory, data):
    """A proof with any bit flipped is no proof any more, or does not verify."""
    content = bytearray(proof.prove(log, 7).render().encode())
    at = data.draw(st.integers(0, 8 * len(content) - 1))
    content[at // 8] ^= 1 << at % 8
    path = tmp_path_factory.getbasetemp() / "flipped"
    path.write_bytes(content)
    assert not verify(path, IDENTITY.fingerprint).ok


def test_a_head_that_somebody_kept_is_compared(log, written, tmp_path):
    """The same head agrees; another root over as many entries is a fork; other sizes are said to be no comparison."""
    head = tmp_path / "head"
    with AuditLog.open(log, IDENTITY, "clinic-a") as opened:
        head.write_text(opened.head())
    assert verify(written, IDENTITY.fingerprint, head).head_checked
    head.write_text(signed().render())
    assert verify(written, None, head).failure.fault == "fork"
    head.write_text(signed(size=5).render())
    verdict = verify(written, IDENTITY.fingerprint, head)
    assert (verdict.ok, verdict.head_checked) == (True, False)
    assert "only the whole log" in verdict.remarks[0]


@pytest.mark.parametrize("content", [b"c2sp.org/tlog-proof@v1", b"c2sp.org/tlog-proof@v1\nindex 0\n\n", b"\xff" * 9])
def test_what_is_no_proof_is_said(tmp_path, content):
    """A file that only begins like a proof is not one."""
    path = tmp_path / "proof"
    path.write_bytes(content)
    assert verify(path).failure.fault in {"file", "schema"}


def test_nothing_is_proven_that_is_not_there(log, tmp_path):
    """A missing entry and a damaged log are errors with a next step."""
    with pytest.raises(AuditError, match=f"no entry {ENTRIES}: the log has {ENTRIES}"):
        proof.prove(log, ENTRIES)
    damaged = tmp_path / "audit.sqlite"
    damaged.write_bytes(log.read_bytes().replace(b'"reason":"purpose"', b'"reason":"purpore"'))
    with pytest.raises(AuditError, match="nothing can be proven"):
        proof.prove(damaged, 7)
    with pytest.raises(AuditError, match="no such file"):
        proof.prove(tmp_path / "nothing", 0)


def test_a_proof_is_given_while_the_log_is_written(tmp_path):
    """An open log can be proven from, between its appends."""
    path = tmp_path / "audit.sqlite"
    with AuditLog.open(path, IDENTITY, "clinic-a") as log:
        for size in range(2, 6):
            log.append(ServiceStarted(role="node", version="0.1.0"))
            made = proof.prove(path, size - 1)
            assert notes.parse_checkpoint(made.note.text).size == size
