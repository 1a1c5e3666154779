"""The commands of one organisation: node, dealer, partner, data, key, policy, and what waits for its operator.

Heavy modules are imported inside the commands: `privity --help` must answer at once.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from parties.contract import Contract
    from parties.home import Role
    from parties.job import OwnModel
    from parties.kinds import AnyContract
    from parties.match_plan import MatchingContract
    from parties.prediction import PredictionContract

Home = Annotated[
    Path, typer.Option("--home", envvar="PRIVITY_HOME", metavar="DIR", help="Directory of this node or dealer.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable, to standard output.")]
Token = Annotated[str, typer.Option("--invite", metavar="TOKEN", help="What `privity gateway invite` printed.")]
Listen = Annotated[str, typer.Option("--listen", metavar="HOST:PORT", help="Where others connect; port 0: a free one.")]
SessionId = Annotated[str, typer.Argument(metavar="SESSION", help="The session's id, or as much as tells it apart.")]

node_app = typer.Typer(help="An organisation's node.", no_args_is_help=True)
dealer_app = typer.Typer(help="The dealer of correlated randomness.", no_args_is_help=True)
partner_app = typer.Typer(help="Partners whose fingerprint was confirmed over the phone.", no_args_is_help=True)
model_app = typer.Typer(help="Shares of trained models that this node keeps.", no_args_is_help=True)
key_app = typer.Typer(help="This participant's identity key.", no_args_is_help=True)
policy_app = typer.Typer(help="What this node signs.", no_args_is_help=True)
result_app = typer.Typer(help="What this party was disclosed.", no_args_is_help=True)


def echo_json(value: object) -> None:
    typer.echo(json.dumps(value, indent=2))


@contextmanager
def desk_of(home: Path) -> Iterator[Any]:
    """The operator's desk when no daemon runs; the log is opened for the command and closed after it."""
    from parties.audit.log import AuditLog
    from parties.daemon import origin_of
    from parties.desk import Desk
    from parties.home import Home as HomeDirectory
    from parties.partners import Partners

    place = HomeDirectory(home)
    with AuditLog.open(place.path("audit.sqlite"), place.identity, origin_of(place.settings.name)) as journal:
        yield Desk(place, journal, None, Partners(place.path("partners.json")))


def ask(home: Path, do: str, **fields: Any) -> Any:
    """Through the daemon if it runs, else on the files."""
    from parties import local

    try:
        return local.call(home, do, **fields)
    except ConnectionRefusedError:
        with desk_of(home) as desk:
            return getattr(desk, do.replace("-", "_"))(**fields)


def ask_daemon(home: Path, do: str, **fields: Any) -> Any:
    """Raises: SettingsError if the daemon does not run."""
    from parties import local
    from parties.errors import SettingsError

    try:
        return local.call(home, do, **fields)
    except ConnectionRefusedError as exc:
        raise SettingsError(
            f"no daemon runs in {home}", action="start it with `privity node serve` or `privity dealer serve`"
        ) from exc


def _init(role: Role, home: Path, token: str, listen: str) -> None:
    from parties.audit import events
    from parties.audit.log import AuditLog
    from parties.daemon import origin_of
    from parties.home import init
    from parties.identity import fingerprint_words
    from parties.tls import utc_now

    made = init(home, role, token, listen, utc_now())
    identity, name = made.identity, made.settings.name
    with AuditLog.open(made.path("audit.sqlite"), identity, origin_of(name)) as journal:
        journal.append(events.IdentityCreated(fingerprint=identity.fingerprint))
    kind = "node" if role == "party" else role
    typer.echo(f"{name} is set up in {home}. Its fingerprint, to read to your partners over the phone:")
    typer.echo(f"  {identity.fingerprint}")
    typer.echo(f"  {fingerprint_words(identity.fingerprint)}")
    typer.echo(f"Next: confirm partners with `privity partner add`, then `privity {kind} serve --home {home}`.")


def _serve(home: Path, kind: str) -> None:
    import asyncio
    import importlib

    from parties import oplog
    from parties.errors import SettingsError
    from parties.home import Home as HomeDirectory

    place = HomeDirectory(home)
    role = place.settings.role
    if (role == "dealer") != (kind == "dealer"):
        other = "dealer" if role == "dealer" else "node"
        raise SettingsError(f"{home} is the home of a {other}", action=f"start it with `privity {other} serve`")
    oplog.configure()
    daemon = getattr(importlib.import_module(f"parties.{kind}"), kind.capitalize())
    asyncio.run(daemon(place).serve())


