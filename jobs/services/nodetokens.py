"""Gets tokens from nodes for the wallets that a person wants one for, renews them in time, and gives them back.

A token stands in for signatures (see `gateway.signed`). A node's is bound to no address (recordings 15 and 35): whoever
holds it acts there for anyone. So none is asked for unless a person wants it, none lives for long, and the one before is
given back as soon as the new one is kept.

What is about to be asked for is written down before the request leaves. A token whose answer got lost is known to nobody:
its row says until when it may be valid.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import QuerySet

from jobs.access import Action, Actor, require
from jobs.errors import InvalidInput, Missing, PortalError
from jobs.models import Act, Node, NodeToken, Wallet
from jobs.ocean.compute import ComputeBackend
from jobs.ocean.errors import OceanError, Rejected
from jobs.ocean.signing import Pen
from jobs.services import audit, vault
from jobs.services.budget import OutOfBudget, Purpose
from jobs.services.gateway import Clock, open_node, signed_with_key

LIFETIME = timedelta(hours=6)
RENEW_BEFORE = timedelta(hours=2)  # a node may be away for that long before requests are signed again
CLAIM = timedelta(minutes=3)  # longer than the wait for a turn and the answer together
TICK = timedelta(microseconds=1)
PAUSE, PAUSE_MAX = timedelta(minutes=1), timedelta(hours=1)
BATCH = 50


def want(*, actor: Actor, wallet_id: int, node_id: int, now: datetime) -> None:
    """Have the worker get a token of a wallet at a node, and renew it from then on.

    Raises:
        NotAllowed, Missing
        InvalidInput: the wallet cannot sign, the node gives no tokens, or the token is wanted already.
    """
    wallet = Wallet.objects.of_team(team_id=actor.team_id, wallet_id=wallet_id)
    require(actor, Action.MANAGE_WALLETS)
    node = Node.objects.filter(pk=node_id).first()
    if node is None or not node.can.tokens:
        raise InvalidInput("Choose one of the nodes that give tokens.", field="node", code="no_node")
    if wallet.watch_only:
        raise InvalidInput(
            "The portal only watches this wallet. A token is asked for with a signature, and there is no key here to sign "
            "with.",
            field="node",
            code="no_key",
        )
    if wallet.disabled_at is not None:
        raise InvalidInput("This wallet is disabled.", field="node", code="disabled")
    with transaction.atomic():
        row, created = NodeToken.objects.get_or_create(
            wallet=wallet, node=node, defaults={"next_try_at": now}
        )
        again = {"wanted": True, "next_try_at": now, "trouble": "", "trouble_count": 0}
        if not created and not NodeToken.objects.filter(pk=row.pk, wanted=False).update(**again):
            raise InvalidInput(
                f"The wallet has a token at {node.name} already, or is about to get one.",
                field="node",
                code="wanted",
            )
        _record(Act.NODE_TOKEN_WANTED, by=actor, wallet=wallet, node=node, now=now)


def give_back(*, actor: Actor, wallet_id: int, token_id: int, now: datetime) -> None:
    """Use a token no longer, and have the worker give it back to its node.

    Raises:
        NotAllowed, Missing
        InvalidInput: that is under way already.
    """
    wallet = Wallet.objects.of_team(team_id=actor.team_id, wallet_id=wallet_id)
    row = NodeToken.objects.select_related("node").filter(pk=token_id, wallet=wallet).first()
    if row is None:
        raise Missing("This wallet has no such token.")
    require(actor, Action.MANAGE_WALLETS)
    with transaction.atomic():
        if not _unwanted(NodeToken.objects.filter(pk=row.pk), now=now):
            raise InvalidInput("The token is being given back already.", field="")
        _record(Act.NODE_TOKEN_GIVEN_BACK, by=actor, wallet=wallet, node=row.node, now=now)


def give_back_all(*, wallet_id: int, now: datetime) -> int:
    """Use none of a wallet's tokens any longer and have them given back; return how many there are.

    For whoever disables a wallet or hands it over, in the transaction and with the audit entry of that act. The worker
    signs the giving back with the wallet's key: a key that leaves the portal has to stay until that is done.
    """
    return _unwanted(NodeToken.objects.filter(wallet_id=wallet_id), now=now)


def claim_due(*, now: datetime) -> list[int]:
    """Return the tokens that something is to be done about, pushed on so that no other process takes them too."""
    due = NodeToken.objects.filter(next_try_at__lte=now).order_by("next_try_at", "pk")[:BATCH]
    return [
        row.pk
        for row in due.only("pk", "next_try_at")
        if NodeToken.objects.filter(pk=row.pk, next_try_at=row.next_try_at).update(next_try_at=now + CLAIM)
    ]


def tend(*, token_id: int, clock: Clock) -> None:
    """Do what is due about a token: get one, renew it, give back the one before, or the last one.

    Safe to run twice, late, or never: each write pushes `next_try_at` on from the value that was seen last, and what a
    request is about is written in the wallet's turn at the node, just before and just after it.
    """
    row = NodeToken.objects.select_related("wallet", "node").filter(pk=token_id).first()
    if row is None:
        return
    try:
        with open_node(node=row.node, purpose=Purpose.ACT, clock=clock) as backend:
            if not _is_wanted(row):
                _give_back_last(row=row, backend=backend, clock=clock)
            elif row.encrypted_token is None or _ends_soon(row, now=clock()):
                _get(row=row, backend=backend, clock=clock)
            _give_back_former(row=row, backend=backend, clock=clock)
    except _Elsewhere:
        return
    except OutOfBudget as error:
        _mine(row).update(next_try_at=error.available_at)
    except (OceanError, PortalError) as error:
        _put_off(row=row, message=error.message, now=clock())
    else:
        _done(row=row, now=clock())


class _Elsewhere(Exception):
    """Another process is at it, or a person has changed their mind."""


def _get(*, row: NodeToken, backend: ComputeBackend, clock: Clock) -> None:
    """Ask for a token and keep it; the one before becomes the former.

    Raises: _Elsewhere, after giving back what could not be kept.
    """
    lost_before = row.unknown_until if row.unknown_until and row.unknown_until > clock() else None
    asked, unkept = False, ""

    def ask(pen: Pen) -> None:
        nonlocal asked, unkept
        until = (clock() + LIFETIME).replace(microsecond=0)
        _push(row, clock=clock, unknown_until=max(until, lost_before or until))
        asked = True
        text = backend.create_token(proof=pen, valid_until_ms=int(until.timestamp()) * 1000)
        kept: dict[str, Any] = {
            "encrypted_token": vault.seal(text.encode()),
            "expires_at": until,
            "unknown_until": lost_before,
        }
        if row.encrypted_token is not None:
            kept |= {"encrypted_former": row.encrypted_token, "former_until": row.expires_at}
        try:
            _push(row, clock=clock, **kept)
        except _Elsewhere:
            unkept = text
            raise

    try:
        signed_with_key(
            backend=backend, wallet=row.wallet, node=row.node, clock=clock, act=ask, call="ask for a token"
        )
    except (OceanError, OutOfBudget) as error:
        if asked and not getattr(error, "maybe_happened", False):
            _push(row, clock=clock, unknown_until=lost_before)  # there certainly is none
        raise
    except _Elsewhere:
        if unkept:
            with suppress(OceanError, PortalError):  # its row says until when it is valid
                _invalidate(unkept, row=row, backend=backend, clock=clock)
        raise


def _give_back_former(*, row: NodeToken, backend: ComputeBackend, clock: Clock) -> None:
    if row.encrypted_former is None:
        return
    if row.former_until is not None and row.former_until > clock():
        _invalidate(vault.former_token_text(row), row=row, backend=backend, clock=clock)
    _push(row, clock=clock, encrypted_former=None, former_until=None)


def _give_back_last(*, row: NodeToken, backend: ComputeBackend, clock: Clock) -> None:
    """Give back the token that nobody wants any more; what has ended by itself needs no giving back."""
    if row.encrypted_token is None:
        return
    if row.expires_at is not None and row.expires_at > clock():
        _invalidate(vault.token_text(row), row=row, backend=backend, clock=clock)
    _push(row, clock=clock, encrypted_token=None, expires_at=None)


def _invalidate(text: str, *, row: NodeToken, backend: ComputeBackend, clock: Clock) -> None:
    """Have a node take a token no longer; to say it twice does no harm."""
    try:
        signed_with_key(
            backend=backend,
            wallet=row.wallet,
            node=row.node,
            clock=clock,
            act=lambda pen: backend.invalidate_token(proof=pen, token=text),
            call="give a token back",
        )
    except Rejected as error:
        if error.code != "token":  # that one says that it is gone there already
            raise


def _done(*, row: NodeToken, now: datetime) -> None:
    """Note when something is due again; what nobody wants and no node has is gone."""
    lost = row.unknown_until if row.unknown_until and row.unknown_until > now else None
    if _is_wanted(row):
        due = row.expires_at - RENEW_BEFORE if row.expires_at else now
        _mine(row).update(next_try_at=due, unknown_until=lost, trouble="", trouble_count=0)
    elif lost is not None:
        _mine(row).update(next_try_at=lost, trouble="", trouble_count=0)
    else:
        _mine(row).delete()


def _put_off(*, row: NodeToken, message: str, now: datetime) -> None:
    """Try again later, with a pause that grows; what has ended meanwhile is let go of."""
    pause = min(PAUSE * (1 << min(row.trouble_count, 6)), PAUSE_MAX)
    facts: dict[str, Any] = {"trouble": message[:500], "trouble_count": min(row.trouble_count + 1, 1000)}
    if row.expires_at is not None and row.expires_at <= now:
        facts |= {"encrypted_token": None, "expires_at": None}
    if row.former_until is not None and row.former_until <= now:
        facts |= {"encrypted_former": None, "former_until": None}
    _mine(row).update(next_try_at=now + pause, **facts)


def _push(row: NodeToken, *, clock: Clock, **facts: Any) -> None:
    """Write to the row and hold it for as long as one more request may take. Raises: _Elsewhere."""
    seen = row.next_try_at
    until = max(clock() + CLAIM, seen + TICK if seen else clock())
    if not _mine(row).update(next_try_at=until, **facts):
        raise _Elsewhere
    for name, value in (facts | {"next_try_at": until}).items():
        setattr(row, name, value)


def _is_wanted(row: NodeToken) -> bool:
    return row.wanted and row.wallet.disabled_at is None and not row.wallet.watch_only


def _ends_soon(row: NodeToken, *, now: datetime) -> bool:
    return row.expires_at is None or row.expires_at - now <= RENEW_BEFORE


def _mine(row: NodeToken) -> QuerySet[NodeToken]:
    """Return the row as long as nobody has pushed it on, or wants something else of it, since it was read."""
    return NodeToken.objects.filter(pk=row.pk, next_try_at=row.next_try_at, wanted=row.wanted)


def _unwanted(rows: QuerySet[NodeToken], *, now: datetime) -> int:
    """Note that tokens are not wanted any more; the worker gives them back at its next beat."""
    return rows.filter(wanted=True).update(wanted=False, next_try_at=now, trouble="", trouble_count=0)


def _record(act: Act, *, by: Actor, wallet: Wallet, node: Node, now: datetime) -> None:
    audit.record(
        act=act,
        by=by,
        now=now,
        thing=audit.wallet_thing(wallet),
        after={"node": node.name},
    )
