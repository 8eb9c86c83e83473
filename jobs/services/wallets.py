"""Adds and disables wallets. A key goes in once and never comes out."""

from __future__ import annotations

from datetime import datetime

from django.db import IntegrityError, transaction
from django.views.decorators.debug import sensitive_variables

from jobs.access import Action, Actor, require
from jobs.errors import InvalidInput, Missing
from jobs.models import Network, Wallet
from jobs.ocean.signing import (
    DEV_ADDRESSES,
    Signer,
    key_from_hex,
    key_from_keystore,
    key_from_mnemonic,
    new_key,
)
from jobs.services import vault

SECRET_MAX = 20_000  # characters; a keystore is about 500


@sensitive_variables()
def generate(*, actor: Actor, label: str, now: datetime) -> int:
    """Make a new key, keep it encrypted, and return the wallet's id.

    Raises:
        NotAllowed, InvalidInput
    """
    require(actor, Action.MANAGE_WALLETS)
    return _keep(actor=actor, label=label, key=new_key(), now=now)


@sensitive_variables()
def import_key(*, actor: Actor, label: str, secret_text: str, now: datetime, password: str = "") -> int:
    """Keep a key that exists: 64 hexadecimal digits, a mnemonic, or a keystore JSON with its password.

    Raises:
        NotAllowed: the role does not include it.
        InvalidInput: it is no key, or a publicly known development key and not every network here is a sandbox.
    """
    require(actor, Action.MANAGE_WALLETS)
    text = secret_text.strip()
    if len(text) > SECRET_MAX:
        raise InvalidInput("This is far longer than a key.", field="secret", code="no_key")
    try:
        if text.startswith("{"):
            key = key_from_keystore(text, password)
        elif " " in text:
            key = key_from_mnemonic(text)
        else:
            key = key_from_hex(text)
        address = Signer(key).address
    except ValueError as error:
        raise InvalidInput(str(error), field="secret", code="no_key") from None
    if address in DEV_ADDRESSES and Network.objects.filter(is_sandbox=False).exists():
        raise InvalidInput(
            "This is a publicly known development key: anyone can empty it. It is only taken where every network is "
            "marked as a sandbox.",
            field="secret",
            code="dev_key",
        )
    return _keep(actor=actor, label=label, key=key, now=now)


def disable(*, actor: Actor, wallet_id: int, now: datetime) -> None:
    """Stop launching with a wallet. Jobs that run go on, and their results are still fetched with it.

    Raises:
        NotAllowed, Missing
    """
    wallet = Wallet.objects.filter(team_id=actor.team_id, pk=wallet_id).first()
    if wallet is None:
        raise Missing("There is no such wallet in this team.")
    require(actor, Action.MANAGE_WALLETS)
    Wallet.objects.filter(pk=wallet.pk, disabled_at=None).update(disabled_at=now)


def _keep(*, actor: Actor, label: str, key: bytes, now: datetime) -> int:
    label = label.strip()
    if not label or len(label) > 60:
        raise InvalidInput("A wallet needs a label of 1 to 60 characters.", field="label")
    address = Signer(key).address
    try:
        with transaction.atomic():
            wallet = Wallet.objects.create(
                team_id=actor.team_id,
                label=label,
                address=address,
                encrypted_key=vault.seal(key),
                created_by_id=actor.user_id,
                created_at=now,
            )
    except IntegrityError:
        if Wallet.objects.filter(team_id=actor.team_id, address=address).exists():
            raise InvalidInput("The team already has a wallet with this address.", field="secret") from None
        raise InvalidInput("The team already has a wallet with this label.", field="label") from None
    return wallet.pk
