"""One party's part of one session, as a process of its own: started by the node with exec, gone when the session ends.

It holds no identity key and no vault key; it reads one data set with the key that it was given, speaks to its peers and
the dealer, and asks the node before each disclosure.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mpc.channel import Channel, Link
from mpc.disclosure import Disclosure, ProgramLedger
from mpc.held_out import OwnRows
from mpc.keys import SessionKeys, agree
from mpc.moments import joint_moments
from mpc.partition import Partition
from mpc.program import Fused, Program, Stage
from mpc.runtime import Progress, Runtime
from mpc.training import Fit, Fitted, train
from mpc.transcript import Transcript
from parties import match_worker, predicting
from parties.contract import Contract, recipient
from parties.data_set import Manifest, read
from parties.encoding import Encoding, ReadColumn
from parties.errors import ContractError
from parties.job import Advanced, DealerJob, Done, Intent, Matched, ModelPart, Outcome, OwnModel, PartyJob
from parties.kinds import AnyContract, columns_of, parse_contract
from parties.links import TlsChannel
from parties.match_plan import MatchingContract
from parties.matching import compare_classes, compare_ids, join_ids
from parties.meeting import connect_dealer, connect_peers
from parties.messages import Figures, ToldModel, Validated
from parties.prediction import PredictionContract
from parties.preparation import Rows, Standardiser, split
from parties.reading import read_columns
from parties.sealing import DataKey
from parties.stopwatch import Stopwatch
from parties.tables import Table, classes, labels
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
    manifest = Manifest.model_validate_json(job.manifest)
    if manifest.version != contract.party(job.name).data_version:
        raise ContractError(
            f"data set '{manifest.name}' is not in the version that the contract names",
            action="propose the session again",
        )
    key = DataKey(bytes.fromhex(job.data_key.get_secret_value()))
    return read(Path(job.data_path), key, manifest, columns_of(contract, job.name))


@dataclass(frozen=True)
class Prepared:
    """This party's rows as numbers; hidden in print."""

    ids: tuple[str, ...] = field(repr=False)
    columns: tuple[ReadColumn, ...] = field(repr=False)  # of own rows; none once they are chosen
    labels: NDArray[np.int64] | None = field(repr=False)  # of own rows, where the party holds them
    classes: tuple[str, ...] | None = field(repr=False)  # of the label, where the party holds it
    chosen: Chosen | None = field(repr=False)  # None until the others tell which part of the table each row is of


@dataclass(frozen=True)
class Chosen:
    """What this party trains on, and what the model is then evaluated on, part after part; hidden in print."""

    training: NDArray[np.int64] = field(repr=False)  # which own rows are trained on
    held_out: NDArray[np.int64] = field(repr=False)  # and which are not
    encoding: Encoding = field(repr=False)
    values: NDArray[np.float64] = field(repr=False)  # (own rows, width), not standardised
    standardiser: Standardiser | None = field(repr=False)  # none where it takes the others' rows as well


def prepare(job: PartyJob, contract: Contract) -> Prepared:
    """Raises: VaultError, DataError; ContractError if the rows are not as many as the contract says."""
    table, party, rank = load(job, contract), contract.party(job.name), contract.rank(job.name)
    if table.rows != party.rows:
        raise ContractError(f"{table.rows} rows are here, {party.rows} in the contract")
    division = contract.division
    columns = read_columns(table, party.columns, contract.preparation)
    label, y, names = contract.label, None, None
    if label.held_by(job.name):
        y, names = labels(table, label.column, label.told_apart), classes(table, label.column)
    prepared = Prepared(tuple(table.ids), columns, y, names, None)
    if len(division.parts_of(rank)) > 1:
        return prepared
    chosen = choose(contract, job.name, prepared, (np.arange(table.rows),))
    return replace(prepared, columns=(), chosen=chosen)  # what was read is not needed a second time


def choose(contract: Contract, name: str, prepared: Prepared, parts: Sequence[Rows]) -> Chosen:
    """Hold out rows of each part, by the same rule wherever its records are.

    Shapes: each part, which of the party's rows are of it. Raises: DataError for a column that does not vary.
    """
    key, held_out = contract.split_key, contract.split.held_out
    sides = [split([prepared.ids[row] for row in part], key, held_out) for part in parts]
    training, others = (
        np.concatenate([part[side[which]] for part, side in zip(parts, sides, strict=True)]) for which in (0, 1)
    )
    encoding = Encoding.fit(contract.preparation, prepared.columns, training)
    values = encoding.apply(prepared.columns, len(prepared.ids))
    if contract.division.is_divided(contract.rank(name)):
        return Chosen(training, others, encoding, values, None)
    facts = encoding.names, _clip(contract), encoding.may_be_constant
    standardiser = Standardiser.fit(values[training], *facts)
    encoding.check_varied(standardiser.used.tolist())
    return Chosen(training, others, encoding, values, standardiser)


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
            started, watch = time.monotonic(), Stopwatch()
            facts = contract, job.epoch, channel, link, rows, ledger, voice, _reporter(voice)
            transcript = predicting.run(*facts, watch.stage)
            channel.finish()
            voice.say(_done(transcript, channel, started, watch))
        return
    if isinstance(contract, MatchingContract):
        _match_records(job, contract, voice)
        return
    prepared = prepare(job, contract)
    with _connected(job, contract) as (channel, link):
        started, watch = time.monotonic(), Stopwatch()
        fit, encoding, standardiser, transcript = _train(contract, job.epoch, channel, link, prepared, voice, watch)
        channel.finish()
        done = _done(transcript, channel, started, watch)
        outcome = _outcome(contract, fit, standardiser, done.stages)
        keeps = contract.retention.model_days > 0
        found = {
            "outcome": outcome,
            "models": tuple(ToldModel(C=one.C, positive=one.positive, figures=one.figures) for one in outcome.models),
            "validated": outcome.validated,
            "converged": outcome.converged,
            "model": ModelPart.of(encoding, standardiser, fit.share) if keeps and fit.share is not None else None,
        }
        voice.say(done.model_copy(update=found))


