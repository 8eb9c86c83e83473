"""What was recorded of ocean.py against the real programs, done once more against a sandbox, act by act."""

import json
import re
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import groupby
from typing import Any

from tests.sandbox.oceanpy.library import Library, Refused
from tests.sandbox.taps import Asked, Notes
from tests.sandbox.v4recordings import FOLDER, scenarios

PUBLISHER = "0x5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a"  # number 2 of the mnemonic
DEADLINE_S = 30.0
WEI = 10**18
HOUR = 3600
NOBODYS = "did:op:" + "0" * 64
# Tells what it got, in the result and in the log, and lasts as long as it is told to.
MEANS = """
import json, os, time
from pathlib import Path
data = Path(os.environ["DATA_ROOT"])
said = json.loads((data / "inputs" / "algoCustomData.json").read_text() or "{}")
did = json.loads(os.environ["DIDS"])[0]
rows = (data / "inputs" / did / "0").read_text().splitlines()[1:]
(data / "outputs" / "result.json").write_text(json.dumps({"rows": len(rows), "said": said}))
(data / "outputs" / "summary.txt").write_text("means computed\\n")
print("computed", len(rows), "rows", flush=True)
time.sleep(said.get("seconds", 0))
"""
SLOW = "import time\nfor i in range(600):\n    print('line', i, flush=True)\n    time.sleep(0.1)\n"
FAILING = "import sys\nprint('about to fail')\nsys.exit(3)\n"
FILES = {"/rows.csv": "x0,x1\n1,2\n3,4\n5,6\n", "/means.py": MEANS}
OPEN = {
    "allowRawAlgorithm": True,
    "allowNetworkAccess": True,
    "publisherTrustedAlgorithms": [],
    "publisherTrustedAlgorithmPublishers": [],
}
ALGORITHMS = {
    "query": {"bool": {"filter": [{"term": {"chainId": 8996}}, {"match": {"metadata.type": "algorithm"}}]}},
    "from": 0,
    "size": 50,
}

LOOK = ("aquarius", "GET", "/api/aquarius/assets/ddo/<did>")

Way = list[tuple[str, str, str]]


@dataclass(frozen=True)
class Act:
    """One act: what it gave (or what the library threw), and what the servers were asked for it."""

    value: Any
    refused: Refused | None
    asked: tuple[Asked, ...]

    @property
    def way(self) -> Way:
        """Peer, method and path of each request to Provider and Aquarius."""
        return _plain((item.peer, item.method, item.path) for item in self.asked if item.peer != "chain")

    @property
    def rpc_calls(self) -> Counter[str]:
        """How often each JSON-RPC method was called."""
        return Counter(call for item in self.asked for call in item.calls)


@cache
def recording(scenario: str) -> dict[str, Any]:
    """Return a recorded scenario."""
    return dict(json.loads((FOLDER / f"{scenario}.json").read_text()))


def recorded_way(scenario: str) -> Way:
    """Return what the real programs were asked, in the form of Act.way."""
    found = scenarios()[scenario]
    return _plain((item.to, item.request["method"], item.request["path"]) for item in found)


def _plain(way: Iterable[tuple[str, str, str]]) -> Way:
    """Take the DIDs out of paths, and count once what is asked until the index has a document."""
    steps = ((to, method, re.sub("did:op:[0-9a-f]{64}", "<did>", path)) for to, method, path in way)
    runs = ((step, len(list(again))) for step, again in groupby(steps))
    return [step for step, times in runs for _ in range(1 if step == LOOK else times)]


class _Files(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        text = FILES.get(self.path)
        self.send_response(404 if text is None else 200)
        content = (text or "").encode()
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_HEAD(self) -> None:
        self.send_response(200 if self.path in FILES else 404)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Stay quiet."""


@contextmanager
def served_files() -> Iterator[str]:
    """Serve FILES for the time of a with block; give the URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Files)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


