"""A Provider in memory over the sandbox's real chain: what the portal pays there is paid, and what it orders is checked."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import requests
from eth_account import Account
from eth_account.messages import encode_defunct
from eth_utils.crypto import keccak
from requests.adapters import HTTPAdapter

from jobs.models import Asset, Environment, Job, Network, Node, Order, Team, Transaction, Wallet
from jobs.ocean import orders
from jobs.ocean.compute import (
    CAPABILITIES,
    AlgorithmInput,
    AssetInput,
    FileInfo,
    JobReport,
    Needs,
    OrderNeed,
    Parsed,
    ProviderFee,
    StartRequest,
)
from jobs.ocean.transactions import Call, parse_receipt
from jobs.ocean.transport import Transport
from jobs.ocean.units import Address, Wei
from ocean_portal.sandbox import rpc
from ocean_portal.sandbox.chain import ETHER, Chain
from ocean_portal.sandbox.contracts import Contract, deploy, mint
from ocean_portal.sandbox.publish import publish_asset
from tests import builders
from tests.ocean.wire import Answer, FakeWire
from tests.services.fakes import OWNER, Clock, FakeNode, make_report, refused

GWEI = 10**9
GAS = 500_000  # enough for each of our calls
PROVIDER_KEY = "0x" + "5e" * 32
PROVIDER = Address(Account.from_key(PROVIDER_KEY).address)
RPC_URL = "http://chain.test:8545"
CONSUMER = Address(builders.RAW_PROVIDER_ENVIRONMENT["consumerAddress"])
FEE_TOKEN = Address(builders.RAW_PROVIDER_ENVIRONMENT["feeToken"])
# Source: ocean-contracts 3.1.0, ERC20Template.
PROVIDER_FEE = (
    "0x" + keccak(text="ProviderFee(address,address,uint256,bytes,uint8,bytes32,bytes32,uint256)").hex()
)


@dataclass(frozen=True, repr=False)  # a whole chain, which no failure's text should hold
class Deployed:
    """A chain with Ocean's contracts, the wallet's gas, and what was published; datatokens by their purpose."""

    chain: Chain
    contracts: Mapping[str, Any]
    datatokens: Mapping[str, Address]


def deployed_on(chain: Chain) -> Deployed:
    """Deploy and publish what the tests spend. `sold` has a price in place of a dispenser."""
    contracts = deploy(chain)
    mint(chain, contracts, "ether", str(OWNER), 5 * ETHER)
    datatokens = {
        name: Address(
            publish_asset(
                chain,
                contracts,
                publisher_key_or_index=0,
                name=name,
                symbol=name.upper(),
                kind="dataset",
                metadata={},
                service={
                    "id": "a",
                    "type": "compute",
                    "timeout": 0,
                    "files": [],
                    "serviceEndpoint": "http://n",
                },
                seal_files=lambda _: "0x00",
                price=price,
            ).datatoken_address
        )
        for name, price in (("dataset", None), ("algorithm", None), ("sold", ETHER))
    }
    return Deployed(chain=chain, contracts=contracts, datatokens=datatokens)


class ChainWire(HTTPAdapter):
    """The chain's JSON-RPC without a socket. `faults` holds what comes before the usual answers, by method.

    An exception is raised, and a dictionary is the `result` or `error`: the chain never hears of the call. "lost" lets it
    act and loses the answer; a function gets the usual answer's document and gives another.
    """

    def __init__(self, chain: Chain) -> None:
        super().__init__()
        self.chain = chain
        self.asked: list[str] = []
        self.requests = 0
        self.faults: dict[str, list[Any]] = {}
        self.before: dict[str, Callable[[], object]] = {}

    def will(self, method: str, *faults: Any) -> None:
        """Answer the next calls of a method with these."""
        self.faults.setdefault(method, []).extend(faults)

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        body = json.loads(request.body if isinstance(request.body, bytes) else b"")
        self.requests += 1
        said = [self._say(call) for call in body] if isinstance(body, list) else self._say(body)
        return FakeWire(Answer.json(said)).send(request)

    def _say(self, call: dict[str, Any]) -> Any:
        method = call["method"]
        self.asked.append(method)
        if method in self.before:
            self.before[method]()
        waiting = self.faults.get(method) or self.faults.get("*") or []
        fault = waiting.pop(0) if waiting else None
        if isinstance(fault, Exception):
            raise fault
        if isinstance(fault, dict):
            return {"jsonrpc": "2.0", "id": call["id"], **fault}
        answer = self._answer(method, json.dumps(call, separators=(",", ":")).encode())
        if fault == "lost":
            raise requests.exceptions.ReadTimeout()
        return fault(answer) if fault else answer

    def _answer(self, method: str, body: bytes) -> dict[str, Any]:
        # The chain finds the least gas by running the call again and again: most of a test's time. Once is enough to
        # know whether it would be refused.
        once = body.replace(b'"eth_estimateGas"', b'"eth_call"', 1)
        answer: dict[str, Any] = json.loads(rpc.handle_body(self.chain, once))
        if method == "eth_estimateGas" and "result" in answer:
            answer["result"] = hex(GAS)
        return answer


@dataclass
class FakeProvider(FakeNode):
    """A Provider in memory that looks at the real chain, as the real one does. amount_wei: the fee that it asks for."""

    deployed: Deployed = field(kw_only=True)
    datatokens: dict[str, Address] = field(default_factory=dict)
    amount_wei: int = 0
    started_with: list[str] = field(default_factory=list)
    capabilities = CAPABILITIES["provider-v4"]

    def initialize(
        self, *, request: StartRequest, consumer: Address, payer: Address, valid_until: int
    ) -> Needs:
        """Say what each part needs."""
        said: tuple[OrderNeed, ...] = self._answer(
            "initialize",
            lambda: self.needs(request=request, consumer=consumer, valid_until=valid_until),
            request=request,
            consumer=consumer,
            valid_until=valid_until,
        )
        return Needs(orders=said)

    def needs(self, *, request: StartRequest, consumer: Address, valid_until: int) -> tuple[OrderNeed, ...]:
        """Say what an honest Provider does."""
        return tuple(
            self._need(part, consumer=consumer, valid_until=valid_until) for part in published(request)
        )

    def _need(self, part: AssetInput | AlgorithmInput, *, consumer: Address, valid_until: int) -> OrderNeed:
        datatoken = self.datatokens[part.did]
        first, paid_until = self.order_behind(part.order, datatoken=datatoken, consumer=consumer)
        if first and paid_until >= valid_until:
            return OrderNeed(part.did, part.service_id, None, first, None)
        fee = signed_fee(amount_wei=self.amount_wei, valid_until=valid_until)
        return OrderNeed(part.did, part.service_id, datatoken, first, fee)

    def order_behind(self, tx_hash: str, *, datatoken: Address, consumer: Address) -> tuple[str, int]:
        """Return the first order behind a transaction and until when its own fee counts; "" for no order."""
        raw = self.deployed.chain.rpc("eth_getTransactionReceipt", [tx_hash]) if tx_hash else None
        receipt = parse_receipt(raw)
        seen = None if receipt is None else orders.order_in(receipt, datatoken=datatoken)
        if receipt is None or seen is None:
            return "", 0
        if seen.kind == "reused":
            first, _ = self.order_behind(seen.order_tx, datatoken=datatoken, consumer=consumer)
        else:
            first = tx_hash if seen.consumer == consumer else ""
        (fee,) = [log for log in receipt.logs if "0x" + log.topics[0].hex() == PROVIDER_FEE]
        return first, int.from_bytes(fee.data[5 * 32 : 6 * 32], "big")

    def accept(self, request: StartRequest, **_: Any) -> JobReport:
        """Take a job in, filed under its first order, where all its orders are on the chain and none runs."""
        for part in published(request):
            if not self.order_behind(part.order, datatoken=self.datatokens[part.did], consumer=CONSUMER)[0]:
                raise refused("order_invalid")
        under = published(request)[0].order
        if any(job.agreement_id == under and not job.ended for job in self.jobs):
            raise refused("order_in_use")
        report = self.report(agreement_id=under)
        self.jobs.append(report)
        self.started_with.append(under)
        return report

    def report(self, **values: Any) -> JobReport:
        """Describe a job as a Provider does."""
        long_id = values.pop("long_id", f"{len(self.jobs) + 1:032x}")
        defaults = {
            "job_id": long_id,
            "environment_id": None,
            "dialect": "provider-v4",
            "status": 1,
            "status_text": "Warming up",
        }
        return make_report(long_id=long_id, **(defaults | values))

    def stop(self, *, job_id: str, proof: Any) -> JobReport:
        """Note the wish."""
        return self._answer("stop", lambda: self.report(long_id=job_id), job_id=job_id, proof=proof)

    def end_jobs(self) -> None:
        """Let all jobs end well."""
        self.jobs = [
            job.model_copy(update={"status": 70, "finished_at": builders.NOW.timestamp()})
            for job in self.jobs
        ]

    def file_info(self, *, file: Any, checksum: bool = False) -> Parsed[FileInfo]:
        """Reach every file."""
        return self._answer(
            "file_info",
            lambda: Parsed(items=(FileInfo(valid=True),), skipped=0),
            file=file,
            checksum=checksum,
        )


def published(request: StartRequest) -> list[AssetInput | AlgorithmInput]:
    """Return the published inputs of a start, in order, the algorithm last."""
    parts: list[Any] = [*request.datasets, request.algorithm]
    return [part for part in parts if isinstance(part, AssetInput | AlgorithmInput)]


def signed_fee(
    *,
    amount_wei: int = 0,
    valid_until: int,
    payee: Address = PROVIDER,
    key: str = PROVIDER_KEY,
    token: Address = FEE_TOKEN,
) -> ProviderFee:
    """Sign a fee as a Provider does. key: another one than the payee's makes it a forgery."""
    fee = ProviderFee(
        address=payee,
        token=token,
        amount_wei=Wei(amount_wei),
        valid_until=valid_until,
        data="0x7b7d",
        v=27,
        r="0x" + "00" * 32,
        s="0x" + "00" * 32,
    )
    signed = Account.sign_message(encode_defunct(primitive=orders.fee_digest(fee)), key)
    return replace(fee, v=signed.v, r=f"0x{signed.r:064x}", s=f"0x{signed.s:064x}")


