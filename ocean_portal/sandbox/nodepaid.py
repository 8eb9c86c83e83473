"""Paid compute on the node: what it would cost, and starts that are paid for on the chain.

Checks come in the node's order, since clients meet its first complaint only.
Source: recordings 31 to 35; ocean-node v3.2.0, core/compute/initialize.ts and startCompute.ts.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from eth_utils.address import is_address

from ocean_portal.sandbox.answers import Answer, Request, as_json, text
from ocean_portal.sandbox.encoding import RpcError
from ocean_portal.sandbox.engine import Busy, Engine
from ocean_portal.sandbox.environment import (
    MAX_DURATION_S,
    MIN_DURATION_S,
    PROVIDER_ADDRESS,
    Environment,
    RefusedResources,
    fill_resources,
)
from ocean_portal.sandbox.escrow import Escrow, job_number
from ocean_portal.sandbox.files import Files
from ocean_portal.sandbox.nodefees import FeeSigner
from ocean_portal.sandbox.nodeorders import OrderDesk, Wanted
from ocean_portal.sandbox.prices import FeeToken, lock_s
from ocean_portal.sandbox.reports import start_report
from ocean_portal.sandbox.signatures import Unauthorized
from ocean_portal.sandbox.starts import check_start, missing_field, positive
from ocean_portal.sandbox.store import Store
from ocean_portal.sandbox.trust import Checksums, checksums, may_run

# Active and end of life: the node compares with the places in a list of two, not with what is in it.
# Source: ocean-node v3.2.0, downloadHandler.ts, isOrderingAllowedForAsset.
_ORDERABLE_STATES = (0, 1)
# Lets a call in, or raises Unauthorized; given the request, its fields, and the command that was signed.
Admit = Callable[[Request, Mapping[str, Any], str], None]


class Refusal(Exception):
    """Ends a call with a status and the node's text."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Till:
    """What takes money: the Escrow, the judge of orders, and the signer of fees; all need a chain."""

    escrow: Escrow
    orders: OrderDesk
    fees: FeeSigner


@dataclass(frozen=True)
class _Item:
    """A published algorithm or dataset in a request, with its document and service."""

    asset: Mapping[str, Any]
    document: Mapping[str, Any]
    place: int
    is_algorithm: bool
    service: Mapping[str, Any] = field(default_factory=dict)

    @property
    def wanted(self) -> Wanted:
        return Wanted(
            nft=self.document["nftAddress"],
            datatoken=self.service["datatokenAddress"],
            service_id=self.service["id"],
            service_index=self.place,
            timeout_s=int(self.service["timeout"]),
        )


