"""One party of a measured matching: the classes of production, without contract, vault and node."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.measuring import live
from benchmarks.meeting import Meeting
from mpc.commitment import Chained, Commitments, Unsigned
from mpc.disclosure import ProgramLedger
from mpc.matching_program import derive_matching
from mpc.randomness import Entropy
from parties.agreement.match_rules import MatchRules
from parties.data.tables import Table, ids_of
from parties.psi import count, keyed_records, match

KEY, RULES = bytes(32), MatchRules()
BATCH_ROWS = 1 << 16


def made_up(rank: int, records: int) -> Table:
    """As many ids, of which the first half are every party's."""
    common, batches = records // 2, []
    for start in range(0, records, BATCH_ROWS):
        rows = range(start, min(start + BATCH_ROWS, records))
        batches.append(pa.array([f"P-{row:09d}" if row < common else f"P-{rank}-{row:09d}" for row in rows]))
    return Table("made-up", "id", pa.table({"id": pa.chunked_array(batches)}))


def run(job: dict[str, Any]) -> dict[str, Any]:
    meeting, records = Meeting(job), job["records"]
    program = derive_matching([records] * len(meeting.names), estimate=job["estimate"])
    table, channel, began = made_up(meeting.rank, records), meeting.channel(), time.monotonic()
    own = keyed_records(ids_of(table, ["id"]), RULES, KEY)
    own_ids_seconds = time.monotonic() - began
    chained = Chained(channel)
    chained.sent.begin(KEY)
    facts = (
        program,
        chained,
        Commitments(chained, KEY, bytes(64), KEY, Unsigned()),
        KEY,
        own,
        RULES,
        ProgramLedger(program),
        meeting.names,
        Entropy(),
        job["workers"],
    )
    if job["estimate"]:
        told = program.estimated(count(*facts).sampled)
        as_expected = abs(told - records // 2) <= 2 * program.round_to
    else:
        rows = match(*facts).rows
        as_expected = bool(np.array_equal(np.sort(rows), np.arange(records // 2)))
    seconds = time.monotonic() - began
    channel.finish()
    channel.close()
    return {
        "as_expected": as_expected,
        "seconds": seconds,
        "own_ids_seconds": own_ids_seconds,
        "bytes_sent": channel.counters.bytes_sent,
    }


if __name__ == "__main__":
    live(run)
