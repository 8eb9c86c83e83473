"""What the last comparison of the ledger with chains and nodes found, as far as it concerns one team."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime

from jobs.models import EscrowAccount, Job, Reconciliation, Transaction, Wallet


@dataclass(frozen=True)
class DifferenceRow:
    """One thing in which the ledger and the world do not agree. kind: short and stable."""

    kind: str
    about: str
    sentence: str


@dataclass(frozen=True)
class Comparison:
    """The last comparison. differences: those of this team; its wallets' and jobs', and nobody else's."""

    at: datetime
    differences: tuple[DifferenceRow, ...]


def last_comparison(*, team_id: int) -> Comparison | None:
    """Return the last comparison; None where none was ever made. One query, four more where something differed.

    What concerns no team, such as a silent chain, or cannot be told to be this team's, is the operator's to see.
    """
    row = Reconciliation.objects.order_by("-at", "-pk").first()
    if row is None:
        return None
    found = [
        DifferenceRow(**{name: str(said.get(name, "")) for name in ("kind", "about", "sentence")})
        for said in row.differences
    ]
    mine = _abouts(team_id=team_id, wanted={x.about for x in found}) if found else frozenset()
    return Comparison(at=row.at, differences=tuple(x for x in found if x.about in mine))


def _abouts(*, team_id: int, wanted: set[str]) -> frozenset[str]:
    """Return what of these names a transaction, a wallet, a job or an escrow account of the team.

    Source of what a difference is about: jobs.services.reconciling.
    """
    transactions = Transaction.objects.filter(wallet__team_id=team_id, tx_hash__in=wanted)
    wallets = Wallet.objects.filter(team_id=team_id, address__in=wanted)
    jobs = Job.objects.filter(team_id=team_id, pk__in=[x for x in wanted if _is_uuid(x)])
    mine = {*transactions.values_list("tx_hash", flat=True), *wallets.values_list("address", flat=True)}
    mine |= {str(pk) for pk in jobs.values_list("pk", flat=True)}
    others: set[str] = set()
    accounts = EscrowAccount.objects.values_list("wallet__team_id", "wallet__label", "token__symbol", "locks")
    for owner, label, symbol, locks in accounts:
        names = {f"{label}, {symbol}", *(str(lock["id"]) for lock in locks)}
        (mine if owner == team_id else others).update(names)
    return frozenset((mine - others) & wanted)


def _is_uuid(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True
