"""How long two parties take to match records: python -m benchmarks.matching [--records N] [--parties K] [--workers W].

All parties run as threads of one process over channels in memory, so the memory is that of all of them together and
the time that of a machine whose cores they share. Half of each party's records are common to all.
"""

from __future__ import annotations

import argparse
import json
import os
import threading
import time

import numpy as np

from benchmarks.measuring import usage
from mpc.channel import MemoryChannel
from mpc.disclosure import ProgramLedger
from mpc.matching_program import derive_matching
from parties.match_rules import MatchRules
from parties.psi import keyed_records, match

KEY = bytes(32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--parties", type=int, default=2)
    parser.add_argument("--workers", type=int, default=None, help="threads of each party; default: the cores divided")
    chosen = parser.parse_args()
    workers = chosen.workers or max(1, (os.cpu_count() or 1) // chosen.parties)
    names = [f"party-{rank}" for rank in range(chosen.parties)]
    common = chosen.records // 2
    program = derive_matching([chosen.records] * chosen.parties)
    found: dict[int, int] = {}
    sent: dict[int, int] = {}
    normalising: list[float] = []

    def run(channel: MemoryChannel) -> None:
        own = (f"P-{channel.rank}-{i:09d}" for i in range(chosen.records - common))
        ids = [*(f"P-{i:09d}" for i in range(common)), *own]
        began = time.monotonic()
        records = keyed_records([ids], MatchRules(), KEY)
        normalising.append(time.monotonic() - began)
        rows = match(program, channel, KEY, records, MatchRules(), ProgramLedger(program), names, workers).rows
        found[channel.rank] = int(np.count_nonzero(rows < common)) if len(rows) == common else -1
        sent[channel.rank] = channel.counters.bytes_sent

    threads = [threading.Thread(target=run, args=(channel,)) for channel in MemoryChannel.mesh(chosen.parties)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.monotonic() - began
    print(
        json.dumps(
            {
                "records": chosen.records,
                "parties": chosen.parties,
                "workers": workers,
                "exact": all(count == common for count in found.values()),
                "seconds": round(seconds, 1),
                "of_which_normalising": round(max(normalising), 1),
                "mb_sent_by_each": round(max(sent.values()) / 1e6, 1),
            }
            | usage()
        )
    )


if __name__ == "__main__":
    main()
