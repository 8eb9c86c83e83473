"""The portal's client against the real contracts on the sandbox chain, over HTTP."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from eth_account.messages import encode_defunct
from eth_utils.crypto import keccak

from jobs.ocean.chain import Chain
from jobs.ocean.compute import ProviderFee
from jobs.ocean.signing import Signer
from jobs.ocean.transactions import Call, Receipt, SignedTransaction, Transaction
from jobs.ocean.transport import Transport
from jobs.ocean.units import Address, Wei
from ocean_portal.sandbox.chain import Chain as DevChain
from ocean_portal.sandbox.contracts import ZERO_ADDRESS, Contract
from ocean_portal.sandbox.publish import create_tokens

ETHER = 10**18
_ENTERPRISE = 2


@contextmanager
def client_of(url: str) -> Iterator[Chain]:
    """The client of a chain, as the portal makes it."""
    with Transport(url, admit=lambda: None, allow_private=True, monotonic=time.monotonic) as transport:
        yield Chain(transport)


@dataclass
class Payer:
    """A wallet: signs calls with the next nonce and sends them."""

    chain: Chain
    signer: Signer
    gas: int = 1_000_000
    sent: list[SignedTransaction] = field(default_factory=list)

    @property
    def address(self) -> Address:
        return self.signer.address

    def sign(self, call: Call, **changes: Any) -> SignedTransaction:
        """Sign a call; changes: nonce, fees and the like."""
        fees = self.chain.fees()
        fields: dict[str, Any] = {
            "chain_id": self.chain.chain_id(),
            "to": call.to,
            "data": call.data,
            "value_wei": call.value_wei,
            "gas": self.gas,
            "max_fee_wei": fees.max_fee_wei,
            "priority_fee_wei": fees.priority_fee_wei,
        }
        if "nonce" not in changes:
            fields["nonce"] = self.chain.nonce(address=self.address)
        return self.signer.sign_transaction(Transaction(**(fields | changes)))

    def send(self, call: Call, **changes: Any) -> SignedTransaction:
        """Sign and send a call."""
        signed = self.sign(call, **changes)
        self.chain.send(signed=signed.raw)
        return signed

    def do(self, call: Call) -> Receipt:
        """Sign and send a call, and return its receipt."""
        receipt = self.chain.receipt(tx_hash=self.send(call).hash)
        assert receipt is not None
        return receipt


def datatoken(
    dev: DevChain,
    contracts: dict[str, Any],
    *,
    price: int | None = None,
    base: str | None = None,
    base_decimals: int = 18,
    template: int = 1,
    market_fee: int = 0,
    order_fee: int = 0,
) -> Address:
    """Publish a datatoken.

    price: of one, in wei of 18 decimals, whatever the base token has; without it a dispenser gives it away.
    market_fee: part of the price, of 10**18. order_fee: in wei of the Ocean token, for every order.
    """
    owner = dev.account(0)
    plain = template == 1 and base is None and not market_fee and not order_fee
    if plain:
        return Address(
            create_tokens(
                chain=dev, contracts=contracts, publisher=owner, name="Readings", symbol="READ", price=price
            )[1]
        )
    factory = Contract(dev, "ERC721Factory", contracts["ERC721Factory"])
    fee_token = contracts["Ocean"] if order_fee else ZERO_ADDRESS
    token = (
        template,
        ["Readings", "READ"],
        [owner.address, owner.address, owner.address if order_fee else ZERO_ADDRESS, fee_token],
        [100_000 * ETHER, order_fee],
        [],
    )
    nft = ("Readings", "NFT", 1, "", True, owner.address)
    if price is None:
        dispenser = (contracts["Dispenser"], 100 * ETHER, 100 * ETHER, True, ZERO_ADDRESS)
        receipt = factory.send(owner, "createNftWithErc20WithDispenser", nft, token, dispenser)
    else:
        exchange = (
            contracts["FixedPrice"],
            [base or contracts["Ocean"], owner.address, owner.address, ZERO_ADDRESS],
            [base_decimals, 18, price, market_fee, 1],
        )
        receipt = factory.send(owner, "createNftWithErc20WithFixedRate", nft, token, exchange)
    topic = "0x" + keccak(text="TokenCreated(address,address,string,string,uint256,address)").hex()
    (created,) = [log for log in receipt["logs"] if log["topics"][0] == topic]
    return Address.parse("0x" + created["topics"][1][-40:])


def fee_by(dev: DevChain, *, account: int, token: str, amount_wei: int, valid_until: int) -> ProviderFee:
    """A fee as a service signs it, made with other means than the client's."""
    service = dev.account(account)
    data = b'{"environment":"sandbox"}'
    packed = (
        data
        + bytes.fromhex(service.address[2:])
        + bytes.fromhex(token[2:])
        + amount_wei.to_bytes(32, "big")
        + valid_until.to_bytes(32, "big")
    )
    signed = service.sign_message(encode_defunct(primitive=keccak(packed)))
    return ProviderFee(
        address=Address(service.address),
        token=Address(token),
        amount_wei=Wei(amount_wei),
        valid_until=valid_until,
        data="0x" + data.hex(),
        v=signed.v,
        r=f"0x{signed.r:064x}",
        s=f"0x{signed.s:064x}",
    )
