"""What was measured: one record a work and system, kept in results.json; its ratios, and the README's tables.

Ratios are between figures of one run alone: another hour's load on the machine makes another figure.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from benchmarks.works import ABY3, CRYPTEN, NUMPY, PRIVITY, SEMI2K, SYSTEMS, WORKS, Work

PLACE = Path(__file__).parent
RESULTS, README = PLACE / "results.json", PLACE / "README.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
MEDIAN: Final = "iterations_per_second"
DIGITS = 4  # significant ones that are kept


@dataclass(frozen=True)
class Result:
    """One system's figures for one work: those of the repeat with the median rate.

    Bytes and rounds are a party's, of the busiest; None where a system does not tell.
    """

    work: str
    system: str
    parties: int
    iterations_per_second: float
    seconds: float  # of training
    bytes_per_iteration: float | None
    rounds_per_iteration: float | None
    iterations: int
    run: str  # when; equal for what was measured side by side
    repeats: int
    slowest: float  # repeat, iterations a second
    fastest: float
    load: float | None = None  # processes that wanted a core of the machine, in the minute before
    cpu_ms_per_iteration: float | None = None  # computing time, of the party that takes most
    startup_seconds: float | None = None  # of the slowest process: imports, and meeting the others
    solver: str | None = None
    rounds: int | None = None  # of the whole training
    bytes_sent: int | None = None
    bytes_dealt: int | None = None  # by Privity's dealer, to all parties together
    coefficient_error: float | None = None  # norm of the difference, relative, from the same in floating point
    auc: float | None = None  # on rows that nobody trained on
    auc_error: float | None = None  # from that of the same in floating point
    processes: dict[str, dict[str, float]] = field(default_factory=dict)  # computing seconds, peak memory

    @property
    def key(self) -> tuple[str, str]:
        return self.work, self.system

    @property
    def peak_mb(self) -> float:
        """Of the process that took most memory."""
        return max(each["peak_rss_mb"] for each in self.processes.values())

    @property
    def party_peak_mb(self) -> float | None:
        """Of the party that took most memory; None if no party's was measured."""
        parties = [each for name, each in self.processes.items() if name.startswith("party-")]
        return max((each["peak_rss_mb"] for each in parties), default=None)


def median(work: Work, system: str, run: str, repeats: Sequence[dict[str, Any]]) -> Result:
    """The record of one system's repeats of a work."""
    rates = [found["iterations_per_second"] for found in repeats]
    middle = repeats[rates.index(statistics.median_low(rates))]
    told = {name: _rounded(value) for name, value in middle.items() if name != "weights"}
    return Result(
        **{"parties": work.parties} | told,
        work=work.name,
        system=system,
        run=run,
        repeats=len(repeats),
        slowest=_rounded(min(rates)),
        fastest=_rounded(max(rates)),
    )


def _rounded(value: Any) -> Any:
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def load(path: Path = RESULTS) -> list[Result]:
    return [Result(**record) for record in json.loads(path.read_text(encoding="utf-8"))] if path.exists() else []


def merge(old: Iterable[Result], new: Iterable[Result]) -> list[Result]:
    """The new ones take their predecessors' places; the order is that of works and systems."""
    found = {result.key: result for result in [*old, *new]}
    return [found[work, system] for work in WORKS for system in SYSTEMS if (work, system) in found]


def save(results: Sequence[Result], path: Path = RESULTS) -> None:
    path.write_text(json.dumps([asdict(result) for result in results], indent=1) + "\n", encoding="utf-8")


def times(
    results: Iterable[Result], work: str, system: str, of: Literal["iterations_per_second", "fastest"] = MEDIAN
) -> float | None:
    """How often Privity's iterations a second are the other's, if both were measured side by side."""
    found = {result.system: result for result in results if result.work == work}
    own, other = found.get(PRIVITY), found.get(system)
    if own is None or other is None or own.run != other.run:
        return None
    return getattr(own, of) / getattr(other, of)


