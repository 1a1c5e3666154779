"""Under which addresses this gateway is asked for: Host and Origin of any other are refused.

By DNS rebinding a web page's name can be made to resolve to any machine, this one included: only requests that name an
address of this gateway are looked at, and only its own pages may change anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from gateway.errors import Forbidden
from parties.web.addresses import names_loopback


@dataclass(frozen=True)
class Places:
    """`urls` are the public ones, as scheme and host; a gateway that listens on loopback has every name of that too."""

    urls: tuple[str, ...] = ()
    is_loopback: bool = True
    has_tls: bool = False

    def is_secure(self, host: str) -> bool:
        """Whether a browser that names this host comes by https, here or at a proxy before."""
        return self.has_tls or f"https://{host.lower()}" in self.urls

    def base(self, host: str) -> str:
        """The address under which a request that names this host came."""
        return f"{'https' if self.is_secure(host) else 'http'}://{host.lower()}"

    def check_host(self, headers: Headers) -> None:
        """Raises: Forbidden for a name that is not this gateway's: a page could have made it resolve to here."""
        host = headers.get("host", "")
        if self.base(host) in self.urls or (self.is_loopback and names_loopback(host)):
            return
        known = " or ".join(self.urls) or "http://127.0.0.1:PORT"
        raise Forbidden("the request names another host than this gateway", action=f"use {known}")

    def check_origin(self, headers: Headers) -> None:
        """Raises: Forbidden if another site's page made the request."""
        origin, own = headers.get("origin"), self.base(headers.get("host", ""))
        foreign = origin is not None and origin.lower() != own
        if foreign or headers.get("sec-fetch-site", "none") not in {"none", "same-origin"}:
            raise Forbidden("another site's page made this request", action="use the gateway's own pages or client")


def parse_url(text: str) -> str:
    """Scheme and host of a public address, as browsers write an Origin. Raises: ValueError."""
    parts = urlsplit(text.rstrip("/").lower())
    if (
        parts.scheme not in {"http", "https"}
        or not parts.hostname
        or text.rstrip("/").lower() != f"{parts.scheme}://{parts.netloc}"
    ):
        raise ValueError(f"'{text}' is not https://HOST or https://HOST:PORT")
    if parts.scheme == "http" and not names_loopback(parts.netloc):
        raise ValueError(f"'{text}' is not https: tokens and cookies would travel in the clear")
    if "@" in parts.netloc:
        raise ValueError(f"'{text}' is not https://HOST or https://HOST:PORT")
    return f"{parts.scheme}://{parts.netloc}"
