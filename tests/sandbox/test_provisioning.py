"""What a job is given before it runs, and what it gets when that cannot be had."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ocean_portal.sandbox.files import Files, NotFetched
from tests.sandbox.client import DATA, Client
from tests.sandbox.conftest import Bench
from tests.sandbox.recordings import recorded_container, scenario, shape


class TestProvisioning:
    @pytest.fixture
    def files(self) -> Iterator[str]:
        """A file server that knows data.csv and algo.py, and sends whoever asks so on to another address."""

        known = {"/data.csv": b"a,b\n1,2\n", "/algo.py": b"print('by address')\n"}

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                away = self.path.partition("/away?to=")[2]
                self.send_response(302 if away else 200 if self.path in known else 404)
                if away:
                    self.send_header("Location", away)
                self.end_headers()
                self.wfile.write(known.get(self.path, b""))

            def log_message(self, format: str, *args: object) -> None:
                """Stay quiet."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        server.server_close()

    def test_input_by_address_appears_under_its_file_name(self, client: Client, files: str) -> None:
        dataset = {"fileObject": {"type": "url", "url": f"{files}/data.csv", "method": "GET"}}
        job = client.start(
            DATA + "print((DATA / 'inputs' / 'data.csv').read_text())", datasets=[dataset, dataset]
        )

        client.wait(job)

        assert client.log(job) == "a,b\n1,2\n\n"
        assert client.result(job, 1).text.count("/data/inputs/data.csv") == 2

    def test_algorithm_by_address_runs(self, client: Client, files: str) -> None:
        file = {"type": "url", "url": f"{files}/algo.py", "method": "get"}
        response = client.post_start(
            algorithm={"fileObject": file, "meta": {"container": recorded_container()}}
        )
        job = response.json()[0]["jobId"]

        client.wait(job)

        assert client.log(job) == "by address\n"

    def test_addresses_outside_of_this_machine_have_to_be_allowed(self, client: Client, files: str) -> None:
        inputs = [
            {"fileObject": {"type": "url", "url": url, "method": "GET"}}
            for url in ("http://files.example/x.csv", f"{files}/away?to=http://files.example/x.csv")
        ]

        for dataset in inputs:
            job = client.start("pass", datasets=[dataset])
            assert client.wait(job)[-1]["status"] == 31
            assert "fetches nothing from files.example" in client.result(job, 1).text

    def test_allowed_hosts_are_asked(self, files: str) -> None:
        inside = Files(open_asset=lambda *_: [], allowed_hosts=["Files.Example"])
        file = {"type": "url", "url": "http://files.example.invalid/x", "method": "GET"}

        with pytest.raises(NotFetched, match=r"fetches nothing from files\.example\.invalid"):
            inside.fetch(file=file)
        with pytest.raises(NotFetched, match="404"):
            inside.fetch(file=file | {"url": f"{files}/nope"})
        assert inside._check("https://files.example/x") is None

    def test_file_that_is_too_large_is_not_taken(self, files: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("ocean_portal.sandbox.files.FETCH_BYTES", 3)

        with pytest.raises(NotFetched, match="larger"):
            Files(open_asset=lambda *_: []).fetch(
                file={"type": "url", "url": f"{files}/data.csv", "method": "GET"}
            )

    @pytest.mark.parametrize(("address", "reason"), [("/nope.csv", "404"), ("", "refused")])
    def test_input_that_cannot_be_had_ends_the_job_as_recorded(
        self, client: Client, files: str, address: str, reason: str
    ) -> None:
        url = f"{files}{address}" if address else "http://127.0.0.1:9/x.csv"
        job = client.start("pass", datasets=[{"fileObject": {"type": "url", "url": url, "method": "GET"}}])

        report = client.wait(job)[-1]

        recorded = scenario("22")[5].json[0]
        assert shape(report) == shape(recorded)
        for key in ("status", "statusText", "terminationDetails", "algoStartTimestamp"):
            assert report[key] == recorded[key]
        assert reason in client.result(job, 1).text.splitlines()[-1].lower()

    def test_algorithm_that_cannot_be_had_ends_the_job_as_recorded(self, client: Client, files: str) -> None:
        file = {"type": "url", "url": f"{files}/nope.py", "method": "get"}
        response = client.post_start(
            algorithm={"fileObject": file, "meta": {"container": recorded_container()}}
        )

        job = response.json()[0]["jobId"]
        report = client.wait(job)[-1]

        recorded = scenario("22")[21].json[0]
        assert (report["status"], report["statusText"]) == (recorded["status"], recorded["statusText"])
        its_id = scenario("22")[23].request["query"]["jobId"].rpartition("-")[2]
        theirs = scenario("22")[23].content.decode().replace(its_id, report["jobId"])
        assert client.result(job, 1).text == theirs

    def test_stranger_cannot_name_a_file_of_the_machine(self, client: Client, tmp_path: Path) -> None:
        secret = tmp_path / "secret.txt"
        secret.write_text("secret")
        job = client.start("pass", datasets=[{"fileObject": {"local": str(secret)}}])

        assert client.wait(job)[-1]["status"] == 31

    def test_published_files_are_opened_for_the_job(
        self, running: Bench, client: Client, tmp_path: Path
    ) -> None:
        (tmp_path / "flowers.csv").write_text("petal\n1\n")
        running.store.put_ddo(name="flowers", ddo={"id": "did:op:f", "services": []})
        running.assets["did:op:f"] = [{"local": str(tmp_path / "flowers.csv")}]
        dataset = {"documentId": "did:op:f", "serviceId": "compute"}
        job = client.start(DATA + "print((DATA / 'inputs' / 'flowers.csv').read_text())", datasets=[dataset])

        client.wait(job)

        assert client.log(job) == "petal\n1\n\n"
        assert "Using did:op:f and serviceId compute for this asset." in client.result(job, 1).text
