"""Who speaks: signatures, nonces and tokens as Provider 2.1.6 judges them, in its words.

Written from the recorded exchanges and Provider's source, sharing no line with the portal's client.
Source: oceanprotocol/provider @ 4cd244b : utils/accounts.py, user_nonce.py, routes/auth.py.
"""

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from eth_account.signers.local import LocalAccount
from eth_keys.main import lazy_key_api as keys
from eth_utils.address import to_checksum_address
from eth_utils.conversions import to_bytes
from eth_utils.crypto import keccak

from ocean_portal.sandbox.provider.memory import Memory

PREFIX = b"\x19Ethereum Signed Message:\n32"


class BadSignature(Exception):
    """The message is Provider's own text for `errors.signature`."""


def signed_hash(digest: bytes) -> bytes:
    """Return what is signed for a digest of 32 bytes."""
    return keccak(PREFIX + digest)


def sign(*, account: LocalAccount, message: str) -> str:
    """Sign as Provider does; the last byte is 00 or 01. Source: utils/accounts.py, sign_message."""
    signature = keys.PrivateKey(bytes(account.key)).sign_msg_hash(signed_hash(keccak(text=message)))
    return "0x" + signature.to_bytes().hex()


class Gate:
    """Judges calls by what the memory knows; now in seconds."""

    def __init__(self, *, memory: Memory, account: LocalAccount, now: Callable[[], float]) -> None:
        self._memory = memory
        self._secret = ("0x" + bytes(account.key).hex()).encode()
        self._now = now

    def check_nonce(self, *, address: str, nonce: object) -> None:
        """Refuse a nonce that is smaller than the last one. Raises BadSignature."""
        stored = self._memory.nonce(address=address)
        if stored and Decimal(str(nonce)) < Decimal(stored):
            raise BadSignature(f"Invalid signature expected nonce ({stored}) > current nonce ({nonce}).")

    def check(self, *, address: str, signature: Any, message: str, nonce: object) -> None:
        """Check nonce and signature of message + nonce. Raises BadSignature, ValueError for no address."""
        self.check_nonce(address=address, nonce=nonce)
        shown = signature
        try:
            raw = to_bytes(hexstr=signature)
            last = raw[64] - 27 if raw[64] in (27, 28) else raw[64]
            made = keys.Signature(raw[:64] + bytes([last]) + raw[65:])
            shown = made.to_hex()
            signer = made.recover_public_key_from_msg_hash(signed_hash(keccak(text=f"{message}{nonce}")))
            signer_address = signer.to_address()
        except Exception as error:  # anything a stranger sends that is no signature has this answer
            raise BadSignature(self._words(shown, address, message, nonce, str(error))) from error
        if to_checksum_address(address) != to_checksum_address(signer_address):
            raise BadSignature(self._words(shown, address, message, nonce, signer_address))

    def _words(self, signature: object, address: str, message: str, nonce: object, got: str) -> str:
        return (
            f"Invalid signature {signature} for ethereum address {address}, message {message}"
            f" and nonce {nonce}. Got {got}"
        )

    # tokens

    def issue(self, *, address: str, expiration: int) -> tuple[str, str]:
        """Return a token and what is wrong with it, "" if nothing; a revoked one is good again.

        expiration: seconds since the epoch. Source: recording 90-auth-token.
        """
        token = self._make(address=address, expiration=expiration)
        problem = self.problem(token=token, address=address)
        if problem == "Token is deleted.":
            self._memory.restore(token=token)
            problem = ""
        return token, problem

    def _make(self, *, address: str, expiration: int) -> str:
        claims = {"exp": expiration, "address": address}
        body = ".".join(_encode(_spelt(part)) for part in ({"typ": "JWT", "alg": "HS256"}, claims))
        return f"{body}.{_encode(hmac.digest(self._secret, body.encode(), hashlib.sha256))}"

    def problem(self, *, token: str, address: str) -> str:
        """Return Provider's text about a token that is not good for this address, "" for a good one."""
        body, _, mark = token.rpartition(".")
        try:
            good = hmac.compare_digest(
                _encode(hmac.digest(self._secret, body.encode(), hashlib.sha256)), mark
            )
            claims = json.loads(_decode(body.rpartition(".")[2])) if good else {}
            same = to_checksum_address(claims["address"]) == to_checksum_address(address)
        except (ValueError, KeyError, TypeError, binascii.Error):
            return "Token is invalid."
        if claims.get("exp", 0) <= self._now():
            return "Token is expired."
        if not same:
            return "Token is invalid."
        return "Token is deleted." if self._memory.is_revoked(token=token) else ""

    def revoke(self, *, token: str) -> None:
        """Do not take this token any more."""
        self._memory.revoke(token=token)


def _spelt(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _encode(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).decode().rstrip("=")


def _decode(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
