"""Plans what a job has to put on the chain before its start: checks it all, then writes it down; nothing is sent here."""

from __future__ import annotations

from datetime import UTC, datetime

from django.db import transaction

from jobs.errors import CannotOrder, PortalError
from jobs.lifecycle import State
from jobs.models import EscrowAccount, Job, JobInput, Order, SpendingLimit, Transaction
from jobs.ocean.units import Address, Wei, from_wei, plain
from jobs.services import asking, looking, outlays, payments, sending, tokens
from jobs.services.asking import Wish, not_held
from jobs.services.budget import Purpose
from jobs.services.gateway import Clock, open_chain, open_node
from jobs.services.outlays import Outlay, Step
from jobs.services.payments import NOTHING_BEFORE, Before
from jobs.services.starts import start_request

NO_END = 253_370_764_800  # the year 9999


_NOT_ITS_TURN = "Another job pays from this wallet now; this one goes on after it."


class OrderTaken(PortalError):
    """Another job was faster: what was worked out is no longer so."""

    code = "order_taken"


def plan(*, job: Job, holder: str, clock: Clock) -> None:
    """Ask the service what a start needs, check everything, and write down what has to be sent; move the job on.

    Nothing is signed here. A job for which all is there already goes on to STARTING.

    Raises:
        CannotOrder: with the numbers in its sentence; nothing was sent.
        OrderTaken: try again.
        OutOfBudget, NoChain, OceanError: from the service or the chain; nothing was sent.
    """
    if job.transactions.under_way().exists():
        # Forgotten by the chain together with its block, say, after the job was put aside.
        raise OrderTaken("What this job sent before is on its way still; it goes on once that has ended.")
    wish = asking.wish_of(job, request=start_request(job))
    now = clock()
    if job.trouble == _NOT_ITS_TURN and payments.turn_to_spend(job=job, network=wish.network) is None:
        raise OrderTaken(_NOT_ITS_TURN)  # everybody was asked before, and would be again when its turn comes
    with (
        open_node(node=job.node, purpose=Purpose.ACT, clock=clock) as backend,
        asking.doubting(backend=backend, dids=[part.did for part in wish.parts]),
    ):
        asked = asking.ask_service(wish=wish, backend=backend, now=now)
    if asking.is_all_there(asked):
        outlay = outlays.work_out(wish=wish, asked=asked, chain=None)
        _write(job=job, holder=holder, wish=wish, outlay=outlay, now=now, nonce=None)
        return
    nonce = payments.turn_to_spend(job=job, network=wish.network)
    with open_chain(network=wish.network) as chain:
        looking.refuse_an_old_view(chain=chain, network=wish.network, address=job.wallet.address)
        outlay = outlays.work_out(wish=wish, asked=asked, chain=chain)
        tokens.learn(chain=chain, network=wish.network, addresses=outlay.spent)
    before = payments.paid_before(job=job)
    refuse_what_nobody_agreed_to(job=job, wish=wish, outlay=outlay, before=before)
    refuse_what_the_wallet_lacks(wish=wish, outlay=outlay)
    refuse_above_the_limits(wish=wish, outlay=outlay, before=before)
    if outlay.spent and nonce is None:
        raise OrderTaken(_NOT_ITS_TURN)
    _write(job=job, holder=holder, wish=wish, outlay=outlay, now=now, nonce=nonce if outlay.spent else None)


def is_used_again(job: Job) -> bool:
    """Say whether a job starts with an order that another job has made, so that the service may know jobs of it."""
    mine = [x.order for x in job.inputs.select_related("order__transaction")] + [job.algorithm_order]
    return any(order is not None and order.transaction.job_id != job.pk for order in mine)


def refuse_what_nobody_agreed_to(
    *, job: Job, wish: Wish, outlay: Outlay, before: Before = NOTHING_BEFORE
) -> None:
    """Refuse an outlay above what the launcher saw and agreed to. Raises: CannotOrder, with the numbers.

    before: what the job has paid already, which what it pays now comes on top of.
    """
    for token in outlay.spent:
        agreed = int(job.most.get(token, 0))
        amount, gone = _in_all(token=token, outlay=outlay, before=before)
        if amount + gone <= agreed:
            continue
        cost, earlier, most = (
            tokens.told(network=wish.network, token=token, amount_wei=wei) for wei in (amount, gone, agreed)
        )
        if not job.most:
            raise CannotOrder(
                f"This start costs {cost}, which nobody has agreed to. Launch it again and look at its price.",
                code="not_agreed",
            )
        raise CannotOrder(
            f"This start takes {cost} more, and {most} was agreed to for this job, which has paid {earlier} before. "
            "Nothing more was paid. Run it again to see the new price."
            if gone
            else f"The price has changed: it is {cost} now, and {most} was agreed to. Nothing was paid. "
            "Run it again to see the new price.",
            code="price_changed",
        )


def _in_all(*, token: str, outlay: Outlay, before: Before) -> tuple[int, int]:
    """Return what a start takes of a token, and what its job has paid before: whichever way of counting is higher.

    What was paid into the escrow for this job is counted once while it is there. Where it is not there any more, somebody
    has locked it; a second deposit is then what this job moves from the wallet.
    """
    price = outlay.spent.get(Address(token), 0), before.spent.get(token, 0)
    from_wallet = outlay.needed.get(Address(token), 0), before.moved.get(token, 0)
    return max(price, from_wallet, key=sum)


