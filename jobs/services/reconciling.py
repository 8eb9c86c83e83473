"""Compares the whole ledger with chains and nodes, and tells every difference. Questions only: nothing is mended here.

What could not be compared is a difference too: a silent endpoint proves nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from jobs.errors import CannotOrder
from jobs.lifecycle import State
from jobs.models import EscrowAccount, Job, Network, Node, Order, Reconciliation, Transaction, Wallet
from jobs.ocean import escrow, orders
from jobs.ocean.chain import Chain
from jobs.ocean.compute import ComputeBackend, JobReport, same_job
from jobs.ocean.errors import OceanError
from jobs.ocean.units import Address
from jobs.services.budget import OutOfBudget, Purpose
from jobs.services.gateway import Clock, NoChain, open_chain, open_node

EVERY = timedelta(days=1)
WAITS_TOO_LONG = timedelta(minutes=10)
KEPT = 30  # comparisons that are remembered


@dataclass(frozen=True)
class Difference:
    """One thing in which the ledger and the world do not agree. kind: short and stable; about: what to look up."""

    kind: str
    about: str
    sentence: str


def compare(*, clock: Clock) -> tuple[Difference, ...]:
    """Compare everything now, remember the outcome, and return the differences."""
    now = clock()
    found = [*_chains(now=now), *_nodes(clock=clock)]
    Reconciliation.objects.create(at=now, differences=[asdict(difference) for difference in found])
    old = Reconciliation.objects.order_by("-at").values_list("pk", flat=True)[KEPT:]
    Reconciliation.objects.filter(pk__in=list(old)).delete()
    return tuple(found)


def is_due(*, now: datetime) -> bool:
    """Say whether the last comparison is a day old; never where nothing was ever sent."""
    last = Reconciliation.objects.order_by("-at").first()
    return Transaction.objects.exists() and (last is None or last.at <= now - EVERY)


def _chains(*, now: datetime) -> Iterator[Difference]:
    for network in Network.objects.filter(transactions__isnull=False).distinct().order_by("pk"):
        try:
            with open_chain(network=network) as chain:
                yield from _transactions(network=network, chain=chain, now=now)
                yield from _nonces(network=network, chain=chain)
                yield from _escrows(network=network, chain=chain)
        except (OceanError, NoChain, CannotOrder) as error:
            yield Difference("chain_silent", network.name, f"The chain could not be asked. {error.message}")


def _transactions(*, network: Network, chain: Chain, now: datetime) -> Iterator[Difference]:
    rows = network.transactions.exclude(tx_hash="")
    for tx in rows.defer("data", "signed").order_by("pk").iterator():
        receipt = chain.receipt(tx_hash=tx.tx_hash)
        told = f"{tx.told} ({tx.tx_hash})"
        if tx.status in Transaction.UNDER_WAY:
            if receipt is not None:
                continue  # seen by the worker's next look
            since = tx.sent_at or tx.prepared_at
            if since is not None and now - since > WAITS_TOO_LONG:
                yield Difference(
                    "waiting", tx.tx_hash, f"{told} has been waiting for a block since {since:%F %H:%M} UTC."
                )
        elif tx.status == Transaction.Status.DROPPED:  # given up, as something else took its number
            if receipt is not None:
                yield Difference(
                    "not_dropped",
                    tx.tx_hash,
                    f"{told} was given up, but it is in block {receipt.block_number}.",
                )
        elif receipt is None:
            yield Difference(
                "receipt_gone",
                tx.tx_hash,
                f"{told} was in block {tx.block_number}, and the chain does not know it any more.",
            )
        elif receipt.status != ("reverted" if tx.status == Transaction.Status.REVERTED else "ok"):
            yield Difference(
                "status", tx.tx_hash, f"{told} is {tx.status} here and {receipt.status} on the chain."
            )
        elif receipt.block_hash != tx.block_hash:
            yield Difference(
                "reorganised",
                tx.tx_hash,
                f"{told} is in another block now: {receipt.block_number} in place of {tx.block_number}.",
            )
        else:
            order = Order.objects.filter(transaction=tx).first()
            if (
                order is not None
                and tx.status == Transaction.Status.CONFIRMED
                and orders.order_in(receipt, datatoken=Address(order.datatoken)) is None
            ):
                yield Difference("no_order", tx.tx_hash, f"{told} made no order on the chain.")


def _nonces(*, network: Network, chain: Chain) -> Iterator[Difference]:
    """Compare how many transactions of each address are in blocks with how many the ledger knows."""
    addresses = network.transactions.values_list("wallet__address", flat=True).distinct()
    for address in sorted(set(addresses)):
        mine = network.transactions.filter(wallet__address=address, nonce__isnull=False)
        mined = chain.mined_nonce(address=Address(address))
        in_blocks = [Transaction.Status.CONFIRMED, Transaction.Status.REVERTED, Transaction.Status.CANCELLED]
        seen = mine.filter(status__in=[*in_blocks, *Transaction.UNDER_WAY])
        used = {nonce for nonce in seen.values_list("nonce", flat=True) if nonce is not None}
        first = min(used, default=mined)
        foreign = sorted(set(range(first, mined)) - used)
        if foreign:
            yield Difference(
                "foreign_transactions",
                address,
                f"{len(foreign)} transactions of {address} since its first one here are not in the ledger "
                f"(first number {foreign[0]}): another program uses this wallet, or the ledger lacks them.",
            )


def _escrows(*, network: Network, chain: Chain) -> Iterator[Difference]:
    accounts = EscrowAccount.objects.filter(token__network=network).select_related("wallet", "token")
    for account in accounts.order_by("pk"):
        where = {
            "escrow": Address(account.escrow),
            "payer": Address(account.wallet.address),
            "token": Address(account.token.address),
        }
        funds = escrow.funds(chain, **where)
        name = f"{account.wallet.label}, {account.token.symbol}"
        if (int(account.available_wei), int(account.locked_wei)) != (funds.available_wei, funds.locked_wei):
            yield Difference(
                "escrow",
                name,
                f"The escrow of {name} holds {funds.available_wei} and {funds.locked_wei} locked, "
                f"here it is {account.available_wei:f} and {account.locked_wei:f} (in the smallest unit).",
            )
        jobs = Job.objects.filter(wallet=account.wallet, escrow_need__escrow=account.escrow)
        known = set(jobs.exclude(lock_id="").values_list("lock_id", flat=True))
        for payee in sorted({need["payee"] for need in jobs.values_list("escrow_need", flat=True) if need}):
            for lock in escrow.locks(chain, payee=Address(payee), **where):
                if str(lock.job_id) not in known:
                    yield Difference(
                        "unknown_lock",
                        str(lock.job_id),
                        f"{payee} has locked {lock.amount_wei} of {name} for a job that the portal does not know.",
                    )


def _nodes(*, clock: Clock) -> Iterator[Difference]:
    for node in Node.objects.filter(jobs__isnull=False).distinct().order_by("pk"):
        wallets = Wallet.objects.filter(jobs__node=node).distinct().order_by("pk")
        try:
            with open_node(node=node, purpose=Purpose.BACKGROUND, clock=clock) as backend:
                for wallet in wallets:
                    yield from _jobs(node=node, wallet=wallet, backend=backend)
        except (OceanError, OutOfBudget) as error:
            yield Difference("node_silent", node.name, f"The node could not be asked. {error.message}")


def _jobs(*, node: Node, wallet: Wallet, backend: ComputeBackend) -> Iterator[Difference]:
    reports = backend.jobs_of(owner=Address(wallet.address))
    if reports.skipped:
        yield Difference(
            "jobs_unreadable", node.name, f"{reports.skipped} jobs of {node.name} could not be read."
        )
    same_address = Job.objects.filter(node=node, wallet__address=wallet.address)
    ours = list(same_address.only("pk", "name", "state", "node_job_id", "tag", "start_sent_at"))
    matched: dict[str, JobReport] = {}
    for report in reports:
        job = next((j for j in ours if j.node_job_id and same_job(j.node_job_id, report.long_id)), None)
        if job is not None:
            matched[str(job.pk)] = report
        elif any(report.tag == str(j.tag) for j in ours):
            twin = next(j for j in ours if report.tag == str(j.tag))
            if twin.node_job_id:
                yield Difference(
                    "job_twice",
                    report.long_id,
                    f"{node.name} runs “{twin.name}” a second time, as {report.long_id}.",
                )
        elif backend.capabilities.tags and report.tag is not None:
            yield Difference(
                "unknown_job",
                report.long_id,
                f"{node.name} has a job {report.long_id} of {wallet.label} that the portal does not know.",
            )
    for job in ours:
        if job.state == State.RUNNING and str(job.pk) not in matched and not reports.skipped:
            yield Difference(
                "job_gone", str(job.pk), f"{node.name} does not list “{job.name}”, which is running here."
            )
