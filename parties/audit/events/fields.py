"""What an event's fields can hold: identifiers, digests, codes, counts and truth values; nothing else fits."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

from pydantic import Field

MAX_DIMENSIONS: Final = 8
MAX_COUNT: Final = 2**53 - 1  # beyond it JSON's numbers are read differently elsewhere

NAME_PATTERN: Final = r"^[a-z0-9][a-z0-9_-]{0,63}$"
DISCLOSURE_PATTERN: Final = r"^[a-z0-9][a-z0-9._:-]{0,79}$"

Count = Annotated[int, Field(ge=0, le=MAX_COUNT, strict=True, description="a count")]
Flag = Annotated[bool, Field(strict=True, description="true or false")]


class Participant:
    """Marks the fields that hold a participant's name."""


Name = Annotated[str, Field(pattern=NAME_PATTERN, description="a participant's name"), Participant()]
DataSet = Annotated[str, Field(pattern=NAME_PATTERN, description="a data set's name")]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="a SHA-256 or HMAC-SHA-256 in hexadecimal")]
Session = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="the contract's digest, the session's id")]
Model = Annotated[
    str, Field(pattern=r"^[0-9a-f]{64}$", description="the id of the training session that left the model")
]
DataVersion = Annotated[
    str, Field(pattern=r"^[0-9a-f]{32,64}$", description="the keyed digest that names this content")
]
Fingerprint = Annotated[
    str, Field(pattern=r"^([0-9a-f]{4}-){9}[0-9a-f]{4}$", description="an identity key's fingerprint")
]
PublicKey = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="an Ed25519 public key in hexadecimal")]
Code = Annotated[str, Field(pattern=r"^[a-z0-9.-]{1,60}$", description="a reason code")]
Release = Annotated[str, Field(pattern=r"^[0-9][0-9a-z.+-]{0,31}$", description="a version number")]
Sqlite = Annotated[
    str, Field(pattern=r"^[0-9]{1,3}(\.[0-9]{1,3}){2,3}$", description="version of the SQLite that lays out the file")
]
Clause = Annotated[str, Field(pattern=r"^[a-z]+\.[0-9]{1,9}$", description="the contract's clause")]
Disclosed = Annotated[str, Field(pattern=DISCLOSURE_PATTERN, description="a disclosure's name in the contract")]
Recipient = Annotated[
    str,
    Field(
        pattern=r"^(session|party:[a-z0-9][a-z0-9_-]{0,63}|parties:[a-z0-9][a-z0-9_-]{0,63}(,[a-z0-9][a-z0-9_-]{0,63}){1,15})$",
        description="`session`, `party:NAME` or `parties:NAME,NAME`",
    ),
]
Role = Annotated[Literal["node", "dealer", "gateway"], Field(description="`node`, `dealer` or `gateway`")]
Decider = Annotated[Literal["operator", "policy"], Field(description="`operator` or `policy`")]
Reader = Annotated[Literal["operator", "officer"], Field(description="`operator` or `officer`, who can change nothing")]
Account = Annotated[str, Field(pattern=NAME_PATTERN, description="an account of the gateway")]
Organisation = Annotated[
    str, Field(pattern=NAME_PATTERN, description="whom the account acts for: a participant, or `consortium`")
]
AccountRole = Annotated[
    Literal["analyst", "operator", "compliance", "admin"],
    Field(description="`analyst`, `operator`, `compliance` or `admin`"),
]
Token = Annotated[str, Field(pattern=r"^[0-9a-f]{12}$", description="a personal token's id")]
Exit = Annotated[int, Field(ge=-255, le=255, strict=True, description="exit status; a signal's number below zero")]


def allowed_name(asked: str) -> str | None:
    """What a process asked to open, if it reads like a disclosure's name: a process may ask for any text."""
    return asked if re.fullmatch(DISCLOSURE_PATTERN, asked) else None
