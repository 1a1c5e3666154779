"""Measure Privity beside vanilla CrypTen, SPU and floating point: same work, separate processes, one thread a party.

Writes benchmarks/results.json, results.svg and the tables of benchmarks/README.md, and says the ratios. A part replaces
its own figures alone; ratios are only said of what was measured in one run.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import results
from benchmarks.plot import PICTURE, draw
from benchmarks.processes import MeasurementFailed
from benchmarks.results import Result
from benchmarks.systems import crypten, floating_point, privity, spu
from benchmarks.works import CRYPTEN, NUMPY, PRIVITY, SYSTEMS, WORKS, Data, Floats, Work


def main(arguments: Sequence[str] | None = None) -> int:
    chosen = _parser().parse_args(arguments)
    chosen_systems = [PRIVITY, *(chosen.against or SYSTEMS[1:])]
    run = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    found: list[Result] = []
    failed: list[str] = []
    for name in chosen.work or WORKS:
        work = WORKS[name]
        systems = [system for system in dict.fromkeys(chosen_systems) if system in work.iterations]
        try:
            found += measure(work, systems, run, chosen.repeats or work.repeats)
        except MeasurementFailed as exc:
            print(f"{work.name} FAILED: {exc}", file=sys.stderr, flush=True)
            failed.append(name)
        if not chosen.dry:
            _publish(results.merge(results.load(), found))
    print("", results.tables(found), sep="\n")
    if failed:
        print(f"\nwithout figures of Privity: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", nargs="+", choices=WORKS, metavar="WORK", help=f"of: {', '.join(WORKS)}")
    parser.add_argument("--against", nargs="+", choices=SYSTEMS[1:], metavar="SYSTEM", help=", ".join(SYSTEMS[1:]))
    parser.add_argument("--repeats", type=int, help="of each system, in turn; the median counts")
    parser.add_argument("--dry", action="store_true", help="print the figures and write nothing")
    return parser


def measure(work: Work, systems: Sequence[str], run: str, repeats: int) -> list[Result]:
    """All systems' figures of one work, side by side; a peer that fails is left out, and why is printed."""
    with tempfile.TemporaryDirectory() as place:
        tables, data = Path(place), work.data()
        _write(work, data, tables)
        measured: dict[str, list[dict[str, Any]]] = {system: [] for system in systems}
        for repeat in range(repeats):
            for system in list(measured):
                print(f"{work.name}: {system}, {repeat + 1} of {repeats} ...", file=sys.stderr, flush=True)
                try:
                    load = os.getloadavg()[0]
                    measured[system].append(_measured(work, system, tables) | {"load": load})
                except MeasurementFailed as exc:
                    if system == PRIVITY:
                        raise
                    print(f"{work.name}: {system} is left out: {exc}", file=sys.stderr, flush=True)
                    del measured[system]
    return [
        results.median(work, system, run, [_judged(work, data, found) for found in each])
        for system, each in measured.items()
    ]


def _measured(work: Work, system: str, tables: Path) -> dict[str, Any]:
    iterations = work.iterations[system]
    if system == PRIVITY:
        return privity.measure(work, tables, iterations)
    if system == CRYPTEN:
        return crypten.measure(work, tables, iterations)
    if system == NUMPY:
        return floating_point.measure(work, tables, iterations)
    return spu.measure(work, tables, iterations, system)


def _write(work: Work, data: Data, tables: Path) -> None:
    """Each party's block, for its process alone to read."""
    for rank, block in enumerate(np.split(data.X, np.cumsum(work.blocks)[:-1], axis=1)):
        np.save(tables / f"block-{rank}.npy", np.ascontiguousarray(block))
    np.save(tables / "labels.npy", data.y)


def _judged(work: Work, data: Data, found: dict[str, Any]) -> dict[str, Any]:
    """How near the weights are to those of the same in floating point: after as many iterations, or at the optimum."""
    if work.batch_rows is not None:
        wanted = np.append(floating_point.descend(data.X, data.y, work.batch_rows, found["iterations"]), 0.0)
    else:
        wanted, _ = floating_point.optimum(data.X, data.y, float(work.C))
    weights = np.array(found["weights"])
    error = float(np.linalg.norm(weights - wanted) / np.linalg.norm(wanted))
    judged = found | {"coefficient_error": error}
    if len(data.unseen_labels):
        reached, best = (_auc(data, each) for each in (weights, wanted))
        judged |= {"auc": reached, "auc_error": abs(reached - best)}
    return judged


def _auc(data: Data, weights: Floats) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(data.unseen_labels, data.unseen_rows @ weights[:-1]))


def _publish(everything: Sequence[Result]) -> None:
    """After each work: who interrupts a long run keeps what was measured."""
    results.save(everything)
    results.rewrite(everything)
    if not draw(everything):
        with contextlib.suppress(FileNotFoundError):
            PICTURE.unlink()  # an old picture would show other figures
        print("no picture: matplotlib, of the extra 'bench', is not installed", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
