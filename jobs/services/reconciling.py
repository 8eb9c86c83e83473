"""Compares the whole ledger with chains and nodes, and tells every difference. Nothing is mended here.

What could not be compared is a difference too: a silent endpoint proves nothing. Escrows are looked at first as the worker
does it, so that what has been claimed meanwhile is in the ledger.

What it takes: a question for each transaction, a few for each address and escrow account, one for each node and address.
The worker's daily run leaves out what no chain is expected to change any more: of transactions that ended more than
`YOUNG` ago it asks about another thirtieth each day. The command asks about all.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from functools import partial

from django.db.models import F, Q, QuerySet

from jobs.errors import CannotOrder
from jobs.lifecycle import ACTIVE, State
from jobs.models import EscrowAccount, Job, Network, Node, Order, Reconciliation, Transaction, Wallet
from jobs.ocean import escrow
from jobs.ocean.chain import Chain
from jobs.ocean.compute import ComputeBackend, JobReport, same_job
from jobs.ocean.errors import OceanError
from jobs.ocean.transactions import Receipt
from jobs.ocean.units import Address
from jobs.services import effects, escrows, settling, tokens, verifying
from jobs.services.budget import OutOfBudget, Purpose
from jobs.services.gateway import Clock, NoChain, open_chain, open_node

EVERY = timedelta(days=1)
YOUNG = timedelta(days=30)
PARTS = 30  # in so many days the daily run has asked about every old transaction once more
WAITS_TOO_LONG = timedelta(minutes=10)
KEPT = 30  # comparisons that are remembered
LAST_ENTRIES = 5_000  # of the audit record that each comparison looks at: under a second
FAULTS_MAX = 20  # of it that are told
IN_A_BLOCK = (Transaction.Status.CONFIRMED, Transaction.Status.REVERTED, Transaction.Status.CANCELLED)


@dataclass(frozen=True)
class Difference:
    """One thing in which the ledger and the world do not agree. kind: short and stable; about: what to look up."""

    kind: str
    about: str
    sentence: str


def compare(*, clock: Clock, everything: bool = True) -> tuple[Difference, ...]:
    """Compare now, remember the outcome, and return the differences.

    everything: the old transactions too, all of them.
    """
    now = clock()
    found = [*_chains(now=now, everything=everything, clock=clock), *_nodes(clock=clock), *_record()]
    Reconciliation.objects.create(at=now, differences=[asdict(difference) for difference in found])
    old = Reconciliation.objects.order_by("-at", "-pk").values_list("pk", flat=True)[KEPT:]
    Reconciliation.objects.filter(pk__in=list(old)).delete()
    return tuple(found)


def is_due(*, now: datetime) -> bool:
    """Say whether the last comparison is a day old; never where nothing was ever sent."""
    last = Reconciliation.objects.order_by("-at").first()
    return (last is None or last.at <= now - EVERY) and Transaction.objects.exists()


def _record() -> Iterator[Difference]:
    """Look at the end of the audit record; all of it is what the command verify_audit is for."""
    faults: list[verifying.Fault] = []
    verifying.verify(tell=faults.append, last=LAST_ENTRIES)
    for fault in faults[:FAULTS_MAX]:
        yield Difference("audit_record", str(fault.number), fault.sentence)


def _chains(*, now: datetime, everything: bool, clock: Clock) -> Iterator[Difference]:
    for network in Network.objects.filter(transactions__isnull=False).distinct().order_by("pk"):
        try:
            with open_chain(network=network) as chain:
                for tx in _to_ask_about(network=network, now=now, everything=everything):
                    difference = _transaction(tx=tx, chain=chain, now=now)
                    if difference is not None:
                        yield difference
                yield from _numbers(network=network, chain=chain)
            yield from _escrows(network=network, clock=clock)
        except (OceanError, NoChain, CannotOrder) as error:
            yield Difference("chain_silent", network.name, f"The chain could not be asked. {error.message}")


def _to_ask_about(*, network: Network, now: datetime, everything: bool) -> Iterator[Transaction]:
    rows = network.transactions.exclude(tx_hash="")
    if not everything:
        part = now.date().toordinal() % PARTS
        settled = Q(status__in=[*IN_A_BLOCK, Transaction.Status.DROPPED]) & ~Q(sent_at__gt=now - YOUNG)
        rows = rows.annotate(part=F("pk") % PARTS).exclude(settled & ~Q(part=part))
    return rows.select_related("wallet", "network").defer("data", "signed").order_by("pk").iterator()


def _transaction(*, tx: Transaction, chain: Chain, now: datetime) -> Difference | None:
    receipt = chain.receipt(tx_hash=tx.tx_hash)
    told = f"{tx.told} ({tx.tx_hash})"
    # The worker may have moved it on while the chain was asked.
    status = Transaction.objects.values_list("status", flat=True).get(pk=tx.pk) if receipt is None else ""
    if status and status != tx.status:
        return None
    if tx.status in Transaction.UNDER_WAY:
        since = tx.sent_at or tx.prepared_at
        if receipt is None and since is not None and now - since > WAITS_TOO_LONG:
            return Difference(
                "waiting", tx.tx_hash, f"{told} has been waiting for a block since {since:%F %H:%M} UTC."
            )
        return None  # what is mined is seen by the worker's next look
    if tx.status == Transaction.Status.DROPPED:  # given up, as something else took its number
        if receipt is None:
            return None
        return Difference(
            "not_dropped", tx.tx_hash, f"{told} was given up, but it is in block {receipt.block_number}."
        )
    if receipt is None:
        return Difference(
            "receipt_gone",
            tx.tx_hash,
            f"{told} was in block {tx.block_number}, and the chain does not know it any more.",
        )
    return _ended(tx=tx, receipt=receipt, told=told)


def _ended(*, tx: Transaction, receipt: Receipt, told: str) -> Difference | None:
    """Compare a transaction with the block that it is in."""
    missing = effects.missing(tx=tx, receipt=receipt) if tx.status != tx.Status.CANCELLED else ""
    failed = receipt.status == "reverted" or bool(missing)
    if failed != (tx.status == Transaction.Status.REVERTED):
        if missing and receipt.status == "ok":
            kind = "no_order" if tx.purpose in (tx.Purpose.ORDER, tx.Purpose.RENEWAL) else "no_effect"
            return Difference(kind, tx.tx_hash, f"{told} is {tx.status} here. {missing}")
        return Difference(
            "status", tx.tx_hash, f"{told} is {tx.status} here and {receipt.status} on the chain."
        )
    if receipt.block_hash != tx.block_hash:
        return Difference(
            "reorganised",
            tx.tx_hash,
            f"{told} is in another block now: {receipt.block_number} in place of {tx.block_number}.",
        )
    return None


def _numbers(*, network: Network, chain: Chain) -> Iterator[Difference]:
    """Compare the numbers that each address has used in blocks with those that the ledger knows."""
    addresses = set(network.transactions.exclude(nonce=None).values_list("wallet__address", flat=True))
    for address in sorted(addresses):
        mined = chain.mined_nonce(address=Address(address))  # asked before the ledger is read
        mine = network.transactions.filter(wallet__address=address).exclude(nonce=None)
        seen = mine.exclude(status=Transaction.Status.DROPPED).values_list("nonce", "status")
        used = {nonce: status for nonce, status in seen if nonce is not None}
        first = min(used, default=mined)
        foreign = [number for number in range(first, mined) if number not in used]
        if foreign:
            count = f"{len(foreign)} transaction{'' if len(foreign) == 1 else 's'}"
            yield Difference(
                "foreign_transactions",
                address,
                f"{count} of {address} since its first one here, from number {foreign[0]} on, not in the ledger: "
                "another program uses this wallet, or the ledger lacks them.",
            )
        behind = [
            number for number, status in used.items() if number > mined and status in Transaction.UNDER_WAY
        ]
        if behind and mined not in used and chain.nonce(address=Address(address)) <= mined:
            yield Difference(
                "gap",
                address,
                f"Number {mined} of {address} is in no transaction that the chain shows, and number {min(behind)} waits "
                "for it: another program's transaction has got lost.",
            )


def _escrows(*, network: Network, clock: Clock) -> Iterator[Difference]:
    """Compare each address's account; two teams may hold the same address, whose account is one."""
    rows = EscrowAccount.objects.filter(token__network=network).select_related("wallet", "token__network")
    seen: set[tuple[str, str, str]] = set()
    for account in rows.order_by("pk"):
        place = (account.escrow, account.token.address, account.wallet.address)
        if place not in seen:
            seen.add(place)
            yield from _account(account=account, clock=clock)


