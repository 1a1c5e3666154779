"""Heads are signed notes and checkpoints as C2SP specifies them."""

import base64
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parties.audit.notes import (
    COSIGNATURE,
    Checkpoint,
    Signature,
    cosign,
    key_id,
    parse_checkpoint,
    parse_note,
    parse_verifier_key,
    sign,
    verifier_key,
)
from parties.errors import AuditError
from parties.keys.identity import Identity

VECTORS = Path(__file__).parent / "vectors"

# The example of Go's golang.org/x/mod/sumdb/note, which the C2SP form was made from.
GO_NOTE = """\
If you think cryptography is the answer to your problem,
then you don't know what your problem is.

— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=
"""
GO_KEY = base64.b64decode("ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")[1:]
GO_KEY_ID = "c74f20a3"

# The example of C2SP's specifications: signed-note and tlog-cosignature.
SPECIFIED_HEAD = (VECTORS / "specified.head").read_text(encoding="utf-8")

# A head of a public log as public witnesses cosigned it, and the published key of one of them.
PUBLIC_HEAD = (VECTORS / "public.head").read_text(encoding="utf-8")
LOG_KEY = "arche2025h1.staging.ct.transparency.dev+ba2f06c0+AU0vHmlGCS/PdN8b2OaGmKprLI8HKM+dJ472xgFYh15f"
WITNESS, WITNESS_KEY_ID = "remora.n621.de", "da77ade7"
WITNESS_KEY = base64.b64decode("BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2")[1:]

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
IDENTITY = Identity.generate()
CHECKPOINT = Checkpoint("clinic-a", 3, bytes(range(32)))
SIGNED = sign(CHECKPOINT.render(), "clinic-a", IDENTITY).render()


def test_a_note_signed_by_go_verifies():
    """The note, key and key id of Go's own documentation are understood."""
    note = parse_note(GO_NOTE)
    assert key_id("PeterNeumann", GO_KEY).hex() == GO_KEY_ID
    assert note.signed_by("PeterNeumann", GO_KEY)
    assert note.render() == GO_NOTE


def test_a_signature_holds_for_one_text_name_and_key():
    """What one key signed under one name is signed by no other, and no other text is."""
    note = parse_note(SIGNED)
    assert note.signed_by("clinic-a", IDENTITY.public)
    assert not note.signed_by("clinic-b", IDENTITY.public)
    assert not note.signed_by("clinic-a", Identity.generate().public)
    altered = parse_note(SIGNED.replace("\n3\n", "\n4\n"))
    assert not altered.signed_by("clinic-a", IDENTITY.public)


def test_signatures_of_others_are_passed_over():
    """A cosigned note still verifies under the first key, and keeps the other line."""
    other = sign(CHECKPOINT.render(), "witness", Identity.generate()).signatures[0]
    note = parse_note(SIGNED + other.line())
    assert note.signed_by("clinic-a", IDENTITY.public)
    assert note.signatures[1] == other


def test_the_specified_head_is_read():
    """The example of the specification parses to the bytes that it describes, its cosignature's time among them."""
    note = parse_note(SPECIFIED_HEAD)
    assert note.render() == SPECIFIED_HEAD
    assert parse_checkpoint(note.text).size == 20852163
    blob = note.signatures[1].blob
    assert (len(blob), int.from_bytes(blob[4:12])) == (4 + 8 + 64, 1679315147)


def test_a_public_head_verifies_with_its_cosignature():
    """What others' software signed and cosigned verifies here, each under its own key and form, with the time."""
    note = parse_note(PUBLIC_HEAD)
    name, key = parse_verifier_key(LOG_KEY)
    assert note.signed_by(name, key)
    assert parse_checkpoint(note.text).origin == name
    assert key_id(WITNESS, WITNESS_KEY, COSIGNATURE).hex() == WITNESS_KEY_ID
    assert note.cosigned_by(WITNESS, WITNESS_KEY) == datetime.fromtimestamp(0x6A122120, UTC)
    assert note.cosigned_by(name, key) is None
    assert not note.signed_by(WITNESS, WITNESS_KEY)
    altered = parse_note(PUBLIC_HEAD.replace("1432088532", "1432088533"))
    assert altered.cosigned_by(WITNESS, WITNESS_KEY) is None


