"""The chain as the recorded node saw it, and a wallet that orders and deposits on the sandbox's own chain."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import requests
from eth_account import Account

from ocean_portal.sandbox.chain import Chain
from ocean_portal.sandbox.contracts import ZERO_ADDRESS, Contract
from ocean_portal.sandbox.environment import PROVIDER_ADDRESS
from ocean_portal.sandbox.escrow import Authorization, Claim, Lock
from ocean_portal.sandbox.nodefees import FeeSigner
from ocean_portal.sandbox.nodeorders import Order, OrderDesk, PaidFee, Started
from ocean_portal.sandbox.nodepaid import Till
from tests.sandbox.recordings import notes

# Number 9 of the public development mnemonic: the recorded node's.
NODE_KEY = "0x2a871d0798f97d79848a013d4936a73bf4cc922c825d33c1cf7073dff6d409c6"
OCEAN = "0x5FbDB2315678afecb367f032d93F642f64180aa3"
ESCROW = "0xa82fF9aFd8f496c3d6ac40E2a0F282E47488CFc9"
NO_MARKET = (ZERO_ADDRESS, ZERO_ADDRESS, 0)


@dataclass
class RecordedEscrow:
    """An Escrow of which tests set the state."""

    available: int = 0
    allowed: list[Authorization] = field(default_factory=list)
    lock_tx: str = "0x" + "ab" * 32
    created: list[dict[str, Any]] = field(default_factory=list)
    address: str = ESCROW

    def available_wei(self, *, payer: str, token: str) -> int:
        return self.available

    def authorizations(self, *, payer: str, token: str) -> list[Authorization]:
        return self.allowed

    def create(self, **lock: Any) -> str:
        self.created.append(lock)
        return self.lock_tx

    def locks(self) -> list[Lock]:
        return []

    def now(self) -> int:
        return 0

    def claim(self, *, lock: Lock, amount_wei: int, proof: str) -> str:
        raise AssertionError("nothing was locked")

    def cancel(self, *, lock: Lock) -> str:
        raise AssertionError("nothing was locked")

    def locked_in(self, *, job: int) -> str | None:
        return None

    def claimed_in(self, *, job: int) -> Claim | None:
        return None

    def cancelled_in(self, *, job: int) -> str | None:
        return None


class RecordedLedger:
    """The orders that the notes of scenarios 31 and 33 tell of, mined at one moment."""

    def __init__(self, *, mined_at: float) -> None:
        self._orders = {note["tx"]: _order(note, int(mined_at)) for note in _orders()}

    def order(self, *, tx_hash: str) -> Order | None:
        return self._orders.get(tx_hash)

    def is_datatoken_of(self, *, nft: str, datatoken: str) -> bool:
        return True


def _orders() -> Iterator[dict[str, Any]]:
    for number in ("31", "33"):
        for note in notes(number):
            if note.get("function") in ("startOrder", "buyFromFreAndOrder"):
                yield note


def _order(note: dict[str, Any], mined_at: int) -> Order:
    args = note["args"][0] if note["function"] == "buyFromFreAndOrder" else note["args"]
    consumer, service_index, fee = args[:3]
    return Order(
        datatoken=note["contract"],
        mined_at=mined_at,
        started=(Started(consumer=consumer, payer=note["sender"], service_index=service_index),),
        reused=(),
        fees=(PaidFee(provider=fee[0], data=bytes.fromhex(fee[7][2:]), valid_for_s=fee[6]),),
    )


def recorded_till(escrow: RecordedEscrow, *, mined_at: float, now: Callable[[], float]) -> Till:
    """Return the till of the recorded node, with all orders mined at one moment."""
    account = Account.from_key(NODE_KEY)
    orders = OrderDesk(
        ledger=RecordedLedger(mined_at=mined_at),
        consumer=PROVIDER_ADDRESS,
        provider=account.address,
        now=now,
    )
    return Till(escrow=escrow, orders=orders, fees=FeeSigner(account=account, token=OCEAN))


class RemoteChain(Chain):
    """A sandbox's chain in another process, with as much of Chain as Contract wants."""

    def __init__(self, url: str) -> None:
        self._url = url

    def rpc(self, method: str, params: list[Any]) -> Any:
        """Ask; a refusal is a RuntimeError with its words."""
        question = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        answer = requests.post(self._url, json=question, timeout=10).json()
        if "error" in answer:
            raise RuntimeError(answer["error"]["message"])
        return answer["result"]

    def send(self, account: Any, tx: dict[str, Any]) -> dict[str, Any]:
        """Sign, send, and return the receipt."""
        call = {"from": account.address, **tx}
        signed = account.sign_transaction(
            {
                "chainId": 8996,
                "nonce": int(self.rpc("eth_getTransactionCount", [account.address, "latest"]), 16),
                "gas": int(self.rpc("eth_estimateGas", [call]), 16),
                "gasPrice": int(self.rpc("eth_gasPrice", []), 16),
                **tx,
            }
        )
        tx_hash = self.rpc("eth_sendRawTransaction", ["0x" + bytes(signed.raw_transaction).hex()])
        return dict(self.rpc("eth_getTransactionReceipt", [tx_hash]))


