"""Sets how much of a token one job may spend from a wallet. Without a limit nothing of it is spent."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from jobs.access import Action, Actor, require
from jobs.errors import InvalidInput, Missing
from jobs.models import SpendingLimit, Token, Wallet
from jobs.ocean.units import to_wei


def set_limit(*, actor: Actor, wallet_id: int, token_id: int, amount: Decimal, now: datetime) -> None:
    """Let one job spend up to an amount of a token (in tokens, not in their smallest unit); 0 lets it spend none.

    Jobs that were launched before are held to the new limit when they come to pay.

    Raises:
        NotAllowed, Missing
        InvalidInput: no amount of that token.
    """
    require(actor, Action.SET_LIMITS)
    wallet = Wallet.objects.filter(team_id=actor.team_id, pk=wallet_id).first()
    token = Token.objects.filter(pk=token_id).first()
    if wallet is None or token is None:
        raise Missing("There is no such wallet in this team, or no such token.")
    try:
        wei = to_wei(amount, decimals=token.decimals)
    except ValueError as error:
        raise InvalidInput(str(error), field="amount") from None
    if wei >= 2**256:
        raise InvalidInput("No token has so much of it.", field="amount")
    SpendingLimit.objects.update_or_create(
        wallet=wallet,
        token=token,
        defaults={"per_job_wei": wei, "set_by_id": actor.user_id, "set_at": now},
    )
