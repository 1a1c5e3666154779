"""What a plan would cost, for whoever has not proposed it yet: the quote of its contract, and the time on given links.

The contract that it is the quote of is thrown away: nothing is stored, recorded or sent.
"""

from __future__ import annotations

import math
from typing import Annotated, NamedTuple

from pydantic import Field, ValidationError

from mpc.fused_program import Fused
from mpc.matching_program import Matching
from mpc.prediction_program import Prediction
from parties.agreement.kinds import AnyContract, AnyPlan, Kind
from parties.agreement.plan import Frozen, explain
from parties.agreement.quote import BYTES_A_SECOND, ROUND_TRIP_S, Quote, seconds
from parties.errors import ContractError, SettingsError

BITS_OF_MBIT = 1e6
LEAST_MBIT_S, MOST_MBIT_S = 1e-3, 1e6


class Measured(NamedTuple):
    """The slowest of what participants' kernels measured of their connections, as far as they did."""

    round_trip_us: int | None = None
    bytes_a_second: int | None = None


class Link(Frozen):
    """What lies between two participants; the defaults are those of every contract's quote.

    Of a link that is asked about, what is left out is taken as it was measured, if it was.
    """

    round_trip_ms: Annotated[float, Field(ge=0, le=60_000, allow_inf_nan=False)] = ROUND_TRIP_S * 1e3
    mbit_s: Annotated[float, Field(ge=LEAST_MBIT_S, le=MOST_MBIT_S, allow_inf_nan=False)] = (
        BYTES_A_SECOND * 8 / BITS_OF_MBIT
    )


class EstimateAsked(Frozen):
    """A plan, and the slowest link between its participants, as far as it is another than was measured."""

    plan: AnyPlan
    link: Link = Link()


class Estimate(Frozen):
    """What the contract would say, and what it would take on the link that was asked about."""

    kind: Kind
    parties: tuple[str, ...]  # in the order of the quote's bytes
    quote: Quote
    link: Link
    measured: tuple[str, ...] = ()  # what of the link the participants' kernels measured
    seconds: int

    @property
    def lines(self) -> list[str]:
        """For people."""
        found = self.quote
        sent = ", ".join(f"{name} {count:,}" for name, count in zip(self.parties, found.bytes_sent, strict=True))
        round_trip, rate = (" (measured)" if field in self.measured else "" for field in ("round_trip_ms", "mbit_s"))
        link = f"{self.link.round_trip_ms:.3g} ms{round_trip} and {self.link.mbit_s:.3g} Mbit/s{rate}"
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

    def _repr_html_(self) -> str:
        from gateway.notebook import estimate_html

        return estimate_html(self)


def link_of(round_trip_ms: float | None, mbit_s: float | None) -> Link:
    """Of what is given. Raises: SettingsError if there is no such link."""
    asked = {"round_trip_ms": round_trip_ms, "mbit_s": mbit_s}
    try:
        return Link.model_validate({name: value for name, value in asked.items() if value is not None})
    except ValidationError as exc:
        raise SettingsError(f"there is no such link: {explain(exc)}", action="mend the option") from exc


def estimate(contract: AnyContract, asked: Link, measured: Measured) -> Estimate:
    """Raises: ContractError for a program whose costs are not declared; no plan has one."""
    round_trip_us, bytes_a_second = measured
    known: dict[str, float] = {}
    if round_trip_us is not None and "round_trip_ms" not in asked.model_fields_set:
        known["round_trip_ms"] = round_trip_us / 1e3
    if bytes_a_second is not None and "mbit_s" not in asked.model_fields_set:
        known["mbit_s"] = min(MOST_MBIT_S, max(LEAST_MBIT_S, bytes_a_second * 8 / BITS_OF_MBIT))
    link = asked.model_copy(update=known)
    return Estimate(
        kind=contract.kind,
        parties=tuple(party.name for party in contract.parties),
        quote=contract.quote,
        link=link,
        measured=tuple(known),
        seconds=math.ceil(_seconds(contract, link)),
    )


def _seconds(contract: AnyContract, link: Link) -> float:
    program, quote = contract.program, contract.quote
    if not isinstance(program, Fused | Prediction | Matching):
        raise ContractError("there is no quote of the reference engine", action="it is for tests alone")
    from mpc import costs  # which loads numpy: a client that only reads estimates needs none

    cost = costs.Quote(quote.rounds, quote.bytes_sent, quote.dealer_bytes, quote.memory_bytes)
    round_trip_s, bytes_a_second = link.round_trip_ms / 1e3, link.mbit_s * BITS_OF_MBIT / 8
    facts = {"round_trip": round_trip_s, "bytes_a_second": bytes_a_second}
    return seconds(program, cost, **facts)