@node_app.command("init")
def node_init(token: Token, home: Home, listen: Listen = "127.0.0.1:0") -> None:
    """Make a node's directory: fresh keys, an encrypted vault, a policy that asks you for everything."""
    _init("party", home, token, listen)


@node_app.command("serve")
def node_serve(home: Home) -> None:
    """Run the node until it is told to stop; one line of JSON says when it is ready."""
    _serve(home, "node")


@node_app.command("status")
def node_status(home: Home, as_json: AsJson = False) -> None:
    """Whether the node runs and is connected, what waits and since when, what ends soon, and where sessions stand."""
    _status(home, as_json=as_json)


@node_app.command("login")
def node_login(
    home: Home,
    role: Annotated[
        str, typer.Option(metavar="ROLE", help="operator, or officer, who can change nothing.")
    ] = "operator",
) -> None:
    """A link to the node's own page; it logs one browser on this machine in, once, within ten minutes."""
    typer.echo(ask_daemon(home, "login", role=role))


@dealer_app.command("init")
def dealer_init(token: Token, home: Home, listen: Listen = "127.0.0.1:0") -> None:
    """Make a dealer's directory."""
    _init("dealer", home, token, listen)


@dealer_app.command("serve")
def dealer_serve(home: Home) -> None:
    """Run the dealer until it is told to stop."""
    _serve(home, "dealer")


@dealer_app.command("status")
def dealer_status(home: Home, as_json: AsJson = False) -> None:
    """Whether the dealer runs, is connected, and where its sessions stand."""
    _status(home, as_json=as_json)


def _status(home: Path, *, as_json: bool) -> None:
    from parties.standing import lines

    status = ask_daemon(home, "status")
    if as_json:
        echo_json(status)
        return
    for line in lines(status):
        typer.echo(line)


@partner_app.command("add")
def partner_add(
    name: str,
    fingerprint: Annotated[list[str], typer.Argument(help="Forty hexadecimal digits, or fifteen words.")],
    home: Home,
) -> None:
    """Confirm a partner's fingerprint, as its operator read it to you."""
    ask(home, "partner-add", name=name, fingerprint=" ".join(fingerprint))
    typer.echo(f"{name} is a confirmed partner")


@partner_app.command("remove")
def partner_remove(name: str, home: Home) -> None:
    """Withdraw a confirmation; contracts with that partner are refused from then on."""
    ask(home, "partner-remove", name=name)
    typer.echo(f"{name} is no longer a partner")


@partner_app.command("revoke")
def partner_revoke(name: str, home: Home) -> None:
    """Refuse a partner's key for ever: for one that was stolen. Sessions with it end at once."""
    typer.echo(f"the key {ask(home, 'partner-revoke', name=name)} of {name} is revoked")


@partner_app.command("accept")
def partner_accept(name: str, home: Home) -> None:
    """Confirm the key to which a partner's confirmed one has handed over; `partner list` shows it."""
    typer.echo(f"{name} is confirmed with the key {ask(home, 'partner-accept', name=name)}")


@partner_app.command("list")
def partner_list(home: Home, as_json: AsJson = False) -> None:
    """Confirmed partners and their fingerprints, keys that wait to be accepted, and revoked ones."""
    from parties.home import Home as HomeDirectory
    from parties.identity import fingerprint_words
    from parties.partners import Partners

    place = HomeDirectory(home)
    _ = place.settings  # a wrong --home is an error, not an empty list
    partners = Partners(place.path("partners.json"))
    if as_json:
        echo_json(partners.all())
        return
    for name, fingerprint in partners.all().items():
        typer.echo(f"{name}  {fingerprint}")
    keys = partners.keys()
    for name, fingerprint in keys.offered.items():
        typer.echo(f"{name}  {fingerprint}  handed over to, not accepted yet: {fingerprint_words(fingerprint)}")
    for fingerprint, name in keys.revoked.items():
        typer.echo(f"{name}  {fingerprint}  revoked")


