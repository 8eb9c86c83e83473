"""Decides who speaks: signatures, nonces and tokens as an Ocean Node 3.2.0 judges them.

Written from the recorded exchanges and sharing no line with the portal's client, so that a
misunderstanding on either side is a red test.
"""

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Callable
from decimal import Decimal

from eth_account import Account
from eth_account.messages import encode_defunct
from eth_utils.address import is_address
from eth_utils.crypto import keccak

from ocean_portal.sandbox.store import Store

NO_CREDENTIALS = (
    "Invalid authentication, you need to provide either a token or an address, signature, message and nonce"
)
MISMATCH = "consumer address and nonce signature mismatch"
INVALID_TOKEN = "Invalid token"  # noqa: S105 - the text of an error


class Unauthorized(Exception):
    """Refuses a call; the message is the node's own text, to be sent with status 401."""


def parse_nonce(*, text: object) -> int | None:
    """Read a nonce as JavaScript's parseInt does: leading digits only, None (its NaN) without any.

    Above 2**53 the number is rounded to a double and printed in JavaScript's way, so that a signed
    text with more digits does not match any more. Source: recording 18, exchange 24; 26.
    """
    match = re.match(r"\s*([+-]?\d+)", str(text))
    if match is None:
        return None
    number = int(match[1])
    return number if abs(number) <= 2**53 else int(Decimal(repr(float(number))))


def signature_matches(*, address: str, nonce: int, command: str, signature: str) -> bool:
    """Tell whether the address signed address + nonce + command.

    Two forms are good: the personal signature of the digest's 0x-hex text, and of the digest's bytes
    without their leading zero bytes. Source: recording 28.
    """
    digest = keccak(text=f"{address}{nonce}{command}")
    for signable in (
        encode_defunct(text="0x" + digest.hex()),
        encode_defunct(primitive=digest.lstrip(b"\0")),
    ):
        try:
            signer = Account.recover_message(signable, signature=signature)
        except Exception:  # noqa: S112 - anything a stranger sends that is no signature is a mismatch
            continue
        if signer.lower() == address.lower():
            return True
    return False


class Gate:
    """Lets calls in by signature or by token, and keeps the counters."""

    def __init__(self, *, store: Store, secret: bytes, now: Callable[[], float]) -> None:
        self._store = store
        self._secret = secret
        self._now = now

    def admit(
        self, *, address: object, nonce: object, signature: object, command: str, token: str | None = None
    ) -> None:
        """Let the call pass or raise Unauthorized with the node's text.

        A complete signature wins over a token. A nonce is used up by a good signature even if the call
        fails later, and not by a bad one. Source: recordings 15 and 26.
        """
        if not (address and nonce and signature):
            if not token:
                raise Unauthorized(NO_CREDENTIALS)
            if not self._store.token_is_valid(token=token, now_ms=int(self._now() * 1000)):
                raise Unauthorized(INVALID_TOKEN)
            return
        number = parse_nonce(text=nonce)
        if number is None:
            raise Unauthorized("nonce: NaN is not a valid nonce")
        if not is_address(address) or not signature_matches(
            address=str(address), nonce=number, command=command, signature=str(signature)
        ):
            raise Unauthorized(MISMATCH)
        if not self._store.use_nonce(address=str(address), nonce=number):
            raise Unauthorized(f"nonce: {number} is not a valid nonce")

    def issue_token(self, *, address: str, nonce: str, valid_until: int | None) -> str:
        """Make and remember a token as recorded; valid_until is in milliseconds. Source: recording 15."""
        now = self._now()
        claims = {"address": address, "nonce": nonce, "createdAt": int(now * 1000), "iat": int(now)}
        body = ".".join(
            _encode(json.dumps(part, separators=(",", ":")))
            for part in ({"alg": "HS256", "typ": "JWT"}, claims)
        )
        token = f"{body}.{_encode(hmac.digest(self._secret, body.encode(), hashlib.sha256))}"
        self._store.add_token(token=token, address=address, valid_until=valid_until)
        return token


def _encode(part: str | bytes) -> str:
    raw = part.encode() if isinstance(part, str) else part
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")