@dataclass(repr=False)
class Quay:
    """A team's place at a Provider, everything that its jobs need, and the chain below."""

    team: Team
    network: Network
    node: Node
    environment: Environment
    wallet: Wallet
    dataset: Asset
    algorithm: Asset
    far: Any  # a FakeProvider, or what stands in its place
    wire: ChainWire
    deployed: Deployed
    clock: Clock
    sent_elsewhere: list[str] = field(default_factory=list)

    @property
    def chain(self) -> Chain:
        """The chain itself."""
        return self.deployed.chain

    def job(self, **values: Any) -> Job:
        """Make a job that was launched a moment ago."""
        defaults: dict[str, Any] = {
            "team": self.team,
            "node": self.node,
            "environment": self.environment,
            "wallet": self.wallet,
            "datasets": [self.dataset],
            "algorithm": self.algorithm,
            "requested_at": self.clock(),
            "next_check_at": self.clock(),
            "queue_wait_s": 0,
        }
        return builders.make_job(**(defaults | values))

    def asset(self, token: str, *, kind: str = Asset.Kind.DATASET, **values: Any) -> Asset:
        """Make a catalogue entry whose service has one of the published datatokens; the Provider knows it too."""
        asset = builders.make_asset(team=self.team, node=self.node, kind=kind, **values)
        asset.services[0]["datatoken"] = str(self.deployed.datatokens[token])
        asset.save()
        self.far.datatokens[asset.did] = self.deployed.datatokens[token]
        return asset

    def transport(self, base_url: str, **values: Any) -> Transport:
        """Stand in for the gateway's: the chain answers in this process, and nothing is waited for."""
        return Transport(base_url, **{**values, "sleep": None}, adapter=self.wire)

    def provider(self, *_: Any, **__: Any) -> FakeProvider:
        """Stand in for the gateway's client."""
        return self.far

    # The chain, as another program sees it.

    def mine(self, blocks: int = 1) -> None:
        """Mine blocks of what waits."""
        self.chain.rpc("evm_mine", [{"blocks": blocks}] if blocks > 1 else [])

    def automine(self, on: bool) -> None:
        """Mine at once, or when somebody asks for it."""
        self.chain.rpc("evm_setAutomine", [on])

    def balance(self, token: str) -> int:
        """How many whole datatokens the wallet holds."""
        held = Contract(self.chain, "ERC20Template", str(self.deployed.datatokens[token])).call(
            "balanceOf", str(OWNER)
        )
        return int(held) // ETHER

    def give(self, token: str, tokens: int = 1) -> None:
        """Let the publisher give the wallet datatokens."""
        contract = Contract(self.chain, "ERC20Template", str(self.deployed.datatokens[token]))
        contract.send(self.chain.account(0), "mint", str(OWNER), tokens * ETHER)

    def mined(self) -> int:
        """How many transactions of the wallet are in blocks."""
        return int(self.chain.rpc("eth_getTransactionCount", [str(OWNER), "latest"]), 16)

    def orders_on_chain(self, token: str = "dataset") -> int:
        """How many orders of a datatoken there are, renewals included."""
        address = str(self.deployed.datatokens[token])
        topics = [[_ORDER_STARTED, _ORDER_REUSED]]
        logs = self.chain.rpc("eth_getLogs", [{"fromBlock": "0x0", "address": address, "topics": topics}])
        return len(logs)

    def elsewhere(self, call: Call | None = None, *, gas: int = 200_000, fee: int = 3 * GWEI) -> str:
        """Send a transaction of the wallet from another program, with the next nonce that is not mined yet."""
        account = Account.from_key((7).to_bytes(32, "big"))
        tx: dict[str, Any] = {
            "chainId": 8996,
            "nonce": self.mined(),
            "gas": gas,
            "gasPrice": fee,
            "to": str(call.to) if call else str(OWNER),
            "value": 0,
            "data": "0x" + call.data.hex() if call else "0x",
        }
        raw = "0x" + bytes(account.sign_transaction(tx).raw_transaction).hex()
        self.sent_elsewhere.append(raw)
        return str(self.chain.rpc("eth_sendRawTransaction", [raw]))

    def spend(self, token: str) -> None:
        """Let another program send one of the wallet's datatokens away, mined at once."""
        account = Account.from_key((7).to_bytes(32, "big"))
        contract = Contract(self.chain, "ERC20Template", str(self.deployed.datatokens[token]))
        contract.send(account, "transfer", self.chain.account(9).address, ETHER)


