"""What an operator should see to in good time: certificates that end, partners' keys that wait, a pause that lasts."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from cryptography import x509

from parties.errors import SettingsError
from parties.keys.partners import Partners
from parties.service.home import Home
from parties.service.pause import Pause

Certificate = Literal["own", "gateway"]

WARN: Final = timedelta(days=30)

_WHOSE: Final = {"own": "this daemon's TLS certificate", "gateway": "the gateway's certificate"}
_ACTIONS: Final = {
    "own": "make a home anew under another name, and have it invited",
    "gateway": "ask the gateway's operator what follows it",
}


@dataclass(frozen=True)
class Expiring:
    """A certificate that ends within thirty days, or has ended."""

    certificate: Certificate
    ends: datetime
    days: int  # whole ones that are left

    def line(self) -> str:
        """For people."""
        when = f"ends on {self.ends:%Y-%m-%d}, in {self.days} days" if self.days else f"ends on {self.ends:%Y-%m-%d}"
        return f"{_WHOSE[self.certificate]} {when}: {_ACTIONS[self.certificate]}"


def certificates(home: Home) -> dict[Certificate, str]:
    """Those (PEM) that are there and undamaged."""
    found: dict[Certificate, str] = {}
    with suppress(SettingsError):  # a daemon without it does not start
        found["own"] = home.tls.certificate
    with suppress(OSError, ValueError):  # not fetched yet; a damaged copy is fetched again
        pem = home.path("gateway.pem").read_text(encoding="ascii", errors="replace")
        x509.load_pem_x509_certificate(pem.encode())
        found["gateway"] = pem
    return found


def expiring(home: Home, now: datetime) -> list[Expiring]:
    """Of the daemon's own certificate and the one that the gateway must show, those that end soon."""
    found = [of_certificate(name, pem, now) for name, pem in certificates(home).items()]
    return [one for one in found if one is not None]


def days_left(pem: str, now: datetime) -> int:
    """Whole days until a certificate ends; negative once it has. Raises: ValueError if it is not a certificate."""
    return (x509.load_pem_x509_certificate(pem.encode()).not_valid_after_utc - now).days


def of_certificate(name: Certificate, pem: str, now: datetime) -> Expiring | None:
    """None while there is time. Raises: ValueError if it is not a certificate."""
    ends = x509.load_pem_x509_certificate(pem.encode()).not_valid_after_utc
    return Expiring(name, ends, max(0, (ends - now).days)) if ends - now <= WARN else None


def notices(home: Home, partners: Partners, now: datetime) -> list[str]:
    """One sentence each."""
    said = [one.line() for one in expiring(home, now)]
    if (since := Pause(home).since) is not None:
        said.append(f"paused since {since:%Y-%m-%d %H:%M} UTC, contracts are refused: `privity node resume` ends that")
    try:
        offered = partners.keys().offered
    except SettingsError as exc:
        return [*said, str(exc)]
    return said + [
        f"{name} has handed over to the key {key}: compare it over the phone, then `privity partner accept {name}`"
        for name, key in offered.items()
    ]
