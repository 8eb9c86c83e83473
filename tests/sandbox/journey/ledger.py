"""What a test sees of the sandbox's chain, without any code of the portal's."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import requests
from eth_abi.abi import decode, encode
from eth_account import Account
from eth_utils.abi import function_signature_to_4byte_selector
from eth_utils.address import to_checksum_address

# Source: OceanProtocol contracts v2: Dispenser.sol, ERC20Template.sol.
_FEE = "(address,address,uint256,uint8,bytes32,bytes32,uint256,bytes)"
CALLS = {
    function_signature_to_4byte_selector(signature): name
    for name, signature in {
        "dispense": "dispense(address,uint256,address)",
        "order": f"startOrder(address,uint256,{_FEE},(address,address,uint256))",
        "renewal": f"reuseOrder(bytes32,{_FEE})",
    }.items()
}
# Number 2 of the public development mnemonic: it pays for the gas of wallets that tests make.
PAYMASTER = "0x5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a"
GAS_MONEY_WEI = 10**18


@dataclass(frozen=True)
class Mined:
    """A transaction in a block. call: dispense, order or renewal, else "other"; data: without the selector."""

    hash: str
    nonce: int
    block: int
    succeeded: bool
    call: str
    to: str
    data: bytes


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
        data = function_signature_to_4byte_selector("balanceOf(address)") + encode(["address"], [owner])
        return int(self.ask("eth_call", {"to": token, "data": "0x" + data.hex()}, "latest"), 16)

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
        data = function_signature_to_4byte_selector("transfer(address,uint256)") + encode(
            ["address", "uint256"], [Account.from_key(PAYMASTER).address, 10**18]
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


def dispensed(mined: Mined) -> tuple[str, int]:
    """Return the token that a dispense gets, and how much in wei."""
    token, amount, _to = decode(["address", "uint256", "address"], mined.data)
    return to_checksum_address(token), int(amount)
