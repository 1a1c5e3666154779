"""A gateway and a dealer that keep to the protocol and write down every byte that they are sent.

Run as `python -m tests.e2e.curious gateway|dealer serve --home DIR`; what was heard lies in DIR/heard.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from unittest import mock

from gateway.cli import main
from gateway.coordination import control
from parties.service import dealer

HEARD = "heard"


def _heard() -> Path:
    return Path(sys.argv[-1]) / HEARD  # the last argument is --home's


_decode = control.decode_from_daemon


def _heard_by_gateway(content: bytes) -> Any:
    with _heard().open("ab") as file:
        file.write(content + b"\n")
    return _decode(content)


if __name__ == "__main__":
    own = (sys.executable, "-P", str(Path(__file__).with_name("curious_dealer.py")), str(_heard()))
    mock.patch.object(control, "decode_from_daemon", _heard_by_gateway).start()
    mock.patch.object(dealer, "PROCESS", own).start()
    main()
