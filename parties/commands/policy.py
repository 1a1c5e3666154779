"""`privity policy`: what a node signs, and what it says of one contract."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from parties.cli import AsJson, Home, echo_json

if TYPE_CHECKING:
    from parties.agreement.kinds import AnyContract
    from parties.agreement.policy import Finding
    from parties.service.home import Home as HomeDirectory

app = typer.Typer(help="What this node signs.", no_args_is_help=True)
VERDICTS = {
    "holds": "would be signed by this node itself",
    "asks": "would wait for this node's operator",
    "refuses": "would be refused",
}


@app.command("show")
def policy_show(home: Home, as_json: AsJson = False) -> None:
    """The policy in force."""
    from parties.agreement.policy import load_policy

    policy = load_policy(home / "policy.toml")
    if as_json:
        echo_json(policy.model_dump(mode="json"))
    else:
        typer.echo((home / "policy.toml").read_text(encoding="utf-8"), nl=False)


@app.command("explain")
def policy_explain(
    contract: Annotated[Path, typer.Argument(help="A contract's JSON, as `session show --contract` prints it.")],
    home: Home,
    as_json: AsJson = False,
) -> None:
    """What this node's policy says of a contract, rule by rule; starts nothing."""
    from parties.agreement.policy import verdict
    from parties.service.home import Home as HomeDirectory

    found = findings(HomeDirectory(home), _read_contract(contract))
    if as_json:
        echo_json({"verdict": verdict(found), "rules": [finding.__dict__ for finding in found]})
        return
    for line in said(found):
        typer.echo(line)
    typer.echo(f"The contract {VERDICTS[verdict(found)]}.")


def findings(home: HomeDirectory, contract: AnyContract) -> list[Finding]:
    """What a home's policy says of a contract, rule by rule. Raises: SettingsError if there is none."""
    from parties.agreement.policy import Circumstances, judge, load_policy
    from parties.service.store import SessionStore

    name = home.settings.name
    policy = load_policy(home.path("policy.toml"))
    return judge(policy, contract, name, Circumstances.of(SessionStore(home.path("state.sqlite")), name))


def said(found: list[Finding]) -> list[str]:
    """Of each rule one line."""
    return [f"{one.verdict:7s}  {one.rule}" + (f": {one.reason}" if one.reason else "") for one in found]


def _read_contract(path: Path) -> AnyContract:
    """Raises: ContractError if the file can't be read or is no contract."""
    import rfc8785

    from parties.agreement.kinds import parse_contract
    from parties.errors import ContractError

    try:
        content = rfc8785.dumps(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as exc:
        raise ContractError(
            f"{path} is not a contract's JSON", action="write one with `privity session show SESSION --contract`"
        ) from exc
    return parse_contract(content)
