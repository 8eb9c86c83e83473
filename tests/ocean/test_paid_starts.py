"""Paid starts at a node: what is sent, and what the reports of such jobs tell of the money."""

import json
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.ocean.compute import AlgorithmInput, AssetInput, Container, Payment, StartRequest, parse_job
from jobs.ocean.errors import BadAnswer, Refused
from jobs.ocean.node import OceanNode
from jobs.ocean.provider import Provider
from jobs.ocean.receipts import JobPayment
from jobs.ocean.signing import Pen
from jobs.ocean.units import Address, from_wei
from tests.ocean.wire import Answer, account, node, recording

OCEAN = Address("0x5FbDB2315678afecb367f032d93F642f64180aa3")
TX = "0x" + "ab" * 32
PEN = Pen(account(2), nonce=11)
CONTAINER = Container("python3 $ALGO", "python", "3.11", "")
REQUEST = StartRequest(
    environment_id="0x60-0x85",
    datasets=(AssetInput("did:op:" + "a" * 64, "compute-1", userdata={"age": 5}, order=TX),),
    algorithm=AlgorithmInput("did:op:" + "b" * 64, "algo-access", CONTAINER, {"secret": 1}, order=TX),
    max_duration_s=600,
    envs={"KEY": "v"},
    tag="t",
    payment=Payment(8996, OCEAN),
)


def started(request: StartRequest) -> tuple[str, dict[str, Any]]:
    """The path and body of a start."""
    client, wire = node(Answer.json(recording("31")[7]["response"]["body"]["json"]))
    client.start(request=request, proof=PEN)
    return wire.sent[0].path, json.loads(wire.sent[0].body or b"")


class TestPaidStart:
    def test_goes_where_paid_jobs_start_with_its_orders_and_payment(self):
        path, body = started(REQUEST)

        assert path == "/api/services/compute"
        assert body["payment"] == {"chainId": 8996, "token": OCEAN}
        assert body["datasets"][0]["transferTxId"] == body["algorithm"]["transferTxId"] == TX
        assert body["datasets"][0]["userdata"] == {"age": 5}
        assert body["metadata"] == {"tag": "t"}

    def test_leaves_the_container_to_the_algorithms_document(self):
        _, body = started(REQUEST)

        assert "meta" not in body["algorithm"]

    def test_without_a_payment_is_a_free_one_that_names_no_orders(self):
        path, body = started(replace(REQUEST, payment=None))

        assert path == "/api/services/freeCompute"
        assert "payment" not in body
        assert "transferTxId" not in json.dumps(body)
        assert body["algorithm"]["meta"]["container"]["image"] == "python"

    def test_has_a_longest_duration(self):
        client, wire = node(Answer.json([]))

        with pytest.raises(Refused) as caught:
            client.start(request=replace(REQUEST, max_duration_s=None), proof=PEN)

        assert caught.value.code == "no_duration"
        assert wire.sent == []

    def test_is_signed_for_a_command_of_its_own(self):
        _, paid = started(REQUEST)
        _, free = started(replace(REQUEST, payment=None))

        assert paid["signature"] != free["signature"]


class TestCapabilities:
    def test_tell_who_is_paid_from_an_escrow(self):
        assert OceanNode.capabilities.escrow
        assert not OceanNode.capabilities.orders
        assert not Provider.capabilities.escrow
        assert Provider.capabilities.orders


class TestQuestionForThePrice:
    def test_is_unsigned_and_tells_no_secrets(self):
        client, wire = node(Answer.json({}))

        with pytest.raises(BadAnswer):
            client.initialize(
                request=replace(REQUEST, queue_wait_s=5, resources=(("cpu", 2),)),
                consumer=account(9).address,
                payer=account(2).address,
                valid_until=1,
            )

        body = json.loads(wire.sent[0].body or b"")
        assert set(body) == {
            "datasets",
            "algorithm",
            "environment",
            "payment",
            "consumerAddress",
            "maxJobDuration",
            "queueMaxWaitTime",
        }
        assert body["consumerAddress"] == account(2).address
        assert body["payment"]["resources"] == [{"id": "cpu", "amount": 2}]
        assert not {"secret", "KEY", "age"} & set(json.dumps(body).split('"'))


def report(number: str, seq: int, **payment: Any) -> dict[str, Any]:
    """A recorded job with changes to what it tells of its payment."""
    entry = recording(number)[seq]["response"]["body"]["json"][0]
    return {**entry, "payment": {**entry["payment"], **payment}} if payment else entry


class TestReportedPayment:
    def test_of_a_started_job_is_its_lock(self):
        job = parse_job(report("31", 7))

        assert job.payment is not None
        assert (job.payment.chain_id, job.payment.token) == (8996, OCEAN)
        assert job.payment.lock_tx == "0x71772bfc978ec4508006dbb7462fcf118fdeddf0eeb65e6774c24ef14bb306e0"
        assert (job.payment.claim_tx, job.payment.cancel_tx, job.payment.settled) == (None, None, False)
        assert job.payment.cost_wei(decimals=18) is None
        assert job.lock_id == 15633764537262289806798547223915467478237189780149665127099908963297142292361

    def test_of_a_settled_job_is_its_cost(self):
        job = parse_job(report("20", 13))

        assert job.payment is not None
        assert job.payment.settled
        assert job.payment.told_cost == Decimal("1.1")
        assert job.payment.cost_wei(decimals=18) == 1_100_000_000_000_000_000
        assert job.payment.cost_wei(decimals=6) == 1_100_000

    def test_of_a_job_whose_lock_was_cancelled_is_nothing(self):
        job = parse_job(report("31", 7, cancelTx=TX))

        assert job.payment is not None
        assert job.payment.cost_wei(decimals=18) == 0

    def test_of_a_free_job_is_none(self):
        assert parse_job(recording("10")[2]["response"]["body"]["json"][0]).payment is None

    @pytest.mark.parametrize("name", ["lockTx", "claimTx", "cancelTx"])
    def test_has_no_transaction_where_a_text_is_empty(self, name):
        job = parse_job(report("31", 7, **{name: ""}))

        assert job.payment is not None

    @pytest.mark.parametrize(
        "payment",
        [
            {"chainId": "8996"},
            {"chainId": -1},
            {"chainId": 2**63},
            {"token": "OCEAN"},
            {"lockTx": "0x1"},
            {"lockTx": 5},
            {"claimTx": "0x" + "g" * 64},
            {"cost": "much"},
            {"cost": -1},
            {"cost": "NaN"},
            {"cost": 1e40},
        ],
    )
    def test_that_cannot_be_read_is_a_bad_answer(self, payment):
        with pytest.raises(BadAnswer):
            parse_job(report("31", 7, **payment))

    @given(amount=st.integers(min_value=0, max_value=10**40), decimals=st.sampled_from([0, 6, 8, 18]))
    def test_of_any_size_loses_and_makes_no_wei(self, amount, decimals):
        told = from_wei(amount, decimals=decimals)
        if told > Decimal(10) ** 30:
            return
        payment = JobPayment(chain_id=1, token=OCEAN, claim_tx=TX, told_cost=str(told))

        assert payment.cost_wei(decimals=decimals) == amount

    def test_that_is_finer_than_its_token_is_rounded(self):
        payment = JobPayment(chain_id=1, token=OCEAN, claim_tx=TX, told_cost=0.30000000000000004)

        assert payment.cost_wei(decimals=6) == 300_000
        assert payment.cost_wei(decimals=18) == 300_000_000_000_000_040
