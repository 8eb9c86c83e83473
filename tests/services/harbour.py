"""An Ocean Node in memory that is paid from the real escrow on the sandbox's chain."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from jobs.lifecycle import State
from jobs.models import EscrowAccount, Job, Node, Token, Transaction
from jobs.ocean import escrow, orders
from jobs.ocean.compute import JobReport
from jobs.ocean.units import Address, Wei
from jobs.services import escrows, sending
from ocean_portal.sandbox.chain import ETHER
from ocean_portal.sandbox.contracts import Contract, mint
from tests import builders
from tests.services.fakes import OWNER, FakeNode, ended
from tests.services.quay import Quay
from tests.services.steps import advance

NODE_ACCOUNT, STRANGE_ACCOUNT = 5, 6
LOCK_S = 3_600


@dataclass(repr=False)
class Harbour:
    """A node, a wallet's account in the escrow, and the chain below."""

    quay: Quay
    node: Node
    token: Token
    account: EscrowAccount
    far: FakeNode = field(default_factory=FakeNode)

    def client(self, _: Any) -> FakeNode:
        """Stand in for OceanNode."""
        return self.far

    @property
    def contract(self) -> Contract:
        """The escrow itself."""
        return Contract(self.quay.chain, "Escrow", self.account.escrow)

    @property
    def payee(self) -> Address:
        """The node's account."""
        return Address(self.quay.chain.account(NODE_ACCOUNT).address)

    def paying(self, *, deposit_wei: int, most_wei: int | None = None) -> Job:
        """Launch a job that pays into the escrow and lets the node lock so much; it has its transactions planned."""
        most = deposit_wei if most_wei is None else most_wei
        place = {"escrow": Address(self.account.escrow), "token": Address(self.token.address)}
        job = self.job(state=State.PAYING, escrow_need=self.need(most))
        calls = [
            (
                Transaction.Purpose.APPROVAL,
                orders.approve(spender=place["escrow"], token=place["token"], amount_wei=Wei(deposit_wei)),
            ),
            (Transaction.Purpose.DEPOSIT, escrow.deposit(amount_wei=Wei(deposit_wei), **place)),
            (
                Transaction.Purpose.AUTHORIZATION,
                escrow.authorize(
                    payee=self.payee, max_locked_wei=Wei(10**24), max_lock_s=LOCK_S, max_locks=10, **place
                ),
            ),
        ]
        for step, (purpose, call) in enumerate(calls):
            moved = purpose == Transaction.Purpose.DEPOSIT
            sending.plan_one(
                job=job,
                wallet=self.quay.wallet,
                network=self.quay.network,
                step=step,
                purpose=purpose,
                told=f"{purpose}",
                call=call,
                token=self.token.address if moved else "",
                amount_wei=deposit_wei if moved else 0,
            )
        return job

    def running(self, *, deposit_wei: int = ETHER, locked_wei: int | None = None) -> Job:
        """Let such a job pay and start, and the node lock the money."""
        job = self.paying(deposit_wei=deposit_wei, most_wei=locked_wei)
        advance(job, self.quay.clock)
        assert job.state == State.RUNNING, job.message
        self.lock(job, deposit_wei if locked_wei is None else locked_wei)
        return job

    def over(self, *, deposit_wei: int = ETHER, locked_wei: int | None = None) -> Job:
        """Let such a job end, some moments ago, as the node tells and the portal has written down."""
        job = self.running(deposit_wei=deposit_wei, locked_wei=locked_wei)
        job.state, job.finished_at = State.SUCCEEDED, self.quay.clock()
        job.ended_at = job.finished_at
        job.save()
        self.tell(job)
        return job

    def job(self, **values: Any) -> Job:
        """Make a paid job of the wallet at the node."""
        defaults: dict[str, Any] = {
            "node": self.node,
            "environment": self.node.environments.get(),
            "own_algorithm": {"code": "1", "language": ""},
            "datasets": [self.quay.dataset],
            "free": False,
            "payment_token": self.token.address,
            "escrow_need": self.need(ETHER),
        }
        return self.quay.job(**(defaults | values))

    def need(self, amount_wei: int) -> dict[str, Any]:
        """What a node asks to find in the escrow, as a job keeps it."""
        return {
            "escrow": self.account.escrow,
            "payee": str(self.payee),
            "token": self.token.address,
            "amount_wei": str(amount_wei),
            "min_lock_s": LOCK_S,
        }

    # What the node does on the chain, and what it says.

    def lock(
        self, job: Job, amount_wei: int, *, number: int | None = None, account: int = NODE_ACCOUNT
    ) -> int:
        """Lock money for a job under a number; return that."""
        taken = Job.objects.exclude(lock_id="").count()
        lock_id = number or 0xABC000 + taken
        done = self.contract.send(
            self.quay.chain.account(account),
            *("createLock", lock_id, self.token.address, str(OWNER), amount_wei, LOCK_S),
        )
        if number is None:
            job.lock_id, job.lock_tx = str(lock_id), done["transactionHash"]
            job.save()
        return lock_id

    def claim(self, job: Job, amount_wei: int) -> str:
        """Take a part of what is locked for a job; return the transaction."""
        done = self.contract.send(
            self.quay.chain.account(NODE_ACCOUNT),
            *(
                "claimLockAndWithdraw",
                int(job.lock_id),
                self.token.address,
                str(OWNER),
                amount_wei,
                b"",
                0,
                [],
            ),
        )
        return str(done["transactionHash"])

    def expire(self, job: Job) -> str:
        """Let the lock's time pass, and somebody free it; return the transaction."""
        self.quay.chain.rpc("evm_increaseTime", [2 * LOCK_S])
        self.quay.mine()
        done = self.contract.send(
            self.quay.chain.account(NODE_ACCOUNT),
            *("cancelExpiredLock", int(job.lock_id), self.token.address, str(OWNER), str(self.payee)),
        )
        return str(done["transactionHash"])

    def tell(self, job: Job, *, claim_tx: str = "", cancel_tx: str = "", **values: Any) -> JobReport:
        """Let the node say what it did with a job's money."""
        payment = {
            "chainId": 8996,
            "token": self.token.address,
            "lockTx": job.lock_tx,
            "claimTx": claim_tx,
            "cancelTx": cancel_tx,
            "cost": 0,
        }
        said: dict[str, Any] = {"payment": payment, "lock_hash": hex(int(job.lock_id or "0"))}
        return self.far.set_job(job, tag=str(job.tag), **(ended() | said | values))

    def look(self) -> EscrowAccount:
        """Let the worker look at the account."""
        escrows.look(account_id=self.account.pk, clock=self.quay.clock)
        self.account.refresh_from_db()
        return self.account

    def funds(self) -> tuple[int, int]:
        """What the wallet has in the escrow: available, locked."""
        available, locked = self.contract.call("getUserFunds", str(OWNER), self.token.address)
        return int(available), int(locked)

    def pay_in_elsewhere(self, amount_wei: int) -> None:
        """Let another program of the wallet pay into the escrow."""
        spender, token = Address(self.account.escrow), Address(self.token.address)
        self.quay.elsewhere(orders.approve(spender=spender, token=token, amount_wei=Wei(amount_wei)))
        self.quay.elsewhere(escrow.deposit(escrow=spender, token=token, amount_wei=Wei(amount_wei)))


def make_harbour(quay: Quay) -> Harbour:
    """Make the node's rows, give the wallet tokens, and open its account."""
    contracts = quay.deployed.contracts
    mint(quay.chain, contracts, "Ocean", str(OWNER), 100 * ETHER)
    node = builders.make_node(network=quay.network, requests_per_minute=10_000)
    builders.make_environment(node=node)
    token = Token.objects.create(
        network=quay.network, address=Address.parse(contracts["Ocean"]), symbol="OCEAN", decimals=18
    )
    account = EscrowAccount.objects.create(
        wallet=quay.wallet, token=token, escrow=Address.parse(contracts["Escrow"])
    )
    return Harbour(quay=quay, node=node, token=token, account=account)
