"""Encrypts anew, with the first of the portal's keys, what an older one had encrypted: so that the older can be dropped.

One secret at a time, each in a transaction of its own with its audit entry, and only as long as it is what was read: what
somebody writes meanwhile is not lost. What is done is done, whenever the process ends: the next run goes on behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.apps import apps
from django.db import transaction
from django.db.models import Model

from jobs.access import Person
from jobs.models import Act, NodeToken, Wallet
from jobs.services import audit, vault
from jobs.services.gateway import Clock

PASSES_MAX = 5
# Where django-allauth keeps what its adapter has encrypted. Source: allauth 65.21, mfa/totp and mfa/recovery_codes, auth.py
FACTOR_SECRETS = ("secret", "seed")
OPERATOR = Person(user_id=None, name="the operator", origin="command line")


@dataclass(frozen=True)
class Sealed:
    """A secret in the database, as it is stored. name: what people call it.

    same: its row's way back: writes another ciphertext if the row still has this one, and says whether it had.
    """

    kind: str
    id: str
    name: str
    stored: bytes
    same: Callable[[bytes], bool]
    act: Act
    team_id: int | None


@dataclass(frozen=True)
class Rotation:
    """What a run did. done: by kind; lost: what none of the keys opens; left: what others kept writing to."""

    done: dict[str, int]
    lost: tuple[str, ...]
    left: tuple[str, ...]


@dataclass(frozen=True)
class Count:
    """What is stored, by the key that it needs. old: all that the first key does not open and another does."""

    new: int
    old: int
    lost: tuple[str, ...]


def rotate(*, clock: Clock, told: Callable[[Sealed], None] = lambda _: None) -> Rotation:
    """Encrypt with the first key whatever needs another one; passes are made until one finds nothing.

    A process with the old list of keys may store something during a pass. told: is called after each one that is done.
    """
    done: dict[str, int] = {}
    lost: dict[str, None] = {}
    left: dict[str, None] = {}
    for _ in range(PASSES_MAX):
        found = 0
        lost.clear()
        left.clear()
        for secret in _secrets():
            if vault.is_sealed_with_first(secret.stored):
                continue
            try:
                won = _seal_again(secret, now=clock())
            except vault.VaultLocked:
                lost[secret.name] = None
                continue
            if won:
                found += 1
                done[secret.kind] = done.get(secret.kind, 0) + 1
                told(secret)
            else:
                found += 1
                left[secret.name] = None
        if not found:
            break
    return Rotation(done=done, lost=tuple(lost), left=tuple(left))


def count() -> Count:
    """Count what each key is needed for; nothing is written."""
    new = old = 0
    lost: list[str] = []
    for secret in _secrets():
        if vault.is_sealed_with_first(secret.stored):
            new += 1
            continue
        try:
            vault.seal_again(secret.stored, secret.name)
        except vault.VaultLocked:
            lost.append(secret.name)
        else:
            old += 1
    return Count(new=new, old=old, lost=tuple(lost))


def _seal_again(secret: Sealed, *, now: datetime) -> bool:
    """Store the secret anew, with its audit entry; False: somebody has written there since it was read.

    Raises:
        VaultLocked: none of the keys opens it.
    """
    sealed = vault.seal_again(secret.stored, secret.name)
    with transaction.atomic():
        won = secret.same(sealed)
        if won:
            audit.record(
                act=secret.act,
                by=OPERATOR,
                now=now,
                thing=audit.Thing(secret.kind, secret.id, secret.name),
                team_id=secret.team_id,
            )
    return won


def _secrets() -> Iterator[Sealed]:
    """Go through every secret that the vault has sealed, one row in memory at a time."""
    yield from _wallets()
    yield from _tokens()
    yield from _factors()


def _wallets() -> Iterator[Sealed]:
    for wallet in Wallet.objects.exclude(encrypted_key=None).order_by("pk").iterator(chunk_size=100):
        stored = bytes(wallet.encrypted_key or b"")
        yield Sealed(
            kind="wallet",
            id=str(wallet.pk),
            name=f"wallet “{wallet.label}” {wallet.address}",
            stored=stored,
            same=_column(wallet, "encrypted_key", stored),
            act=Act.WALLET_SEALED_AGAIN,
            team_id=wallet.team_id,
        )


def _tokens() -> Iterator[Sealed]:
    rows = NodeToken.objects.select_related("wallet", "node").defer("wallet__encrypted_key").order_by("pk")
    for row in rows.iterator(chunk_size=100):
        for column in ("encrypted_token", "encrypted_former"):
            stored = bytes(getattr(row, column) or b"")
            if stored:
                former = "former " if column == "encrypted_former" else ""
                yield Sealed(
                    kind="node token",
                    id=str(row.pk),
                    name=f"{former}token of “{row.wallet.label}” at {row.node.name}",
                    stored=stored,
                    same=_column(row, column, stored),
                    act=Act.WALLET_SEALED_AGAIN,
                    team_id=row.wallet.team_id,
                )


def _column(row: Model, column: str, stored: bytes) -> Callable[[bytes], bool]:
    """Return the way back to a column that holds a ciphertext."""
    same = type(row)._default_manager.filter(pk=row.pk, **{column: stored})
    return lambda sealed: bool(same.update(**{column: sealed}))


def _factors() -> Iterator[Sealed]:
    """Go through the secrets of second factors: texts within the JSON that django-allauth keeps."""
    if not apps.is_installed("allauth.mfa"):
        return
    factors: Any = apps.get_app_config("mfa").get_model("Authenticator")._default_manager
    for factor in factors.order_by("pk").iterator(chunk_size=100):
        for part in FACTOR_SECRETS:
            text = factor.data.get(part)
            if isinstance(text, str) and text:
                yield Sealed(
                    kind="second factor",
                    id=str(factor.pk),
                    name=f"second factor {factor.pk} ({factor.type}) of person {factor.user_id}",
                    stored=text.encode(),
                    same=_json(factors, factor, part),
                    act=Act.FACTOR_SEALED_AGAIN,
                    team_id=None,
                )


def _json(factors: Any, factor: Any, part: str) -> Callable[[bytes], bool]:
    """Return the way back to a text within the JSON of a row, all of which has to be as it was read."""
    before = dict(factor.data)

    def write(sealed: bytes) -> bool:
        return bool(factors.filter(pk=factor.pk, data=before).update(data=before | {part: sealed.decode()}))

    return write
