"""Plans: what one would cost, before anybody is asked to sign."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body

from gateway.api.dependencies import Coordinator
from gateway.api.examples import ESTIMATE, ESTIMATES, merged, shown
from gateway.api.strict import as_json
from gateway.planning.estimate import Estimate, EstimateAsked
from gateway.problems import responses

router = APIRouter(tags=["plans"])


@router.post("/v1/plans:estimate", responses=merged(responses("plan", "rest.too-large"), shown(ESTIMATE)))
async def estimate(
    asked: Annotated[EstimateAsked, as_json(EstimateAsked), Body(openapi_examples=ESTIMATES)], sessions: Coordinator
) -> Estimate:
    """What a contract of this plan would quote, and its time on a link; nothing is proposed, stored or sent."""
    return sessions.estimate(asked.plan, asked.link)
