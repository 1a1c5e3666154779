"""One party's part of one session, as a process of its own: started by the node with exec, gone when the session ends.

It holds no identity key and no vault key; it reads one data set with the key that it was given, speaks to its peers and
the dealer, and asks the node before each disclosure.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray

from mpc.channel import Channel, Link
from mpc.device import resolved
from mpc.fused_program import Fused
from mpc.held_out import OwnRows
from mpc.moments import joint_means, joint_moments
from mpc.partition import Partition
from mpc.program import Program
from mpc.quantiles import joint_quantiles
from mpc.randomness import Entropy
from mpc.runtime import Runtime
from mpc.stages import Stage
from mpc.training import Fit, Fitted, train
from mpc.transcript import Transcript
from parties.agreement.contract import LEVELS, Contract
from parties.agreement.kinds import parse_contract, training
from parties.agreement.plan import LabelPlan
from parties.agreement.prediction import PredictionContract
from parties.columns.encoding import Agreed, Encoding, ReadColumn, winsorised
from parties.columns.levels import Lists
from parties.columns.preparation import Rows, Standardiser, split
from parties.columns.reading import read_columns
from parties.data.tables import CLASSES, classes, labels
from parties.errors import ContractError, DataError
from parties.process.agreeing import agree_on_levels
from parties.process.job import DealerJob, Matched, ModelPart, Outcome, OwnModel, PartyJob
from parties.process.matching import compare_classes
from parties.process.predicting import new_rows, predict_on
from parties.process.recording import recorded
from parties.process.running import Bound, NodeLedger, Reporter, account, bound, connected, load, matched_rows
from parties.process.stopwatch import Stopwatch
from parties.process.voice import Speaking, Voice, live
from parties.process.weighing import Told, weighed
from parties.service.messages import Figures, ToldModel, Validated


@dataclass(frozen=True)
class Prepared:
    """This party's rows as numbers; hidden in print."""

    ids: tuple[str, ...] = field(repr=False)
    columns: tuple[ReadColumn, ...] = field(repr=False)  # of own rows; none once they are encoded
    labels: NDArray[np.int64] | None = field(repr=False)  # of own rows, where the party holds them
    classes: tuple[str, ...] | None = field(repr=False)  # of the label, where the party holds it
    chosen: Chosen | None = field(repr=False)  # None until the others tell what it takes beside own rows
    encoded: Encoded | None = field(default=None, repr=False)  # None until all that takes was told


@dataclass(frozen=True)
class Chosen:
    """What this party trains on, and what the model is then evaluated on, part after part; hidden in print."""

    training: NDArray[np.int64] = field(repr=False)  # which own rows are trained on
    held_out: NDArray[np.int64] = field(repr=False)  # and which are not
    encoding: Encoding = field(repr=False)


@dataclass(frozen=True)
class Encoded:
    """This party's columns as numbers, not standardised; hidden in print."""

    encoding: Encoding = field(repr=False)
    values: NDArray[np.float64] = field(repr=False)  # (own rows, width)
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
    joint = contract.agreed_columns(rank) or contract.ranked_columns(rank) or contract.averaged_columns(rank)
    if joint or len(division.parts_of(rank)) > 1:
        return prepared
    return _chosen(contract, rank, prepared, divide(contract, prepared, (np.arange(table.rows),)), {})


def _chosen(
    contract: Contract, rank: int, prepared: Prepared, divided: tuple[Rows, Rows], agreed: Mapping[str, Agreed]
) -> Prepared:
    """The same with what is trained on, encoded unless that takes what others have. Raises: DataError."""
    chosen = choose(contract, prepared, divided, agreed)
    if not chosen.encoding.is_complete:
        return replace(prepared, chosen=chosen)
    encoded = encode(contract, rank, prepared.columns, chosen, chosen.encoding)
    return replace(prepared, columns=(), chosen=chosen, encoded=encoded)  # what was read is not needed a second time


def divide(contract: Contract, prepared: Prepared, parts: Sequence[Rows]) -> tuple[Rows, Rows]:
    """Hold out rows of each part, by the same rule wherever its records are.

    Shapes: each part, which of the party's rows are of it -> training and held-out rows of the party's.
    """
    key, held_out = contract.split_key, contract.split.held_out
    sides = [split([prepared.ids[row] for row in part], key, held_out) for part in parts]
    training, others = (
        np.concatenate([part[side[which]] for part, side in zip(parts, sides, strict=True)]) for which in (0, 1)
    )
    return training, others


def choose(contract: Contract, prepared: Prepared, divided: tuple[Rows, Rows], agreed: Mapping[str, Agreed]) -> Chosen:
    """Fit what rows can be encoded by: `agreed` has what was found of columns that others have as well.

    Raises: DataError for a column without a value to fit by, or as `check_trained_classes`.
    """
    if prepared.labels is not None and len(contract.label.holders) == 1:
        check_trained_classes(contract.label, prepared.labels[divided[0]])
    return Chosen(*divided, Encoding.fit(contract.preparation, prepared.columns, divided[0], agreed))


