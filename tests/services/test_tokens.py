"""Tokens are remembered as their contracts describe them, which strangers wrote; amounts are told exactly."""

from __future__ import annotations

from typing import Any

import pytest
from eth_abi.abi import encode

from jobs.lifecycle import State
from jobs.models import SpendingLimit, Token
from jobs.ocean.compute import parse_environments_by_chain
from jobs.ocean.errors import BadAnswer
from jobs.ocean.units import Address
from jobs.services import gateway, nodes, tokens
from tests import builders
from tests.services.fakes import STRANGER
from tests.services.payers import AWAY
from tests.services.steps import advance
from tests.services.tollhouse import OCEAN, Tollhouse


def learn(place: Tollhouse, *addresses: Address) -> None:
    with gateway.open_chain(network=place.network) as chain:
        tokens.learn(chain=chain, network=place.network, addresses=addresses)


def forget() -> None:
    """Start without any token, and so without limits."""
    SpendingLimit.objects.all().delete()
    Token.objects.all().delete()


def answer(data: bytes) -> dict[str, Any]:
    return {"result": "0x" + data.hex()}


class TestLearn:
    def test_keeps_symbol_and_decimals_once(self, gate: Tollhouse) -> None:
        forget()

        learn(gate, gate.ocean, gate.dollars)
        learn(gate, gate.ocean, gate.dollars)

        found = Token.objects.order_by("decimals").values_list("address", "symbol", "decimals")
        assert list(found) == [(gate.dollars, "USDC", 6), (gate.ocean, "OCEAN", 18)]
        assert gate.wire.asked.count("eth_call") == 4

    @pytest.mark.parametrize(
        ("said", "kept"),
        [
            (encode(["string"], ["OCEAN\u202eXX\x00\n\tY"]), "OCEANXX Y"),
            (encode(["string"], ["A" * 1_000]), "A" * 20),
            (encode(["string"], [""]), "tokens"),
            (encode(["bytes"], [b"\xff\xfe"]), "\ufffd\ufffd"),
            (b"MKR".ljust(32, b"\0"), "MKR"),
        ],
        ids=["direction and lines", "long", "nothing", "no text", "one word"],
    )
    def test_cleans_what_a_stranger_calls_a_token(self, gate: Tollhouse, said: bytes, kept: str) -> None:
        forget()
        gate.wire.will("eth_call", answer(encode(["uint8"], [6])), answer(said))

        learn(gate, gate.ocean)

        assert Token.objects.get().symbol == kept

    @pytest.mark.parametrize("decimals", [0, 255])
    def test_takes_any_number_of_decimals(self, gate: Tollhouse, decimals: int) -> None:
        forget()
        gate.wire.will("eth_call", answer(encode(["uint8"], [decimals])), answer(encode(["string"], ["X"])))

        learn(gate, gate.ocean)

        told = tokens.told(network=gate.network, token=gate.ocean, amount_wei=2**256 - 1)
        assert told.replace(".", "").lstrip("0").removesuffix(" X") == str(2**256 - 1)

    def test_refuses_an_address_without_a_token(self, gate: Tollhouse) -> None:
        with pytest.raises(BadAnswer):
            learn(gate, STRANGER)

        assert not Token.objects.filter(address=STRANGER).exists()

    def test_has_room_for_what_a_job_pays_in_however_much_nodes_have_named(
        self, gate: Tollhouse, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        forget()
        monkeypatch.setattr(tokens, "TOKENS_MAX", 1)  # patched by name: 200 rows say the same

        job = advance(gate.paid(payment_token=str(gate.dollars)), gate.clock)

        assert (job.state, job.reason) == (State.FAILED, "over_limit")
        assert "may spend 0 USDC" in job.message


class TestTold:
    @pytest.mark.parametrize(
        ("amount_wei", "told"),
        [
            (0, "0 OCEAN"),
            (1, "0.000000000000000001 OCEAN"),
            (10**18, "1 OCEAN"),
            (100 * 10**18, "100 OCEAN"),
            (2_500 * 10**15, "2.5 OCEAN"),
            (10**33 + 1, "1000000000000000.000000000000000001 OCEAN"),
        ],
    )
    def test_writes_every_digit_and_no_more(self, db: None, amount_wei: int, told: str) -> None:
        network = builders.make_network()
        Token.objects.create(network=network, address=STRANGER, symbol="OCEAN", decimals=18)

        assert tokens.told(network=network, token=STRANGER, amount_wei=amount_wei) == told

    def test_speaks_of_smallest_units_where_the_token_is_not_known(self, db: None) -> None:
        told = tokens.told(network=builders.make_network(), token=STRANGER, amount_wei=12)

        assert told == f"12 of the smallest unit of {STRANGER}"


class TestLookedAtNode:
    """What `nodes.look` remembers of the tokens that a node names."""

    def look(self, place: Tollhouse, *named: Address) -> None:
        fees = {"8996": [{"feeToken": token, "prices": [{"id": "cpu", "price": 1}]} for token in named]}
        place.far.offers = [{**builders.RAW_ENVIRONMENT, "fees": fees}]
        assert nodes.look(node_id=place.node.pk, clock=place.clock)

    def test_are_called_as_their_contracts_say(self, gate: Tollhouse) -> None:
        forget()

        self.look(gate, gate.ocean, gate.dollars)

        assert sorted(Token.objects.values_list("symbol", flat=True)) == ["OCEAN", "USDC"]

    def test_of_a_provider_are_learnt_too(self, toll: Tollhouse) -> None:
        forget()
        toll.far.will("environments", parse_environments_by_chain({"8996": [toll.environment.raw]}))

        assert nodes.look(node_id=toll.node.pk, clock=toll.clock)

        assert Token.objects.get().address == toll.ocean

    def test_are_asked_for_again_once_the_chain_is_back(self, gate: Tollhouse) -> None:
        forget()
        gate.wire.will("*", AWAY)

        self.look(gate, gate.ocean)
        assert not Token.objects.exists()
        gate.wire.faults.clear()
        self.look(gate, gate.ocean)

        assert Token.objects.get().symbol == "OCEAN"

    def test_that_are_none_do_not_hide_the_others(self, gate: Tollhouse) -> None:
        forget()
        escrow = Address(gate.deployed.contracts["Escrow"])

        self.look(gate, Address("0x" + "00" * 19 + "01"), escrow, STRANGER, gate.ocean)

        assert [token.address for token in Token.objects.all()] == [gate.deployed.contracts[OCEAN]]

    def test_are_not_more_than_a_few_at_a_time(self, gate: Tollhouse) -> None:
        asked = len(gate.wire.asked)

        self.look(gate, *[Address(f"0x{n:040x}") for n in range(1, 50)])

        assert len(gate.wire.asked) - asked <= 1 + nodes.TOKENS_AT_ONCE

    def test_of_a_network_without_an_endpoint_are_left_alone(self, gate: Tollhouse) -> None:
        forget()
        gate.network.rpc_url = ""
        gate.network.save()

        self.look(gate, gate.ocean)

        assert (gate.wire.asked, Token.objects.count()) == ([], 0)

    def test_of_an_endpoint_of_another_chain_are_left_alone(self, gate: Tollhouse) -> None:
        forget()
        gate.wire.will("eth_chainId", {"result": "0x1"})

        self.look(gate, gate.ocean)

        assert not Token.objects.exists()
