"""Orders of datatokens: the calls that make them, what can be read about them, and what a receipt proves.

Source of the signatures and events: ocean-contracts 3.1.0, ERC20Template, ERC20TemplateEnterprise, Dispenser; the
selectors are those of provider-v4 recordings 22, 30 and 32.
"""

from dataclasses import dataclass
from typing import Any, Literal

from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError
from eth_account import Account
from eth_account.messages import encode_defunct
from eth_utils.crypto import keccak

from jobs.ocean.chain import Chain, Receipt, event_topic
from jobs.ocean.compute import ProviderFee
from jobs.ocean.contracts import ZERO as ZERO
from jobs.ocean.contracts import Call as Call
from jobs.ocean.contracts import ask, bytes32, call_of, decoded, encoded
from jobs.ocean.errors import BadAnswer
from jobs.ocean.units import Address, Wei, clean_text

_FEE = "(address,address,uint256,uint8,bytes32,bytes32,uint256,bytes)"
_MARKET_FEE = "(address,address,uint256)"
_ORDER = f"(address,uint256,{_FEE},{_MARKET_FEE})"
_PURCHASE = "(address,bytes32,uint256,uint256,address)"
_NO_MARKET = (ZERO, ZERO, 0)
_MOST_DECIMALS = 77
_STARTED = event_topic("OrderStarted(address,address,uint256,uint256,uint256,address,uint256)")
_REUSED = event_topic("OrderReused(bytes32,address,uint256,uint256)")


@dataclass(frozen=True)
class DispenserStatus:
    """Whether and how much a dispenser gives away.

    max_tokens_wei: at a time. max_balance_wei: who has as much already gets none. swapper: the one address that may take;
    ZERO for everybody. mints: it makes what it gives away; else it has `balance_wei` and no more.
    """

    active: bool
    max_tokens_wei: Wei
    max_balance_wei: Wei
    swapper: Address
    mints: bool
    balance_wei: Wei


@dataclass(frozen=True)
class TokenInfo:
    """What a token says of itself. symbol: a stranger's text, cleaned and cut."""

    symbol: str
    decimals: int


@dataclass(frozen=True)
class OrderSeen:
    """What a datatoken noted of an order. order_tx: of the order that was renewed; consumer: only of a new one."""

    kind: Literal["started", "reused"]
    payer: Address
    consumer: Address | None = None
    service_index: int | None = None
    order_tx: str = ""


def start_order(*, datatoken: Address, consumer: Address, service_index: int, fee: ProviderFee) -> Call:
    """Order a service: spends one datatoken, and draws the fee from the payer.

    The datatoken contract draws it, so it is whom the payer lets draw (`approve`, recording 61); so it does with the fee
    of the market that published it (`pricing.OrderFee`).
    consumer: the environment's address, at a Provider and at a node. Source: provider-v4 recording 30.
    """
    return call_of(
        datatoken,
        f"startOrder(address,uint256,{_FEE},{_MARKET_FEE})",
        consumer,
        service_index,
        _fee(fee),
        _NO_MARKET,
    )


def reuse_order(*, datatoken: Address, order_tx: str, fee: ProviderFee) -> Call:
    """Renew what an order paid to the service; spends no datatoken. order_tx: of the first order.

    Source: provider-v4 recording 32.
    """
    return call_of(datatoken, f"reuseOrder(bytes32,{_FEE})", bytes32(order_tx), _fee(fee))


def buy_and_order(
    *,
    datatoken: Address,
    consumer: Address,
    service_index: int,
    fee: ProviderFee,
    exchange: Address,
    exchange_id: str,
    max_base_wei: Wei,
) -> Call:
    """Buy one datatoken and order with it, in one transaction; only a datatoken of template 2 can.

    The datatoken contract draws the price, in the base token, so it is whom the payer lets draw. max_base_wei: the most
    that it may come to, fees included; for more the contract refuses. Source: ocean-node recording 33, notes.
    """
    return call_of(
        datatoken,
        f"buyFromFreAndOrder({_ORDER},{_PURCHASE})",
        (consumer, service_index, _fee(fee), _NO_MARKET),
        (exchange, bytes32(exchange_id), max_base_wei, 0, ZERO),
    )


def dispense_and_order(
    *, datatoken: Address, consumer: Address, service_index: int, fee: ProviderFee, dispenser: Address
) -> Call:
    """Take one datatoken that is given away and order with it, in one transaction; only template 2 can.

    Source: ocean-contracts 3.1.0, ERC20TemplateEnterprise.buyFromDispenserAndOrder.
    """
    return call_of(
        datatoken,
        f"buyFromDispenserAndOrder({_ORDER},address)",
        (consumer, service_index, _fee(fee), _NO_MARKET),
        dispenser,
    )


