"""Which process carries what: the engine's libraries live in session processes alone, and all fits a small machine."""

from pathlib import Path

import pytest

MACHINE_BYTES = 4 << 30


def mapped(pid):
    return {Path(line.split()[-1]).name for line in Path(f"/proc/{pid}/maps").read_text().splitlines() if "/" in line}


def memory(pid):
    """The process's own share of the memory that it uses."""
    fields = (line.split() for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines())
    return next(int(field[1]) for field in fields if field[0] == "Pss:") << 10


@pytest.fixture(scope="module")
def pids(world):
    """Of daemons and of session processes, in the middle of a run, which is cancelled at the end."""
    session = world.begin(world.long_plan())
    world.until_training(session, "org-0")
    daemons = {name: daemon.pid for name, daemon in world.consortium.daemons.items()}
    yield daemons, {name: int(world.status(name)["workers"][session]) for name in world.consortium.members}
    world.client.cancel(session)
    world.ended(session)


@pytest.mark.parametrize("heavy", ["torch", "llvmlite"])
def test_only_session_processes_carry_the_engine_s_libraries(pids, heavy):
    """Gateway, nodes and dealer stay lean between sessions and during them."""
    daemons, workers = pids
    for name, pid in daemons.items():
        assert not [library for library in mapped(pid) if heavy in library], name
    for name, pid in workers.items():
        is_needed = name != "dealer" or heavy != "torch"  # a dealer has no CrypTen
        assert bool([library for library in mapped(pid) if heavy in library]) == is_needed, name


def test_a_consortium_fits_a_small_machine(pids):
    """A gateway, a dealer, three nodes and their workers in the middle of a run take less than four gibibytes."""
    daemons, workers = pids
    assert sum(memory(pid) for pid in [*daemons.values(), *workers.values()]) < MACHINE_BYTES
