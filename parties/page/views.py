"""What the page shows of a node: frozen rows for the templates, with no value of anybody's data in them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from mpc.errors import PrivityError
from parties.agreement.contract import Participant
from parties.agreement.kinds import AnyContract, parse_contract
from parties.agreement.policy import Finding
from parties.audit.entries import Entry
from parties.audit.witnesses import cosigned_of
from parties.service.lifecycle import State
from parties.service.notices import notices

if TYPE_CHECKING:
    from parties.service.node import Node
    from parties.service.store import Session
    from parties.testimony.replays import Kept

ANSWERED = set(State) - {State.PROPOSED}
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
    recordings: list[Kept]
    connected: bool
    notices: list[str]
    cosigned: dict[str, int]  # entries under the newest head that each partner cosigned


def recording(node: Node, session: Session) -> Kept | None:
    """What is kept of a session for replays, if anything that can be read."""
    if session.state is not State.COMPLETED:
        return None
    try:
        return node.replays.kept(session.digest)
    except PrivityError:
        return None


def _recordings(node: Node) -> list[Kept]:
    sessions = (node.store.find(digest) for digest in node.replays.list())
    return [found for session in sessions if session and (found := recording(node, session))]


def overview(node: Node) -> Overview:
    """Raises: SettingsError if the file of partners is damaged."""
    others = node.store.all(ANSWERED, newest=MOST_SESSIONS)
    answered = sum(count for state, count in node.store.count_by_state().items() if state in ANSWERED)
    return Overview(
        waiting=[SessionRow.of(session) for session in reversed(node.store.all([State.PROPOSED]))],
        others=[SessionRow.of(session) for session in reversed(others)],
        left_out=answered - len(others),
        partners=node.partners.all(),
        data=[_data(node, name) for name in node.vault.list()],
        recordings=_recordings(node),
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
