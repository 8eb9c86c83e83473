"""Fees as both kinds of service sign them: known digests, and whose signature it is, for every fee that was recorded."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from eth_account.messages import encode_defunct
from web3 import Web3

from jobs.ocean.orders import check_fee, fee_digest
from jobs.ocean.units import Address
from tests.ocean.test_orders import PROVIDER, fee_of
from tests.ocean.wire import RECORDINGS, account

NODE = account(9).address
V4 = RECORDINGS.parent / "provider-v4"

# Where a fee was recorded first, and what its signer signed; worked out with web3, not with the client.
DIGESTS = {
    "ocean-node-3.2.0 31, exchange 1, 0": "a86f4ceeae7fdf711c5a839bbf5a8370d221efbc83e5846dbcc7cf729d079e2c",
    "ocean-node-3.2.0 31, exchange 1, 1": "128799e264c0f8c105c9a2f3ec25751f3bc95022288debcf954ede064d185cd8",
    "ocean-node-3.2.0 33, exchange 3, 0": "5ab19f3c75101347a96c988e16fa5a5d06b6fddde1345aa595f858cfb064c68e",
    "provider-v4 30, exchange 3, 0": "71480ac42dc9db066d51f952a537cf05d05f546b76c311f473a0741517970815",
    "provider-v4 30, exchange 3, 1": "674346bfa5e31a98cd9476a21813cbb126a3510d75779a7c5c9c2fb4475bd15a",
    "provider-v4 32, exchange 3, 0": "670d258adaeeb10e73af2181fb6624aebdb1490ba1b269a7afcb94499265d213",
    "provider-v4 32, exchange 3, 1": "452148d1dc1fa69ab2abddefad8e698f2acd9f0bfc01873ff9fcaa71939beae7",
    "provider-v4 50, exchange 3, 0": "9b1bbfb5c16c877d391720ddb2cd89846794291479ec8574b437e37e50f26b32",
    "provider-v4 60, exchange 3, 0": "1dbf322bfc891c9fcc66f4a5150e42900a14aa0cb557c18200f1f2d18ae3e97b",
    "provider-v4 62, exchange 3, 0": "8d53fb2607066e97617e0067d629dc0458bcea6837a6aa9ea8f78dbd691408ba",
    "provider-v4 70, exchange 6, 0": "707ca19e2ec322b58abfd8a810ce65f6e6d0f732ea647d30da4cac70286cb28a",
    "provider-v4 88, exchange 1, 0": "bc09bf95937f811c14f8495ed9cc4ff1a910a13bb40063167675929deef23737",
    "provider-v4 88, exchange 1, 1": "33eb3f8ba49b2ff24e10d31bd14b3cb6c532a62ee51e5556fb4e352a25f94cbc",
    "provider-v4 88, exchange 1, 2": "e396e483cc87ac110d452cdd209978e155edc91352896a3e6d6b122a28695c10",
}


def entries(answer: Any) -> list[Any]:
    """What an answer to initializeCompute or initialize says of each asset."""
    if not isinstance(answer, dict):
        return []
    listed = [*answer["datasets"], answer.get("algorithm")] if "datasets" in answer else [answer]
    return [entry for entry in listed if isinstance(entry, dict)]


def recorded(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every fee that a service asked for, with where; the same fee once."""
    seen = []
    for path in sorted(folder.glob("*.json")):
        for exchange in json.loads(path.read_text())["exchanges"]:
            response = exchange["response"]
            body = response.get("body_json") if folder == V4 else response["body"].get("json")
            for position, entry in enumerate(entries(body)):
                fee = entry.get("providerFee")
                if fee and fee not in seen:
                    seen.append(fee)
                    place = exchange["n"] if folder == V4 else exchange["seq"]
                    yield f"{folder.name} {path.name[:2]}, exchange {place}, {position}", fee


FEES = [(NODE, *found) for found in recorded(RECORDINGS)] + [(PROVIDER, *found) for found in recorded(V4)]
EVERY = [pytest.param(signer, place, sent, id=place) for signer, place, sent in FEES]


class TestEveryRecordedFee:
    @pytest.mark.parametrize(("signer", "place", "sent"), EVERY)
    def test_has_a_known_digest(self, signer, place, sent):
        assert fee_digest(fee_of(sent)).hex() == DIGESTS[place]

    @pytest.mark.parametrize(("signer", "place", "sent"), EVERY)
    def test_digest_is_that_of_the_contract(self, signer, place, sent):
        packed = Web3.solidity_keccak(
            ["bytes", "address", "address", "uint256", "uint256"],
            [
                sent["providerData"],
                sent["providerFeeAddress"],
                sent["providerFeeToken"],
                int(sent["providerFeeAmount"]),
                sent["validUntil"],
            ],
        )

        assert packed.hex().removeprefix("0x") == DIGESTS[place]

    @pytest.mark.parametrize(("signer", "place", "sent"), EVERY)
    def test_is_signed_by_its_service(self, signer, place, sent):
        message = encode_defunct(bytes.fromhex(DIGESTS[place]))
        vrs = (sent["v"], int(sent["r"], 16), int(sent["s"], 16))

        check_fee(fee_of(sent))

        assert Address(Account.recover_message(message, vrs=vrs)) == signer == sent["providerFeeAddress"]

    def test_is_in_the_table_and_nothing_else_is(self):
        assert list(DIGESTS) == [place for _, place, _ in FEES]
        assert len(DIGESTS) == 14
