"""A process that appends to a log until it is killed, and says so after each append that returned."""

import sys
from pathlib import Path

from parties.audit.events import DisclosureRecorded
from parties.audit.log import AuditLog
from parties.keys.identity import Identity

home = Path(sys.argv[1])
with AuditLog.open(home / "audit.sqlite", Identity.load(home / "identity.pem"), "clinic-a") as log:
    for count in range(1_000_000):
        event = DisclosureRecorded(
            session="ab" * 32, name="loss", recipients=("session",), shape=(), clause="disclosures.0", count=count
        )
        # Commits of one and of many pages: a kill may come between any two writes of either.
        index = log.append_all([event] * (1 if count % 2 else 200))[-1]
        sys.stdout.write(f"{index}\n")
        sys.stdout.flush()
