"""`privity result`: what this party was told, whether that is what the log has, and how to show one value of it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from parties.cli import AsJson, Home, SessionId, echo_json, tell

if TYPE_CHECKING:
    from parties.outcome.estimates import Estimated
    from parties.process.job import OwnModel

app = typer.Typer(help="What this party was disclosed.", no_args_is_help=True)


@app.command("show")
def show(session: SessionId, home: Home, as_json: AsJson = False) -> None:
    """What this party was told: its own coefficients; by a prediction probabilities, by an estimate a number."""
    from parties.errors import LifecycleError
    from parties.outcome.estimates import Estimates
    from parties.outcome.predictions import predictions_of
    from parties.outcome.telling import climbs, convergence, informing, times, validation, weighing
    from parties.service.desk import result_of
    from parties.service.home import Home as HomeDirectory

    place = HomeDirectory(home)
    with suppress(LifecycleError):  # then it is a training's result, or none
        _show_predictions(predictions_of(place.path("results"), session), as_json=as_json)
        return
    with suppress(LifecycleError):
        _show_estimate(Estimates(place.path("results")).find(session), as_json=as_json)
        return
    outcome = result_of(place, session)
    if as_json:
        echo_json(outcome.model_dump(mode="json"))
        return
    for line in (*weighing(outcome.evidence), *informing(outcome.information_values)):
        typer.echo(line)
    for model in outcome.models:
        typer.echo(f"{model.positive}, C={model.C}")
        _show_model(outcome.columns, model)
    for line in validation(outcome.validated, outcome.models[0].C):
        typer.echo(line)
    if outcome.converged is not None and outcome.tol is not None:
        typer.echo(convergence(outcome.converged, outcome.tol, outcome.iterations))
    if outcome.rungs:
        typer.echo(climbs(outcome.rungs))
    if outcome.stages:
        typer.echo(f"seconds: {times(outcome.stages)}")


def _show_model(columns: tuple[str, ...], model: OwnModel) -> None:
    from parties.outcome.curves import lines

    typer.echo(f"{'column':30s} {'standardised':>14s} {'original units':>16s}")
    for name, standard, original in zip(columns, model.standardised, model.original.coefficients, strict=True):
        typer.echo(f"{name:30s} {standard:14.6f} {original:16.6g}")
    typer.echo(f"own centring offset {model.original.offset:.6g}")
    if model.intercept is not None:
        typer.echo(f"intercept (standardised units) {model.intercept:.6f}")
    for figure, value in model.figures.told().items() if model.figures else ():
        typer.echo(f"{figure} of the held-out rows {value:.4f}")
    for line in lines(model.figures.tables()) if model.figures else ():
        typer.echo(line)


def _show_estimate(found: Estimated, *, as_json: bool) -> None:
    if as_json:
        echo_json(found.model_dump(mode="json"))
    else:
        typer.echo(found.in_words)


def _show_predictions(path: Path, *, as_json: bool) -> None:
    import csv

    if not as_json:
        typer.echo(path.read_text(encoding="utf-8"), nl=False)
        return
    with path.open(encoding="utf-8", newline="") as file:
        (_, *names), *rows = csv.reader(file)
    echo_json([{"id": record} | dict(zip(names, map(float, each), strict=True)) for record, *each in rows])


@app.command("verify")
def verify(session: SessionId, home: Home, as_json: AsJson = False) -> None:
    """Whether what this party was told, and its result, are what the log recorded. `audit verify` checks the log."""
    from parties.outcome.results import verify_result
    from parties.service.home import Home as HomeDirectory

    found = verify_result(HomeDirectory(home), session)
    if as_json:
        echo_json({"result": found.path and str(found.path), "entry": found.entry, "told": found.told})
        return
    if found.path is not None:
        typer.echo(f"{found.path} is the result that entry {found.entry} of the log has")
    if found.told:
        typer.echo(f"all {found.told} values that it was told on the way, with their salts, are those of the log")


@app.command("export")
def export(
    session: SessionId,
    home: Home,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE.csv", help="Where to write it.")],
    as_json: AsJson = False,
) -> None:
    """Write the probabilities of a prediction as CSV: record id, probability."""
    from parties.errors import SettingsError
    from parties.keys.identity import write_private
    from parties.outcome.predictions import predictions_of
    from parties.service.home import Home as HomeDirectory

    found = predictions_of(HomeDirectory(home).path("results"), session)
    if output.exists():
        raise SettingsError(f"{output} exists already", action="choose another -o, or remove it")
    write_private(output, found.read_bytes())
    tell(f"wrote {output}", as_json=as_json, file=str(output))


@app.command("reveal")
def reveal(
    session: SessionId,
    clause: Annotated[str, typer.Argument(metavar="CLAUSE", help="The contract's clause, such as disclosures.0.")],
    home: Home,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where to write it: a new file, with the value.")],
    count: Annotated[int, typer.Option("--count", min=1, help="Which of the clause's disclosures.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Write one value that was told here, its salt, the proof of its entry in the log, and the session's contract.

    Whoever has the file knows that value, and no other (of quantiles the digits before it too), and what was agreed;
    `privity result check` checks it without the log.
    """
    from parties.errors import SettingsError
    from parties.keys.identity import write_private
    from parties.outcome.revealing import reveal as revealed
    from parties.service.home import Home as HomeDirectory

    found = revealed(HomeDirectory(home), session, clause, count)
    if out.exists():
        raise SettingsError(f"{out} exists already", action="choose another --out, or remove it")
    write_private(out, found.model_dump_json(indent=1).encode())
    tell(f"wrote {out}", as_json=as_json, file=str(out))


@app.command("check")
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `privity result reveal` wrote.")],
    key: Annotated[str, typer.Option("--key", metavar="FINGERPRINT", help="Of the log's signer, as you confirmed it.")],
    as_json: AsJson = False,
) -> None:
    """Whether a value that somebody shows is the one that a log has; offline, from the file alone."""
    from parties.agreement.contract import LEVELS
    from parties.columns.levels import names
    from parties.outcome.amounts import in_words
    from parties.outcome.revealing import Revealed

    revealed = Revealed.read(file)
    entry = revealed.check(key)
    kept = revealed.kept
    opened, named = kept.numbers().tolist(), names(kept.numbers()) if kept.name == LEVELS else []
    numbers = revealed.amounts()
    if as_json:
        shown = {"levels": named} if kept.name == LEVELS else {"opened": opened, "numbers": numbers or opened}
        echo_json({"log": entry.origin, "entry": entry.index, **kept.model_dump(exclude={"words"}), **shown})
        return
    typer.echo(f"{entry.origin} was told '{kept.name}' ({kept.clause}, no. {kept.count}) in session {kept.session}:")
    typer.echo(f"entry {entry.index} of its log, of {entry.time:%Y-%m-%d %H:%M:%S} UTC, has this very value")
    if kept.name == LEVELS:
        for level in named:
            typer.echo(level)
        return
    if numbers is None:
        typer.echo("as it was opened, in whole numbers")
    for place, word in enumerate(opened):
        typer.echo(str(word) if numbers is None else in_words(numbers[place], word))
