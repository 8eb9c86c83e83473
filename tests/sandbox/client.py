"""A bare client of a node, for the tests of the sandbox alone; it shares nothing with the portal's."""

import io
import struct
import tarfile
import time
from collections.abc import Callable
from typing import Any

import requests
from eth_account import Account
from eth_account.messages import encode_defunct
from eth_utils.crypto import keccak

CONTAINER = {"entrypoint": "python3 $ALGO", "image": "python", "tag": "3.11", "checksum": ""}
# Number 1 of the public development mnemonic.
KEY = "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d"
DEADLINE_S = 30.0
# The first lines of algorithms that use the data folder, wherever it is.
DATA = "import os\nfrom pathlib import Path\nDATA = Path(os.environ['DATA_ROOT'])\n"


def frames(log: bytes) -> list[tuple[int, bytes]]:
    """Take docker frames apart."""
    found = []
    while log:
        stream, size = struct.unpack(">BxxxL", log[:8])
        found.append((stream, log[8 : 8 + size]))
        log = log[8 + size :]
    return found


def text_of(log: bytes) -> str:
    """Return what was printed, both streams together."""
    return b"".join(content for _, content in frames(log)).decode()


def members(tar: bytes) -> dict[str, bytes | None]:
    """Return the names in a tar in their order, with the contents of files."""
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        return {
            item.name: archive.extractfile(item).read() if item.isfile() else None  # type: ignore[union-attr]
            for item in archive
        }


class Client:
    """One account's calls to one node."""

    def __init__(self, url: str, *, key: str = KEY) -> None:
        self.url = url
        self.account = Account.from_key(key)
        self.http = requests.Session()
        self.nonce = int(time.time() * 1000)

    def signed(self, command: str) -> dict[str, str]:
        """Return consumerAddress, nonce and signature for a command."""
        self.nonce += 1
        digest = keccak(text=f"{self.account.address}{self.nonce}{command}")
        signature = self.account.sign_message(encode_defunct(text="0x" + digest.hex())).signature
        return {
            "consumerAddress": self.account.address,
            "nonce": str(self.nonce),
            "signature": "0x" + signature.hex(),
        }

    def environment(self) -> dict[str, Any]:
        (document,) = self.http.get(self.url + "/api/services/computeEnvironments", timeout=10).json()
        return dict(document)

    def post_start(self, **fields: Any) -> requests.Response:
        """Send a start; fields override the empty default."""
        body = (
            self.signed("freeStartCompute")
            | {"environment": self.environment()["id"], "datasets": []}
            | fields
        )
        return self.http.post(self.url + "/api/services/freeCompute", json=body, timeout=10)

    def start(self, code: str, *, algorithm: dict[str, Any] | None = None, **fields: Any) -> str:
        """Start code of our own and return the long job id."""
        described = {"meta": {"rawcode": code, "container": CONTAINER}} | (algorithm or {})
        response = self.post_start(algorithm=described, **fields)
        assert response.status_code == 200, response.text
        return str(response.json()[0]["jobId"])

    def start_asset(self, did: str, *, datasets: list[str], **algorithm: Any) -> str:
        """Start a published algorithm on published datasets and return the long job id."""
        response = self.post_start(
            datasets=[{"documentId": name, "serviceId": "compute"} for name in datasets],
            algorithm={"documentId": did, "serviceId": "access", "meta": {"container": CONTAINER}}
            | algorithm,
        )
        assert response.status_code == 200, response.text
        return str(response.json()[0]["jobId"])

    def initialize(self, **fields: Any) -> requests.Response:
        """Ask what a paid job would cost; fields override the empty default."""
        body = {
            "environment": self.environment()["id"],
            "consumerAddress": self.account.address,
            "datasets": [],
        } | fields
        return self.http.post(self.url + "/api/services/initializeCompute", json=body, timeout=10)

    def post_paid_start(self, *, token: str | None = None, **fields: Any) -> requests.Response:
        """Send a paid start, signed unless there is a token; fields override the empty default."""
        who = {"consumerAddress": self.account.address} if token else self.signed("startCompute")
        body = who | {"environment": self.environment()["id"], "datasets": []} | fields
        return self.http.post(
            self.url + "/api/services/compute",
            json=body,
            headers={"Authorization": token} if token else {},
            timeout=10,
        )

    def token(self) -> str:
        """Make a login token."""
        signed = self.signed("createAuthToken")
        body = {"address": signed.pop("consumerAddress")} | signed
        answer = self.http.post(self.url + "/api/services/auth/token", json=body, timeout=10)
        return str(answer.json()["token"])

    def status(self, job: str) -> dict[str, Any]:
        (report,) = self.http.get(
            self.url + "/api/services/compute", params={"jobId": job}, timeout=10
        ).json()
        return dict(report)

    def wait(self, job: str, until: Callable[[dict[str, Any]], bool] | None = None) -> list[dict[str, Any]]:
        """Poll until the job ended (or the condition holds) and return the reports, one per status seen."""
        seen: list[dict[str, Any]] = []
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            report = self.status(job)
            if not seen or report["status"] != seen[-1]["status"]:
                seen.append(report)
            seen[-1] = report
            if until(report) if until else report["dateFinished"] is not None:
                return seen
            time.sleep(0.01)
        raise AssertionError(f"waited in vain; last seen: {seen[-1]}")

    def result(self, job: str, index: int) -> requests.Response:
        query = self.signed("getComputeResult") | {"jobId": job, "index": str(index)}
        return self.http.get(self.url + "/api/services/computeResult", params=query, timeout=30)

    def log(self, job: str) -> str:
        """Return the algorithm's log of an ended job as text."""
        (index,) = [item["index"] for item in self.status(job)["results"] if item["type"] == "algorithmLog"]
        return text_of(self.result(job, index).content)

    def outputs(self, job: str) -> dict[str, bytes | None]:
        """Return the members of an ended job's outputs.tar."""
        (index,) = [item["index"] for item in self.status(job)["results"] if item["type"] == "output"]
        return members(self.result(job, index).content)

    def live_log(self, job: str) -> requests.Response:
        query = self.signed("getComputeStreamableLogs") | {"jobId": job}
        return self.http.get(
            self.url + "/api/services/computeStreamableLogs", params=query, timeout=30, stream=True
        )

    def stop(self, job: str) -> requests.Response:
        query = self.signed("stopCompute") | {"jobId": job}
        return self.http.put(self.url + "/api/services/compute", params=query, timeout=10)
