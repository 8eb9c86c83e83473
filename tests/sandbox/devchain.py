"""What tests of the sandbox chain share: tiny contracts, a clock that stands still, payments."""

from typing import Any

from ocean_portal.sandbox.chain import Chain

# Reverts with whatever it is called with: CALLDATACOPY all, REVERT all; before it, the code that deploys it.
REVERTER = "0x69366000600037366000fd600052600a6016f3"
# One word in storage, then LOG1 of a word with topic 0x2a; a contract without code.
LOGGER = "0x60016000556007600052602a60206000a100"
GENESIS_TIME = 1_700_000_000


class Clock:
    """Stands still until a test moves it on."""

    def __init__(self) -> None:
        self.now = float(GENESIS_TIME)

    def __call__(self) -> float:
        return self.now


def pay(chain: Chain, *, wei: int = 1) -> dict[str, Any]:
    """Mine one small transaction and return its receipt."""
    return chain.send(chain.account(0), {"to": chain.account(1).address, "value": wei})


def signed(chain: Chain, *, sender: int = 0, **fields: Any) -> str:
    """Sign a payment of one wei, changed by the fields, and return what to send."""
    tx = {
        "chainId": 8996,
        "nonce": 0,
        "gas": 21_000,
        "to": chain.account(1).address,
        "value": 1,
    }
    fees = {} if "maxFeePerGas" in fields else {"gasPrice": 2 * 10**9}
    return "0x" + bytes(chain.account(sender).sign_transaction(tx | fees | fields).raw_transaction).hex()