def _account(*, account: EscrowAccount, clock: Clock) -> Iterator[Difference]:
    """Hold what the ledger says of an account against the chain; what differs is looked at twice, as both move on."""
    escrows.look(account_id=account.pk, clock=clock)
    account.refresh_from_db(fields=["locks", "opening_wei"])
    name = f"{account.wallet.label}, {account.token.symbol}"
    late = [job for job in settling.unlocked(account) if settling.is_overdue(job, now=clock())]
    for job in late:
        yield Difference(
            "unsettled",
            str(job.pk),
            f"Nothing is locked for “{job.name}” any more, and it is not known what {job.node.name} took for it.",
        )
    for job in Job.objects.filter(settling.of_account(account), charged_wei=None).exclude(settled_at=None):
        yield Difference("charge_unknown", str(job.pk), f"What was taken for “{job.name}” cannot be told.")
    with open_chain(network=account.token.network) as chain:
        yield from _unknown_locks(account=account, name=name)
        difference = _balance(account=account, chain=chain, name=name)
        if difference is not None:  # both sides move on: looked at once more before it is told
            escrows.look(account_id=account.pk, clock=clock)
            difference = _balance(account=account, chain=chain, name=name)
    if difference is not None:
        yield difference


def _balance(*, account: EscrowAccount, chain: Chain, name: str) -> Difference | None:
    """Compare what an account should hold with what it holds."""
    expected = _expected_wei(account)
    funds = escrow.funds(
        chain,
        escrow=Address(account.escrow),
        payer=Address(account.wallet.address),
        token=Address(account.token.address),
    )
    there = funds.available_wei + funds.locked_wei
    if expected is None or expected == there:
        return None
    told = partial(tokens.told, network=account.token.network, token=account.token.address)
    return Difference(
        "escrow",
        name,
        f"The escrow holds {told(amount_wei=there)} of {name}; by the ledger it is {told(amount_wei=expected)}: "
        f"{told(amount_wei=abs(there - expected))} {'more' if there > expected else 'less'}. "
        "Another program paid in or took out, or the ledger lacks something.",
    )


