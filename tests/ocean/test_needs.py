"""What a node wants to see on the chain before a paid start, as recorded and as a node that lies might say it."""

import copy
from dataclasses import replace
from typing import Any

import pytest

from jobs.ocean.compute import (
    AlgorithmInput,
    AssetInput,
    CodeAlgorithm,
    Container,
    Needs,
    Payment,
    PaymentNeed,
    StartRequest,
    UrlFile,
    UrlInput,
)
from jobs.ocean.errors import BadAnswer
from jobs.ocean.node import OceanNode
from jobs.ocean.orders import check_fee
from jobs.ocean.units import Address, Wei
from tests.ocean.wire import Answer, FakeWire, account, node, recording

OCEAN = Address("0x5FbDB2315678afecb367f032d93F642f64180aa3")
ESCROW = Address("0xa82fF9aFd8f496c3d6ac40E2a0F282E47488CFc9")
DATASET = "did:op:a0c2d8d5bf218abbe9c7e7f6e0449010e5c8517ba4e950d8cf49ca11a37988bb"
ALGORITHM = "did:op:177a60bb253acdaba6b6d33ffdf8f34d10ba5644ffa59514bce85c422ad6e27d"
REQUEST = StartRequest(
    environment_id="0x60-0x85",
    datasets=(AssetInput(DATASET, "compute-1"),),
    algorithm=AlgorithmInput(ALGORITHM, "algo-access"),
    max_duration_s=600,
    payment=Payment(8996, OCEAN),
)


def said(seq: int = 1) -> dict[str, Any]:
    """What the node of recording 31 answered."""
    answer: dict[str, Any] = copy.deepcopy(recording("31")[seq]["response"]["body"]["json"])
    return answer


def ask(answer: object, request: StartRequest = REQUEST) -> tuple[Needs, FakeWire]:
    client: OceanNode
    client, wire = node(Answer.json(answer))
    needs = client.initialize(
        request=request, consumer=account(9).address, payer=account(2).address, valid_until=1
    )
    return needs, wire


class TestNeedsOfAPaidStart:
    def test_are_orders_with_signed_fees_and_a_payment(self):
        needs, _ = ask(said())

        dataset, algorithm = needs.orders
        assert (dataset.did, dataset.service_id, dataset.valid_order) == (DATASET, "compute-1", "")
        assert (algorithm.did, algorithm.service_id) == (ALGORITHM, "algo-access")
        assert dataset.datatoken == "0x81640340e9E0eAB4eCc8401eF23d98cbD13bB7b5"
        assert (dataset.chain_id, algorithm.chain_id) == (8996, 8996)
        for need in needs.orders:
            assert need.fee is not None
            assert (need.fee.amount_wei, need.fee.valid_until) == (0, 0)
            check_fee(need.fee)
        assert needs.payment == PaymentNeed(
            escrow=ESCROW,
            payee=account(9).address,
            chain_id=8996,
            token=OCEAN,
            amount_wei=Wei(11_100_000_000_000_000_000),
            min_lock_s=4_200,
        )

    def test_are_the_orders_that_it_still_takes(self):
        needs, _ = ask(said(6))

        assert [(need.valid_order[:8], need.fee) for need in needs.orders] == [
            ("0x5ea7de", None),
            ("0x0699e4", None),
        ]

    def test_are_no_orders_for_code_of_ones_own(self):
        code = CodeAlgorithm("print(1)", Container("python3 $ALGO", "python", "3.11", ""))

        needs, _ = ask(
            recording("32")[2]["response"]["body"]["json"], replace(REQUEST, datasets=(), algorithm=code)
        )

        assert needs.orders == ()
        assert needs.payment is not None
        assert needs.payment.amount_wei == 4_200_000_000_000_000_000

    def test_are_orders_of_published_data_alone(self):
        own = UrlInput(UrlFile(url="http://data.example/a.csv", method="GET"))

        needs, wire = ask(said(), replace(REQUEST, datasets=(own, *REQUEST.datasets)))

        assert [need.did for need in needs.orders] == [DATASET, ALGORITHM]
        assert b"data.example" not in (wire.sent[0].body or b"")

    def test_of_a_free_start_are_none_and_nobody_is_asked(self):
        needs, wire = ask("not asked", replace(REQUEST, payment=None))

        assert needs == Needs(orders=(), payment=None)
        assert wire.sent == []

    @pytest.mark.parametrize(
        "changes",
        [
            {"escrowAddress": "0x1"},
            {"escrowAddress": None},
            {"payee": 5},
            {"chainId": "8996"},
            {"chainId": 1},
            {"chainId": True},
            {"token": "0xB7f8BC63BbcaD18155201308C8f3540b07f84F5e"},
            {"token": None},
            {"amount": -1},
            {"amount": "-1"},
            {"amount": 1.5},
            {"amount": "1e18"},
            {"amount": ""},
            {"amount": None},
            {"amount": True},
            {"amount": str(2**256)},
            {"amount": "9" * 5_000},
            {"minLockSeconds": -1},
            {"minLockSeconds": "4200"},
            {"minLockSeconds": 10**9},
            {"minLockSeconds": True},
            {"minLockSeconds": None},
        ],
    )
    def test_with_a_payment_that_cannot_be_made_are_bad_answers(self, changes):
        answer = said()
        answer["payment"] |= changes

        with pytest.raises(BadAnswer) as caught:
            ask(answer)

        assert caught.value.code == "payment"
        assert caught.value.message.startswith("node.example: The node ")

    @pytest.mark.parametrize("payment", [None, [], "x", {}])
    def test_without_a_payment_are_bad_answers(self, payment):
        with pytest.raises(BadAnswer) as caught:
            ask({**said(), "payment": payment})

        assert caught.value.code == "payment"

    @pytest.mark.parametrize(
        ("part", "changes"),
        [
            ("algorithm", {"validOrder": True}),
            ("algorithm", {"validOrder": None, "providerFee": None}),
            ("algorithm", {"validOrder": "0x1"}),
            ("algorithm", {"did": DATASET}),
            ("algorithm", {"serviceId": "compute-1"}),
            ("algorithm", {"consumerAddress": str(OCEAN)}),
            ("algorithm", {"consumerAddress": "me"}),
            ("algorithm", {"datatoken": None}),
            ("dataset", {"did": ALGORITHM}),
            ("dataset", {"consumerAddress": str(OCEAN)}),
            ("dataset", {"providerFee": {}}),
        ],
    )
    def test_with_an_order_of_something_else_are_bad_answers(self, part, changes):
        answer = said()
        entry = answer["algorithm"] if part == "algorithm" else answer["datasets"][0]
        entry |= changes

        with pytest.raises(BadAnswer) as caught:
            ask(answer)

        assert caught.value.code == "orders"

    @pytest.mark.parametrize("answer", [None, [], "x", {}, {"datasets": {}}, {"datasets": []}])
    def test_of_another_shape_are_bad_answers(self, answer):
        with pytest.raises(BadAnswer):
            ask(answer)

    def test_have_no_chain_where_none_is_said_in_numbers(self):
        answer = said()
        answer["algorithm"]["chainId"] = "8996"
        del answer["datasets"][0]["chainId"]

        needs, _ = ask(answer)

        assert [need.chain_id for need in needs.orders] == [None, None]
