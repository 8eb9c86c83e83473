"""A bare client of Provider and Aquarius, for the tests of the sandbox alone; it shares nothing with the portal's."""

import json
import time
from collections.abc import Callable
from typing import Any

import requests
from eth_abi.abi import encode
from eth_account import Account
from eth_account.messages import encode_defunct
from eth_utils.abi import function_signature_to_4byte_selector
from eth_utils.crypto import keccak

from tests.sandbox.client import KEY

CHECKSUM = "sha256:" + "8" * 64
CONTAINER = {"entrypoint": "python $ALGO", "image": "python", "tag": "3.11", "checksum": CHECKSUM}
DEADLINE_S = 30.0
FEE = "(address,address,uint256,uint8,bytes32,bytes32,uint256,bytes)"
MARKET_FEE = "(address,address,uint256)"
NOBODY = "0x" + "00" * 20
WEI = 10**18
SERVICES = "/api/services/"


class Payer:
    """One account's transactions, sent over JSON-RPC."""

    def __init__(self, rpc_url: str, *, key: str = KEY) -> None:
        self.account = Account.from_key(key)
        self._url = rpc_url
        self._http = requests.Session()

    def rpc(self, method: str, *params: Any) -> Any:
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)}
        answer = self._http.post(self._url, json=body, timeout=30).json()
        assert "error" not in answer, answer
        return answer["result"]

    def send(self, to: str, signature: str, types: list[str], *values: Any) -> str:
        """Call a contract's function in a transaction and return its hash."""
        data = function_signature_to_4byte_selector(signature) + encode(types, values)
        call = {"from": self.account.address, "to": to, "data": "0x" + data.hex()}
        tx = {
            "to": to,
            "data": "0x" + data.hex(),
            "nonce": int(self.rpc("eth_getTransactionCount", self.account.address, "latest"), 16),
            "gas": int(self.rpc("eth_estimateGas", call), 16),
            "gasPrice": 2 * int(self.rpc("eth_gasPrice"), 16),
            "chainId": 8996,
            "value": 0,
        }
        raw = self.account.sign_transaction(tx).raw_transaction
        return str(self.rpc("eth_sendRawTransaction", "0x" + bytes(raw).hex()))

    def dispense(self, dispenser: str, token: str, *, amount: int = 1) -> str:
        return self.send(
            dispenser,
            "dispense(address,uint256,address)",
            ["address", "uint256", "address"],
            *(token, amount * WEI, self.account.address),
        )

    def approve(self, token: str, spender: str, amount_wei: int) -> str:
        return self.send(token, "approve(address,uint256)", ["address", "uint256"], spender, amount_wei)

    def start_order(self, entry: dict[str, Any], *, consumer: str, service_index: int = 0) -> str:
        """Spend one datatoken; entry is what initializeCompute or initialize answered."""
        return self.send(
            entry["datatoken"],
            f"startOrder(address,uint256,{FEE},{MARKET_FEE})",
            ["address", "uint256", FEE, MARKET_FEE],
            *(consumer, service_index, _fee(entry["providerFee"]), (NOBODY, NOBODY, 0)),
        )

    def reuse_order(self, entry: dict[str, Any], order_tx: str) -> str:
        return self.send(
            entry["datatoken"],
            f"reuseOrder(bytes32,{FEE})",
            ["bytes32", FEE],
            *(bytes.fromhex(order_tx[2:]), _fee(entry["providerFee"])),
        )


def _fee(fee: dict[str, Any]) -> tuple[Any, ...]:
    return (
        fee["providerFeeAddress"],
        fee["providerFeeToken"],
        int(fee["providerFeeAmount"]),
        fee["v"],
        bytes.fromhex(fee["r"][2:]),
        bytes.fromhex(fee["s"][2:]),
        fee["validUntil"],
        bytes.fromhex(fee["providerData"][2:]),
    )


def sign(message: str, *, key: str) -> str:
    """Sign as every call of a Provider is signed."""
    signable = encode_defunct(primitive=keccak(text=message))
    return "0x" + Account.from_key(key).sign_message(signable).signature.hex()


