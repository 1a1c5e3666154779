"""A webhook, which is told something by POST over HTTPS, signed so that it knows the sender.

The body is the line that a command gets. `X-Hub-Signature-256` is its HMAC-SHA256 in hex, under a secret that only the
daemon and the receiver have, in the form in which GitHub signs. Redirects are not followed, no proxy is asked, and of
the answer nothing but the status is read. The address may hold a secret of its own: the log has the host alone.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ssl
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Final

import structlog

from parties.errors import SettingsError
from parties.keys.identity import check_private

REQUEST_S: Final = 10.0  # for one try, from the connection to the answer's status
PAUSES_S: Final = (1.0, 5.0, 25.0, 125.0)  # between tries
LEAST_SECRET_BYTES: Final = 16
SIGNATURE: Final = "X-Hub-Signature-256"
_LATER: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})

log = structlog.get_logger("privity")


class NotTold(Exception):
    """A try failed. `again`: another one may succeed."""

    def __init__(self, why: str, *, again: bool) -> None:
        super().__init__(why)
        self.again = again


def load_secret(path: Path) -> bytes:
    """Raises: SettingsError if the file is missing, readable by others, or too short to be one."""
    try:
        check_private(path, path.stat())
        secret = path.read_bytes().strip()
    except OSError as exc:
        raise SettingsError(
            f"notify_secret_file: {path} can't be read: {exc.strerror}",
            action=f"write a secret that the webhook has too: (umask 077; openssl rand -hex 32 > {path})",
        ) from exc
    if len(secret) < LEAST_SECRET_BYTES:
        raise SettingsError(
            f"notify_secret_file: {path} has {len(secret)} bytes; a secret has {LEAST_SECRET_BYTES} at least",
            action="write a longer one, here and at the webhook",
        )
    return secret


def signature(secret: bytes, body: bytes) -> str:
    """What the header says of a body."""
    return f"sha256={hmac.new(secret, body, hashlib.sha256).hexdigest()}"


class Webhook:
    """One address; its secret is not printed."""

    def __init__(
        self,
        url: str,
        secret: bytes,
        trust: ssl.SSLContext,
        pauses_s: Sequence[float] = PAUSES_S,
        request_s: float = REQUEST_S,
    ) -> None:
        import httpx2  # which a daemon without one need not load

        self._url, self._secret, self._trust = httpx2.URL(url), secret, trust
        self._pauses_s, self._request_s = tuple(pauses_s), request_s

    def __repr__(self) -> str:
        return f"Webhook({self._url.host})"

    async def tell(self, line: bytes) -> None:
        """Again after each pause, where that may help; what it comes to in the end stands in the operational log."""
        body, host = line.rstrip(b"\n"), self._url.host
        for pause_s in (*self._pauses_s, None):
            try:
                await self._post(body)
            except NotTold as exc:
                if pause_s is None or not exc.again:
                    log.warning("notify: the webhook was not told", host=host, why=str(exc))
                    return
                log.info("notify: the webhook is told again later", host=host, why=str(exc), in_s=pause_s)
                await asyncio.sleep(pause_s)
            else:
                return

    async def _post(self, body: bytes) -> None:
        """Raises: NotTold."""
        import httpx2

        headers = {
            "content-type": "application/json",
            "user-agent": "privity",
            SIGNATURE: signature(self._secret, body),
        }
        try:
            async with (
                asyncio.timeout(self._request_s),
                httpx2.AsyncClient(verify=self._trust, trust_env=False, timeout=None) as http,
                http.stream("POST", self._url, content=body, headers=headers) as response,
            ):
                check(response.status_code)
        except TimeoutError as exc:
            raise NotTold(f"it took more than {self._request_s:g} s", again=True) from exc
        except httpx2.HTTPError as exc:
            if "CERTIFICATE_VERIFY_FAILED" in str(exc):
                raise NotTold("its certificate is of no authority that is trusted here", again=False) from exc
            raise NotTold(f"no connection, or it broke ({type(exc).__name__})", again=True) from exc


def check(status: int) -> None:
    """Raises: NotTold unless the status says that it was taken."""
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        raise NotTold(f"it answered {status}, and redirects are not followed", again=False)
    if not HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        raise NotTold(f"it answered {status}", again=status in _LATER or status >= HTTPStatus.INTERNAL_SERVER_ERROR)
