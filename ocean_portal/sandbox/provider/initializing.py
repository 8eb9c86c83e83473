"""What a job or a file will cost: initializeCompute and initialize.

Source: oceanprotocol/provider @ 4cd244b : routes/compute.py, routes/consume.py, utils/provider_fees.py;
recordings 30 to 32, 60, 70, 88.
"""

from collections.abc import Callable
from typing import Any

from ocean_portal.sandbox.provider.agreements import NETWORK, Clerk, OrderRefused
from ocean_portal.sandbox.provider.documents import Asset, Service
from ocean_portal.sandbox.provider.downloads import Downloads, Refused
from ocean_portal.sandbox.provider.fees import amount_wei
from ocean_portal.sandbox.provider.inputs import Checksums, Inspector
from ocean_portal.sandbox.provider.memory import Memory
from ocean_portal.sandbox.provider.workflow import FindEnvironment


class Initializing:
    """Prices what a request names; now in seconds."""

    def __init__(
        self,
        *,
        downloads: Downloads,
        inspector: Inspector,
        clerk: Clerk,
        memory: Memory,
        find: FindEnvironment,
        now: Callable[[], float],
    ) -> None:
        self._downloads = downloads
        self._inspector = inspector
        self._clerk = clerk
        self._memory = memory
        self._find = find
        self._now = now

    @property
    def fee_token(self) -> str:
        """The token that fees are paid in."""
        return self._clerk.desk.token

    def compute(self, *, data: dict[str, Any]) -> dict[str, Any]:
        """Answer initializeCompute: an entry per dataset, and one for a published algorithm. Raises Refused."""
        datasets, algorithm = data["datasets"], data["algorithm"]
        environment_id, valid_until = data["compute"]["env"], int(data["compute"]["validUntil"])
        consumer = data["consumerAddress"]
        if valid_until <= int(self._now()):
            raise Refused("The validUntil value is not correct.")
        environment = self._find(environment_id)
        if environment is None:
            raise Refused("Compute environment does not exist")
        bearer = self._bearer([*datasets, algorithm], environment_id)
        asset, service, checksums = self._algorithm(algorithm)
        price = amount_wei(environment=environment, valid_until=valid_until, now=self._now())
        entries: list[dict[str, Any]] = []
        for index, item in enumerate(datasets):
            item["algorithm"], item["consumerAddress"] = algorithm, consumer  # as the original does
            checked = self._inspector.check_dataset(
                item=item,
                index=index,
                algorithm=algorithm,
                checksums=checksums,
                consumer=consumer,
                environment_id=environment_id,
                with_order=False,
            )
            entries.append(
                self._entry(
                    item=item,
                    asset=checked.asset,
                    service=checked.service,
                    consumer=consumer,
                    valid_until=valid_until,
                    environment_id=environment_id,
                    amount=price if index == bearer else 0,
                )
            )
        answer: dict[str, Any] = {"datasets": entries}
        if asset and service:
            algorithm["consumerAddress"] = consumer
            answer["algorithm"] = self._entry(
                item=algorithm,
                asset=asset,
                service=service,
                consumer=consumer,
                valid_until=valid_until,
                environment_id=environment_id,
                amount=price if bearer == len(datasets) else 0,
            )
        return answer

    def _algorithm(self, algorithm: dict[str, Any]) -> tuple[Asset | None, Service | None, Checksums]:
        did = algorithm.get("documentId")
        if not did:
            return None, None, Checksums()
        asset = self._downloads.asset(did)
        if asset is None:
            raise AttributeError("'NoneType' object has no attribute 'metadata'")
        if asset.metadata["type"] != "algorithm":
            raise Refused("DID is not a valid algorithm")
        service = asset.service(algorithm.get("serviceId"))
        return asset, service, self._inspector.checksums(asset=asset, service=service)

    def _bearer(self, items: list[dict[str, Any]], environment_id: str) -> int:
        """Return which entry carries the environment's fee: one whose order is good already, else the first.

        An order is looked at only where the entry itself names its consumer, which no client does.
        """
        for index, item in enumerate(items):
            if "transferTxId" not in item:
                continue
            asset = self._downloads.asset(item.get("documentId"))
            if asset is None:
                raise AttributeError("'NoneType' object has no attribute 'get_service_by_id'")
            service = asset.service(item["serviceId"])
            if "consumerAddress" not in item or service is None:
                continue
            try:
                self._clerk.judge(
                    tx_hash=item["transferTxId"],
                    sender=item["consumerAddress"],
                    asset=asset,
                    service=service,
                    environment_id=environment_id,
                )
            except OrderRefused:
                continue
            return index
        return 0

    def _entry(
        self,
        *,
        item: dict[str, Any],
        asset: Asset,
        service: Service,
        consumer: str,
        valid_until: int,
        environment_id: str,
        amount: int,
    ) -> dict[str, Any]:
        """Say what to do for one entry: nothing, a new order, or to renew one. Source: recordings 30 to 32."""
        valid_order: str | None = None
        if "transferTxId" in item:
            try:
                agreement = self._clerk.judge(
                    tx_hash=item["transferTxId"],
                    sender=consumer,
                    asset=asset,
                    service=service,
                    environment_id=environment_id,
                    expired_is_fine=True,
                )
            except OrderRefused:
                pass
            else:
                if valid_until <= agreement.fee.valid_until:
                    return {"validOrder": agreement.start_tx}
                valid_order = agreement.start_tx
        fee = self._clerk.desk.offer(
            amount=amount,
            valid_until=valid_until,
            environment_id=environment_id,
            datatoken=service.datatoken,
            service_id=service.id,
            now=self._now(),
        )
        entry = {"datatoken": service.datatoken, "providerFee": fee}
        return entry | ({"validOrder": valid_order} if valid_order else {})

    def access(self, *, data: dict[str, Any]) -> dict[str, Any]:
        """Answer initialize: what a download takes. Raises Refused. Source: recording 70."""
        asset = self._downloads.asset(data["documentId"])
        consumer = data["consumerAddress"]
        if asset is None:
            raise Refused("Cannot resolve DID")
        if denial := self._inspector.denial(asset=asset, consumer=consumer):
            raise Refused(NETWORK + denial)
        service = asset.service(data["serviceId"])
        if service is None:
            raise Refused(f"{NETWORK}Invalid serviceId.")
        if service.kind == "compute":
            raise Refused(f"{NETWORK}Use the initializeCompute endpoint to initialize compute jobs.")
        if "transferTxId" in data:
            try:
                agreement = self._clerk.judge(
                    tx_hash=data["transferTxId"],
                    sender=consumer,
                    asset=asset,
                    service=service,
                    expired_is_fine=True,
                )
            except OrderRefused:
                pass
            else:
                return {"validOrder": agreement.start_tx}
        if "fileIndex" in data:
            files = self._downloads.files_of(asset=asset, service_id=service.id) or []
            file = files[int(data["fileIndex"])]
            if self._downloads.describe(file=file, with_checksum=False) is None:
                raise Refused(
                    f"{NETWORK}Asset URL not found, not available or invalid. \nPayload was: {data}"
                )
        fee = self._clerk.desk.offer(
            amount=0,
            valid_until=0,
            environment_id=None,
            datatoken=service.datatoken,
            service_id=service.id,
            now=self._now(),
        )
        return {
            "datatoken": service.datatoken,
            "nonce": self._memory.nonce(address=consumer),
            "providerFee": fee,
        }
