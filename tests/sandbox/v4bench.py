"""A Provider and an Aquarius in this process over what the recordings tell of their chain, index and jobs."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ocean_portal.sandbox.engine import Pace
from ocean_portal.sandbox.files import Fetched, Files, NotFetched
from ocean_portal.sandbox.indexing.routes import Aquarius
from ocean_portal.sandbox.provider import accounts
from ocean_portal.sandbox.provider.assembly import ProviderParts
from ocean_portal.sandbox.provider.decryption import Decryption, Published
from ocean_portal.sandbox.provider.fees import FeeDesk
from ocean_portal.sandbox.provider.ledger import Fee, Receipt, Reused, Started
from ocean_portal.sandbox.provider.switches import Switches
from ocean_portal.sandbox.store import Store
from ocean_portal.sandbox.wsgi import WsgiServer
from tests.sandbox.v4recordings import BOB, FEE_TOKEN, documents, scenarios

NOW = 1795331371.75
BRANIN, MEAN, OPEN, FAILING = (
    "did:op:02c49e184a7802c0a05027d073763d69af13ac54fef0c4c5c7fac2f46e12ca1f",
    "did:op:99435efb1ea6cbeb74af2df3850b2ba526b32bd9cae26ca4b79cfa7a7c052e94",
    "did:op:cd9200d44c550586c4482889d082e618492f7295859352dcbb31a4c33a9ac934",
    "did:op:a548e7f0b15a834242afe659c9872d50288c44657c399914d3cefc4ef1836fc5",
)
FREE = "ocean-compute"
# What was ordered by which transaction: the asset, its service, the environment, the fee's end, its amount.
ORDERS = {
    "0xf63be496bdd7cb2489bd76e81279e608679cde9a9d031295839fe7761f58ee9e": (BRANIN, 1, FREE, 1795417737, 0),
    "0x35eae3aa1bd654aea1035ae295c67d9798ced78e154f285c31760524068b3313": (MEAN, 0, FREE, 1795417737, 0),
    "0xdf8cf4afebf4f1cbfd3c64bc4bcee2138d81e28ff9db049bd748c24afa0d25c6": (OPEN, 1, FREE, 1795334943, 0),
    "0x18bfdea70c7a4ba7e5551fe03e4b4db2693873402631ffca7b17ae38504fe183": (
        *(OPEN, 1, "ocean-compute2", 1795331958, 99833333333333340),
    ),
    "0x2cddda3ea3ae04cf3a6287eda73cf1ff4d5e25fea0932a07d102093c367b332c": (BRANIN, 1, FREE, 1795334961, 0),
    "0xb451a3f220c6d2e33a9a07be34939f80a9356dfb24249d761233ebe7c5bf62c1": (MEAN, 0, FREE, 1795334961, 0),
    "0x1bbdec8e0ff220c8733cfe7614cfbdf9ecb70c09069df91dbb9b6c8d49894c97": (OPEN, 1, FREE, 1795334961, 0),
    "0x2aebb7324019bf1ead1affdf76d478fb376cece7eae8ba8a9463a1f7340cc3b5": (OPEN, 1, FREE, 1795334961, 0),
    "0x5a8f5f2e4238db6d5c012885aefaf0c9e9e96dae1d39c04ff1d9f525cb5bc4e8": (OPEN, 1, FREE, 1795334961, 0),
    "0xf446ed296e6db1d8242b948e0b3aeeabd0cca0357f2b41a4ee16e32cdba3e3e0": (BRANIN, 1, FREE, 1795334961, 0),
    "0x57b40fc16e46a6bb9b8e6d9bff0b4a229634176fa3d11b1cf6d0d250aaddd5f2": (MEAN, 0, FREE, 1795334961, 0),
    "0x5ba50d7bc394646ef8aa3e2fa7148018fc2a2cac69623a21a76f9ab1340b518a": (OPEN, 1, FREE, 1795334961, 0),
    "0x4fe20da4e878a99de18f662dc99f86fa5d7b7db617b4039ef06d4d6e03893d6f": (OPEN, 0, None, 0, 0),
}
# Transactions of reuseOrder, with the order that each renews. Source: recording 32.
RENEWALS = {
    "0x3801be69e60260f5d2499c1a3d0a0e1bf6f7a136646b999c408581229b826dd6": (
        "0xf63be496bdd7cb2489bd76e81279e608679cde9a9d031295839fe7761f58ee9e"
    ),
    "0xed52b09820117634b72ff852e66eda50b91efcb45b656aaf7745cb235aa090dc": (
        "0x35eae3aa1bd654aea1035ae295c67d9798ced78e154f285c31760524068b3313"
    ),
}
FIRST_JOB = "e6046d662b894427aed2fcf4bdad0d71"
CSV = b"x0,x1,y\n-3.8,11.6,4.2\n2.1,3.3,1.9\n9.4,2.5,0.4\n5.5,0.8,15.3\n-1.0,7.7,12.6\n"
# The recorded algorithms' own text is not in the recordings; their list of trust is made to fit this one.
CODE = b"print('stands for an algorithm')\n"
PLACES = {
    "http://127.0.0.1:8053/files/branin.csv": (CSV, "text/csv"),
    "http://127.0.0.1:8053/files/mean_algo.py": (CODE, "text/x-python"),
    "http://127.0.0.1:8053/files/failing_algo.py": (CODE, "text/x-python"),
}


class RecordedLedger:
    """The Ledger of the recorded chain, as far as requests of the recordings look at it."""

    def receipt(self, *, tx_hash: str) -> Receipt | None:
        """Return the events of a recorded order; any other transaction has none."""
        renewed = RENEWALS.get(tx_hash)
        ordered = ORDERS.get(renewed or tx_hash)
        at = int(NOW) - 60
        reused = (Reused(order_tx=renewed, at=at),) if renewed else ()
        if ordered is None:
            return Receipt(tx_hash=tx_hash, succeeded=True, block_at=at, started=(), reused=(), fees=())
        did, index, environment, valid_until, amount = ordered
        service = documents()[did]["services"][index]
        consumers = {item.id: item.consumer_address for item in accounts.environments()}
        started = Started(
            consumer=consumers.get(environment, BOB),
            payer=BOB,
            amount_wei=10**18,
            service_index=index,
            at=at,
        )
        offer = FeeDesk(account=accounts.account(accounts.PROVIDER), token=FEE_TOKEN).offer(
            amount=amount,
            valid_until=1795590955 if renewed else valid_until,
            environment_id=environment,
            datatoken=service["datatokenAddress"],
            service_id=service["id"],
            now=float(at),
        )
        fee = Fee(
            address=offer["providerFeeAddress"],
            token=offer["providerFeeToken"],
            amount_wei=amount,
            data=bytes.fromhex(offer["providerData"][2:]),
            v=offer["v"],
            r=bytes.fromhex(offer["r"][2:]),
            s=bytes.fromhex(offer["s"][2:]),
            valid_until=offer["validUntil"],
        )
        return Receipt(
            tx_hash=tx_hash,
            succeeded=True,
            block_at=at,
            started=() if renewed else (started,),
            reused=reused,
            fees=(fee,),
        )

    def state(self, *, nft: str) -> int:
        return 0

    def is_datatoken_of(self, *, nft: str, datatoken: str) -> bool:
        return True


class RecordedFiles(Files):
    """The recorded hosts' files, without a network."""

    def fetch(self, *, file: dict[str, Any]) -> Fetched:
        if file.get("url") not in PLACES:
            raise NotFetched("Request failed with status code 404")
        content, kind = PLACES[file["url"]]
        return Fetched(content, kind)