@dataclass
class Journey:
    """The acts so far, by the names of the recorded scenarios; files: where the test's own files are served."""

    library: Library
    notes: Notes
    files: str
    acts: dict[str, Act] = field(default_factory=dict)

    def do(self, scenario: str, call: str, **given: Any) -> Any:
        """Do what a recorded scenario did, and return what it gave. Raises Refused."""
        mark = len(self.notes.asked)
        value = self.library.call(call, **given)
        self.acts[scenario] = Act(value, None, self.notes.since(mark))
        return value

    def fail(self, scenario: str, call: str, **given: Any) -> None:
        """Do what should be refused."""
        mark = len(self.notes.asked)
        try:
            value = self.library.call(call, **given)
        except Refused as error:
            self.acts[scenario] = Act(None, error, self.notes.since(mark))
        else:
            raise AssertionError(f"{scenario}: was not refused, but gave {value}")

    def wait(self, dataset: str, job: str, *, until: int | None = None) -> dict[str, Any]:
        """Ask until a job has ended, or has come to a status."""
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            report = self.library.call("status", dataset=dataset, job=job)
            if report["status"] == until or report["dateFinished"] is not None:
                return dict(report)
            time.sleep(0.02)
        raise AssertionError(f"waited in vain; last seen: {report}")

    def publish(self) -> tuple[str, str, str]:
        """Publish a data set and the algorithm that it trusts, and one open to raw code; return their DIDs."""
        name = "Branin dataset"
        self.do("01-publish-dataset", "publish_dataset", name=name, url=f"{self.files}/rows.csv")
        self.do(
            "02-publish-algorithm",
            "publish_algorithm",
            name="Mean algorithm",
            url=f"{self.files}/means.py",
            price_wei=WEI,
        )
        dataset, algorithm = (
            self.acts[name].value["did"] for name in ("01-publish-dataset", "02-publish-algorithm")
        )
        self.do("03-update-dataset-trust-algorithm", "trust", dataset=dataset, algorithm=algorithm)
        open_dataset = self.do(
            "04-publish-dataset-raw-allowed",
            "publish_open_dataset",
            name="Open readings",
            url=f"{self.files}/rows.csv",
            compute=OPEN,
        )["did"]
        self.do("05-mint-datatokens", "mint", asset=open_dataset, tokens=5)
        return dataset, algorithm, open_dataset

    def find(self, dataset: str) -> dict[str, Any]:
        """Ask Aquarius for documents and Provider for environments; return the free one."""
        self.do("10-aquarius-resolve", "resolve", did=dataset)
        self.do("11-aquarius-resolve-unknown", "resolve", did=NOBODYS)
        self.do("12-aquarius-search", "search", text="branin")
        self.do("13-aquarius-query", "query", query=ALGORITHMS)
        self.do("20-c2d-environments", "environments")
        return dict(self.do("21-free-c2d-environment", "free_environment"))

    def run_published(self, dataset: str, algorithm: str, environment: dict[str, Any]) -> None:
        """Pay in the three ways, and run a job to its results, then another one with parameters."""
        self.do("22-buy-datatokens-dispenser", "dispense", asset=dataset, tokens=5)
        self.do("23-buy-datatokens-fixed-rate", "buy", asset=algorithm, tokens=2)
        terms: dict[str, Any] = {"environment": environment}
        inputs = {"dataset": {"did": dataset}, "algorithm": {"did": algorithm}}
        balances = [self._balances(dataset, algorithm)]
        for scenario, seconds in (
            ("30-pay-for-compute-service", 600),
            ("31-pay-again-reuses-order", 300),
            ("32-pay-again-longer-reuse-order", HOUR),
        ):
            orders = self.do(scenario, "pay", **inputs, **terms, seconds=seconds)
            inputs = {name: item | {"order": orders[name]} for name, item in inputs.items()}
            balances.append(self._balances(dataset, algorithm))
        self.acts["balances"] = Act(balances, None, ())
        job = self.do("40-compute-start", "start", **inputs, **terms)
        place = {"dataset": dataset, "job": job}
        self.do("41-compute-status-running", "status", **place)
        self.wait(dataset, job)
        results = self.do("42-compute-status-finished", "status", **place)["results"]
        for index, item in enumerate(results):
            self.do(f"43-compute-result-{index}-{item['type']}", "result", **place, index=index)
        self.do("44-compute-result-logs-output", "logs", **place, kind="output")
        self.do("45-compute-result-logs-algorithm", "logs", **place, kind="algorithmLog")
        job = self.do("46-compute-start-custom-data", "start", **inputs, **terms, custom={"rounds": 3})
        self.wait(dataset, job)
        self.do("result with custom data", "result", dataset=dataset, job=job, index=0)
        two = self.do("64-compute-start-two-datasets", "start", **inputs, **terms, more=[inputs["dataset"]])
        self.acts["status of the job with two"] = Act(self.wait(dataset, two), None, ())
        self.fail("81-status-unknown-job-oceanpy", "status", dataset=dataset, job="0" * 32)

    def run_raw(self, dataset: str, environment: dict[str, Any]) -> None:
        """Run code of one's own: one to be stopped, one that fails, and one whose order is for the wrong wallet."""
        terms: dict[str, Any] = {"environment": environment}
        slow, failing = {"code": SLOW}, {"code": FAILING}
        given = {"did": dataset}
        orders = self.do("50-pay-raw-algorithm", "pay", dataset=given, algorithm=slow, **terms, seconds=HOUR)
        ordered = given | {"order": orders["dataset"]}
        job = self.do("51-compute-start-raw", "start", dataset=ordered, algorithm=slow, **terms)
        self.wait(dataset, job, until=40)
        self.fail("82-start-agreement-in-use", "start", dataset=ordered, algorithm=slow, **terms)
        self.do("52-compute-stop", "stop", dataset=dataset, job=job)
        self.wait(dataset, job)
        report = self.do("53-compute-status-stopped", "status", dataset=dataset, job=job)
        self.do("log of the stopped job", "logs", dataset=dataset, job=job, kind="algorithmLog")
        assert report["dateFinished"], report
        job = self.library.call("start", dataset=ordered, algorithm=failing, **terms)
        self.wait(dataset, job)
        self.do("54-compute-status-algorithm-failed", "status", dataset=dataset, job=job)
        self.do("log of the failed job", "logs", dataset=dataset, job=job, kind="algorithmLog")
        own = environment | {"consumerAddress": self.library.call("address")}
        wrong = self.library.call("pay", dataset=given, algorithm=slow, environment=own, seconds=HOUR)
        job = self.library.call(
            "start", dataset=given | {"order": wrong["dataset"]}, algorithm=slow, environment=own
        )
        self.wait(dataset, job)
        self.do("55-compute-status-data-provisioning-failed", "status", dataset=dataset, job=job)

    def run_paid(self, dataset: str, environment: dict[str, Any]) -> None:
        """Run in the environment that takes a fee."""
        given, code, terms = {"did": dataset}, {"code": "print('paid')"}, {"environment": environment}
        fees = self.do(
            "60-provider-fees-preview", "fees", dataset=given, algorithm=code, **terms, seconds=600
        )
        amount = int(fees["datasets"][0]["providerFee"]["providerFeeAmount"])
        self.do("61-approve-provider-fee", "approve_fee", asset=dataset, amount_wei=2 * amount)
        before = self.library.call("balance")
        orders = self.do(
            "62-pay-paid-environment", "pay", dataset=given, algorithm=code, **terms, seconds=600
        )
        self.acts["fee"] = Act((amount, before - self.library.call("balance")), None, ())
        job = self.do(
            "63-compute-start-paid",
            "start",
            dataset=given | {"order": orders["dataset"]},
            algorithm=code,
            **terms,
        )
        self.acts["status of the paid job"] = Act(self.wait(dataset, job), None, ())

    def download(self, dataset: str) -> None:
        """Order an access service and download its file."""
        order = self.do("70-pay-for-access-service", "order_access", asset=dataset)
        self.do("71-download-asset", "download", asset=dataset, order=order)

    def be_refused(self, dataset: str, algorithm: str, environment: dict[str, Any]) -> None:
        """Ask for what the data set does not trust: raw code, and no order."""
        raw = {"dataset": {"did": dataset}, "algorithm": {"code": SLOW}, "environment": environment}
        self.fail("88-init-raw-not-allowed", "pay", **raw, seconds=HOUR)
        unpaid = {"did": dataset, "order": "0x" + "12" * 32}
        self.fail(
            "start without an order",
            "start",
            dataset=unpaid,
            algorithm={"did": algorithm, "order": "0x" + "12" * 32},
            environment=environment,
        )

    def _balances(self, *assets: str) -> list[int]:
        return [self.library.call("balance", asset=asset) // WEI for asset in assets]


def walk(library: Library, notes: Notes, *, files: str) -> Journey:
    """Do everything once, in the order of the recordings."""
    journey = Journey(library, notes, files)
    dataset, algorithm, open_dataset = journey.publish()
    free = journey.find(dataset)
    (paid,) = (item for item in journey.acts["20-c2d-environments"].value if item["id"] != free["id"])
    journey.run_published(dataset, algorithm, free)
    journey.run_raw(open_dataset, free)
    journey.run_paid(open_dataset, paid)
    journey.download(dataset)
    journey.be_refused(dataset, algorithm, free)
    return journey
