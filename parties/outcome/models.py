"""Shares of trained models at rest: one sealed file a model, in the home's `models/`.

A file holds this party's share of the weights, the preparation of its own columns and the training's contract. It is
sealed by AES-256-GCM under a key derived from the vault's master key, bound to the session's id; nothing is parsed
before it is authentic. It appears whole or not at all. A worker gets the part that it needs, never the master key.

BUG: deleting overwrites the file in place; a file system or disk that copies on write may keep it. Whoever needs more
has any one other party delete its share: without all of them the weights are uniform words.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import AwareDatetime, Field, ValidationError

from parties.agreement.contract import Contract
from parties.agreement.kinds import parse_contract, training
from parties.agreement.plan import Frozen
from parties.data.vault_key import MasterKey
from parties.durable import overwrite, replace, sync_directory
from parties.errors import VaultError
from parties.keys.identity import write_private
from parties.process.job import ModelPart
from parties.sealing import NONCE_BYTES

SUFFIX: Final = ".model"
FILE_PATTERN: Final = r"^[0-9a-f]{64}\.model$"


class KeptModel(Frozen):
    """One party's part of a model, and the contract of the training that left it; its secrets hidden in print."""

    contract: str  # canonical JSON
    stored: AwareDatetime
    part: ModelPart = Field(repr=False)

    @property
    def trained(self) -> Contract:
        return training(parse_contract(self.contract.encode()))

    @property
    def expires(self) -> datetime:
        """When this party deletes it, as the contract says."""
        return self.stored + timedelta(days=self.trained.retention.model_days)


class Models:
    """A directory of model shares, by the id of the session that left each."""

    def __init__(self, directory: Path, master_key: MasterKey) -> None:
        self._directory = directory
        self._cipher = AESGCM(master_key.derive(b"model"))
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def store(self, session: str, model: KeptModel) -> None:
        """Seal a share, durable when this returns. Raises: VaultError if there is one already, or the disk refuses."""
        path = self._path(session)
        if path.exists():
            raise VaultError(f"a share of model {session[:12]} is kept already")
        try:
            self._seal(session, model).rename(path)
            sync_directory(self._directory)
        except OSError as exc:
            raise VaultError(
                f"the share of model {session[:12]} can't be written: {exc.strerror}", action="make room"
            ) from exc

    def _seal(self, session: str, model: KeptModel) -> Path:
        """A file beside the model's own, durable when this returns."""
        nonce, plain = secrets.token_bytes(NONCE_BYTES), model.model_dump_json().encode()
        fresh = self._path(session).with_suffix(".tmp")
        fresh.unlink(missing_ok=True)
        write_private(fresh, nonce + self._cipher.encrypt(nonce, plain, _context(session)))
        return fresh

    def check_opens(self, session: str, other: Models) -> None:
        """Raises: VaultError if a share opens under neither master key."""
        with suppress(VaultError):
            other.load(session)
            return
        self.load(session)

    def reseal(self, session: str, other: Models) -> None:
        """Seal a share under the master key of another `Models` of this directory; doing it again changes nothing.

        Raises: VaultError as `check_opens`.
        """
        with suppress(VaultError):
            other.load(session)
            return
        replace(other._seal(session, self.load(session)), self._path(session))

    def load(self, session: str) -> KeptModel:
        """Raises: VaultError if none is kept, or a byte of it is not what was written."""
        try:
            sealed = self._path(session).read_bytes()
        except OSError as exc:
            raise VaultError(
                f"no share of model {session[:12]} is kept here",
                action="it was never kept, was deleted, or its time is over: train again",
            ) from exc
        try:
            plain = self._cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], _context(session))
            return KeptModel.model_validate_json(plain)
        except (InvalidTag, ValueError) as exc:
            what = "is of another version of Privity" if isinstance(exc, ValidationError) else "was altered"
            raise VaultError(
                f"the share of model {session[:12]} {what}, or belongs to another vault key",
                action="restore the home from one backup, or delete the model and train again",
            ) from exc

    def list(self) -> tuple[str, ...]:
        """Ids of all models, sorted; their files are not opened."""
        names = (path.name for path in self._directory.glob(f"*{SUFFIX}"))
        return tuple(sorted(name.removesuffix(SUFFIX) for name in names if re.fullmatch(FILE_PATTERN, name)))

    def find(self, beginning: str) -> str:
        """The id of the one model that begins so. Raises: VaultError if there is none, or several."""
        found = [session for session in self.list() if beginning and session.startswith(beginning)]
        if len(found) != 1:
            raise VaultError(f"{len(found)} models begin with '{beginning[:64]}'", action="run `privity model list`")
        return found[0]

    def expired(self, now: datetime) -> Iterator[str]:
        """Ids of models whose time is over; a damaged one is left for its operator."""
        for session in self.list():
            try:
                if self.load(session).expires <= now:
                    yield session
            except VaultError:
                continue

    def delete(self, session: str) -> None:
        """Overwrite and remove a share. Raises: VaultError if there is none."""
        path = self._path(session)
        try:
            with path.open("r+b") as file:
                overwrite(file)
            path.unlink()
            sync_directory(self._directory)
        except FileNotFoundError as exc:
            raise VaultError(
                f"no share of model {session[:12]} is kept here", action="run `privity model list`"
            ) from exc

    def _path(self, session: str) -> Path:
        name = session + SUFFIX
        if not re.fullmatch(FILE_PATTERN, name):
            raise VaultError("a model is named by the whole id of its session", action="run `privity model list`")
        return self._directory / name


def _context(session: str) -> bytes:
    return f"privity model 1\n{session}".encode()
