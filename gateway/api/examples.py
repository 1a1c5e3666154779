"""Examples in the OpenAPI description; a test validates each against its model."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any, TypeAlias

from fastapi.openapi.models import Example

Declared: TypeAlias = dict[int | str, dict[str, Any]]

SESSION_ID = "1c2f9b0e5d7a4c3b8e6f0a9d2c4b7e1f3a5d8c0b6e9f2a4d7c1b3e5f8a0d6c9b"
IDEMPOTENCY_KEY = "7d9f3a52-0c1b-4f6e-9a88-5b2d4c7e1f30"
ETAG = f'"{"5e" * 32}"'
EVENT_ID = "5f0c2a1b-6"
LINK = f'</v1/sessions?limit=20&cursor={SESSION_ID}>; rel="next"'
FINGERPRINT = "0123-4567-89ab-cdef-0123-4567-89ab-cdef-0123-4567"
TRAINING: dict[str, Any] = {
    "purpose": "predict readmission",
    "legal_basis": "consent",
    "parties": [
        {"name": "clinic-a", "data": "cohort", "columns": ["age"]},
        {"name": "clinic-b", "data": "cohort", "columns": ["dose"]},
    ],
    "label": {"party": "clinic-a", "column": "outcome", "positive": "yes"},
}
MATCHING: dict[str, Any] = {
    "kind": "matching",
    "purpose": "find common patients",
    "legal_basis": "consent",
    "parties": [{"name": "clinic-a", "data": "patients"}, {"name": "clinic-b", "data": "patients"}],
    "result": "common",
}
PREDICTION: dict[str, Any] = {
    "kind": "prediction",
    "purpose": "score new patients",
    "legal_basis": "consent",
    "model": SESSION_ID,
    "recipient": "clinic-a",
    "parties": [{"name": "clinic-a", "data": "arrivals"}, {"name": "clinic-b", "data": "arrivals"}],
}
PLANS: dict[str, Example] = {
    "training": Example(summary="Two clinics train on the same records", value=TRAINING),
    "matching": Example(summary="Two clinics find the records that both have", value=MATCHING),
    "prediction": Example(summary="They score new records by the model that a training left", value=PREDICTION),
}
ESTIMATES: dict[str, Example] = {
    "usual": Example(summary="On links of 20 ms and 100 Mbit/s, as a contract's quote", value={"plan": TRAINING}),
    "link": Example(summary="On a slower link", value={"plan": TRAINING, "link": {"round_trip_ms": 80, "mbit_s": 20}}),
    "matching": Example(summary="Of a matching", value={"plan": MATCHING}),
}

_STATES: list[dict[str, Any]] = [
    {
        "name": name,
        "role": role,
        "online": True,
        "approved": name != "clinic-b",
        "waiting": "the policy asks for the operator" if name == "clinic-b" else None,
        "progress": None,
        "report": None,
    }
    for name, role in (("clinic-a", "party"), ("clinic-b", "party"), ("dealer", "dealer"))
]
SESSION: dict[str, Any] = {
    "id": SESSION_ID,
    "state": "proposed",
    "kind": "training",
    "purpose": "predict readmission",
    "created": "2026-11-01T12:00:00Z",
    "expires": "2026-11-02T12:00:00Z",
    "waiting_for": ["clinic-b"],
    "participants": _STATES,
    "converged": None,
    "models": [],
    "validated": [],
    "estimate": None,
    "withdrawn": [],
    "fault": None,
}
CANCELLED: dict[str, Any] = SESSION | {
    "state": "cancelled",
    "waiting_for": [],
    "fault": {
        "code": "cancelled",
        "who": "gateway",
        "what": "an analyst of clinic-a cancelled the session",
        "action": "",
    },
}
CONTRACT: dict[str, Any] = {  # its beginning; formats.md has every key
    "created": "2026-11-01T12:00:00Z",
    "dealer": {"name": "dealer", "public_key": "33" * 32},
    "expires": "2026-11-02T12:00:00Z",
    "kind": "training",
    "legal_basis": "consent",
    "purpose": "predict readmission",
    "version": 1,
}
APPROVALS: dict[str, Any] = {
    "clinic-a": {
        "envelope": {
            "payload": "eyJjb250cmFjdCI6IjFjMmY5YjBlIn0=",  # its beginning
            "payloadType": "application/vnd.privity.approval.v1+json",
            "signatures": [{"keyid": "11" * 32, "sig": "c2lnbmF0dXJl"}],
        },
        "stored": "2026-11-01T12:05:00Z",
    }
}
CREATED: dict[str, Any] = {"id": SESSION_ID, "state": "proposed", "contract": CONTRACT}
ESTIMATE: dict[str, Any] = {
    "kind": "training",
    "parties": ["clinic-a", "clinic-b"],
    "quote": {
        "bytes_sent": [492336, 486076],
        "dealer_bytes": 10572128,
        "memory_bytes": 33609600,
        "most_bytes_sent": [1120224, 1113964],
        "most_requests": {"b2a": 11, "binary": 77, "triple": 2},
        "most_rounds": 748,
        "requests": {"b2a": 7, "binary": 49, "triple": 2},
        "rounds": 312,
        "seconds": 11,
    },
    "link": {"round_trip_ms": 20.0, "mbit_s": 100.0},
    "seconds": 11,
}
PARTICIPANT: dict[str, Any] = {
    "name": "clinic-a",
    "role": "party",
    "fingerprint": FINGERPRINT,
    "online": True,
    "published": [
        {
            "table": {
                "name": "cohort",
                "rows": 569,
                "id_column": "patient",
                "columns": [{"name": "age", "kind": "number", "complete": True}],
            },
            "version": "ab" * 16,
        }
    ],
    "head": None,
}
HEALTH: dict[str, Any] = {"status": "ok", "name": "gateway", "version": "0.1.0"}
LOGIN: dict[str, Any] = {"path": "/login?code=dGhpcyBpcyBubyBjb2RlLCBpdCBpcyBhbiBleGFtcGxl"}
LOG_HEAD: dict[str, Any] = {
    "name": "gateway",
    "public_key": "44" * 32,
    "fingerprint": FINGERPRINT,
    "head": f"gateway\n7\n{'A' * 43}=\n\n\u2014 gateway {'A' * 91}=\n",
}
LOG_ENTRIES: list[dict[str, Any]] = [
    {"entry": 5, "time": "2026-11-01T12:00:00Z", "type": "gateway:session:proposed"},
    {"entry": 6, "time": "2026-11-01T12:05:00Z", "type": "gateway:approval:stored"},
]
LOG_PROOF = f"c2sp.org/tlog-proof@v1\nextra Z2F0ZXdheSs=\nindex 6\n{'A' * 43}=\n\n{LOG_HEAD['head']}"  # too short
ME: dict[str, Any] = {
    "account": "ada",
    "organisation": "clinic-a",
    "role": "analyst",
    "is_read_only": False,
    "name": "",
    "token": "0123456789ab",
    "expires": "2026-12-01T12:00:00Z",
    "sees": "clinic-a",
    "may": ["GET /v1/sessions", "POST /v1/sessions"],  # and others
}
TOKEN_ID = "0123456789ab"  # noqa: S105  (no secret)
TOKEN: dict[str, Any] = {
    "id": TOKEN_ID,
    "account": "ada",
    "organisation": "clinic-a",
    "role": "analyst",
    "is_read_only": False,
    "created": "2026-11-01T12:00:00Z",
    "created_by": "ada",
    "expires": "2026-12-01T12:00:00Z",
    "last_used": None,
    "revoked": None,
    "revoked_by": None,
}
TOKEN_REVOKED: dict[str, Any] = TOKEN | {"revoked": "2026-11-02T12:00:00Z", "revoked_by": "ada"}
TOKEN_ISSUED: dict[str, Any] = {"token": TOKEN, "secret": f"pvt_{TOKEN_ID}_{'x' * 43}"}
TOKENS_WANTED: dict[str, Example] = {
    "own": Example(summary="One more of your own, for a program that reads", value={"is_read_only": True, "days": 30}),
    "other": Example(
        summary="As an administrator, another account's", value={"account": "bob", "role": "operator", "days": 30}
    ),
}
PROGRESS: dict[str, Any] = {
    "who": "clinic-a",
    "stage": "training",
    "iteration": 7,
    "of": 300,
    "rounds": 31,
    "bytes_sent": 90112,
    "loss": None,
}
EVENTS = "".join(
    f"event: {kind}\nid: 5f0c2a1b-{number}\ndata: {json.dumps(data)}\n\n"
    for kind, number, data in (("state", 6, SESSION), ("progress", 7, PROGRESS))
)


def header(name: str, words: str, example: str) -> dict[str, Any]:
    """What a route declares of a header that it answers with."""
    return {name: {"description": words, "schema": {"type": "string"}, "example": example}}


def shown(example: object, status: HTTPStatus = HTTPStatus.OK) -> Declared:
    """What a route declares of its answer: an example."""
    return {int(status): {"content": {"application/json": {"example": example}}}}


def merged(*declared: Declared) -> Declared:
    """Declarations of one route; of one status all that each says."""
    found: Declared = {}
    for one in declared:
        for status, content in one.items():
            there = found.get(status, {})
            headers = there.get("headers", {}) | content.get("headers", {})
            found[status] = there | content | ({"headers": headers} if headers else {})
    return found
