"""Encrypts and decrypts wallet keys and node tokens. The only module that imports cryptography.

Ciphertexts are Fernet tokens under the first of PORTAL_WALLET_KEYS; any of the keys decrypts, so that keys can rotate.
What holds a secret in a variable says so to Django: reports of errors show the variables of every function on the way.
"""

from __future__ import annotations

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.views.decorators.debug import sensitive_variables

from jobs.errors import PortalError
from jobs.models import NodeToken, Wallet
from jobs.ocean.signing import Signer


class VaultLocked(PortalError):
    """What is stored cannot be decrypted with the keys that the portal was given."""

    code = "vault_locked"


class NoKey(PortalError):
    """The portal only watches this address: it has no key to sign with."""

    code = "no_key"


@sensitive_variables()
def seal(secret: bytes) -> bytes:
    """Encrypt a secret for storage."""
    return _fernet().encrypt(secret)


@sensitive_variables()
def unseal(sealed: bytes, *, what: str) -> bytes:
    """Decrypt a secret of an account. what: names it in the error.

    Raises:
        VaultLocked: none of the portal's keys opens it.
    """
    return _open(sealed, what)


@sensitive_variables()
def signer(wallet: Wallet) -> Signer:
    """Return the signer of a wallet; the key stays inside it.

    Raises:
        VaultLocked: none of the portal's keys opens it.
        NoKey: the wallet is only watched.
    """
    return Signer(_open(wallet.encrypted_key, f"The key of the wallet “{wallet.label}”"))


@sensitive_variables()
def token_text(token: NodeToken) -> str:
    """Return a node's token in clear, for the one request that carries it.

    Raises:
        VaultLocked: none of the portal's keys opens it.
    """
    return _open(token.encrypted_token, f"The node token of “{token.wallet.label}”").decode()


@sensitive_variables()
def former_token_text(token: NodeToken) -> str:
    """Return the token in whose place another one stands, for the request that gives it back. Raises: as `token_text`."""
    return _open(token.encrypted_former, f"The former node token of “{token.wallet.label}”").decode()


def is_sealed_with_first(sealed: bytes | memoryview) -> bool:
    """Say whether the first of the portal's keys opens this: it needs no other."""
    try:
        Fernet(settings.WALLET_KEYS[0]).decrypt(bytes(sealed))
    except InvalidToken:
        return False
    return True


@sensitive_variables()
def seal_again(sealed: bytes | memoryview, what: str) -> bytes:
    """Encrypt with the first of the portal's keys what any of them opens.

    Raises:
        VaultLocked: none does; `what` names the secret.
    """
    return seal(_open(sealed, what))


def _open(sealed: bytes | memoryview | None, what: str) -> bytes:
    if sealed is None:
        raise NoKey(f"{what} is not in the portal, so nothing can be signed with it here.")
    try:
        return _fernet().decrypt(bytes(sealed))
    except InvalidToken:
        raise VaultLocked(
            f"{what} was encrypted with a key that the portal does not have. "
            "An operator has to add that key to PORTAL_WALLET_KEYS."
        ) from None


def _fernet() -> MultiFernet:
    return MultiFernet([Fernet(key) for key in settings.WALLET_KEYS])
