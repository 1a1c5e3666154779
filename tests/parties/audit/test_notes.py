"""Heads are signed notes and checkpoints as C2SP specifies them."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parties.audit.notes import Checkpoint, key_id, parse_checkpoint, parse_note, sign
from parties.errors import AuditError
from parties.identity import Identity

# The example of Go's golang.org/x/mod/sumdb/note, which the C2SP form was made from.
GO_NOTE = """\
If you think cryptography is the answer to your problem,
then you don't know what your problem is.

— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=
"""
GO_KEY = base64.b64decode("ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")[1:]
GO_KEY_ID = "c74f20a3"

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
