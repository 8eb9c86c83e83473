"""What a test sees of the sandbox's chain, without any code of the portal's."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import requests
from eth_abi.abi import decode, encode
from eth_account import Account
from eth_utils.abi import function_signature_to_4byte_selector
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

# Source: OceanProtocol contracts v2: Dispenser.sol, ERC20Template.sol.
_FEE = "(address,address,uint256,uint8,bytes32,bytes32,uint256,bytes)"
_MARKET = "(address,address,uint256)"
CALLS = {
    function_signature_to_4byte_selector(signature): name
    for name, signature in {
        "dispense": "dispense(address,uint256,address)",
        "order": f"startOrder(address,uint256,{_FEE},{_MARKET})",
        "renewal": f"reuseOrder(bytes32,{_FEE})",
        "approval": "approve(address,uint256)",
        "purchase": "buyDT(bytes32,uint256,uint256,address,uint256)",
        "deposit": "deposit(address,uint256)",
        "authorization": "authorize(address,address,uint256,uint256,uint256)",
        "withdrawal": "withdraw(address[],uint256[])",
        "transfer": "transfer(address,uint256)",
    }.items()
}
_TRANSFER = "0x" + keccak(text="Transfer(address,address,uint256)").hex()
_CLAIMED = "0x" + keccak(text="Claimed(address,uint256,address,address,uint256,bytes)").hex()
ONE_TOKEN = 10**18
# Number 2 of the public development mnemonic: it pays for the gas of wallets that tests make.
PAYMASTER = "0x5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a"
GAS_MONEY_WEI = 10**18


@dataclass(frozen=True)
class Mined:
    """A transaction in a block. call: one of CALLS, else "other"; data: without the selector."""

    hash: str
    nonce: int
    block: int
    succeeded: bool
    call: str
    to: str
    data: bytes


@dataclass(frozen=True)
class Claim:
    """What an escrow took from a payer. paid_out: what left the escrow in that transaction, by receiver."""

    tx_hash: str
    job: int
    amount_wei: int
    paid_out: dict[str, int]


@dataclass(frozen=True)
class Ledger:
    """The chain behind an RPC endpoint."""

    url: str

    def ask(self, method: str, *params: Any) -> Any:
        """Make one call."""
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)}
        answer = requests.post(self.url, json=body, timeout=30).json()
        assert "error" not in answer, (method, answer["error"])
        return answer["result"]

    def head(self) -> int:
        """Return the number of the newest block."""
        return int(self.ask("eth_blockNumber"), 16)

    def nonce(self, address: str, at: str = "latest") -> int:
        """Return how many transactions of an address are mined; at "pending": or wait."""
        return int(self.ask("eth_getTransactionCount", address, at), 16)

    def balance(self, token: str, owner: str) -> int:
        """Return what somebody has of a token, in wei."""
        (balance,) = self.view(token, "balanceOf(address)", owner, answers=["uint256"])
        return int(balance)

    def view(self, to: str, signature: str, *values: Any, answers: list[str]) -> tuple[Any, ...]:
        """Ask a contract, and decode the first words of what it says."""
        types = signature.partition("(")[2].rstrip(")").split(",")
        data = function_signature_to_4byte_selector(signature) + encode(types, values)
        said = self.ask("eth_call", {"to": to, "data": "0x" + data.hex()}, "latest")
        return decode(answers, bytes.fromhex(said.removeprefix("0x")))

    def funds(self, escrow: str, *, payer: str, token: str) -> tuple[int, int]:
        """Return what a payer has in an escrow, in wei: available and locked."""
        available, locked = self.view(
            escrow, "getUserFunds(address,address)", payer, token, answers=["uint256", "uint256"]
        )
        return int(available), int(locked)

    def claims(self, escrow: str, *, payer: str, since: int) -> list[Claim]:
        """Return what was claimed of a payer after a block."""
        who = "0x" + encode(["address"], [payer]).hex()
        wanted = {"address": escrow, "fromBlock": hex(since + 1), "topics": [_CLAIMED, None, who]}
        return [self._claim(escrow, log) for log in self.ask("eth_getLogs", wanted)]

    def _claim(self, escrow: str, log: dict[str, Any]) -> Claim:
        job, _token, amount, _proof = decode(
            ["uint256", "address", "uint256", "bytes"], bytes.fromhex(log["data"][2:])
        )
        paid_out: dict[str, int] = {}
        for seen in self.ask("eth_getTransactionReceipt", log["transactionHash"])["logs"]:
            if seen["topics"][0] == _TRANSFER and _address(seen["topics"][1]) == to_checksum_address(escrow):
                receiver = _address(seen["topics"][2])
                paid_out[receiver] = paid_out.get(receiver, 0) + int(seen["data"], 16)
        return Claim(tx_hash=log["transactionHash"], job=job, amount_wei=amount, paid_out=paid_out)

    def signed(
        self, key: str, *, to: str, data: bytes = b"", value: int = 0, nonce: int | None = None
    ) -> tuple[str, bytes]:
        """Sign a transaction that will be mined whatever it does; return its hash and its bytes."""
        made = Account.from_key(key).sign_transaction(
            {
                "chainId": int(self.ask("eth_chainId"), 16),
                "nonce": self.nonce(Account.from_key(key).address) if nonce is None else nonce,
                "to": to,
                "data": data,
                "value": value,
                "gas": 500_000,
                "maxFeePerGas": 100 * 10**9,
                "maxPriorityFeePerGas": 10**9,
            }
        )
        return "0x" + made.hash.hex().removeprefix("0x"), bytes(made.raw_transaction)

    def send(self, raw: bytes) -> None:
        """Send what is signed."""
        self.ask("eth_sendRawTransaction", "0x" + raw.hex())

    def give_gas_money(self, address: str) -> None:
        """Let a new wallet pay for its transactions."""
        self.send(self.signed(PAYMASTER, to=address, value=GAS_MONEY_WEI)[1])

    def give_token_away(self, key: str, *, token: str) -> None:
        """Let a wallet give one datatoken to somebody."""
        self._transfer(key, token=token, to=Account.from_key(PAYMASTER).address, amount_wei=ONE_TOKEN)

    def give_tokens(self, address: str, *, token: str, amount_wei: int) -> None:
        """Let a new wallet pay with a token."""
        self._transfer(PAYMASTER, token=token, to=address, amount_wei=amount_wei)

    def _transfer(self, key: str, *, token: str, to: str, amount_wei: int) -> None:
        data = function_signature_to_4byte_selector("transfer(address,uint256)") + encode(
            ["address", "uint256"], [to, amount_wei]
        )
        self.send(self.signed(key, to=token, data=data)[1])

    def mined_of(self, address: str, *, since: int) -> Iterator[Mined]:
        """Yield what was mined of an address after a block, in order."""
        for number in range(since + 1, self.head() + 1):
            for tx in self.ask("eth_getBlockByNumber", hex(number), True)["transactions"]:
                if to_checksum_address(tx["from"]) == address:
                    data = bytes.fromhex(tx["input"].removeprefix("0x"))
                    receipt = self.ask("eth_getTransactionReceipt", tx["hash"])
                    yield Mined(
                        hash=tx["hash"],
                        nonce=int(tx["nonce"], 16),
                        block=number,
                        succeeded=receipt["status"] == "0x1",
                        call=CALLS.get(data[:4], "other"),
                        to=to_checksum_address(tx["to"]),
                        data=data[4:],
                    )


def moves(mined: Mined, *, ledger: Ledger) -> Iterator[tuple[str, int]]:
    """Yield what a transaction that succeeded should have moved: a token, and how many wei more or less the sender has.

    What datatokens are sold for is the exchange's word; all else is in what was signed.
    """
    match mined.call:
        case "dispense":
            token, amount, _to = decode(["address", "uint256", "address"], mined.data)
            yield to_checksum_address(token), int(amount)
        case "purchase":
            exchange, amount, *_ = decode(["bytes32", "uint256"], mined.data)
            owner_datatoken_decimals_base = ["address", "address", "uint256", "address"]
            _, datatoken, _, base = ledger.view(
                mined.to, "getExchange(bytes32)", exchange, answers=owner_datatoken_decimals_base
            )
            (cost,) = ledger.view(
                mined.to,
                "calcBaseInGivenOutDT(bytes32,uint256,uint256)",
                *(exchange, amount, 0),
                answers=["uint256"],
            )
            yield to_checksum_address(datatoken), int(amount)
            yield to_checksum_address(base), -int(cost)
        case "order":
            yield mined.to, -ONE_TOKEN
            yield from _fee(decode(["address", "uint256", _FEE, _MARKET], mined.data)[2])
        case "renewal":
            yield from _fee(decode(["bytes32", _FEE], mined.data)[1])
        case "transfer":
            _to, amount = decode(["address", "uint256"], mined.data)
            yield mined.to, -int(amount)
        case "deposit":
            token, amount = decode(["address", "uint256"], mined.data)
            yield to_checksum_address(token), -int(amount)
        case "withdrawal":
            tokens, amounts = decode(["address[]", "uint256[]"], mined.data)
            yield from zip(map(to_checksum_address, tokens), map(int, amounts), strict=True)


def _fee(signed: tuple[Any, ...]) -> Iterator[tuple[str, int]]:
    _provider, token, amount, *_ = signed
    if amount:  # a free one names no token
        yield to_checksum_address(token), -int(amount)


def _address(topic: str) -> str:
    return str(to_checksum_address("0x" + topic[-40:]))
