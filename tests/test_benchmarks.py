"""The benchmark harness: its table of works, its processes, and what it writes. No test looks at a time."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import __main__ as bench
from benchmarks import results
from benchmarks.matching_nodes import peaks_mb
from benchmarks.measuring import Pace, age, usage
from benchmarks.meeting import appointed
from benchmarks.plot import COLOURS, draw
from benchmarks.processes import MeasurementFailed, Start, run_together
from benchmarks.proxy import HOST, detours
from benchmarks.results import Result
from benchmarks.systems.floating_point import descend
from benchmarks.systems.privity import spec
from benchmarks.works import CRYPTEN, NUMPY, PRIVITY, SYSTEMS, WORKS, Goal, made_up
from mpc.program import derive

STATED = (
    "work",
    "system",
    "parties",
    "iterations_per_second",
    "seconds",
    "bytes_per_iteration",
    "rounds_per_iteration",
)
TINY = replace(
    WORKS["gd-100x128-2p"], name="tiny", rows=64, columns=5, batch_rows=32, iterations={PRIVITY: 12, NUMPY: 12}
)
DELAY_MS = 30
TOGETHER_S = 240


def result(work: str, system: str, rate: float, run: str = "now", **more: object) -> Result:
    processes = {"party-0": {"cpu_seconds": 1.0, "peak_rss_mb": 100.0}}
    facts = {"parties": 2, "seconds": 1.0, "bytes_per_iteration": 10.0, "rounds_per_iteration": 3.0, "iterations": 10}
    repeats = {"repeats": 1, "slowest": rate, "fastest": rate, "coefficient_error": 1e-4, "processes": processes}
    return Result(
        **facts | repeats | {"work": work, "system": system, "iterations_per_second": rate, "run": run} | more
    )


@pytest.mark.parametrize("work", WORKS.values(), ids=WORKS)
def test_works_are_consistent(work):
    """Each work has a program, its peers are known, and goals speak of systems that do it."""
    assert sum(work.blocks) == work.columns
    assert len(work.blocks) == work.parties
    assert PRIVITY in work.iterations
    assert set(work.iterations) <= set(SYSTEMS) == set(COLOURS)
    assert {system for system, _ in work.goal.times} <= set(work.iterations)
    program = derive(spec(work, work.iterations[PRIVITY]))
    assert program.columns == work.columns
    if work.descends:
        assert work.rows % work.batch_rows == 0
        assert program.max_iter == work.iterations[PRIVITY]


def test_tables_are_the_same_each_time():
    """Every process and every run sees the same standardised table."""
    one, two = made_up(400, 7), made_up(400, 7)
    assert np.array_equal(one.X, two.X)
    assert np.array_equal(one.unseen_labels, two.unseen_labels)
    assert one.X.shape == (400, 7)
    assert len(one.unseen_rows) == 100
    assert np.allclose(one.X.std(axis=0), 1, atol=1e-2)


@pytest.mark.parametrize("parties", [2, 3])
def test_a_tiny_work_runs_end_to_end(parties):
    """Real processes over real TLS train, and the records have the stated fields."""
    found = {each.system: each for each in bench.measure(replace(TINY, parties=parties), [PRIVITY, NUMPY], "now", 1)}
    own = found[PRIVITY]
    assert set(STATED) <= set(asdict(own))
    assert (own.parties, own.iterations, own.repeats) == (parties, 12, 1)
    assert own.rounds_per_iteration >= 3
    assert own.bytes_per_iteration > 0
    assert own.bytes_dealt > 0
    assert own.cpu_ms_per_iteration > 0
    assert set(own.processes) == {*(f"party-{rank}" for rank in range(parties)), "dealer"}
    assert own.peak_mb > 0
    assert found[NUMPY].coefficient_error == 0


@pytest.mark.parametrize("estimate", [False, True], ids=["records", "estimate"])
def test_a_tiny_matching_is_measured(estimate):
    """Real processes find exactly the common records, or about as many, and tell their time and memory."""
    job = {"records": 600, "workers": 1, "estimate": estimate}
    with appointed("benchmarks.matching_process", ["party-0", "party-1"], job) as starts:
        reports = run_together(starts, TOGETHER_S)
    assert [reports[name]["as_expected"] for name in ("party-0", "party-1")] == [True, True]
    assert all(report["bytes_sent"] > 0 and report["peak_rss_mb"] > 10 for report in reports.values())


def test_the_optimum_is_found():
    """A work to the optimum tells how far from scikit-learn's the model is."""
    work = replace(WORKS["table-7000x54-2p"], rows=400, columns=5)
    own = bench.measure(work, [PRIVITY], "now", 1)[0]
    assert own.iterations == 15
    assert own.coefficient_error < 5e-3
    assert own.auc_error < 1e-3


