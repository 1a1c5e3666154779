"""What every run of a worker has: its table, the node's leave for each disclosure, its connections, its account."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mpc.channel import Channel, Counters, Link
from mpc.commitment import Chained, ChainedLink, Commitments
from mpc.disclosure import Disclosure, ProgramLedger
from mpc.keys import SessionKeys, agree
from mpc.randomness import Entropy, Words
from mpc.stages import Stage
from mpc.transcript import Transcript
from parties.agreement.contract import Contract, membership, recipient
from parties.agreement.kinds import AnyContract, columns_of
from parties.agreement.prediction import PredictionContract
from parties.columns.preparation import Rows
from parties.data.data_set import Manifest, check_agreed, read
from parties.data.tables import Table
from parties.keys.tls import TlsKey
from parties.process.dealer_link import DealerLink
from parties.process.job import Advanced, Done, Intent, Opened, PartyJob
from parties.process.links import TlsChannel
from parties.process.matching import compare_ids, join_ids
from parties.process.meeting import connect_dealer, connect_peers
from parties.process.signer import NodeSigner
from parties.process.stopwatch import Stopwatch
from parties.process.voice import Speaking
from parties.sealing import DataKey

if TYPE_CHECKING:
    from mpc.runtime import Progress  # a matching's process loads no engine

PROGRESS_S = 0.1  # between two reports that tell no loss
CONNECT_S = 30.0  # for the dealer and the peers, whose processes start when this one does


class NodeLedger:
    """mpc.disclosure.Ledger: the program's own count first, then the node's record."""

    def __init__(self, contract: AnyContract, voice: Speaking) -> None:
        self._names = [party.name for party in contract.parties]
        self._voice = voice
        self._inner = ProgramLedger(contract.program, self._record)

    def permit(self, disclosure: Disclosure) -> None:
        self._inner.permit(disclosure)

    def told(self, disclosure: Disclosure, opened: Words) -> None:
        self._voice.say(Opened.of(disclosure.name, recipient(disclosure.recipients, self._names), opened))

    def _record(self, disclosure: Disclosure) -> None:
        told = recipient(disclosure.recipients, self._names)
        transcript = disclosure.transcript.hex()
        self._voice.ask(Intent(name=disclosure.name, recipient=told, values=disclosure.values, transcript=transcript))


def load(job: PartyJob, contract: AnyContract) -> Table:
    """The data set that the contract names, decrypted in memory. Raises: VaultError, ContractError."""
    manifest = Manifest.model_validate_json(job.manifest)
    check_agreed(manifest, contract.party(job.name))
    key = DataKey(bytes.fromhex(job.data_key.get_secret_value()))
    return read(Path(job.data_path), key, manifest, columns_of(contract, job.name))


@dataclass(frozen=True)
class Bound:
    """Connections over which keys were agreed, and what binds this party to all that it sends over them."""

    channel: Chained
    link: ChainedLink
    keys: SessionKeys
    commitments: Commitments


def bound(contract: AnyContract, epoch: int, channel: Channel, link: Link, voice: Speaking, entropy: Entropy) -> Bound:
    """Agree on the session's keys over fresh connections."""
    chained = Chained(channel)
    dealer = ChainedLink(link, chained.sent)
    keys = agree(chained, dealer, bytes.fromhex(contract.digest), epoch, entropy)
    return Bound(chained, dealer, keys, keys.commitments(chained, entropy, NodeSigner(contract, voice)))


def matched_rows(
    contract: Contract | PredictionContract, wires: Bound, ids: Sequence[str], voice: Speaking
) -> tuple[Rows, ...]:
    """Which of this party's rows are of which part of the table, by its record ids.

    Before others are told that, each is bound to what it sent, and the node records it.
    Raises: DataError if the parties' records do not fit; DisclosureRefused if the node does not record it;
    CommitmentsDiffer if a peer signed other words than came.
    """
    names, channel = [party.name for party in contract.parties], wires.channel
    if contract.matching == "equal-ids":
        compare_ids(channel, wires.keys, ids, contract)
    if contract.matching != "joined-ids":
        return (np.arange(len(ids)),)

    told = membership(contract.partition, contract.parties)

    def permit() -> None:
        wires.commitments.commit()
        for item in told:
            voice.ask(Intent(name=item.name, recipient=recipient(item.recipients, names), values=item.values))

    parts = join_ids(channel, wires.keys, ids, contract, permit)
    for item in told:
        if item.recipients != "session" and channel.rank in item.recipients:
            # Who has all records was told whose each is: the rows of each part, part after part.
            voice.say(Opened.of(item.name, recipient(item.recipients, names), np.concatenate(parts)))
    return parts


class Reporter:
    """Tells each stage as it begins, every loss, and the rest of the progress no more than ten times a second.

    All of it goes by the contract's schedule. Stages are timed as well.
    """

    def __init__(self, voice: Speaking, watch: Stopwatch, counters: Counters) -> None:
        self._voice, self._watch, self._counters = voice, watch, counters
        self._said, self._iteration, self._of = 0.0, 0, 0
        self._stage: Stage | None = None

    def stage(self, name: Stage) -> None:
        """The stage before ends, this one begins."""
        self._watch.stage(name)
        self._stage = name
        self._say(self._counters.rounds, self._counters.bytes_sent, None)

    def advance(self, progress: Progress) -> None:
        """The run is so far."""
        self._iteration, self._of = progress.iteration, progress.of
        if progress.losses is None and self._iteration < self._of and time.monotonic() - self._said < PROGRESS_S:
            return
        loss = None if progress.losses is None else float(np.mean(progress.losses))
        self._say(progress.rounds, progress.bytes_sent, loss)

    def _say(self, rounds: int, bytes_sent: int, loss: float | None) -> None:
        self._said = time.monotonic()
        at = {"stage": self._stage, "iteration": self._iteration, "of": self._of}
        self._voice.say(Advanced(**at, rounds=rounds, bytes_sent=bytes_sent, loss=loss))


@contextmanager
def connected(job: PartyJob, contract: AnyContract) -> Iterator[tuple[TlsChannel, DealerLink]]:
    """Channels to the peers and a link to the dealer, closed at the end."""
    own = TlsKey.from_pem(job.tls.key_pem.get_secret_value().encode(), job.tls.certificate)
    deadline = time.monotonic() + CONNECT_S
    link = connect_dealer(job, contract, own, deadline)
    channel = connect_peers(job, contract, own, deadline)
    try:
        yield channel, link
    finally:
        channel.close()
        link.close()


def account(transcript: Transcript, channel: TlsChannel, link: DealerLink, started: float, watch: Stopwatch) -> Done:
    """What a run was, in digests and counts, and how long its links are."""
    to_dealer = link.measured()
    return Done(
        transcript=transcript.digest().hex(),
        openings=transcript.openings,
        words=transcript.words,
        rounds=channel.counters.rounds,
        bytes_sent=channel.counters.bytes_sent,
        seconds=time.monotonic() - started,
        stages=watch.seconds(),
        links=(*channel.measured, *([to_dealer] if to_dealer else [])),
    )
