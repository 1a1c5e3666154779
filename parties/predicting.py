"""A worker's part of a prediction: new rows prepared as the model's were, scored on shares, told to one party."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mpc.channel import Channel, Link
from mpc.disclosure import Ledger
from mpc.keys import agree
from mpc.prediction import predict
from mpc.program import Stage
from mpc.runtime import Progress, Runtime
from mpc.transcript import Transcript
from parties.errors import ContractError, VaultError
from parties.job import Matched, ModelPart, PartyJob, Predicted
from parties.matching import compare_ids
from parties.prediction import PredictionContract
from parties.reading import read_columns
from parties.tables import Table
from parties.voice import Voice


@dataclass(frozen=True)
class NewRows:
    """What this party brings; hidden in print."""

    ids: tuple[str, ...] = field(repr=False)
    block: NDArray[np.float64] = field(repr=False)  # (rows, own columns), standardised and clipped
    weights: NDArray[np.int64] = field(repr=False)  # a share of all weights, (d, classes)


def new_rows(job: PartyJob, contract: PredictionContract, table: Table) -> NewRows:
    """Raises: DataError for a column that can't be used; VaultError, ContractError if the model is another."""
    if job.model is None:
        raise VaultError("the node handed out no share of the model", action="see its operational log")
    part = ModelPart.model_validate_json(job.model.get_secret_value())
    columns = contract.party(job.name).columns
    if part.encoding.sources != columns or part.standardiser.names != part.encoding.names:
        raise ContractError("the model's columns are not the contract's", action="name the columns of the model")
    values = part.encoding.apply(read_columns(table, columns, contract.preparation), table.rows)
    return NewRows(tuple(table.ids), part.standardiser.apply(values), part.weights(contract.program.classes))


def run(
    contract: PredictionContract,
    epoch: int,
    channel: Channel,
    link: Link,
    rows: NewRows,
    ledger: Ledger,
    voice: Voice,
    report: Callable[[Progress], None],
    stage: Callable[[Stage], None],
) -> Transcript:
    """The session from keys to the last strip of probabilities. Raises: DataError if the parties' records differ."""
    digest = bytes.fromhex(contract.digest)
    stage("matching")
    keys = agree(channel, link, digest, epoch)
    compare_ids(channel, keys, rows.ids, contract)
    voice.say(Matched(rows=len(rows.ids), training_rows=0))

    def tell(strip: slice, probabilities: NDArray[np.float64]) -> None:
        voice.say(Predicted(ids=rows.ids[strip], probabilities=tuple(map(tuple, probabilities.tolist()))))

    with Runtime(channel, link, keys, ledger, contract.program, digest, report, stage) as runtime:
        predict(contract.program, rows.block, rows.weights, runtime, tell)
        return runtime.transcript
