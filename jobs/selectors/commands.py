"""What the commands print and wait for."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from jobs.errors import InvalidInput
from jobs.lifecycle import State
from jobs.models import Asset, Job, Result, Team, Token, Transaction, Wallet
from jobs.ocean.units import Address, from_wei, plain


def job_progress(*, team_id: int, job_id: uuid.UUID) -> tuple[State, str]:
    """Return a job's state, and a line that tells how it stands."""
    job = Job.objects.only("state", "node_status_text", "message", "trouble").get(team_id=team_id, pk=job_id)
    told = job.node_status_text.strip() if job.state == State.RUNNING else job.message
    return State(job.state), " · ".join(part for part in (job.state, told, job.trouble) if part)


def longest_s(*, team_id: int, job_id: uuid.UUID) -> int:
    """Return how long the node may take: the queue wait and the duration cap, in seconds."""
    job = Job.objects.only("max_duration_s", "queue_wait_s").get(team_id=team_id, pk=job_id)
    return job.max_duration_s + job.queue_wait_s


def job_summary(*, team_id: int, job_id: uuid.UUID) -> dict[str, Any]:
    """Return a job as plain data for JSON: id, state, reason, node_job_id, times, results, and what it was charged.

    charged: by token, orders included; None for what is free, and for a paid job that a node has not settled yet.
    """
    job = Job.objects.select_related("node__network").get(team_id=team_id, pk=job_id)
    results = Result.objects.filter(job=job, status=Result.Status.ARCHIVED).order_by("index", "path", "pk")
    return {
        "id": str(job.pk),
        "name": job.name,
        "state": job.state,
        "reason": job.reason,
        "message": job.message,
        "node_job_id": job.node_job_id,
        "requested_at": _text(job.requested_at),
        "accepted_at": _text(job.accepted_at),
        "finished_at": _text(job.finished_at),
        "ended_at": _text(job.ended_at),
        "charged": _charged(job),
        "results": [
            {"name": r.path or r.name, "kind": r.kind, "size": r.size, "sha256": r.sha256} for r in results
        ],
    }


def default_wallet(*, team_id: int) -> str:
    """Return the label of the team's default wallet, for a launch that names none.

    Raises: InvalidInput: the team has none that can be used.
    """
    usable = Wallet.objects.usable().filter(team_id=team_id)
    team = Team.objects.filter(pk=team_id, default_wallet__in=usable)
    label = team.values_list("default_wallet__label", flat=True).first()
    if label is None:
        raise InvalidInput(
            "Name a wallet: the team has no default wallet that can be used.",
            field="wallet",
            code="no_default",
        )
    return str(label)


def token_named(text: str) -> str:
    """Return the address of a token that the portal knows by this symbol; an address stays one, "" stays "".

    Raises: InvalidInput
    """
    if not text:
        return ""
    try:
        return Address(text)
    except ValueError:
        pass
    found = sorted(set(Token.objects.filter(symbol__iexact=text).values_list("address", flat=True)))
    if len(found) == 1:
        return found[0]
    raise InvalidInput(
        f"Several tokens call themselves “{text[:20]}”: give the address."
        if found
        else f"The portal has met no token called “{text[:20]}”: give its address.",
        field="token",
        candidates=tuple(found),
    )


def _charged(job: Job) -> list[dict[str, str]] | None:
    """Return what a job really cost: what its orders moved, and what a node took from the escrow."""
    if job.escrow_need is not None and job.charged_wei is None:
        return None
    moved = job.transactions.filter(
        status=Transaction.Status.CONFIRMED,
        purpose__in=(Transaction.Purpose.PURCHASE, Transaction.Purpose.ORDER, Transaction.Purpose.RENEWAL),
    )
    sums: dict[str, int] = {}
    for token, amount in moved.moves():
        sums[token] = sums.get(token, 0) + amount
    if job.charged_wei is not None:
        sums[job.payment_token] = sums.get(job.payment_token, 0) + int(job.charged_wei)
    if not sums:
        return None
    chain_id = job.environment.chain_id or job.node.network.chain_id
    known = {t.address: t for t in Token.objects.filter(network__chain_id=chain_id)}
    told = []
    for token, wei in sums.items():
        row = known.get(token)
        exact = from_wei(wei, decimals=row.decimals if row else 0)
        told.append({"token": token, "symbol": row.symbol if row else "", "amount": plain(exact)})
    return told


def asset_known(*, team_id: int, did: str) -> bool:
    """Say whether the team's catalogue has this DID."""
    return Asset.objects.filter(team_id=team_id, did=did).exists()


def name_known(*, team_id: int, name: str) -> bool:
    """Say whether an asset of the team's catalogue bears this name."""
    return Asset.objects.filter(team_id=team_id, name__iexact=name.strip()).exists()


def _text(at: datetime | None) -> str | None:
    return at.isoformat() if at else None