def check_trained_classes(label: LabelPlan, labels: NDArray[np.int64]) -> None:
    """Raises: DataError unless the training rows have every class; others are told no more than that they don't suit.

    Asked of who holds all labels alone: where there are several, what one's rows lack another's may have.
    """
    if len(np.unique(labels)) < max(CLASSES, len(label.told_apart)):
        raise DataError(
            f"a class of the label '{label.column}' has no training row: all of its rows are held out or not matched",
            action="bring more rows of each class, or hold out fewer",
            outward=f"the training rows can't be told apart by the label '{label.column}'",
        )


def encode(contract: Contract, rank: int, columns: Sequence[ReadColumn], chosen: Chosen, encoding: Encoding) -> Encoded:
    """Raises: DataError for a column that does not vary."""
    values = encoding.apply(columns, len(chosen.training) + len(chosen.held_out))
    if contract.division.is_divided(rank):
        return Encoded(encoding, values, None)
    facts = encoding.names, _clip(contract), encoding.may_be_constant
    standardiser = Standardiser.fit(values[chosen.training], *facts)
    encoding.check_varied(standardiser.used.tolist())
    return Encoded(encoding, values, standardiser)


def _clip(contract: Contract) -> float:
    return float(1 << contract.preparation.clip_bits)


def run(job: PartyJob | DealerJob, voice: Voice) -> None:
    """The session from data to result. Raises: ContractError if the job is a dealer's."""
    if not isinstance(job, PartyJob):
        raise ContractError("a dealer's job came to a party's worker")
    contract = parse_contract(job.contract.encode())
    if isinstance(contract, PredictionContract):
        _predict(job, contract, voice)
    else:
        _train(job, training(contract), voice)


def _predict(job: PartyJob, contract: PredictionContract, voice: Voice) -> None:
    rows = new_rows(job, contract)
    with connected(job, contract) as (channel, link), recorded(job) as tape:
        started, watch = time.monotonic(), Stopwatch()
        wires = tape.wires(channel, link)
        transcript = predict_on(contract, job.epoch, *wires, rows, voice, watch, tape.entropy)
        channel.finish()
        done = account(transcript, channel, link, started, watch)
        voice.say(done.model_copy(update={"tape": tape.finish()}))


def _train(job: PartyJob, contract: Contract, voice: Voice) -> None:
    device = resolved(job.device)
    prepared = prepare(job, contract)
    with connected(job, contract) as (channel, link), recorded(job) as tape:
        started, watch = time.monotonic(), Stopwatch()
        wires = tape.wires(channel, link)
        trained = train_on(contract, job.epoch, *wires, prepared, voice, watch, tape.entropy, device)
        channel.finish()
        done = account(trained.transcript, channel, link, started, watch)
        done = done.model_copy(update={"tape": tape.finish()})
        outcome = _outcome(contract, trained, done.stages)
        found = {
            "outcome": outcome,
            "models": tuple(ToldModel(C=one.C, positive=one.positive, figures=one.figures) for one in outcome.models),
            "validated": outcome.validated,
            "information_values": outcome.information_values,
            "converged": outcome.converged,
            "model": trained.model if contract.retention.model_days > 0 else None,
        }
        voice.say(done.model_copy(update=found))


@dataclass(frozen=True)
class Trained:
    """What a run left at this party; hidden in print."""

    fit: Fit = field(repr=False)
    encoding: Encoding = field(repr=False)
    standardiser: Standardiser = field(repr=False)
    told: Told = field(repr=False)  # of columns that are weighed by the label
    transcript: Transcript

    @property
    def model(self) -> ModelPart | None:
        """This party's part of the model, if there is a share of it."""
        return None if self.fit.share is None else ModelPart.of(self.encoding, self.standardiser, self.fit.share)


def train_on(
    contract: Contract,
    epoch: int,
    channel: Channel,
    link: Link,
    prepared: Prepared,
    voice: Speaking,
    watch: Stopwatch,
    entropy: Entropy,
    device: torch.device,
) -> Trained:
    """All of a training between connections and result; a replay runs it on what was recorded."""
    reporter = Reporter(voice, watch, channel.counters)
    reporter.stage("matching")
    wires = bound(contract, epoch, channel, link, voice, entropy)
    parts = _match(contract, wires, prepared, voice)
    reporter.stage("preparation")
    divided = _divided(contract, prepared, parts)
    if contract.discloses(LEVELS):
        wires.commitments.commit()
    levels = agree_on_levels(contract, wires.channel, wires.keys, prepared.columns, divided[0], voice)
    agreed = NodeLedger(contract, voice), contract.program, bytes.fromhex(contract.digest)
    facts = wires.channel, wires.link, wires.keys, *agreed, reporter.advance, reporter.stage
    with Runtime(*facts, device=device, commitments=wires.commitments, entropy=entropy) as runtime:
        prepared = _agreed(contract, prepared, divided, levels, runtime)
        chosen, encoded, told = _weighed(contract, prepared, runtime)
        standardiser = _standardiser(contract, chosen, encoded, runtime)
        X, program = standardiser.apply(encoded.values), contract.program
        training = _placed(program, program, runtime.rank, X, prepared.labels, chosen.training)
        held_out = None
        if isinstance(program, Fused) and program.evaluation is not None:
            partition = program.evaluation.partition
            held_out = _placed(program, partition, runtime.rank, X, prepared.labels, chosen.held_out)
        fit = train(program, training.block, training.labels, runtime, held_out)
        return Trained(fit, encoded.encoding, standardiser, told, runtime.transcript)


