"""What a session costs, before it runs: in the contract, and derived again by everybody who signs it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, TypeAlias

from pydantic import Field
from rich.filesize import decimal

from mpc.fused_program import Fused, MiniBatch
from mpc.matching_program import Matching
from mpc.prediction_program import Prediction, Runnable
from parties.agreement import joining
from parties.agreement.joining import Costs
from parties.agreement.plan import Frozen
from parties.errors import ContractError

if TYPE_CHECKING:
    from mpc import costs

# What time is made of, from benchmarks/results.json: its runs take between half and twice what this says of them.
START_S = 3.0  # processes, libraries, keys
ROUND_S = 150e-6  # a party's own work in a round
DEALT_BYTE_S = 6e-9  # making it and using it
PRODUCT_S = 2.3e-9  # an entry of the table times a word
# Links between organisations, where nobody has measured them.
ROUND_TRIP_S = 20e-3
BYTES_A_SECOND = 12.5e6

Count = Annotated[int, Field(ge=0)]
Quoted: TypeAlias = Fused | Prediction | Matching


class Requests(Frozen):
    """How many tuples parties ask the dealer for one by one, by kind; in which shapes and order, the program says."""

    triple: Count  # products
    binary: Count  # steps of comparisons
    b2a: Count  # their signs

    @property
    def total(self) -> int:
        return self.triple + self.binary + self.b2a


class Quote(Frozen):
    """Of a run that stays on the ladder's first rung; the most of one that climbs it to the end."""

    rounds: Count  # of the party that has most
    bytes_sent: tuple[Count, ...]  # by each party to its peers
    dealer_bytes: Count
    requests: Requests
    memory_bytes: Count  # of the largest process, beside some 350 MB for its libraries
    seconds: Count  # on links of 20 ms and 100 Mbit/s
    most_rounds: Count
    most_bytes_sent: tuple[Count, ...]
    most_requests: Requests

    @property
    def recorded_bytes(self) -> int:
        """About what comes in at a party, and would be recorded for a replay."""
        return max(self.most_bytes_sent) + self.dealer_bytes // len(self.bytes_sent)

    @property
    def words(self) -> str:
        """On one line, for people."""
        return (
            f"{self.rounds} rounds, {decimal(max(self.bytes_sent))} from a party, "
            f"{decimal(self.dealer_bytes)} from the dealer in answer to {self.requests.total} requests "
            f"and ahead of them, {decimal(self.memory_bytes)} of memory, "
            f"about {self.seconds} s on links of 20 ms and 100 Mbit/s"
        )


def quote(program: Runnable, beside: Costs = ()) -> Quote:
    """Of a run of the program, and of what parties send each other beside it.

    Raises: ContractError for a program that no contract has: what the reference engine costs is not declared.
    """
    from mpc import costs, prediction_costs  # which load numpy: a client that only reads contracts needs none

    if isinstance(program, Matching):
        from parties.psi import costs as matching_costs

        usual, phases, most_phases = matching_costs.quote(program), 0, 0
        most = [usual]
    elif isinstance(program, Prediction):
        usual, phases, most_phases = prediction_costs.quote(program), 0, 0
        most = [usual]  # scores are clamped: there is no ladder
    elif isinstance(program, Fused):
        usual, most = costs.quote(program), [costs.quote(program, rungs) for rungs in _climbs(program)]
        phases, most_phases = len(program.segments), program.phases
    else:
        raise ContractError("there is no quote of the reference engine", action="refuse; it is for tests alone")
    more = joining.total(joining.goodbye(len(usual.bytes_sent)), *([beside] if beside else []))
    requests = _requests(program, phases)
    usual, most = _with(usual, more), [_with(each, more) for each in most]
    return Quote(
        rounds=usual.rounds,
        bytes_sent=usual.bytes_sent,
        dealer_bytes=usual.dealer_bytes,
        requests=requests,
        memory_bytes=usual.memory_bytes,
        seconds=math.ceil(seconds(program, usual)),
        most_rounds=max(each.rounds for each in most),
        most_bytes_sent=tuple(max(sent) for sent in zip(*(each.bytes_sent for each in most), strict=True)),
        most_requests=_requests(program, most_phases),
    )


def _with(program: costs.Quote, beside: Costs) -> costs.Quote:
    sent = tuple(own + more.bytes_sent for own, more in zip(program.bytes_sent, beside, strict=True))
    return replace(program, rounds=program.rounds + max(more.rounds for more in beside), bytes_sent=sent)


def _requests(program: Quoted, phases: int) -> Requests:
    from mpc.requests import counts

    found = counts(program, phases)
    return Requests(triple=found["triple"], binary=found["binary"], b2a=found["b2a"])


def seconds(
    program: Quoted,
    found: costs.Quote,
    *,
    round_trip: float = ROUND_TRIP_S,
    bytes_a_second: float = BYTES_A_SECOND,
) -> float:
    """How long a run takes, about: a party's work, its peers' distance, and the widest stream on the narrowest link.

    In a round all send at once: it takes half a round trip. The dealer is waited for where something begins.
    """
    from mpc.requests import waits

    work = found.rounds * ROUND_S + found.dealer_bytes * DEALT_BYTE_S + _computing_s(program)
    waited = (found.rounds / 2 + waits(program)) * round_trip
    return START_S + work + waited + max(*found.bytes_sent, found.dealer_bytes) / bytes_a_second


def _computing_s(program: Quoted) -> float:
    if isinstance(program, Matching):
        from parties.psi import costs as matching_costs

        return matching_costs.work_s(program)
    return _products(program) * PRODUCT_S


def _products(program: Fused | Prediction) -> int:
    """Entries of the table times words."""
    once = program.width * program.rows
    if isinstance(program, Prediction):
        return once
    iterations = 2 * program.width * program.gradient_rows * program.max_iter
    return iterations if isinstance(program, MiniBatch) else iterations + once


def _climbs(program: Fused) -> list[list[int]]:
    """The rungs of each run that climbs from the first to the last within one segment."""
    last, segments = len(program.ladder) - 1, len(program.segments)
    return [[0] * before + list(range(last + 1)) + [last] * (segments - before - 1) for before in range(segments)]
