"""One party's part of one session, as a process of its own: started by the node with exec, gone when the session ends.

It holds no identity key and no vault key; it reads one data set with the key that it was given, speaks to its peers and
the dealer, and asks the node before each disclosure.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mpc.channel import Channel, Link
from mpc.disclosure import Disclosure, ProgramLedger
from mpc.held_out import HeldOut
from mpc.keys import agree
from mpc.program import Fused
from mpc.runtime import Progress, Runtime
from mpc.training import Fit, train
from parties import vault
from parties.contract import Contract, parse_contract
from parties.errors import ContractError
from parties.job import Advanced, DealerJob, Done, Intent, Matched, Outcome, PartyJob
from parties.matching import compare_ids
from parties.meeting import connect_dealer, connect_peers
from parties.messages import Figures
from parties.preparation import Standardiser, split
from parties.sealing import DataKey
from parties.tables import Table, features, labels
from parties.tls import TlsKey
from parties.voice import Voice, live

CONNECT_S = 30.0  # for the dealer and the peers, whose processes start when this one does
PROGRESS_S = 0.1  # between two reports that tell no loss


class NodeLedger:
    """mpc.disclosure.Ledger: the program's own count first, then the node's record."""

    def __init__(self, contract: Contract, voice: Voice) -> None:
        self._names = [party.name for party in contract.parties]
        self._voice = voice
        self._inner = ProgramLedger(contract.program, self._record)

    def permit(self, disclosure: Disclosure) -> None:
        self._inner.permit(disclosure)

    def _record(self, disclosure: Disclosure) -> None:
        recipients = disclosure.recipients
        recipient = "session" if recipients == "session" else f"party:{self._names[recipients[0]]}"
        self._voice.ask(Intent(name=disclosure.name, recipient=recipient, values=disclosure.values))


def load(job: PartyJob, contract: Contract) -> Table:
    """The data set that the contract names, decrypted in memory. Raises: VaultError, ContractError."""
    manifest = vault.Manifest.model_validate_json(job.manifest)
    if manifest.version != contract.party(job.name).data_version:
        raise ContractError(
            f"data set '{manifest.name}' is not in the version that the contract names",
            action="propose the session again",
        )
    key = DataKey(bytes.fromhex(job.data_key.get_secret_value()))
    return vault.read(Path(job.data_path), key, manifest)


@dataclass(frozen=True)
class Prepared:
    """What this party trains on, and what the model is then evaluated on; hidden in print."""

    ids: tuple[str, ...] = field(repr=False)
    block: NDArray[np.float64] = field(repr=False)  # (training rows, own columns), standardised
    labels: NDArray[np.int64] | None = field(repr=False)  # of the training rows, at the label's owner
    standardiser: Standardiser = field(repr=False)
    held_out: HeldOut | None = field(repr=False)  # if the contract evaluates: standardised as the training rows are


def prepare(job: PartyJob, contract: Contract) -> Prepared:
    """Raises: VaultError, DataError; ContractError if the rows are not as many as the contract says."""
    table, party = load(job, contract), contract.party(job.name)
    rows, others = split(table.ids, contract.split_key, contract.split.held_out)
    if len(rows) != contract.program.rows:
        raise ContractError(f"{len(rows)} training rows are here, {contract.program.rows} in the contract")
    values = features(table, party.columns) if party.columns else np.zeros((table.rows, 0))
    standardiser = Standardiser.fit(values[rows], party.columns, float(1 << contract.preparation.clip_bits))
    label, y = contract.label, None
    if label.party == job.name:
        y = labels(table, label.column, label.positive)
    held_out = None
    if isinstance(contract.program, Fused) and contract.program.evaluation is not None:
        held_out = HeldOut(standardiser.apply(values[others]), None if y is None else y[others])
    own_labels = None if y is None else y[rows]
    return Prepared(tuple(table.ids), standardiser.apply(values[rows]), own_labels, standardiser, held_out)


def run(job: PartyJob | DealerJob, voice: Voice) -> None:
    """The session from data to result. Raises: ContractError if the job is a dealer's."""
    if not isinstance(job, PartyJob):
        raise ContractError("a dealer's job came to a party's worker")
    contract = parse_contract(job.contract.encode())
    own = TlsKey.from_pem(job.tls.key_pem.get_secret_value().encode(), job.tls.certificate)
    prepared = prepare(job, contract)
    deadline = time.monotonic() + CONNECT_S
    link = connect_dealer(job, contract, own, deadline)
    channel = connect_peers(job, contract, own, deadline)
    try:
        fit, done = _train(contract, job.epoch, channel, link, prepared, voice)
        channel.finish()
        outcome = _outcome(contract.party(job.name).columns, fit, prepared.standardiser)
        voice.say(done.model_copy(update={"outcome": outcome}))
    finally:
        channel.close()
        link.close()


def _train(
    contract: Contract, epoch: int, channel: Channel, link: Link, prepared: Prepared, voice: Voice
) -> tuple[Fit, Done]:
    started, digest = time.monotonic(), bytes.fromhex(contract.digest)
    keys = agree(channel, link, digest, epoch)
    compare_ids(channel, keys, prepared.ids, contract)
    voice.say(Matched(rows=len(prepared.ids), training_rows=contract.program.rows))
    ledger = NodeLedger(contract, voice)
    with Runtime(channel, link, keys, ledger, contract.program, digest, _reporter(voice)) as runtime:
        fit = train(contract.program, prepared.block, prepared.labels, runtime, prepared.held_out)
        transcript = runtime.transcript
    return fit, Done(
        figures=Figures.of(fit.figures),
        transcript=transcript.digest().hex(),
        openings=transcript.openings,
        words=transcript.words,
        rounds=channel.counters.rounds,
        bytes_sent=channel.counters.bytes_sent,
        seconds=time.monotonic() - started,
    )


def _reporter(voice: Voice) -> Callable[[Progress], None]:
    """Tells every loss, and the rest of the progress no more than ten times a second."""
    said = 0.0

    def report(progress: Progress) -> None:
        nonlocal said
        if progress.loss is None and progress.iteration < progress.of and time.monotonic() - said < PROGRESS_S:
            return
        said = time.monotonic()
        voice.say(Advanced.model_validate(progress, from_attributes=True))

    return report


def _outcome(columns: tuple[str, ...], fit: Fit, standardiser: Standardiser) -> Outcome:
    return Outcome(
        columns=columns,
        standardised=tuple(float(value) for value in fit.coefficients),
        original=standardiser.to_original(fit.coefficients),
        intercept=fit.intercept,
        losses=fit.losses,
        figures=Figures.of(fit.figures),
    )


if __name__ == "__main__":
    live(run)
