"""An operator sees at a glance what waits, since when, what ends soon, and whether there is room."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta

import pytest

from parties.agreement.plan import RetentionPlan
from parties.keys.tls import DAEMON_DAYS, utc_now
from parties.service.lifecycle import State
from parties.service.standing import Ending, duration, ending_data, lines, waiting
from tests.parties.page.conftest import Clinic


@pytest.fixture
def clinic(tmp_path) -> Iterator[Clinic]:
    made = Clinic(tmp_path)
    yield made
    made.stop()


def status(clinic) -> dict:
    """As it goes over the operator's socket."""
    return json.loads(json.dumps(clinic.do(clinic.node.local_handlers()["status"]({}))))


def test_what_waits_is_told_with_its_age(clinic):
    """Contracts that wait for the operator, since when, and until when; others are not among them."""
    session = clinic.proposed()
    refused = clinic.proposed(purpose="another")
    clinic.node.refuse_for(refused, "purpose")
    (found,) = waiting(clinic.node.store, utc_now() + timedelta(hours=3))
    assert (found.session, found.kind) == (session, "training")
    assert 3 * 3600 <= found.age_s < 3 * 3600 + 60
    assert found.expires == clinic.agreed(session).expires
    assert "training waits for its operator for 3 h 0 min, until " in found.line()
    told = status(clinic)
    assert [one["session"] for one in told["waiting"]] == [session]
    assert told["sessions"] == {session: State.PROPOSED, refused: State.REFUSED}


def test_what_ends_soon_is_told(clinic):
    """Shares of models within their last week, and certificates within their last thirty days."""
    trained = clinic.contract(retention=RetentionPlan(model_days=30))
    clinic.keep_share(trained)
    assert clinic.node.ends_soon(utc_now()) == []
    (model,) = ending_data(clinic.node.models, clinic.node.vault, utc_now() + timedelta(days=24))
    assert (model.what, model.name) == ("model", trained.digest)
    (certificate,) = [
        one for one in clinic.node.ends_soon(utc_now() + timedelta(days=DAEMON_DAYS - 20)) if one.what == "certificate"
    ]
    assert certificate.name == "own"
    clinic.home.path("models").joinpath(f"{trained.digest}.model").write_bytes(b"damaged")
    assert clinic.node.ends_soon(utc_now() + timedelta(days=24)) == []


def test_status_is_read_at_a_glance(clinic):
    """One line each: the gateway, the pause, the room on the disk, what waits, what ends."""
    session = clinic.proposed()
    clinic.do(clinic.node.local_handlers()["node-pause"]({}))
    told = status(clinic)
    assert told["paused"]
    assert told["version"] == clinic.node.version
    assert 0 < told["disk"]["free_bytes"] <= told["disk"]["total_bytes"]
    told["ends_soon"] = [Ending(what="data set", name="common", ends=utc_now()).model_dump(mode="json")]
    shown = "\n".join(lines(told))
    for part in (
        "NOT connected",
        "NOTE: paused since",
        "GiB free of",
        f"{session[:12]}  training waits",
        "common ends",
    ):
        assert part in shown


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0 min"), (3599, "59 min"), (7260, "2 h 1 min"), (200_000, "2 d 7 h")]
)
def test_ages_are_in_two_units(seconds, words):
    """Minutes of a day-old matter are of no interest."""
    assert duration(seconds) == words
