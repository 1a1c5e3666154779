"""What the page shows of a node: frozen rows for the templates, with no value of anybody's data in them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from mpc.errors import PrivityError
from parties.audit.entries import Entry
from parties.audit.witnesses import cosigned_of
from parties.contract import Participant
from parties.kinds import AnyContract, parse_contract
from parties.lifecycle import State
from parties.notices import notices
from parties.policy import Finding

if TYPE_CHECKING:
    from parties.node import Node
    from parties.store import Session

MOST_SESSIONS = 50


@dataclass(frozen=True)
class SessionRow:
    """A session in the overview's tables."""

    session: Session
    contract: AnyContract | None  # None: this release can't read it

    @classmethod
    def of(cls, session: Session) -> SessionRow:
        try:
            return cls(session, parse_contract(session.contract.encode()))
        except PrivityError:
            return cls(session, None)


@dataclass(frozen=True)
class DataRow:
    """A data set; no counts if its manifest is damaged."""

    name: str
    rows: int | None = None
    columns: int | None = None


@dataclass(frozen=True)
class Overview:
    """The first page."""

    waiting: list[SessionRow]
    others: list[SessionRow]
    left_out: int  # older sessions that are not shown
    partners: dict[str, str]
    data: list[DataRow]
    connected: bool
    notices: list[str]
    cosigned: dict[str, int]  # entries under the newest head that each partner cosigned


def overview(node: Node) -> Overview:
    """Raises: SettingsError if the file of partners is damaged."""
    newest = node.store.all()[::-1]
    others = [session for session in newest if session.state is not State.PROPOSED]
    return Overview(
        waiting=[SessionRow.of(session) for session in newest if session.state is State.PROPOSED],
        others=[SessionRow.of(session) for session in others[:MOST_SESSIONS]],
        left_out=len(others[MOST_SESSIONS:]),
        partners=node.partners.all(),
        data=[_data(node, name) for name in node.vault.list()],
        connected=node.stream.connected.is_set(),
        notices=notices(node.home, node.partners, datetime.now(UTC)),
        cosigned={
            head.cosigner.name: head.checkpoint.size for head in cosigned_of(node.home.directory) if head.cosigner
        },
    )


def _data(node: Node, name: str) -> DataRow:
    try:
        table = node.vault.manifest(name).table
    except PrivityError:
        return DataRow(name)
    return DataRow(name, table.rows, len(table.columns))


def verdicts(node: Node, contract: AnyContract) -> list[Finding]:
    """The policy in force, rule by rule; without a readable policy nothing is signed."""
    try:
        return node.findings(contract)
    except PrivityError as exc:
        return [Finding("policy.toml", "refuses", exc.what)]


def standing(node: Node, participant: Participant) -> str:
    """Whether a participant's key is the one that this operator confirmed."""
    if participant.name == node.name:
        return "us"
    confirmed = node.partners.all().get(participant.name)
    if confirmed is None:
        return "not confirmed"
    return "confirmed" if confirmed == participant.fingerprint else "ANOTHER KEY THAN WAS CONFIRMED"


def described(entry: Entry) -> str:
    """What an event's fields say, in one line."""
    data = {key: value for key, value in entry.envelope()["data"].items() if key != "session"}
    return ", ".join(f"{key.replace('_', ' ')} {_said(value)}" for key, value in data.items())


def _said(value: object) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case list():
            return " ".join(map(str, value))
        case _:
            return str(value)
