"""Digests that show nothing of what they are of: each under 32 random bytes of its own, kept beside the content."""

from __future__ import annotations

import hashlib
from typing import Final

SALT_BYTES: Final = 32


def digest_of(content: bytes, salt: bytes) -> str:
    """BLAKE2b of the content, keyed by the salt."""
    return hashlib.blake2b(content, key=salt, digest_size=32).hexdigest()
