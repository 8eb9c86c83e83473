"""Adds wallets, disables and enables them. A key goes in once and never comes out.

A wallet whose key is not here is only watched: it signs nothing. Whoever brings the key makes it a wallet like others.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from django.db import IntegrityError, transaction
from django.views.decorators.debug import sensitive_variables

from jobs.access import Action, Actor, require
from jobs.errors import InvalidInput
from jobs.models import Act, Network, User, Wallet
from jobs.models.teams import Role
from jobs.ocean.signing import (
    DEV_ADDRESSES,
    Signer,
    key_from_hex,
    key_from_keystore,
    key_from_mnemonic,
    new_key,
)
from jobs.ocean.units import Address
from jobs.services import audit, grants, nodetokens, vault

SECRET_MAX = 20_000  # characters; a keystore is about 500
PATH = "m/44'/60'/0'/0/0"
Form = Literal["key", "phrase", "keystore"]
How = Literal["generated", "key", "phrase", "keystore", "watched", "handed over"]


@sensitive_variables()
def generate(*, actor: Actor, label: str, now: datetime) -> int:
    """Make a new key, keep it encrypted, and return the wallet's id.

    Raises:
        NotAllowed, InvalidInput
    """
    require(actor, Action.MANAGE_WALLETS)
    return _add(actor=actor, label=label, key=new_key(), how="generated", now=now)


@sensitive_variables()
def import_key(
    *,
    actor: Actor,
    label: str,
    secret_text: str,
    now: datetime,
    form: Form | None = None,
    password: str = "",
    path: str = PATH,
) -> int:
    """Keep a key that exists: 64 hexadecimal digits, a recovery phrase at a path, or a keystore JSON with its password.

    form: what the text is; None tells by its looks. Where the team watches the address already, that wallet gets the key.
    Raises:
        NotAllowed: the role does not include it.
        InvalidInput: it is no key (field "secret" or "path"), or a publicly known development key and not every network
            here is a sandbox.
    """
    require(actor, Action.MANAGE_WALLETS)
    text = secret_text.strip()
    if len(text) > SECRET_MAX:
        raise InvalidInput("This is far longer than a key.", field="secret", code="no_key")
    form = form or ("keystore" if text.startswith("{") else "phrase" if " " in text else "key")
    try:
        if form == "keystore":
            key = key_from_keystore(text, password)
        elif form == "phrase":
            key = key_from_mnemonic(text, path)
        else:
            key = key_from_hex(text)
        address = Signer(key).address
    except ValueError as error:
        about_path = str(error).startswith("A derivation path")
        raise InvalidInput(str(error), field="path" if about_path else "secret", code="no_key") from None
    if address in DEV_ADDRESSES and Network.objects.filter(is_sandbox=False).exists():
        raise InvalidInput(
            "This is a publicly known development key: anyone can empty it. It is only taken where every network is "
            "marked as a sandbox.",
            field="secret",
            code="dev_key",
        )
    return _add(actor=actor, label=label, key=key, how=form, now=now)


def watch(*, actor: Actor, label: str, address: str, now: datetime) -> int:
    """Look at an address without its key, and return the wallet's id.

    Raises:
        NotAllowed
        InvalidInput: it is no address, or its capital letters do not fit.
    """
    require(actor, Action.MANAGE_WALLETS)
    try:
        checked = Address.parse(address)
    except ValueError as error:
        raise InvalidInput(str(error), field="address", code="no_address") from None
    with transaction.atomic():
        wallet = add_row(
            team_id=actor.team_id,
            by=actor,
            label=label,
            address=checked,
            sealed=None,
            field="address",
            now=now,
        )
        audit.record(
            act=Act.WALLET_ADDED,
            by=actor,
            now=now,
            thing=audit.wallet_thing(wallet),
            after={"address": wallet.address, "how": "watched"},
        )
    return wallet.pk


def disable(*, actor: Actor, wallet_id: int, now: datetime) -> None:
    """Stop launching with a wallet. Jobs that run go on, and their results are still fetched with it.

    Its tokens at nodes are given back. Its grants and limits stay, and count again once it is enabled.

    Raises:
        NotAllowed, Missing
    """
    wallet = Wallet.objects.of_team(team_id=actor.team_id, wallet_id=wallet_id)
    require(actor, Action.MANAGE_WALLETS)
    with transaction.atomic():
        if not Wallet.objects.filter(pk=wallet.pk, disabled_at=None).update(disabled_at=now):
            return
        nodetokens.give_back_all(wallet_id=wallet.pk, now=now)
        audit.record(act=Act.WALLET_DISABLED, by=actor, now=now, thing=audit.wallet_thing(wallet))


def enable(*, actor: Actor, wallet_id: int, now: datetime) -> None:
    """Take a disabled wallet into use again; its node tokens do not come back by themselves.

    Raises:
        NotAllowed, Missing
    """
    wallet = Wallet.objects.of_team(team_id=actor.team_id, wallet_id=wallet_id)
    require(actor, Action.MANAGE_WALLETS)
    with transaction.atomic():
        if Wallet.objects.filter(pk=wallet.pk, disabled_at__isnull=False).update(disabled_at=None):
            audit.record(act=Act.WALLET_ENABLED, by=actor, now=now, thing=audit.wallet_thing(wallet))


def add_row(
    *,
    team_id: int,
    by: Actor,
    label: str,
    address: str,
    sealed: bytes | None,
    now: datetime,
    field: str = "secret",
) -> Wallet:
    """Write a wallet of a team, or give its key to one that the team only watches; within the caller's transaction.

    sealed: the encrypted key; None for an address that is only watched.

    Raises:
        InvalidInput: label or address are taken; `field` is named for the address.
    """
    label = label.strip()
    if not label or len(label) > 60:
        raise InvalidInput("A wallet needs a label of 1 to 60 characters.", field="label")
    known = Wallet.objects.select_for_update().filter(team_id=team_id, address=address).first()
    if known is not None and (sealed is None or not known.watch_only):
        raise InvalidInput(
            f"The team already has a wallet with this address: “{known.label}”"
            f"{', which is disabled' if known.disabled_at else ''}.",
            field=field,
        )
    try:
        with transaction.atomic():
            if known is None:
                return Wallet.objects.create(
                    team_id=team_id,
                    label=label,
                    address=address,
                    encrypted_key=sealed,
                    created_by_id=by.user_id,
                    created_at=now,
                )
            Wallet.objects.filter(pk=known.pk, encrypted_key=None).update(
                label=label, encrypted_key=sealed, disabled_at=None
            )
    except IntegrityError:
        if known is None and Wallet.objects.filter(team_id=team_id, address=address).exists():
            raise InvalidInput("The team already has a wallet with this address.", field=field) from None
        raise InvalidInput("The team already has a wallet with this label.", field="label") from None
    return Wallet.objects.get(pk=known.pk)


@sensitive_variables()
def _add(*, actor: Actor, label: str, key: bytes, how: How, now: datetime) -> int:
    address = Signer(key).address
    with transaction.atomic():
        watched = Wallet.objects.filter(team_id=actor.team_id, address=address, encrypted_key=None).first()
        sealed = vault.seal(key)
        wallet = add_row(
            team_id=actor.team_id, by=actor, label=label, address=address, sealed=sealed, now=now
        )
        before = (
            None if watched is None else {"label": watched.label, "disabled": watched.disabled_at is not None}
        )
        audit.record(
            act=Act.WALLET_ADDED if watched is None else Act.WALLET_GOT_KEY,
            by=actor,
            now=now,
            thing=audit.wallet_thing(wallet),
            before=before,
            after={"address": wallet.address, "how": how},
        )
        if actor.role == Role.OWNER and actor.user_id is not None:
            # An owner could grant it to themself in any case; nobody else adds a wallet and spends from it alone.
            grants.give(actor=actor, wallet=wallet, user=User.objects.get(pk=actor.user_id), now=now)
    return wallet.pk
