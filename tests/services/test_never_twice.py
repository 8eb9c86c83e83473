"""Whatever comes between: nothing is paid twice, nothing is started twice, and the database tells what the chain says."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs.access import Actor
from jobs.lifecycle import ACTIVE, State
from jobs.models import ChainNonce, Job, JobEvent, JobInput, NonceLease, Order, Transaction
from jobs.services import launching, payments, running
from ocean_portal.sandbox.encoding import RpcError
from tests.services.payers import AWAY, SENDING
from tests.services.quay import GWEI, Quay

CONFIRMATIONS = 2  # so a reorganisation of one block must never be noticed by anybody


class Harbour:
    """Two jobs of one wallet on a slow chain, and all that may happen to them. Each method is safe at any moment."""

    def __init__(self, quay: Quay, alice: Actor) -> None:
        self.quay, self.alice = quay, alice
        self.undo: int | None = None
        self.price = 10 * GWEI
        self.jobs = [quay.job(own_algorithm={"code": "1", "language": ""}) for _ in range(2)]

    def step_with_the_first(self) -> None:
        self._step(self.jobs[0])

    def step_with_the_second(self) -> None:
        self._step(self.jobs[1])

    def wait(self) -> None:
        self.quay.clock.tick(61)

    def lose_an_answer(self) -> None:
        self.quay.wire.will(SENDING, "lost")

    def refuse_a_connection(self) -> None:
        self.quay.wire.will("*", AWAY)

    def mine(self) -> None:
        self.undo = self.quay.chain.rpc("evm_snapshot", [])
        self.quay.mine()

    def reorganise(self) -> None:
        """Let the newest block fall out; what was in it waits again."""
        if self.undo is not None:
            self.quay.chain.rpc("evm_revert", [self.undo])
            self.undo = None

    def evict(self) -> None:
        """Let the chain's node forget what waits of ours, as one does that starts anew."""
        ours = set(Transaction.objects.values_list("tx_hash", flat=True))
        for tx_hash in list(self.quay.chain.waiting):
            if "0x" + tx_hash.hex() in ours:
                self.quay.chain.store.drop_waiting("0x" + tx_hash.hex())

    def use_the_wallet_elsewhere(self) -> None:
        self.price = self.price * 2
        with suppress(RpcError):  # what waits already pays as much
            self.quay.elsewhere(fee=self.price)

    def want_the_first_no_more(self) -> None:
        launching.cancel(actor=self.alice, job_id=self.jobs[0].pk, now=self.quay.clock())

    def settle(self) -> None:
        for job_id in payments.claim_strays(now=self.quay.clock()):
            payments.settle(job_id=job_id, clock=self.quay.clock)

    def come_to_rest(self) -> None:
        """Let nothing more go wrong, until no job has anything to do before its start is over."""
        self.quay.wire.faults.clear()
        for _ in range(20):
            self.wait()
            # The other program sees to its own too: a number that nobody uses would hold up all that come after it.
            for raw in self.quay.sent_elsewhere:
                with suppress(RpcError):
                    self.quay.chain.rpc("eth_sendRawTransaction", [raw])
            for job in self.jobs:
                self._step(job)
            self.settle()
            self.quay.mine(CONFIRMATIONS)
            if not Job.objects.filter(state__in=ACTIVE - {State.RUNNING}).exists():
                return

    def forget(self) -> None:
        """Leave the database as it was before."""
        JobInput.objects.update(order=None)
        Transaction.objects.update(replaced_by=None)
        for model in (Order, Transaction, JobEvent, JobInput, Job, ChainNonce, NonceLease):
            model.objects.all().delete()
        self.quay.far.jobs.clear()
        self.quay.sent_elsewhere.clear()
        self.quay.wire.faults.clear()

    def _step(self, job: Job) -> None:
        self.quay.clock.tick(3)
        running.advance(job_id=job.pk, clock=self.quay.clock)


ACTIONS: list[Callable[[Harbour], None]] = [
    Harbour.step_with_the_first,
    Harbour.step_with_the_second,
    Harbour.mine,
    Harbour.reorganise,
    Harbour.wait,
    Harbour.lose_an_answer,
    Harbour.refuse_a_connection,
    Harbour.evict,
    Harbour.use_the_wallet_elsewhere,
    Harbour.want_the_first_no_more,
    Harbour.settle,
]


def assert_told_as_it_is(quay: Quay, harbour: Harbour) -> None:
    ends = {job.state for job in Job.objects.all()}
    assert ends <= {State.RUNNING, State.CANCELLED}, list(
        Job.objects.values_list("state", "message", "trouble")
    )
    for tx in Transaction.objects.exclude(tx_hash=""):
        receipt = quay.chain.rpc("eth_getTransactionReceipt", [tx.tx_hash])
        mined = receipt is not None and receipt["status"] == "0x1"
        assert mined == (tx.status == Transaction.Status.CONFIRMED), (tx, receipt)
    confirmed = Order.objects.filter(transaction__status=Transaction.Status.CONFIRMED)
    assert quay.orders_on_chain() == confirmed.count() <= 2
    running_ones = Job.objects.filter(state=State.RUNNING)
    for job in running_ones:
        assert confirmed.filter(pk=job.inputs.get().order_id, held_by=job).exists()
        assert confirmed.filter(transaction__job=job).count() <= 1
    assert len(quay.far.jobs) == running_ones.count()
    assert quay.balance("dataset") + quay.orders_on_chain() == 1 + sum(
        tx.purpose == Transaction.Purpose.DISPENSE
        for tx in Transaction.objects.filter(status=Transaction.Status.CONFIRMED)
    )


class TestNothingIsPaidTwice:
    @settings(
        max_examples=40,
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    @given(acts=st.lists(st.sampled_from(ACTIONS), min_size=6, max_size=30))
    def test_whatever_comes_between(
        self, quay: Quay, alice: Actor, acts: list[Callable[[Harbour], None]]
    ) -> None:
        quay.network.confirmations = CONFIRMATIONS
        quay.network.save()
        before = quay.chain.rpc("evm_snapshot", [])
        quay.automine(False)
        quay.give("dataset")
        harbour = Harbour(quay, alice)
        try:
            for act in acts:
                act(harbour)
            harbour.come_to_rest()
            assert_told_as_it_is(quay, harbour)
        finally:
            harbour.forget()
            quay.chain.rpc("evm_revert", [before])