class PaidCompute:
    """Answers the two routes of paid compute; without a till it refuses in the words of a node without Escrow."""

    def __init__(
        self,
        *,
        store: Store,
        engine: Engine,
        environment: Environment,
        files: Files,
        till: Till | None,
        admit: Admit,
    ) -> None:
        self._store = store
        self._engine = engine
        self._environment = environment
        self._files = files
        self._till = till
        self._admit = admit

    # what it would cost

    def initialize(self, request: Request) -> Answer:
        """Say what has to be ordered and locked. Source: recording 34."""
        try:
            return as_json(200, self._initialized(request.body))
        except Refusal as refusal:
            return text(refusal.status, str(refusal))

    def _initialized(self, body: Mapping[str, Any]) -> dict[str, Any]:
        datasets = body.get("datasets") or []
        algorithm = body.get("algorithm")
        if not isinstance(algorithm, dict):
            raise Refusal(400, "Missing algorithm")
        if not all(isinstance(dataset, dict) and dataset.get("documentId") for dataset in datasets):
            raise Refusal(400, "Missing dataset did")
        names = ("datasets", "algorithm", "payment", "consumerAddress", "environment")
        if complaint := missing_field({**body, "datasets": datasets}, "initializeCompute", *names):
            raise Refusal(400, complaint)
        if not is_address(body["consumerAddress"]):
            raise Refusal(400, 'Parameter : "consumerAddress" is not a valid web3 address')
        payment = body["payment"] if isinstance(body["payment"], dict) else {}
        if not (payment.get("chainId") and payment.get("token")):
            raise Refusal(400, "Invalid payment options")
        duration_s = self._duration(body)
        self._check_engine(body["environment"])
        sums = self._checksums(algorithm)
        if body["environment"] != self._environment.id or not self._serves(payment["chainId"]):
            raise Refusal(500, "Invalid C2D Environment")
        try:
            resources = fill_resources(wanted=payment.get("resources"), free=False)
        except RefusedResources as refusal:
            raise Refusal(500, f"Error: {refusal}") from refusal
        fee, till = self._fee(payment), self._till
        if till is None:
            raise Refusal(500, f"Cannot handle payments on chainId: {payment['chainId']}")
        wait_s = positive(body.get("queueMaxWaitTime"))
        described = [
            self._described(asset, till=till, algorithm=algorithm, sums=sums, datasets=datasets)
            for asset in (algorithm, *datasets)
        ]
        return {
            "algorithm": described[0],
            "datasets": described[1:],
            "payment": {
                "escrowAddress": till.escrow.address,
                "payee": PROVIDER_ADDRESS,
                "chainId": payment["chainId"],
                "minLockSeconds": lock_s(duration_s=duration_s, queue_wait_s=wait_s),
                "token": payment["token"],
                "amount": str(fee.in_wei(_cost(fee, resources=resources, duration_s=duration_s))),
            },
        }

    def _described(
        self,
        asset: Mapping[str, Any],
        *,
        till: Till,
        algorithm: Mapping[str, Any],
        sums: Checksums | None,
        datasets: list[Mapping[str, Any]],
    ) -> dict[str, Any]:
        """Say whether an asset is ordered, and with which fee it would be."""
        if not asset.get("documentId"):
            return {"validOrder": False}
        item = self._find(asset)
        if not item.is_algorithm:
            self._check_trust(item, algorithm=algorithm, sums=sums, datasets=datasets)
        item = self._with_service(item)
        service, wanted = item.service, item.wanted
        said: dict[str, Any] = {
            "validOrder": False,
            "did": asset["documentId"],
            "serviceId": asset.get("serviceId"),
            "datatoken": service["datatokenAddress"],
            "chainId": item.document["chainId"],
            "consumerAddress": PROVIDER_ADDRESS,
        }
        tx_hash = asset.get("transferTxId")
        fee_holds = False
        if tx_hash and till.orders.holds(tx_hash=str(tx_hash), wanted=wanted):
            said["validOrder"] = tx_hash
            fee_holds = till.orders.fee_holds(tx_hash=str(tx_hash), wanted=wanted)
        if not fee_holds:
            said["providerFee"] = till.fees.offer(
                datatoken=wanted.datatoken, service_id=wanted.service_id, timeout_s=wanted.timeout_s
            )
        return said

    # starts

    def start(self, request: Request) -> Answer:
        """Check, lock and start. Source: recordings 31 to 33 and 35."""
        try:
            return as_json(200, self._started(request))
        except Refusal as refusal:
            return as_json(refusal.status, str(refusal))

    def _started(self, request: Request) -> list[dict[str, Any]]:
        body = {key: value or None for key, value in request.body.items()}  # as the node's route does
        body["datasets"] = request.body.get("datasets")  # for which none is a list too
        names = ("environment", "algorithm", "datasets", "maxJobDuration")
        if complaint := missing_field(body, "startCompute", *names):
            raise Refusal(400, complaint)
        owner = body.get("consumerAddress")
        if not is_address(owner):
            raise Refusal(400, 'Parameter : "consumerAddress" is not a valid web3 address')
        duration_s = self._duration(body)
        try:
            self._admit(request, request.body, "startCompute")
        except Unauthorized as refusal:
            raise Refusal(401, str(refusal)) from refusal
        self._check_engine(body["environment"])
        if body["environment"] != self._environment.id:
            raise Refusal(500, "Invalid C2D Environment")
        try:
            resources = fill_resources(wanted=body.get("resources"), free=False)
        except RefusedResources as refusal:
            raise Refusal(400, str(refusal)) from refusal
        spec = {
            "algorithm": body["algorithm"],
            "datasets": body["datasets"],
            "resources": resources,
            "metadata": body.get("metadata"),
            "viewers": body.get("additionalViewers"),
            "max_job_duration": duration_s,
            "queue_max_wait": positive(body.get("queueMaxWaitTime")),
            "paid": True,
        }
        self._check_room(spec)
        self._check_assets(spec)
        # The node's own words; its route makes null of whatever is missing. Source: recording 33, exchange 13.
        asked = body.get("payment")
        if not isinstance(asked, dict):
            raise Refusal(500, "Cannot read properties of null (reading 'chainId')")
        fee, till = self._fee(asked), self._till
        if till is None:
            raise Refusal(400, "Failed to initialize escrow contract")
        payment = {name: asked[name] for name in ("chainId", "token")}
        locking = _Locking(
            store=self._store, escrow=till.escrow, fee=fee, owner=str(owner), spec=spec, payment=payment
        )
        try:
            job = self._engine.start(
                owner=str(owner), spec=spec, charge=lambda job_id: locking.charge(job_id, body.get("output"))
            )
        except (Busy, RpcError, ValueError) as refusal:
            raise Refusal(400, str(refusal)) from refusal
        self._store.drop_plan(job_id=job["id"])
        return [start_report(job, environment=self._environment)]

    def recover(self) -> None:
        """Go on with the starts that the last process began: a lock has its job, and no job a second lock.

        Call it before the engine is opened. A start that had not locked yet is forgotten; nobody was told of it.
        """
        for plan in self._store.planned_starts():
            job_id = plan["job_id"]
            lock_tx = self._till.escrow.locked_in(job=job_number(job_id)) if self._till else None
            if lock_tx and self._store.job(job_id=job_id) is None:
                self._engine.adopt(
                    job_id=job_id,
                    owner=plan["owner"],
                    spec=plan["spec"],
                    payment=plan["payment"] | {"lockTx": lock_tx},
                )
            self._store.drop_plan(job_id=job_id)

    def _check_room(self, spec: dict[str, Any]) -> None:
        try:
            self._engine.check_room(spec=spec)
        except Busy as refusal:
            raise Refusal(400, str(refusal)) from refusal

    def _check_assets(self, spec: dict[str, Any]) -> None:
        """Check algorithm and datasets with their orders, and give the algorithm the container of its document."""
        algorithm, datasets = spec["algorithm"], spec["datasets"]
        if not isinstance(algorithm, dict) or not isinstance(datasets, list):
            raise Refusal(500, "Invalid algorithm or datasets")
        if not all(isinstance(dataset, dict) for dataset in datasets):
            raise Refusal(500, "Invalid algorithm or datasets")
        sums = self._checksums(algorithm)
        for asset in (algorithm, *datasets):
            if not asset.get("documentId"):
                continue
            item = self._with_service(self._find(asset))
            if not item.is_algorithm:
                self._check_trust(item, algorithm=algorithm, sums=sums, datasets=datasets)
            self._check_order(item)
            if item.is_algorithm and "meta" not in algorithm:
                described = item.document["metadata"]["algorithm"]
                container = {
                    name: described["container"].get(name)
                    for name in ("entrypoint", "image", "tag", "checksum")
                }
                meta = {name: described.get(name) for name in ("language", "version")}
                spec["algorithm"] = algorithm | {"meta": meta | {"container": container}}

    def _check_order(self, item: _Item) -> None:
        did, tx_hash = item.asset["documentId"], item.asset.get("transferTxId")
        if not tx_hash:
            raise Refusal(500, f"Missing transferTxId for DDO {did}")
        if self._till is None or not self._till.orders.holds(tx_hash=str(tx_hash), wanted=item.wanted):
            raise Refusal(
                500, f"TxId Service {tx_hash} is not valid for DDO {did} and service {item.service['id']}"
            )

    # what both have in common

    def _duration(self, body: Mapping[str, Any]) -> int:
        """Return the longest time of a job in seconds; over the maximum it is the maximum, unsaid."""
        asked = body.get("maxJobDuration")
        try:
            seconds = int(float(asked)) if asked else MAX_DURATION_S
        except (TypeError, ValueError, OverflowError):
            seconds = MAX_DURATION_S  # JavaScript's NaN is not less than anything
        if seconds <= 0:
            raise Refusal(400, "Invalid maxJobDuration")
        return min(seconds, MAX_DURATION_S)

    def _check_engine(self, environment: object) -> None:
        if str(environment).partition("-")[0] != self._environment.engine_id:
            raise Refusal(500, "Invalid C2D Environment")

    def _checksums(self, algorithm: Mapping[str, Any]) -> Checksums | None:
        document = self._store.ddo(did=str(algorithm.get("documentId")))
        found = checksums(algorithm=algorithm, document=document, files=self._files)
        meta = algorithm.get("meta")
        if found is None and not (isinstance(meta, dict) and meta.get("rawcode")):
            raise Refusal(
                500,
                "Failed to retrieve algorithm checksums. Both container and files checksums are required.",
            )
        return found

    def _serves(self, chain_id: object) -> bool:
        return any(
            self._environment.fee(chain_id=chain_id, token=fee.address) for fee in self._environment.fees
        )

    def _fee(self, payment: Mapping[str, Any]) -> FeeToken:
        chain_id, token = payment.get("chainId"), payment.get("token")
        fee = self._environment.fee(chain_id=chain_id, token=token)
        if fee is None:
            raise Refusal(
                500,
                f"This compute env does not accept payments on chain: {chain_id} using token {token}",
            )
        return fee

    def _find(self, asset: Mapping[str, Any]) -> _Item:
        did = str(asset["documentId"])
        document = self._store.ddo(did=did)
        if document is None:
            raise Refusal(500, f"DDO {did} not found")
        if document["indexedMetadata"]["nft"]["state"] not in _ORDERABLE_STATES:
            raise Refusal(
                500, "Nft not present in the asset or the state is different than ACTIVE or UNLISTED."
            )
        return _Item(
            asset=asset, document=document, place=0, is_algorithm=document["metadata"]["type"] == "algorithm"
        )

    def _with_service(self, item: _Item) -> _Item:
        for place, service in enumerate(item.document["services"]):
            if service["id"] == item.asset.get("serviceId"):
                return _Item(
                    asset=item.asset,
                    document=item.document,
                    place=place,
                    is_algorithm=item.is_algorithm,
                    service=service,
                )
        did = item.asset["documentId"]
        raise Refusal(500, f"Cannot find service {item.asset.get('serviceId')} in DDO {did}")

    def _check_trust(
        self,
        item: _Item,
        *,
        algorithm: Mapping[str, Any],
        sums: Checksums | None,
        datasets: list[Mapping[str, Any]],
    ) -> None:
        """Check that a dataset lets the algorithm run; of a DID that is named twice the first service counts."""
        did = item.document["id"]
        if not datasets:  # a dataset in the place of the algorithm
            raise Refusal(500, "Cannot read properties of undefined (reading 'serviceId')")
        named = next((entry for entry in datasets if entry.get("documentId") == did), datasets[0])
        allowed = may_run(
            algorithm=algorithm,
            sums=sums,
            dataset=item.document,
            service_id=named.get("serviceId"),
            find=lambda name: self._store.ddo(did=name),
        )
        if not allowed:
            name = algorithm.get("documentId", "undefined")
            raise Refusal(400, f"Algorithm {name} not allowed to run on the dataset: {did}")


