"""Logins by an identity provider: OpenID Connect's code flow with PKCE, and every check of what comes back.

Nothing of an ID token counts before its signature by one of the provider's keys, its issuer, audience, time and nonce
are right. A user whom the provider vouches for may do what the settings' grants give, and else nothing.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx2
import structlog
from authlib.integrations.base_client import OAuthError
from authlib.integrations.httpx_client import AsyncOAuth2Client
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from gateway.access.accounts import OF_PROVIDER
from gateway.access.logins import Attempt
from gateway.access.principal import Principal
from gateway.access.tokens import Token
from gateway.errors import NoProvider, Unauthorised
from gateway.settings import Grant, OidcSettings, is_confidential
from parties.web.trust import trusted

log = structlog.get_logger()

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
TIMEOUT_S = 10.0
KNOWN_S = 3600.0  # how long the provider's description and keys are taken for known
LEEWAY_S = 30  # between its clock and ours
_AGAIN = "log in again; if that does not help, see the gateway's log"


class Provider:
    """The identity provider. Every method raises NoProvider if it can't be reached, or is not what it should be."""

    def __init__(
        self,
        home: Path,
        settings: OidcSettings,
        gateway_url: str,
        *,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raises: SettingsError if the client's secret can't be read."""
        self.issuer = settings.issuer
        self._settings, self._redirect = settings, f"{gateway_url}/oidc/callback"
        self._secret = Token.load(home / settings.client_secret_file) if settings.client_secret_file else None
        self._now, self._monotonic = now, monotonic
        self._known: tuple[dict[str, Any], KeySet] | None = None
        self._known_until = 0.0

    async def address(self, attempt: Attempt) -> str:
        """Where the browser goes to log in."""
        described, _ = await self._described()
        async with self._client() as client:
            url, _ = client.create_authorization_url(
                described["authorization_endpoint"],
                state=attempt.state,
                nonce=attempt.nonce,
                code_verifier=attempt.verifier,
            )
        return str(url)

    async def principal(self, attempt: Attempt, code: str) -> tuple[Principal | None, str]:
        """Whom the provider vouches for, None if no grant fits; and the account.

        Raises: Unauthorised if what it says does not hold.
        """
        claims = await self._claims(attempt, code)
        account = account_of(self._settings.issuer, str(claims["sub"]))
        grant = grant_for(claims, self._settings.grants)
        if grant is None:
            return None, account
        return Principal(account, grant.organisation, grant.role, name=_name(claims)), account

    async def _claims(self, attempt: Attempt, code: str) -> Mapping[str, Any]:
        described, _ = await self._described()
        try:
            async with self._client() as client:
                told = await client.fetch_token(
                    described["token_endpoint"],
                    code=code,
                    code_verifier=attempt.verifier,
                    grant_type="authorization_code",
                )
        except OAuthError as exc:
            log.warning("the identity provider takes no code", error=str(exc.error)[:60])
            raise Unauthorised("the identity provider does not take this login's code", action=_AGAIN) from exc
        except (httpx2.HTTPError, ValueError) as exc:
            raise self._unreachable() from exc
        if not isinstance(told.get("id_token"), str):
            raise Unauthorised("the identity provider answered without an ID token", action=_AGAIN)
        return await self._checked(told["id_token"], attempt.nonce)

    async def _checked(self, id_token: str, nonce: str) -> Mapping[str, Any]:
        _, keys = await self._described()
        try:
            try:
                token = jwt.decode(id_token, keys, algorithms=ALGORITHMS)
            except (JoseError, ValueError):  # it may have new keys
                _, keys = await self._described(anew=True)
                token = jwt.decode(id_token, keys, algorithms=ALGORITHMS)
            check_claims(token.claims, self._settings, nonce, int(self._now()))
        except (JoseError, ValueError) as exc:
            log.warning("an ID token does not hold", error=str(exc)[:200])
            raise Unauthorised(
                f"the identity provider's ID token does not hold: {getattr(exc, 'error', 'malformed')}", action=_AGAIN
            ) from exc
        return token.claims

    async def _described(self, *, anew: bool = False) -> tuple[dict[str, Any], KeySet]:
        if self._known is None or anew or self._monotonic() >= self._known_until:
            async with httpx2.AsyncClient(timeout=TIMEOUT_S, verify=trusted(), trust_env=False) as client:
                described = await self._fetch(client, f"{self._settings.issuer}/.well-known/openid-configuration")
                self._check_description(described)
                keys = await self._fetch(client, described["jwks_uri"])
            try:
                self._known = described, KeySet.import_key_set(keys)  # type: ignore[arg-type]
            except (JoseError, ValueError, KeyError, TypeError) as exc:
                raise self._unreachable("its keys can't be read") from exc
            self._known_until = self._monotonic() + KNOWN_S
        return self._known

    async def _fetch(self, client: httpx2.AsyncClient, url: str) -> dict[str, Any]:
        try:
            answer = await client.get(url)
            content = answer.raise_for_status().json()
        except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as exc:
            raise self._unreachable() from exc
        if not isinstance(content, dict):
            raise self._unreachable("what it says of itself can't be read")
        return content

    def _check_description(self, described: Mapping[str, Any]) -> None:
        if described.get("issuer") != self._settings.issuer:
            raise self._unreachable("it names itself otherwise than `issuer` in the settings")
        for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
            if not isinstance(described.get(name), str) or not is_confidential(described[name]):
                raise self._unreachable(f"its {name} is missing, or not https")

    def _client(self) -> AsyncOAuth2Client:
        return AsyncOAuth2Client(
            self._settings.client_id,
            self._secret.reveal() if self._secret else None,
            scope=" ".join(self._settings.scopes),
            redirect_uri=self._redirect,
            code_challenge_method="S256",
            timeout=TIMEOUT_S,
            verify=trusted(),
            trust_env=False,
        )

    def _unreachable(self, why: str = "it does not answer as one") -> NoProvider:
        return NoProvider(
            f"the identity provider {self._settings.issuer} can't be asked: {why}",
            action="try again; if that does not help, ask the gateway's operator",
        )


def check_claims(claims: Mapping[str, Any], settings: OidcSettings, nonce: str, now: int) -> None:
    """That an ID token is this provider's, for this gateway, in time, and for this login. Raises: JoseError."""
    registry = jwt.JWTClaimsRegistry(
        now=now,
        leeway=LEEWAY_S,
        iss={"essential": True, "value": settings.issuer},
        aud={"essential": True, "value": settings.client_id},
        sub={"essential": True},
        exp={"essential": True},
        iat={"essential": True},
        nonce={"essential": True, "value": nonce},
    )
    registry.validate(dict(claims))
    audiences = claims["aud"] if isinstance(claims["aud"], list) else [claims["aud"]]
    if claims.get("azp", settings.client_id) != settings.client_id or (len(audiences) > 1 and "azp" not in claims):
        raise ValueError("azp")
    if not 0 < len(claims["sub"]) <= 255:
        raise ValueError("sub")


def account_of(issuer: str, subject: str) -> str:
    """The account's name here: it says nothing of the user, and stays the same."""
    return OF_PROVIDER + hashlib.sha256(f"{issuer} {subject}".encode()).hexdigest()[:16]


def grant_for(claims: Mapping[str, Any], grants: Sequence[Grant]) -> Grant | None:
    """The first that fits: its claim is the value, or a list that has it."""
    for grant in grants:
        found = claims.get(grant.claim)
        if found == grant.value or (isinstance(found, list) and grant.value in found):
            return grant
    return None


def _name(claims: Mapping[str, Any]) -> str:
    """For people: a text that the provider vouches for, without what moves a cursor."""
    found = next((claims[key] for key in ("name", "preferred_username", "email") if claims.get(key)), "")
    return "".join(letter for letter in str(found) if letter.isprintable())[:100]
