"""What a run looks like in a terminal: steps, a progress bar, tables."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from gateway.sandbox.disclosed import Ledger
from gateway.sandbox.matched_first import MatchingReport
from gateway.sandbox.trial import Report
from gateway.watching import SessionEvent
from mpc.curves import Points
from parties.outcome.curves import Range, calibration, roc
from parties.outcome.telling import informing, times, validation
from parties.service.messages import Figures


class Screen:
    """Prints steps and one live bar: iteration, rounds, bytes, and the loss where the contract discloses it."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = Progress(
            TextColumn("training"),
            BarColumn(30),
            MofNCompleteColumn(),
            TextColumn("{task.fields[cost]}"),
            TimeElapsedColumn(),
            console=console,
            transient=False,
        )
        self._task: TaskID | None = None
        self._loss = ""

    def say(self, text: str) -> None:
        self._console.print(f"  {text}", highlight=False, markup=False)

    def on_event(self, event: SessionEvent) -> None:
        data = event.data
        if event.kind != "progress" or not data["of"]:
            return
        if self._task is None:
            self._bar.start()
            self._task = self._bar.add_task("training", total=data["of"], cost="")
        if data.get("loss") is not None:
            self._loss = f"  loss {data['loss']:.4f}"
        cost = f"{data['rounds']} rounds  {decimal(data['bytes_sent'])}{self._loss}"
        done = max(data["iteration"], int(self._bar.tasks[0].completed))
        self._bar.update(self._task, completed=done, total=data["of"], cost=cost)

    def close(self) -> None:
        self._bar.stop()


def show(report: Report, console: Console, place: Path | None) -> None:
    """The tables at the end."""
    result = report.comparison
    if report.matching is not None:
        _matching(report.matching, console)
    console.print(
        f"\nAUC on the same {result.held_out_rows} held-out rows ({result.training_rows} trained)", style="bold"
    )
    aucs = Table(box=None, pad_edge=False)
    aucs.add_column("model")
    aucs.add_column("AUC", justify="right")
    aucs.add_row("secure: all parties' data, nobody's shown", f"{result.secure:.4f}", style="green")
    aucs.add_row("pooled: scikit-learn on the joined plaintext", f"{result.pooled:.4f}")
    for name, auc in result.alone.items():
        aucs.add_row(f"{name}'s data alone, with labels", f"{auc:.4f}")
    console.print(aucs)
    console.print(f"greatest coefficient difference from the pooled model: {result.coefficient_difference:.4f}")

    console.print(report.convergence, style=None if report.converged else "yellow", markup=False)

    for line in (*informing(report.information_values), *validation(report.validated, result.models[0].C)):
        console.print(line, markup=False, highlight=False)

    for model in result.models:
        if model.disclosed is not None:
            of = f", {model.positive}, C={model.C}" if len(result.models) > 1 else ""
            console.print(
                f"\nTold to the session of the {result.held_out_rows} held-out rows{of}: no score, no label",
                style="bold",
                markup=False,
            )
            console.print(_figures(model.disclosed, model.pooled_figures))
            _tables(model.disclosed, model.pooled_figures, console)

    console.print("\nCost", style="bold")
    costs = Table(box=None, pad_edge=False)
    costs.add_column("process")
    costs.add_column("bytes sent", justify="right")
    for name, count in report.bytes_sent.items():
        costs.add_row(name, f"{count:,}")
    console.print(costs)
    console.print(f"{report.seconds:.1f} seconds, {report.rounds} rounds", highlight=False)
    console.print(f"of which at the slowest party: {times(report.stages)}", highlight=False)

    trained = "by the training" if report.matching is not None else ""
    _disclosed(report.disclosures, trained, console)

    console.print("\nAudit logs, verified offline", style="bold")
    for name, what in report.logs.items():
        console.print(f"  {name}: {what or 'verified'}", style="red" if what else None, markup=False)
    if place is not None:
        console.print(f"\neverything is kept in {place}", markup=False)


def _matching(found: MatchingReport, console: Console) -> None:
    """What the lists were, and what was learnt of them."""
    console.print(f"\nMatched first: {found.common} records are in all lists", style="bold")
    table = Table(box=None, pad_edge=False)
    table.add_column("party")
    for title in ("records", "in all lists", "left out"):
        table.add_column(title, justify="right")
    for name, rows in found.rows.items():
        table.add_row(name, str(rows), str(found.common), str(rows - found.common))
    console.print(table)
    console.print(
        "a plain join of the files finds the same records" if found.exact else "A PLAIN JOIN FINDS OTHER RECORDS",
        style="green" if found.exact else "red",
    )
    sent = sum(found.bytes_sent.values())
    console.print(f"{found.seconds:.1f} seconds, {sent:,} bytes sent; fewer than {found.minimum} would have ended it")
    _disclosed(found.disclosures, "by the matching", console)


def _disclosed(disclosures: Iterable[Ledger], by: str, console: Console) -> None:
    console.print(f"\nDisclosed{f' {by}' if by else ''}, and nothing else", style="bold")
    table = Table(box=None, pad_edge=False)
    for title in ("what", "to whom", "times", "allowed by"):
        table.add_column(title)
    for item in disclosures:
        table.add_row(item.name, item.recipient, str(item.count), item.clause)
    console.print(table)


def _figures(disclosed: Figures, pooled: Figures) -> Table:
    """Each disclosed figure beside scikit-learn's."""
    table = Table(box=None, pad_edge=False)
    table.add_column("figure")
    table.add_column("secure", justify="right", style="green")
    table.add_column("pooled: scikit-learn", justify="right")
    plain = pooled.by_name()
    for name, value in disclosed.told().items():
        table.add_row(name, f"{value:.4f}", f"{plain[name]:.4f}")
    return table


def _tables(disclosed: Figures, pooled: Figures, console: Console) -> None:
    told, exact = disclosed.tables(), pooled.tables()
    if "roc" in told:
        console.print(_roc(told["roc"], exact["roc"]))
    if "calibration" in told:
        console.print(_calibration(told["calibration"], exact["calibration"]))


def _roc(told: Points, pooled: Points) -> Table:
    """Rates at the thresholds where the told ones change, beside those of scikit-learn's model."""
    table = Table(box=None, pad_edge=False)
    table.add_column("roc: from probability", justify="right")
    for title in ("true positive rate", "false positive rate"):
        table.add_column(title, justify="right", style="green")
        table.add_column("pooled", justify="right")
    exact = {one.probability: one for one in roc(pooled, every=True)}
    for one in roc(told):
        plain = exact[one.probability]
        true = _pair(one.true_rate, one.true_range, plain.true_rate)
        false = _pair(one.false_rate, one.false_range, plain.false_rate)
        table.add_row(one.at_least, *true, *false)
    return table


def _calibration(told: Points, pooled: Points) -> Table:
    """Shares of positive rows between probabilities, beside those of scikit-learn's model."""
    table = Table(box=None, pad_edge=False)
    table.add_column("calibration: probability", justify="right")
    table.add_column("share of positive rows", justify="right", style="green")
    table.add_column("pooled", justify="right")
    for group, plain in zip(calibration(told), calibration(pooled), strict=True):
        low, high = group.predicted
        table.add_row(f"{low:.2f} to {high:.2f}", *_pair(group.share, group.share_range, plain.share))
    return table


def _pair(told: float | None, within: Range, pooled: float | None) -> tuple[str, str]:
    about = "-" if told is None else f"{told:.2f}"
    return f"{about} ({within[0]:.2f} to {within[1]:.2f})", "-" if pooled is None else f"{pooled:.2f}"