_ORDER_STARTED = (
    "0x" + keccak(text="OrderStarted(address,address,uint256,uint256,uint256,address,uint256)").hex()
)
_ORDER_REUSED = "0x" + keccak(text="OrderReused(bytes32,address,uint256,uint256)").hex()


def make_quay(*, team: Team, deployed: Deployed, clock: Clock) -> Quay:
    """Make a Provider's rows beside a chain, with a wallet that has gas."""
    network = builders.make_network(
        rpc_url=RPC_URL,
        allow_private=True,
        contracts={"Dispenser": deployed.contracts["Dispenser"]},
    )
    node = builders.make_provider_node(
        network=network, provider_address=str(PROVIDER), requests_per_minute=10_000
    )
    quay = Quay(
        team=team,
        network=network,
        node=node,
        environment=builders.make_environment(node=node),
        wallet=builders.granted(builders.make_wallet(team=team)),
        dataset=None,  # type: ignore[arg-type]  # made below: an asset needs the place
        algorithm=None,  # type: ignore[arg-type]
        far=FakeProvider(deployed=deployed),
        wire=ChainWire(deployed.chain),
        deployed=deployed,
        clock=clock,
    )
    quay.dataset = quay.asset("dataset")
    quay.algorithm = quay.asset("algorithm", kind=Asset.Kind.ALGORITHM)
    return quay


def statuses(job: Job) -> list[tuple[str, str]]:
    """Return purpose and status of a job's transactions, in their order."""
    return list(job.transactions.order_by("sequence").values_list("purpose", "status"))


def confirmed(job: Job) -> list[Transaction]:
    """Return the job's transactions that are confirmed."""
    return list(job.transactions.filter(status=Transaction.Status.CONFIRMED).order_by("sequence"))


def order_of(job: Job) -> Order:
    """Return the order of the job's first dataset."""
    order = job.inputs.order_by("position")[0].order
    assert order is not None
    return order