def reached(results: Sequence[Result], work: Work) -> bool | None:
    """Whether Privity reached the work's goal; None if something that it speaks of was not measured."""
    own = _own(results, work)
    if own is None:
        return None
    goal, found = work.goal, []
    for system, least in goal.times:
        ratio = times(results, work.name, system)
        found.append(None if ratio is None else ratio >= least)
    if goal.iterations_per_second is not None:
        found.append(own.iterations_per_second >= goal.iterations_per_second)
    if goal.iterations is not None:
        found.append(own.iterations <= goal.iterations)
    if goal.seconds is not None:
        found.append(own.seconds <= goal.seconds)
    if goal.auc is not None:
        found.append(None if own.auc_error is None else own.auc_error <= goal.auc)
    if goal.peak_mb is not None:
        found.append(None if own.party_peak_mb is None else own.party_peak_mb <= goal.peak_mb)
    return False if False in found else None if None in found else True


def _own(results: Sequence[Result], work: Work) -> Result | None:
    return next((result for result in results if result.key == (work.name, PRIVITY)), None)


def speed_table(results: Sequence[Result]) -> str:
    """Gradient descent: iterations a second, and how often Privity's are the others'."""
    lines = [
        "| work | Privity, it/s | x CrypTen | x SEMI2K | x ABY3 | of NumPy | bytes, rounds an iteration | goal | |"
    ]
    lines.append("|---" * 9 + "|")
    for work in (work for work in WORKS.values() if work.descends):
        if (own := _own(results, work)) is None:
            continue
        limit = times(results, work.name, NUMPY)
        cells = [
            work.name,
            f"{own.iterations_per_second:.3g}",
            *(_ratio(results, work.name, system) for system in (CRYPTEN, SEMI2K, ABY3)),
            "" if limit is None else f"1/{1 / limit:.0f}",
            f"{own.bytes_per_iteration:.0f}, {own.rounds_per_iteration:.1f}",
            str(work.goal),
            _verdict(reached(results, work)),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def optimum_table(results: Sequence[Result]) -> str:
    """Training to the optimum."""
    head = "| work | iterations | seconds | rounds | MB sent | MB dealt | coefficients | AUC | peak MB | goal | |"
    lines = [head, "|---" * 11 + "|"]
    for work in (work for work in WORKS.values() if not work.descends):
        if (own := _own(results, work)) is None:
            continue
        cells = [
            work.name,
            str(own.iterations),
            f"{own.seconds:.3g}",
            str(own.rounds),
            f"{(own.bytes_sent or 0) / 1e6:.3g}",
            f"{(own.bytes_dealt or 0) / 1e6:.3g}",
            f"{own.coefficient_error:.1e}",
            "" if own.auc_error is None else f"{own.auc_error:.1e}",
            ", ".join(f"{each['peak_rss_mb']:.0f}" for each in own.processes.values()),
            str(work.goal),
            _verdict(reached(results, work)),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def system_table(results: Sequence[Result]) -> str:
    """Every system's own figures; computing time, bytes and rounds are a party's and an iteration's."""
    head = (
        "| work | system | parties | it/s (slowest to fastest) | CPU ms | kB | rounds | coefficients | peak MB | load |"
    )
    lines = [head, "|---" * 10 + "|"]
    for result in results:
        spread = f" ({result.slowest:.3g} to {result.fastest:.3g})" if result.repeats > 1 else ""
        cells = [
            result.work,
            result.system,
            str(result.parties),
            f"{result.iterations_per_second:.3g}{spread}",
            "" if result.cpu_ms_per_iteration is None else f"{result.cpu_ms_per_iteration:.3g}",
            "" if not result.bytes_per_iteration else f"{result.bytes_per_iteration / 1e3:.3g}",
            "" if not result.rounds_per_iteration else f"{result.rounds_per_iteration:.3g}",
            "" if result.coefficient_error is None else f"{result.coefficient_error:.1e}",
            f"{result.peak_mb:.0f}",
            "" if result.load is None else f"{result.load:.0f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _ratio(results: Sequence[Result], work: str, system: str) -> str:
    """Of medians, and in brackets of each system's fastest repeat."""
    middle, best = times(results, work, system), times(results, work, system, "fastest")
    return "" if middle is None or best is None else f"{middle:.3g} ({best:.3g})"


def _verdict(value: bool | None) -> str:
    return {True: "reached", False: "missed", None: ""}[value]


def tables(results: Sequence[Result]) -> str:
    return "\n\n".join(table(results) for table in (speed_table, optimum_table, system_table))


def rewrite(results: Sequence[Result], path: Path = README) -> None:
    """Put the tables between the README's two marks."""
    before, _, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    path.write_text(f"{before}{BEGIN}\n\n{tables(results)}\n\n{END}{after}", encoding="utf-8")
