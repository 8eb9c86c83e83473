"""What a start needs is asked for, checked against what the portal knows, and written down, before anything is signed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from jobs.access import Actor
from jobs.lifecycle import State
from jobs.models import Asset, Job, JobInput, Order, Transaction
from jobs.ocean.compute import FileInfo, OrderNeed, Parsed
from jobs.ocean.errors import BadAnswer
from jobs.ocean.units import Address
from jobs.services import launching, sending, starting
from ocean_portal.sandbox.chain import ETHER
from ocean_portal.sandbox.contracts import Contract
from tests import builders
from tests.builders import NOW
from tests.services.conftest import run_together
from tests.services.fakes import STRANGER, not_there, refused
from tests.services.quay import CONSUMER, PROVIDER, Quay, order_of, signed_fee, statuses
from tests.services.steps import advance

OTHER_KEY = "0x" + "6f" * 32
DAY = timedelta(days=1)
UNANSWERED = not_there()


def run(quay: Quay, **values: Any) -> Job:
    """Launch a job that needs one order alone, and take it as far as one step goes."""
    return advance(quay.job(own_algorithm={"code": "1", "language": "python"}, **values), quay.clock)


def ended(quay: Quay, job: Job) -> Job:
    """Let a running job end well, in the portal and at the Provider."""
    quay.far.end_jobs()
    Job.objects.filter(pk=job.pk).update(state=State.SUCCEEDED)
    job.refresh_from_db()
    return job


def assert_nothing_paid(quay: Quay, job: Job, *, code: str) -> None:
    assert (job.state, job.reason) == (State.FAILED, code), (job.message, job.trouble)
    assert job.ended_at == quay.clock()
    assert quay.far.called("start") == []
    assert quay.mined() == 0
    assert not Transaction.objects.filter(job=job).exists()
    assert not Order.objects.filter(held_by=job).exists()
    assert not JobInput.objects.filter(job=job).exclude(order=None).exists()


class TestPlan:
    def test_writes_down_what_is_to_be_sent_and_signs_nothing(self, quay: Quay) -> None:
        job = quay.job()
        quay.wire.will("eth_estimateGas", UNANSWERED)

        advance(job, quay.clock)

        assert job.state == State.PAYING
        assert statuses(job) == [("dispense", "planned")] * 2 + [("order", "planned")] * 2
        assert list(job.transactions.values_list("step", flat=True).order_by("sequence")) == [20, 20, 40, 40]
        assert not job.transactions.exclude(signed=None).exists()
        assert job.events.filter(message="4 transactions to send, 2 of them orders.").exists()
        assert quay.mined() == 0

    def test_keeps_the_orders_before_they_are_made(self, quay: Quay) -> None:
        job = quay.job()
        quay.wire.will("eth_estimateGas", UNANSWERED)

        advance(job, quay.clock)

        assert job.algorithm_order is not None
        order = order_of(job)
        assert (order.did, order.service_id) == (quay.dataset.did, "compute-1")
        assert (order.asset_name, order.consumer, order.held_by) == ("Buoys 2025", str(CONSUMER), job)
        assert (order.fee_wei, order.renews) == (0, None)
        assert order.fee_valid_until == NOW + DAY
        assert (job.algorithm_order.did, job.algorithm_order.held_by) == (quay.algorithm.did, job)

    def test_asks_for_the_fees_to_outlast_a_long_job(self, quay: Quay) -> None:
        job = quay.job(max_duration_s=3 * 86_400)

        advance(job, quay.clock)

        (call,) = quay.far.called("initialize")
        assert call.given["valid_until"] == int((NOW + 3 * DAY + timedelta(hours=1)).timestamp())
        assert call.given["consumer"] == CONSUMER

    def test_gets_no_datatoken_that_is_there_already(self, quay: Quay) -> None:
        quay.give("dataset")
        quay.give("algorithm", 2)

        job = advance(quay.job(), quay.clock)

        assert job.state == State.RUNNING
        assert statuses(job) == [("order", "confirmed")] * 2
        assert (quay.balance("dataset"), quay.balance("algorithm")) == (0, 1)

    @pytest.mark.parametrize("owned", [0, 1])
    def test_gets_what_is_missing_for_two_parts_of_one_datatoken_at_once(
        self, quay: Quay, owned: int
    ) -> None:
        if owned:
            quay.give("dataset", owned)

        job = run(quay, datasets=[quay.dataset, quay.asset("dataset", name="Buoys 2024")])

        assert job.state == State.RUNNING
        assert statuses(job) == [("dispense", "confirmed")] + [("order", "confirmed")] * 2
        assert f"Get {2 - owned} datatoken" in job.transactions.order_by("sequence")[0].told
        assert quay.balance("dataset") == 0
        assert job.inputs.values("order").distinct().count() == 2

    def test_orders_nothing_for_code_of_one_s_own(self, quay: Quay) -> None:
        job = run(quay)

        assert job.state == State.RUNNING
        assert job.algorithm_order is None
        assert (quay.orders_on_chain("dataset"), quay.orders_on_chain("algorithm")) == (1, 0)

    def test_counts_the_datatokens_that_another_job_is_about_to_spend(self, quay: Quay) -> None:
        quay.give("dataset")
        quay.wire.will("eth_estimateGas", UNANSWERED)
        run(quay)

        second = run(quay)

        assert ("dispense", "confirmed") in statuses(second)

    def test_is_written_whole_or_not_at_all(self, quay: Quay, monkeypatch: pytest.MonkeyPatch) -> None:
        job = quay.job()
        real = sending.plan_one

        def dies(**values: Any) -> Transaction:
            if values["purpose"] == Transaction.Purpose.ORDER:
                raise RuntimeError("killed")
            return real(**values)

        with monkeypatch.context() as patched:  # patched by name: the process dies between two writes
            patched.setattr(sending, "plan_one", dies)
            with pytest.raises(RuntimeError):
                advance(job, quay.clock)
        job.refresh_from_db()
        assert (job.state, statuses(job)) == (State.REQUESTED, [])

        advance(job, quay.clock)

        assert job.state == State.RUNNING
        assert quay.orders_on_chain() == 1

    def test_is_made_once_however_often_it_is_asked_for(self, quay: Quay) -> None:
        job = quay.job()
        quay.wire.will("eth_estimateGas", *[UNANSWERED] * 3)

        for _ in range(3):
            advance(job, quay.clock)

        assert len(quay.far.called("initialize")) == 1
        assert job.transactions.count() == 4

    def test_of_a_job_that_nobody_wants_is_not_made(self, quay: Quay, alice: Actor) -> None:
        job = quay.job()
        launching.cancel(actor=alice, job_id=job.pk, now=NOW)

        advance(job, quay.clock)

        assert job.state == State.CANCELLED
        assert quay.far.calls == []

    def test_waits_for_a_service_that_is_away(self, quay: Quay) -> None:
        job = quay.job()
        quay.far.will("initialize", not_there(), not_there())

        for _ in range(2):
            advance(job, quay.clock)
            assert (job.state, job.trouble) == (State.REQUESTED, not_there().message)
            assert job.next_check_at is not None
            quay.clock.now = job.next_check_at
        advance(job, quay.clock)

        assert (job.state, job.trouble, job.trouble_count) == (State.RUNNING, "", 0)

    def test_asks_again_after_answers_that_arrived_in_pieces_but_not_for_ever(self, quay: Quay) -> None:
        job = quay.job()
        pieces = BadAnswer("This is no JSON document.", code="not_json")
        quay.far.will("initialize", *[pieces] * (starting.GARBLED_MAX + 1))

        for _ in range(starting.GARBLED_MAX):
            advance(job, quay.clock)
            assert (job.state, job.trouble) == (State.REQUESTED, pieces.message)
            quay.clock.tick(600)
        advance(job, quay.clock)

        assert (job.state, job.reason) == (State.FAILED, "not_json")
        assert not Transaction.objects.exists()

    def test_speaks_of_no_trouble_that_is_over(self, quay: Quay) -> None:
        job = quay.job()
        quay.automine(False)
        quay.far.will("initialize", not_there())

        advance(job, quay.clock)
        advance(job, quay.clock)

        assert (job.state, job.trouble, job.trouble_count) == (State.PAYING, "", 0)


class TestReuse:
    def test_needs_no_transaction_while_the_fee_counts(self, quay: Quay) -> None:
        first = ended(quay, run(quay))
        before = quay.mined()
        quay.clock.tick(3600)

        second = run(quay)

        assert second.state == State.RUNNING
        assert statuses(second) == []
        assert order_of(second) == order_of(first)
        assert order_of(second).held_by == second
        assert second.events.filter(message__startswith="All orders are there already").exists()
        assert (quay.mined(), quay.orders_on_chain()) == (before, 1)

    def test_takes_the_new_job_of_an_order_and_not_the_old_one(self, quay: Quay) -> None:
        first = ended(quay, run(quay))

        second = run(quay)

        assert second.seen_before == [first.node_job_id]
        assert second.node_job_id not in ("", first.node_job_id)
        assert len(set(quay.far.started_with)) == 1

    def test_renews_what_no_longer_counts(self, quay: Quay) -> None:
        first = ended(quay, run(quay))
        quay.clock.now = NOW + DAY

        second = run(quay)

        assert second.state == State.RUNNING
        assert statuses(second) == [("renewal", "confirmed")]
        assert order_of(second).renews == order_of(first)
        assert quay.far.started_with[-1] == order_of(second).transaction.tx_hash
        assert (quay.orders_on_chain(), quay.balance("dataset")) == (2, 0)

    def test_renews_the_first_order_again_and_not_its_renewal(self, quay: Quay) -> None:
        first = ended(quay, run(quay))
        for days in (1, 2):
            quay.clock.now = NOW + days * DAY
            last = ended(quay, run(quay))

        assert order_of(last).renews == order_of(first)
        assert statuses(last) == [("renewal", "confirmed")]

    def test_starts_with_the_renewal_while_that_counts(self, quay: Quay) -> None:
        ended(quay, run(quay))
        quay.clock.now = NOW + DAY
        second = ended(quay, run(quay))
        quay.clock.tick(3600)

        third = run(quay)

        assert third.state == State.RUNNING
        assert statuses(third) == []
        assert order_of(third) == order_of(second)
        assert quay.far.started_with[-1] == order_of(second).transaction.tx_hash

    def test_leaves_an_order_to_the_job_that_holds_it(self, quay: Quay) -> None:
        first = run(quay)

        second = run(quay)

        assert second.state == State.RUNNING
        assert order_of(second) != order_of(first)
        assert (order_of(first).held_by, order_of(second).held_by) == (first, second)
        assert quay.orders_on_chain() == 2

    def test_leaves_an_order_to_the_job_that_waits_for_a_person(self, quay: Quay) -> None:
        first = run(quay)
        Job.objects.filter(pk=first.pk).update(state=State.NEEDS_ATTENTION)

        second = run(quay)

        assert order_of(second) != order_of(first)

    def test_finds_the_orders_of_a_job_that_was_refused_after_it_had_paid(self, quay: Quay) -> None:
        quay.far.will("start", refused("not_trusted"))
        first = run(quay)
        assert (first.state, first.reason) == (State.FAILED, "not_trusted")

        second = run(quay)

        assert second.state == State.RUNNING
        assert (statuses(second), order_of(second)) == ([], order_of(first))
        assert quay.orders_on_chain() == 1

    def test_renews_one_part_and_uses_the_other(self, quay: Quay) -> None:
        ended(quay, run(quay))
        quay.clock.tick(12 * 3600)
        ended(quay, run(quay, datasets=[quay.asset("dataset")], algorithm=quay.algorithm))
        both = quay.job(max_duration_s=20 * 3600)

        advance(both, quay.clock)

        assert both.state == State.RUNNING
        assert statuses(both)[0] == ("dispense", "confirmed")  # the algorithm was never ordered
        assert ("renewal", "confirmed") in statuses(both)

    @pytest.mark.parametrize("change", ["wallet", "environment", "datatoken", "unconfirmed"])
    def test_offers_no_order_that_is_another_s(self, quay: Quay, change: str) -> None:
        first = ended(quay, run(quay))
        order = order_of(first)
        match change:
            case "wallet":
                other = builders.make_wallet(team=quay.team, label="other", address=str(STRANGER))
                Order.objects.filter(pk=order.pk).update(wallet=other)
            case "environment":
                Order.objects.filter(pk=order.pk).update(consumer=str(STRANGER))
            case "datatoken":
                Order.objects.filter(pk=order.pk).update(datatoken=str(STRANGER))
            case "unconfirmed":
                Transaction.objects.filter(pk=order.transaction_id).update(status=Transaction.Status.REVERTED)

        second = run(quay)

        offered = quay.far.called("initialize")[-1].given["request"].datasets[0].order
        assert offered == ""
        assert order_of(second) != order

    def test_gives_an_order_to_one_of_two_jobs_that_want_it_at_once(self, on_disk: None, quay: Quay) -> None:
        ended(quay, run(quay))
        both = [quay.job(own_algorithm={"code": "1", "language": ""}) for _ in range(2)]
        meeting = threading.Barrier(2, timeout=20)

        def asked_together(**given: Any) -> tuple[OrderNeed, ...]:
            meeting.wait()
            return quay.far.needs(**given)

        quay.far.will("initialize", asked_together, asked_together)

        outcomes = run_together(*[lambda job=job: advance(job, quay.clock) for job in both])

        assert not [outcome for outcome in outcomes if isinstance(outcome, Exception)]
        loser = next(job for job in both if job.state == State.REQUESTED)
        winner = next(job for job in both if job.state == State.RUNNING)
        assert "just taken" in loser.trouble
        advance(loser, quay.clock)
        assert loser.state == State.RUNNING
        assert order_of(loser) != order_of(winner)
        assert quay.orders_on_chain() == 2


Lie = Callable[[tuple[OrderNeed, ...]], tuple[OrderNeed, ...]]


def _fee_of(need: OrderNeed, **values: Any) -> OrderNeed:
    assert need.fee is not None
    return replace(need, fee=signed_fee(**{"valid_until": need.fee.valid_until, **values}))


class TestLies:
    @pytest.mark.parametrize(
        ("lie", "code", "words"),
        [
            pytest.param(
                lambda needs: (replace(needs[0], datatoken=Address(STRANGER)), *needs[1:]),
                "datatoken",
                "another datatoken",
                id="another datatoken",
            ),
            pytest.param(
                lambda needs: (_fee_of(needs[0], payee=STRANGER), *needs[1:]),
                "fee",
                "not known as the service's",
                id="another payee",
            ),
            pytest.param(
                lambda needs: (*needs[:1], _fee_of(needs[1], key=OTHER_KEY)),
                "fee_signature",
                "not signed",
                id="a fee that it did not sign",
            ),
            pytest.param(
                lambda needs: (replace(needs[0], fee=replace(needs[0].fee, r="0x" + "00" * 32)), *needs[1:]),
                "fee_signature",
                "not signed",
                id="a signature that is none",
            ),
            pytest.param(
                lambda needs: (_fee_of(needs[0], amount_wei=1), *needs[1:]),
                "unexpected_fee",
                "environment is free",
                id="a fee in a free environment",
            ),
            pytest.param(
                lambda needs: (_fee_of(needs[0], amount_wei=2**255), *needs[1:]),
                "unexpected_fee",
                "environment is free",
                id="a fee of more than there is",
            ),
            pytest.param(lambda needs: needs[:1], "initialize", "for each asset", id="too few"),
            pytest.param(lambda needs: (*needs, needs[0]), "initialize", "for each asset", id="too many"),
            pytest.param(lambda needs: (), "initialize", "for each asset", id="none"),
            pytest.param(
                lambda needs: (replace(needs[0], valid_order="0x" + "12" * 32), *needs[1:]),
                "initialize",
                "was not offered",
                id="an order that it was not offered",
            ),
            pytest.param(
                lambda needs: (replace(needs[0], fee=None), *needs[1:]),
                "initialize",
                "wants nothing ordered",
                id="nothing wanted and nothing there",
            ),
            pytest.param(
                lambda needs: (_fee_of(needs[0], valid_until=int(NOW.timestamp()) + 60), *needs[1:]),
                "fee",
                "another time",
                id="a fee that counts for a minute",
            ),
            pytest.param(
                lambda needs: (_fee_of(needs[0], valid_until=2**62), *needs[1:]),
                "fee",
                "another time",
                id="a fee until the end of the world",
            ),
            pytest.param(
                lambda needs: (replace(needs[0], fee=replace(needs[0].fee, valid_until=2**300)), *needs[1:]),
                "fee",
                "",
                id="a time that no contract can read",
            ),
        ],
    )
    def test_end_the_job_before_anything_is_paid(self, quay: Quay, lie: Lie, code: str, words: str) -> None:
        job = quay.job()
        quay.far.will("initialize", lambda **given: lie(quay.far.needs(**given)))

        advance(job, quay.clock)

        assert_nothing_paid(quay, job, code=code)
        assert words in job.message

    def test_about_a_renewal_are_seen_too(self, quay: Quay) -> None:
        ended(quay, run(quay))
        quay.clock.now = NOW + DAY
        before = quay.mined()
        quay.far.will("initialize", lambda **given: (_fee_of(quay.far.needs(**given)[0], amount_wei=5),))

        second = run(quay)

        assert (second.state, second.reason) == (State.FAILED, "unexpected_fee")
        assert quay.mined() == before

    def test_of_a_service_whose_address_nobody_asked_for_are_not_believed(self, quay: Quay) -> None:
        quay.node.provider_address = ""
        quay.node.save()

        job = advance(quay.job(), quay.clock)

        assert_nothing_paid(quay, job, code="fee")

    def test_with_the_order_of_another_part_are_seen(self, quay: Quay) -> None:
        first = ended(quay, advance(quay.job(), quay.clock))
        assert first.algorithm_order is not None
        wrong = first.algorithm_order.transaction.tx_hash

        def lie(**given: Any) -> tuple[OrderNeed, ...]:
            dataset, algorithm = quay.far.needs(**given)
            return replace(dataset, valid_order=wrong), algorithm

        quay.far.will("initialize", lie)

        second = advance(quay.job(), quay.clock)

        assert (second.state, second.reason) == (State.FAILED, "initialize")
        assert order_of(first).held_by == first

    def test_are_measured_by_what_the_service_said_of_the_chain(self, quay: Quay) -> None:
        quay.node.provider_address = str(STRANGER)
        quay.node.said = {"addresses": {"8996": str(PROVIDER)}}
        quay.node.save()
        quay.environment.chain_id = 8996
        quay.environment.save()

        assert run(quay).state == State.RUNNING


class TestRefusals:
    def test_of_a_chain_that_is_another_one(self, quay: Quay) -> None:
        quay.wire.will("eth_chainId", {"result": "0x1"})

        job = advance(quay.job(), quay.clock)

        assert_nothing_paid(quay, job, code="wrong_chain")
        assert "chain 1, not of 8996" in job.message
        assert set(quay.wire.asked) == {"eth_chainId"}

    def test_of_a_network_without_an_endpoint(self, quay: Quay) -> None:
        quay.network.rpc_url = ""
        quay.network.save()

        job = advance(quay.job(), quay.clock)

        assert_nothing_paid(quay, job, code="no_chain")
        assert "RPC endpoint" in job.message

    def test_of_a_network_that_nobody_added(self, quay: Quay) -> None:
        elsewhere = builders.make_environment(node=quay.node, chain_id=137)

        job = advance(quay.job(environment=elsewhere), quay.clock)

        assert_nothing_paid(quay, job, code="no_network")
        assert "chain 137" in job.message
        assert quay.far.calls == []

    def test_of_a_wallet_without_gas_name_the_numbers(self, quay: Quay) -> None:
        quay.wire.will("eth_getBalance", {"result": hex(10**13)})

        job = advance(quay.job(), quay.clock)

        assert_nothing_paid(quay, job, code="insufficient_funds")
        assert "has 0.00001 of Sandbox's own coin" in job.message
        assert "4 transactions may need up to 0.00" in job.message

    @pytest.mark.parametrize(
        "state", ["for sale", "deactivated", "for another", "too little at a time", "no contract"]
    )
    def test_of_datatokens_that_nobody_gives_away(self, quay: Quay, state: str) -> None:
        dispenser = Contract(quay.chain, "Dispenser", quay.deployed.contracts["Dispenser"])
        token, publisher = str(quay.deployed.datatokens["dataset"]), quay.chain.account(0)
        dataset = quay.dataset
        match state:
            case "for sale":
                dataset = quay.asset("sold")
            case "deactivated":
                dispenser.send(publisher, "deactivate", token)
            case "for another":
                dispenser.send(publisher, "setAllowedSwapper", token, str(STRANGER))
            case "too little at a time":
                dispenser.send(publisher, "activate", token, ETHER // 2, ETHER)
            case "no contract":
                quay.network.contracts = {}
                quay.network.save()

        job = advance(quay.job(datasets=[dataset]), quay.clock)

        assert_nothing_paid(quay, job, code="no_datatoken")
        assert "lacks 1 datatoken of “Buoys 2025”" in job.message

    def test_of_a_dispenser_that_gives_to_those_with_less_alone(self, quay: Quay) -> None:
        dispenser = Contract(quay.chain, "Dispenser", quay.deployed.contracts["Dispenser"])
        token = str(quay.deployed.datatokens["dataset"])
        dispenser.send(quay.chain.account(0), "activate", token, ETHER, ETHER)
        quay.give("dataset")

        job = advance(quay.job(datasets=[quay.dataset, quay.asset("dataset")]), quay.clock)

        assert_nothing_paid(quay, job, code="no_datatoken")

    @pytest.mark.parametrize(
        "found", [(), (FileInfo(valid=False),), (FileInfo(valid=True), FileInfo(valid=False))]
    )
    def test_of_files_that_the_service_cannot_reach(self, quay: Quay, found: tuple[FileInfo, ...]) -> None:
        quay.far.will("file_info", Parsed(items=found, skipped=0))

        job = advance(quay.job(), quay.clock)

        assert_nothing_paid(quay, job, code="file")
        assert "cannot reach the file of “Buoys 2025”" in job.message

    def test_of_a_service_that_is_gone(self, quay: Quay) -> None:
        job = quay.job()
        Asset.objects.filter(pk=quay.dataset.pk).update(services=[])

        advance(job, quay.clock)

        assert_nothing_paid(quay, job, code="unknown_service")
        assert "Refresh it in the catalogue" in job.message

    def test_by_the_service_are_told_in_its_words(self, quay: Quay) -> None:
        quay.far.will("initialize", refused("not_trusted"))

        job = advance(quay.job(), quay.clock)

        assert_nothing_paid(quay, job, code="not_trusted")
        assert job.message == refused("not_trusted").message
