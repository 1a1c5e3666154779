"""Personal tokens: an account's own; an administrator's organisation's."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Body, Path, Response
from pydantic import TypeAdapter

from gateway.access.seen_tokens import TokenWanted
from gateway.access.tokens import ID_PATTERN
from gateway.api.conditional import TAGGED, IfNoneMatch, answer
from gateway.api.dependencies import IdempotencyKey, Tokens
from gateway.api.examples import TOKEN, TOKEN_ID, TOKEN_ISSUED, TOKEN_REVOKED, TOKENS_WANTED, merged, shown
from gateway.api.strict import as_json
from gateway.problems import responses
from gateway.storage.token_rows import TokenView
from gateway.views import TokenIssued

TokenId = Annotated[
    str, Path(pattern=ID_PATTERN, description="as the list has it; no part of the secret", examples=[TOKEN_ID])
]

_TOKENS: TypeAdapter[list[TokenView]] = TypeAdapter(list[TokenView])

router = APIRouter(prefix="/v1/tokens", tags=["tokens"])


@router.get("", response_model=list[TokenView], responses=merged(responses("rest.request"), TAGGED, shown([TOKEN])))
async def list_tokens(tokens: Tokens, known: IfNoneMatch = None) -> Response:
    """Your own tokens, as an administrator your organisation's, as the consortium's all; oldest first, no secrets."""
    return answer(_TOKENS.dump_json([record.view() for record in tokens.all()]), known)


@router.post(
    "",
    status_code=HTTPStatus.CREATED,
    responses=merged(
        responses("rest.token", "rest.key-reused", "rest.request", "rest.too-large"),
        shown(TOKEN_ISSUED, HTTPStatus.CREATED),
    ),
)
async def create(
    wanted: Annotated[TokenWanted, as_json(TokenWanted), Body(openapi_examples=TOKENS_WANTED)],
    tokens: Tokens,
    key: IdempotencyKey = None,
) -> TokenIssued:
    """Make a token that may no more, and holds no longer, than yours; its secret is in this answer alone.

    Under one `Idempotency-Key` one is made; a repetition is refused with its id, as its secret is not kept.
    """
    token, record = tokens.make(wanted, key)
    return TokenIssued(token=record.view(), secret=token.reveal())


@router.delete("/{token}", responses=merged(responses("rest.not-found", "rest.request"), shown(TOKEN_REVOKED)))
async def revoke(token: TokenId, tokens: Tokens) -> TokenView:
    """End a token at once, with the logins that were made with it."""
    return tokens.revoke(token).view()
