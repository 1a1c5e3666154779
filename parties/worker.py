"""One party's part of one session, as a process of its own: started by the node with exec, gone when the session ends.

It holds no identity key and no vault key; it reads one data set with the key that it was given, speaks to its peers and
the dealer, and asks the node before each disclosure.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mpc.channel import Channel, Link
from mpc.disclosure import Disclosure, ProgramLedger
from mpc.held_out import OwnRows
from mpc.keys import SessionKeys, agree
from mpc.moments import joint_moments
from mpc.partition import Partition
from mpc.program import Fused, Program
from mpc.runtime import Progress, Runtime
from mpc.training import Fit, Fitted, train
from mpc.transcript import Transcript
from parties import predicting, vault
from parties.contract import Contract, recipient
from parties.errors import ContractError
from parties.job import Advanced, DealerJob, Done, Intent, Matched, ModelPart, Outcome, PartyJob
from parties.kinds import AnyContract, parse_contract
from parties.links import TlsChannel
from parties.matching import compare_classes, compare_ids
from parties.meeting import connect_dealer, connect_peers
from parties.messages import Figures
from parties.prediction import PredictionContract
from parties.preparation import Standardiser, split
from parties.sealing import DataKey
from parties.tables import Table, classes, features, labels
from parties.tls import TlsKey
from parties.voice import Voice, live

CONNECT_S = 30.0  # for the dealer and the peers, whose processes start when this one does
PROGRESS_S = 0.1  # between two reports that tell no loss


class NodeLedger:
    """mpc.disclosure.Ledger: the program's own count first, then the node's record."""

    def __init__(self, contract: AnyContract, voice: Voice) -> None:
        self._names = [party.name for party in contract.parties]
        self._voice = voice
        self._inner = ProgramLedger(contract.program, self._record)

    def permit(self, disclosure: Disclosure) -> None:
        self._inner.permit(disclosure)

    def _record(self, disclosure: Disclosure) -> None:
        told = recipient(disclosure.recipients, self._names)
        transcript = disclosure.transcript.hex()
        self._voice.ask(Intent(name=disclosure.name, recipient=told, values=disclosure.values, transcript=transcript))


def load(job: PartyJob, contract: AnyContract) -> Table:
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
    values: NDArray[np.float64] = field(repr=False)  # (own rows, own columns)
    labels: NDArray[np.int64] | None = field(repr=False)  # of own rows, where the party holds them
    training: NDArray[np.int64] = field(repr=False)  # which own rows are trained on
    held_out: NDArray[np.int64] = field(repr=False)  # and which are not
    classes: tuple[str, str] | None = field(repr=False)  # of the label, where the party holds it
    standardiser: Standardiser | None = field(repr=False)  # none where it takes the others' rows as well


def prepare(job: PartyJob, contract: Contract) -> Prepared:
    """Raises: VaultError, DataError; ContractError if the rows are not as many as the contract says."""
    table, party = load(job, contract), contract.party(job.name)
    by_columns = contract.partition == "columns"
    rows, others = split(table.ids, contract.split_key, contract.split.held_out)
    if len(rows) != (expected := contract.training_rows(job.name)):
        raise ContractError(f"{len(rows)} training rows are here, {expected} in the contract")
    values = features(table, party.columns, varied=by_columns) if party.columns else np.zeros((table.rows, 0))
    standardiser = Standardiser.fit(values[rows], party.columns, _clip(contract)) if by_columns else None
    label, y, names = contract.label, None, None
    if label.held_by(job.name):
        y, names = labels(table, label.column, label.positive), classes(table, label.column)
    return Prepared(tuple(table.ids), values, y, np.asarray(rows), np.asarray(others), names, standardiser)


def _clip(contract: Contract) -> float:
    return float(1 << contract.preparation.clip_bits)


def run(job: PartyJob | DealerJob, voice: Voice) -> None:
    """The session from data to result. Raises: ContractError if the job is a dealer's."""
    if not isinstance(job, PartyJob):
        raise ContractError("a dealer's job came to a party's worker")
    contract = parse_contract(job.contract.encode())
    if isinstance(contract, PredictionContract):
        rows, ledger = predicting.new_rows(job, contract, load(job, contract)), NodeLedger(contract, voice)
        with _connected(job, contract) as (channel, link):
            started = time.monotonic()
            transcript = predicting.run(contract, job.epoch, channel, link, rows, ledger, voice, _reporter(voice))
            channel.finish()
            voice.say(_done(transcript, channel, started))
        return
    prepared = prepare(job, contract)
    with _connected(job, contract) as (channel, link):
        started = time.monotonic()
        fit, standardiser, transcript = _train(contract, job.epoch, channel, link, prepared, voice)
        channel.finish()
        (model,) = fit.models
        keeps = contract.retention.model_days > 0
        found = {
            "outcome": _outcome(contract, job.name, model, standardiser),
            "figures": Figures.of(model.figures),
            "converged": model.converged,
            "model": ModelPart.of(standardiser, fit.share[:, 0]) if keeps and fit.share is not None else None,
        }
        voice.say(_done(transcript, channel, started).model_copy(update=found))


