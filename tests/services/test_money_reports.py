"""What a node says of a job's money, as it is kept while the job runs; what it took is proven later, by the chain."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from jobs.lifecycle import State
from jobs.models import EscrowAccount, Job, Token
from jobs.services import refreshing
from tests.builders import NOW
from tests.services.fakes import ended
from tests.services.harbour import Harbour

LOCK, CLAIM = "0x" + "1c" * 32, "0x" + "c1" * 32


def told(
    harbour: Harbour, job: Job, *, lock_hash: str | None = "0x2a", **payment: Any
) -> tuple[str, str, str]:
    """Let the node say something of a job's money; return what is kept: lock, its transaction, the claim."""
    said = {"chainId": 8996, "token": harbour.token.address, "lockTx": "", "claimTx": "", "cost": 0} | payment
    harbour.far.set_job(job, tag=str(job.tag), payment=said, lock_hash=lock_hash)
    harbour.quay.clock.tick(1)
    refreshing.refresh(node_id=harbour.node.pk, wallet_id=harbour.quay.wallet.pk, clock=harbour.quay.clock)
    job.refresh_from_db()
    return job.lock_id, job.lock_tx, job.claim_tx


def at_node(harbour: Harbour) -> Job:
    job = harbour.running()
    Job.objects.filter(pk=job.pk).update(lock_id="", lock_tx="")
    return job


class TestMoney:
    def test_keeps_number_and_transaction_of_the_lock(self, harbour: Harbour) -> None:
        assert told(harbour, at_node(harbour), lockTx=LOCK) == ("42", LOCK, "")

    def test_keeps_what_is_not_said_any_more(self, harbour: Harbour) -> None:
        job = at_node(harbour)
        told(harbour, job, lockTx=LOCK)

        assert told(harbour, job, lock_hash=None, claimTx=CLAIM) == ("42", LOCK, CLAIM)

    def test_settles_nothing_on_the_node_s_word(self, harbour: Harbour) -> None:
        job = at_node(harbour)

        told(harbour, job, claimTx=CLAIM, cost=0.5)

        assert (job.charged_wei, job.settled_at) == (None, None)

    def test_of_a_job_that_is_not_paid_is_nothing(self, harbour: Harbour) -> None:
        job = at_node(harbour)
        harbour.far.set_job(job, tag=str(job.tag))
        harbour.quay.clock.tick(1)

        refreshing.refresh(
            node_id=harbour.node.pk, wallet_id=harbour.quay.wallet.pk, clock=harbour.quay.clock
        )

        job.refresh_from_db()
        assert (job.lock_id, job.claim_tx) == ("", "")


class TestEnd:
    def test_has_the_account_looked_at_at_once_and_no_other(self, harbour: Harbour) -> None:
        job = at_node(harbour)
        dollars = Token.objects.create(
            network=harbour.quay.network, address="0x" + "44" * 20, symbol="USDC", decimals=6
        )
        other = EscrowAccount.objects.create(
            wallet=harbour.quay.wallet, token=dollars, escrow=harbour.account.escrow
        )
        later = NOW + timedelta(minutes=9)
        EscrowAccount.objects.update(next_look_at=later)
        harbour.far.set_job(job, tag=str(job.tag), **ended())
        harbour.quay.clock.tick(1)

        refreshing.refresh(
            node_id=harbour.node.pk, wallet_id=harbour.quay.wallet.pk, clock=harbour.quay.clock
        )

        job.refresh_from_db()
        harbour.account.refresh_from_db()
        other.refresh_from_db()
        assert job.state == State.COLLECTING
        assert (harbour.account.next_look_at, other.next_look_at) == (NOW + timedelta(seconds=1), later)
