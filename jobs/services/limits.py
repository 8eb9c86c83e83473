"""Sets how much of a token one job may spend from a wallet. Without a limit nothing of it is spent."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from django.db import transaction

from jobs.access import Action, Actor, require
from jobs.errors import InvalidInput, Missing
from jobs.models import Act, SpendingLimit, Token, Wallet
from jobs.ocean.units import from_wei, plain, to_wei
from jobs.services import audit, grants


def set_limit(*, actor: Actor, wallet_id: int, token_id: int, amount: Decimal, now: datetime) -> None:
    """Let one job spend up to an amount of a token (in tokens, not in their smallest unit); 0 lets it spend none.

    Jobs that were launched before are held to the new limit when they come to pay.

    Raises:
        NotAllowed, Missing
        InvalidInput: no amount of that token, or the wallet is only watched.
    """
    wallet = Wallet.objects.filter(team_id=actor.team_id, pk=wallet_id).first()
    token = Token.objects.filter(pk=token_id).select_related("network").first()
    if wallet is not None:
        require(actor, Action.SET_LIMITS)
    if wallet is None or token is None:
        raise Missing("There is no such wallet in this team, or no such token.")
    try:
        wei = to_wei(amount, decimals=token.decimals)
    except ValueError as error:
        raise InvalidInput(str(error), field="amount") from None
    if wei >= 2**256:
        raise InvalidInput("No token has so much of it.", field="amount")
    grants.refuse_watched(wallet)
    with transaction.atomic():
        before = SpendingLimit.objects.select_for_update().filter(wallet=wallet, token=token).first()
        SpendingLimit.objects.update_or_create(
            wallet=wallet,
            token=token,
            defaults={"per_job_wei": wei, "set_by_id": actor.user_id, "set_at": now},
        )
        audit.record(
            act=Act.LIMIT_SET,
            by=actor,
            now=now,
            thing=audit.wallet_thing(wallet),
            before=None if before is None else _told(token, before.per_job_wei),
            after=_told(token, wei),
        )


def _told(token: Token, wei: int) -> dict[str, str]:
    return {
        "token": token.address,
        "symbol": token.symbol,
        "network": token.network.name,
        "per_job": plain(from_wei(int(wei), decimals=token.decimals)),
    }
