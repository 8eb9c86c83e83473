"""Closes up the file objects of a published service, so that only the sandbox can read them again."""

import json
from typing import Any

from Crypto.Cipher import AES

NONCE_BYTES = TAG_BYTES = 16


class Seal:
    """AES-GCM with the sandbox's own key. A real node uses its key pair; to others both are opaque hex."""

    def __init__(self, *, key: bytes) -> None:
        self._key = key

    def close_up(self, files: dict[str, Any]) -> str:
        """Return opaque 0x-hex text."""
        cipher = AES.new(self._key, AES.MODE_GCM)
        content, tag = cipher.encrypt_and_digest(json.dumps(files).encode())
        return "0x" + (bytes(cipher.nonce) + tag + content).hex()

    def open_up(self, sealed: str) -> dict[str, Any]:
        """Return what was closed up. Raises ValueError for anything that this key did not seal."""
        raw = bytes.fromhex(sealed.removeprefix("0x"))
        nonce, tag, content = (
            raw[:NONCE_BYTES],
            raw[NONCE_BYTES : NONCE_BYTES + TAG_BYTES],
            raw[NONCE_BYTES + TAG_BYTES :],
        )
        opened: dict[str, Any] = json.loads(
            AES.new(self._key, AES.MODE_GCM, nonce).decrypt_and_verify(content, tag)
        )
        return opened
