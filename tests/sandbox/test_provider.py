"""What no recording shows of the Provider: its nonces, files, ends of jobs, and what it keeps to itself."""

import hashlib
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from ocean_portal.sandbox.demo.assets import located
from ocean_portal.sandbox.files import Files, NotFetched
from ocean_portal.sandbox.provider import accounts, ecies
from ocean_portal.sandbox.provider.decryption import Published, Unreadable, open_document
from ocean_portal.sandbox.provider.downloads import part_of
from ocean_portal.sandbox.provider.work import STATUS_TEXTS, ProviderWork
from tests.sandbox.providerclient import sign
from tests.sandbox.v4bench import MEAN, OPEN, ORDERS, V4Bench, v4_bench
from tests.sandbox.v4recordings import BOB

# Number 4 of the mnemonic of Ocean's development environment.
BOB_KEY = "0x1f990f8b013fc5c7955e0f8746f11ded231721b9cf3f99ff06cdc03492b28090"
SECRET = bytes(accounts.account(accounts.PROVIDER).key)
ORDER = next(tx for tx, order in ORDERS.items() if order[:3] == (OPEN, 1, "ocean-compute"))


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[V4Bench]:
    with v4_bench(tmp_path_factory.mktemp("provider")) as bench:
        yield bench


@pytest.fixture
def bench(servers: V4Bench) -> V4Bench:
    servers.reset()
    return servers


def start(bench: V4Bench, *, nonce: Any, **algorithm: Any) -> requests.Response:
    meta = {
        "rawcode": "pass",
        "container": {"entrypoint": "python $ALGO", "image": "python", "tag": "3", "checksum": "sha256:1"},
    }
    body = {
        "dataset": {"documentId": OPEN, "serviceId": "1", "transferTxId": ORDER},
        "environment": "ocean-compute",
        "algorithm": {"meta": meta} | algorithm,
        "consumerAddress": BOB,
        "nonce": nonce,
        "signature": sign(f"{BOB}{OPEN}{nonce}", key=BOB_KEY),
    }
    return requests.post(f"{bench.provider_url}/api/services/compute", json=body, timeout=10)


def stop(bench: V4Bench, *, nonce: str, owner: str = BOB) -> requests.Response:
    query = {"consumerAddress": owner, "nonce": nonce, "signature": sign(f"{owner}{nonce}", key=BOB_KEY)}
    return requests.put(f"{bench.provider_url}/api/services/compute", params=query, timeout=10)


class TestNonces:
    @pytest.mark.parametrize(
        ("nonce", "status", "starts"),
        [
            ("9", 400, False),
            (9, 400, False),
            ("10", 503, True),
            (10, 200, True),
            ("11", 200, True),
            ("10.5", 200, True),
        ],
    )
    def test_are_smaller_equal_or_larger_as_text_and_as_number(
        self, bench: V4Bench, nonce: Any, status: int, starts: bool
    ) -> None:
        bench.parts.memory.store_nonce(address=BOB, nonce="10")

        answer = start(bench, nonce=nonce)

        assert answer.status_code == status, answer.text
        assert bool(bench.parts.store.jobs()) is starts

    def test_are_counted_for_each_spelling_of_an_address(self, bench: V4Bench) -> None:
        bench.parts.memory.store_nonce(address=BOB, nonce="10")

        assert stop(bench, nonce="5").status_code == 400
        assert stop(bench, nonce="5", owner=BOB.lower()).status_code == 200

    def test_are_not_used_up_by_a_refused_start(self, bench: V4Bench) -> None:
        bench.parts.memory.store_nonce(address=BOB, nonce="10")

        refused = start(bench, nonce="50", meta={"rawcode": "", "container": {}})

        assert refused.status_code == 400
        assert bench.parts.memory.nonce(address=BOB) == "10"


class TestStop:
    def test_without_a_job_asks_all_of_the_owners_jobs_to_end(self, bench: V4Bench) -> None:
        start(bench, nonce="20")

        (report,) = stop(bench, nonce="21").json()

        assert report["stopreq"] == 1