def _expected_wei(account: EscrowAccount) -> int | None:
    """Return what the escrow should hold, by the ledger; None while something is on its way in or out.

    What was there at first, and the deposits, less the withdrawals and what the nodes took.
    """
    moves = Transaction.objects.filter(
        network=account.token.network,
        wallet__address=account.wallet.address,
        to=account.escrow,
        token=account.token.address,
        purpose__in=[Transaction.Purpose.DEPOSIT, Transaction.Purpose.WITHDRAWAL],
    )
    jobs = Job.objects.filter(settling.of_account(account))
    account.refresh_from_db(fields=["locks"])
    held = {lock["id"] for lock in account.locks}
    at_node = jobs.filter(settled_at=None, accepted_at__isnull=False).values_list("lock_id", flat=True)
    if (
        moves.under_way().exists()
        or any(lock_id not in held for lock_id in at_node)  # its claim may be mined, and not be seen yet
        or jobs.filter(charged_wei=None).exclude(settled_at=None).exists()  # told on its own
    ):
        return None
    expected = int(account.opening_wei)
    confirmed = moves.filter(status=Transaction.Status.CONFIRMED)
    for purpose, amount in confirmed.values_list("purpose", "amount_wei"):
        expected += amount if purpose == Transaction.Purpose.DEPOSIT else -amount
    charged = jobs.exclude(settled_at=None).values_list("charged_wei", flat=True)
    return int(expected - sum(amount for amount in charged if amount is not None))