@dataclass
class RecordedIndex:
    """What an Aquarius knows, put in by hand."""

    known: dict[str, dict[str, Any]] = field(default_factory=dict)
    last_block: int = 62

    def document(self, *, did: str) -> dict[str, Any] | None:
        return self.known.get(did)

    def documents(self) -> list[dict[str, Any]]:
        return list(self.known.values())

    def states(self) -> list[dict[str, Any]]:
        return [
            {
                "nft": item["nft"]["address"],
                "did": item["id"],
                "chain_id": 8996,
                "tx_id": item["event"]["tx"],
                "valid": True,
                "error": None,
            }
            for item in self.known.values()
        ]


@dataclass
class V4Bench:
    """The servers under test with everything around them within reach."""

    state: Path
    parts: ProviderParts
    index: RecordedIndex
    provider_url: str
    aquarius_url: str
    now: float = NOW

    def url(self, peer: str) -> str:
        return self.provider_url if peer == "provider" else self.aquarius_url

    def reset(self) -> None:
        """Forget what was asked so far."""
        for job in self.parts.store.jobs():
            self.parts.store.delete_job(job_id=job["id"])
        self.parts.memory.forget()
        for switch in self.state.glob("operator-service.*"):
            switch.unlink()
        self.index.known = trusting_documents()
        self.now = NOW

    def put_job(self, report: dict[str, Any], *, stopreq: int | None = None) -> None:
        """Put a job into the store that looks like a recorded status answer, with files of the right sizes."""
        store, folder = self.parts.store, self.parts.engine.job_folder(job_id=report["jobId"])
        store.delete_job(job_id=report["jobId"])
        store.add_job(
            job_id=report["jobId"],
            owner=report["owner"],
            status=report["status"],
            spec={
                "agreement_id": report["agreementId"],
                "environment": FREE,
                "inputs": [{"did": did} for did in report["inputDID"]],
                "algorithm": {"did": report["algoDID"]},
                "resources": {},
            },
            now=float(report["dateCreated"]),
        )
        ended = report["dateFinished"]
        store.change_job(
            job_id=report["jobId"],
            finished_at=float(ended) if ended else None,
            stop_requested=report["stopreq"] if stopreq is None else stopreq,
        )
        for name in ("data/outputs", "published"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        contents = first_results() if report["jobId"] == FIRST_JOB else {}
        for item in report["results"] or []:
            place = "data/outputs" if item["type"] == "output" else "published"
            content = contents.get(item["filename"], b"." * item["filesize"])
            (folder / place / item["filename"]).write_bytes(content)


def first_results() -> dict[str, bytes]:
    """Return the files of the first recorded job. Source: recordings 43."""
    found = {}
    for name in [name for name in scenarios() if name.startswith("43-")]:
        answer = scenarios()[name][-1]
        found[answer.response["headers"]["content-disposition"].partition("=")[2]] = answer.body.encode()
    return found


def trusting_documents() -> dict[str, dict[str, Any]]:
    """Return the recorded documents, the trust of one moved to the code that stands for the recorded algorithm."""
    found: dict[str, dict[str, Any]] = json.loads(json.dumps(documents()))
    for document in found.values():
        for service in document["services"]:
            for trusted in (service.get("compute") or {}).get("publisherTrustedAlgorithms", []):
                trusted["filesChecksum"] = hashlib.sha256(CODE).hexdigest()
    return found


@contextmanager
def v4_bench(state: Path) -> Iterator[V4Bench]:
    """Open both servers on a folder."""
    store = Store(path=state / "node.sqlite3")
    index, switches = RecordedIndex(known=trusting_documents()), Switches(folder=state)
    aquarius = Aquarius(
        indexer=index,  # type: ignore[arg-type]  # has what Aquarius asks for
        chain_id=8996,
        account=accounts.account(accounts.AQUARIUS),
        switches=switches,
    )
    parts = ProviderParts(
        ledger=RecordedLedger(),
        resolve=aquarius.resolve,
        decryption=Decryption(
            secret=bytes(accounts.account(accounts.PROVIDER).key),
            chain_id=8996,
            comes_from_factory=lambda nft: True,
            find=lambda tx, nft: Published(data=b"", flags=b"\0", digest=b""),
            state=lambda nft: 0,
        ),
        fee_token=FEE_TOKEN,
        chain_id=8996,
        store=store,
        folder=state,
        files=RecordedFiles(open_asset=lambda did, service: []),
        pace=Pace(step_s=0.05),
        switches=switches,
        now=lambda: made.now,
    )
    servers = [
        WsgiServer(answer=answer, store=store, host="127.0.0.1", port=0, keeps_open=keeps_open)
        for answer, keeps_open in ((parts.provider.answer, False), (aquarius.answer, True))
    ]
    for server in servers:
        server.start()
    provider, aquarius_server = servers
    made = V4Bench(
        state=state,
        parts=parts,
        index=index,
        provider_url=f"http://127.0.0.1:{provider.port}",
        aquarius_url=f"http://127.0.0.1:{aquarius_server.port}",
    )
    try:
        yield made
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()
        parts.close()
        store.close()
