"""What a node tells of the money of a paid job."""

from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation, localcontext
from typing import Annotated

from pydantic import BeforeValidator, Field

from jobs.ocean.parsing import Wire
from jobs.ocean.units import Address, Wei

_MOST_TOKENS = Decimal(10) ** 30


def _no_transaction(value: object) -> object:
    return None if value == "" else value


def _amount(value: object) -> object:
    """Read a number of tokens, which comes as JavaScript counts: 1.1 is meant where the nearest fraction of two stands."""
    if value is None or isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        raise ValueError("no amount") from None
    if not amount.is_finite() or not 0 <= amount <= _MOST_TOKENS:
        raise ValueError("no amount")
    return amount


_Hash = Annotated[str, Field(pattern=r"^0x[0-9a-fA-F]{64}$")]
_Transaction = Annotated[_Hash | None, BeforeValidator(_no_transaction)]


class JobPayment(Wire):
    """What became of the money of a paid job.

    lock_tx: took the whole price out of the wallet's escrow. claim_tx: gave the node its part and the rest back; cancel_tx:
    gave all of it back. Each None until it was sent.
    told_cost: in tokens, as the node says; 0 until it has settled. Source: recording 31, exchange 14; 20, exchange 13.
    """

    chain_id: Annotated[int, Field(ge=0, lt=2**63, strict=True, validation_alias="chainId")]
    token: Address
    lock_tx: Annotated[_Transaction, Field(validation_alias="lockTx")] = None
    claim_tx: Annotated[_Transaction, Field(validation_alias="claimTx")] = None
    cancel_tx: Annotated[_Transaction, Field(validation_alias="cancelTx")] = None
    told_cost: Annotated[Decimal | None, BeforeValidator(_amount), Field(validation_alias="cost")] = None

    @property
    def settled(self) -> bool:
        """Say whether the node has taken its part or given all back."""
        return self.claim_tx is not None or self.cancel_tx is not None

    def cost_wei(self, *, decimals: int) -> Wei | None:
        """Give what the job cost in the smallest unit of its token; None until the node has settled.

        It is rounded to what the token can express, as the node's own number may be finer. What was truly taken stands in
        the claim's transaction (`escrow.events_in`).
        """
        if self.cancel_tx is not None and self.claim_tx is None:
            return Wei(0)
        if self.claim_tx is None or self.told_cost is None:
            return None
        with localcontext() as context:
            context.prec = 100  # the usual 28 digits would lose the last wei of large amounts
            whole = self.told_cost.scaleb(decimals).to_integral_value(ROUND_HALF_EVEN)
        return Wei(int(whole))
