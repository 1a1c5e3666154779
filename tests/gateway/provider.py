"""An identity provider that a test tells what to say, true or not; it checks PKCE as a good one does."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey

CLIENT = "privity-gateway"


class Provider:
    """`claims` is what it changes of an honest ID token; None leaves a claim out."""

    def __init__(self) -> None:
        self.key = RSAKey.generate_key(2048, parameters={"kid": "one"})
        self.shown_keys = [self.key]
        self.algorithm = "RS256"
        self.claims: dict[str, Any] = {}
        self.description: dict[str, Any] = {}
        self.asked: dict[str, str] = {}  # of the last authorization request
        self.fetched: list[str] = []

    @contextmanager
    def serve(self) -> Iterator[str]:
        """Serve while inside; tells the issuer."""
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider.fetched.append(self.path)
                found = {"/.well-known/openid-configuration": provider.described, "/jwks": provider.keys}[self.path]()
                self.answer(200, found)

            def do_POST(self) -> None:
                form = parse_qs(self.rfile.read(int(self.headers["content-length"])).decode())
                self.answer(*provider.token({name: values[0] for name, values in form.items()}))

            def answer(self, status: int, content: dict[str, Any]) -> None:
                body = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.issuer = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield self.issuer
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    def described(self) -> dict[str, Any]:
        names = {"authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "jwks"}
        found = {key: f"{self.issuer}/{name}" for key, name in names.items()}
        return {"issuer": self.issuer} | found | self.description

    def keys(self) -> dict[str, Any]:
        return dict(KeySet(self.shown_keys).as_dict(private=False))

    def visited(self, address: str) -> dict[str, str]:
        """A browser came to the authorization endpoint; what it was asked with."""
        self.asked = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
        return self.asked

    def token(self, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        challenge = unpadded(hashlib.sha256(form["code_verifier"].encode()).digest())
        known = (self.asked["code_challenge"], self.asked["code_challenge_method"], self.asked["redirect_uri"])
        if (challenge, "S256", form["redirect_uri"]) != known or form["code"] != "good":
            return 400, {"error": "invalid_grant"}
        now = int(time.time())
        honest = {"iss": self.issuer, "aud": CLIENT, "sub": "ada", "iat": now, "exp": now + 60, "groups": ["analysts"]}
        claims = honest | {"nonce": self.asked["nonce"]} | self.claims
        told = {name: value for name, value in claims.items() if value is not None}
        return 200, {"access_token": "x", "token_type": "Bearer", "id_token": self.signed(told)}

    def signed(self, claims: dict[str, Any]) -> str:
        if self.algorithm == "none":
            return self.unsafe({"alg": "none"}, claims, b"")
        if self.algorithm == "HS256":  # keyed by what everybody knows, the public key
            return self.unsafe({"alg": "HS256", "kid": "one"}, claims, self.key.as_pem(private=False))
        return jwt.encode({"alg": self.algorithm, "kid": self.key.kid}, claims, self.key)

    def unsafe(self, header: dict[str, Any], claims: dict[str, Any], key: bytes) -> str:
        """What libraries refuse to make."""
        text = ".".join(unpadded(json.dumps(part).encode()) for part in (header, claims))
        return f"{text}.{unpadded(hmac.digest(key, text.encode(), 'sha256')) if key else ''}"


def unpadded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
