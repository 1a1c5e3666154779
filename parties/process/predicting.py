"""A worker's part of a prediction: new rows prepared as the model's were, scored on shares, told to one party."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mpc.channel import Channel, Link
from mpc.prediction import predict
from mpc.prediction_program import Prediction
from mpc.randomness import Entropy
from mpc.runtime import Runtime
from mpc.transcript import Transcript
from parties.agreement.prediction import PredictionContract
from parties.columns.reading import read_columns
from parties.errors import ContractError, VaultError
from parties.process.job import Matched, ModelPart, PartyJob, Predicted
from parties.process.running import Bound, NodeLedger, Reporter, bound, load, matched_rows
from parties.process.stopwatch import Stopwatch
from parties.process.voice import Speaking


@dataclass(frozen=True)
class NewRows:
    """What this party brings; hidden in print."""

    ids: tuple[str, ...] = field(repr=False)
    values: NDArray[np.float64] = field(repr=False)  # (own rows, own columns), standardised and clipped
    weights: NDArray[np.int64] = field(repr=False)  # a share of all weights, (d, classes)


def new_rows(job: PartyJob, contract: PredictionContract) -> NewRows:
    """Raises: DataError for a column that can't be used; VaultError, ContractError if the model is another."""
    if job.model is None:
        raise VaultError("the node handed out no share of the model", action="see its operational log")
    part = ModelPart.model_validate_json(job.model.get_secret_value())
    columns, table = contract.party(job.name).columns, load(job, contract)
    if part.encoding.sources != columns or part.standardiser.names != part.encoding.names:
        raise ContractError("the model's columns are not the contract's", action="name the columns of the model")
    values = part.encoding.apply(read_columns(table, columns, contract.preparation), table.rows)
    return NewRows(tuple(table.ids), part.standardiser.apply(values), part.weights(contract.program.classes))


def predict_on(
    contract: PredictionContract,
    epoch: int,
    channel: Channel,
    link: Link,
    rows: NewRows,
    voice: Speaking,
    watch: Stopwatch,
    entropy: Entropy,
) -> Transcript:
    """All of a prediction between connections and the last strip; a replay runs it on what was recorded.

    Raises: DataError if the parties' records differ.
    """
    reporter = Reporter(voice, watch, channel.counters)
    reporter.stage("matching")
    wires = bound(contract, epoch, channel, link, voice, entropy)
    chosen = _scored(contract, wires, rows.ids, voice)
    voice.say(Matched(rows=len(rows.ids), training_rows=0))

    def tell(strip: slice, probabilities: NDArray[np.float64]) -> None:
        ids = tuple(rows.ids[row] for row in chosen[strip])
        voice.say(Predicted(ids=ids, probabilities=tuple(map(tuple, probabilities.tolist()))))

    block = _placed(contract.program, wires.channel.rank, rows.values[chosen])
    agreed = NodeLedger(contract, voice), contract.program, bytes.fromhex(contract.digest)
    facts = wires.channel, wires.link, wires.keys, *agreed, reporter.advance, reporter.stage
    with Runtime(*facts, commitments=wires.commitments, entropy=entropy) as runtime:
        predict(contract.program, block, rows.weights, runtime, tell)
        return runtime.transcript


def _scored(contract: PredictionContract, wires: Bound, ids: tuple[str, ...], voice: Speaking) -> NDArray[np.int64]:
    """Which of this party's rows are scored, in the order of the joint table's. Shapes: -> (rows,).

    Raises: DataError if the parties' records do not fit; DisclosureRefused if the node does not record the matching.
    """
    parts = matched_rows(contract, wires, ids, voice)
    held = zip(contract.division.parts_of(wires.channel.rank), parts, strict=True)
    none = np.empty(0, dtype=np.int64)
    return np.concatenate([none, *(rows for part, rows in held if part in contract.scored)])


def _placed(program: Prediction, rank: int, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Own rows at their places in the joint table, zeros elsewhere. Shapes: (own rows, d) -> (rows, d)."""
    block = np.zeros((program.rows, len(program.held(rank))))
    for place in program.places(rank):
        block[place] = values
    return block
