"""`privity audit`: verify a log offline, read it, and prove what is in it. Needs nothing but the file."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from parties.audit.entries import Entry
    from parties.audit.reconcile import Reconciliation
    from parties.audit.verdict import Verdict

DAY: Final = ["%Y-%m-%d"]

app = typer.Typer(name="audit", help="Verify and read audit logs.", no_args_is_help=True)

Home = Annotated[
    Path | None,
    typer.Option(
        envvar="PRIVITY_HOME", metavar="DIR", help="Directory of a node, dealer or gateway.", show_default=False
    ),
]
Log = Annotated[Path | None, typer.Option("--log", metavar="PATH", help="A log's file, instead of --home.")]
Json = Annotated[bool, typer.Option("--json", help="Machine-readable, to standard output.")]
Key = Annotated[
    str | None, typer.Option("--key", metavar="FINGERPRINT", help="The signer's fingerprint, as you confirmed it.")
]


@app.command("verify")
def verify_command(
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="A log, the directory that holds audit.sqlite, a proof or a bundle.")
    ],
    key: Key = None,
    head: Annotated[
        list[Path] | None,
        typer.Option("--head", metavar="FILE", help="A head of this log that somebody kept; may be repeated."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Check every byte of a log, a proof of one entry or a bundle, offline. Exit status 0 only if it verifies.

    Without --key the signer is not confirmed. Of a home, the log is held against the heads that partners cosigned too,
    and its daemon, if it runs, records the verdict; of a file nothing is recorded.
    """
    from parties.audit import proof
    from parties.audit.verified import record_verification
    from parties.audit.verify import verify

    verdict = verify(path, key, *(head or ()))
    if path.is_dir() and _is_of_the_log(verdict, head):
        complain(record_verification(path, verdict.entries, intact=verdict.ok))
    if as_json:
        typer.echo(json.dumps(verdict.as_dict()))
    else:
        _show_verdict(verdict)
        if verdict.ok and verdict.kind == "proof":
            _show_entry(proof.read(path).entry())
    raise typer.Exit(0 if verdict.ok else 1)


def _is_of_the_log(verdict: Verdict, heads: list[Path] | None) -> bool:
    """Whether it says something of a log itself, and not of a key, or a head, that was given and is another log's."""
    fault = verdict.failure.fault if verdict.failure else None
    return verdict.kind == "log" and fault != "key" and not (heads and fault == "head")


def complain(why: str) -> None:
    """Say that a verification is not in the log, if there is a reason."""
    if why:
        typer.echo(f"privity: that the log was verified could not be recorded: {why}", err=True)


