"""What a gateway tells the operator of a node that asks, and what the doctor makes of it."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path

import pytest

from gateway.home import invite
from parties.doctor import others
from parties.doctor.examination import examine
from parties.doctor.symptom import Symptom
from parties.errors import GatewayError
from parties.keys.identity import Identity
from parties.keys.partners import Partners
from parties.keys.tls import utc_now
from parties.service.home import Home, init
from parties.service.messages import Welcome
from tests.gateway.conftest import DEADLINE_S, Daemon, House


@pytest.fixture
def home(gateway: House, tmp_path: Path) -> Home:
    """A node's home that has an invitation of a gateway that serves."""
    return init(tmp_path / "node", "party", invite(gateway.home, "clinic-a"), "127.0.0.1:0", utc_now())


def joined(gateway: House, home: Home) -> Daemon:
    """As the home's daemon does."""
    invitation = invite(gateway.home, "somebody")  # of which the address counts alone
    daemon = Daemon(invitation, "party", key=home.tls, identity=home.identity)
    daemon.name = home.settings.name
    gateway.daemons.append(daemon)
    daemon.dial().hear(Welcome)
    return daemon


def said(home: Home, about: str = "partner clinic-b", **dialled: str) -> list[Symptom]:
    found: Iterator[Symptom] = others.partners(
        home, others.hear(home), {name.replace("_", "-"): address for name, address in dialled.items()}
    )
    return [one for one in found if one.about == about]


@pytest.mark.parametrize(("ahead_s", "state"), [(0, "ok"), (30, "note"), (-30, "note"), (300, "mend"), (-300, "mend")])
def test_clocks_are_compared(gateway, home, ahead_s, state):
    """By the gateway's own answer, either way, with what the call took as the doubt."""
    joined(gateway, home)
    gateway.time_ahead = timedelta(seconds=ahead_s)
    (one,) = others.clock(others.hear(home))
    assert one.state == state
    if ahead_s:
        assert ("behind" in one.what) == (ahead_s > 0)
        assert abs(float(one.what.split(" s ")[0]) - abs(ahead_s)) < 5


def test_only_who_has_joined_is_told(gateway, home):
    """An invitation opens the connection, and no more; the certificate that joined is asked for."""
    heard = others.hear(home)
    assert isinstance(heard, GatewayError)
    assert "those that have joined" in heard.what
    (one,) = others.clock(heard)
    assert (one.state, "start this daemon" in one.action) == ("note", True)
    joined(gateway, home)
    told = others.hear(home)
    assert not isinstance(told, GatewayError)
    assert {one.name: one.public_key for one in told.overview.participants}["clinic-a"] == home.identity.public.hex()


def test_a_partner_s_key_is_compared_with_the_one_confirmed(gateway, home):
    """The gateway's word is believed in nothing: another key than the confirmed one must be mended."""
    joined(gateway, home)
    partner = gateway.joined("clinic-b")
    known = Partners(home.path("partners.json"))
    known.add("clinic-b", partner.identity.fingerprint)
    one, _ = said(home)
    assert (one.state, "by the confirmed key" in one.what) == ("ok", True)
    known.remove("clinic-b")
    known.add("clinic-b", (other := Identity.generate()).fingerprint)
    one, _ = said(home)
    assert (one.state, other.fingerprint in one.what, partner.identity.fingerprint in one.what) == ("mend", True, True)
    known.offer("clinic-b", partner.identity.fingerprint)
    assert "handed over to" in said(home)[0].what


def test_a_partner_that_is_away_or_unknown_is_told(gateway, home):
    """With since when, and whom to ask."""
    joined(gateway, home)
    known = Partners(home.path("partners.json"))
    known.add("clinic-b", Identity.generate().fingerprint)
    assert "knows nobody of that name" in said(home)[0].what
    known.add("gateway", Identity.generate().fingerprint)  # which cosigns heads, and takes no part in sessions
    assert said(home, "partner gateway") == []
    partner = gateway.invited("clinic-b")
    assert "has not joined yet" in said(home)[0].what
    known.remove("clinic-b")
    known.add("clinic-b", partner.identity.fingerprint)
    partner.dial().hear(Welcome)
    partner.hang_up()
    deadline = time.monotonic() + DEADLINE_S
    while (one := said(home)[0]).state == "ok":
        assert time.monotonic() < deadline
    assert "it is not connected since" in one.what


def test_a_partner_that_runs_and_can_not_be_reached_is_to_be_mended(gateway, home):
    """Then something in between is wrong; of one that is down it is only worth knowing."""
    joined(gateway, home)
    partner = gateway.joined("clinic-b")
    Partners(home.path("partners.json")).add("clinic-b", partner.identity.fingerprint)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    _, port = said(home, clinic_b=address)
    assert (port.state, port.action) == ("mend", "let firewalls at both ends pass it")


def test_releases_are_compared(gateway, home):
    """The gateway's and the partners', with the one that is installed here."""
    joined(gateway, home)
    partner = gateway.joined("clinic-b")  # says none, as an earlier release
    Partners(home.path("partners.json")).add("clinic-b", partner.identity.fingerprint)
    heard = others.hear(home)
    assert [one.state for one in others.release(heard)] == ["ok"]
    (one,) = [one for one in others.partners(home, heard, {}) if one.about == "versions"]
    assert f"clinic-b runs an earlier release, here is {version('privity')}" in one.what


def test_the_whole_examination_asks_once_and_changes_nothing(gateway, home):
    """The home is as it was, and the daemon's stream stays up."""
    daemon = joined(gateway, home)
    before = {path: path.lstat().st_mtime_ns for path in home.directory.rglob("*")}
    about = [one.about for one in examine(home, utc_now())]
    assert about.count("versions") == 2
    assert {path: path.lstat().st_mtime_ns for path in home.directory.rglob("*")} == before
    daemon.settled()
