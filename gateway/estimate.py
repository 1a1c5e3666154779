"""What a plan would cost, for whoever has not proposed it yet: the quote of its contract, and the time on given links.

The contract that it is the quote of is thrown away: nothing is stored, recorded or sent.
"""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import Field, ValidationError

from mpc.matching_program import Matching
from mpc.prediction_program import Prediction
from mpc.program import Fused
from parties.errors import ContractError, SettingsError
from parties.kinds import AnyContract, AnyPlan, Kind
from parties.plan import Frozen, explain
from parties.quote import BYTES_A_SECOND, ROUND_TRIP_S, Quote, seconds

BITS_OF_MBIT = 1e6


class Link(Frozen):
    """What lies between two participants; the defaults are those of every contract's quote."""

    round_trip_ms: Annotated[float, Field(ge=0, le=60_000, allow_inf_nan=False)] = ROUND_TRIP_S * 1e3
    mbit_s: Annotated[float, Field(ge=0.001, le=1e6, allow_inf_nan=False)] = BYTES_A_SECOND * 8 / BITS_OF_MBIT


class EstimateAsked(Frozen):
    """A plan, and the slowest link between its participants."""

    plan: AnyPlan
    link: Link = Link()


class Estimate(Frozen):
    """What the contract would say, and what it would take on the link that was asked about."""

    kind: Kind
    parties: tuple[str, ...]  # in the order of the quote's bytes
    quote: Quote
    link: Link
    seconds: int

    @property
    def lines(self) -> list[str]:
        """For people."""
        found = self.quote
        sent = ", ".join(f"{name} {count:,}" for name, count in zip(self.parties, found.bytes_sent, strict=True))
        link = f"{self.link.round_trip_ms:g} ms and {self.link.mbit_s:g} Mbit/s"
        lines = [
            f"rounds: {found.rounds:,}",
            f"bytes sent: {sent}",
            f"bytes of the dealer: {found.dealer_bytes:,}, in answer to {found.requests.total:,} requests and ahead",
            f"memory of the largest process: {found.memory_bytes:,} bytes, beside its libraries",
            f"seconds: about {self.seconds:,} on links of {link}",
        ]
        if found.most_rounds > found.rounds:
            lines.append(f"at most, if values leave the first range: {found.most_rounds:,} rounds")
        return lines


def link_of(round_trip_ms: float, mbit_s: float) -> Link:
    """Raises: SettingsError if there is no such link."""
    try:
        return Link(round_trip_ms=round_trip_ms, mbit_s=mbit_s)
    except ValidationError as exc:
        raise SettingsError(f"there is no such link: {explain(exc)}", action="mend the option") from exc


def estimate(contract: AnyContract, link: Link) -> Estimate:
    """Raises: ContractError for a program whose costs are not declared; no plan has one."""
    return Estimate(
        kind=contract.kind,
        parties=tuple(party.name for party in contract.parties),
        quote=contract.quote,
        link=link,
        seconds=math.ceil(_seconds(contract, link)),
    )


def _seconds(contract: AnyContract, link: Link) -> float:
    program, quote = contract.program, contract.quote
    if not isinstance(program, Fused | Prediction | Matching):
        raise ContractError("there is no quote of the reference engine", action="it is for tests alone")
    from mpc import costs  # which loads numpy: a client that only reads estimates needs none

    cost = costs.Quote(quote.rounds, quote.bytes_sent, quote.dealer_bytes, quote.memory_bytes)
    round_trip_s, bytes_a_second = link.round_trip_ms / 1e3, link.mbit_s * BITS_OF_MBIT / 8
    return seconds(program, cost, round_trip=round_trip_s, bytes_a_second=bytes_a_second)
