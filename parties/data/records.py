"""Which own records took part in a session: keyed digests of their ids, under a key of the session's own.

A session has two files in the home's `records/`: `.ids` holds the digests, sorted and sealed under the session's key;
`.key` holds that key, sealed under the vault's master key. Destroying overwrites the key with zeros, under the name
`.destroyed`, so that "it can't be told any more" is told apart from "nothing was kept". No id is stored, and without
the key a guess can't be tested.

BUG: destroying overwrites the key's file in place; a file system or disk that copies on write may keep it. Whoever
needs more replaces the master key, without which no session's key opens.
"""

from __future__ import annotations

import bisect
import hmac
import re
import secrets
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Final, Literal, TypeAlias

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import AwareDatetime, Field, ValidationError

from parties.agreement.contract import Hex32
from parties.agreement.plan import Frozen
from parties.data.vault_key import MasterKey
from parties.durable import overwrite, sync_directory
from parties.errors import VaultError
from parties.keys.identity import write_private
from parties.sealing import NONCE_BYTES, Secret

DIGEST_BYTES: Final = 16  # two ids of one session meet with probability 2**-128 a pair
FILE_PATTERN: Final = r"^[0-9a-f]{64}\.(key|ids|destroyed|tmp)$"
Standing: TypeAlias = Literal["kept", "destroyed"]


class RecordsKey(Secret):
    """Digests the ids of one session, and seals the digests."""


class _Kept(Frozen):
    """What lies in a `.key`, sealed."""

    key: Hex32 = Field(repr=False)
    until: AwareDatetime


