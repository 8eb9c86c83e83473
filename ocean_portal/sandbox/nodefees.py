"""The fees that a node signs into an order: here always nothing, but signed.

Source: recordings 31 and 33 (the signatures are compared in the tests); ocean-node v3.2.0, feesHandler.ts.
"""

from dataclasses import dataclass
from typing import Any

from eth_account.messages import encode_defunct
from eth_account.signers.local import LocalAccount
from eth_utils.crypto import keccak

from ocean_portal.sandbox.answers import spelt

_AMOUNT_WEI = 0


@dataclass(frozen=True)
class FeeSigner:
    """Signs fees in the name of the node; token: the one it would take them in."""

    account: LocalAccount
    token: str

    def offer(self, *, datatoken: str, service_id: str, timeout_s: int) -> dict[str, Any]:
        """Return a fee as startOrder wants it; `validUntil` is the service's timeout, 0 without one."""
        said = spelt({"dt": datatoken, "id": service_id}).encode()
        digest = keccak(
            said
            + bytes.fromhex(self.account.address[2:])
            + bytes.fromhex(self.token[2:])
            + _AMOUNT_WEI.to_bytes(32)
            + timeout_s.to_bytes(32)
        )
        # A node drops leading zero bytes of the digest, and its fee is then refused by the datatoken; not here.
        signed = self.account.sign_message(encode_defunct(primitive=digest))
        return {
            "providerFeeAddress": self.account.address,
            "providerFeeToken": self.token,
            "providerFeeAmount": str(_AMOUNT_WEI),
            "providerData": "0x" + said.hex(),
            "v": signed.v,
            "r": f"0x{signed.r:064x}",
            "s": f"0x{signed.s:064x}",
            "validUntil": timeout_s,
        }
