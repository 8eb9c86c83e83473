"""Places where compute is paid for, in memory over the sandbox's real chain: a Provider by the fees of orders, a node from
the real Escrow, and datatokens that are sold."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from eth_account import Account
from eth_utils.crypto import keccak

from jobs.models import Asset, Job, Node, SpendingLimit, Team, Token, Wallet
from jobs.ocean.abi import encode_call
from jobs.ocean.compute import (
    CAPABILITIES,
    JobReport,
    Needs,
    OrderNeed,
    PaymentNeed,
    StartRequest,
)
from jobs.ocean.transactions import Call, parse_receipt
from jobs.ocean.units import Address, Wei
from jobs.services import asking, gateway, outlays
from jobs.services.asking import Asked, Wish
from jobs.services.budget import Purpose
from jobs.services.outlays import Outlay
from jobs.services.starts import start_request
from ocean_portal.sandbox.chain import ETHER
from ocean_portal.sandbox.contracts import ZERO_ADDRESS, Contract, mint
from ocean_portal.sandbox.encoding import RpcError
from ocean_portal.sandbox.escrow import ChainEscrow, job_number
from ocean_portal.sandbox.prices import FeeToken, lock_s
from tests import builders
from tests.services.fakes import OWNER, STRANGER, Clock, refused
from tests.services.quay import (
    PROVIDER,
    PROVIDER_FEE,
    PROVIDER_KEY,
    RPC_URL,
    ChainWire,
    Deployed,
    FakeProvider,
    Quay,
    published,
    signed_fee,
)

MILLION = 10**6  # of a token with 6 decimals: one whole
OCEAN, DOLLARS = "Ocean", "MockUSDC"
PAID = "paid"  # the Provider's environment whose time costs
MINUTE_WEI = ETHER // 10  # what a minute costs at the Provider
NODE_PRICES = {"Ocean": (("cpu", 1.0), ("ram", 0.1)), "MockUSDC": (("cpu", 0.5),)}
_TOKEN_CREATED = "0x" + keccak(text="TokenCreated(address,address,string,string,uint256,address)").hex()
MARKET = 3  # the development account to which the market's fees go


@dataclass(frozen=True)
class Sold:
    """A datatoken for sale. base: what it is sold for; exchange_id: of its rate; both empty where it is given away."""

    datatoken: Address
    base: str
    exchange_id: bytes


def priced_on(deployed: Deployed) -> dict[str, Sold]:
    """Publish datatokens for sale, without an order fee as yet: `ocean` for 2.5 Ocean, `dollars` for 3 dollars and 1 %."""
    chain, contracts = deployed.chain, deployed.contracts
    sold = {
        "ocean": _sell(deployed, base=OCEAN, decimals=18, rate_wei=5 * ETHER // 2, market_fee=0),
        "dollars": _sell(deployed, base=DOLLARS, decimals=6, rate_wei=3 * ETHER, market_fee=ETHER // 100),
    }
    mint(chain, contracts, "ether", str(PROVIDER), 5 * ETHER)
    return sold


def _sell(
    deployed: Deployed, *, base: str, decimals: int, rate_wei: int, market_fee: int, template: int = 1
) -> Sold:
    chain, contracts = deployed.chain, deployed.contracts
    publisher, market = chain.account(0), chain.account(MARKET).address
    factory = Contract(chain, "ERC721Factory", contracts["ERC721Factory"])
    receipt = factory.send(
        publisher,
        "createNftWithErc20WithFixedRate",
        (f"for {base}", "NFT", 1, "", True, publisher.address),
        (
            template,
            [base, base],
            [publisher.address, publisher.address, market, ZERO_ADDRESS],
            [10**23, 0],
            [],
        ),
        (
            contracts["FixedPrice"],
            [contracts[base], publisher.address, market, ZERO_ADDRESS],
            [decimals, 18, rate_wei, market_fee, 1],
        ),
    )
    datatoken = _created(receipt)
    exchange = Contract(chain, "FixedRateExchange", contracts["FixedPrice"])
    exchange_id = exchange.call("generateExchangeId", contracts[base], str(datatoken))
    return Sold(datatoken=datatoken, base=base, exchange_id=bytes(exchange_id))


def _give_away(deployed: Deployed, *, template: int) -> Sold:
    chain, contracts = deployed.chain, deployed.contracts
    publisher, market = chain.account(0), chain.account(MARKET).address
    receipt = Contract(chain, "ERC721Factory", contracts["ERC721Factory"]).send(
        publisher,
        "createNftWithErc20WithDispenser",
        ("for nothing", "NFT", 1, "", True, publisher.address),
        (
            template,
            ["free", "free"],
            [publisher.address, publisher.address, market, ZERO_ADDRESS],
            [10**23, 0],
            [],
        ),
        (contracts["Dispenser"], ETHER, ETHER, True, ZERO_ADDRESS),
    )
    return Sold(datatoken=_created(receipt), base="", exchange_id=b"")


def _created(receipt: dict[str, Any]) -> Address:
    (made,) = [log for log in receipt["logs"] if log["topics"][0] == _TOKEN_CREATED]
    return Address("0x" + made["topics"][1][-40:])


@dataclass
class PaidProvider(FakeProvider):
    """A Provider whose time costs `minute_wei` of a token; the fee goes into the first order."""

    minute_wei: int = MINUTE_WEI
    token: Address = field(kw_only=True)
    clock: Clock = field(kw_only=True)

    def needs(self, *, request: StartRequest, consumer: Address, valid_until: int) -> tuple[OrderNeed, ...]:
        """Say what a Provider says: the first part pays for the time, if it has to be ordered at all."""
        plain = super().needs(request=request, consumer=consumer, valid_until=valid_until)
        amount = self.price_until(valid_until) if request.environment_id == PAID else 0
        return tuple(
            need
            if need.fee is None
            else replace(
                need,
                fee=signed_fee(
                    amount_wei=amount if place == 0 else 0, valid_until=valid_until, token=self.token
                ),
            )
            for place, need in enumerate(plain)
        )

    def price_until(self, valid_until: int) -> int:
        """Return the price from now on. Source: provider-v4 recording 60."""
        return int(valid_until - self.clock().timestamp()) * self.minute_wei // 60

    def accept(self, request: StartRequest, **given: Any) -> JobReport:
        """Take a job in whose time is paid for in one of its orders. Source: provider-v4 recording 63."""
        if request.environment_id != PAID:
            return super().accept(request, **given)
        fees = [fee_in(self.deployed, part.order) for part in published(request)]
        until = max(valid_until for _, valid_until in fees)
        if until <= self.clock().timestamp() or not any(
            self.price_until(until) <= amount for amount, _ in fees
        ):
            raise refused("fees_not_paid")
        return super().accept(request, **given)


def fee_in(deployed: Deployed, tx_hash: str) -> tuple[int, int]:
    """Return the service's fee in an order, and until when it counts."""
    receipt = parse_receipt(deployed.chain.rpc("eth_getTransactionReceipt", [tx_hash]))
    assert receipt is not None
    (fee,) = [log for log in receipt.logs if "0x" + log.topics[0].hex() == PROVIDER_FEE]
    return int.from_bytes(fee.data[:32], "big"), int.from_bytes(fee.data[5 * 32 : 6 * 32], "big")


