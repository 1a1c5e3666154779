"""Partners hold logs to what they have seen: one that was rolled back is refused, and does not verify."""

from __future__ import annotations

import shutil

import pytest

from gateway.sandbox.consortium import GATEWAY, Consortium, Daemon
from parties.audit.events import DisclosureRecorded, HeadRefused, SessionCompleted, TranscriptSigned
from parties.audit.snapshot import locate, take
from parties.audit.verify import verify
from parties.audit.witnesses import cosigned_of
from tests.e2e.world import ID, World, plan_for, privity, split_columns, until


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    files = split_columns(tmp_path_factory.mktemp("files"), "diabetes", 2)
    plan = plan_for(files, max_iter=5)
    with Consortium(tmp_path_factory.mktemp("consortium"), plan) as consortium:
        consortium.start(files, ID, lambda _: None)
        yield World(consortium)


def entries(world, name):
    return [entry.event for entry in take(locate(world.directory / name)).entries()]


def of_session(world, name, session, kind):
    return [event for event in entries(world, name) if isinstance(event, kind) and event.session == session]


def covered(world, name):
    """Who cosigned this participant's log with the session's end in it."""
    end = next(number for number, event in enumerate(entries(world, name)) if isinstance(event, SessionCompleted))
    heads = cosigned_of(world.directory / name)
    return {head.cosigner.name for head in heads if head.checkpoint.size > end} - {GATEWAY}  # who hears of it later


def test_a_session_s_end_is_cosigned_by_everybody_in_it(world, tmp_path):
    """Each participant's log holds the others' cosignatures on a head that covers the session; a bundle shows them."""
    shutil.copy(locate(world.directory / "org-0"), world.directory / "older.sqlite")
    session = world.train(world.plan)
    assert session.state == "completed"
    members = set(world.consortium.members)
    for name in sorted(members):
        until(f"the cosignatures for {name}", lambda name=name: covered(world, name) == members - {name})
        shown = privity("audit", "verify", world.directory / name)
        assert shown.status == 0, shown.out
        for other in members - {name}:
            key = world.consortium.identities()[other]
            assert f"entries, by {other} ({key})" in shown.out
    out = tmp_path / "session.bundle"
    home = world.directory / "org-0"
    assert privity("audit", "export", session.id, "--home", home, "--out", out).status == 0
    assert privity("audit", "verify", out).out.count("cosigned: ") == len(members) - 1


def test_the_gateway_s_own_log_is_cosigned_by_everybody(world):
    """Whoever confirmed the gateway's key cosigned its log with the session's end in it; a rewritten one would show."""
    members, gateway = set(world.consortium.members), world.directory / "gateway"
    until("the cosignatures for the gateway", lambda: covered(world, "gateway") == members)
    shown = privity("audit", "verify", gateway, "--key", world.consortium.identities()["gateway"])
    assert shown.status == 0, shown.out
    for name in members:
        assert f"entries, by {name} ({world.consortium.identities()[name]})" in shown.out
        kept = privity("audit", "heads", "--of", "gateway", "--home", world.directory / name)
        (world.directory / "gateway.head").write_text(kept.out, encoding="utf-8")
        alone = privity("audit", "verify", locate(gateway), "--head", world.directory / "gateway.head")
        assert (alone.status, alone.out.startswith("verified")) == (0, True)


def test_a_session_s_transcript_is_signed_by_both_parties(world, tmp_path):
    """Each party holds the other's signature, each disclosure its transcript, and reconciling says so."""
    session = world.train(world.plan).id
    bundles = {name: tmp_path / f"{name}.bundle" for name in world.parties}
    for name in world.parties:
        until("the signature", lambda name=name: of_session(world, name, session, TranscriptSigned))
        (signed,) = of_session(world, name, session, TranscriptSigned)
        assert signed.equal
        disclosed = of_session(world, name, session, DisclosureRecorded)
        assert disclosed
        assert all(event.transcript for event in disclosed)
        home = world.directory / name
        assert privity("audit", "export", session, "--home", home, "--out", bundles[name]).status == 0
    told = privity("audit", "reconcile", *bundles.values())
    assert told.status == 0, told.out
    assert told.out.count("'s signature on the transcript") == 2
    assert "does NOT hold" not in told.out


def test_a_rolled_back_log_is_refused_by_every_partner(world):
    """An older copy of a log under the same key: partners refuse it, both sides log it, and it does not verify."""
    home, others = world.directory / "org-0", set(world.consortium.members) - {"org-0"}
    kept = privity("audit", "heads", "--of", "org-0", "--home", world.directory / "org-1")
    (world.directory / "kept.head").write_text(kept.out, encoding="utf-8")
    world.consortium.daemons["org-0"].stop()
    shutil.copy(world.directory / "older.sqlite", locate(home))
    world.consortium.daemons["org-0"] = Daemon("org-0", ["node", "serve"], home)
    world.consortium.daemons["org-0"].wait_ready()

    def refusals(name):
        return [event for event in entries(world, name) if isinstance(event, HeadRefused) and event.log == "org-0"]

    for name in sorted(others):
        until(f"the refusal of {name}", lambda name=name: len(refusals(name)) == 1)
        (refused,) = refusals(name)
        assert (refused.by, refused.reason) == (name, "rollback")
        until("its record at org-0", lambda refused=refused: refused in refusals("org-0"))
    verdict = verify(home)
    assert verdict.failure is not None
    assert verdict.failure.fault in {"rollback", "fork"}
    # The log alone, as an auditor who is handed the file has it: the head that a partner kept tells.
    alone = privity("audit", "verify", locate(home), "--head", world.directory / "kept.head")
    assert (alone.status, "the head given" in alone.out) == (1, True)
