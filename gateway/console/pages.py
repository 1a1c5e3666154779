"""All of the console's pages."""

from __future__ import annotations

from fastapi import APIRouter

from gateway.console import audit, files, participants, proposal, report, sessions, tokens

router = APIRouter(include_in_schema=False)
for each in (sessions, proposal, participants, audit, tokens, report, files):
    router.include_router(each.router)
