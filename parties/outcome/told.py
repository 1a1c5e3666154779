"""What a party was told by each disclosure: values with a salt each in `results/`, and digests of both in the log.

A digest shows nothing to whoever reads the log, since each has 32 random bytes of its own. Whoever is shown a value and
its salt can check that it is what the log has.
"""

from __future__ import annotations

import base64
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final

import numpy as np
import rfc8785
from numpy.typing import NDArray
from pydantic import Field, StringConstraints, ValidationError

from parties.agreement.contract import Disclosed, Hex32, Recipient
from parties.agreement.kinds import AnyContract
from parties.agreement.plan import Frozen
from parties.audit import events
from parties.audit.entries import Entry
from parties.audit.log import AuditLog
from parties.errors import ContractError, DataError
from parties.process.job import Opened
from parties.salted import SALT_BYTES, digest_of

SUFFIX: Final = ".told"


class Kept(Frozen):
    """One line of the file: a value as it was opened, and its salt; both hidden in print."""

    session: Hex32
    clause: str
    name: Disclosed
    recipient: Recipient
    count: Annotated[int, Field(ge=1)]
    words: str = Field(repr=False)  # base64 of little-endian 64-bit integers
    salt: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] = Field(repr=False)

    def digest(self) -> str:
        """What the log has of it."""
        content = rfc8785.dumps(self.model_dump(mode="json", exclude={"salt"}))
        return digest_of(content, bytes.fromhex(self.salt))

    def event(self) -> events.DisclosureTold:
        """The entry of the log that it belongs to."""
        return events.DisclosureTold(
            session=self.session, name=self.name, clause=self.clause, count=self.count, digest=self.digest()
        )

    def numbers(self) -> NDArray[np.int64]:
        """The opened words. Raises: DataError if they are damaged."""
        try:
            return np.frombuffer(base64.b64decode(self.words, validate=True), dtype="<i8").astype(np.int64)
        except ValueError as exc:
            raise DataError("what was told is not words of eight bytes", action="restore it from a backup") from exc


class ToldValues:
    """What the sessions of a home were told, as it comes."""

    def __init__(self, name: str, directory: Path, journal: AuditLog) -> None:
        self._name, self._directory, self._journal = name, directory, journal
        self._counts: dict[tuple[str, str], int] = {}

    def keep(self, contract: AnyContract, opened: Opened) -> None:
        """Keep a value with a fresh salt, durably, then record its digest.

        Raises: ContractError for what the contract does not tell this party; AuditError if it can't be recorded.
        """
        item = next(
            (one for one in contract.disclosures if (one.name, one.recipient) == (opened.name, opened.recipient)), None
        )
        if item is None or not self._is_told(item.recipient):
            raise ContractError(f"the worker was told '{opened.name}', which the contract does not tell {self._name}")
        count = self._counts.get((contract.digest, item.clause), 0) + 1
        kept = Kept(
            session=contract.digest,
            clause=item.clause,
            name=item.name,
            recipient=item.recipient,
            count=count,
            words=opened.words,
            salt=secrets.token_hex(SALT_BYTES),
        )
        _append(path_of(self._directory, contract.digest), kept.model_dump_json().encode() + b"\n")
        self._journal.append(kept.event())
        self._counts[contract.digest, item.clause] = count

    def _is_told(self, recipient: str) -> bool:
        return recipient == "session" or self._name in recipient.partition(":")[2].split(",")


def path_of(directory: Path, session: str) -> Path:
    return directory / f"{session}{SUFFIX}"


def read(path: Path) -> Iterator[Kept]:
    """Line by line; none if there is no file. Raises: DataError that names the first line that can't be read."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                yield Kept.model_validate_json(line)
            except ValidationError as exc:
                raise DataError(f"line {number} of {path} is damaged", action="restore it from a backup") from exc


def hold_against(path: Path, recorded: list[Entry]) -> int:
    """How many values are, in order, those of these entries of the log.

    Raises: DataError with the first that is not, or is missing.
    """
    number = 0
    for number, kept in enumerate(read(path), 1):
        what = f"line {number} of {path} ({kept.name}, {kept.clause}, no. {kept.count})"
        if number > len(recorded):
            raise DataError(
                f"{what} is not in the log",
                action="a node that is killed before it records a value leaves one such line",
            )
        entry = recorded[number - 1]
        if kept.event() != entry.event:
            raise DataError(
                f"{what} is not what entry {entry.index} of the log has", action="restore the file from a backup"
            )
    if number < len(recorded):
        raise DataError(
            f"{path} lacks what entry {recorded[number].index} of the log has", action="restore it from a backup"
        )
    return number


def _append(path: Path, line: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab") as file:
        file.write(line)
        file.flush()
        os.fsync(file.fileno())