class ProviderClient:
    """One account's calls to one Provider, over the orders that its payer makes."""

    def __init__(self, info: dict[str, Any], *, key: str = KEY) -> None:
        self.url = str(info["provider_url"])
        self.info = info
        self.key = key
        self.address = Account.from_key(key).address
        self.payer = Payer(str(info["rpc_url"]), key=key)
        self.nonce = int(time.time() * 1000)

    def get(self, place: str, **query: Any) -> requests.Response:
        return requests.get(self.url + SERVICES + place, params=query, timeout=60)

    def post(self, place: str, body: Any) -> requests.Response:
        return requests.post(self.url + SERVICES + place, json=body, timeout=60)

    def signed(self, message: str) -> dict[str, str]:
        """Return consumerAddress, nonce and signature; the nonce comes last in the message."""
        self.nonce += 1
        return {
            "consumerAddress": self.address,
            "nonce": str(self.nonce),
            "signature": sign(f"{message}{self.nonce}", key=self.key),
        }

    def environment(self, index: int = 0) -> dict[str, Any]:
        return dict(self.get("computeEnvironments").json()["8996"][index])

    def asset(self, name: str, **fields: Any) -> dict[str, Any]:
        """Return a reference to a demo asset, as requests have it."""
        known = self.info["assets"][name]
        return {"documentId": known["did"], "serviceId": known["service_id"], **fields}

    def initialize(
        self,
        datasets: list[dict[str, Any]],
        algorithm: dict[str, Any],
        *,
        environment: str = "ocean-compute",
        valid_for_s: int = 3600,
    ) -> requests.Response:
        body = {
            "datasets": datasets,
            "algorithm": algorithm,
            "compute": {"env": environment, "validUntil": int(time.time()) + valid_for_s},
            "consumerAddress": self.environment()["consumerAddress"],
        }
        return self.post("initializeCompute", body)

    def order(self, entry: dict[str, Any], *, consumer: str | None = None, service_index: int = 0) -> str:
        """Get a datatoken and spend it for the environment's wallet, or another consumer."""
        self.payer.dispense(self.info["contracts"]["Dispenser"], entry["datatoken"])
        wallet = consumer or self.environment()["consumerAddress"]
        return self.payer.start_order(entry, consumer=wallet, service_index=service_index)

    def pay(
        self, datasets: list[dict[str, Any]], algorithm: dict[str, Any], **options: Any
    ) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """Order everything that initializeCompute asks for, and return the references with their orders."""
        answer = self.initialize(datasets, algorithm, **options).json()
        paid = [
            item | {"transferTxId": self.order(entry)}
            for item, entry in zip(datasets, answer["datasets"], strict=True)
        ]
        if "algorithm" in answer:
            algorithm = algorithm | {"transferTxId": self.order(answer["algorithm"])}
        return paid, algorithm

    def raw(self, code: str) -> dict[str, Any]:
        return {"meta": {"rawcode": code, "language": "python", "version": "1", "container": CONTAINER}}

    def post_start(
        self,
        datasets: list[dict[str, Any]],
        algorithm: dict[str, Any],
        *,
        environment: str = "ocean-compute",
        **fields: Any,
    ) -> requests.Response:
        first, *more = datasets
        body = {
            "dataset": first,
            "algorithm": algorithm,
            "environment": environment,
            "additionalDatasets": more,
        }
        body |= self.signed(f"{self.address}{first['documentId']}")
        return self.post("compute", body | fields)

    def start(self, datasets: list[dict[str, Any]], algorithm: dict[str, Any], **options: Any) -> str:
        """Start a job on paid inputs and return its id."""
        answer = self.post_start(datasets, algorithm, **options)
        assert answer.status_code == 200, answer.text
        return str(answer.json()[0]["jobId"])

    def run(self, names: list[str], algorithm: dict[str, Any]) -> str:
        """Pay for demo data sets and an algorithm, and start a job on them."""
        return self.start(*self.pay([self.asset(name) for name in names], algorithm))

    def status(self, job: str) -> dict[str, Any]:
        (report,) = self.get("compute", consumerAddress=self.address, jobId=job).json()
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

    def stop(self, job: str) -> requests.Response:
        query = {"jobId": job} | self.signed(f"{self.address}{job}")
        return requests.put(self.url + SERVICES + "compute", params=query, timeout=60)

    def result(self, job: str, index: int | str, **headers: str) -> requests.Response:
        query = {"jobId": job, "index": str(index)} | self.signed(f"{self.address}{job}{index}")
        return requests.get(self.url + SERVICES + "computeResult", params=query, headers=headers, timeout=60)

    def files(self, job: str) -> dict[str, bytes]:
        """Return every result of an ended job by its name."""
        results = self.status(job)["results"]
        return {item["filename"]: self.result(job, index).content for index, item in enumerate(results)}


def parsed(data: str) -> Any:
    """Return what a fee says of itself."""
    return json.loads(bytes.fromhex(data[2:]))
