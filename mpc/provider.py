"""CrypTen's tuple provider, fed by the dealer. The corrected party asks, by number; the others expand in silence.

Which requests follow is known from the program: a few are always on their way, so that only the first of a list is
waited for as long as a message to the dealer and back takes.
"""

from __future__ import annotations

from collections import deque
from typing import Any, ClassVar

import numpy as np
import torch

from mpc.agenda import Agenda
from mpc.channel import Link
from mpc.correlations import OPERATIONS, expand
from mpc.errors import EngineError, ProtocolError
from mpc.keys import SessionKeys
from mpc.lanes import ANNOUNCEMENT, CREDIT, EVALUATION, GOODBYE, ORDER, WINDOW, receive_words
from mpc.layouts import Arrays, Layout, Shape, corrected
from mpc.randomness import Stream, Words
from mpc.requests import Request
from mpc.shim import ArithmeticSharedTensor, BinarySharedTensor, TupleProvider

NAME = "DEALER"


class DealerProvider(TupleProvider):
    """One a party; tuples are numbered in the order in which the program lists them, the same at every party."""

    NAME: ClassVar[str] = NAME

    def __init__(self, rank: int, world: int, dealer: Link, keys: SessionKeys, agenda: Agenda) -> None:
        super().__init__()
        self._rank, self._world, self._dealer, self._keys = rank, world, dealer, keys
        self._agenda = agenda
        self._asked: deque[int] = deque()  # requests whose answers have not been taken yet
        self._next = 0  # no request before this one is still to be asked for

    @property
    def rank(self) -> int:
        return self._rank

    def generate_additive_triple(self, size0: Any, size1: Any, op: str, device: Any = None, **kwargs: Any) -> Any:
        """Shares of a, b and op(a, b). Raises: EngineError for an operation that the dealer does not know."""
        del device
        if op not in OPERATIONS or kwargs:
            raise EngineError(f"the dealer makes triples for {' and '.join(OPERATIONS)} only, not for '{op}'")
        parts, value = self._draw("triple", (size0, size1), op)
        return tuple(_arithmetic(words) for words in (*parts, value))

    def square(self, size: Any, device: Any = None) -> Any:
        """Shares of r and r * r."""
        del device
        (r,), value = self._draw("square", (size,))
        return _arithmetic(r), _arithmetic(value)

    def generate_binary_triple(self, size0: Any, size1: Any, device: Any = None) -> Any:
        """Exclusive-or shares of a, b and a & b."""
        del device
        parts, value = self._draw("binary", (size0, size1))
        return tuple(BinarySharedTensor.from_shares(torch.from_numpy(words)) for words in (*parts, value))

    def wrap_rng(self, size: Any, device: Any = None) -> Any:
        """Shares of r and of the number of wraps in them."""
        del device
        (r,), value = self._draw("wraps", (size,))
        return _arithmetic(r), _arithmetic(value)

    def B2A_rng(self, size: Any, device: Any = None) -> Any:  # noqa: N802
        """Shares of one random bit an element, additive and exclusive-or."""
        del device
        (bits,), value = self._draw("b2a", (size,))
        return _arithmetic(value), BinarySharedTensor.from_shares(torch.from_numpy(bits))

    def crossed(self, one: Shape, other: Shape, owners: tuple[int, int]) -> tuple[list[Words], Words]:
        """A product of two parties' masks: this party's own mask, if it has one, and a share of the product."""
        return self._draw("crossed", (one, other), "matmul", owners)

    def ahead(self, number: int, layout: Layout) -> tuple[Arrays, Arrays]:
        """Parts and shared values of a tuple of the lane that the dealer fills ahead of time."""
        parts, stream = self.begun(number, layout)
        return parts, self.values(number, layout, stream)

    def begun(self, number: int, layout: Layout) -> tuple[Arrays, Stream]:
        """The parts of a tuple whose values are taken later, in the order of numbers, from what is left of a stream."""
        stream = self._keys.dealt.slots.open(number)
        return layout.expand_parts(stream), stream

    def values(self, number: int, layout: Layout, stream: Stream) -> Arrays:
        """This party's shares of a tuple's values."""
        if corrected(number, self._world) != self._rank:
            return layout.split(layout.expand_values(stream))
        row = receive_words(self._dealer, layout.words)
        self._dealer.send(CREDIT)  # sent whatever becomes of the tuple: the dealer learns nothing from it
        return layout.split(row)

    def announce(self, rung: int) -> None:
        """Tell the dealer that another phase begins, and on which rung of the ladder.

        Raises: ProtocolError if the program has none here.
        """
        self._agenda.advance(rung)
        self._dealer.send(ANNOUNCEMENT + rung.to_bytes(1, "little"))

    def tell_order(self, seed: bytes) -> None:
        """Tell the dealer in which order the rows are taken."""
        self._dealer.send(ORDER + seed)

    def announce_evaluation(self) -> None:
        """Tell the dealer that the next part of the evaluation begins. Raises: ProtocolError if there is none."""
        self._agenda.evaluate()
        self._dealer.send(EVALUATION)

    def goodbye(self) -> None:
        """Tell the dealer that this party asks no more."""
        self._dealer.send(GOODBYE)

    def _draw(
        self, kind: Any, sizes: tuple[Any, ...], op: Any = "", owners: tuple[int, ...] = ()
    ) -> tuple[list[Words], Words]:
        request = Request(kind, tuple(tuple(map(int, size)) for size in sizes), op, owners)
        number, due = self._agenda.take()
        if request != due:
            raise ProtocolError(
                f"this party's engine asked for {request} where {due} is request {number}",
                action="all parties and the dealer must run the same version",
            )
        self._ask([(number, due), *self._agenda.ahead(WINDOW * self._world)])
        parts, value = expand(request, self._keys.dealt.tuples.open(number), self._rank)
        if corrected(number, self._world) == self._rank:
            value = self._answer(number, request)
        return parts, value

    def _ask(self, coming: list[tuple[int, Request]]) -> None:
        """Send those of the next requests that are this party's, no more than a window before their answers."""
        for number, request in coming:
            if len(self._asked) == WINDOW:
                return
            if number >= self._next and corrected(number, self._world) == self._rank:
                self._dealer.send(request.encode(number))
                self._asked.append(number)
                self._next = number + 1

    def _answer(self, number: int, request: Request) -> Words:
        reply = self._dealer.receive()
        self._asked.popleft()
        if len(reply) != 8 * (1 + request.words) or int.from_bytes(reply[:8], "little") != number:
            raise ProtocolError(
                f"the dealer's answer to request {number} is not the one asked for",
                action="ask the dealer's operator; the session must be proposed again",
            )
        return np.frombuffer(bytearray(reply[8:]), dtype="<i8").reshape(request.value_shape)


def _arithmetic(words: Words) -> Any:
    return ArithmeticSharedTensor.from_shares(torch.from_numpy(words), precision=0)
