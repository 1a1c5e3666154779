"""A signed bundle: what a third party needs to check a log, or one session of it, in one file that shows nothing else.

A bundle is a zip archive, nothing compressed, the same bytes for the same log. Each entry is under the log's signed
head: by its own inclusion proof where the bundle is about one session, by all entries together where it is the whole
log. That none about the session is missing is the word of the log's owner, who signs the list of files; a partner's
bundle of the same session tells otherwise.
"""

from __future__ import annotations

import base64
import io
import json
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import TypeAdapter, ValidationError

from parties.agreement.contract import Hex32
from parties.agreement.plan import Frozen
from parties.audit.agreements import Agreement
from parties.audit.entries import Entry, decode
from parties.audit.heads import Cosigner, KnownHead
from parties.errors import AuditError, PartnerError
from parties.keys.handover import SignedHandover, keys_of

BUNDLE_TYPE: Final = "application/vnd.privity.audit-bundle.v1+json"
MAGIC: Final = b"PK\x03\x04"
MANIFEST, HEAD, ENTRIES, PROOFS, COSIGNED, HANDOVERS, WITNESSED = (
    "manifest.json",
    "head",
    "entries.jsonl",
    "proofs.jsonl",
    "cosigned.jsonl",
    "handovers.jsonl",
    "witnessed.jsonl",
)
FILE_NAME: Final = re.compile(
    r"head|(?:entries|proofs|cosigned|handovers|witnessed)\.jsonl|(?:contracts|approvals|transcripts|commitments|withdrawals)/([0-9a-f]{64})\.json"
)
ENVELOPES: Final = ("approvals", "transcripts", "commitments", "withdrawals")  # in the order of `Agreement`
_BY_NAME: Final = TypeAdapter(dict[str, dict[str, Any]])
UNCHANGED: Final = "use a bundle that `privity audit export` wrote, unchanged"


class Manifest(Frozen):
    """What the log's owner signs: whose log, about what, and every file."""

    version: Literal[1] = 1
    origin: str
    public_key: Hex32
    session: Hex32 | Literal[""]  # empty: the whole log
    files: dict[str, Hex32]  # SHA-256 by name


class WitnessedHead(Frozen):
    """One line of `witnessed.jsonl`: the last head of another's log that the bundle's owner cosigned."""

    name: str
    note: str


class CosignedHead(Frozen):
    """One line of `cosigned.jsonl`."""

    name: str
    public_key: Hex32
    note: str
    proof: tuple[str, ...]  # base64; that the bundle's head continues it

    def known(self) -> KnownHead:
        """Raises: AuditError if it is no head."""
        return KnownHead.parse(self.note, Cosigner(self.name, bytes.fromhex(self.public_key)))


@dataclass(frozen=True)
class Bundle:
    """The files of a bundle, not checked yet."""

    files: Mapping[str, bytes]

    def signed(self) -> tuple[Manifest, dict[str, Any]]:
        """The manifest, and the envelope that is to be signed by the key in it. Raises: AuditError if it is none."""
        try:
            envelope = json.loads(self.files[MANIFEST])
            return Manifest.model_validate_json(base64.b64decode(envelope["payload"])), envelope
        except (KeyError, TypeError, ValueError) as exc:  # pydantic's ValidationError too
            raise AuditError("its manifest is not one of a bundle", action=UNCHANGED) from exc

    def lines(self, name: str) -> list[bytes]:
        return self.files.get(name, b"").splitlines()

    def head(self) -> KnownHead:
        """Raises: AuditError if it is none."""
        try:
            return KnownHead.parse(self.files[HEAD].decode())
        except (KeyError, UnicodeDecodeError) as exc:
            raise AuditError("its head can't be read", action=UNCHANGED) from exc

    def entries(self) -> Iterator[Entry]:
        """Raises: AuditError where a line is no entry."""
        for number, line in enumerate(self.lines(ENTRIES)):
            try:
                yield decode(line)
            except AuditError as exc:
                raise AuditError(f"line {number + 1} of {ENTRIES} {exc.what}", action=exc.action) from exc

    def cosigned(self) -> list[CosignedHead]:
        """Raises: AuditError if a line is none."""
        try:
            return [CosignedHead.model_validate_json(line) for line in self.lines(COSIGNED)]
        except ValidationError as exc:
            raise AuditError(f"{COSIGNED} can't be read", action=UNCHANGED) from exc

    def witnessed(self) -> dict[str, KnownHead]:
        """Heads of others' logs, by name; whoever has their keys checks them. Raises: AuditError if one is none."""
        try:
            lines = [WitnessedHead.model_validate_json(line) for line in self.lines(WITNESSED)]
        except ValidationError as exc:
            raise AuditError(f"{WITNESSED} can't be read", action=UNCHANGED) from exc
        return {line.name: KnownHead.parse(line.note) for line in lines}

    def keys(self, manifest: Manifest) -> list[bytes]:
        """The keys that signed the log in turn, the manifest's last. Raises: AuditError if the chain does not hold."""
        try:
            chain = [SignedHandover.model_validate_json(line) for line in self.lines(HANDOVERS)]
            keys = keys_of(manifest.origin, chain) or [bytes.fromhex(manifest.public_key)]
        except (ValidationError, PartnerError) as exc:
            raise AuditError("its hand-overs of the log's key do not hold", action=UNCHANGED) from exc
        if keys[-1].hex() != manifest.public_key:
            raise AuditError("its hand-overs do not lead to the key that signs it", action=UNCHANGED)
        return keys

    def agreements(self) -> dict[str, Agreement]:
        """Contracts and what was signed on them, by session. Raises: AuditError if a file of them can't be read."""
        found = {}
        for name, content in self.files.items():
            if name.startswith("contracts/"):
                digest = name.removeprefix("contracts/").removesuffix(".json")
                found[digest] = Agreement(content, *(self._envelopes(f"{kind}/{digest}.json") for kind in ENVELOPES))
        return found

    def _envelopes(self, name: str) -> dict[str, dict[str, Any]]:
        """By participant, commitments by stage too."""
        try:
            return _BY_NAME.validate_json(self.files.get(name, b"{}"))
        except ValidationError as exc:
            raise AuditError(f"{name} can't be read", action=UNCHANGED) from exc


def is_one(path: Path) -> bool:
    """Whether a file begins as a bundle does."""
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def read(path: Path) -> Bundle:
    """Raises: AuditError if it can't be read, or is not the archive that its files make."""
    try:
        content = path.read_bytes()
    except OSError as exc:
        raise AuditError(f"it can't be read: {exc.strerror}", action="give the file of a bundle") from exc
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            infos = archive.infolist()
            if any(item.compress_type != zipfile.ZIP_STORED for item in infos):  # so none can unfold to a flood
                raise AuditError("it is not a bundle: a file in it is compressed", action=UNCHANGED)
            files = {item.filename: archive.read(item) for item in infos}
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError) as exc:
        raise AuditError("it is not a readable zip archive", action=UNCHANGED) from exc
    # Nothing may hide between the files, and no name stand twice.
    if pack(files) != content:
        raise AuditError("it holds bytes that belong to none of its files", action=UNCHANGED)
    return Bundle(files)


def joined(lines: Iterable[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)


def pack(files: Mapping[str, bytes]) -> bytes:
    """The archive: manifest first, the rest by name, no times, no compression."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files, key=lambda name: (name != MANIFEST, name)):
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), files[name])
    return buffer.getvalue()
