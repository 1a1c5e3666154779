"""A fingerprint as fifteen English words, which two people read to each other with fewer mistakes than digits.

The words are BIP-39's: of the 160 bits and five more that check them. The first four letters of each tell it apart.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from mnemonic import Mnemonic

WORDS: Final = 15


@lru_cache(maxsize=1)
def _list() -> Mnemonic:
    return Mnemonic("english")


def to_words(content: bytes) -> str:
    """Of 20 bytes."""
    return _list().to_mnemonic(content)


def from_words(text: str) -> bytes:
    """The 20 bytes. Raises: ValueError if that is not fifteen words of the list, or they do not check."""
    words = text.lower().split()
    if len(words) != WORDS:
        raise ValueError(f"{len(words)} words, not {WORDS}")
    return bytes(_list().to_entropy([_list().expand_word(word) for word in words]))