def subject(
    home: Home,
    file: Annotated[
        Path | None, typer.Option("--file", metavar="FILE", help="A file with the record's id; - is standard input.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the sessions in which one of this organisation's own records took part.

    The record's id is asked for, and is no argument: a shell would keep it. It stands in no log.
    """
    found = ask(home, "audit-subject", record=_record(file))
    if as_json:
        echo_json(found)
        return
    held = [one for one in found if one["answer"] == "held"]
    typer.echo(f"The record took part in {len(held)} session(s).")
    for one in held:
        typer.echo(f"  {one['session'][:12]}  {one['received'][:10]}  {one['state']}  {one['purpose']}")
    for one in found:
        if one["answer"] not in {"held", "not held"}:
            typer.echo(f"  {one['session'][:12]}  {one['received'][:10]}  can't be told: {one['answer']}")


def _record(file: Path | None) -> str:
    """The id as it stands in the data. Raises: SettingsError if there is none, or more than a line."""
    from parties.errors import SettingsError

    if file is None:
        return str(typer.prompt("Record id", hide_input=True))
    try:
        text = typer.get_text_stream("stdin").read() if str(file) == "-" else file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise SettingsError(f"{file} can't be read", action="give a text file with one record's id") from exc
    lines = text.splitlines()
    if len(lines) != 1 or not lines[0]:
        raise SettingsError(f"{file} has {len(lines)} lines", action="give one record's id, on one line")
    return lines[0]


@model_app.command("list")
def model_list(home: Home, as_json: AsJson = False) -> None:
    """Models of which this node keeps its share, and until when."""
    from parties.desk import models_of
    from parties.home import Home as HomeDirectory

    place = HomeDirectory(home)
    _ = place.settings  # a wrong --home is told before a missing key
    models = models_of(place)
    kept = [models.load(session) for session in models.list()]
    if as_json:
        echo_json(
            [
                {"session": m.trained.digest, "purpose": m.trained.purpose, "expires": m.expires.isoformat()}
                for m in kept
            ]
        )
        return
    for model in kept:
        typer.echo(f"{model.trained.digest}  until {model.expires:%Y-%m-%d}  {model.trained.purpose}")


@model_app.command("delete")
def model_delete(session: SessionId, home: Home) -> None:
    """Destroy this node's share of a model; nobody can predict by it from then on."""
    typer.echo(f"deleted the share of model {ask(home, 'model-delete', session=session)}")


@key_app.command("show")
def key_show(home: Home, as_json: AsJson = False) -> None:
    """The fingerprint that partners confirm, in digits and in words: one of the two will do."""
    from parties.home import Home as HomeDirectory
    from parties.identity import fingerprint_words

    identity = HomeDirectory(home).identity
    words = fingerprint_words(identity.fingerprint)
    if as_json:
        echo_json({"fingerprint": identity.fingerprint, "words": words, "public_key": identity.public.hex()})
    else:
        typer.echo(f"{identity.fingerprint}\n{words}")


@key_app.command("rotate")
def key_rotate(home: Home) -> None:
    """Hand over to a new identity key, while no daemon runs; partners are told, and accept it.

    A call that was broken off is finished by another.
    """
    from parties.home import Home as HomeDirectory
    from parties.identity import fingerprint_words
    from parties.identity_rotation import rotate_identity
    from parties.tls import utc_now

    fingerprint = rotate_identity(HomeDirectory(home), utc_now())
    typer.echo("The key handed over to a new one. Its fingerprint, to read to your partners over the phone:")
    typer.echo(f"  {fingerprint}\n  {fingerprint_words(fingerprint)}")
    typer.echo("Next: start the daemon; each partner then runs `privity partner accept` with your name.")


@policy_app.command("show")
def policy_show(home: Home, as_json: AsJson = False) -> None:
    """The policy in force."""
    from parties.policy import load_policy

    policy = load_policy(home / "policy.toml")
    if as_json:
        echo_json(policy.model_dump(mode="json"))
    else:
        typer.echo((home / "policy.toml").read_text(encoding="utf-8"), nl=False)


@policy_app.command("explain")
def policy_explain(
    contract: Annotated[Path, typer.Argument(help="A contract's JSON, as `session show --contract` prints it.")],
    home: Home,
    as_json: AsJson = False,
) -> None:
    """What this node's policy says of a contract, rule by rule; starts nothing."""
    from parties.home import Home as HomeDirectory
    from parties.policy import Circumstances, judge, load_policy, verdict
    from parties.store import SessionStore

    agreed, place = _read_contract(contract), HomeDirectory(home)
    policy, name = load_policy(place.path("policy.toml")), place.settings.name
    findings = judge(policy, agreed, name, Circumstances.of(SessionStore(place.path("state.sqlite")), name))
    if as_json:
        echo_json({"verdict": verdict(findings), "rules": [finding.__dict__ for finding in findings]})
        return
    for finding in findings:
        typer.echo(f"{finding.verdict:7s}  {finding.rule}" + (f": {finding.reason}" if finding.reason else ""))
    typer.echo(f"The contract {_VERDICTS[verdict(findings)]}.")


_VERDICTS = {
    "holds": "would be signed by this node itself",
    "asks": "would wait for this node's operator",
    "refuses": "would be refused",
}


def _read_contract(path: Path) -> AnyContract:
    """Raises: ContractError if the file can't be read or is no contract."""
    import rfc8785

    from parties.errors import ContractError
    from parties.kinds import parse_contract

    try:
        content = rfc8785.dumps(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as exc:
        raise ContractError(
            f"{path} is not a contract's JSON", action="write one with `privity session show SESSION --contract`"
        ) from exc
    return parse_contract(content)


def pending(home: Home, as_json: AsJson = False) -> None:
    """Contracts that wait for this node's operator."""
    from parties.kinds import parse_contract

    contracts = [parse_contract(text.encode()) for text in ask_daemon(home, "pending")]
    if as_json:
        echo_json([{"session": c.digest, "contract": c.model_dump(mode="json")} for c in contracts])
        return
    if not contracts:
        typer.echo("nothing waits")
    for contract in contracts:
        typer.echo(leaves(contract))


def leaves(contract: AnyContract) -> str:
    """One screen: who, what for, and what leaves this organisation."""
    parties = ", ".join(f"{p.name} ({len(p.columns)} columns)" for p in contract.parties)
    lines = [
        f"session  {contract.digest}",
        f"purpose  {contract.purpose}",
        f"basis    {contract.legal_basis}",
        f"assessed {_assessment(contract)}",
        f"parties  {parties}; dealer {contract.dealer.name}",
        *_of_kind(contract),
        f"costs    {contract.quote.words}",
        f"expires  {contract.expires:%Y-%m-%d %H:%M} UTC",
        f"opened   (all else stays {'encrypted' if contract.kind == 'matching' else 'masked'})",
        *(
            f"  {d.clause}: {d.name}, {d.values} number(s), at most {d.count} time(s), to {d.recipient}"
            for d in contract.disclosures
        ),
    ]
    return "\n".join(lines)


def _assessment(contract: AnyContract) -> str:
    digest = contract.impact_assessment_sha256
    return f"{contract.impact_assessment or 'no'}{f', SHA-256 {digest}' if digest else ''}"


def _of_kind(contract: AnyContract) -> list[str]:
    from parties.contract import Contract
    from parties.match_plan import MatchingContract

    if isinstance(contract, Contract):
        return _of_training(contract)
    return _of_matching(contract) if isinstance(contract, MatchingContract) else _of_prediction(contract)


def _of_training(contract: Contract) -> list[str]:
    days = contract.retention.model_days
    return [
        f"label    {contract.label.in_words}",
        f"model    {contract.model.in_words}, {contract.program.max_iter} iterations",
        f"rows     {_rows(contract)}",
        f"kept     {f'a share of the model at each party, for {days} days' if days else 'no share of the model'}",
        *(f"prepares {line}" for line in contract.preparation.in_words(contract.parties)),
    ]


def _of_prediction(contract: PredictionContract) -> list[str]:
    return [
        f"predicts by the model of session {contract.model}",
        f"rows     {contract.program.rows}, the same records everywhere",
        f"told     {contract.recipient}, and nobody else: each row's probability",
        *(f"prepares {line}" for line in contract.preparation.in_words(contract.parties)),
    ]


def _of_matching(contract: MatchingContract) -> list[str]:
    lists = ", ".join(f"{p.name} {p.rows} by {' and '.join(p.columns)}" for p in contract.parties)
    return [
        f"matches  {lists}",
        f"rules    {contract.rules.in_words}",
        f"kept     common records as data set {contract.result} at each party, for {contract.keep_days} days",
        f"told     each party, if there are {contract.rules.minimum}: which of its own records all others have",
    ]


def _rows(contract: Contract) -> str:
    if contract.partition == "columns":
        return f"{contract.program.rows} for training, the same records everywhere"
    counts = ", ".join(f"{party.name} {contract.training_rows(party.name)}" for party in contract.parties)
    which = "of each party its own" if contract.partition == "rows" else "each at one of those with the same columns"
    return f"{contract.program.rows} for training, {which}: {counts}"


def approve(session: SessionId, home: Home) -> None:
    """Sign a contract at this node."""
    typer.echo(f"signed session {ask_daemon(home, 'approve', session=session)}")


def refuse(
    session: SessionId,
    home: Home,
    reason: Annotated[
        str, typer.Option(metavar="REASON", help="purpose, basis, data, disclosures, parties or unstated.")
    ] = "unstated",
) -> None:
    """Refuse a contract at this node; everybody is told the reason."""
    typer.echo(f"refused session {ask_daemon(home, 'refuse', session=session, reason=reason)}")


def withdraw(
    session: SessionId,
    home: Home,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask; for scripts.")] = False,
) -> None:
    """End consent to a session: its model's share here is destroyed, what is not over ends, and everybody is told."""
    from parties.home import Home as HomeDirectory
    from parties.report.consequences import consequences

    for line in consequences(HomeDirectory(home), session).lines():
        typer.echo(line)
    if not yes:
        typer.confirm("Withdraw consent?", abort=True)
    typer.echo(f"withdrew consent to session {ask(home, 'session-withdraw', beginning=session)}")


@result_app.command("show")
def result_show(session: SessionId, home: Home, as_json: AsJson = False) -> None:
    """What this party was told: coefficients of its own columns, or, by a prediction, probabilities."""
    from parties.desk import result_of
    from parties.errors import LifecycleError
    from parties.home import Home as HomeDirectory
    from parties.predictions import predictions_of
    from parties.telling import convergence, times, validation

    place = HomeDirectory(home)
    with suppress(LifecycleError):  # then it is a training's result, or none
        _show_predictions(predictions_of(place.path("results"), session), as_json=as_json)
        return
    outcome = result_of(place, session)
    if as_json:
        echo_json(outcome.model_dump(mode="json"))
        return
    for model in outcome.models:
        typer.echo(f"{model.positive}, C={model.C}")
        _show_model(outcome.columns, model)
    for line in validation(outcome.validated, outcome.models[0].C):
        typer.echo(line)
    if outcome.converged is not None and outcome.tol is not None:
        typer.echo(convergence(outcome.converged, outcome.tol, outcome.iterations))
    if outcome.stages:
        typer.echo(f"seconds: {times(outcome.stages)}")


def _show_model(columns: tuple[str, ...], model: OwnModel) -> None:
    from parties.curves import lines

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


def _show_predictions(path: Path, *, as_json: bool) -> None:
    import csv

    if not as_json:
        typer.echo(path.read_text(encoding="utf-8"), nl=False)
        return
    with path.open(encoding="utf-8", newline="") as file:
        (_, *names), *rows = csv.reader(file)
    echo_json([{"id": record} | dict(zip(names, map(float, each), strict=True)) for record, *each in rows])


@result_app.command("verify")
def result_verify(session: SessionId, home: Home) -> None:
    """Whether a result is the one that the log recorded at the session's end. `audit verify` checks the log."""
    from parties.home import Home as HomeDirectory
    from parties.results import verify_result

    found = verify_result(HomeDirectory(home), session)
    typer.echo(f"{found.path} is the result that entry {found.entry} of the log has")


@result_app.command("export")
def result_export(
    session: SessionId,
    home: Home,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE.csv", help="Where to write it.")],
) -> None:
    """Write the probabilities of a prediction as CSV: record id, probability."""
    from parties.errors import SettingsError
    from parties.home import Home as HomeDirectory
    from parties.identity import write_private
    from parties.predictions import predictions_of

    found = predictions_of(HomeDirectory(home).path("results"), session)
    if output.exists():
        raise SettingsError(f"{output} exists already", action="choose another -o, or remove it")
    write_private(output, found.read_bytes())
    typer.echo(f"wrote {output}")


def mount(app: typer.Typer, session_app: typer.Typer) -> None:
    """Put this organisation's commands under the program's."""
    from parties.audit.cli import app as audit_app
    from parties.data_cli import app as data_app
    from parties.doctor.cli import doctor
    from parties.node_cli import pause, resume
    from parties.report.cli import report

    app.command("doctor")(doctor)
    node_app.command("pause")(pause)
    node_app.command("resume")(resume)
    audit_app.command("report")(report)
    audit_app.command("subject")(subject)
    for name, sub in (
        ("node", node_app),
        ("dealer", dealer_app),
        ("partner", partner_app),
        ("data", data_app),
        ("model", model_app),
        ("key", key_app),
        ("policy", policy_app),
        ("result", result_app),
        ("audit", audit_app),
    ):
        app.add_typer(sub, name=name)
    session_app.command("pending")(pending)
    session_app.command("approve")(approve)
    session_app.command("refuse")(refuse)
    session_app.command("withdraw")(withdraw)
