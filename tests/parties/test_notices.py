"""Operators are told in good time: of certificates that end, and of keys that wait for them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from parties.keys.identity import Identity
from parties.keys.partners import Partners
from parties.keys.tls import DAEMON_DAYS, Invitation, TlsKey
from parties.service.home import init
from parties.service.notices import expiring, notices

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)


@pytest.fixture
def home(tmp_path):
    token = Invitation.create("clinic-a", "127.0.0.1:9", "ab" * 32).token()
    return init(tmp_path / "home", "party", token, "127.0.0.1:0", NOW)


def in_days(days):
    return NOW + timedelta(days=DAEMON_DAYS - days, minutes=-1)


def test_nothing_is_said_while_there_is_time(home):
    """Until thirty days before its end a certificate is nobody's concern."""
    assert expiring(home, NOW) == []
    assert expiring(home, in_days(31)) == []


@pytest.mark.parametrize(("left", "days"), [(29, 29), (1, 1), (0, 0), (-3, 0)])
def test_an_ending_certificate_is_named_with_its_days(home, left, days):
    """From thirty days before, and after its end."""
    (found,) = expiring(home, in_days(left))
    assert (found.certificate, found.days) == ("own", days)
    assert f"{found.ends:%Y-%m-%d}" in found.line()


def test_the_gateway_s_certificate_counts_too(home):
    """The one that the gateway must show is kept, and read; a damaged copy, which is fetched again, says nothing."""
    path = home.path("gateway.pem")
    path.write_text(TlsKey.generate("gateway", now=NOW, days=10).certificate, encoding="ascii")
    assert [one.certificate for one in expiring(home, NOW)] == ["gateway"]
    path.write_text("damaged", encoding="ascii")
    assert expiring(home, NOW) == []


def test_a_key_that_waits_is_a_notice(home):
    """What a partner's key handed over to stands there with the command that accepts it."""
    partners = Partners(home.path("partners.json"))
    partners.add("clinic-b", Identity.generate().fingerprint)
    assert notices(home, partners, NOW) == []
    partners.offer("clinic-b", Identity.generate().fingerprint)
    (said,) = notices(home, partners, NOW)
    assert "privity partner accept clinic-b" in said
    home.path("partner-keys.json").write_text("damaged")
    assert "is damaged; restore it from a backup" in notices(home, partners, NOW)[0]
