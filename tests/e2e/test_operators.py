"""What operators have at hand, by real processes: a node that pauses, a command that is told, a doctor that looks."""

from __future__ import annotations

import json
import sys

from gateway.consortium import Daemon
from parties.lifecycle import State
from tests.e2e.world import World, privity, until

WHO = "org-1"
TELL = "import sys; open(sys.argv[1], 'a').write(sys.stdin.read())"


def restart(world: World) -> None:
    world.consortium.daemons[WHO].stop()
    world.consortium.daemons[WHO] = Daemon(WHO, ["node", "serve"], world.directory / WHO)
    world.consortium.daemons[WHO].wait_ready()


def doctor(world: World) -> dict[str, list[str]]:
    """States by what was looked at, and status 0 just if nothing is to be mended."""
    done = privity("doctor", "--json", "--home", world.directory / WHO)
    found: dict[str, list[str]] = {}
    for one in json.loads(done.out):
        found.setdefault(one["about"], []).append(one["state"])
    assert done.status == int(any("mend" in states for states in found.values())), done.out
    return found


def test_a_node_is_paused_for_a_restart(world):
    """What runs is finished, what comes is refused and everybody told why, before and after the restart."""
    home = world.directory / WHO
    running = world.begin(world.plan)
    assert privity("node", "pause", "--home", home).status == 0
    refused = world.ended(world.client.propose(world.plan).id)
    assert (refused.state, refused.fault.code, refused.fault.who) == (State.REFUSED, "paused", WHO)
    assert world.ended(running).state == State.COMPLETED

    told = home / "told"
    settings = home / "settings.toml"
    command = f"notify = {json.dumps([sys.executable, '-c', TELL, str(told)])}"
    settings.write_text(settings.read_text().replace("notify = []", command))
    restart(world)
    later = world.ended(world.client.propose(world.plan).id)
    assert (later.state, later.fault.code) == (State.REFUSED, "paused")
    assert "paused since" in privity("node", "status", "--home", home).out
    assert not told.exists()

    assert privity("node", "resume", "--home", home).status == 0
    waits = world.client.propose(world.plan).id
    until("the operator's command to be told", told.exists)
    until("all of its line", lambda: told.read_text().endswith("\n"))
    line = json.loads(told.read_text())
    assert line == {"name": WHO, "happening": "approval-waits", "session": waits, "kind": "training", "code": None}
    assert [one["session"] for one in world.status(WHO)["waiting"]] == [waits]
    world.client.cancel(waits)
    world.ended(waits)


def test_the_doctor_finds_a_running_node_well(world):
    """Nothing is to be mended where sessions work, and a stopped daemon is no fault."""
    found = doctor(world)
    assert [about for about, states in found.items() if "mend" in states] == []
    world.consortium.daemons[WHO].stop()
    assert [about for about, states in doctor(world).items() if "mend" in states] == []
    restart(world)
