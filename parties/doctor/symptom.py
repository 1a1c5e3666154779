"""What an examination says: one line, whether it must be mended, and how."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, Self, TypeAlias

from mpc.errors import PrivityError

State: TypeAlias = Literal["ok", "note", "mend"]  # well; worth knowing; to be mended before sessions will work
Examination: TypeAlias = Callable[[], "Iterator[Symptom]"]


@dataclass(frozen=True)
class Symptom:
    """What was looked at, how it is, and what to do."""

    about: str
    state: State
    what: str
    action: str = ""

    @classmethod
    def of(cls, about: str, error: PrivityError) -> Self:
        return cls(about, "mend", error.what, error.action)

    def line(self) -> str:
        """For people."""
        return f"{self.state:4s}  {self.about}: {self.what}" + (f"; {self.action}" if self.action else "")


def examined(about: str, examination: Examination) -> Iterator[Symptom]:
    """What one examination finds; an error that it meets is a finding too."""
    try:
        yield from examination()
    except PrivityError as exc:
        yield Symptom.of(about, exc)
    except OSError as exc:
        what = f"{exc.filename or 'the system'}: {exc.strerror or type(exc).__name__}"
        yield Symptom(about, "mend", what, "check that the home is yours, and the disk")