def dispense(*, dispenser: Address, datatoken: Address, amount_wei: Wei, to: Address) -> Call:
    """Take datatokens that are given away. Source: provider-v4 recording 22."""
    return call_of(dispenser, "dispense(address,uint256,address)", datatoken, amount_wei, to)


def approve(*, token: Address, spender: Address, amount_wei: Wei) -> Call:
    """Let somebody draw up to an amount of a token. Source: provider-v4 recording 61."""
    return call_of(token, "approve(address,uint256)", spender, amount_wei)


def balance_of(chain: Chain, *, token: Address, owner: Address) -> Wei:
    """Ask how much of a token an address has."""
    return Wei(int(ask(chain, token, "balanceOf(address)", ["uint256"], owner)[0]))


def allowance(chain: Chain, *, token: Address, owner: Address, spender: Address) -> Wei:
    """Ask how much of a token somebody may draw from an address."""
    return Wei(int(ask(chain, token, "allowance(address,address)", ["uint256"], owner, spender)[0]))


def token_info(chain: Chain, *, token: Address) -> TokenInfo:
    """Ask a token for its symbol and decimals.

    Raises: BadAnswer "token" for more decimals than any token has.
    """
    decimals = int(ask(chain, token, "decimals()", ["uint8"])[0])
    if decimals > _MOST_DECIMALS:
        raise BadAnswer(f"The token {token} has more decimals than an amount has digits.", code="token")
    answer = chain.call(to=token, data=encoded("symbol()"))
    if len(answer) == 32:  # some old tokens give their symbol as 32 bytes
        text = answer.rstrip(b"\0").decode("utf-8", "replace")
    else:
        text = decoded(["string"], answer, of=token)[0]
    return TokenInfo(symbol=" ".join(clean_text(text, limit=20).split()), decimals=decimals)


def dispenser_status(chain: Chain, *, dispenser: Address, datatoken: Address) -> DispenserStatus:
    """Ask a dispenser what it gives away of a datatoken; not active where it knows nothing of it."""
    types = ["bool", "address", "bool", "uint256", "uint256", "uint256", "address"]
    answer = ask(chain, dispenser, "status(address)", types, datatoken)
    return DispenserStatus(
        active=bool(answer[0]),
        max_tokens_wei=Wei(int(answer[3])),
        max_balance_wei=Wei(int(answer[4])),
        swapper=Address.parse(str(answer[6])),
        mints=bool(answer[2]),
        balance_wei=Wei(int(answer[5])),
    )


def order_in(receipt: Receipt, *, datatoken: Address) -> OrderSeen | None:
    """Read from a receipt what a datatoken noted; None when it noted no order, or the transaction was refused."""
    if not receipt.ok:
        return None
    for log in receipt.logs:
        if log.address != datatoken or not log.topics:
            continue
        try:
            if log.topics[0] == _STARTED and len(log.topics) == 3:
                payer, _amount, index, _at, _block = decode(
                    ["address", "uint256", "uint256", "uint256", "uint256"], log.data
                )
                return OrderSeen(
                    kind="started",
                    payer=Address.parse(payer),
                    consumer=Address.parse("0x" + log.topics[1][-20:].hex()),
                    service_index=int(index),
                )
            if log.topics[0] == _REUSED and len(log.topics) == 1:
                order_tx, caller, _at, _block = decode(["bytes32", "address", "uint256", "uint256"], log.data)
                return OrderSeen(kind="reused", payer=Address.parse(caller), order_tx="0x" + order_tx.hex())
        except DecodingError:
            continue
    return None


def fee_digest(fee: ProviderFee) -> bytes:
    """Hash what a service signs of its fee. Source: README of the provider-v4 recordings, "Signing"."""
    packed = (
        bytes.fromhex(fee.data[2:])
        + bytes.fromhex(fee.address[2:])
        + bytes.fromhex(fee.token[2:])
        + int(fee.amount_wei).to_bytes(32, "big")
        + fee.valid_until.to_bytes(32, "big")
    )
    return bytes(keccak(packed))


def fee_is_signed(fee: ProviderFee) -> bool:
    """Say whether the address that the fee goes to has signed it, as the datatoken will check."""
    if fee.v not in (27, 28):
        return False  # the library would take 0 and 1 as well, and the contract does not
    vrs = (fee.v, int(fee.r, 16), int(fee.s, 16))
    try:
        signer = Account.recover_message(encode_defunct(primitive=fee_digest(fee)), vrs=vrs)
    except Exception:
        # The library raises many kinds for what is no signature.
        return False
    return Address.parse(signer) == fee.address


def _fee(fee: ProviderFee) -> tuple[Any, ...]:
    return (
        fee.address,
        fee.token,
        fee.amount_wei,
        fee.v,
        bytes32(fee.r),
        bytes32(fee.s),
        fee.valid_until,
        bytes.fromhex(fee.data[2:]),
    )
