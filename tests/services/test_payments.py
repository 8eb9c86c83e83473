"""Transactions on a real chain: signed and stored before they are sent, found after, never made twice."""

from __future__ import annotations

from jobs.lifecycle import State
from jobs.models import ChainNonce, Transaction
from tests.services.quay import Quay, statuses
from tests.services.steps import advance


class TestPlain:
    def test_pays_and_starts_in_one_step_where_the_chain_mines_at_once(self, quay: Quay) -> None:
        job = quay.job()

        advance(job, quay.clock)

        assert job.state == State.RUNNING, (job.message, job.trouble)
        assert statuses(job) == [
            ("dispense", "confirmed"),
            ("dispense", "confirmed"),
            ("order", "confirmed"),
            ("order", "confirmed"),
        ]
        assert (quay.orders_on_chain("dataset"), quay.orders_on_chain("algorithm")) == (1, 1)
        assert (quay.balance("dataset"), quay.balance("algorithm")) == (0, 0)
        assert ChainNonce.objects.get().next == 4
        assert quay.mined() == 4
        assert Transaction.objects.filter(signed=None).count() == 0


class TestLooking:
    def test_speaks_of_no_trouble_that_is_over(self, quay: Quay) -> None:
        job = quay.job()
        quay.automine(False)
        quay.wire.will("eth_getTransactionReceipt", {"error": {"code": -32005, "message": "later"}})

        advance(job, quay.clock)
        assert (job.state, job.trouble_count) == (State.PAYING, 1)
        assert job.trouble
        advance(job, quay.clock)

        assert (job.trouble, job.trouble_count) == ("", 0)