def test_a_peer_that_fails_is_left_out(capsys):
    """The others' figures stay, and the reason is printed."""
    work = replace(TINY, iterations={NUMPY: 12, CRYPTEN: 12}, batch_rows=0)
    assert bench.measure(work, [NUMPY], "now", 1) == []
    assert "numpy is left out" in capsys.readouterr().err


def test_a_failed_process_says_why():
    """Its last words are in the error, and nobody waits for the others."""
    silent = Start("proxy", "benchmarks.proxy", {"delay_ms": 0, "detours": []})
    with pytest.raises(MeasurementFailed, match="no_such_module"):
        run_together([Start("one", "benchmarks.no_such_module", {}), silent], 60)


def test_the_proxy_delays_and_keeps_order():
    """Bytes arrive whole, in order and not before their time; the end of one side reaches the other."""
    with socket.create_server((HOST, 0)) as door, detours([door.getsockname()[1]], DELAY_MS) as (port,):

        def echo() -> None:
            far, _ = door.accept()
            with far:
                while content := far.recv(1 << 16):
                    far.sendall(content)

        thread = threading.Thread(target=echo)
        thread.start()
        sent = bytes(range(256)) * 1000
        with socket.create_connection((HOST, port)) as near, near.makefile("rb") as coming:
            began = time.monotonic()
            near.sendall(b"x")
            assert coming.read(1) == b"x"
            assert time.monotonic() - began >= 2 * DELAY_MS / 1000  # a bound from below: no load can break it
            near.sendall(sent)
            near.shutdown(socket.SHUT_WR)
            assert coming.read() == sent
        thread.join(60)
        assert not thread.is_alive()


def test_pace_leaves_out_the_warm_up():
    """Rounds and bytes are those between the end of the warm-up and the end."""
    pace = Pace(10)
    for done in range(11):
        pace.tick(done, rounds=3 * done + (done > 1), bytes_sent=100 * done)
    assert pace.warm_up == 2
    told = pace.report()
    assert (told["rounds_per_iteration"], told["bytes_per_iteration"]) == (3, 100)
    assert told["iterations_per_second"] > 0


def test_a_process_tells_of_itself():
    """Age, computing time and memory are this process's."""
    assert age() > 0
    assert usage()["peak_rss_mb"] > 1


def test_floating_point_goes_round_the_table():
    """Two passes over two batches are four steps of the plain formula."""
    data = made_up(64, 3)
    weights = np.zeros(3)
    for begin in (0, 32, 0, 32):
        X, y = data.X[begin : begin + 32], data.y[begin : begin + 32]
        weights -= 0.1 * X.T @ (1 / (1 + np.exp(-X @ weights)) - y) / 32
    assert np.allclose(descend(data.X, data.y, 32, 4), weights)


def test_a_part_replaces_its_own_figures(tmp_path):
    """Other works and systems keep theirs, in the order of the tables; the file gives back what was saved."""
    old = [result("gd-100x128-2p", CRYPTEN, 5, "before"), result("cancer-2p", PRIVITY, 30, "before")]
    new = [result("gd-100x128-2p", PRIVITY, 1000), result("gd-100x128-2p", CRYPTEN, 4)]
    merged = results.merge(old, new)
    assert [each.key for each in merged] == [new[0].key, new[1].key, old[1].key]
    results.save(merged, tmp_path / "results.json")
    assert results.load(tmp_path / "results.json") == merged
    assert set(STATED) <= set(json.loads((tmp_path / "results.json").read_text())[0])


def test_ratios_are_of_one_run():
    """What was measured at another time is not compared."""
    found = [result("gd-100x128-2p", PRIVITY, 1000), result("gd-100x128-2p", CRYPTEN, 5)]
    assert results.times(found, "gd-100x128-2p", CRYPTEN) == 200
    assert results.times([found[0], replace(found[1], run="before")], "gd-100x128-2p", CRYPTEN) is None
    assert results.times(found, "gd-100x128-2p", NUMPY) is None


