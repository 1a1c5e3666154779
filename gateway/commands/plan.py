"""`privity plan`: what an analyst asks for, written, checked, and what it would cost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from gateway.commands.options import Data, IdColumn, TokenFile, Url, client_of, files_of, pairs
from parties.cli import AsJson, echo_json, tell

app = typer.Typer(help="Plans: what an analyst asks for.", no_args_is_help=True)
PlanFile = Annotated[Path, typer.Argument(metavar="PLAN.toml")]


@app.command("new")
def new(
    data: Data,
    id_column: IdColumn,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="PLAN.toml", help="Where to write it.")],
    kind: Annotated[str, typer.Option("--kind", metavar="training|matching", help="What is asked for.")] = "training",
    label: Annotated[
        str,
        typer.Option(
            "--label", metavar="PARTY:COLUMN", help="Training: who holds what is predicted; by rows, COLUMN alone."
        ),
    ] = "",
    positive: Annotated[str | None, typer.Option("--positive", metavar="CLASS", help="Training: the class 1.")] = None,
    partition: Annotated[
        str,
        typer.Option(
            "--partition", metavar="columns|rows|blocks", help="Training: what each file holds of the joint table."
        ),
    ] = "columns",
    matching: Annotated[
        Path | None,
        typer.Option("--matching", metavar="MATCHING.toml", help="Training: on what this plan's matching leaves."),
    ] = None,
    by: Annotated[
        list[str] | None,
        typer.Option("--by", metavar="PARTY=COLUMN,COLUMN", help="Matching: columns to compare, if not the id alone."),
    ] = None,
    rule: Annotated[
        list[str] | None,
        typer.Option(
            "--rule",
            metavar="RULE",
            help="Matching: how a column is compared, once for each: text, exact, alphanumeric, date:FORMAT|FORMAT or"
            " phone:REGION.",
        ),
    ] = None,
    duplicates: Annotated[
        str, typer.Option("--duplicates", metavar="refuse|first|last", help="Matching: rows whose ids are the same.")
    ] = "refuse",
    minimum: Annotated[
        int, typer.Option("--minimum", metavar="N", help="Matching: common records; with fewer it ends.")
    ] = 50,
    result: Annotated[
        str, typer.Option("--result", metavar="NAME", help="Matching: the data set that it leaves.")
    ] = "matched",
    as_json: AsJson = False,
) -> None:
    """Write a commented plan for these files, every default filled in."""
    from parties.errors import PlanError, SettingsError

    files = files_of(data)
    if kind == "matching":
        text = _matching(files, id_column, by or [], rule or [], duplicates, minimum, result)
    elif kind == "training":
        text = _training(files, id_column, label, positive, partition, matching)
    else:
        raise PlanError(f"no plan is written for '{kind}'", action="say training or matching")
    if output.exists():
        raise SettingsError(f"{output} exists already", action="choose another -o, or remove it")
    output.write_text(text, encoding="utf-8")
    after = " PLAN.toml" if kind == "matching" else ""
    before = f"{matching} " if matching else ""
    words = f"wrote {output}; read it, state purpose and legal basis, then `privity sandbox {before}{output}{after} …`"
    tell(words, as_json=as_json, file=str(output), kind=kind)


def _training(
    files: dict[str, Path], id_column: str, label: str, positive: str | None, partition: str, matching: Path | None
) -> str:
    from parties.agreement.match_plan import load_matching_plan
    from parties.agreement.plan import partition_of
    from parties.agreement.planning import propose_plan
    from parties.errors import PlanError

    if not label:
        raise PlanError("a training's plan needs a label", action="say which with --label PARTY:COLUMN")
    agreed = load_matching_plan(matching) if matching else None
    return propose_plan(files, id_column, label, positive, partition_of(partition), matching=agreed)


def _matching(
    files: dict[str, Path],
    id_column: str,
    by: list[str],
    rule: list[str],
    duplicates: str,
    minimum: int,
    result: str,
) -> str:
    from parties.agreement.match_planning import propose_matching, rules_of

    compared = {party: tuple(each.split(",")) for party, each in pairs(by, "by", "COLUMN,COLUMN", "name,born").items()}
    columns = max(map(len, compared.values()), default=1)
    rules = rules_of(rule or ["text"] * columns, duplicates, minimum)
    return propose_matching(files, id_column, compared=compared, rules=rules, result=result)


@app.command("check")
def check(plan: PlanFile, as_json: AsJson = False) -> None:
    """Whether a plan holds together by itself."""
    from parties.agreement.kinds import load_any_plan
    from parties.agreement.match_plan import MatchingPlan
    from parties.agreement.plan import Plan

    found = load_any_plan(plan)
    if isinstance(found, Plan):
        what = f"label {found.label.in_words}"
    elif isinstance(found, MatchingPlan):
        what = f"common records as data set {found.result}" if found.result else "about how many records are common"
    else:
        what = f"probabilities by model {found.model[:12]} for {found.recipient}"
    words = f"{plan} holds: {len(found.parties)} parties, {what}"
    tell(words, as_json=as_json, file=str(plan), kind=found.kind, parties=[party.name for party in found.parties])


@app.command("estimate")
def estimate(
    plan: PlanFile,
    round_trip: Annotated[
        float | None, typer.Option("--round-trip", metavar="MS", help="Of the longest link, if not as it was measured.")
    ] = None,
    bandwidth: Annotated[
        float | None, typer.Option("--bandwidth", metavar="MBIT_S", help="Of the narrowest, likewise.")
    ] = None,
    gateway: Url = "http://127.0.0.1:8470",
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """What a plan would cost: rounds, bytes, memory, seconds. Nothing is proposed."""
    from gateway.planning.estimate import link_of
    from parties.agreement.kinds import load_any_plan

    link = link_of(round_trip, bandwidth)
    with client_of(gateway, token_file) as client:
        found = client.estimate(load_any_plan(plan), link)
    if as_json:
        echo_json(json.loads(found.model_dump_json()))
    else:
        typer.echo("\n".join(found.lines))
