"""What an operator should see to in good time: certificates that end, partners' keys that wait to be accepted."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from cryptography import x509

from parties.errors import SettingsError
from parties.home import Home
from parties.partners import Partners

WARN: Final = timedelta(days=30)

_WHOSE: Final = {"own": "this daemon's TLS certificate", "gateway": "the gateway's certificate"}
_ACTIONS: Final = {
    "own": "make a home anew under another name, and have it invited",
    "gateway": "ask the gateway's operator what follows it",
}


@dataclass(frozen=True)
class Expiring:
    """A certificate that ends within thirty days, or has ended."""

    certificate: Literal["own", "gateway"]
    ends: datetime
    days: int  # whole ones that are left

    def line(self) -> str:
        """For people."""
        when = f"ends on {self.ends:%Y-%m-%d}, in {self.days} days" if self.days else f"ends on {self.ends:%Y-%m-%d}"
        return f"{_WHOSE[self.certificate]} {when}: {_ACTIONS[self.certificate]}"


def expiring(home: Home, now: datetime) -> list[Expiring]:
    """Of the daemon's own certificate and the one that the gateway must show, those that end soon."""
    certificates: dict[Literal["own", "gateway"], str] = {}
    with suppress(SettingsError):  # a daemon without it does not start
        certificates["own"] = home.tls.certificate
    with suppress(OSError):  # not fetched yet
        certificates["gateway"] = home.path("gateway.pem").read_text(encoding="ascii", errors="replace")
    found = []
    for name, pem in certificates.items():
        with suppress(ValueError):  # a damaged copy of the gateway's is fetched again
            ends = x509.load_pem_x509_certificate(pem.encode()).not_valid_after_utc
            if ends - now <= WARN:
                found.append(Expiring(name, ends, max(0, (ends - now).days)))
    return found


def notices(home: Home, partners: Partners, now: datetime) -> list[str]:
    """One sentence each. Raises: SettingsError if a file of partners is damaged."""
    offered = [
        f"{name} has handed over to the key {key}: compare it over the phone, then `privity partner accept {name}`"
        for name, key in partners.keys().offered.items()
    ]
    return [*(one.line() for one in expiring(home, now)), *offered]
