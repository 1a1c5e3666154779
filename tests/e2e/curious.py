"""A gateway and a dealer that keep to the protocol and write down every byte that they are sent.

Run as `python -m tests.e2e.curious gateway|dealer serve --home DIR`; what was heard lies in DIR/heard.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from gateway import control
from gateway.cli import main
from parties import dealer

HEARD = "heard"


def _write_down(content: bytes) -> None:
    with (Path(sys.argv[-1]) / HEARD).open("ab") as file:  # the last argument is --home's
        file.write(content + b"\n")


_decode = control.decode_from_daemon
_pump = dealer._pump


def _heard_by_gateway(content: bytes) -> Any:
    _write_down(content)
    return _decode(content)


async def _heard_by_dealer(requests: AsyncIterator[bytes], writer: Any) -> None:
    async def overheard() -> AsyncIterator[bytes]:
        async for message in requests:
            _write_down(message)
            yield message

    await _pump(overheard(), writer)


if __name__ == "__main__":
    control.decode_from_daemon = _heard_by_gateway
    dealer._pump = _heard_by_dealer
    main()
