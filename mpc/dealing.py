"""The dealer's side of a session. It learns kinds, shapes and order of tuples, and nothing that they are for.

Two lanes share a party's link. Phases of a fused program run ahead of the parties on the program's schedule, a few
tuples at a time; between them, and in a reference program throughout, a party asks for the tuples that it is to
correct. Which of the two it is, and what is asked for, follows from the program alone: anything else is refused.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mpc import evaluation_layouts
from mpc.agenda import Agenda, Phases
from mpc.channel import Link
from mpc.correlations import correction, expand
from mpc.errors import EngineError, PrivityError, ProtocolError
from mpc.evaluation_layouts import HeldOutMasks
from mpc.fused_program import Fused, MiniBatch, Rung
from mpc.keys import DEALER_KEYS_BYTES, LABELS, TABLE, TOTALS, DealtStreams, Sign, agree_as_dealer, unsigned
from mpc.lanes import ANNOUNCEMENT, CREDIT, EVALUATION, GOODBYE, ORDER, WINDOW, send_words
from mpc.layouts import (
    Arrays,
    Kind,
    Layout,
    Masks,
    corrected,
    label_totals,
    layout,
    opening_items,
    place,
    strip_of,
    tuple_number,
    used,
    values,
)
from mpc.ordering import SEED_BYTES, order
from mpc.partition import Partition
from mpc.prediction_program import Prediction, Runnable
from mpc.randomness import Streams
from mpc.requests import Listed, listed
from mpc.ring import Words
from mpc.symmetric import packed_size
from mpc.validation import told_columns, totals


@dataclass(frozen=True)
class Epoch:
    """One epoch of a session, as its dealer has it."""

    links: Sequence[Link]  # to the parties, by rank
    digest: bytes  # of the contract: it and the epoch's number are bound into every key
    number: int
    names: Sequence[str] = ()  # what errors call the parties
    requests: Listed | None = None  # what these ask for on demand, if not what the program lists
    sign: Sign = unsigned  # of the digest of each party's key


class Dealing:
    """One session's dealer: a thread for each party's link, one lock around what the threads share."""

    def __init__(self, program: Runnable, epoch: Epoch) -> None:
        self._program, self._links, self._world = program, epoch.links, len(epoch.links)
        self._names = epoch.names or [f"party {rank}" for rank in range(self._world)]
        self._agendas = [  # a list may be one that is made as it is read: each party's agenda reads its own
            Agenda(program, epoch.requests or listed(program), rank, name) for rank, name in enumerate(self._names)
        ]
        self._streams = agree_as_dealer(epoch.links, epoch.digest, epoch.number, epoch.sign)
        self._masks = _masks(program, self._streams) if isinstance(program, Fused) else None
        self._held_out = _held_out_masks(program, self._streams) if isinstance(program, Fused) else None
        self._matrices: dict[int, Words] = {}  # masks that tuples build on, by number
        self._order: bytes | None = None  # of mini-batches, as the first party told it
        self._rungs: list[int] = []  # announced, by phase
        self._lock = threading.Lock()
        self._failure: PrivityError | None = None
        self.tuples = 0
        self.bytes_sent = DEALER_KEYS_BYTES * self._world

    def run(self) -> None:
        """Answer until every party has said goodbye. Raises: the first party's failure, after all links are closed."""
        threads = [threading.Thread(target=self._attend, args=(rank,), daemon=True) for rank in range(self._world)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self._failure is not None:
            raise self._failure

    def _attend(self, rank: int) -> None:
        try:
            self._serve(rank)
        except PrivityError as exc:
            self._fail(exc)
        except Exception as exc:  # noqa: BLE001 - a thread's end: whatever it was, nobody must wait for it
            self._fail(EngineError(f"the dealer could not serve {self._names[rank]} ({type(exc).__name__})"))

    def _fail(self, error: PrivityError) -> None:
        """One broken link ends the epoch for all: the masks of the others are no longer of use."""
        with self._lock:
            if self._failure is not None:
                return
            self._failure = error
        for link in self._links:
            link.close()

    def _serve(self, rank: int) -> None:
        agenda = self._agendas[rank]
        phases = agenda.phases
        while phases is not None and agenda.precedes_phases:
            self._answer(rank, self._links[rank].receive())
        if isinstance(self._program, MiniBatch):
            self._take_order(self._program, self._links[rank].receive())
        if phases is not None:
            self._run_ahead(rank, 0, opening_items(phases.program), phases.rung)
            self._run_ahead(rank, 1, phases.items, phases.rung)
        while (message := self._links[rank].receive()) != GOODBYE:
            if phases is not None and message == EVALUATION:
                self._evaluate(rank, phases, agenda.evaluate())
            elif phases is not None and message[:-1] == ANNOUNCEMENT:
                agenda.advance(self._agreed(phases.number, message[len(ANNOUNCEMENT) :]))
                self._run_ahead(rank, phases.number, phases.items, phases.rung)
            else:
                self._answer(rank, message)

    def _take_order(self, program: MiniBatch, message: bytes) -> None:
        """Put the masks' rows in the parties' order. Raises: ProtocolError if parties tell different ones."""
        if not message.startswith(ORDER) or len(message) != len(ORDER) + SEED_BYTES or self._masks is None:
            raise ProtocolError("a party told no order of the rows before its first phase")
        with self._lock:
            if self._order is None:
                self._order = message
                rows = order(message[len(ORDER) :], program.rows)
                self._masks = replace(self._masks, table=self._masks.table[rows])
            if self._order != message:
                raise ProtocolError("parties told different orders of the rows")

    def _evaluate(self, rank: int, phases: Phases, part: int) -> None:
        """One part of the evaluation, ahead of the party."""
        kinds = evaluation_layouts.parts(phases.program)[part]
        self._run_ahead(rank, evaluation_layouts.phase_of(phases.program, part), kinds, phases.rung)

    def _agreed(self, phase: int, announced: bytes) -> int:
        """The next phase's rung. Raises: ProtocolError if parties announce different ones."""
        rung = int.from_bytes(announced, "little")
        with self._lock:
            if len(self._rungs) < phase:
                self._rungs.append(rung)
            if self._rungs[phase - 1] != rung:
                raise ProtocolError("parties announced different rungs of the range ladder")
        return rung

    def _run_ahead(self, rank: int, phase: int, kinds: Sequence[Kind], rung: Rung) -> None:
        """Send the phase's corrections that are this party's, no more than a window ahead of it."""
        numbers = [tuple_number(phase, place) for place in range(len(kinds))]
        mine = [number for number in numbers if corrected(number, self._world) == rank]
        for sent, number in enumerate(mine):
            if sent >= WINDOW:
                self._await_credit(rank)
            self._count(send_words(self._links[rank], self._correct(rank, number, kinds, rung)))
        for _ in mine[-WINDOW:]:
            self._await_credit(rank)

    def _await_credit(self, rank: int) -> None:
        if self._links[rank].receive() != CREDIT:
            raise ProtocolError(f"{self._names[rank]} sent something else where it had a tuple to take")

    def _correct(self, rank: int, number: int, kinds: Sequence[Kind], rung: Rung) -> Words:
        if not isinstance(self._program, Fused) or self._masks is None:
            raise ProtocolError("this program has no phases")
        kind = kinds[place(number)]
        shape = self._layout(self._program, rung, kind)
        matrices = [self._matrix(self._program, each) for each in used(self._program, kinds, number)]
        program, masks = self._program, self._masks

        def found(sums: Arrays) -> Arrays:
            if kind in evaluation_layouts.KINDS:
                return self._evaluation_values(program, kind, place(number), sums)
            strip = strip_of(kinds, number) if kind == "density" else 0
            return values(program, rung, kind, sums, masks, matrices, number, strip)

        return self._corrected(rank, number, shape, found)

    def _corrected(self, rank: int, number: int, shape: Layout, values_of: Callable[[Arrays], Arrays]) -> Words:
        """A tuple's values, which follow from the sums of its parts, less the other parties' shares of them."""
        with self._lock:
            opened = [streams.slots.open(number) for streams in self._streams]
        parts = [shape.expand_parts(stream) for stream in opened]
        row = shape.join(values_of({name: np.add.reduce([each[name] for each in parts]) for name in shape.parts}))
        for other, stream in enumerate(opened):
            if other != rank:  # whose own share is what is sent
                row -= shape.expand_values(stream)
        return row

    @staticmethod
    def _layout(program: Fused, rung: Rung, kind: Kind) -> Layout:
        if kind in evaluation_layouts.KINDS:
            return evaluation_layouts.layout(program, kind)
        return layout(program, rung, kind)

    def _evaluation_values(self, program: Fused, kind: Kind, place: int, sums: Arrays) -> Arrays:
        if self._held_out is None:
            raise ProtocolError("this program evaluates nothing")
        return evaluation_layouts.values(program, kind, place, sums, self._held_out)

    def _matrix(self, program: Fused, number: int) -> Words:
        """The mask under which symmetric matrices were opened whole; later tuples build on it."""
        with self._lock:
            if number not in self._matrices:
                size = (len(program.models), packed_size(program.width))
                drawn = [streams.matrices.open(number).words(size) for streams in self._streams]
                self._matrices[number] = np.add.reduce(drawn)
            return self._matrices[number]

    def _answer(self, rank: int, message: bytes) -> None:
        """The next request of a party, if it is the one that its program lists."""
        number, request = self._agendas[rank].check(message)
        with self._lock:
            shares = [expand(request, each.tuples.open(number), party) for party, each in enumerate(self._streams)]
        reply = number.to_bytes(8, "little") + correction(request, shares, rank).tobytes()
        self._links[rank].send(reply)
        self._count(len(reply))

    def _count(self, sent: int) -> None:
        with self._lock:
            self.tuples += 1
            self.bytes_sent += sent


def _masks(program: Fused, streams: Sequence[DealtStreams]) -> Masks:
    table, labels = block_masks(program, program.width, [each.table for each in streams], program.classes)
    size = program.width, len(totals(program))
    of_totals = np.add.reduce([each.table.open(TOTALS).words(size) for each in streams])
    # Of mini-batches the rows are in another order before this is asked for, and no owner's in their places.
    table_labels = label_totals(program, table, labels) if program.loss_every else np.zeros(0, dtype=np.int64)
    return Masks(table, labels, of_totals, table_labels)


def _held_out_masks(program: Fused, streams: Sequence[DealtStreams]) -> HeldOutMasks | None:
    if program.evaluation is None:
        return None
    held_out = program.evaluation.partition
    table, labels = block_masks(held_out, program.width, [each.held_out for each in streams], program.classes)
    return HeldOutMasks(table, labels[:, told_columns(program)])


def block_masks(partition: Partition, width: int, streams: Sequence[Streams], classes: int) -> tuple[Words, Words]:
    """Expand the masks of a table, block by block, and of its labels; the constant column, last, has none.

    Shapes: -> (rows, width), (rows, classes).
    """
    table = np.zeros((partition.rows, width), dtype=np.int64)
    for number, block in enumerate(partition.blocks):
        table[block.place] = streams[block.owner].open(TABLE + number).words(block.shape)
    labels = np.zeros((partition.rows, classes), dtype=np.int64)
    of_labels = {owner: streams[owner].open(LABELS) for owner in partition.label_owners}
    for part in partition.labels:
        labels[part.place] = of_labels[part.owner].words((part.count, classes))
    return table, labels


def serve(program: Runnable, epoch: Epoch) -> Dealing:
    """Serve one session to its end; the counts are in what is returned."""
    from mpc.prediction_dealing import PredictionDealing  # builds on this module

    dealing = PredictionDealing(program, epoch) if isinstance(program, Prediction) else Dealing(program, epoch)
    dealing.run()
    return dealing
