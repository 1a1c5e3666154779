"""What operators have at hand, by real processes: a node that pauses, a command that is told, a doctor that looks."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.sandbox.consortium import Daemon
from parties.service.lifecycle import State
from tests.e2e.world import World, privity, until

WHO = "org-1"
HAS_GPU = Path("/proc/driver/nvidia/gpus").is_dir()
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


def metrics(world: World) -> dict[tuple[str, ...], float]:
    """What the node tells Prometheus, without a name or an id in it; and no page of another site."""
    url = str(world.status(WHO)["metrics"])
    text = httpx2.get(url).text
    for word in (*world.consortium.members, *world.status(WHO)["sessions"]):
        assert word not in text
    for headers in ({"host": "rebound.example"}, {"origin": "https://elsewhere.example"}):
        assert httpx2.get(url, headers=headers).status_code == 403
    return {
        (sample.name.removeprefix("privity_node_"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


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
    text = settings.read_text().replace("notify = []", command)
    settings.write_text(text.replace('metrics = ""', 'metrics = "127.0.0.1:0"'))
    restart(world)
    assert metrics(world)["paused",] == 1
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
    figures = metrics(world)
    assert (figures["waiting_approvals",], figures["paused",], figures["gateway_connected",]) == (1, 0, 1)
    assert figures["waiting_oldest_seconds",] >= 0
    assert (figures["sessions", "proposed"], figures["sessions", "completed"], figures["sessions", "running"]) == (
        1,
        1,
        0,
    )
    assert figures["audit_log_entries",] > 10
    assert 0 < figures["disk_free_bytes",] < figures["disk_total_bytes",]
    assert min(figures["certificate_expires_days", whose] for whose in ("own", "gateway")) > 3000
    world.client.cancel(waits)
    world.ended(waits)


def test_the_doctor_finds_a_running_node_well(world):
    """Nothing is to be mended where sessions work, and a stopped daemon is no fault."""
    found = doctor(world)
    assert [about for about, states in found.items() if "mend" in states] == []
    world.consortium.daemons[WHO].stop()
    assert [about for about, states in doctor(world).items() if "mend" in states] == []
    restart(world)


@pytest.mark.skipif(HAS_GPU, reason="this machine has a GPU")
def test_a_gpu_that_is_missing_is_told_before_data_are_read(world):
    """A node set to CUDA without a GPU fails its sessions at once: everybody is told who, its operator what to do."""
    settings = world.directory / WHO / "settings.toml"
    text = settings.read_text()
    settings.write_text(text.replace('device = "auto"', 'device = "cuda"'))
    restart(world)
    assert doctor(world)["gpu"] == ["mend"]
    failed = world.train(world.plan)
    assert (failed.state, failed.fault.code, failed.fault.who) == (State.FAILED, "engine", WHO)
    assert "device that its settings ask for" in failed.fault.what
    assert 'device = "auto"' in failed.fault.action
    settings.write_text(text)
    restart(world)
