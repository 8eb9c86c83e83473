"""A node in this process, with the ids of the recorded one, a clock that tests set, and a real port."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ocean_portal.sandbox.engine import Engine, Pace
from ocean_portal.sandbox.environment import Environment
from ocean_portal.sandbox.files import Files
from ocean_portal.sandbox.node import Node
from ocean_portal.sandbox.nodepaid import Till
from ocean_portal.sandbox.nodework import NodeWork
from ocean_portal.sandbox.prices import DOLLAR_PRICES, OCEAN_PRICES, FeeToken
from ocean_portal.sandbox.server import NodeServer
from ocean_portal.sandbox.store import Store
from tests.sandbox.client import Client
from tests.sandbox.recordings import ENGINE_ID, ENVIRONMENT_ID, recorded_container

# The recorded node's tokens. Source: recording 01, exchange 5.
FEES = (
    FeeToken("0x5FbDB2315678afecb367f032d93F642f64180aa3", 18, OCEAN_PRICES),
    FeeToken("0xB7f8BC63BbcaD18155201308C8f3540b07f84F5e", 6, DOLLAR_PRICES),
)


@dataclass
class Bench:
    """The node under test with everything around it within reach."""

    store: Store
    engine: Engine
    environment: Environment
    server: NodeServer
    now: float = 1795330733.126
    assets: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    def put_job(self, report: dict[str, Any], files: dict[str, bytes]) -> None:
        """Put a job into the store that looks like a recorded status answer, with its result files."""
        job_id = report["jobId"].rpartition("-")[2]
        details = report["terminationDetails"]
        self.store.add_job(
            job_id=job_id,
            owner=report["owner"],
            status=report["status"],
            spec={
                "algorithm": {
                    "meta": {"rawcode": "pass", "container": recorded_container()},
                    "envs": {"A": "1"},
                },
                "datasets": [],
                "resources": {item["id"]: item["amount"] for item in report["resources"]},
                "metadata": report["metadata"],
                "viewers": report["additionalViewers"],
                "queue_max_wait": report["queueMaxWaitTime"],
                "max_job_duration": report["maxJobDuration"],
            },
            now=float(report["dateCreated"]),
            payment=report["payment"],
        )
        self.store.change_job(
            job_id=job_id,
            finished_at=float(report["dateFinished"]) if report["dateFinished"] else None,
            algo_started_at=float(report["algoStartTimestamp"]) or None,
            algo_stopped_at=float(report["algoStopTimestamp"]) or None,
            exit_code=details["exitCode"],
            oom_killed=details["OOMKilled"],
            stop_requested=report["stopRequested"],
        )
        folder = self.engine.job_folder(job_id=job_id)
        (folder / "logs").mkdir(parents=True)
        for name, content in files.items():
            (folder / name if name == "outputs.tar" else folder / "logs" / name).write_bytes(content)


def make_bench(state: Path, *, rate_limit: int = 100_000, till: Till | None = None) -> Bench:
    """Open a node on a folder; close it with close_bench."""
    store = Store(path=state / "node.sqlite3")
    environment = Environment(
        engine_id=ENGINE_ID, environment_id=ENVIRONMENT_ID, fees=FEES, storage_expiry_s=604800
    )
    files = Files(open_asset=lambda did, service: made.assets[did])
    engine = Engine(
        store=store,
        folder=state,
        work=NodeWork(environment=environment, files=files),
        pace=Pace(step_s=0.05),
    )
    node = Node(
        store=store,
        engine=engine,
        environment=environment,
        files=files,
        till=till,
        now=lambda: made.now,
    )
    server = NodeServer(node=node, store=store, host="127.0.0.1", port=0, rate_limit=rate_limit)
    made = Bench(store=store, engine=engine, environment=environment, server=server)
    server.start()
    return made


def close_bench(bench: Bench) -> None:
    """Stop the node and its algorithms."""
    bench.server.shutdown()
    bench.server.server_close()
    bench.engine.close()
    bench.store.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = make_bench(tmp_path)
    yield bench
    close_bench(bench)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Bench]:
    """A bench whose engine works."""
    bench = make_bench(tmp_path)
    bench.engine.open()
    yield bench
    close_bench(bench)


@pytest.fixture
def client(running: Bench) -> Client:
    return Client(running.url)
