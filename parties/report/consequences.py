"""What an operator is told before consent is withdrawn: what ends by it, and what nothing can undo."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from parties.report.account import facts_of
from parties.report.facts import Facts, Told
from parties.report.material import Material
from parties.service.home import Home


@dataclass(frozen=True)
class Consequences:
    """Of a withdrawal from one session."""

    facts: Facts

    @property
    def told(self) -> tuple[Told, ...]:
        """What was told already: that stays with whoever was told it."""
        return tuple(one for one in self.facts.told if one.recorded)

    @property
    def share(self) -> str:
        """What becomes of what this organisation keeps of the session, in words."""
        if self.facts.share.stored and not self.facts.share.deleted:
            return "this organisation's share of the model: nobody can predict by it from then on"
        if self.facts.found is not None:
            return f"this organisation's data set {self.facts.found.name} of common records, if it is still kept"
        return "no share of a model: none is kept here"

    @property
    def recording(self) -> str:
        """What becomes of the recording for a replay, in words; empty where there is none."""
        kept = self.facts.recording
        return "the recording of what came in, here and at every other party" if kept and not kept.deleted else ""

    @property
    def resting(self) -> str:
        """Which other sessions end with it, in words."""
        return "sessions on what it left" if self.facts.found is not None else "predictions by its model"

    def lines(self) -> list[str]:
        """For a terminal."""
        told = [
            f"  {one.what}: to {one.to}, {one.recorded} time(s), last on {one.last:%Y-%m-%d %H:%M} UTC"
            for one in self.told
        ]
        undone = "What can't be undone, because it was told already:"
        return [
            f"session  {self.facts.session}",
            f"purpose  {self.facts.purpose}",
            f"ends     the session, if it is not over, and {self.resting} that are not",
            f"destroys {self.share}",
            *([f"destroys {self.recording}"] if self.recording else []),
            "tells    every participant that you withdrew, for their logs; it can't be taken back",
            undone if told else "Nothing was told by this session so far.",
            *told,
        ]


def consequences(home: Home, beginning: str) -> Consequences:
    """Raises: LifecycleError if no session begins so, or several; AuditError, ContractError."""
    return Consequences(facts_of(Material.of(home, beginning, check=False), datetime.now(UTC)))
