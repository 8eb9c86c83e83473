"""Hands a wallet to another team: the key moves, the history stays.

The other team's wallet is a new row with the key encrypted anew. Numbers of transactions and of requests to nodes are kept
per address, so they go on. What the address has in escrows goes with it. Grants, limits and node tokens do not.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from django.db import transaction

from jobs.access import Action, Actor, Person, require
from jobs.errors import InvalidInput, Missing, NotAllowed
from jobs.lifecycle import TERMINAL
from jobs.models import (
    Act,
    EscrowAccount,
    Job,
    Membership,
    NodeToken,
    Result,
    Team,
    Transaction,
    User,
    Wallet,
)
from jobs.models.teams import Role
from jobs.services import audit, grants, nodetokens, settling, vault, wallets

NAMED = 3
_OPEN = (Transaction.Status.PLANNED, *Transaction.UNDER_WAY)


def hand_over(*, actor: Actor, wallet_id: int, to: str, label: str, now: datetime) -> int:
    """Give a wallet to another team whose owner the actor is too; return its id there.

    to: the other team's slug. label: what that team calls it.
    Raises:
        NotAllowed: the actor is not the owner of both teams.
        Missing: no such wallet, or no such team for this person.
        InvalidInput: something still needs the key here, or the other team has this address or label.
    """
    with transaction.atomic():
        wallet = Wallet.objects.select_for_update().of_team(team_id=actor.team_id, wallet_id=wallet_id)
        require(actor, Action.HAND_WALLETS_OVER)
        if wallet.encrypted_key is None:
            raise InvalidInput(
                f"“{wallet.label}” is only watched: there is no key here to hand over.", code="watch_only"
            )
        there, person = _owned(actor=actor, slug=to)
        other = Team.objects.get(pk=there.team_id)
        found = obstacles(wallet_id=wallet.pk)
        if found:
            raise InvalidInput(" ".join(found), code="in_use")
        new = wallets.add_row(
            team_id=other.pk,
            by=there,
            label=label,
            address=wallet.address,
            sealed=vault.seal_again(wallet.encrypted_key, f"The key of the wallet “{wallet.label}”"),
            now=now,
            field="to",
        )
        granted = [str(row.user) for row in wallet.grants.select_related("user").order_by("pk")]
        wallet.grants.all().delete()
        wallet.limits.all().delete()
        _move_tokens(old=wallet, new=new, now=now)
        EscrowAccount.objects.filter(wallet=wallet).update(wallet=new)
        Team.objects.filter(default_wallet=wallet).update(default_wallet=None)
        Wallet.objects.filter(pk=wallet.pk).update(encrypted_key=None, disabled_at=wallet.disabled_at or now)
        _record(actor=actor, other=other, wallet=wallet, new=new, granted=granted, now=now)
        grants.give(actor=there, wallet=new, user=person, now=now)  # as for every wallet that an owner adds
    return new.pk


def obstacles(*, wallet_id: int) -> tuple[str, ...]:
    """Say what still needs the key of a wallet, in sentences: nothing may be lost or left unpaid by handing it over."""
    jobs = Job.objects.filter(wallet_id=wallet_id)
    running = list(jobs.exclude(state__in=TERMINAL).order_by("pk").values_list("name", flat=True))
    fetching = Result.objects.filter(job__in=jobs, next_try_at__isnull=False).exclude(
        status=Result.Status.ARCHIVED
    )
    missing = list(
        jobs.filter(pk__in=fetching.values("job"), state__in=TERMINAL).values_list("name", flat=True)
    )
    on_chain = Transaction.objects.filter(wallet_id=wallet_id, status__in=_OPEN)
    sending = list(on_chain.order_by("pk").values_list("told", flat=True))
    locked = [job.name for job in _locked(wallet_id=wallet_id)]
    found = [
        ("Jobs of it are not over yet", running),
        ("Results are still to be fetched with it, of", missing),
        ("Transactions of it are under way", sending),
        ("Money is locked in an escrow for jobs that are not settled yet", locked),
    ]
    return tuple(f"{what}: {_listed(names)}." for what, names in found if names)


def _locked(*, wallet_id: int) -> list[Job]:
    """Return the wallet's jobs that are over, and whose lock its account in the escrow still shows or may hold."""
    found: dict[object, Job] = {}
    for account in EscrowAccount.objects.filter(wallet_id=wallet_id).select_related("wallet", "token"):
        held = {str(lock["id"]) for lock in account.locks}
        for job in settling.unsettled(account).filter(wallet_id=wallet_id, state__in=TERMINAL):
            if not job.lock_id or job.lock_id in held:
                found[job.pk] = job
    return list(found.values())


def _listed(names: list[str]) -> str:
    shown = ", ".join(f"“{name[:80]}”" for name in names[:NAMED])
    more = len(names) - NAMED
    return f"{shown} and {more} more" if more > 0 else shown


def _owned(*, actor: Actor, slug: str) -> tuple[Actor, User]:
    """Return who the actor is in the other team, and as a person.

    Raises:
        InvalidInput: it is the same team.
        Missing: there is no such team for this person.
        NotAllowed: they do not own it.
    """
    mine = (
        None
        if actor.user_id is None
        else Membership.objects.filter(user_id=actor.user_id, team__slug=slug).select_related("user").first()
    )
    if mine is None:
        raise Missing("There is no such team.")
    if mine.team_id == actor.team_id:
        raise InvalidInput("The wallet is in this team already.", field="to")
    if mine.role != Role.OWNER:
        raise NotAllowed(
            f"Your role in the other team is {mine.role}; to hand it a wallet one has to own both teams."
        )
    return replace(actor, team_id=mine.team_id, role=Role.OWNER), mine.user


def _move_tokens(*, old: Wallet, new: Wallet, now: datetime) -> None:
    """Have the worker give the old wallet's tokens back: that takes the key, which is the other team's now."""
    NodeToken.objects.filter(wallet=new).delete()  # left behind by a wallet that had no key
    NodeToken.objects.filter(wallet=old).update(wallet=new)
    nodetokens.give_back_all(wallet_id=new.pk, now=now)


def _record(
    *, actor: Actor, other: Team, wallet: Wallet, new: Wallet, granted: list[str], now: datetime
) -> None:
    here = Team.objects.get(pk=actor.team_id)
    audit.record(
        act=Act.WALLET_HANDED_OVER,
        by=actor,
        now=now,
        thing=audit.wallet_thing(wallet),
        before={"granted": granted},
        after={"address": wallet.address, "to": other.slug},
    )
    audit.record(
        act=Act.WALLET_HANDED_OVER,
        by=Person(user_id=actor.user_id, name=actor.name, origin=actor.origin),
        team_id=other.pk,
        now=now,
        thing=audit.wallet_thing(new),
        after={"address": new.address, "from": here.slug},
    )