def test_a_cosignature_holds_for_one_text_name_key_and_time():
    """A head that a partner cosigned says when, and nothing else passes for it."""
    partner = Identity.generate()
    line = cosign(CHECKPOINT.render(), "clinic-b", partner, NOW)
    note = parse_note(SIGNED).with_signatures(line, line)
    assert parse_note(note.render()) == note
    assert len(note.signatures) == 2
    assert note.signed_by("clinic-a", IDENTITY.public)
    assert note.cosigned_by("clinic-b", partner.public) == NOW
    assert note.cosigned_by("clinic-c", partner.public) is None
    assert note.cosigned_by("clinic-b", IDENTITY.public) is None
    later = cosign(CHECKPOINT.render(), "clinic-b", partner, NOW + timedelta(seconds=1))
    mixed = Signature("clinic-b", later.blob[:12] + line.blob[12:])
    assert parse_note(SIGNED).with_signatures(mixed).cosigned_by("clinic-b", partner.public) is None
    distant = Signature("clinic-b", line.blob[:4] + b"\xff" * 8 + line.blob[12:])
    assert parse_note(SIGNED).with_signatures(distant).cosigned_by("clinic-b", partner.public) is None


def test_a_log_signature_is_no_cosignature():
    """One key under one name signs its own heads and cosigns others', and neither passes for the other."""
    own = cosign(CHECKPOINT.render(), "clinic-a", IDENTITY, NOW)
    assert not parse_note(CHECKPOINT.render() + "\n" + own.line()).signed_by("clinic-a", IDENTITY.public)
    assert parse_note(SIGNED).cosigned_by("clinic-a", IDENTITY.public) is None


@pytest.mark.parametrize(
    "line",
    [
        "",
        "clinic-a",
        "clinic-a+00000000+AAAA",
        LOG_KEY.replace("ba2f06c0", "ba2f06c1"),
        LOG_KEY.replace("arche2025h1", "arche2025h2"),
        LOG_KEY.replace("+AU0v", "+BE0v"),
        LOG_KEY + "=",
    ],
)
def test_what_is_no_verifier_key_is_refused(line):
    """A key whose id does not follow from name and key, or of another kind, is none."""
    with pytest.raises(ValueError, match=r".*"):
        parse_verifier_key(line)
    assert verifier_key(*parse_verifier_key(LOG_KEY)) == LOG_KEY


def test_a_checkpoint_is_what_was_signed():
    """A head says whose log, how long and which root, and nothing else."""
    assert parse_checkpoint(parse_note(SIGNED).text) == CHECKPOINT


@given(st.integers(0, len(SIGNED.encode()) * 8 - 1))
def test_no_flipped_bit_survives(bit):
    """A note with any bit flipped is no note any more, or is not signed."""
    content = bytearray(SIGNED.encode())
    content[bit // 8] ^= 1 << bit % 8
    try:
        note = parse_note(bytes(content).decode())
    except (UnicodeDecodeError, AuditError):
        return
    assert not note.signed_by("clinic-a", IDENTITY.public)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "\n\n",
        "text\n",
        "text\n\n",
        "text\n\n— clinic-a AAAA",
        "text\n\n- clinic-a AAAAAA==\n",
        "text\n\n— clinic a AAAAAA==\n",
        "text\n\n— clinic-a AAAAAB==\n",
        "text\n\n— clinic-a AAAAAA==\nmore\n",
        "te\rxt\n\n— clinic-a AAAAAA==\n",
        "te\ud800xt\n\n— clinic-a AAAAAA==\n",
        "text\n\n" + "— clinic-a AAAAAA==\n" * 101,
        "x" * 100_001 + "\n\n— clinic-a AAAAAA==\n",
    ],
)
def test_what_is_no_note_is_refused(content):
    """A text that a signer would not have written this way is one clear error."""
    with pytest.raises(AuditError, match="not a signed note"):
        parse_note(content)


ROOT = base64.b64encode(bytes(32)).decode()


@pytest.mark.parametrize(
    "text",
    [
        "",
        f"clinic-a\n3\n{ROOT}",
        f"clinic-a\n03\n{ROOT}\n",
        f"clinic-a\n-3\n{ROOT}\n",
        f"clinic-a\n3_0\n{ROOT}\n",
        f"clinic-a\nthree\n{ROOT}\n",
        f"clinic a\n3\n{ROOT}\n",
        f"clinic-a\n3\n{ROOT[:-4]}\n",
        f"clinic-a\n3\n{ROOT}\nextension\n",
        "clinic-a\n3\nnot base64\n",
    ],
)
def test_what_is_no_checkpoint_is_refused(text):
    """A head has exactly an origin, a size and a root, each written in the one way."""
    with pytest.raises(AuditError, match="not the head"):
        parse_checkpoint(text)
