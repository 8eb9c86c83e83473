"""Datatoken orders: the calls that make one, the questions around it, and the proof that a transaction is one.

For datatokens of templates 1 and 2, whose orders are the same. Nothing here signs or sends.
Template 2 can buy and order in one transaction as well: see `pricing`.
Source of the functions and events: ocean-contracts 3.1.0, artifacts ERC20Template, ERC20TemplateEnterprise, Dispenser;
selectors: provider-v4 recordings 22, 23, 30, 32, 61 and 62.
"""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from eth_account import Account
from eth_account.messages import encode_defunct
from eth_utils.crypto import keccak

from jobs.ocean.abi import decode_answer, encode_call, event_topic
from jobs.ocean.compute import ProviderFee
from jobs.ocean.errors import BadAnswer
from jobs.ocean.transactions import MAX_AMOUNT, MAX_NUMBER, Call, Log, Receipt
from jobs.ocean.units import Address, Wei, clean_text

if TYPE_CHECKING:
    from jobs.ocean.chain import Chain

# What one order takes: "we always pay 1 DT. No more, no less".
# Source: oceanprotocol/contracts @ 009db99 : contracts/templates/ERC20Template.sol : startOrder.
ORDER_PRICE_WEI = Wei(10**18)

FEE_TYPES = "(address,address,uint256,uint8,bytes32,bytes32,uint256,bytes)"
_START_ORDER = f"startOrder(address,uint256,{FEE_TYPES},(address,address,uint256))"
_REUSE_ORDER = f"reuseOrder(bytes32,{FEE_TYPES})"
_ORDER_STARTED = event_topic("OrderStarted(address,address,uint256,uint256,uint256,address,uint256)")
_ORDER_REUSED = event_topic("OrderReused(bytes32,address,uint256,uint256)")
_ZERO = Address("0x" + "00" * 20)
# A fee of the market where the order is made: this portal is none. As the contract's tuple.
NO_MARKET_FEE = (_ZERO, _ZERO, 0)
_WORD = re.compile(r"0x[0-9a-fA-F]{64}")
_DATA = re.compile(r"0x(?:[0-9a-fA-F]{2}){0,4096}")


@dataclass(frozen=True)
class Token:
    """How a token is written. symbol: a stranger's text, cleaned; decimals: 0 to 255."""

    symbol: str
    decimals: int


@dataclass(frozen=True)
class DispenserStatus:
    """What a dispenser gives of a datatoken.

    max_tokens_wei: at a time; max_balance_wei: the caller must hold less. balance_wei: what it has in stock, which
    matters only when it may not mint. allowed_swapper: the only one it serves, or None for everybody.
    """

    active: bool
    is_minter: bool
    max_tokens_wei: Wei
    max_balance_wei: Wei
    balance_wei: Wei
    allowed_swapper: Address | None


@dataclass(frozen=True)
class OrderSeen:
    """An order as its transaction left it on the chain.

    payer: who sent it. order_tx: the transaction that the order is known by, for a reused one the first.
    consumer, amount_wei, service_index: None for a reused order, whose event does not say. at: seconds since the epoch.
    """

    kind: Literal["started", "reused"]
    order_tx: str
    payer: Address
    at: int
    consumer: Address | None
    amount_wei: Wei | None
    service_index: int | None


def start_order(*, datatoken: Address, consumer: Address, service_index: int, fee: ProviderFee) -> Call:
    """Spend one datatoken for an order. The payer must have approved the datatoken for a fee above 0.

    consumer: the environment's address, not the payer's (provider-v4 recordings 55 and 56).
    Raises: BadAnswer "fee" for a fee that no contract can read.
    """
    data = encode_call(_START_ORDER, consumer, service_index, fee_values(fee), NO_MARKET_FEE)
    return Call(to=datatoken, data=data)


def reuse_order(*, datatoken: Address, order_tx: str, fee: ProviderFee) -> Call:
    """Renew an order by paying a new fee. The contract takes any hash, so know that the order is one.

    Raises: BadAnswer "fee" for a fee that no contract can read; ValueError when order_tx is no hash.
    """
    if not _WORD.fullmatch(order_tx):
        raise ValueError("An order is known by the hash of its transaction.")
    return Call(to=datatoken, data=encode_call(_REUSE_ORDER, bytes.fromhex(order_tx[2:]), fee_values(fee)))


def dispense(*, dispenser: Address, datatoken: Address, amount_wei: Wei, to: Address) -> Call:
    """Get datatokens for nothing. Source: provider-v4 recording 22."""
    data = encode_call("dispense(address,uint256,address)", datatoken, amount_wei, to)
    return Call(to=dispenser, data=data)


def approve(*, token: Address, spender: Address, amount_wei: Wei) -> Call:
    """Let a contract take so much of a token and no more; it replaces what was allowed before.

    Source: provider-v4 recording 61.
    """
    return Call(to=token, data=encode_call("approve(address,uint256)", spender, amount_wei))


def balance_of(chain: "Chain", *, token: Address, owner: Address) -> Wei:
    """Ask how much of a token an address holds. Raises: OceanError, BadAnswer "abi" where there is no such token."""
    answer = chain.call(to=token, data=encode_call("balanceOf(address)", owner))
    (amount,) = decode_answer(["uint256"], answer, what="a balance")
    return Wei(amount)


def allowance(chain: "Chain", *, token: Address, owner: Address, spender: Address) -> Wei:
    """Ask how much of a token a contract may still take. Raises: as balance_of."""
    answer = chain.call(to=token, data=encode_call("allowance(address,address)", owner, spender))
    (amount,) = decode_answer(["uint256"], answer, what="an allowance")
    return Wei(amount)