def _match_records(job: PartyJob, contract: MatchingContract, voice: Voice) -> None:
    own, ledger = match_worker.own_ids(contract, job.name, load(job, contract)), NodeLedger(contract, voice)
    with _connected(job, contract) as (channel, link):
        started, watch = time.monotonic(), Stopwatch()
        transcript = match_worker.run(contract, job.epoch, channel, link, own, ledger, voice, watch.stage)
        channel.finish()
        voice.say(_done(transcript, channel, started, watch))


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


def _done(transcript: Transcript, channel: Channel, started: float, watch: Stopwatch) -> Done:
    """What a run was, in digests and counts."""
    return Done(
        transcript=transcript.digest().hex(),
        openings=transcript.openings,
        words=transcript.words,
        rounds=channel.counters.rounds,
        bytes_sent=channel.counters.bytes_sent,
        seconds=time.monotonic() - started,
        stages=watch.seconds(),
    )


def _train(
    contract: Contract,
    epoch: int,
    channel: Channel,
    link: Link,
    prepared: Prepared,
    voice: Voice,
    watch: Stopwatch,
) -> tuple[Fit, Encoding, Standardiser, Transcript]:
    digest = bytes.fromhex(contract.digest)
    watch.stage("matching")
    keys = agree(channel, link, digest, epoch)
    parts = _match(contract, channel, keys, prepared, voice)
    watch.stage("preparation")
    name = contract.parties[channel.rank].name
    chosen = prepared.chosen or choose(contract, name, prepared, parts)
    ledger = NodeLedger(contract, voice)
    with Runtime(channel, link, keys, ledger, contract.program, digest, _reporter(voice), watch.stage) as runtime:
        standardiser = _standardiser(contract, chosen, runtime)
        X, program = standardiser.apply(chosen.values), contract.program
        training = _placed(program, program, runtime.rank, X, prepared.labels, chosen.training)
        held_out = None
        if isinstance(program, Fused) and program.evaluation is not None:
            partition = program.evaluation.partition
            held_out = _placed(program, partition, runtime.rank, X, prepared.labels, chosen.held_out)
        fit = train(program, training.block, training.labels, runtime, held_out)
        return fit, chosen.encoding, standardiser, runtime.transcript


def _match(
    contract: Contract, channel: Channel, keys: SessionKeys, prepared: Prepared, voice: Voice
) -> tuple[Rows, ...]:
    """Which of this party's rows are of which part of the table.

    Raises: DataError if the parties' records, or the classes of their labels, are not the same.
    """
    parts: tuple[Rows, ...] = (np.arange(len(prepared.ids)),)
    if prepared.classes is not None:
        compare_classes(channel, keys, prepared.classes, contract)
    if contract.matching == "equal-ids":
        compare_ids(channel, keys, prepared.ids, contract)
    elif contract.matching == "joined-ids":
        parts = join_ids(channel, keys, prepared.ids, contract, lambda: _record_membership(contract, voice))
    if contract.matching != "equal-classes":
        voice.say(Matched(rows=len(prepared.ids), training_rows=contract.program.rows))
    return parts


def _record_membership(contract: Contract, voice: Voice) -> None:
    """Raises: DisclosureRefused unless the node records that who has all records is told whose each is."""
    names = [party.name for party in contract.parties]
    for item in contract.told_before:
        voice.ask(Intent(name=item.name, recipient=recipient(item.recipients, names), values=item.values))


def _standardiser(contract: Contract, chosen: Chosen, runtime: Runtime) -> Standardiser:
    """Of the training rows of all who have the columns. Reveals: their moments, as the contract says."""
    own, program = chosen.standardiser, contract.program
    if own is not None and not contract.division.divided:
        return own
    placed = _placed(program, program, runtime.rank, chosen.values, None, chosen.training)
    moments = joint_moments(program, placed.block, runtime)  # all take part, its owners are told
    if own is not None:
        return own
    encoding = chosen.encoding
    facts = moments.means, moments.deviations, _clip(contract), encoding.may_be_constant
    standardiser = Standardiser.joint(encoding.names, *facts)
    encoding.check_varied(standardiser.used.tolist())
    return standardiser


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
        loss = None if progress.losses is None else float(np.mean(progress.losses))
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


def _outcome(contract: Contract, fit: Fit, standardiser: Standardiser, stages: dict[Stage, float]) -> Outcome:
    return Outcome(
        columns=standardiser.used_names,
        models=tuple(_own_model(contract, model, standardiser) for model in fit.models),
        validated=tuple(Validated(C=C, loss=loss) for C, loss in fit.validated.items()),
        iterations=contract.program.max_iter,
        tol=contract.convergence.tol if contract.convergence else None,
        converged=fit.models[0].converged,
        stages=stages,
    )


def _own_model(contract: Contract, model: Fitted, standardiser: Standardiser) -> OwnModel:
    return OwnModel(
        C=model.C,
        positive=contract.label.told_apart[model.label],
        figures=Figures.of(model.figures),
        standardised=tuple(np.asarray(model.coefficients, dtype=np.float64)[standardiser.used].tolist()),
        original=standardiser.to_original(model.coefficients),
        intercept=model.intercept,
        losses=model.losses,
    )


if __name__ == "__main__":
    live(run)