class TestAlgorithm:
    def test_needs_an_order_of_its_own(self, bench: V4Bench) -> None:
        answer = start(bench, nonce="20", meta=None, documentId=MEAN, serviceId="0", transferTxId=ORDER)

        assert answer.json() == {"error": {"algorithm": "in_use_or_not_on_chain"}}

    @pytest.mark.parametrize(
        ("trusted", "reason"),
        [
            ({"filesChecksum": "0" * 64}, "algorithm_file_checksum_mismatch"),
            ({"containerSectionChecksum": "0" * 64}, "algorithm_container_checksum_mismatch"),
            ({"did": "did:op:other"}, "not_trusted_algo"),
        ],
    )
    def test_is_trusted_by_did_files_and_container(
        self, bench: V4Bench, trusted: dict[str, str], reason: str
    ) -> None:
        compute = bench.index.known[OPEN]["services"][1]["compute"]
        compute["publisherTrustedAlgorithms"] = [
            {"did": MEAN, "filesChecksum": "", "containerSectionChecksum": ""} | trusted
        ]

        answer = start(bench, nonce="20", meta=None, documentId=MEAN, serviceId="0", transferTxId=ORDER)

        assert answer.json() == {"error": {"dataset": reason}}

    def test_is_trusted_by_its_publisher(self, bench: V4Bench) -> None:
        compute = bench.index.known[OPEN]["services"][1]["compute"]
        compute["publisherTrustedAlgorithmPublishers"] = [BOB]

        answer = start(bench, nonce="20", meta=None, documentId=MEAN, serviceId="0", transferTxId=ORDER)

        assert answer.json() == {"error": {"dataset": "not_trusted_algo_publisher"}}


class TestCredentials:
    @pytest.mark.parametrize(
        ("credentials", "code"),
        [
            ({"allow": [{"type": "address", "values": ["0x" + "1" * 40]}]}, "CREDENTIAL_NOT_IN_ALLOW_LIST"),
            ({"deny": [{"type": "address", "values": [BOB.lower()]}]}, "CREDENTIAL_IN_DENY_LIST"),
        ],
    )
    def test_keep_an_address_out(self, bench: V4Bench, credentials: dict[str, Any], code: str) -> None:
        bench.index.known[OPEN]["credentials"] = credentials

        answer = start(bench, nonce="20")

        assert answer.json()["error"]["dataset"].endswith(f"was denied with code: ConsumableCodes.{code}.")


class TestFiles:
    @pytest.mark.parametrize(
        "file",
        [
            {"type": "sandbox", "name": "../../../../../etc/hostname"},
            {"type": "sandbox", "name": "assets.py"},
            {"type": "sandbox", "local": "/etc/hostname"},
            {"type": "url", "url": "http://127.0.0.1:1/", "local": "/etc/hostname"},
            {"type": "url", "url": "file:///etc/hostname"},
        ],
    )
    def test_of_this_machine_cannot_be_named_by_whoever_publishes(self, file: dict[str, Any]) -> None:
        # Anybody can have anything encrypted, and publish it.
        files = Files(open_asset=lambda did, service: [])

        with pytest.raises(NotFetched):
            files.fetch(file=located(file) | {"method": "GET"})

    def test_of_the_demo_are_found_by_their_names(self) -> None:
        place = located({"type": "sandbox", "name": "data/iris.csv", "local": "/etc/hostname"})["local"]

        assert place.endswith("/demo/data/iris.csv")

    def test_sealed_for_another_asset_are_not_opened(self, bench: V4Bench) -> None:
        stolen = bench.index.known[OPEN]["services"][1]["files"]
        bench.index.known[MEAN]["services"][0]["files"] = stolen

        answer = requests.post(
            f"{bench.provider_url}/api/services/fileinfo",
            json={"did": MEAN, "serviceId": "0"},
            timeout=10,
        )

        assert answer.json() == {"error": "Provider Ganache: Unable to get dataset files"}


class TestRange:
    @pytest.mark.parametrize(
        ("wanted", "part"),
        [
            ("bytes=0-1", b"01"),
            ("bytes=7-", b"789"),
            ("bytes=-2", b"89"),
            ("bytes=8-99", b"89"),
            ("bytes=-", None),
            ("lines=1-2", None),
            (None, None),
        ],
    )
    def test_is_read_as_http_says(self, wanted: str | None, part: bytes | None) -> None:
        assert part_of(b"0123456789", wanted=wanted) == part


class TestWork:
    def work(self) -> ProviderWork:
        return ProviderWork(environments=accounts.environments(), downloads=None)  # type: ignore[arg-type]  # not asked here

    def test_an_algorithm_over_its_time_is_told_in_stopreq(self) -> None:
        assert self.work().outcome(report={"reason": "duration"}) == {"stop_requested": 2}
        assert self.work().outcome(report={"reason": None, "exitCode": 1}) == {}

    def test_an_environment_has_room_for_ten_jobs_of_its_own(self) -> None:
        running = [{"spec": {"environment": "ocean-compute"}}] * 10

        assert self.work().missing(spec={"environment": "ocean-compute"}, running=running) == "jobs"
        assert self.work().missing(spec={"environment": "ocean-compute2"}, running=running) is None

    def test_knows_the_words_of_the_recorded_statuses(self) -> None:
        assert STATUS_TEXTS[40] == "Running algorithm "
        assert STATUS_TEXTS[70] == "Job finished"


