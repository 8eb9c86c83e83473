"""The real Ocean contracts on the sandbox chain, deployed from the `ocean-contracts` package."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from eth_abi.abi import decode, encode
from eth_account.signers.local import LocalAccount
from eth_utils.abi import collapse_if_tuple, function_signature_to_4byte_selector

from ocean_portal.sandbox.chain import ACCOUNTS, ETHER, Chain

ZERO_ADDRESS = "0x" + "00" * 20
# Where the contracts' own script puts what the old pools no longer need.
# Source: oceanprotocol/contracts @ 1c779f9 : scripts/deploy-contracts.js.
_DEAD_ADDRESS = "0x000000000000000000000000000000000000dEaD"
_OWNER_OCEAN = 1_000_000 * ETHER
_ACCOUNT_OCEAN = 100_000 * ETHER

Addresses = dict[str, Any]


@dataclass(frozen=True)
class Contract:
    """A deployed contract: call() asks it, send() changes it."""

    chain: Chain
    name: str
    address: str

    def call(self, function: str, *args: Any) -> Any:
        """Ask without a transaction; one result is returned as it is, several as a tuple.

        Raises: RpcError with the revert's reason.
        """
        entry = _function(self.name, function)
        output = self.chain.rpc("eth_call", [{"to": self.address, "data": _input(entry, args)}, "latest"])
        values = decode([collapse_if_tuple(value) for value in entry["outputs"]], bytes.fromhex(output[2:]))
        return values[0] if len(values) == 1 else values

    def send(self, account: LocalAccount, function: str, *args: Any) -> dict[str, Any]:
        """Send a transaction and return its JSON-RPC receipt.

        Raises: RpcError with the revert's reason; nothing is mined then.
        """
        return self.chain.send(
            account, {"to": self.address, "data": _input(_function(self.name, function), args)}
        )


def deploy(chain: Chain) -> Addresses:
    """Deploy the contracts, wired as Ocean's own script does; return an entry as of Ocean's address file.

    Account 0 owns everything. It gets a million Ocean tokens, each other development account 100,000.
    Source: oceanprotocol/contracts @ 1c779f9 : scripts/deploy-contracts.js.
    """
    with chain.in_the_past():
        return _deploy_all(chain)


def _deploy_all(chain: Chain) -> Addresses:
    owner = chain.account(0)
    ocean = _deploy(chain, "OceanToken", owner.address)
    for index in range(ACCOUNTS):
        amount = _ACCOUNT_OCEAN if index else _OWNER_OCEAN
        ocean.send(owner, "mint", chain.account(index).address, amount)
    usdc = _deploy(chain, "MockERC20Decimals", "USDC", "USDC", 6)
    collector = _deploy(chain, "OPFCommunityFeeCollector", owner.address, owner.address)
    router = _deploy(
        chain, "FactoryRouter", owner.address, ocean.address, _DEAD_ADDRESS, collector.address, []
    )
    start_block = chain.head.block_number
    fixed_price = _deploy(chain, "FixedRateExchange", router.address)
    datatoken = _deploy(chain, "ERC20Template")
    enterprise = _deploy(chain, "ERC20TemplateEnterprise")
    nft = _deploy(chain, "ERC721Template")
    dispenser = _deploy(chain, "Dispenser", router.address)
    factory = _deploy(chain, "ERC721Factory", nft.address, datatoken.address, router.address)
    factory.send(owner, "addTokenTemplate", enterprise.address)
    router.send(owner, "addFactory", factory.address)
    router.send(owner, "addFixedRateContract", fixed_price.address)
    router.send(owner, "addDispenserContract", dispenser.address)
    escrow = _deploy(chain, "Escrow", router.address, ZERO_ADDRESS)
    access_list = _deploy(chain, "AccessList")
    access_lists = _deploy(chain, "AccessListFactory", access_list.address)
    return {
        "chainId": chain.chain_id,
        "startBlock": start_block,
        "Ocean": ocean.address,
        "MockUSDC": usdc.address,
        "OPFCommunityFeeCollector": collector.address,
        "Router": router.address,
        "FixedPrice": fixed_price.address,
        "ERC20Template": {"1": datatoken.address, "2": enterprise.address},
        "ERC721Template": {"1": nft.address},
        "Dispenser": dispenser.address,
        "ERC721Factory": factory.address,
        "Escrow": escrow.address,
        "AccessListFactory": access_lists.address,
    }


def mint(
    chain: Chain, contracts: Mapping[str, Any], token_name: str, to: str, amount_wei: int
) -> dict[str, Any]:
    """Give an address ether ("ether"), new Ocean tokens ("Ocean") or dollars ("MockUSDC", 6 decimals).

    Return the receipt. Raises: KeyError for another token, RpcError when account 0 has not enough.
    """
    owner = chain.account(0)
    match token_name:
        case "ether":
            return chain.send(owner, {"to": to, "value": amount_wei})
        case "Ocean":
            return Contract(chain, "OceanToken", contracts["Ocean"]).send(owner, "mint", to, amount_wei)
        case "MockUSDC":
            # It has no mint function: its whole supply went to the account that deployed it.
            dollars = Contract(chain, "MockERC20Decimals", contracts["MockUSDC"])
            return dollars.send(owner, "transfer", to, amount_wei)
    raise KeyError(token_name)


def _deploy(chain: Chain, name: str, *args: Any) -> Contract:
    constructors = (entry for entry in _artifact(name)["abi"] if entry["type"] == "constructor")
    constructor: dict[str, Any] = next(constructors, {"inputs": []})
    code: str = _artifact(name)["bytecode"]
    receipt = chain.send(chain.account(0), {"data": code + _arguments(constructor, args).hex()})
    return Contract(chain, name, receipt["contractAddress"])


@cache
def _artifact(name: str) -> dict[str, Any]:
    """Read what the compiler wrote, from the package `artifacts` that ocean-contracts installs."""
    found: dict[str, Any] = json.loads((files("artifacts") / f"{name}.json").read_text())
    return found


def _function(name: str, function: str) -> dict[str, Any]:
    """Find a function of a contract by its name; those that are used here are not overloaded."""
    entries = _artifact(name)["abi"]
    found: dict[str, Any] = next(
        entry for entry in entries if entry["type"] == "function" and entry["name"] == function
    )
    return found


def _input(entry: dict[str, Any], args: Sequence[Any]) -> str:
    types = ",".join(collapse_if_tuple(value) for value in entry["inputs"])
    selector = function_signature_to_4byte_selector(f"{entry['name']}({types})")
    return "0x" + (selector + _arguments(entry, args)).hex()


def _arguments(entry: dict[str, Any], args: Sequence[Any]) -> bytes:
    return encode([collapse_if_tuple(value) for value in entry["inputs"]], args)