@dataclass
class PaidNode(FakeProvider):
    """An Ocean Node that wants orders without fees, and locks its price in the real Escrow when it starts a job.

    asks: changes what it asks to be paid, for one that lies.
    """

    clock: Clock = field(kw_only=True)
    consumer: Address = field(kw_only=True)
    asks: dict[str, Any] = field(default_factory=dict)
    capabilities = CAPABILITIES["ocean-node"]

    @property
    def escrow(self) -> ChainEscrow:
        """The Escrow, as the payee that this node is."""
        return ChainEscrow(
            chain=self.deployed.chain,
            address=self.deployed.contracts["Escrow"],
            account=Account.from_key(PROVIDER_KEY),
        )

    def initialize(
        self, *, request: StartRequest, consumer: Address, payer: Address, valid_until: int
    ) -> Needs:
        """Say what each part needs, and what is to be in the escrow."""
        said: Needs = self._answer(
            "initialize",
            lambda: self.all_needs(request=request, consumer=consumer),
            request=request,
            consumer=consumer,
            payer=payer,
        )
        return said

    def all_needs(self, *, request: StartRequest, consumer: Address, **_: Any) -> Needs:
        """Say what an honest node does; its fees have no end."""
        if request.payment is None:
            return Needs()
        need = PaymentNeed(
            escrow=Address(self.deployed.contracts["Escrow"]),
            payee=PROVIDER,
            chain_id=8996,
            token=request.payment.token,
            amount_wei=Wei(self.price(request)),
            min_lock_s=self.lock_s(request),
        )
        return Needs(
            orders=self.needs(request=request, consumer=consumer, valid_until=0),
            payment=replace(need, **self.asks),
        )

    def price(self, request: StartRequest) -> int:
        """Return what a job may cost at the most, in wei. Source: recording 31."""
        assert request.payment is not None
        tariff = self.tariff(request.payment.token)
        wanted = {"cpu": 1.0, "ram": 1.0} | dict(request.resources or ())
        return tariff.in_wei(tariff.cost(resources=wanted, duration_s=request.max_duration_s or 3600))

    def tariff(self, token: Address) -> FeeToken:
        """Return what it charges in a token."""
        (name,) = [name for name in NODE_PRICES if self.deployed.contracts[name] == token]
        return FeeToken(address=str(token), decimals=18 if name == OCEAN else 6, prices=NODE_PRICES[name])

    @staticmethod
    def lock_s(request: StartRequest) -> int:
        """Return for how long it locks."""
        return lock_s(duration_s=request.max_duration_s or 3600, queue_wait_s=request.queue_wait_s or 0)

    def accept(self, request: StartRequest, **_: Any) -> JobReport:
        """Take a job in: check its orders, lock its price, and list it."""
        for part in published(request):
            if not part.order:
                raise refused("order_missing")
            if not self.order_behind(part.order, datatoken=self.datatokens[part.did], consumer=self.consumer)[
                0
            ]:
                raise refused("order_invalid")
        job_id = f"0x{len(self.jobs) + 1:064x}"
        lock_tx = self._lock(request, job_id=job_id) if request.payment else None
        report = JobReport.model_validate(
            {
                "job_id": job_id,
                "long_id": f"0x60962e6d-{job_id}",
                "owner": OWNER,
                "environment_id": builders.RAW_ENVIRONMENT["id"],
                "status": 10,
                "statusText": "Pulling algorithm image",
                "metadata": {"tag": request.tag},
                "jobIdHash": f"0x{job_number(job_id):x}",
                "payment": {
                    "chainId": 8996,
                    "token": str(request.payment.token),
                    "lockTx": lock_tx,
                    "claimTx": "",
                    "cancelTx": "",
                    "cost": 0,
                }
                if request.payment
                else None,
            }
        )
        self.jobs.append(report)
        self.started_with.append(published(request)[0].order)
        return report

    def _lock(self, request: StartRequest, *, job_id: str) -> str:
        """Lock as the contract lets it. Source of the codes: recording 31 and 35."""
        assert request.payment is not None
        token, amount, seconds = str(request.payment.token), self.price(request), self.lock_s(request)
        if self.escrow.available_wei(payer=str(OWNER), token=token) < amount:
            raise refused("escrow_funds")
        if not self.escrow.authorizations(payer=str(OWNER), token=token):
            raise refused("escrow_auth")
        try:
            return self.escrow.create(
                job=job_number(job_id), payer=str(OWNER), token=token, amount_wei=amount, seconds=seconds
            )
        except RpcError:
            raise refused("escrow_limit") from None

    def claim(self, job: Job, *, amount_wei: int) -> str:
        """End a job: take a part of what was locked for it, give back the rest."""
        number = int(str(job.lock_id))
        (lock,) = [lock for lock in self.escrow.locks() if lock.job == number]
        return self.escrow.claim(lock=lock, amount_wei=amount_wei, proof="")


