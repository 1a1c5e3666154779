"""One party's part of one matching, as a process of its own: own records compared, the common ones told to the node.

As `parties.process.worker`, but without the engine, which it does not need.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mpc.channel import Channel, Link
from mpc.commitment import Chained, Commitments
from mpc.disclosure import Disclosure, Ledger
from mpc.lanes import GOODBYE
from mpc.matching_program import Matching
from mpc.randomness import Entropy
from mpc.transcript import Transcript
from parties.agreement.kinds import parse_contract
from parties.agreement.match_plan import MatchingContract
from parties.agreement.match_rules import MatchRules
from parties.data.matched_rows import ID_BYTES
from parties.data.tables import Table, ids_of
from parties.errors import ContractError
from parties.process.job import DealerJob, FoundRows, PartyJob
from parties.process.recording import recorded
from parties.process.running import Bound, NodeLedger, Reporter, account, bound, connected, load
from parties.process.stopwatch import Stopwatch
from parties.process.voice import Speaking, Voice, live
from parties.psi import Matched, Records, count, keyed_records, match

STRIP_RECORDS = 1 << 14  # that one report tells of


@dataclass(frozen=True)
class OwnIds:
    """What this party brings; hidden in print."""

    columns: Sequence[Iterable[str | None]] = field(repr=False)  # each of all rows
    places: NDArray[np.int64] | None = field(default=None, repr=False)  # as a table's


def own_ids(contract: MatchingContract, name: str, table: Table) -> OwnIds:
    """Raises: DataError for a column that can't be compared."""
    return OwnIds(ids_of(table, contract.party(name).columns), table.places)


def work(job: PartyJob | DealerJob, voice: Voice) -> None:
    """The session from data to result. Raises: ContractError if the job is no matching party's."""
    contract = parse_contract(job.contract.encode())
    if not isinstance(job, PartyJob) or not isinstance(contract, MatchingContract):
        raise ContractError("another job came to a matching's process")
    own = own_ids(contract, job.name, load(job, contract))
    with connected(job, contract) as (channel, link), recorded(job) as tape:
        started, watch = time.monotonic(), Stopwatch()
        wires = tape.wires(channel, link)
        transcript, told = match_on(contract, job.epoch, *wires, own, voice, watch, tape.entropy)
        channel.finish()
        done = account(transcript, channel, link, started, watch)
        voice.say(done.model_copy(update={"estimate": told, "tape": tape.finish()}))


def match_on(
    contract: MatchingContract,
    epoch: int,
    channel: Channel,
    link: Link,
    own: OwnIds,
    voice: Speaking,
    watch: Stopwatch,
    entropy: Entropy,
) -> tuple[Transcript, int | None]:
    """All of a matching between connections and the last common record; a replay runs it on what was recorded.

    Of an estimate also what it tells. Raises: as `Session.match`.
    """
    Reporter(voice, watch, channel.counters).stage("matching")
    ledger = NodeLedger(contract, voice)
    session = Session(contract, bound(contract, epoch, channel, link, voice, entropy), entropy)
    return session.estimate(own, ledger) if contract.is_estimate else (session.match(own, ledger, voice), None)


@dataclass(frozen=True)
class Session:
    """A matching whose parties have agreed on their keys."""

    contract: MatchingContract
    wires: Bound
    entropy: Entropy

    def match(self, own: OwnIds, ledger: Ledger, voice: Speaking) -> Transcript:
        """To the last common record. Raises: DataError for ids that can't be compared; as `psi.match`."""
        found = match(*self._facts(own, ledger))
        for strip in _strips(found, self.wires.keys.parties_key("matched ids")):
            voice.say(strip)
        self.wires.link.send(GOODBYE)  # the dealer, who had nothing to deal, ends with the session
        return found.transcript

    def estimate(self, own: OwnIds, ledger: Ledger) -> tuple[Transcript, int]:
        """About how many records are common; 0: fewer than are told. Raises: as `match`."""
        counted = count(*self._facts(own, ledger))
        self.wires.link.send(GOODBYE)
        told = self.contract.told(counted.sampled)
        ledger.told(Disclosure("estimate", "session", 1), np.array([told], dtype=np.int64))
        return counted.transcript, told

    def _facts(
        self, own: OwnIds, ledger: Ledger
    ) -> tuple[Matching, Chained, Commitments, bytes, Records, MatchRules, Ledger, list[str], Entropy]:
        contract, wires, key = self.contract, self.wires, self.wires.keys.parties_key("match")
        records = keyed_records(own.columns, contract.rules, key, own.places)
        names = [party.name for party in contract.parties]
        bound_to = wires.channel, wires.commitments
        return contract.program, *bound_to, key, records, contract.rules, ledger, names, self.entropy


def _strips(found: Matched, key: bytes) -> Iterator[FoundRows]:
    """Common records with ids that all parties share, and that no two sessions share."""
    for place in range(0, len(found.rows), STRIP_RECORDS):
        strip = slice(place, place + STRIP_RECORDS)
        ids = (hmac.digest(key, element.tobytes(), "sha256")[:ID_BYTES].hex() for element in found.elements[strip])
        yield FoundRows(rows=tuple(found.rows[strip].tolist()), ids=tuple(ids))


if __name__ == "__main__":
    live(work)