def refuse_what_the_wallet_lacks(*, wish: Wish, outlay: Outlay) -> None:
    """Refuse an outlay that the wallet cannot pay. Raises: CannotOrder, with the numbers."""
    for token, needed in outlay.needed.items():
        there = outlay.balances.get(token, Wei(0))
        if there < needed:
            raise CannotOrder(
                f"The wallet “{wish.wallet.label}” has {tokens.told(network=wish.network, token=token, amount_wei=there)}; "
                f"this start needs {tokens.told(network=wish.network, token=token, amount_wei=needed)}. "
                "Send it what is missing, then launch again.",
                code="insufficient_funds",
            )
    if outlay.steps and outlay.coin_wei < outlay.gas_wei:
        raise CannotOrder(
            f"The wallet “{wish.wallet.label}” has {plain(from_wei(outlay.coin_wei))} of {wish.network.name}'s own "
            f"coin for gas; {len(outlay.steps)} transactions may need up to {plain(from_wei(outlay.gas_wei))}. "
            "Send it some, then launch again.",
            code="insufficient_funds",
        )


def refuse_above_the_limits(*, wish: Wish, outlay: Outlay, before: Before = NOTHING_BEFORE) -> None:
    """Refuse an outlay above the wallet's limit for one job; what has no limit may not be spent at all.

    before: what the job has paid already; it counts too.
    Raises: CannotOrder, with the numbers.
    """
    limits = {
        limit.token.address: limit.per_job_wei
        for limit in SpendingLimit.objects.filter(
            wallet=wish.wallet, token__network=wish.network
        ).select_related("token")
    }
    for token in outlay.spent:
        amount, limit = sum(_in_all(token=token, outlay=outlay, before=before)), limits.get(token, 0)
        if amount > limit:
            cost = tokens.told(network=wish.network, token=token, amount_wei=amount)
            allowed = tokens.told(network=wish.network, token=token, amount_wei=limit)
            raise CannotOrder(
                f"This start costs {cost}; one job may spend {allowed} from the wallet “{wish.wallet.label}”. "
                "An owner can change that limit on the page of the wallets.",
                code="over_limit",
            )


def _write(*, job: Job, holder: str, wish: Wish, outlay: Outlay, now: datetime, nonce: int | None) -> None:
    """Commit the plan with the job's move, or nothing of it."""
    rows = list(job.inputs.order_by("position"))
    need = outlay.payment
    with transaction.atomic():
        if not Job.objects.move(
            job_id=job.pk,
            before=State.REQUESTED,
            after=State.PAYING if outlay.steps else State.STARTING,
            now=now,
            holder=holder,
            message=_told(outlay),
            data=payments.mark_of_plan(job=job),
            next_check_at=now,
            trouble="",
            trouble_count=0,
            escrow_need=None
            if need is None
            else {
                "escrow": need.escrow,
                "payee": need.payee,
                "token": need.token,
                "amount_wei": str(need.amount_wei),
                "min_lock_s": need.min_lock_s,
            },
        ):
            return
        if nonce is not None and not payments.take_turn(job=job, network=wish.network, nonce=nonce):
            raise OrderTaken("Another job has just paid from this wallet; the price is worked out again.")
        # What an earlier plan of this job left unsigned is not what it needs any more.
        left = Transaction.objects.filter(job=job, status=Transaction.Status.PLANNED)
        left.update(status=Transaction.Status.WITHDRAWN)
        for place, order in outlay.used.items():
            _hold(job=job, order=order)
            _link(job=job, rows=rows, place=place, order=order)
        for step in outlay.steps:
            _write_step(job=job, rows=rows, wish=wish, step=step)
        if need is not None:
            EscrowAccount.objects.get_or_create(
                wallet=job.wallet,
                token=tokens.known(network=wish.network, address=need.token),
                escrow=need.escrow,
                defaults={"opening_wei": outlay.in_escrow_wei},
            )


def _write_step(*, job: Job, rows: list[JobInput], wish: Wish, step: Step) -> None:
    tx = sending.plan_one(
        job=job,
        wallet=job.wallet,
        network=wish.network,
        step=step.step,
        purpose=step.purpose,
        told=step.told,
        call=step.call,
        token=step.token or "",
        amount_wei=step.amount_wei,
        also=step.also,
    )
    want = step.wanted
    if want is None:
        return
    if want.replaces is not None:
        _hold(job=job, order=want.replaces)
    order = Order.objects.create(
        wallet=job.wallet,
        transaction=tx,
        held_by=job,
        renews=want.renews,
        asset_name=want.part.name,
        did=want.part.did,
        service_id=want.part.service_id,
        datatoken=want.part.datatoken,
        consumer=wish.offer.consumer_address,
        gets_datatoken=step.gets_datatoken,
        fee_token=want.fee.token,
        fee_wei=want.fee.amount_wei,
        # A node's fees are not bound to a time: its orders last as long as the service's own time-out says.
        fee_valid_until=datetime.fromtimestamp(
            NO_END if wish.node.can.escrow else want.fee.valid_until, tz=UTC
        ),
    )
    _link(job=job, rows=rows, place=want.place, order=order)


def _hold(*, job: Job, order: Order) -> None:
    """Take an order for a job; a job that was faster keeps it."""
    if not Order.objects.filter(pk=order.pk).filter(not_held(job.pk)).update(held_by=job):
        raise OrderTaken("Another job has just taken the order that was to be used again.")


def _link(*, job: Job, rows: list[JobInput], place: int, order: Order) -> None:
    if place < len(rows):
        JobInput.objects.filter(pk=rows[place].pk).update(order=order)
    else:
        Job.objects.filter(pk=job.pk).update(algorithm_order=order)


def _told(outlay: Outlay) -> str:
    made = sum(1 for step in outlay.steps if step.wanted is not None)
    if not outlay.steps:
        return "All orders are there already; nothing has to be paid."
    again = f", {len(outlay.used)} are there already" if outlay.used else ""
    count = len(outlay.steps)
    return f"{count} {'transaction' if count == 1 else 'transactions'} to send, {made} of them orders{again}."
