"""What verification says: of a log, of a proof of one entry, of a bundle."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

Kind = Literal["log", "proof", "bundle"]
Fault = Literal[
    "file",  # it is not there, or its pages are damaged
    "schema",  # it is no log of this format
    "altered",  # an entry is not what was hashed, or its head signed
    "missing",  # an entry is not there, and later ones are
    "truncated",  # the last entries are not there
    "moved",  # an entry stands in another's place, or another log's
    "unsigned",  # an entry was added after the last signed head
    "entry",  # an entry makes no sense where it stands, or to this release
    "head",  # a head is damaged, or another key's
    "key",  # the signer is not the one that was confirmed
    "rollback",  # it is shorter than a head that was given or cosigned
    "fork",  # it is another log than such a head's
    "layout",  # the file holds other bytes than its entries make
    "proof",
    "bundle",
    "contract",
    "cosignature",  # a head is not cosigned by the key that it says
]

KEEP: Final = "keep the file as it is, and compare the heads that its owner and the partners hold"


@dataclass(frozen=True)
class Failure:
    """The first bad thing; `entry` is its index where it is, or is about, one entry."""

    fault: Fault
    what: str
    entry: int | None = None
    action: str = KEEP


@dataclass(frozen=True)
class Verdict:
    """What verification found; `remarks` are the limits of what it says."""

    path: str
    failure: Failure | None = None
    kind: Kind = "log"
    origin: str = ""
    fingerprint: str = ""
    entries: int = 0  # of a bundle those that it holds
    index: int | None = None  # of the one entry that a proof shows
    session: str = ""  # of a bundle about one session
    signer_confirmed: bool = False
    head_checked: bool = False
    layout_checked: bool = False
    cosigned: tuple[str, ...] = ()  # heads that partners cosigned and that this agrees with
    withdrawn: tuple[str, ...] = ()  # of a bundle: whose consent ended, when, by which key's word
    remarks: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return self.failure is None

    def line(self) -> str:
        """The verdict in one line, for people."""
        if self.failure is not None:
            return f"NOT VERIFIED: {self.path}: {self.failure.what}"
        return f"verified: {self.path}: {self._shown()} of {self.origin}, signed by {self.fingerprint}"

    def _shown(self) -> str:
        if self.index is not None:
            return f"entry {self.index}"
        about = f" about session {self.session[:12]}" if self.session else ""
        return f"{self.entries} entries{about}"

    def as_dict(self) -> dict[str, Any]:
        return {"verified": self.ok, **asdict(self)}


class Found(Exception):
    """Carries a failure out of the checks."""

    def __init__(self, fault: Fault, what: str, entry: int | None = None, action: str | None = None) -> None:
        super().__init__(what)
        self.failure = Failure(fault, what, entry, action or KEEP)
