"""Words on a party's link to the dealer: long corrections in messages of a megabyte, and a few control messages."""

from __future__ import annotations

import numpy as np

from mpc.channel import Link
from mpc.errors import ProtocolError
from mpc.ring import Words

MESSAGE_BYTES = 1 << 20
GOODBYE = b"goodbye"  # a party asks no more
CREDIT = b"credit"  # a party took a tuple out of its window
ANNOUNCEMENT = b"rung"  # another phase begins; one byte follows: the rung of the range ladder
ORDER = b"order"  # a seed follows: that of the rows' order, before the first phase of mini-batches
EVALUATION = b"evaluation"  # the next part of the evaluation, or of a prediction, begins
WINDOW = 4  # tuples that the dealer may be ahead of a party


def send_words(link: Link, words: Words) -> int:
    """Returns the bytes sent."""
    content = words.tobytes()
    for start in range(0, len(content), MESSAGE_BYTES):
        link.send(content[start : start + MESSAGE_BYTES])
    return len(content)


def receive_words(link: Link, count: int) -> Words:
    """Raises: ProtocolError if a message is not of the length that is due."""
    words = np.empty(count, dtype=np.int64)
    content = words.view(np.uint8)
    for start in range(0, len(content), MESSAGE_BYTES):
        message, due = link.receive(), min(MESSAGE_BYTES, len(content) - start)
        if len(message) != due:
            raise ProtocolError(
                f"the dealer sent {len(message)} bytes where {due} were due",
                action="ask the dealer's operator; the session must be proposed again",
            )
        content[start : start + due] = np.frombuffer(message, dtype=np.uint8)
    return words
