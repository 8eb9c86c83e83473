"""The whole sandbox in one process: chain, published demo assets, node, Provider, Aquarius."""

import fcntl
import functools
import json
import os
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ocean_portal.sandbox import contracts, rpc
from ocean_portal.sandbox.chain import Chain
from ocean_portal.sandbox.demo.assets import ASSETS, Asset, located, offline_ddo
from ocean_portal.sandbox.engine import Engine, Pace
from ocean_portal.sandbox.environment import CHAIN_ID, PROVIDER_ADDRESS, Environment, stable_id
from ocean_portal.sandbox.escrow import ChainEscrow
from ocean_portal.sandbox.files import Files
from ocean_portal.sandbox.node import Node
from ocean_portal.sandbox.nodefees import FeeSigner
from ocean_portal.sandbox.nodeorders import ChainLedger, OrderDesk
from ocean_portal.sandbox.nodepaid import Till
from ocean_portal.sandbox.nodesettling import EscrowCashier
from ocean_portal.sandbox.nodework import NodeWork
from ocean_portal.sandbox.prices import DOLLAR_PRICES, OCEAN_PRICES, FeeToken
from ocean_portal.sandbox.provider.assembly import ProviderNetwork
from ocean_portal.sandbox.publish import publish_asset
from ocean_portal.sandbox.sealing import Seal
from ocean_portal.sandbox.server import NodeServer
from ocean_portal.sandbox.store import Store
from ocean_portal.sandbox.wsgi import Call, Reply, WsgiServer

HOST = "127.0.0.1"
# Number 1 of the public development mnemonic: its key is in every Ethereum tutorial.
DEMO_ADDRESS = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
DEMO_KEY = "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d"
DEMO_DOLLARS = 10_000 * 10**6  # in the smallest units of a token with 6 decimals
# What a recorded node takes fees in, for a sandbox without a chain of its own.
OFFLINE_FEE_TOKEN = "0x5FbDB2315678afecb367f032d93F642f64180aa3"  # noqa: S105 - an address


NODE_ACCOUNT = 9  # of the development accounts; its address is the node's


class PortTaken(Exception):
    """Names the port that somebody else listens on, and the option to choose another."""


class StateTaken(Exception):
    """Another sandbox works on the same state folder."""


@dataclass(frozen=True)
class Options:
    """How to run: ports (0: the last one again, or any), pace in seconds, requests per minute and client.

    allow_files_from: hosts that files may be fetched from, besides the loopback.
    """

    state: Path
    node_port: int = 8001
    chain_port: int = 8545
    provider_port: int = 8002
    aquarius_port: int = 8003
    chain: bool = True
    step_s: float = 2.0
    rate_limit: int = 30
    settle_s: float = 3600.0
    storage_expiry_s: int = 604800
    allow_files_from: tuple[str, ...] = ()


