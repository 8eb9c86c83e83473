"""Judges orders by the events of their transaction, in Provider's order and words.

Source: oceanprotocol/provider @ 4cd244b : utils/datatoken.py, verify_order_tx; recordings 82, 91-download-bad-order.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from eth_utils.address import to_checksum_address

from ocean_portal.sandbox.chain import ETHER
from ocean_portal.sandbox.provider.documents import Asset, Service
from ocean_portal.sandbox.provider.fees import FeeDesk
from ocean_portal.sandbox.provider.ledger import Fee, Ledger, Receipt, Started

NETWORK = "Provider Ganache: "  # the name that Provider gives to chain 8996
LATE_S = 90  # how much the time of a block may be off


class OrderRefused(Exception):
    """Says in Provider's words why an order is not good."""


@dataclass(frozen=True)
class Agreement:
    """A good order: who pays for whom, what the fee says, and the transaction that began it."""

    started: Started
    fee: Fee
    start_tx: str


@dataclass(frozen=True)
class Clerk:
    """Judges orders; now in seconds."""

    ledger: Ledger
    desk: FeeDesk
    now: Callable[[], float]

    def judge(
        self,
        *,
        tx_hash: str,
        sender: str,
        asset: Asset,
        service: Service,
        environment_id: str | None = None,
        expired_is_fine: bool = False,
    ) -> Agreement:
        """Return the agreement behind a transaction, made for or by the sender.

        environment_id: what the fee must have been for. Raises OrderRefused.
        """
        if not self.ledger.is_datatoken_of(nft=asset.nft_address, datatoken=service.datatoken):
            raise OrderRefused("")
        receipt = self._receipt(tx_hash, "Failed to get tx receipt for the `startOrder` transaction..")
        fee, said = self._fee(receipt, tx_hash, service)
        self._check_fee(receipt, fee, said, environment_id, expired_is_fine=expired_is_fine)
        renewed_at: int | None = None
        if receipt.reused:
            renewed_at = receipt.reused[0].at
            receipt = self._receipt(
                receipt.reused[0].order_tx, "Failed to get tx receipt referenced in OrderReused.."
            )
        started = self._started(receipt, tx_hash, service)
        age_s = self.now() - (renewed_at if renewed_at is not None else started.at)
        if service.timeout_s and age_s > service.timeout_s:
            raise OrderRefused(
                f"{NETWORK}The order has expired. \ntimestamp delta={age_s}\nservice timeout={service.timeout_s}"
            )
        if to_checksum_address(sender) not in (started.consumer, started.payer):
            raise OrderRefused(f"{NETWORK}sender of order transaction is not the consumer/payer.")
        return Agreement(started=started, fee=fee, start_tx=receipt.tx_hash)

    def _receipt(self, tx_hash: str, problem: str) -> Receipt:
        try:
            receipt = self.ledger.receipt(tx_hash=tx_hash)
        except Exception as error:  # whatever a stranger calls a transaction
            raise OrderRefused(str(error)) from error
        if receipt is None:
            raise OrderRefused(f"{NETWORK}{problem}")
        if not receipt.succeeded:
            raise OrderRefused(f"{NETWORK}order transaction failed.")
        return receipt

    def _fee(self, receipt: Receipt, tx_hash: str, service: Service) -> tuple[Fee, dict[str, Any]]:
        """Find the fee that speaks of this service; one of another datatoken does not count."""
        found: tuple[Fee, dict[str, Any]] | None = None
        for fee in receipt.fees:
            try:
                said = json.loads(fee.data)
                if (
                    said["dt"].lower() == service.datatoken.lower()
                    and said["id"].lower() == service.id.lower()
                ):
                    found = (fee, said)
            except (ValueError, KeyError, TypeError, AttributeError):
                continue
        if found is None:
            raise OrderRefused(f"{NETWORK}Cannot find the event for the provider fee in tx id {tx_hash}.")
        return found

    def _check_fee(
        self,
        receipt: Receipt,
        fee: Fee,
        said: dict[str, Any],
        environment_id: str | None,
        *,
        expired_is_fine: bool,
    ) -> None:
        asked_at: float = 0
        if environment_id is not None:
            if environment_id != said.get("environment"):
                raise OrderRefused(f"{NETWORK}Mismatch between ordered c2d environment and selected one.")
            asked_at = said["timestamp"]
        if fee.address != self.desk.account.address:
            raise OrderRefused(
                f"{NETWORK}The providerFeeAddress {fee.address} in the event does "
                f"not match the provider address {self.desk.account.address}\n"
            )
        if not self.desk.signed(fee):
            raise OrderRefused(
                f"{NETWORK}Provider was not able to check the signed message in ProviderFees event\n"
            )
        # Between asking for the fee and paying it some time may pass; that much later it is still good.
        last = fee.valid_until + (receipt.block_at - asked_at + LATE_S)
        overdue = fee.valid_until > 0 and self.now() >= fee.valid_until
        if overdue and not expired_is_fine and asked_at > 0 and self.now() >= last:
            raise OrderRefused(f"{NETWORK}Ordered c2d time was exceeded, check validUntil.")

    def _started(self, receipt: Receipt, tx_hash: str, service: Service) -> Started:
        found = [event for event in receipt.started if event.service_index == service.index]
        if not found:
            raise OrderRefused(
                f"{NETWORK}Cannot find the event for the order transaction with tx id {tx_hash}."
            )
        if found[-1].amount_wei < ETHER:
            raise OrderRefused(
                f"{NETWORK}The amount in the event is less than the amount requested. \n"
                f"requested: amount={ETHER}\nevent: amount={found[-1].amount_wei}"
            )
        return found[-1]