@app.command("reconcile")
def reconcile_command(
    one: Annotated[Path, typer.Argument(metavar="A", help="One organisation's bundle of the session.")],
    other: Annotated[Path, typer.Argument(metavar="B", help="Another organisation's bundle of it.")],
    key: Annotated[
        list[str] | None,
        typer.Option(
            "--key", metavar="FINGERPRINT", help="The signers' fingerprints, as you confirmed them: A's, then B's."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Check that two organisations' logs tell the same of a session, offline. Exit status 0 only if they do.

    Both are bundles of `privity audit export SESSION`.
    """
    from parties.audit.reconcile import reconcile
    from parties.errors import SettingsError

    match key or (None, None):
        case first, second:
            outcome = reconcile((one, other), (first, second))
        case _:
            raise SettingsError("there are two signers", action="give --key twice, A's and then B's, or not at all")
    if as_json:
        typer.echo(json.dumps(outcome.as_dict()))
    else:
        _show_reconciliation(outcome)
    raise typer.Exit(0 if outcome.ok else 1)


@app.command("prove")
def prove_command(
    index: Annotated[int, typer.Argument(min=0, help="The entry's number, from 0.")],
    home: Home = None,
    log: Log = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Where to; standard output if left out.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write the proof that one entry stands in the log, for somebody who shall see no other entry."""
    from parties.audit.proof import prove

    path = _log(home, log)
    with _naming(path):
        text = prove(path, index).render()
    if out is not None or not as_json:
        deliver(text.encode(), out)
    if as_json:
        typer.echo(json.dumps({"entry": index, **({"proof": text} if out is None else {"file": str(out)})}))


@app.command("export")
def export_command(
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where the bundle goes: a new file.")],
    session: Annotated[
        str, typer.Argument(metavar="[SESSION]", help="The session's id, or as much as tells it apart; none: all.")
    ] = "",
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Write a signed bundle: all that a third party needs to check the log, or one session in it and no other."""
    from parties.audit.agreements import agreements_of
    from parties.audit.export import export
    from parties.audit.snapshot import locate
    from parties.audit.witnesses import cosigned_of, witnessed_of
    from parties.errors import SettingsError
    from parties.keys.handover import HANDOVERS_FILE, Handovers
    from parties.keys.identity import Identity

    if home is None or not home.is_dir():
        raise SettingsError("a bundle is signed by a home's key", action="give --home DIR, or set PRIVITY_HOME")
    identity = Identity.load(home / "identity.pem")
    with _naming(locate(home)):
        chain = Handovers(home / HANDOVERS_FILE).chain()
        content = export(
            locate(home), identity, session, agreements_of(home), cosigned_of(home), chain, witnessed_of(home)
        )
    deliver(content, out)
    if as_json:
        typer.echo(json.dumps({"file": str(out), "bytes": len(content)}))


@app.command("heads")
def heads_command(
    home: Home = None,
    of: Annotated[
        str,
        typer.Option("--of", metavar="NAME", help="Only the last head of this participant's log, as a signed note."),
    ] = "",
    as_json: Json = False,
) -> None:
    """List the heads of partners' logs that this home cosigned, and of its own log that partners cosigned.

    What --of writes is for `privity audit verify --head` at whoever checks that log.
    """
    from parties.audit.witnesses import cosigned_of, witnessed_of
    from parties.errors import AuditError, SettingsError

    if home is None or not home.is_dir():
        raise SettingsError("heads are kept in a home", action="give --home DIR, or set PRIVITY_HOME")
    theirs, ours = witnessed_of(home), cosigned_of(home)
    if of:
        if of not in theirs:
            raise AuditError(f"no head of '{of[:64]}' was cosigned here", action="`privity audit heads` shows all")
        note = theirs[of].note.render()
        if as_json:
            typer.echo(json.dumps({"of": of, "entries": theirs[of].checkpoint.size, "note": note}))
        else:
            typer.echo(note, nl=False)
    elif as_json:
        typer.echo(
            json.dumps(
                {
                    "cosigned_here": {name: head.checkpoint.size for name, head in theirs.items()},
                    "cosigned_by": {head.cosigner.name: head.checkpoint.size for head in ours if head.cosigner},
                }
            )
        )
    else:
        for name, head in theirs.items():
            typer.echo(f"{head.checkpoint.size} entries of {name}, cosigned here")
        for head in ours:
            if head.cosigner:
                typer.echo(
                    f"{head.checkpoint.size} entries of {head.checkpoint.origin}, cosigned by {head.cosigner.name}"
                )


@app.command("list")
def list_command(
    home: Home = None,
    log: Log = None,
    since: Annotated[datetime | None, typer.Option("--from", formats=DAY, help="First day, UTC.")] = None,
    until: Annotated[datetime | None, typer.Option("--to", formats=DAY, help="Last day, UTC.")] = None,
    partner: Annotated[
        str, typer.Option("--partner", metavar="NAME", help="Only the partner's sessions and what names it.")
    ] = "",
    after: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Only entries after no. N: what a monitor lacks.")
    ] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="A table for spreadsheets, to standard output.")] = False,
    as_json: Json = False,
) -> None:
    """List a log's entries, oldest first. Reads only; `verify` says whether they are genuine."""
    from parties.audit.agreements import agreements_of
    from parties.audit.selection import Selection, write_csv
    from parties.errors import SettingsError

    if as_csv and as_json:
        raise SettingsError("--csv and --json are two forms of the same", action="give one of them")
    if partner and (log is not None or home is None):
        raise SettingsError(
            "a log alone does not say who took part in a session",
            action="give --home DIR with --partner, without --log",
        )
    selection = Selection.of(since, until, partner, agreements_of(home) if partner and home else {}, after)
    entries = [entry for entry in _entries(home, log) if selection.admits(entry)]
    if as_csv:
        write_csv(entries, sys.stdout)
    elif as_json:
        for entry in entries:
            typer.echo(json.dumps(entry.envelope()))
    else:
        _show_list(entries)


@app.command("show")
def show_command(
    index: Annotated[int, typer.Argument(min=0, help="The entry's number, from 0.")],
    home: Home = None,
    log: Log = None,
    as_json: Json = False,
) -> None:
    """Show one entry in full."""
    from parties.errors import AuditError

    entries = _entries(home, log)
    if index >= len(entries):
        raise AuditError(f"there is no entry {index}: the log has {len(entries)}", action="run `privity audit list`")
    if as_json:
        typer.echo(json.dumps(entries[index].envelope()))
    else:
        _show_entry(entries[index])


def _entries(home: Path | None, log: Path | None) -> list[Entry]:
    from parties.audit.snapshot import take

    path = _log(home, log)
    with _naming(path):
        return list(take(path).entries())


def _log(home: Path | None, log: Path | None) -> Path:
    from parties.audit.snapshot import locate
    from parties.errors import SettingsError

    # An option that was typed wins over the environment's home.
    path = log or home
    if path is None:
        raise SettingsError("there is no log to read", action="give --home DIR or --log PATH, or set PRIVITY_HOME")
    return locate(path)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Errors about a file say which."""
    from parties.errors import AuditError

    try:
        yield
    except AuditError as exc:
        raise AuditError(f"{path}: {exc.what}", action=exc.action) from exc


def deliver(content: bytes, out: Path | None) -> None:
    """To a new file, or to standard output."""
    from parties.errors import SettingsError

    if out is None:
        sys.stdout.buffer.write(content)
        return
    try:
        with out.open("xb") as file:
            file.write(content)
    except FileExistsError as exc:
        raise SettingsError(f"{out} exists already", action="choose another --out") from exc
    except OSError as exc:
        raise SettingsError(f"{out} can't be written: {exc.strerror}", action="choose another --out") from exc


def _console() -> Console:
    from rich.console import Console

    # What a file or a path says is text, never markup.
    return Console(markup=False, highlight=False, soft_wrap=True)


def _show_verdict(verdict: Verdict) -> None:
    console = _console()
    console.print(verdict.line(), style="green" if verdict.ok else "bold red")
    if verdict.failure is not None:
        console.print(f"  what to do: {verdict.failure.action}")
    for head in verdict.cosigned if verdict.ok else ():
        console.print(f"  cosigned: {head}")
    for end in verdict.withdrawn if verdict.ok else ():
        console.print(f"  withdrawn: {end}")
    for remark in verdict.remarks:
        console.print(f"  note: {remark}")


def _show_reconciliation(outcome: Reconciliation) -> None:
    console = _console()
    console.print(outcome.line(), style="green" if outcome.ok else "bold red")
    for difference in outcome.differences:
        console.print(f"  {difference.topic}: {difference.what}")
    for note in outcome.notes:
        console.print(f"  note: {note}")
    for verdict in outcome.verdicts:
        _show_verdict(verdict)


def _show_list(entries: list[Entry]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table("entry", "time (UTC)", "event", "about", box=None, pad_edge=False)
    for entry in entries:
        envelope = entry.envelope()
        cells = (envelope["id"], envelope["time"][:19], envelope["type"], envelope["subject"][:40])
        table.add_row(*(Text(cell) for cell in cells))
    _console().print(table)


def _show_entry(entry: Entry) -> None:
    console = _console()
    envelope = entry.envelope()
    console.print(f"entry {envelope['id']} of {envelope['source']}: {envelope['type']}, {envelope['time']}")
    console.print(f"  {' '.join((type(entry.event).__doc__ or '').split())}")
    for name, value in envelope["data"].items():
        console.print(f"  {name}: {value if isinstance(value, str) else json.dumps(value)}")
