"""The escrow: what a payer does and sees, against the real contract, whose payee is account 9."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.ocean import escrow, orders
from jobs.ocean.chain import MAX_LOG_BLOCKS, Chain
from jobs.ocean.escrow import Authorization, Funds
from jobs.ocean.signing import Signer
from jobs.ocean.transactions import Receipt
from jobs.ocean.units import Address, Wei
from ocean_portal.sandbox import rpc
from ocean_portal.sandbox.chain import Chain as DevChain
from ocean_portal.sandbox.contracts import Contract, deploy
from tests.sandbox.devchain import Clock
from tests.sandbox.onchain import ETHER, Payer, client_of

JOB = 0x229065ABCCD4C730CDE1D104102AF4090DBFB77D4BAC72115470CB97F614BF89
PRICE = Wei(11_100_000_000_000_000_000)
LOCK_S = 4_200


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevChain]:
    opened = DevChain(Path(tmp_path_factory.mktemp("chain")), clock=Clock())
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def contracts(dev: DevChain) -> dict[str, Any]:
    return deploy(dev)


@pytest.fixture(scope="module")
def server(dev: DevChain) -> Iterator[rpc.RpcServer]:
    running = rpc.serve(dev, port=0)
    yield running
    running.shutdown()


@pytest.fixture
def chain(server: rpc.RpcServer) -> Iterator[Chain]:
    with client_of(server.url) as client:
        yield client


@pytest.fixture(autouse=True)
def afterwards_nothing_happened(dev: DevChain, contracts: dict[str, Any]) -> Iterator[None]:
    before = dev.rpc("evm_snapshot", [])
    yield
    dev.rpc("evm_revert", [before])


@pytest.fixture
def bob(dev: DevChain, chain: Chain) -> Payer:
    return Payer(chain=chain, signer=Signer(bytes(dev.account(5).key)))


class Escrow:
    """The escrow of the sandbox as Bob and its payee use it."""

    def __init__(self, dev: DevChain, contracts: dict[str, Any], chain: Chain, bob: Payer) -> None:
        self.dev, self.chain, self.bob = dev, chain, bob
        self.address, self.ocean = Address(contracts["Escrow"]), Address(contracts["Ocean"])
        self.payee = Address(dev.account(9).address)
        self.contract = Contract(dev, "Escrow", self.address)
        self.here = {"escrow": self.address, "token": self.ocean}

    def fill(self, amount: Wei = PRICE) -> Receipt:
        self.bob.do(orders.approve(token=self.ocean, spender=self.address, amount_wei=amount))
        return self.bob.do(escrow.deposit(**self.here, amount_wei=amount))

    def allow(self, amount: Wei = PRICE, *, locks: int = 1) -> Receipt:
        call = escrow.authorize(
            **self.here, payee=self.payee, max_locked_wei=amount, max_lock_s=LOCK_S, max_locks=locks
        )
        return self.bob.do(call)

    def as_payee(self, function: str, *args: Any) -> Receipt:
        tx = self.contract.send(self.dev.account(9), function, *args)["transactionHash"]
        receipt = self.chain.receipt(tx_hash=tx)
        assert receipt is not None
        return receipt

    def lock(self, *, job: int = JOB, amount: int = PRICE) -> Receipt:
        return self.as_payee("createLock", job, self.ocean, self.bob.address, amount, LOCK_S)

    def events(self, receipt: Receipt) -> tuple[escrow.EscrowEvent, ...]:
        return escrow.events_in(receipt.logs, escrow=self.address)

    @property
    def funds(self) -> Funds:
        return escrow.funds(self.chain, **self.here, payer=self.bob.address)

    @property
    def authorization(self) -> Authorization | None:
        return escrow.authorization(self.chain, **self.here, payer=self.bob.address, payee=self.payee)

    @property
    def locks(self) -> tuple[escrow.Lock, ...]:
        return escrow.locks(self.chain, **self.here, payer=self.bob.address, payee=self.payee)


@pytest.fixture
def box(dev: DevChain, contracts: dict[str, Any], chain: Chain, bob: Payer) -> Escrow:
    return Escrow(dev, contracts, chain, bob)


class TestDeposit:
    def test_is_there_to_be_used_or_taken_back(self, box: Escrow) -> None:
        empty = box.funds

        (event,) = box.events(box.fill())

        assert empty == Funds(Wei(0), Wei(0))
        assert box.funds == Funds(available_wei=PRICE, locked_wei=Wei(0))
        assert (event.kind, event.payer, event.token, event.amount_wei) == (
            "deposit",
            box.bob.address,
            box.ocean,
            PRICE,
        )

    def test_comes_back_to_the_wei(self, box: Escrow) -> None:
        had = orders.balance_of(box.chain, token=box.ocean, owner=box.bob.address)
        box.fill()

        receipt = box.bob.do(escrow.withdraw(**box.here, amount_wei=PRICE))

        (event,) = box.events(receipt)
        assert (event.kind, event.amount_wei) == ("withdraw", PRICE)
        assert box.funds == Funds(Wei(0), Wei(0))
        assert orders.balance_of(box.chain, token=box.ocean, owner=box.bob.address) == had

    def test_of_more_than_there_is_comes_not_back_and_nobody_says_so(self, box: Escrow) -> None:
        box.fill()

        receipt = box.bob.do(escrow.withdraw(**box.here, amount_wei=Wei(PRICE + 1)))

        assert (receipt.status == "ok", box.events(receipt)) == (True, ())
        assert box.funds.available_wei == PRICE


class TestAuthorization:
    def test_is_none_before_the_first(self, box: Escrow) -> None:
        assert box.authorization is None

    def test_is_read_from_the_view(self, box: Escrow) -> None:
        receipt = box.allow()

        assert receipt.status == "ok"
        assert box.events(receipt) == ()  # Auth is written otherwise in each version
        assert box.authorization == Authorization(box.payee, PRICE, Wei(0), LOCK_S, 1, 0)

    def test_takes_the_place_of_the_one_before(self, box: Escrow) -> None:
        box.allow(locks=3)
        box.allow(Wei(5), locks=1)

        found = box.authorization
        assert found is not None
        assert (found.max_locked_wei, found.max_locks) == (5, 1)

    def test_admits_what_the_contract_takes(self, box: Escrow) -> None:
        box.fill()
        box.allow()
        found = box.authorization
        assert found is not None

        assert found.admits(amount_wei=PRICE, lock_s=LOCK_S)
        assert not found.admits(amount_wei=Wei(PRICE + 1), lock_s=LOCK_S)
        assert not found.admits(amount_wei=PRICE, lock_s=LOCK_S + 1)
        box.lock(amount=PRICE - 1)
        used = box.authorization
        assert used is not None
        assert not used.admits(
            amount_wei=Wei(1), lock_s=1
        )  # there is room for the amount, but for one lock only


class TestLock:
    def test_is_seen_with_its_job_and_its_end(self, box: Escrow) -> None:
        box.fill()
        box.allow()

        receipt = box.lock()

        (event,) = box.events(receipt)
        (lock,) = box.locks
        assert box.funds == Funds(Wei(0), PRICE)
        assert (lock.job_id, lock.amount_wei, lock.payer, lock.token) == (
            JOB,
            PRICE,
            box.bob.address,
            box.ocean,
        )
        assert lock.expires_at == box.chain.head().timestamp + LOCK_S
        assert (event.kind, event.payee, event.payer) == ("lock", box.payee, box.bob.address)
        assert (event.job_id, event.amount_wei, event.lock_s) == (JOB, PRICE, LOCK_S)

    def test_of_several_jobs_are_told_apart(self, box: Escrow) -> None:
        box.fill()
        box.allow(locks=3)

        for job in (1, 2, 3):
            box.lock(job=job, amount=job * ETHER)

        assert [(lock.job_id, lock.amount_wei // ETHER) for lock in box.locks] == [(1, 1), (2, 2), (3, 3)]

    def test_is_claimed_for_what_was_used_and_the_rest_is_free_again(self, box: Escrow) -> None:
        box.fill()
        box.allow()
        box.lock()

        receipt = box.as_payee("claimLock", JOB, box.ocean, box.bob.address, 10**18, b"proof", 0, [])

        claimed = next(event for event in box.events(receipt) if event.kind == "claimed")
        assert (claimed.payer, claimed.payee, claimed.job_id, claimed.amount_wei) == (
            box.bob.address,
            box.payee,
            JOB,
            10**18,
        )
        assert box.funds == Funds(Wei(PRICE - 10**18), Wei(0))
        assert box.locks == ()

    def test_beyond_its_time_is_freed_by_its_payer(self, box: Escrow) -> None:
        box.fill()
        box.allow()
        box.lock()
        early = box.bob.do(escrow.cancel_expired_locks(escrow=box.address, payee=box.payee, locks=box.locks))
        box.dev.rpc("evm_increaseTime", [LOCK_S + 100])

        receipt = box.bob.do(
            escrow.cancel_expired_locks(escrow=box.address, payee=box.payee, locks=box.locks)
        )

        (event,) = box.events(receipt)
        assert (early.status, box.events(early)) == ("ok", ())
        assert (event.kind, event.payer, event.payee, event.amount_wei) == (
            "canceled",
            box.bob.address,
            box.payee,
            PRICE,
        )
        assert box.funds == Funds(PRICE, Wei(0))


class TestLogs:
    def test_bring_the_events_of_a_payer(self, box: Escrow) -> None:
        first = box.chain.head().number
        box.fill()
        box.allow()
        box.lock()
        last = box.chain.head().number

        logs = box.chain.logs(
            address=box.address, topics=[escrow.EVENT_TOPICS], from_block=first, to_block=last
        )

        events = escrow.events_in(logs, escrow=box.address)
        assert [event.kind for event in events] == ["deposit", "lock"]
        assert all(
            event.tx_hash and event.block_number and event.payer == box.bob.address for event in events
        )
        assert last - first < MAX_LOG_BLOCKS
