"""What a service says has to be on the chain before a start. A stranger wrote all of it, and money follows it.

Source: provider-v4 recordings 30, 31, 32, 60 and 88-init-two-datasets; ocean-node recordings 31 to 34.
"""

import re
from typing import Any

from jobs.ocean.compute import (
    AlgorithmInput,
    AssetInput,
    OrderNeed,
    Payment,
    PaymentNeed,
    ProviderFee,
    StartRequest,
)
from jobs.ocean.errors import BadAnswer
from jobs.ocean.units import Address, Wei

_TRANSACTION = re.compile(r"0x[0-9a-fA-F]{64}")
_HEX = re.compile(r"0x(?:[0-9a-fA-F]{2}){0,5000}")
_WEI = re.compile(r"[0-9]{1,78}")
_END_OF_TIME = 10**11
_LONGEST_LOCK_S = 366 * 86_400


def parse_order_needs(
    answer: object, *, request: StartRequest, who: str, consumer: Address | None = None
) -> tuple[OrderNeed, ...]:
    """Read what a start needs: for each published dataset in order, then for a published algorithm.

    who: says it, in sentences: "The Provider". consumer: whom the orders have to name, where the answer says so.
    Raises: BadAnswer "orders".
    """
    said = answer if isinstance(answer, dict) else {}
    asked: list[AssetInput | AlgorithmInput] = [
        dataset for dataset in request.datasets if isinstance(dataset, AssetInput)
    ]
    listed = said.get("datasets")
    needs = list(listed) if isinstance(listed, list) else []
    if len(needs) != len(asked):
        raise BadAnswer(f"{who} does not say for each dataset what it needs.", code="orders")
    if isinstance(request.algorithm, AlgorithmInput):
        asked.append(request.algorithm)
        needs.append(said.get("algorithm"))
    return tuple(
        _need(entry, of=part, who=who, consumer=consumer) for part, entry in zip(asked, needs, strict=True)
    )


def parse_payment_need(answer: object, *, payment: Payment, who: str) -> PaymentNeed:
    """Read what has to be in the escrow, in the token and on the chain that were asked for.

    Raises: BadAnswer "payment". Source: recording 31, exchange 6.
    """
    said = answer.get("payment") if isinstance(answer, dict) else None
    try:
        if not isinstance(said, dict):
            raise ValueError("no payment")
        need = PaymentNeed(
            escrow=Address.parse(said["escrowAddress"]),
            payee=Address.parse(said["payee"]),
            chain_id=_whole(said["chainId"], below=2**63),
            token=Address.parse(said["token"]),
            amount_wei=_amount(said["amount"]),
            min_lock_s=_whole(said["minLockSeconds"], below=_LONGEST_LOCK_S),
        )
    except (KeyError, TypeError, ValueError):
        raise BadAnswer(f"{who} does not say in a readable way what the job costs.", code="payment") from None
    if (need.chain_id, need.token) != (payment.chain_id, payment.token):
        raise BadAnswer(
            f"{who} names its price in another token or chain than it was asked for.", code="payment"
        )
    return need


def _need(entry: object, *, of: AssetInput | AlgorithmInput, who: str, consumer: Address | None) -> OrderNeed:
    if not isinstance(entry, dict):
        raise BadAnswer(f"{who} does not say what it needs for an asset.", code="orders")
    order, fee, datatoken = entry.get("validOrder"), entry.get("providerFee"), entry.get("datatoken")
    if order is False:
        order = None  # so a node says it
    if order is not None and not (isinstance(order, str) and _TRANSACTION.fullmatch(order)):
        raise BadAnswer(f"{who} named an order by something that is no transaction.", code="orders")
    if order is None and fee is None:
        raise BadAnswer(f"{who} does not say what it needs for an asset.", code="orders")
    if entry.get("did", of.did) != of.did or entry.get("serviceId", of.service_id) != of.service_id:
        raise BadAnswer(f"{who} speaks of another asset than it was asked about.", code="orders")
    try:
        token = None if datatoken is None else Address.parse(datatoken)
        if fee is not None and token is None:
            raise ValueError("a fee for no datatoken")
        read = None if fee is None else _fee(fee)
        named = entry.get("consumerAddress")
        if consumer is not None and named is not None and Address.parse(named) != consumer:
            raise BadAnswer(
                f"{who} wants orders that name another address than its environment's. Refresh its environments.",
                code="orders",
            )
    except (KeyError, TypeError, ValueError):
        raise BadAnswer(f"{who} asks for a fee that cannot be read.", code="orders") from None
    chain_id = entry.get("chainId")
    return OrderNeed(
        did=of.did,
        service_id=of.service_id,
        datatoken=token,
        valid_order=order or "",
        fee=read,
        chain_id=chain_id if _is_whole(chain_id, below=2**63) else None,
    )


def _fee(fee: Any) -> ProviderFee:
    v = _whole(fee["v"], below=256)
    if v not in (27, 28):
        raise ValueError("no fee")
    return ProviderFee(
        address=Address.parse(fee["providerFeeAddress"]),
        token=Address.parse(fee["providerFeeToken"]),
        amount_wei=_amount(fee["providerFeeAmount"]),
        valid_until=_whole(fee["validUntil"], below=_END_OF_TIME),
        data=_matching(_HEX, fee["providerData"]),
        v=v,
        r=_matching(_TRANSACTION, fee["r"]),
        s=_matching(_TRANSACTION, fee["s"]),
    )


def _amount(value: object) -> Wei:
    text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    if _WEI.fullmatch(text) is None or int(text) >= 2**256:
        raise ValueError("no amount")
    return Wei(int(text))


def _whole(value: object, *, below: int) -> int:
    if not isinstance(value, int) or not _is_whole(value, below=below):
        raise ValueError("no number")
    return value


def _is_whole(value: object, *, below: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < below


def _matching(pattern: re.Pattern[str], text: object) -> str:
    if not isinstance(text, str) or pattern.fullmatch(text) is None:
        raise ValueError("not hexadecimal")
    return text
