"""Sealed streams: what is altered, moved, dropped or added in any way does not open."""

from __future__ import annotations

import copy
import secrets

import pytest

from parties.errors import VaultError
from parties.sealing import CHUNK_BYTES, TAG_BYTES, DataKey, Digests, Sealer, Unsealed, unseal

SEALED_CHUNK = CHUNK_BYTES + TAG_BYTES


def seal(path, content, key, name="clinic-a", piece=300_000) -> Digests:
    with path.open("wb") as file:
        sealer = Sealer(file, name, key)
        for start in range(0, len(content), piece):
            sealer.write(content[start : start + piece])
        return sealer.finish()


def opened(path, key, digests, name="clinic-a") -> bytes:
    with path.open("rb") as file:
        return b"".join(unseal(file, name, key, digests))


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES, 2_500_000])
def test_what_was_sealed_opens(tmp_path, size):
    """Content of any length, chunk boundaries included, comes back as it was, and costs one tag a chunk."""
    content, key = secrets.token_bytes(size), DataKey.generate()
    digests = seal(tmp_path / "s", content, key)
    assert opened(tmp_path / "s", key, digests) == content
    chunks = max(1, -(-size // CHUNK_BYTES))
    assert (tmp_path / "s").stat().st_size == size + chunks * TAG_BYTES


def test_digests_do_not_depend_on_how_it_was_written(tmp_path):
    """The same content under the same key has one version, whatever the pieces it was written in."""
    content, key = secrets.token_bytes(2_500_000), DataKey.generate()
    assert seal(tmp_path / "a", content, key) == seal(tmp_path / "b", content, key, piece=777_777)


def test_the_version_tells_nothing_without_the_key(tmp_path):
    """Equal content under two keys has two versions: a version can't be used to test guesses of the content."""
    versions = {seal(tmp_path / "s", b"content", DataKey.generate()).version for _ in range(2)}
    assert len(versions) == 2


TAMPERINGS = {
    "last chunk dropped": lambda data: data[: 2 * SEALED_CHUNK],
    "first chunk dropped": lambda data: data[SEALED_CHUNK:],
    "cut within a chunk": lambda data: data[: SEALED_CHUNK + 5],
    "cut within a tag": lambda data: data[: SEALED_CHUNK + TAG_BYTES - 1],
    "chunks swapped": lambda data: (
        data[SEALED_CHUNK : 2 * SEALED_CHUNK] + data[:SEALED_CHUNK] + data[2 * SEALED_CHUNK :]
    ),
    "chunk repeated": lambda data: data[:SEALED_CHUNK] + data,
    "byte appended": lambda data: data + b"\0",
    "bit flipped at the start": lambda data: bytes([data[0] ^ 1]) + data[1:],
    "bit flipped at the end": lambda data: data[:-1] + bytes([data[-1] ^ 128]),
}


@pytest.mark.parametrize("tampering", TAMPERINGS)
def test_tampered_stream_does_not_open(tmp_path, tampering):
    """Each chunk is bound to its place and to being the last or not: the first bad chunk is named."""
    path, key = tmp_path / "s", DataKey.generate()
    digests = seal(path, secrets.token_bytes(2_500_000), key)
    path.write_bytes(TAMPERINGS[tampering](path.read_bytes()))
    with pytest.raises(VaultError, match=r"data set clinic-a .*chunk \d of its file does not verify"):
        opened(path, key, digests)


@pytest.mark.parametrize("piece", [1 << 16, 999_999, CHUNK_BYTES, CHUNK_BYTES + 1, 5_000_000])
def test_a_stream_is_read_in_any_pieces(tmp_path, piece):
    """Whoever asks for bytes gets as many as there are, across chunks, and none after the end."""
    content, key = secrets.token_bytes(2_500_000), DataKey.generate()
    digests = seal(tmp_path / "s", content, key)
    with (tmp_path / "s").open("rb") as file:
        stream = Unsealed(unseal(file, "clinic-a", key, digests))
        pieces = list(iter(lambda: stream.read(piece), b""))
        assert b"".join(pieces) == content
        assert {len(read) for read in pieces[:-1]} <= {piece}
        stream.finish()


def test_what_was_not_read_is_checked_at_the_end(tmp_path):
    """A reader that stops early learns of a stream that is not whole, or that ends elsewhere."""
    content, key = secrets.token_bytes(2_500_000), DataKey.generate()
    digests = seal(tmp_path / "s", content, key)
    sealed = (tmp_path / "s").read_bytes()
    for altered in (sealed[:-1], sealed[: 2 * SEALED_CHUNK], sealed[:-1] + bytes([sealed[-1] ^ 1])):
        (tmp_path / "s").write_bytes(altered)
        with (tmp_path / "s").open("rb") as file:
            stream = Unsealed(unseal(file, "clinic-a", key, digests))
            assert stream.read(1000) == content[:1000]
            with pytest.raises(VaultError, match="clinic-a"):
                stream.finish()


def test_emptied_file_does_not_open(tmp_path):
    """A file of no bytes is not an empty data set."""
    key = DataKey.generate()
    digests = seal(tmp_path / "s", b"", key)
    (tmp_path / "s").write_bytes(b"")
    with pytest.raises(VaultError, match="not the one of its manifest"):
        opened(tmp_path / "s", key, digests)


def test_stream_of_another_name_key_or_version_does_not_open(tmp_path):
    """A stream opens only under the name, key and digests that it was sealed with."""
    path, key = tmp_path / "s", DataKey.generate()
    digests = seal(path, b"content", key)
    other = seal(tmp_path / "t", b"other", key)
    with pytest.raises(VaultError, match="clinic-b"):
        opened(path, key, digests, name="clinic-b")
    with pytest.raises(VaultError, match="chunk 0"):
        opened(path, DataKey.generate(), digests)
    with pytest.raises(VaultError, match="not the one of its manifest"):
        opened(path, key, other)


def test_keys_are_kept_out_of_sight():
    """A key shows in no print, compares with nothing and is neither pickled nor copied."""
    key = DataKey(b"k" * 32)
    assert repr(key) == str(key) == f"{key}" == "DataKey(redacted)"
    for act in (lambda: key == key, lambda: key != DataKey.generate(), lambda: hash(key)):  # noqa: PLR0124
        with pytest.raises(TypeError):
            act()
    for act in (copy.copy, copy.deepcopy, lambda secret: secret.__reduce_ex__(4)):
        with pytest.raises(TypeError, match="not serialised"):
            act(key)


@pytest.mark.parametrize("length", [0, 16, 31, 33])
def test_a_key_of_another_length_is_refused(length):
    """Nothing shorter or longer than 32 bytes is taken for a key."""
    with pytest.raises(VaultError, match=f"a key has 32 bytes, this one {length}"):
        DataKey(bytes(length))


def test_purposes_never_share_keys():
    """Keys derived for two purposes differ from each other and from what they came from."""
    key = DataKey.generate()
    assert len({key.reveal(), key.derive(b"seal"), key.derive(b"version")}) == 3
