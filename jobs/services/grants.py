"""Gives and takes back the right to spend from a wallet. Who spends needs it beside a role that launches for money.

Nobody's grant is asked for where the portal itself acts, or an operator at the command line.

Whoever gives one holds the lock of the team's row, as those do who change its members: a grant that was given at the moment
of a removal would outlive it.
"""

from __future__ import annotations

from datetime import datetime

from django.db import transaction

from jobs.access import ALLOWED, Action, Actor, require
from jobs.errors import InvalidInput, NotAllowed
from jobs.models import Act, Membership, Team, User, Wallet, WalletGrant
from jobs.models.teams import Role
from jobs.services import audit

NAMED = 3  # how many of those who can help are named


def grant(*, actor: Actor, wallet_id: int, user_id: int, now: datetime) -> bool:
    """Let a member spend from a wallet; return whether they could not before.

    Raises:
        NotAllowed, Missing
        InvalidInput: the wallet is disabled or only watched, or the member's role does not launch what costs money.
    """
    with transaction.atomic():
        # Before the wallet's, and not against those who only refer to the team: a launch locks its wallet, then refers.
        list(Team.objects.select_for_update(no_key=True).filter(pk=actor.team_id))
        wallet = Wallet.objects.select_for_update().of_team(team_id=actor.team_id, wallet_id=wallet_id)
        require(actor, Action.GRANT_WALLETS)
        refuse_watched(wallet)
        if wallet.disabled_at is not None:
            raise InvalidInput(
                f"“{wallet.label}” is disabled. Enable it before you grant its use.", field="user"
            )
        member = (
            Membership.objects.filter(team_id=actor.team_id, user_id=user_id).select_related("user").first()
        )
        if member is None:
            raise InvalidInput("This person is no member of the team.", field="user", code="no_member")
        if Role(member.role) not in ALLOWED[Action.LAUNCH_PAID]:
            raise InvalidInput(
                f"{member.user} is {member.role} in this team, and that role launches nothing that costs money. "
                "An owner can change it.",
                field="user",
                code="role",
            )
        return give(actor=actor, wallet=wallet, user=member.user, now=now)


def give(*, actor: Actor, wallet: Wallet, user: User, now: datetime) -> bool:
    """Write a grant and its entry, within the caller's transaction and after its checks; return whether it is new."""
    _, new = WalletGrant.objects.get_or_create(
        wallet=wallet, user=user, defaults={"granted_by_id": actor.user_id, "granted_at": now}
    )
    if new:
        _record(act=Act.GRANTED, actor=actor, wallet=wallet, user=user, now=now)
    return new


def take_back(*, actor: Actor, wallet_id: int, user_id: int, now: datetime) -> bool:
    """Let a person spend from a wallet no longer; return whether they could. What they launched goes on, and is paid.

    Raises:
        NotAllowed, Missing
    """
    with transaction.atomic():
        wallet = Wallet.objects.select_for_update().of_team(team_id=actor.team_id, wallet_id=wallet_id)
        require(actor, Action.GRANT_WALLETS)
        row = wallet.grants.select_related("user").filter(user_id=user_id).first()
        if row is None:
            return False
        row.delete()
        _record(act=Act.GRANT_TAKEN, actor=actor, wallet=wallet, user=row.user, now=now)
    return True


def is_granted(*, actor: Actor, wallet_id: int) -> bool:
    """Say whether this person may spend from the wallet, as far as grants go; one query, none for the portal itself."""
    if actor.user_id is None:
        return True
    return WalletGrant.objects.filter(wallet_id=wallet_id, user_id=actor.user_id).exists()


def require_grant(*, actor: Actor, wallet: Wallet) -> None:
    """Raise NotAllowed, with who can change it, unless this person may spend from the wallet."""
    if is_granted(actor=actor, wallet_id=wallet.pk):
        return
    raise NotAllowed(
        f"Nobody has granted you the use of the wallet “{wallet.label}”, and this costs money or gas. "
        f"{who_can_grant(team_id=actor.team_id)} can grant it to you.",
        code="no_grant",
    )


def refuse_watched(wallet: Wallet) -> None:
    """Raise InvalidInput, with words, where the portal has no key to act with."""
    if wallet.watch_only:
        raise InvalidInput(
            f"“{wallet.label}” is only watched: the portal has no key of it, so it signs nothing and pays nothing.",
            field="wallet",
            code="watch_only",
        )


def who_can_grant(*, team_id: int) -> str:
    """Name those who can grant the use of the team's wallets, as the beginning of a sentence."""
    roles = [role.value for role in Role if role in ALLOWED[Action.GRANT_WALLETS]]
    rows = Membership.objects.filter(team_id=team_id, role__in=roles).select_related("user").order_by("pk")
    names = [str(row.user) for row in rows[: NAMED + 1]]
    if not names:
        return f"An {' or '.join(roles)} of the team"
    if len(names) > NAMED:
        names = [*names[:NAMED], "others"]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def _record(*, act: Act, actor: Actor, wallet: Wallet, user: User, now: datetime) -> None:
    person = {"user": user.pk, "name": str(user)}
    audit.record(
        act=act,
        by=actor,
        now=now,
        thing=audit.wallet_thing(wallet),
        before=person if act == Act.GRANT_TAKEN else None,
        after=person if act == Act.GRANTED else None,
    )
