"""Recordings of sessions whose contract has them kept: what came in, sealed, and the seed, for an officer's replay.

Two files a session in the home's `replays/`: the recording, sealed chunk by chunk as it comes under a key of its own;
and that key with the seed, sealed under the key of the data set that took part. So both are gone with the data set,
whatever becomes of the files, and a rotated vault key changes nothing here. Among what came in are the peers' masked
rows: whoever has these and the dealer's masks has the rows.

BUG: deleting overwrites the files in place; a file system or disk that copies on write may keep them.
"""

from __future__ import annotations

import base64
import re
import secrets
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import AwareDatetime, Field, ValidationError
from rich.filesize import decimal

from parties.agreement.plan import Frozen, Name
from parties.data.vault import Vault
from parties.durable import overwrite, sync_directory
from parties.errors import VaultError
from parties.keys.identity import write_private
from parties.process.job import Recording, TapeDigests
from parties.sealing import NONCE_BYTES, DataKey

SUFFIX: Final = ".replay"
TAPE: Final = ".tape"
FILE_PATTERN: Final = r"^[0-9a-f]{64}\.replay$"


class _Secrets(Frozen):
    """What only the data set's key opens; hidden in print."""

    recording: Recording = Field(repr=False)
    digests: TapeDigests | None = None  # of the whole recording, once the run has ended


class _File(Frozen):
    """What the file of secrets says in clear, and they, sealed."""

    data: Name
    until: AwareDatetime
    sealed: str = Field(repr=False)  # base64 of nonce and ciphertext


@dataclass(frozen=True)
class Kept:
    """What is known of a recording without a key."""

    session: str
    data: str
    until: datetime
    size_bytes: int  # of both files

    @property
    def size(self) -> str:
        return decimal(self.size_bytes)


class Replays:
    """The recordings of a home, by the id of the session."""

    def __init__(self, directory: Path, vault: Vault) -> None:
        self._directory, self._vault = directory, vault
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def begin(self, session: str, data: str, until: datetime) -> Recording:
        """A seed, and a key for a recording that the worker will write. What an earlier attempt left is gone."""
        self.delete(session)
        made = Recording(
            seed=secrets.token_hex(32), key=DataKey.generate().reveal().hex(), path=str(self.tape(session))
        )
        self._write(session, data, until, _Secrets(recording=made))
        return made

    def finish(self, session: str, digests: TapeDigests) -> None:
        """The run ended, and this is its whole recording. Raises: VaultError if its key is gone."""
        file = self._file(session)
        kept = _Secrets(recording=self.recording(session), digests=digests)
        self._write(session, file.data, file.until, kept)

    def recording(self, session: str) -> Recording:
        """Raises: VaultError as `opened`."""
        return self._open(session).recording

    def opened(self, session: str) -> tuple[Recording, TapeDigests]:
        """Raises: VaultError if none is kept, a byte of it is another, the data set is gone, or the run did not end."""
        kept = self._open(session)
        if kept.digests is None:
            raise VaultError(f"the recording of session {session[:12]} was not finished", action="nothing: it failed")
        return kept.recording, kept.digests

    def _open(self, session: str) -> _Secrets:
        file = self._file(session)
        sealed = base64.b64decode(file.sealed)
        try:
            plain = self._cipher(file.data).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], _context(session, file))
            return _Secrets.model_validate_json(plain)
        except (InvalidTag, ValueError) as exc:
            raise VaultError(
                f"the recording of session {session[:12]} was altered, or its data set's key is another by now",
                action="restore the home from one backup; without the data set nothing can be replayed",
            ) from exc

    def list(self) -> tuple[str, ...]:
        """Ids of all sessions with a recording, sorted."""
        names = (path.name for path in self._directory.glob(f"*{SUFFIX}"))
        return tuple(sorted(name.removesuffix(SUFFIX) for name in names if re.fullmatch(FILE_PATTERN, name)))

    def find(self, beginning: str) -> str:
        """The id of the one recorded session that begins so. Raises: VaultError if there is none, or several."""
        found = [session for session in self.list() if beginning and session.startswith(beginning)]
        if len(found) != 1:
            what = f"{len(found)} recordings are of a session that begins with '{beginning[:64]}'"
            raise VaultError(what, action="run `privity recording list`")
        return found[0]

    def kept(self, session: str) -> Kept:
        """Raises: VaultError if none is kept, or it is damaged."""
        file, paths = self._file(session), (self._path(session), self.tape(session))
        size = sum(path.stat().st_size for path in paths if path.exists())
        return Kept(session, file.data, file.until, size)

    def expired(self, now: datetime) -> Iterator[str]:
        """Those whose time is over; a damaged one is left for its operator."""
        for session in self.list():
            with suppress(VaultError):
                if self._file(session).until <= now:
                    yield session

    def of_data(self, data: str) -> Iterator[str]:
        """Those in which a data set took part."""
        for session in self.list():
            with suppress(VaultError):
                if self._file(session).data == data:
                    yield session

    def delete(self, session: str) -> bool:
        """Overwrite and remove both files, the secrets first; whether there were any."""
        found = [path for path in (self._path(session), self.tape(session)) if path.exists()]
        for path in found:
            with path.open("r+b") as file:
                overwrite(file)
            path.unlink()
        sync_directory(self._directory)
        return bool(found)

    def tape(self, session: str) -> Path:
        return self._path(session).with_suffix(TAPE)

    def _write(self, session: str, data: str, until: datetime, kept: _Secrets) -> None:
        nonce, shown = secrets.token_bytes(NONCE_BYTES), _File(data=data, until=until, sealed="")
        sealed = self._cipher(data).encrypt(nonce, kept.model_dump_json().encode(), _context(session, shown))
        file = shown.model_copy(update={"sealed": base64.b64encode(nonce + sealed).decode()})
        fresh = self._path(session).with_suffix(".tmp")
        fresh.unlink(missing_ok=True)
        write_private(fresh, file.model_dump_json().encode())
        fresh.rename(self._path(session))
        sync_directory(self._directory)

    def _file(self, session: str) -> _File:
        try:
            return _File.model_validate_json(self._path(session).read_bytes())
        except FileNotFoundError as exc:
            raise VaultError(
                f"no recording of session {session[:12]} is kept here",
                action="its contract keeps none, its time is over, or it went with its data set, its model, or consent",
            ) from exc
        except ValidationError as exc:
            raise VaultError(f"{self._path(session)} is damaged", action="restore it from a backup") from exc

    def _cipher(self, data: str) -> AESGCM:
        return AESGCM(self._vault.data_key(data).derive(b"replay"))

    def _path(self, session: str) -> Path:
        name = session + SUFFIX
        if not re.fullmatch(FILE_PATTERN, name):
            raise VaultError("a recording is named by the whole id of its session")
        return self._directory / name


def _context(session: str, file: _File) -> bytes:
    return f"privity replay 1\n{session}\n{file.data}\n{file.until.isoformat()}".encode()
