"""What a session costs, before it runs: in the contract, and derived again by everybody who signs it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, TypeAlias

from pydantic import Field

from mpc.matching_program import Matching
from mpc.prediction_program import Prediction, Runnable
from mpc.program import Fused, MiniBatch
from parties.errors import ContractError
from parties.plan import Frozen

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

    rounds: Count
    bytes_sent: tuple[Count, ...]  # by each party to its peers
    dealer_bytes: Count
    requests: Requests
    memory_bytes: Count  # of the largest process, beside some 350 MB for its libraries
    seconds: Count  # on links of 20 ms and 100 Mbit/s
    most_rounds: Count
    most_bytes_sent: tuple[Count, ...]
    most_requests: Requests

    @property
    def words(self) -> str:
        """On one line, for people."""
        return (
            f"{self.rounds} rounds, {max(self.bytes_sent) / 1e6:.1f} MB from a party, "
            f"{self.dealer_bytes / 1e6:.1f} MB from the dealer in answer to {self.requests.total} requests "
            f"and ahead of them, {self.memory_bytes / 1e6:.0f} MB of memory, "
            f"about {self.seconds} s on links of 20 ms and 100 Mbit/s"
        )


def quote(program: Runnable) -> Quote:
    """Raises: ContractError for a program that no contract has: what the reference engine costs is not declared."""
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
    return Quote(
        rounds=usual.rounds,
        bytes_sent=usual.bytes_sent,
        dealer_bytes=usual.dealer_bytes,
        requests=_requests(program, phases),
        memory_bytes=usual.memory_bytes,
        seconds=math.ceil(seconds(program, usual)),
        most_rounds=max(each.rounds for each in most),
        most_bytes_sent=tuple(max(sent) for sent in zip(*(each.bytes_sent for each in most), strict=True)),
        most_requests=_requests(program, most_phases),
    )


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
    """How long a run takes, about: a party's work, its peers' distance, and the widest stream on the narrowest link."""
    work = found.rounds * ROUND_S + found.dealer_bytes * DEALT_BYTE_S + _computing_s(program)
    return START_S + work + found.rounds * round_trip + max(*found.bytes_sent, found.dealer_bytes) / bytes_a_second


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