def token_info(chain: "Chain", *, token: Address) -> Token:
    """Ask how a token's amounts are written. Raises: as balance_of."""
    answer = chain.call(to=token, data=encode_call("decimals()"))
    (decimals,) = decode_answer(["uint8"], answer, what="a number of decimals")
    answer = chain.call(to=token, data=encode_call("symbol()"))
    # Some old tokens answer with one word instead of a text.
    (said,) = (
        (answer.rstrip(b"\0"),) if len(answer) == 32 else decode_answer(["bytes"], answer, what="a symbol")
    )
    symbol = " ".join(clean_text(said.decode("utf-8", "replace"), limit=20).split())
    return Token(symbol=symbol, decimals=decimals)


def dispenser_status(chain: "Chain", *, dispenser: Address, datatoken: Address) -> DispenserStatus:
    """Ask what a dispenser gives of a datatoken; it is not active for one that it does not know.

    Raises: as balance_of; ChainError "reverted" for a contract that is no datatoken.
    """
    answer = chain.call(to=dispenser, data=encode_call("status(address)", datatoken))
    active, _owner, is_minter, max_tokens, max_balance, balance, swapper = decode_answer(
        ["bool", "address", "bool", "uint256", "uint256", "uint256", "address"], answer, what="its status"
    )
    allowed = Address(swapper)
    return DispenserStatus(
        active=active,
        is_minter=is_minter,
        max_tokens_wei=Wei(max_tokens),
        max_balance_wei=Wei(max_balance),
        balance_wei=Wei(balance),
        allowed_swapper=None if allowed == _ZERO else allowed,
    )


def order_in(receipt: Receipt, *, datatoken: Address) -> OrderSeen | None:
    """Read the order of this datatoken from a receipt; None where there is none, or more than one.

    What counts is what the datatoken itself logged, so the datatoken must be one that the asset's DDO names.
    """
    if receipt.status != "ok":
        return None
    seen = [_order(log, tx_hash=receipt.tx_hash) for log in receipt.logs if log.address == datatoken]
    orders = [order for order in seen if order is not None]
    return orders[0] if len(orders) == 1 else None


def fee_digest(fee: ProviderFee) -> bytes:
    """Hash what a service signs of its fee (personal_sign over these 32 bytes).

    Raises: BadAnswer "fee".
    Source: README of the provider-v4 recordings, "providerFee inside initializeCompute".
    """
    to, token, amount_wei, _, _, _, valid_until, data = fee_values(fee)
    return bytes(
        keccak(
            data
            + _packed(to)
            + _packed(token)
            + amount_wei.to_bytes(32, "big")
            + valid_until.to_bytes(32, "big")
        )
    )


def check_fee(fee: ProviderFee) -> None:
    """Make sure that a fee is signed by the address that it goes to; a datatoken refuses any other.

    Raises: BadAnswer "fee" when it cannot be read, "fee_signature" when somebody else signed it.
    """
    to, _, _, v, r, s, _, _ = fee_values(fee)
    message = encode_defunct(primitive=fee_digest(fee))
    try:
        signer = Address(
            Account.recover_message(message, vrs=(v, int.from_bytes(r, "big"), int.from_bytes(s, "big")))
        )
    except Exception:
        # The library raises errors of several kinds for numbers that are no signature.
        signer = _ZERO
    if signer != to or signer == _ZERO:
        raise BadAnswer(
            "The service's fee is not signed by the address that it is to be paid to. Nothing was paid.",
            code="fee_signature",
        )


def fee_values(fee: ProviderFee) -> tuple[Address, Address, int, int, bytes, bytes, int, bytes]:
    """Give a fee as the contract's tuple, whose types are FEE_TYPES. Raises: BadAnswer "fee"."""
    readable = (
        _WORD.fullmatch(fee.r)
        and _WORD.fullmatch(fee.s)
        and _DATA.fullmatch(fee.data)
        # The contract's ecrecover knows these two only.
        and fee.v in (27, 28)
        and 0 <= fee.amount_wei < MAX_AMOUNT
        and 0 <= fee.valid_until < MAX_NUMBER
    )
    if not readable:
        raise BadAnswer("The service's fee cannot be read. Nothing was paid.", code="fee")
    return (
        fee.address,
        fee.token,
        fee.amount_wei,
        fee.v,
        bytes.fromhex(fee.r[2:]),
        bytes.fromhex(fee.s[2:]),
        fee.valid_until,
        bytes.fromhex(fee.data[2:]),
    )


def _order(log: Log, *, tx_hash: str) -> OrderSeen | None:
    """Read a log as an order; a log that only looks like one is none."""
    try:
        if log.topics[:1] == (_ORDER_STARTED,) and len(log.topics) == 3:
            payer, amount, service_index, at, _ = decode_answer(
                ["address", "uint256", "uint256", "uint256", "uint256"], log.data, what="an order"
            )
            if max(service_index, at) < MAX_NUMBER:
                return OrderSeen(
                    kind="started",
                    order_tx=tx_hash,
                    payer=Address(payer),
                    at=at,
                    consumer=Address("0x" + log.topics[1][12:].hex()),
                    amount_wei=Wei(amount),
                    service_index=service_index,
                )
        elif log.topics == (_ORDER_REUSED,):
            order_tx, payer, at, _ = decode_answer(
                ["bytes32", "address", "uint256", "uint256"], log.data, what="an order"
            )
            if at < MAX_NUMBER:
                return OrderSeen(
                    kind="reused",
                    order_tx="0x" + order_tx.hex(),
                    payer=Address(payer),
                    at=at,
                    consumer=None,
                    amount_wei=None,
                    service_index=None,
                )
    except BadAnswer:
        return None
    return None


def _packed(address: Address) -> bytes:
    return bytes.fromhex(address[2:])
