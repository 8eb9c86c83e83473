"""An organisation's sign-in to test with: a small OpenID Connect provider, written from the specification.

It answers on the loopback, signs with keys of its own, checks the client, the code, its verifier and the address to
return to, and can be told to lie in one point.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

CLIENT_ID, CLIENT_SECRET = "ocean-portal", "only-for-tests"


def _new_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@dataclass
class Issuer:
    """What it knows, and what it lies about.

    claims: put over those of the signed token; told: over those of the user info; config: over what it publishes of itself.
    """

    url: str = ""
    key: rsa.RSAPrivateKey = field(default_factory=_new_key)
    signs_with: Any = None
    algorithm: str = "RS256"
    claims: dict[str, Any] = field(default_factory=dict)
    told: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    asked: list[dict[str, str]] = field(default_factory=list)
    _codes: dict[str, dict[str, Any]] = field(default_factory=dict)
    _tokens: dict[str, dict[str, Any]] = field(default_factory=dict)

    def sign_in(self, address: str, **person: Any) -> str:
        """Do what its sign-in page does for a person; return where it sends them back to, with a code."""
        asked = dict(parse_qsl(urlsplit(address).query))
        self.asked.append(asked)
        assert address.startswith(self.url + "/authorize?")
        assert asked["client_id"] == CLIENT_ID
        assert asked["response_type"] == "code"
        assert asked["code_challenge_method"] == "S256"
        assert {"openid", "email"} <= set(asked["scope"].split())
        code = secrets.token_urlsafe(16)
        self._codes[code] = {"asked": asked, "person": {"sub": "42", **person}}
        return f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}"

    def describe(self) -> dict[str, Any]:
        """Return what it publishes of itself."""
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "userinfo_endpoint": f"{self.url}/userinfo",
            "jwks_uri": f"{self.url}/keys",
            "token_endpoint_auth_methods_supported": ["client_secret_post"],
            **self.config,
        }

    def keys(self) -> dict[str, Any]:
        """Return its public keys."""
        public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key()))
        return {"keys": [{**public, "kid": "first", "use": "sig", "alg": "RS256"}]}

    def exchange(self, form: dict[str, str]) -> dict[str, Any] | None:
        """Give a token for a code, once, to the client that it is for."""
        known = self._codes.pop(form.get("code", ""), None)
        if known is None or (form.get("client_id"), form.get("client_secret")) != (CLIENT_ID, CLIENT_SECRET):
            return None
        asked, person = known["asked"], known["person"]
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        verifier = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if verifier != asked["code_challenge"] or form.get("redirect_uri") != asked["redirect_uri"]:
            return None
        now = int(time.time())
        claims = {"iss": self.url, "aud": CLIENT_ID, "sub": person["sub"], "iat": now, "exp": now + 300}
        signed = jwt.encode(
            {**claims, "nonce": asked["nonce"], **self.claims},
            self.signs_with or self.key,
            algorithm=self.algorithm,
            headers={"kid": "first"},
        )
        token = secrets.token_urlsafe(16)
        self._tokens[token] = {**person, **self.told}
        return {"access_token": token, "token_type": "Bearer", "id_token": signed}

    def tell(self, authorization: str) -> dict[str, Any] | None:
        """Say of whom an access token speaks."""
        return self._tokens.get(authorization.removeprefix("Bearer "))


@contextmanager
def running() -> Iterator[Issuer]:
    """Let one answer on a free port of the loopback."""
    issuer = Issuer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answers = {
                "/.well-known/openid-configuration": issuer.describe,
                "/keys": issuer.keys,
                "/userinfo": lambda: issuer.tell(self.headers.get("Authorization", "")),
            }
            found = answers.get(self.path)
            self._answer(found() if found else None)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            self._answer(issuer.exchange({name: values[0] for name, values in parse_qs(body).items()}))

        def _answer(self, content: dict[str, Any] | None) -> None:
            body = json.dumps(content or {"error": "invalid_request"}).encode()
            self.send_response(200 if content else 400)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    issuer.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield issuer
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