@dataclass(frozen=True)
class _Locking:
    """Locks the money for one job, leaving a note that survives the process."""

    store: Store
    escrow: Escrow
    fee: FeeToken
    owner: str
    spec: dict[str, Any]
    payment: dict[str, Any]

    def charge(self, job_id: str, output: object) -> dict[str, Any]:
        """Lock, and return the job's payment.

        As in a node, what is wrong with output, metadata or image is found only now: the start fails, and the
        money stays locked until the lock expires.
        Raises RpcError or ValueError with the text for the client.
        """
        cost = _cost(self.fee, resources=self.spec["resources"], duration_s=self.spec["max_job_duration"])
        amount_wei = self.fee.in_wei(cost)
        seconds = lock_s(duration_s=self.spec["max_job_duration"], queue_wait_s=self.spec["queue_max_wait"])
        self._check_allowance(amount_wei=amount_wei, seconds=seconds)
        payment = {**self.payment, "lockTx": None, "claimTx": None, "cancelTx": None, "cost": 0}
        self.store.plan_start(job_id=job_id, owner=self.owner, spec=self.spec, payment=payment)
        try:
            payment["lockTx"] = self.escrow.create(
                job=job_number(job_id),
                payer=self.owner,
                token=self.payment["token"],
                amount_wei=amount_wei,
                seconds=seconds,
            )
            if output:
                raise ValueError("Invalid output: the sandbox stores results nowhere else")
            check_start(algorithm=self.spec["algorithm"], metadata=self.spec["metadata"])
        except (RpcError, ValueError):
            self.store.drop_plan(job_id=job_id)
            raise
        return payment

    def _check_allowance(self, *, amount_wei: int, seconds: int) -> None:
        """Check what the contract would, in the node's words. Source: recording 31; ocean-node, escrow.ts."""
        token = self.payment["token"]
        if self.escrow.available_wei(payer=self.owner, token=token) < amount_wei:
            raise ValueError(f"User {self.owner} does not have enough funds")
        found = self.escrow.authorizations(payer=self.owner, token=token)
        if len(found) != 1:
            raise ValueError(
                f"No escrow auths found for: chain={self.payment['chainId']}, token={token},"
                f" payer={self.owner}, nodeAddress={PROVIDER_ADDRESS}. Found {len(found)} authorizations."
            )
        (allowed,) = found
        if allowed.locked_wei + amount_wei > allowed.max_locked_wei:
            raise ValueError("No valid escrow auths found(will go over limit)")
        if allowed.max_lock_s < seconds:
            raise ValueError("No valid escrow auths found(maxLockSeconds too low)")
        if allowed.locks + 1 > allowed.max_locks:
            raise ValueError("No valid escrow auths found(too many active locks)")


def _cost(fee: FeeToken, *, resources: Mapping[str, float], duration_s: float) -> float:
    return fee.cost(resources=resources, duration_s=max(duration_s, MIN_DURATION_S))
