"""What a job is given before it runs, and what it gets when that cannot be had."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.sandbox.client import DATA, Client
from tests.sandbox.conftest import Bench
from tests.sandbox.recordings import recorded_container, scenario, shape


class TestProvisioning:
    @pytest.fixture
    def files(self) -> Iterator[str]:
        """A file server that knows data.csv and nothing else."""

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                found = self.path == "/data.csv"
                self.send_response(200 if found else 404)
                self.end_headers()
                self.wfile.write(b"a,b\n1,2\n" if found else b"")

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
