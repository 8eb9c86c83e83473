"""A portal with a real worker, and a network between it and everything that behaves as its weather says."""

import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random
from typing import Self

from tests.chaos.proxy import Proxy
from tests.chaos.weather import Trouble, Weather
from tests.sandbox.journey.ledger import Ledger
from tests.sandbox.journey.portal import Portal, wait_for
from tests.sandbox.running import running_sandbox

STEP_S, SETTLE_S = 0.05, 0.2
WORKERS = "6"
CONFIRMATIONS = 2
REQUESTS_PER_MINUTE = 3_000  # more than are made: budgets are no weather
WEATHER = {
    "chain": Weather.mixed(0.12, delay_s=(0.02, 0.4)),
    "node": Weather.mixed(0.32, delay_s=(0.05, 0.8)),
    "provider": Weather.mixed(0.24, delay_s=(0.05, 0.8)),
    "aquarius": Weather.mixed(0.24, delay_s=(0.05, 0.8)),
}
GO_ON_MAX = 2
OPEN = "SELECT id, state FROM jobs_job WHERE state NOT IN ('SUCCEEDED', 'FAILED', 'CANCELLED')"
# What is still to come of jobs that have ended: transactions, what nodes take, files.
LEFT = (
    "SELECT 1 FROM jobs_transaction WHERE status IN ('prepared', 'sent')",
    "SELECT 1 FROM jobs_job WHERE escrow_need IS NOT NULL AND accepted_at IS NOT NULL AND settled_at IS NULL",
    "SELECT 1 FROM jobs_result WHERE next_try_at IS NOT NULL",
)


class Miner:
    """Makes blocks at seeded moments: now and then none for a while, and then several transactions in one."""

    def __init__(self, *, ledger: Ledger, seed: int) -> None:
        self._ledger, self._random = ledger, Random(seed)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._ended.wait(self._random.uniform(0.1, 0.7)):
            self._ledger.ask("evm_setAutomine", self._random.random() < 0.4)
            self._ledger.ask("evm_mine")
        self._ledger.ask("evm_setAutomine", True)


class Storm:
    """A portal whose nodes and chain are behind proxies; `report` is for the message of a test that fails."""

    def __init__(self, *, portal: Portal, proxies: dict[str, Proxy], seed: int) -> None:
        self.portal, self.box = portal, portal.box
        self.ledger = Ledger(portal.box.rpc_url)
        self.seed = seed
        self.forgotten = 0
        self._proxies = proxies
        self._went_on: dict[str, int] = {}

    @property
    def was_bad(self) -> bool:
        """Whether something has befallen what was said to the chain, the node and the Provider, each of them."""
        return all(
            proxy.counts.total() > proxy.counts[Trouble.NONE]
            for name, proxy in self._proxies.items()
            if name != "aquarius"  # asked only where a start was refused
        )

    def _begin(self) -> None:
        """Put the proxies in the way, and start the worker.

        The nodes keep the addresses that their assets name, for whoever launches: those are compared, and not called.
        """
        for name, url in (("Sandbox node", "node"), ("Sandbox provider (v4)", "provider")):
            self.portal.write(
                "UPDATE jobs_node SET base_url = ?, requests_per_minute = ? WHERE name = ?",
                *(self._proxies[url].url, REQUESTS_PER_MINUTE, name),
            )
        aquarius = self._proxies["aquarius"].url
        self.portal.write("UPDATE jobs_node SET metadata_url = ? WHERE metadata_url <> ''", aquarius)
        self.portal.write(
            "UPDATE jobs_network SET rpc_url = ?, confirmations = ?",
            *(self._proxies["chain"].url, CONFIRMATIONS),
        )
        self.portal.environment["PORTAL_WORKERS"] = WORKERS
        self.portal.start_worker(python=(sys.executable, "-m", "tests.chaos.quick"))

    def _forget_a_block(self) -> int:
        """Have the chain forget the first block with the portal's transactions; return how many were in it.

        They wait again afterwards, as after a real reorganisation. No node has anything in that block: no job has been
        started before a second block stands upon it.
        """
        self.ledger.ask("evm_setAutomine", False)
        wait_for(lambda: self._waiting() >= 2, "transactions that wait for a block")
        snapshot = self.ledger.ask("evm_snapshot")
        self.ledger.ask("evm_mine")
        mined = len(self.ledger.ask("eth_getBlockByNumber", "latest", False)["transactions"])
        time.sleep(1)  # the portal looks at it, and may believe nothing yet
        assert self.ledger.ask("evm_revert", snapshot)
        return mined

    def _waiting(self) -> int:
        return len(self.ledger.ask("eth_getBlockByNumber", "pending", False)["transactions"])

    def blow(self, *, for_s: float) -> None:
        """Start the worker in bad weather; it turns calm after a while, or when every job has ended."""
        self._begin()
        self.forgotten = self._forget_a_block()
        deadline = time.monotonic() + for_s
        with Miner(ledger=self.ledger, seed=self.seed):
            while time.monotonic() < deadline and self.portal.rows(OPEN):
                self._decide()
                time.sleep(0.5)
        for proxy in self._proxies.values():
            proxy.calm()

    def settle(self, *, within_s: float) -> None:
        """Wait until every job has ended and nothing is left to be done for any; a block comes now and then."""

        def settled() -> bool:
            self._decide()
            self.ledger.ask("evm_mine")
            time.sleep(0.5)
            return not self.portal.rows(OPEN) and not any(self.portal.rows(sql) for sql in LEFT)

        wait_for(settled, "the end of every job", within_s=within_s)

    def _decide(self) -> None:
        """Be the person who is asked: go on twice with each job, then end it."""
        asked = [
            str(uuid.UUID(row["id"])) for row in self.portal.rows(OPEN) if row["state"] == "NEEDS_ATTENTION"
        ]
        if not asked:
            return
        steps = {}
        for job_id in asked:
            self._went_on[job_id] = self._went_on.get(job_id, 0) + 1
            steps[job_id] = "go_on" if self._went_on[job_id] <= GO_ON_MAX else "give_up"
        self.portal.call(
            f"for job_id, step in {steps!r}.items():\n"
            "    getattr(launching, step)(actor=actor, job_id=uuid.UUID(job_id), now=clock())\n"
        )

    def report(self) -> str:
        """Say what the weather did, how the jobs stand, and what the worker said at last."""
        jobs = self.portal.rows("SELECT id, name, state, reason, message, trouble FROM jobs_job")
        lines = [proxy.report() for proxy in self._proxies.values()]
        lines += [f"{uuid.UUID(row['id'])} {' | '.join(map(str, tuple(row)[1:]))}" for row in jobs]
        return "\n".join([f"seed {self.seed}", *lines, self.portal.worker_log()])


@contextmanager
def storm_over(folder: Path, *, seed: int) -> Iterator[Storm]:
    """Run a sandbox, proxies and a portal without a worker for the time of a with block; the weather waits."""
    with ExitStack() as stack:
        box = stack.enter_context(running_sandbox(folder / "sandbox", step=STEP_S, settle=SETTLE_S))
        urls = {
            "chain": box.rpc_url,
            "node": box.node_url,
            "provider": box.provider_url,
            "aquarius": box.aquarius_url,
        }
        proxies = {
            name: stack.enter_context(
                Proxy(upstream=urls[name], name=name, seed=seed + place, weather=weather)
            )
            for place, (name, weather) in enumerate(WEATHER.items())
        }
        portal = Portal(folder=folder / "var", box=box)
        stack.callback(portal.close)
        portal.set_up()
        yield Storm(portal=portal, proxies=proxies, seed=seed)
