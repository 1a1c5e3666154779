"""A dealer's session process that keeps to the protocol and writes down every message that it is sent.

Run as `python curious_dealer.py FILE`; the file takes what was heard.
"""

from __future__ import annotations

import sys
from pathlib import Path
from unittest import mock

from parties.process import meeting
from parties.process.dealer_link import DealerLink
from parties.process.dealer_worker import deal
from parties.process.voice import live


class Overheard(DealerLink):
    def receive(self) -> bytes:
        """As the original, with a copy into the file."""
        message = super().receive()
        with Path(sys.argv[1]).open("ab") as file:
            file.write(message + b"\n")
        return message


if __name__ == "__main__":
    mock.patch.object(meeting, "DealerLink", Overheard).start()
    live(deal)