@contextmanager
def _connected(job: PartyJob, contract: AnyContract) -> Iterator[tuple[TlsChannel, Link]]:
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


def _done(transcript: Transcript, channel: Channel, started: float) -> Done:
    """What a run was, in digests and counts."""
    return Done(
        transcript=transcript.digest().hex(),
        openings=transcript.openings,
        words=transcript.words,
        rounds=channel.counters.rounds,
        bytes_sent=channel.counters.bytes_sent,
        seconds=time.monotonic() - started,
    )


def _train(
    contract: Contract, epoch: int, channel: Channel, link: Link, prepared: Prepared, voice: Voice
) -> tuple[Fit, Standardiser, Transcript]:
    digest = bytes.fromhex(contract.digest)
    keys = agree(channel, link, digest, epoch)
    _match(contract, channel, keys, prepared, voice)
    ledger = NodeLedger(contract, voice)
    with Runtime(channel, link, keys, ledger, contract.program, digest, _reporter(voice)) as runtime:
        standardiser = prepared.standardiser or _joint_standardiser(contract, prepared, runtime)
        X, program = standardiser.apply(prepared.values), contract.program
        training = _placed(program, program, runtime.rank, X, prepared.labels, prepared.training)
        held_out = None
        if isinstance(program, Fused) and program.evaluation is not None:
            partition = program.evaluation.partition
            held_out = _placed(program, partition, runtime.rank, X, prepared.labels, prepared.held_out)
        fit = train(program, training.block, training.labels, runtime, held_out)
        return fit, standardiser, runtime.transcript


def _match(contract: Contract, channel: Channel, keys: SessionKeys, prepared: Prepared, voice: Voice) -> None:
    """Raises: DataError if the parties' records, or the classes of their labels, are not the same."""
    if contract.matching == "equal-classes" and prepared.classes is not None:
        compare_classes(channel, keys, prepared.classes, contract)
        return
    compare_ids(channel, keys, prepared.ids, contract)
    voice.say(Matched(rows=len(prepared.ids), training_rows=contract.program.rows))


def _joint_standardiser(contract: Contract, prepared: Prepared, runtime: Runtime) -> Standardiser:
    """Of the training rows of all parties. Reveals: their moments, as the contract says."""
    columns = contract.parties[runtime.rank].columns
    program = contract.program
    placed = _placed(program, program, runtime.rank, prepared.values, None, prepared.training)
    moments = joint_moments(program, placed.block, runtime)
    return Standardiser.joint(columns, moments.means, moments.deviations, _clip(contract))


def _placed(
    program: Program,
    partition: Partition,
    rank: int,
    values: NDArray[np.float64],
    labels: NDArray[np.int64] | None,
    chosen: NDArray[np.int64],
) -> OwnRows:
    """Chosen own rows at their places in a table of all parties' rows, zeros elsewhere.

    Shapes: values (own rows, d), labels (own rows,), chosen of these -> (rows, d), (rows,).
    """
    block = np.zeros((partition.rows, len(program.held(rank))))
    for place in partition.places(rank):
        block[place] = values[chosen]
    if labels is None:
        return OwnRows(block, None)
    placed = np.zeros(partition.rows, dtype=np.int64)
    for part in partition.labels:
        if part.owner == rank:
            placed[part.place] = labels[chosen]
    return OwnRows(block, placed)


def _reporter(voice: Voice) -> Callable[[Progress], None]:
    """Tells every loss, and the rest of the progress no more than ten times a second."""
    said = 0.0

    def report(progress: Progress) -> None:
        nonlocal said
        if progress.losses is None and progress.iteration < progress.of and time.monotonic() - said < PROGRESS_S:
            return
        said = time.monotonic()
        loss = None if progress.losses is None else progress.losses[0]  # a contract has one model
        voice.say(
            Advanced(
                iteration=progress.iteration,
                of=progress.of,
                rounds=progress.rounds,
                bytes_sent=progress.bytes_sent,
                loss=loss,
            )
        )

    return report


def _outcome(contract: Contract, name: str, model: Fitted, standardiser: Standardiser) -> Outcome:
    return Outcome(
        columns=contract.party(name).columns,
        standardised=tuple(float(value) for value in model.coefficients),
        original=standardiser.to_original(model.coefficients),
        intercept=model.intercept,
        losses=model.losses,
        iterations=contract.program.max_iter,
        tol=contract.convergence.tol if contract.convergence else None,
        converged=model.converged,
        figures=Figures.of(model.figures),
    )


if __name__ == "__main__":
    live(run)