class Records:
    """A directory of sessions' record digests."""

    def __init__(self, directory: Path, master_key: MasterKey) -> None:
        self._directory = directory
        self._wrapping = AESGCM(master_key.derive(b"records"))
        self._changing = threading.Lock()  # a sweep would take digests whose key is not written yet
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.sweep()

    def keep(self, session: str, ids: Iterable[str], until: datetime) -> None:
        """Digest the ids under a fresh key, durable when this returns. Cost: 16 bytes an id, several times in memory.

        Raises: VaultError if there are some of this session already, or the disk refuses.
        """
        if self.knows(session):
            raise VaultError(f"record digests of session {session[:12]} were kept before")
        key = RecordsKey.generate()
        digesting = key.derive(b"digest")
        digests = bytearray()  # a list of as many objects would be several times as large
        for record in ids:
            digests += _digest(digesting, record)
        wrapped = _Kept(key=key.reveal().hex(), until=until).model_dump_json().encode()
        try:
            with self._changing:
                self._write(session, "ids", _seal(AESGCM(key.derive(b"seal")), _sorted(digests), session))
                self._write(session, "key", _seal(self._wrapping, wrapped, session))  # last: it makes the set exist
                sync_directory(self._directory)
        except OSError as exc:
            raise VaultError(
                f"the record digests of session {session[:12]} can't be written: {exc.strerror}", action="make room"
            ) from exc

    def knows(self, session: str) -> bool:
        """Whether digests of this session are kept, or were destroyed."""
        return self._path(session, "key").exists() or self._path(session, "destroyed").exists()

    def holds(self, session: str, record: str) -> bool:
        """Whether a session had this record. Raises: VaultError if nothing is kept of it, or a byte was altered."""
        key = RecordsKey(bytes.fromhex(self._kept(session).key))
        digests = _unseal(AESGCM(key.derive(b"seal")), self._read(session, "ids"), session)
        wanted, count = _digest(key.derive(b"digest"), record), len(digests) // DIGEST_BYTES

        def at(place: int) -> bytes:
            return digests[place * DIGEST_BYTES : (place + 1) * DIGEST_BYTES]

        place = bisect.bisect_left(range(count), wanted, key=at)
        return place < count and hmac.compare_digest(at(place), wanted)

    def standings(self) -> dict[str, Standing]:
        """All sessions of which digests are kept or were destroyed, sorted; no file is opened."""
        names = sorted(path.name for path in self._directory.iterdir() if re.fullmatch(FILE_PATTERN, path.name))
        found: dict[str, Standing] = {}
        for session, _, kind in (name.partition(".") for name in names):
            if kind in {"key", "destroyed"}:
                found[session] = "kept" if kind == "key" else "destroyed"
        return found

    def find(self, beginning: str) -> str:
        """The one session that begins so of which digests are kept. Raises: VaultError if there is none, or several."""
        found = [
            session
            for session, standing in self.standings().items()
            if standing == "kept" and beginning and session.startswith(beginning)
        ]
        if len(found) != 1:
            raise VaultError(
                f"record digests are kept of {len(found)} sessions that begin with '{beginning[:64]}'",
                action="`privity node status` shows this node's sessions",
            )
        return found[0]

    def expired(self, now: datetime) -> Iterator[str]:
        """Sessions whose digests' time is over; a damaged key is left for its operator."""
        for session, standing in self.standings().items():
            try:
                if standing == "kept" and self._kept(session).until <= now:
                    yield session
            except VaultError:
                continue

    def destroy(self, session: str) -> None:
        """Destroy a session's key, then its digests. Raises: VaultError if there is none."""
        try:
            self._path(session, "key").rename(self._path(session, "destroyed"))
        except FileNotFoundError as exc:
            raise VaultError(f"no record digests of session {session[:12]} are kept here") from exc
        sync_directory(self._directory)
        self.sweep()

    def check_opens(self, session: str, other: Records) -> None:
        """Raises: VaultError if a session's key opens under neither master key."""
        with suppress(VaultError):
            other._kept(session)
            return
        self._kept(session)

    def reseal(self, session: str, other: Records) -> None:
        """Seal a session's key under the master key of another `Records` of this directory; again changes nothing.

        Raises: VaultError as `check_opens`.
        """
        with suppress(VaultError):
            other._kept(session)
            return
        wrapped = self._kept(session).model_dump_json().encode()
        with self._changing:
            self._write(session, "key", _seal(other._wrapping, wrapped, session))
            sync_directory(self._directory)

    def sweep(self) -> None:
        """Complete what was cut off: keys that were to be destroyed, digests without a key."""
        with self._changing:
            self._sweep()

    def _sweep(self) -> None:
        for path in sorted(self._directory.iterdir(), key=lambda path: path.suffix != ".destroyed"):  # keys go first
            if path.suffix == ".destroyed":
                _erase(path)
            elif path.suffix == ".tmp" or (path.suffix == ".ids" and not path.with_suffix(".key").exists()):
                path.unlink()
        sync_directory(self._directory)

    def _kept(self, session: str) -> _Kept:
        plain = _unseal(self._wrapping, self._read(session, "key"), session)
        try:
            return _Kept.model_validate_json(plain)
        except ValidationError as exc:  # authentic, so written by some release
            raise VaultError(
                f"the record digests of session {session[:12]} are of another version of Privity",
                action="use the version that wrote them",
            ) from exc

    def _read(self, session: str, kind: str) -> bytes:
        try:
            return self._path(session, kind).read_bytes()
        except OSError as exc:
            raise VaultError(f"no record digests of session {session[:12]} are kept here") from exc

    def _write(self, session: str, kind: str, content: bytes) -> None:
        fresh = self._path(session, "tmp")
        fresh.unlink(missing_ok=True)
        write_private(fresh, content)
        fresh.rename(self._path(session, kind))

    def _path(self, session: str, kind: str) -> Path:
        name = f"{session}.{kind}"
        if not re.fullmatch(FILE_PATTERN, name):
            raise VaultError("a session is named by its whole id", action="`privity node status` shows them")
        return self._directory / name


def _erase(path: Path) -> None:
    """Overwrite a file in place with zeros, unless that was done before."""
    with path.open("r+b") as file:
        if any(file.read()):
            overwrite(file)


def _digest(key: bytes, record: str) -> bytes:
    return hmac.digest(key, record.encode("utf-8", "surrogatepass"), "sha256")[:DIGEST_BYTES]


def _sorted(digests: bytearray) -> bytes:
    """Of DIGEST_BYTES each; ends that are zeros are less than any other."""
    return np.sort(np.frombuffer(digests, dtype=f"S{DIGEST_BYTES}")).tobytes()


def _seal(cipher: AESGCM, plain: bytes, session: str) -> bytes:
    nonce = secrets.token_bytes(NONCE_BYTES)
    return nonce + cipher.encrypt(nonce, plain, _context(session))


def _unseal(cipher: AESGCM, sealed: bytes, session: str) -> bytes:
    try:
        return cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], _context(session))
    except (InvalidTag, ValueError) as exc:
        raise VaultError(
            f"the record digests of session {session[:12]} were altered, or belong to another vault key",
            action="restore the home from one backup",
        ) from exc


def _context(session: str) -> bytes:
    return f"privity records 1\n{session}".encode()