def _unknown_locks(*, account: EscrowAccount, name: str) -> Iterator[Difference]:
    jobs = Job.objects.filter(settling.of_account(account))
    if jobs.filter(state=State.STARTING).exists():
        return  # the node has locked for it, perhaps, and has not told yet
    known = set(jobs.exclude(lock_id="").values_list("lock_id", flat=True))
    for lock in account.locks:
        if lock["id"] not in known:
            amount = tokens.told(
                network=account.token.network, token=account.token.address, amount_wei=int(lock["amount_wei"])
            )
            yield Difference(
                "unknown_lock",
                lock["id"],
                f"{lock['payee']} has locked {amount} of {name} for a job that the portal does not know.",
            )


def _nodes(*, clock: Clock) -> Iterator[Difference]:
    for node in Node.objects.filter(jobs__isnull=False).distinct().order_by("pk"):
        addresses = set(Wallet.objects.filter(jobs__node=node).values_list("address", flat=True))
        try:
            with open_node(node=node, purpose=Purpose.BACKGROUND, clock=clock) as backend:
                for address in sorted(addresses):
                    yield from _jobs(node=node, address=Address(address), backend=backend, clock=clock)
        except (OceanError, OutOfBudget) as error:
            yield Difference("node_silent", node.name, f"The node could not be asked. {error.message}")


def _jobs(*, node: Node, address: Address, backend: ComputeBackend, clock: Clock) -> Iterator[Difference]:
    asked_at = clock()
    reports = backend.jobs_of(owner=address)
    if reports.skipped:
        yield Difference(
            "jobs_unreadable", node.name, f"{reports.skipped} jobs of {node.name} could not be read."
        )
    ours = list(
        Job.objects.filter(node=node, wallet__address=address).order_by("pk")
    )  # after the node was asked
    orders = _orders(address=address) if not backend.capabilities.tags else {}
    matched: set[str] = set()
    for report in reports:
        job = next((j for j in ours if j.node_job_id and same_job(j.node_job_id, report.long_id)), None)
        if job is not None:
            matched.add(str(job.pk))
            continue
        difference = _stranger(node=node, report=report, ours=ours, orders=orders)
        if difference is not None:
            yield difference
    for job in ours:
        told = job.accepted_at is not None and job.accepted_at < asked_at
        if job.state == State.RUNNING and told and str(job.pk) not in matched and not reports.skipped:
            yield Difference(
                "job_gone", str(job.pk), f"{node.name} does not list “{job.name}”, which is running here."
            )


def _stranger(*, node: Node, report: JobReport, ours: list[Job], orders: dict[str, str]) -> Difference | None:
    """Say what is odd about a job of a node that is none of ours by its id; None for one of another program."""
    twin = next((job for job in ours if report.tag == str(job.tag)), None)
    if twin is not None and twin.node_job_id:
        return Difference(
            "job_twice", report.long_id, f"{node.name} runs “{twin.name}” a second time, as {report.long_id}."
        )
    if twin is not None and twin.state not in ACTIVE:
        return Difference(
            "job_unclaimed",
            report.long_id,
            f"{node.name} has “{twin.name}” as {report.long_id}; here it ended without ever being accepted.",
        )
    if twin is None and report.tag is not None:
        return Difference(
            "unknown_job",
            report.long_id,
            f"{node.name} has a job {report.long_id} of {report.owner} that the portal does not know.",
        )
    starting = any(
        job.start_sent_at is not None and not job.node_job_id and job.state in ACTIVE for job in ours
    )
    if report.agreement_id in orders and not starting:
        return Difference(
            "unknown_job",
            report.long_id,
            f"{node.name} has a job {report.long_id} with the order of “{orders[report.agreement_id]}” that the portal "
            "made, and the portal does not know the job.",
        )
    return None


def _orders(*, address: Address) -> dict[str, str]:
    """Return what was ordered by the transactions of the orders: a Provider files its jobs under them."""
    rows: QuerySet[Order] = Order.objects.filter(wallet__address=address)
    return dict(rows.exclude(transaction__tx_hash="").values_list("transaction__tx_hash", "asset_name"))