@pytest.mark.parametrize(
    ("goal", "expected"),
    [
        (Goal(), True),
        (Goal(((CRYPTEN, 150),)), True),
        (Goal(((CRYPTEN, 250),)), False),
        (Goal(((CRYPTEN, 150), (NUMPY, 1))), None),
        (Goal(((NUMPY, 1),), seconds=0.5), False),
        (Goal(iterations_per_second=1000, iterations=10, seconds=1), True),
        (Goal(iterations=9), False),
        (Goal(auc=0.001), None),
        (Goal(peak_mb=100), True),
        (Goal(peak_mb=99.9), False),
    ],
    ids=str,
)
def test_goals(goal, expected):
    """Reached, missed, or not to be told from what was measured."""
    found = [result("gd-100x128-2p", PRIVITY, 1000), result("gd-100x128-2p", CRYPTEN, 5)]
    assert results.reached(found, replace(WORKS["gd-100x128-2p"], goal=goal)) is expected
    assert results.reached([], WORKS["gd-100x128-2p"]) is None


def test_a_memory_goal_is_of_parties():
    """The dealer's memory is not a party's, and without a party's the goal is not told."""
    work = replace(WORKS["cancer-2p"], goal=Goal(peak_mb=150))
    sizes = {"party-0": 140.0, "party-1": 149.0, "dealer": 900.0}
    processes = {name: {"cpu_seconds": 1.0, "peak_rss_mb": size} for name, size in sizes.items()}
    assert results.reached([result(work.name, PRIVITY, 1, processes=processes)], work)
    dealer = {"dealer": processes["dealer"]}
    assert results.reached([result(work.name, PRIVITY, 1, processes=dealer)], work) is None


def test_the_largest_table_s_goal_is_three_times_its_tables():
    """A million rows: 41 columns of E and 20 of X, of 8 bytes; every work has a goal that can be missed."""
    assert WORKS["table-1000000x40-2p"].goal.peak_mb == pytest.approx(3 * 61 * 8)
    assert all(work.goal != Goal() for work in WORKS.values())


def test_tables_and_picture(tmp_path):
    """The README's tables are rewritten between its marks; the picture is drawn where matplotlib is installed."""
    found = [result(work.name, system, 10.0) for work in WORKS.values() for system in work.iterations]
    page = tmp_path / "README.md"
    page.write_text(f"before\n{results.BEGIN}\nold\n{results.END}\nafter\n")
    results.rewrite(found, page)
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert all(work in text for work in WORKS)
    assert draw(found, tmp_path / "results.svg") == (tmp_path / "results.svg").exists()


def test_the_published_figures_are_the_recorded_ones():
    """The README's tables are those of results.json."""
    assert results.tables(results.load()) in results.README.read_text(encoding="utf-8")


def test_unknown_names_are_refused(capsys):
    """A typing error is told with what there is."""
    with pytest.raises(SystemExit):
        bench.main(["--work", "gd-1x1-1p"])
    assert "gd-100x128-2p" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        bench.main(["--against", "nobody"])
    assert "spu-semi2k" in capsys.readouterr().err


def test_the_readme_s_figures_are_those_measured():
    """Its table has the steps a second of the newest results, rounded."""
    root = Path(__file__).parents[1]
    measured = {
        (each["work"], each["system"]): each["iterations_per_second"]
        for each in json.loads((root / "benchmarks" / "results.json").read_text(encoding="utf-8"))
    }
    table = (root / "README.md").read_text(encoding="utf-8").split("## How fast it is")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (\d) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", table, re.MULTILINE)
    assert [parties for parties, *_ in rows] == ["2", "3"]
    for parties, *figures in rows:
        for system, figure in zip(("privity", "spu-semi2k", "spu-aby3", "crypten"), figures, strict=True):
            found = measured[f"gd-100x128-{parties}p", system]
            digits = len(figure.partition(".")[2])
            assert round(found, digits) == float(figure)


def test_the_memory_of_a_daemon_and_of_what_it_starts_is_seen():
    """Each by its greatest, since its own exec; who has ended is no error."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, text=True) as child:
        found = dict(peaks_mb({"tests": os.getpid()}))
        child.communicate("\n")
    assert found["tests"] == pytest.approx(usage()["peak_rss_mb"], rel=0.1)
    assert found["tests's worker"] > 1
    assert peaks_mb({"nobody": 1 << 30}) == []