class Network:
    """An open sandbox; close it to end its threads and algorithms."""

    def __init__(self, *, options: Options, say: Callable[[str], None]) -> None:
        """Open or create the state folder, deploy and publish what is missing, and serve.

        Raises PortTaken or StateTaken.
        """
        self._options = options
        self._say = say
        options.state.mkdir(parents=True, exist_ok=True)
        self._guard = _guard(options.state)
        self._info_path = options.state / "sandbox.json"
        self._info_path.unlink(missing_ok=True)
        self.store = Store(path=options.state / "node.sqlite3")
        self.chain: Chain | None = None
        self._rpc: Any = None
        self._addresses: dict[str, Any] = {}
        if options.chain:
            self._open_chain()
        self.seal = Seal(key=bytes.fromhex(self._once("seal_key", lambda: secrets.token_hex(32))))
        self._environment = self._describe_environment()
        self._till = self._open_till()
        self._files = Files(open_asset=self._open_asset, allowed_hosts=options.allow_files_from)
        self.engine = Engine(
            store=self.store,
            folder=options.state,
            work=NodeWork(environment=self._environment, files=self._files),
            pace=Pace(step_s=options.step_s, settle_s=options.settle_s),
            cashier=EscrowCashier(escrow=self._till.escrow, environment=self._environment)
            if self._till is not None
            else None,
        )
        self.second = self._second_dialect()
        self.server = self._bind_node()
        self.node_url = f"http://{HOST}:{self.server.port}"
        self._more_servers = self._bind_second()
        self._publish()
        self._open()
        self.info = self._describe()
        _write(path=self._info_path, value=self.info)

    def close(self) -> None:
        """Stop serving, end the algorithms, and let go of the state folder; within about two seconds."""
        self._info_path.unlink(missing_ok=True)
        for server in (self.server, *self._more_servers.values()):
            server.shutdown()
            server.server_close()
        self.engine.close()
        if self.second is not None:
            self.second.close()
        if self._rpc is not None:
            self._rpc.shutdown()
        if self.chain is not None:
            self.chain.close()
        self.store.close()
        self._guard.close()

    def _once(self, name: str, make: Callable[[], Any]) -> Any:
        """Return the remembered fact, making it at the first start."""
        value = self.store.fact(name=name)
        if value is None:
            value = make()
            self.store.remember(name=name, value=value)
        return value

    def _open_chain(self) -> None:
        chain = self.chain = Chain(self._options.state)
        self._addresses = self._once("contracts", lambda: dict(contracts.deploy(chain)))
        self._rpc = self._bind(
            "chain", lambda port: rpc.serve(chain, host=HOST, port=port), self._options.chain_port
        )
        self._once("demo_dollars", lambda: self._give_dollars(chain))
        self._say(f"Dev chain      http://{HOST}:{self._rpc.port} (chain id {CHAIN_ID})")

    def _give_dollars(self, chain: Chain) -> str:
        """Give the demo account dollars; ether and Ocean tokens it has from the beginning, as all accounts."""
        receipt = contracts.mint(chain, self._addresses, "MockUSDC", DEMO_ADDRESS, DEMO_DOLLARS)
        return str(receipt["transactionHash"])

    def _open_till(self) -> Till | None:
        """Let the node take money; without a chain it cannot."""
        if self.chain is None:
            return None
        account = self.chain.account(NODE_ACCOUNT)
        return Till(
            escrow=ChainEscrow(chain=self.chain, address=self._addresses["Escrow"], account=account),
            orders=OrderDesk(
                ledger=ChainLedger(chain=self.chain),
                consumer=PROVIDER_ADDRESS,
                provider=account.address,
                now=time.time,
            ),
            fees=FeeSigner(account=account, token=self._addresses["Ocean"]),
        )

    def _bind_node(self) -> NodeServer:
        self._node = Node(
            store=self.store,
            engine=self.engine,
            environment=self._environment,
            files=self._files,
            till=self._till,
        )
        server: NodeServer = self._bind(
            "node",
            lambda port: NodeServer(
                node=self._node, store=self.store, host=HOST, port=port, rate_limit=self._options.rate_limit
            ),
            self._options.node_port,
        )
        return server

    def _second_dialect(self) -> ProviderNetwork | None:
        """Put a Provider and an Aquarius around the chain; without a chain there are none."""
        if self.chain is None:
            return None
        return ProviderNetwork(
            chain=self.chain,
            contracts=self._addresses,
            store=self.store,
            folder=self._options.state,
            files=self._files,
            pace=Pace(step_s=self._options.step_s),
        )

    def _bind_second(self) -> dict[str, WsgiServer]:
        """Listen for Provider, which closes each connection, and Aquarius, which keeps them."""
        second = self.second
        if second is None:
            return {}
        wanted = {
            "provider": (second.parts.provider.answer, self._options.provider_port, False),
            "aquarius": (second.aquarius.answer, self._options.aquarius_port, True),
        }
        return {
            name: self._bind(name, functools.partial(self._listen, answer, keeps_open), port)
            for name, (answer, port, keeps_open) in wanted.items()
        }

    def _listen(self, answer: Callable[[Call], Reply], keeps_open: bool, port: int) -> WsgiServer:
        return WsgiServer(answer=answer, store=self.store, host=HOST, port=port, keeps_open=keeps_open)

    def _url(self, name: str) -> str | None:
        server = self._more_servers.get(name)
        return f"http://{HOST}:{server.port}" if server is not None else None

    def _open(self) -> None:
        """Take up what the last process left, and serve."""
        self._node.recover()
        self.engine.open()
        self.server.start()
        self._say(f"Ocean Node     {self.node_url}")
        if self.second is not None:
            self.second.open()
        for name, server in self._more_servers.items():
            server.start()
            self._say(f"{name.capitalize():<14} {self._url(name)}")

    def _bind(self, name: str, listen: Callable[[int], Any], wanted: int) -> Any:
        """Listen on the wanted port; 0 means the port of the last start if it is free, else any."""
        for port in [wanted] if wanted else [self.store.fact(name=f"{name}_port") or 0, 0]:
            try:
                server = listen(port)
            except OSError as error:
                if wanted:
                    raise PortTaken(
                        f"Port {wanted} on {HOST} is taken ({error.strerror})."
                        f" Choose another one with --{name}-port."
                    ) from error
                continue
            self.store.remember(name=f"{name}_port", value=server.port)
            return server
        raise PortTaken(f"No port is free on {HOST} for the {name}.")

    def _describe_environment(self) -> Environment:
        seed = self._once("engine_seed", lambda: secrets.token_hex(16))
        ocean = FeeToken(self._addresses.get("Ocean", OFFLINE_FEE_TOKEN), 18, OCEAN_PRICES)
        dollars = self._addresses.get("MockUSDC")
        return Environment(
            engine_id=stable_id(text=f"engine {seed}"),
            environment_id=stable_id(text=f"environment {seed}"),
            fees=(ocean, FeeToken(dollars, 6, DOLLAR_PRICES)) if dollars else (ocean,),
            storage_expiry_s=self._options.storage_expiry_s,
        )

    def _publish(self) -> None:
        """Publish each demo asset that the store does not know yet, and bring moved addresses up to date."""
        known = self.store.ddos()
        for asset in ASSETS:
            if asset.price_wei is not None and self.chain is None:
                continue  # nobody could pay
            ddo = known.get(asset.name) or self._publish_one(asset)
            for service in ddo["services"]:
                service["serviceEndpoint"] = self.node_url
            self.store.put_ddo(name=asset.name, ddo=ddo)
            self._say(f"{asset.kind.capitalize():<14} {asset.name}  {ddo['id']}")
        self._v4_documents: dict[str, dict[str, Any]] = {}
        if self.second is not None:
            self._v4_documents = self.second.publish(endpoint=str(self._url("provider")))
        for name, ddo in self._v4_documents.items():
            self._say(f"{ddo['metadata']['type'].capitalize():<14} {name}  {ddo['id']}")

    def _publish_one(self, asset: Asset) -> dict[str, Any]:
        first, *others = asset.services(endpoint=self.node_url)
        ddo = self._publish_first(asset, first)
        for service in others:  # it shares the datatoken, and stands in the node's index only
            ddo["services"].append(ddo["services"][0] | {"id": service["id"], "type": service["type"]})
            del ddo["services"][-1]["compute"]
        return ddo

    def _publish_first(self, asset: Asset, service: dict[str, Any]) -> dict[str, Any]:
        if self.chain is None:
            return offline_ddo(asset=asset, service=service, seal=self.seal.close_up, chain_id=CHAIN_ID)
        return publish_asset(
            self.chain,
            self._addresses,
            publisher_key_or_index=0,
            name=asset.name,
            symbol=asset.symbol,
            kind=asset.kind,
            metadata=asset.metadata(),
            service=service,
            seal_files=self.seal.close_up,
            price=asset.price_wei,
        ).ddo

    def _open_asset(self, did: str, service_id: str) -> list[dict[str, Any]]:
        """Return the files behind a service; ValueError when there is no such service."""
        ddo = self.store.ddo(did=did) or {"services": []}
        for service in ddo["services"]:
            if service["id"] == service_id:
                return [located(file) for file in self.seal.open_up(service["files"])["files"]]
        raise ValueError(f"no service {service_id} in {did}")

    def _price_of(self, asset: Asset) -> dict[str, str | None]:
        """Say what one access costs: wei as text, and of which token; a free one costs "0" of none."""
        if asset.price_wei is None:
            return {"price": "0", "token": None}
        return {"price": str(asset.price_wei), "token": self._addresses["Ocean"]}

    def _describe(self) -> dict[str, Any]:
        assets = {
            name: {
                "did": ddo["id"],
                "kind": ddo["metadata"]["type"],
                "service_id": ddo["services"][0]["id"],
                "dialect": dialect,
                **self._price_of(asset),
            }
            for dialect, ddos in (("ocean-node", self.store.ddos()), ("provider-v4", self._v4_documents))
            for name, ddo in ddos.items()
            for asset in ASSETS
            if name in (asset.name, asset.v4_name)
        }
        provider = (
            {
                "address": self.second.account.address,
                "environments": [item.id for item in self.second.parts.environments],
            }
            if self.second is not None
            else None
        )
        return {
            "pid": os.getpid(),
            "started_at": time.time(),
            "chain_id": CHAIN_ID,
            "rpc_url": f"http://{HOST}:{self._rpc.port}" if self._rpc is not None else None,
            "node_url": self.node_url,
            "provider_url": self._url("provider"),
            "aquarius_url": self._url("aquarius"),
            "provider": provider,
            "rate_limit": self._options.rate_limit,
            "environment": self._environment.id,
            "contracts": self._addresses,
            "assets": assets,
            "account": {
                "address": DEMO_ADDRESS,
                "private_key": DEMO_KEY,
                "note": "a publicly known development key: never use it outside of a sandbox",
            },
        }


def _guard(state: Path) -> IO[str]:
    handle = (state / "sandbox.lock").open("w")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        handle.close()
        raise StateTaken(
            f"Another sandbox is running on {state}. Stop it, or choose another folder with --state."
        ) from error
    return handle


def _write(*, path: Path, value: object) -> None:
    """Write JSON so that a reader sees all of it or nothing."""
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps(value, indent=2) + "\n")
    draft.replace(path)
