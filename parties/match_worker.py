"""A worker's part of a matching: own records compared with the others', and the common ones told to the own node."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from mpc.channel import Channel, Link
from mpc.disclosure import Ledger
from mpc.keys import agree
from mpc.lanes import GOODBYE
from mpc.program import Stage
from mpc.transcript import Transcript
from parties.job import FoundRows
from parties.match_plan import MatchingContract
from parties.psi import Matched, keyed_records, match
from parties.tables import Table, ids_of
from parties.voice import Voice

ID_BYTES = 16  # of a matched record's id: no two of a data set's meet
STRIP_RECORDS = 1 << 14  # that one report tells of


@dataclass(frozen=True)
class OwnIds:
    """What this party brings; hidden in print."""

    columns: Sequence[Sequence[str | None]] = field(repr=False)  # each of all rows


def own_ids(contract: MatchingContract, name: str, table: Table) -> OwnIds:
    """Raises: DataError for a column that can't be compared."""
    return OwnIds(ids_of(table, contract.party(name).columns))


def run(
    contract: MatchingContract,
    epoch: int,
    channel: Channel,
    link: Link,
    own: OwnIds,
    ledger: Ledger,
    voice: Voice,
    stage: Callable[[Stage], None],
) -> Transcript:
    """The session from keys to the last common record. Raises: DataError for ids that can't be compared; as `match`."""
    stage("matching")
    keys = agree(channel, link, bytes.fromhex(contract.digest), epoch)
    key, names = keys.parties_key("match"), [party.name for party in contract.parties]
    records = keyed_records(own.columns, contract.rules, key)
    found = match(contract.program, channel, key, records, contract.rules, ledger, names)
    for strip in _strips(found, keys.parties_key("matched ids")):
        voice.say(strip)
    link.send(GOODBYE)  # the dealer, who had nothing to deal, ends with the session
    return found.transcript


def _strips(found: Matched, key: bytes) -> list[FoundRows]:
    """Common records with ids that all parties share, and that no two sessions share."""
    ids = [hmac.digest(key, element.tobytes(), "sha256")[:ID_BYTES].hex() for element in found.elements]
    rows = found.rows.tolist()
    places = range(0, len(rows), STRIP_RECORDS)
    return [
        FoundRows(rows=tuple(rows[place : place + STRIP_RECORDS]), ids=tuple(ids[place : place + STRIP_RECORDS]))
        for place in places
    ]
