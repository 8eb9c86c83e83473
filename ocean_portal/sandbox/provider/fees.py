"""Provider fees: what an environment costs until a time, signed so that the datatoken's contract believes it.

Source: oceanprotocol/provider @ 4cd244b : utils/provider_fees.py; recordings 30, 60, 70, 88-init-two-datasets.
"""

import json
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from eth_account.signers.local import LocalAccount
from eth_keys.main import lazy_key_api as keys
from eth_utils.crypto import keccak

from ocean_portal.sandbox.chain import ETHER
from ocean_portal.sandbox.provider.accounts import Environment
from ocean_portal.sandbox.provider.ledger import Fee
from ocean_portal.sandbox.provider.signatures import signed_hash

DAY_S = 86400


def amount_wei(*, environment: Environment, valid_until: int, now: float) -> int:
    """Return the price of the environment from now on.

    As the original, it counts the seconds within a day only: a day and a minute cost a minute.
    """
    seconds = int((valid_until - now) % DAY_S)
    return int(Decimal(str(seconds * float(environment.price) / 60)) * ETHER)


def digest(*, data: bytes, address: str, token: str, amount: int, valid_until: int) -> bytes:
    """Hash what a fee says, packed."""
    return keccak(
        data
        + bytes.fromhex(address[2:])
        + bytes.fromhex(token[2:])
        + amount.to_bytes(32)
        + valid_until.to_bytes(32)
    )


@dataclass(frozen=True)
class FeeDesk:
    """Signs and recognises the fees of one Provider; token is the one it takes."""

    account: LocalAccount
    token: str

    def offer(
        self,
        *,
        amount: int,
        valid_until: int,
        environment_id: str | None,
        datatoken: str,
        service_id: str,
        now: float,
    ) -> dict[str, Any]:
        """Return a fee as startOrder wants it; amount in wei, as text."""
        said = {"environment": environment_id, "timestamp": now, "dt": datatoken, "id": service_id}
        data = json.dumps(said, separators=(",", ":")).encode()
        signature = keys.PrivateKey(bytes(self.account.key)).sign_msg_hash(
            signed_hash(
                digest(
                    data=data,
                    address=self.account.address,
                    token=self.token,
                    amount=amount,
                    valid_until=valid_until,
                )
            )
        )
        return {
            "providerFeeAddress": self.account.address,
            "providerFeeToken": self.token,
            "providerFeeAmount": str(amount),
            "providerData": "0x" + data.hex(),
            "v": signature.v + 27,
            "r": f"0x{signature.r:064x}",
            "s": f"0x{signature.s:064x}",
            "validUntil": valid_until,
        }

    def signed(self, fee: Fee) -> bool:
        """Tell whether this Provider signed the fee of an event."""
        said = digest(
            data=fee.data,
            address=fee.address,
            token=fee.token,
            amount=fee.amount_wei,
            valid_until=fee.valid_until,
        )
        try:
            signature = keys.Signature(fee.r + fee.s + bytes([fee.v - 27]))
            return keys.PrivateKey(bytes(self.account.key)).public_key.verify_msg_hash(
                signed_hash(said), signature
            )
        except Exception:  # what is no signature at all was not signed by us
            return False
