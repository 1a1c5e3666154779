"""One value that a party was told, shown to somebody else: with its salt, and the proof that the log has its digest."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

from pydantic import Field, ValidationError

from mpc.quantiles_program import DIGITS
from parties.agreement.kinds import parse_contract
from parties.agreement.plan import Frozen, explain
from parties.audit import proof
from parties.audit.entries import Entry
from parties.audit.events import DisclosureTold
from parties.audit.snapshot import locate, take
from parties.audit.verdict import Found
from parties.errors import DataError, LifecycleError
from parties.keys.identity import fingerprint, parse_fingerprint
from parties.outcome import told
from parties.outcome.amounts import QUANTILES, Amount, amounts
from parties.service.home import Home
from parties.service.store import SessionStore

MAX_BYTES: Final = 64 << 20


class Shown(Frozen):
    """One line of what was told, and the proof that a log has its digest."""

    kept: told.Kept = Field(repr=False)
    proof: str  # of the entry that has the digest, as `privity audit prove` writes it

    def check(self, key: str) -> Entry:
        """The entry of the log, signed by this fingerprint's key, that has this value. Raises: as `Revealed.check`."""
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


class Revealed(Shown):
    """The file: the value in it is readable to whoever has it."""

    version: int = Field(default=2, ge=2, le=2)
    contract: str = Field(repr=False)  # as it was signed: the session's id is its digest, and the scales follow from it
    before: tuple[Shown, ...] = Field(default=(), max_length=DIGITS - 1)  # of quantiles: the digits told before

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
        key is no fingerprint; ContractError if this release can't read the contract.
        """
        entry = super().check(key)
        if hashlib.sha256(self.contract.encode()).hexdigest() != self.kept.session:
            raise DataError("the contract is not that of the value's session", action="ask for the file again")
        before = [(one.kept.name, one.kept.clause, one.kept.count) for one in self.before]
        if before != [(self.kept.name, self.kept.clause, count) for count in earlier(self.kept)]:
            raise DataError("the values told before are not those that it needs", action="ask for the file again")
        for one in self.before:
            # Counts say their order: each clause has one of each in a log.
            if one.check(key).origin != entry.origin or one.kept.session != self.kept.session:
                raise DataError("a value told before is of another log, or session", action="ask for the file again")
        return entry

    def amounts(self) -> list[Amount] | None:
        """The numbers that the value stands for, as `parties.outcome.amounts.amounts`. Raises: as `check`."""
        words = [one.kept.numbers() for one in (*self.before, self)]
        if len({len(each) for each in words}) != 1:
            raise DataError("what was told is not as long each time", action="ask for the file again")
        return amounts(parse_contract(self.contract.encode()), self.kept.name, words)


def earlier(kept: told.Kept) -> range:
    """The numbers of the disclosures without which this one is no number: of quantiles, of each digit before."""
    return range(1, kept.count if kept.name == QUANTILES else 1)


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
    contract = SessionStore(home.path("state.sqlite")).get(kept[0].session).contract
    before = tuple(_shown(home, _told(home, kept[0], number)) for number in earlier(kept[0]))
    return Revealed(**_shown(home, kept[0]).model_dump(), contract=contract, before=before)


def _told(home: Home, kept: told.Kept, number: int) -> told.Kept:
    """Another disclosure of the same clause. Raises: DataError if it is not there."""
    for one in told.read(told.path_of(home.path("results"), kept.session)):
        if (one.clause, one.count) == (kept.clause, number):
            return one
    raise DataError(
        f"no. {number} of {kept.clause}, without which no. {kept.count} is no number, was not kept",
        action="run `privity result verify`, which says what differs",
    )


def _shown(home: Home, kept: told.Kept) -> Shown:
    """Raises: DataError if the log has no such entry."""
    wanted, log = kept.event(), locate(home.directory)
    for entry in take(log).entries():
        if isinstance(entry.event, DisclosureTold) and entry.event == wanted:
            return Shown(kept=kept, proof=proof.prove(log, entry.index).render())
    raise DataError(
        f"no entry of the log has what was kept of {kept.clause}, no. {kept.count}",
        action="run `privity result verify`, which says what differs",
    )