class Wallet:
    """An account that pays: for orders, and into the Escrow. Amounts in wei."""

    def __init__(self, *, rpc_url: str, contracts: dict[str, Any], key: str) -> None:
        self.chain = RemoteChain(rpc_url)
        self.contracts = contracts
        self.account = Account.from_key(key)
        self.escrow = Contract(self.chain, "Escrow", contracts["Escrow"])

    def token(self, name: str) -> Contract:
        return Contract(self.chain, "ERC20Template", self.contracts[name])

    def balance(self, name: str, owner: str | None = None) -> int:
        return int(self.token(name).call("balanceOf", owner or self.account.address))

    def funds(self, name: str) -> tuple[int, int]:
        """Return what is available and what is locked in the Escrow."""
        available, locked = self.escrow.call("getUserFunds", self.account.address, self.contracts[name])
        return int(available), int(locked)

    def locks(self) -> list[tuple[Any, ...]]:
        """Return all locks of the node: job, payer, amount, expiry, token."""
        return list(self.escrow.call("getLocks", ZERO_ADDRESS, ZERO_ADDRESS, PROVIDER_ADDRESS))

    def deposit(self, name: str, amount_wei: int) -> None:
        self.token(name).send(self.account, "approve", self.escrow.address, amount_wei)
        self.escrow.send(self.account, "deposit", self.contracts[name], amount_wei)

    def authorize(self, name: str, amount_wei: int, *, seconds: int, locks: int) -> None:
        self.escrow.send(
            self.account,
            *("authorize", self.contracts[name], PROVIDER_ADDRESS, amount_wei, seconds, locks),
        )

    def withdraw(self, name: str) -> None:
        self.escrow.send(self.account, "withdraw", [self.contracts[name]], [self.funds(name)[0]])

    def order(self, described: dict[str, Any], *, price_wei: int, consumer: str | None = None) -> str:
        """Get one datatoken and order with what initializeCompute described; return the transaction."""
        address, ether = described["datatoken"], 10**18
        datatoken = Contract(self.chain, "ERC20Template", address)
        if price_wei:
            exchange = Contract(self.chain, "FixedRateExchange", self.contracts["FixedPrice"])
            exchange_id = exchange.call("generateExchangeId", self.contracts["Ocean"], address)
            cost_wei = exchange.call("calcBaseInGivenOutDT", exchange_id, ether, 0)[0]
            self.token("Ocean").send(self.account, "approve", exchange.address, cost_wei)
            exchange.send(self.account, "buyDT", exchange_id, ether, cost_wei, ZERO_ADDRESS, 0)
        else:
            dispenser = Contract(self.chain, "Dispenser", self.contracts["Dispenser"])
            dispenser.send(self.account, "dispense", address, ether, self.account.address)
        fee = described["providerFee"]
        signed = (
            *(fee["providerFeeAddress"], fee["providerFeeToken"], int(fee["providerFeeAmount"]), fee["v"]),
            *(bytes.fromhex(fee["r"][2:]), bytes.fromhex(fee["s"][2:]), fee["validUntil"]),
            bytes.fromhex(fee["providerData"][2:]),
        )
        consumer = consumer or described["consumerAddress"]
        receipt = datatoken.send(self.account, "startOrder", consumer, 0, signed, NO_MARKET)
        return str(receipt["transactionHash"])
