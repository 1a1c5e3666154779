"""The dealer's side of a prediction: two parts, each ahead of a party that announced it, and comparisons on demand."""

from __future__ import annotations

from collections.abc import Sequence

from mpc import prediction_layouts
from mpc.dealing import Dealing, Epoch, block_masks
from mpc.fused_program import Rung
from mpc.lanes import EVALUATION, GOODBYE
from mpc.layouts import Kind, place
from mpc.prediction_program import Prediction
from mpc.ring import Words


class PredictionDealing(Dealing):
    """One prediction's dealer."""

    def __init__(self, program: Prediction, epoch: Epoch) -> None:
        super().__init__(program, epoch)
        self._prediction = program
        self._table, _ = block_masks(program, program.width, [each.table for each in self._streams], 0)

    def _serve(self, rank: int) -> None:
        parts, agenda = prediction_layouts.parts(self._prediction), self._agendas[rank]
        while (message := self._links[rank].receive()) != GOODBYE:
            if message == EVALUATION:
                part = agenda.evaluate()
                self._run_ahead(rank, part, parts[part], self._prediction.rung)
            else:
                self._answer(rank, message)

    def _correct(self, rank: int, number: int, kinds: Sequence[Kind], rung: Rung) -> Words:
        program, kind = self._prediction, kinds[place(number)]
        shape = prediction_layouts.layout(program, kind)
        return self._corrected(
            rank, number, shape, lambda sums: prediction_layouts.values(program, kind, sums, self._table)
        )
