"""One value that a party was told, shown to somebody else: with its salt, and the proof that the log has its digest."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pydantic import Field, ValidationError

from parties.agreement.plan import Frozen, explain
from parties.audit import proof
from parties.audit.entries import Entry
from parties.audit.events import DisclosureTold
from parties.audit.snapshot import locate, take
from parties.audit.verdict import Found
from parties.errors import DataError, LifecycleError
from parties.keys.identity import fingerprint, parse_fingerprint
from parties.outcome import told
from parties.service.home import Home

MAX_BYTES: Final = 64 << 20


class Revealed(Frozen):
    """The file: the value in it is readable to whoever has it."""

    version: int = Field(default=1, ge=1, le=1)
    kept: told.Kept = Field(repr=False)
    proof: str  # of the entry that has the digest, as `privity audit prove` writes it

    @classmethod
    def read(cls, path: Path) -> Revealed:
        """Raises: DataError if it is no such file."""
        try:
            with path.open("rb") as file:
                return cls.model_validate_json(file.read(MAX_BYTES))
        except OSError as exc:
            raise DataError(f"{path} can't be read: {exc.strerror}") from exc
        except ValidationError as exc:
            raise DataError(f"{path} is not what `privity result reveal` writes: {explain(exc)}") from exc

    def check(self, key: str) -> Entry:
        """The entry of the log, signed by this fingerprint's key, that has this value.

        Raises: DataError with the first thing that does not hold; AuditError if the proof is none; PartnerError if the
        key is no fingerprint.
        """
        expected, proven = parse_fingerprint(key), proof.parse(self.proof)
        if (signer := fingerprint(proven.public_key)) != expected:
            raise DataError(f"the log is signed by {signer}, not by {expected}", action="ask its owner for its key")
        try:
            proven.check()
        except Found as exc:
            raise DataError(f"the proof does not hold: {exc.failure.what}", action="ask for the file again") from exc
        entry = proven.entry()
        if entry.event != self.kept.event():
            raise DataError(
                f"entry {entry.index} of the log of {entry.origin} is not of this value under this salt",
                action="it was altered, or is another disclosure's; ask for the file again",
            )
        return entry


def reveal(home: Home, beginning: str, clause: str, count: int) -> Revealed:
    """One value of the one session whose id begins so.

    Raises: LifecycleError if there is none; DataError if it is not what the log has; AuditError.
    """
    found = [path for path in home.path("results").glob(f"*{told.SUFFIX}") if path.name.startswith(beginning)]
    kept = [one for path in found for one in told.read(path) if (one.clause, one.count) == (clause, count)]
    if len(kept) != 1 or not beginning:
        raise LifecycleError(
            f"{len(kept)} values that were told here are no. {count} of {clause[:40]} in a session that begins with "
            f"'{beginning[:64]}'",
            action="`privity audit list` shows each session:disclosure:told",
        )
    wanted, log = kept[0].event(), locate(home.directory)
    for entry in take(log).entries():
        if isinstance(entry.event, DisclosureTold) and entry.event == wanted:
            return Revealed(kept=kept[0], proof=proof.prove(log, entry.index).render())
    raise DataError(
        f"no entry of the log has what {found[0]} holds of {clause}, no. {count}",
        action="run `privity result verify`, which says what differs",
    )
