"""The picture of results.json: iterations a second by work and system, on a logarithmic scale."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.results import PLACE, Result
from benchmarks.works import SYSTEMS, WORKS

PICTURE = PLACE / "results.svg"
COLOURS = dict(zip(SYSTEMS, ("#1b6ca8", "#c0504d", "#d98c3f", "#e5c07b", "#9aa0a6"), strict=True))
BAR = 0.16


def draw(results: Sequence[Result], path: Path = PICTURE) -> bool:
    """Returns whether matplotlib, an optional extra, is there."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    works = [name for name in WORKS if any(result.work == name for result in results)]
    figure = Figure(figsize=(10, 0.9 + 0.8 * len(works)), layout="constrained")
    axes = figure.subplots()
    for place, system in enumerate(SYSTEMS):
        found = {result.work: result.iterations_per_second for result in results if result.system == system}
        heights = [index + (place - 2) * BAR for index, name in enumerate(works) if name in found]
        rates = [found[name] for name in works if name in found]
        bars = axes.barh(heights, rates, BAR, label=system, color=COLOURS[system])
        axes.bar_label(bars, [f"{rate:.3g}" for rate in rates], padding=2, fontsize=7)
    axes.set_yticks(range(len(works)), works)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel("iterations a second")
    axes.margins(x=0.1)
    axes.legend(fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None})
    return True