@dataclass(repr=False)
class Tollhouse(Quay):
    """A team's place at a paid service, with tokens in the wallet, and limits for them."""

    sold: dict[str, Sold] = field(default_factory=dict)

    @property
    def ocean(self) -> Address:
        """The token with 18 decimals."""
        return Address(self.deployed.contracts[OCEAN])

    @property
    def dollars(self) -> Address:
        """The token with 6 decimals."""
        return Address(self.deployed.contracts[DOLLARS])

    @property
    def is_node(self) -> bool:
        """Whether the service is a node."""
        return self.node.dialect == Node.Dialect.OCEAN_NODE

    def for_sale(self, token: str, *, kind: str = Asset.Kind.DATASET, **values: Any) -> Asset:
        """Make a catalogue entry whose datatoken is sold."""
        datatoken = self.sold[token].datatoken
        asset = builders.make_asset(team=self.team, node=self.node, kind=kind, **values)
        asset.services[0]["datatoken"] = str(datatoken)
        asset.save()
        self.far.datatokens[asset.did] = datatoken
        return asset

    def paid(self, **values: Any) -> Job:
        """Make a job whose time is paid for, and whose launcher agreed to anything."""
        agreed = {str(self.ocean): str(10**30), str(self.dollars): str(10**30)}
        defaults: dict[str, Any] = {
            "free": False,
            "payment_token": str(self.ocean),
            "max_duration_s": 600,
            "most": agreed,
            "own_algorithm": {"code": "1", "language": "python"},
        }
        return self.job(**(defaults | values))

    def limit(self, token: Address, amount_wei: int, *, wallet: Wallet | None = None) -> None:
        """Let a job spend so much of a token."""
        decimals, symbol = (18, "OCEAN") if token == self.ocean else (6, "USDC")
        row, _ = Token.objects.get_or_create(
            network=self.network, address=token, defaults={"symbol": symbol, "decimals": decimals}
        )
        SpendingLimit.objects.update_or_create(
            wallet=wallet or self.wallet,
            token=row,
            defaults={"per_job_wei": amount_wei, "set_at": builders.NOW},
        )

    def asked(self, job: Job) -> tuple[Wish, Asked]:
        """Ask the service what a job needs."""
        wish = asking.wish_of(job, request=start_request(job))
        with gateway.open_node(node=self.node, purpose=Purpose.ACT, clock=self.clock) as backend:
            return wish, asking.ask_service(wish=wish, backend=backend, now=self.clock())

    def outlay(self, job: Job) -> Outlay:
        """Work out what a job takes."""
        wish, asked = self.asked(job)
        with gateway.open_chain(network=self.network) as chain:
            return outlays.work_out(wish=wish, asked=asked, chain=chain)

    # The chain, as another program sees it.

    def fund(self, token: str, amount_wei: int) -> None:
        """Give the wallet tokens."""
        mint(self.chain, self.deployed.contracts, token, str(OWNER), amount_wei)

    def holds(self, token: Address, owner: str = str(OWNER)) -> int:
        """How much of a token somebody has."""
        return int(Contract(self.chain, "ERC20Template", str(token)).call("balanceOf", owner))

    def allowed(self, token: Address, spender: str) -> int:
        """How much of a token a contract may draw from the wallet."""
        contract = Contract(self.chain, "ERC20Template", str(token))
        return int(contract.call("allowance", str(OWNER), spender))

    def in_escrow(self, token: Address) -> tuple[int, int]:
        """What the wallet has in the escrow: available, and locked."""
        contract = Contract(self.chain, "Escrow", self.deployed.contracts["Escrow"])
        available, locked = contract.call("getUserFunds", str(OWNER), str(token))
        return int(available), int(locked)

    def authorized(self, token: Address) -> tuple[int, int, int, int, int] | None:
        """What the node may lock: amount, of it locked, seconds, locks, of them there."""
        contract = Contract(self.chain, "Escrow", self.deployed.contracts["Escrow"])
        found = contract.call("getAuthorizations", str(token), str(OWNER), str(PROVIDER))
        return tuple(int(value) for value in found[0][1:]) if found else None  # type: ignore[return-value]

    def act(self, call: Call) -> None:
        """Let another program send a call of the wallet's, mined at once."""
        self.elsewhere(call, gas=400_000)

    def transfer(self, token: Address, amount_wei: int) -> None:
        """Let another program send the wallet's tokens away."""
        data = encode_call("transfer(address,uint256)", STRANGER, amount_wei)
        self.act(Call(to=token, data=data))

    def give_sold(self, name: str) -> None:
        """Let the publisher give the wallet a datatoken that others buy."""
        contract = Contract(self.chain, "ERC20Template", str(self.sold[name].datatoken))
        contract.send(self.chain.account(0), "mint", str(OWNER), ETHER)

    def sell_again(self, name: str) -> str:
        """Publish another datatoken for the same token; return its name."""
        again = f"{name} again"
        base = self.sold[name].base
        sold = _sell(self.deployed, base=base, decimals=18, rate_wei=5 * ETHER // 2, market_fee=0)
        self.sold = {**self.sold, again: sold}
        return again

    def publish_with_order(self, name: str) -> None:
        """Publish a datatoken of template 2, at the price of the other one of that name; "free" is given away."""
        if name == "free":
            made = _give_away(self.deployed, template=2)
        else:
            known = self.sold[name]
            decimals, rate, fee = (
                (18, 5 * ETHER // 2, 0) if known.base == OCEAN else (6, 3 * ETHER, ETHER // 100)
            )
            made = _sell(
                self.deployed,
                base=known.base,
                decimals=decimals,
                rate_wei=rate,
                market_fee=fee,
                template=2,
            )
        self.sold = {**self.sold, name: made}

    def set_rate(self, name: str, rate_wei: int) -> None:
        """Change what a datatoken is sold for."""
        exchange = Contract(self.chain, "FixedRateExchange", self.deployed.contracts["FixedPrice"])
        exchange.send(self.chain.account(0), "setRate", self.sold[name].exchange_id, rate_wei)

    def set_market_fee(self, name: str, fee: int) -> None:
        """Change what the market takes of a sale, in parts of 10**18."""
        exchange = Contract(self.chain, "FixedRateExchange", self.deployed.contracts["FixedPrice"])
        exchange.send(self.chain.account(MARKET), "updateMarketFee", self.sold[name].exchange_id, fee)

    def set_order_fee(self, name: str, *, token: Address, amount_wei: int) -> None:
        """Change what the market takes for each order."""
        contract = Contract(self.chain, "ERC20Template", str(self.sold[name].datatoken))
        market = self.chain.account(MARKET)
        contract.send(market, "setPublishingMarketFee", market.address, str(token), amount_wei)


def make_tollhouse(
    *, team: Team, deployed: Deployed, sold: dict[str, Sold], clock: Clock, dialect: str
) -> Tollhouse:
    """Make a paid service's rows beside a chain, with a wallet that has gas, 1,000 Ocean and 1,000 dollars."""
    network = builders.make_network(
        rpc_url=RPC_URL, allow_private=True, contracts=dict(deployed.contracts), max_gas_wei=ETHER
    )
    ocean, dollars = Address(deployed.contracts[OCEAN]), Address(deployed.contracts[DOLLARS])
    values: dict[str, Any] = {
        "network": network,
        "provider_address": str(PROVIDER),
        "requests_per_minute": 10_000,
    }
    far: Any
    if dialect == Node.Dialect.PROVIDER:
        node = builders.make_provider_node(**values)
        raw = {
            **builders.RAW_PROVIDER_ENVIRONMENT,
            "id": PAID,
            "priceMin": 0.1,
            "feeToken": str(ocean),
            "maxJobDuration": "86400",
        }
        environment = builders.make_environment(node=node, env_id=PAID, raw=raw, has_free_tier=False)
        far = PaidProvider(deployed=deployed, token=ocean, clock=clock)
    else:
        node = builders.make_node(**values)
        fees = [
            {
                "feeToken": str(token),
                "prices": [{"id": name, "price": price} for name, price in NODE_PRICES[called]],
            }
            for called, token in ((OCEAN, ocean), (DOLLARS, dollars))
        ]
        raw = {**builders.RAW_ENVIRONMENT, "fees": {"8996": fees}}
        environment = builders.make_environment(node=node, raw=raw)
        far = PaidNode(deployed=deployed, clock=clock, consumer=Address(raw["consumerAddress"]))
    place = Tollhouse(
        team=team,
        network=network,
        node=node,
        environment=environment,
        wallet=builders.granted(builders.make_wallet(team=team)),
        dataset=None,  # type: ignore[arg-type]  # made below: an asset needs the place
        algorithm=None,  # type: ignore[arg-type]
        far=far,
        wire=ChainWire(deployed.chain),
        deployed=deployed,
        clock=clock,
        sold=sold,
    )
    place.dataset = place.asset("dataset")
    place.algorithm = place.asset("algorithm", kind=Asset.Kind.ALGORITHM)
    place.fund(OCEAN, 1_000 * ETHER)
    place.fund(DOLLARS, 1_000 * MILLION)
    for token in (ocean, dollars):
        place.limit(token, 10**30)
    return place
