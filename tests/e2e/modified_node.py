"""A node whose operator runs another program as its worker; all else of it is as it was.

Run as `python -m tests.e2e.modified_node node serve --home DIR`; DIR/deed says what the worker does.
"""

from __future__ import annotations

import sys
from pathlib import Path
from unittest import mock

from gateway.cli import main
from parties.service import node
from parties.service.supervisor import Process


class ModifiedProcess(Process):
    @classmethod
    async def start(cls, job, descriptors, _=None):
        """As the original, of another program."""
        worker = Path(__file__).with_name("modified_worker.py")
        command = (sys.executable, "-P", str(worker), sys.argv[-1])  # the last argument is --home's
        return await super().start(job, descriptors, command)


if __name__ == "__main__":
    mock.patch.object(node, "Process", ModifiedProcess).start()
    main()