def _divided(contract: Contract, prepared: Prepared, parts: Sequence[Rows]) -> tuple[Rows, Rows]:
    chosen = prepared.chosen
    return (chosen.training, chosen.held_out) if chosen else divide(contract, prepared, parts)


def _agreed(
    contract: Contract, prepared: Prepared, divided: tuple[Rows, Rows], levels: Lists, runtime: Runtime
) -> Prepared:
    """The same with what is trained on, once those who share columns found their quantiles and means. All take part."""
    program, rank = contract.program, runtime.rank
    ranked, averaged = contract.ranked_columns(rank), contract.averaged_columns(rank)
    columns = {column.name: column for column in prepared.columns}
    present = {name: columns[name].take(divided[0]).present for name in {*ranked.values(), *averaged.values()}}
    check_values(contract, {name: len(present[name]) for name in averaged.values()})
    own = {place: present[name] for place, name in ranked.items()}
    told = joint_quantiles(program, own, runtime) if isinstance(program, Fused) else {}
    agreed = {name: Agreed(levels=each) for name, each in levels.items()}
    agreed |= {name: Agreed(quantiles=told[place]) for place, name in ranked.items()}
    within = {
        place: winsorised(contract.preparation.of(name), present[name], agreed.get(name, Agreed()))
        for place, name in averaged.items()
    }
    means = joint_means(program, within, runtime) if isinstance(program, Fused) else {}
    agreed |= {name: replace(agreed.get(name, Agreed()), mean=means[place]) for place, name in averaged.items()}
    if prepared.chosen is not None:
        return prepared
    return _chosen(contract, rank, prepared, divided, agreed)


def check_values(contract: Contract, present: Mapping[str, int]) -> None:
    """Raises: DataError if a part of a joint mean would be of fewer own training rows than its smallest bin.

    A part of no value tells of none.
    """
    smallest = contract.preparation.smallest_bin
    for name, count in present.items():
        if 0 < count < smallest:
            raise DataError(
                f"column '{name}' has a value in {count} training rows, and a joint mean is of {smallest} at least",
                action="fill its gaps with a constant, or bring more rows that have it",
                outward=f"of a column that is filled with the mean fewer than {smallest} training rows have a value",
            )


def _weighed(contract: Contract, prepared: Prepared, runtime: Runtime) -> tuple[Chosen, Encoded, Told]:
    """Own columns as numbers, once their owner was told what that takes. All take part."""
    if (chosen := prepared.chosen) is None:
        raise ContractError("rows can't be weighed before it is known which of them are trained on")
    told = weighed(contract, chosen.encoding, prepared.columns, chosen.training, prepared.labels, runtime)
    encoded = prepared.encoded or encode(contract, runtime.rank, prepared.columns, chosen, told.encoding)
    return chosen, encoded, told


def _match(contract: Contract, wires: Bound, prepared: Prepared, voice: Speaking) -> tuple[Rows, ...]:
    """Which of this party's rows are of which part of the table.

    Raises: DataError if the parties' records, or the classes of their labels, are not the same.
    """
    if prepared.classes is not None:
        compare_classes(wires.channel, wires.keys, prepared.classes, contract)
    parts = matched_rows(contract, wires, prepared.ids, voice)
    if contract.matching != "equal-classes":
        voice.say(Matched(rows=len(prepared.ids), training_rows=contract.program.rows))
    return parts


def _standardiser(contract: Contract, chosen: Chosen, encoded: Encoded, runtime: Runtime) -> Standardiser:
    """Of the training rows of all who have the columns. Reveals: their moments, as the contract says."""
    own, program = encoded.standardiser, contract.program
    if own is not None and not contract.division.divided:
        return own
    placed = _placed(program, program, runtime.rank, encoded.values, None, chosen.training)
    moments = joint_moments(program, placed.block, runtime)  # all take part, its owners are told
    if own is not None:
        return own
    encoding = encoded.encoding
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


def _outcome(contract: Contract, trained: Trained, stages: dict[Stage, float]) -> Outcome:
    fit, standardiser = trained.fit, trained.standardiser
    return Outcome(
        evidence=trained.told.evidence,
        information_values=trained.told.information_values,
        columns=standardiser.used_names,
        models=tuple(_own_model(contract, model, standardiser) for model in fit.models),
        validated=tuple(Validated(C=C, loss=loss) for C, loss in fit.validated.items()),
        rungs=fit.rungs,
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
