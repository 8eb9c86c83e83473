"""Who the sandbox's Provider is: its own account, those of its environments, and Aquarius' account.

All come from the mnemonic of Ocean's development environment, as in the recordings; anybody has these keys.
"""

from dataclasses import dataclass
from typing import Any

from eth_account import Account
from eth_account.hdaccount import key_from_seed, seed_from_mnemonic
from eth_account.signers.local import LocalAccount

# Source: provider-v4/README.md; barge's accounts.
MNEMONIC = "taxi music thumb unique chat sand crew more leg another off lamp"
AQUARIUS, FREE, PROVIDER, PAID = 2, 7, 8, 9
MAX_JOBS = 10
MAX_DURATION_S = 60


def account(index: int) -> LocalAccount:
    """Return an account of the development mnemonic."""
    made: LocalAccount = Account.from_key(
        key_from_seed(seed_from_mnemonic(MNEMONIC, ""), f"m/44'/60'/0'/0/{index}")
    )
    return made


@dataclass(frozen=True)
class Environment:
    """One compute environment; price is in whole fee tokens per minute, spelt as the operator spells it."""

    id: str
    consumer_address: str
    price: int | str

    def document(self, *, running: int, seen_at: float) -> dict[str, Any]:
        """Describe it as operator-service does. Source: recording 95-inner-environments."""
        return {
            "id": self.id,
            "cpuNumber": 1,
            "cpuType": "",
            "gpuNumber": 0,
            "gpuType": "",
            "ramGB": 1,
            "diskGB": 1,
            "priceMin": self.price,
            "desc": "",
            "currentJobs": running,
            "maxJobs": MAX_JOBS,
            "consumerAddress": self.consumer_address,
            "storageExpiry": 0,
            "maxJobDuration": str(MAX_DURATION_S),
            "lastSeen": f"{seen_at:.6f}",
        }


def environments() -> tuple[Environment, ...]:
    """Return the free environment and the paid one. Source: recording 20."""
    return (
        Environment(id="ocean-compute", consumer_address=account(FREE).address, price=0),
        Environment(id="ocean-compute2", consumer_address=account(PAID).address, price="0.01"),
    )
