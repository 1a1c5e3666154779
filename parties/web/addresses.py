"""Loopback addresses: where pages may listen, and under which names a browser may come."""

from __future__ import annotations

import ipaddress
from typing import NamedTuple
from urllib.parse import urlsplit

MAX_PORT = 65_535


class Address(NamedTuple):
    """Where a socket listens; port 0 lets the system choose."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it; a name other than localhost may resolve to anything."""
        return is_loopback(self.host)


def parse_address(text: str) -> Address:
    """Raises: ValueError if it is not HOST:PORT or [IPV6]:PORT."""
    host, _, port = text.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    if not bare or (":" in bare and bare == host) or not (port.isascii() and port.isdigit()) or int(port) > MAX_PORT:
        raise ValueError(f"'{text}' is not HOST:PORT")
    return Address(bare, int(port))


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def names_loopback(header: str) -> bool:
    """Whether a request's Host is this machine; a page could have made the browser resolve any other name to here."""
    try:
        return is_loopback(urlsplit(f"//{header}").hostname or "")
    except ValueError:
        return False