class TestDecryption:
    @pytest.mark.parametrize(
        ("data", "flags", "problem"),
        [
            (b"x", b"\x02", "Failed to decrypt."),
            (b"x", b"\x01", "Failed to decompress"),
            (b"x", b"\x00", "Checksum doesn't match."),
        ],
    )
    def test_says_why_a_document_cannot_be_read(self, data: bytes, flags: bytes, problem: str) -> None:
        with pytest.raises(Unreadable, match=problem):
            open_document(published=Published(data=data, flags=flags, digest=b"\1" * 32), secret=SECRET)

    def test_opens_a_document_for_who_signs_as_the_decrypter(self, bench: V4Bench) -> None:
        document = b'{"id":"did:op:1"}'
        encrypted = "0x" + ecies.encrypt(secret=SECRET, content=document).hex()
        nft = "0x8FEfba3208D07abE141120DE70A34a012066e946"
        body = {
            "decrypterAddress": BOB,
            "chainId": 8996,
            "dataNftAddress": nft,
            "encryptedDocument": encrypted,
            "flags": 2,
            "documentHash": "0x" + hashlib.sha256(document).hexdigest(),
            "nonce": "7",
            "signature": sign(f"{nft}{BOB}89967", key=BOB_KEY),
        }

        good = requests.post(f"{bench.provider_url}/api/services/decrypt", json=body, timeout=10)
        bad = requests.post(
            f"{bench.provider_url}/api/services/decrypt", json=body | {"nonce": "8"}, timeout=10
        )

        assert (good.status_code, good.content) == (201, document)
        assert bad.status_code == 400 and "Invalid signature" in bad.json()["errors"]["signature"]


class TestRoutes:
    @pytest.mark.parametrize("body", [b"[1]", b'"text"', b"7", b"null", b'{"dataset": 7, "algorithm": []}'])
    @pytest.mark.parametrize("place", ["compute", "initializeCompute", "fileinfo", "validateContainer"])
    def test_strange_bodies_are_refused_and_end_no_connection(
        self, bench: V4Bench, place: str, body: bytes
    ) -> None:
        answer = requests.post(
            f"{bench.provider_url}/api/services/{place}",
            data=body,
            headers={"Content-Type": "application/json"},
            timeout=10,
        )

        assert answer.status_code in (400, 503)
        assert answer.headers["content-type"] == "application/json"

    def test_head_has_the_headers_and_no_body(self, bench: V4Bench) -> None:
        answer = requests.head(f"{bench.provider_url}/", timeout=10)

        assert (answer.status_code, answer.content) == (200, b"")
        assert int(answer.headers["content-length"]) == 978

    def test_aquarius_keeps_the_connection_and_provider_closes_it(self, bench: V4Bench) -> None:
        assert requests.get(f"{bench.aquarius_url}/", timeout=10).headers["connection"] == "keep-alive"
        assert requests.get(f"{bench.provider_url}/", timeout=10).headers["connection"] == "close"


class TestTokens:
    def ask(self, bench: V4Bench, **query: str) -> requests.Response:
        return requests.get(f"{bench.provider_url}/api/services/createAuthToken", params=query, timeout=10)

    def test_without_a_signature_are_refused_with_both_complaints(self, bench: V4Bench) -> None:
        refused = self.ask(bench, address=BOB, nonce="1", expiration=str(int(bench.now) + 60))

        assert refused.json()["errors"] == {
            "signature": [
                "The signature field is required.",
                "Invalid signature provided. Please check the nonce or documentId.",
            ]
        }

    def test_are_good_for_their_address_until_they_expire(self, bench: V4Bench) -> None:
        query = {"address": BOB, "nonce": "1", "signature": sign(f"{BOB}1", key=BOB_KEY)}
        token = self.ask(bench, **query, expiration=str(int(bench.now) + 60)).json()["token"]
        url, header = f"{bench.provider_url}/api/services/compute", {"AuthToken": token}

        mine = requests.put(url, params={"consumerAddress": BOB, "nonce": "2"}, headers=header, timeout=10)
        other = requests.put(
            url, params={"consumerAddress": "0x" + "1" * 40, "nonce": "3"}, headers=header, timeout=10
        )
        bench.now += 61
        late = requests.put(url, params={"consumerAddress": BOB, "nonce": "4"}, headers=header, timeout=10)

        assert [answer.status_code for answer in (mine, other, late)] == [200, 400, 400]
