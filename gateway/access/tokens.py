"""Tokens: the one that `privity gateway init` writes, and personal ones, of which the gateway keeps digests alone.

A personal token has 256 random bits, so its plain SHA-256 tells nothing of it, and nobody guesses it.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from pathlib import Path
from typing import NoReturn, Self

from parties.errors import SettingsError
from parties.keys.identity import check_private, write_private

TOKEN_FILE = "token"  # noqa: S105  (a file's name)
ID_PATTERN = r"^[0-9a-f]{12}$"
TOKEN_PATTERN = r"^pvt_(?P<id>[0-9a-f]{12})_[A-Za-z0-9_-]{43}$"  # noqa: S105  (a form)


class Token:
    """What a client must show. Redacted in print; not comparable but in constant time, not picklable."""

    def __init__(self, value: str) -> None:
        self._value = value

    @classmethod
    def create(cls, home: Path) -> Self:
        """Raises: SettingsError if there is one already."""
        value = secrets.token_urlsafe(32)
        write_private(home / TOKEN_FILE, value.encode() + b"\n")
        return cls(value)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Raises: SettingsError if the file is missing, readable by others or empty."""
        try:
            status, value = path.stat(), path.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as exc:
            raise SettingsError(
                f"there is no token at {path}",
                action="name a file with your token, or, at the gateway, run `privity gateway init` first",
            ) from exc
        check_private(path, status)
        if not value:
            raise SettingsError(f"{path} is empty", action="restore it from a backup, or ask for a new token")
        return cls(value)

    def reveal(self) -> str:
        """The token itself, for the client that shows it."""
        return self._value

    def admits(self, shown: str) -> bool:
        return secrets.compare_digest(shown.encode(), self._value.encode())

    def __repr__(self) -> str:
        return f"{type(self).__name__}(redacted)"

    def __eq__(self, other: object) -> NoReturn:
        raise TypeError("tokens are not compared; use admits")

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> NoReturn:
        raise TypeError("a token is not serialised")


class PersonalToken(Token):
    """One of an account's: `pvt_`, the id by which it is looked up, listed and revoked, `_`, and its secret."""

    @classmethod
    def issue(cls, name: str | None = None) -> Self:
        """A fresh one; with a name its id, which is no secret, follows from that."""
        token_id = secrets.token_hex(6) if name is None else hashlib.sha256(name.encode()).hexdigest()[:12]
        return cls(f"pvt_{token_id}_{secrets.token_urlsafe(32)}")

    @classmethod
    def parse(cls, shown: str) -> Self | None:
        """None for what can't be one."""
        return cls(shown) if re.fullmatch(TOKEN_PATTERN, shown, re.ASCII) else None

    @property
    def id(self) -> str:
        return self._value.split("_")[1]

    @property
    def sha256(self) -> str:
        """What is kept of it."""
        return hashlib.sha256(self._value.encode()).hexdigest()
