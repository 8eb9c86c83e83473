"""What an Ocean Node charges: a price per resource and started minute, in the units of a token.

Numbers are floats here as they are in the node, which adds them up in JavaScript: the sum becomes an integer of the
token's smallest unit only at the end. Source: ocean-node v3.2.0, compute_engine_base.ts, calculateResourcesCost;
escrow.ts, getPaymentAmountInWei.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

# Source: recording 01, exchange 5: the prices of the first and the second token.
OCEAN_PRICES = (("cpu", 1.0), ("ram", 0.1), ("disk", 0.01))
DOLLAR_PRICES = (("cpu", 0.5),)
# How long after a job's end the node may claim. Source: recording 31, exchange 1: 4200 s for a job of 600 s.
CLAIM_TIMEOUT_S = 3600


@dataclass(frozen=True)
class FeeToken:
    """A token that an environment takes; prices: of one unit of a resource for a started minute."""

    address: str
    decimals: int
    prices: tuple[tuple[str, float], ...]

    def document(self) -> dict[str, Any]:
        """Describe it as an environment's `fees` do."""
        return {
            "feeToken": self.address,
            "prices": [{"id": name, "price": plain(price)} for name, price in self.prices],
        }

    def cost(self, *, resources: Mapping[str, float], duration_s: float) -> float:
        """Return the price of resources for every minute that is begun, in whole tokens."""
        prices, minutes = dict(self.prices), math.ceil(duration_s / 60)
        cost = 0.0
        for name, amount in resources.items():
            cost += prices.get(name, 0.0) * amount * minutes
        return cost

    def in_wei(self, cost: float) -> int:
        """Return an amount of tokens in its smallest units, rounded there as JavaScript's toFixed does."""
        rounded = float(f"{cost:.{self.decimals}f}")
        return int(Decimal(repr(rounded)).scaleb(self.decimals))

    def from_wei(self, amount_wei: int) -> float:
        """Return an amount of smallest units in whole tokens."""
        return float(Decimal(amount_wei).scaleb(-self.decimals))


def lock_s(*, duration_s: float, queue_wait_s: float) -> int:
    """Return for how many seconds a job's money must be locked at the least. Source: recording 34, exchange 16."""
    return int(duration_s + queue_wait_s) + CLAIM_TIMEOUT_S


def plain(number: float) -> int | float:
    """Return a whole number as JavaScript spells it: without a fraction."""
    return int(number) if number == int(number) else number
