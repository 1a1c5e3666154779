"""Heads of a log that somebody keeps, and what they show: a log that was rolled back or written anew."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from parties.audit.notes import Checkpoint, Note, parse_checkpoint, parse_note
from parties.audit.verdict import Found
from parties.errors import AuditError
from parties.keys.identity import fingerprint


@dataclass(frozen=True)
class Cosigner:
    """Who should have cosigned a head, and with which key."""

    name: str
    public_key: bytes


@dataclass(frozen=True)
class KnownHead:
    """A head that somebody kept; with `cosigner`, one that must be cosigned."""

    note: Note
    checkpoint: Checkpoint
    cosigner: Cosigner | None = None

    @classmethod
    def parse(cls, content: str, cosigner: Cosigner | None = None) -> KnownHead:
        """Raises: AuditError if that is no head."""
        note = parse_note(content)
        return cls(note, parse_checkpoint(note.text), cosigner)

    @classmethod
    def read(cls, path: Path) -> KnownHead:
        """Raises: AuditError if the file can't be read or holds no head."""
        try:
            return cls.parse(path.read_bytes().decode())
        except (OSError, UnicodeDecodeError) as exc:
            raise AuditError(f"the head {path} can't be read", action="give a file with a signed head") from exc
        except AuditError as exc:
            raise AuditError(f"{path}: {exc.what}", action=exc.action) from exc

    def accept(self, origin: str, *public_keys: bytes) -> str:
        """Take it as a head of the log that these keys signed in turn; says who cosigned it, if somebody should have.

        Raises: Found if it is another's, or is not signed or cosigned as it should be.
        """
        if self.checkpoint.origin != origin:
            raise Found("head", f"the head given is of {self.checkpoint.origin}, the log of {origin}")
        if not any(self.note.signed_by(origin, key) for key in public_keys):
            raise Found("head", "the head given is not signed by this log's key")
        if self.cosigner is None:
            return ""
        name, key = self.cosigner.name, self.cosigner.public_key
        moment = self.note.cosigned_by(name, key)
        if moment is None:
            raise Found("cosignature", f"the head over {self.checkpoint.size} entries is not cosigned by {name}'s key")
        return f"{self.checkpoint.size} entries, by {name} ({fingerprint(key)}) at {moment:%Y-%m-%d %H:%M:%S} UTC"
