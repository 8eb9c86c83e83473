"""Encrypts for an account, as the Python package eciespy does, which Provider uses.

An ephemeral key (65 bytes), a nonce and a tag of 16 bytes, and the text under AES-256-GCM; the key is
HKDF-SHA-256 over the ephemeral public key and the shared point. Source: eciespy 0.3; the recorded `files`.
"""

import os

from coincurve import PrivateKey, PublicKey
from Crypto.Cipher import AES
from Crypto.Hash import SHA256
from Crypto.Protocol.KDF import HKDF

POINT_BYTES, NONCE_BYTES, TAG_BYTES = 65, 16, 16


def encrypt(*, secret: bytes, content: bytes) -> bytes:
    """Encrypt for whoever has this private key."""
    ephemeral = PrivateKey()
    public = ephemeral.public_key.format(compressed=False)
    shared = PrivateKey(secret).public_key.multiply(ephemeral.secret).format(compressed=False)
    cipher = AES.new(_key(public, shared), AES.MODE_GCM, os.urandom(NONCE_BYTES))
    text, tag = cipher.encrypt_and_digest(content)
    return public + bytes(cipher.nonce) + tag + text


def decrypt(*, secret: bytes, encrypted: bytes) -> bytes:
    """Return what was encrypted for this private key. Raises ValueError for anything else."""
    public, rest = encrypted[:POINT_BYTES], encrypted[POINT_BYTES:]
    nonce, tag, text = (
        rest[:NONCE_BYTES],
        rest[NONCE_BYTES : NONCE_BYTES + TAG_BYTES],
        rest[NONCE_BYTES + TAG_BYTES :],
    )
    shared = PublicKey(public).multiply(secret).format(compressed=False)
    return AES.new(_key(public, shared), AES.MODE_GCM, nonce).decrypt_and_verify(text, tag)


def _key(public: bytes, shared: bytes) -> bytes:
    derived = HKDF(public + shared, 32, b"", SHA256)
    assert isinstance(derived, bytes)
    return derived
