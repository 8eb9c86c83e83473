"""The sandbox's node is asked what the recorded node was asked, and must answer the same."""

import gzip
import hashlib
import json
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.sandbox.conftest import Bench, close_bench, make_bench
from tests.sandbox.recordings import Exchange, named_headers, scenario, shape

OWNER = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
STRANGER = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"


def assert_same(exchange: Exchange, response: requests.Response) -> None:
    """Compare status, the recorded headers and the body, byte by byte."""
    assert (response.status_code, response.content) == (exchange.status, exchange.content), exchange.title
    assert named_headers(response) == exchange.headers, exchange.title


def finished_job(number: str, seq: int) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return a recorded status answer and result files of the recorded sizes."""
    (report,) = scenario(number)[seq].json
    return report, {item["filename"]: bytes(item["filesize"]) for item in report["results"]}


class TestReads:
    """Scenario 01."""

    def test_root_document_names_the_recorded_node_and_only_routes_that_it_had(self, bench: Bench) -> None:
        recorded = scenario("01")[1]

        answer = recorded.ask(bench.url).json()

        endpoints = answer.pop("serviceEndpoints")
        assert endpoints.items() <= recorded.json["serviceEndpoints"].items()
        assert answer == {key: value for key, value in recorded.json.items() if key != "serviceEndpoints"}

    @pytest.mark.parametrize("seq", [2, 3, 4, 6])
    def test_nonces_of_strangers_and_environments_of_another_chain(self, bench: Bench, seq: int) -> None:
        exchange = scenario("01")[seq]

        assert_same(exchange, exchange.ask(bench.url))

    @pytest.mark.parametrize("seq", [5, 7])
    def test_environments_have_the_recorded_keys_types_and_limits(self, bench: Bench, seq: int) -> None:
        exchange = scenario("01")[seq]
        ours_alone = {"description", "resources"}

        (answer,) = exchange.ask(bench.url).json()

        (recorded,) = exchange.json
        assert shape(answer) == shape(recorded)
        assert {k: v for k, v in answer.items() if k not in ours_alone} == {
            k: v for k, v in recorded.items() if k not in ours_alone
        }

    def test_unchanged_answer_is_304_for_who_has_it(self, bench: Bench) -> None:
        first = requests.get(bench.url + "/api/services/computeEnvironments", timeout=5)

        second = requests.get(first.url, headers={"If-None-Match": first.headers["ETag"]}, timeout=5)

        assert (second.status_code, second.content) == (304, b"")


@pytest.fixture
def indexed(bench: Bench) -> Bench:
    """A node that knows the documents of scenario 30."""
    for exchange in (scenario("30")[18], scenario("30")[19]):
        for ddo in exchange.json[0]:
            bench.store.put_ddo(name=ddo["metadata"]["name"], ddo=ddo)
    return bench


class TestAssets:
    """Scenario 30: documents, their state, and search."""

    @pytest.mark.parametrize("seq", range(10, 21))
    def test_every_question_is_answered_as_recorded(self, indexed: Bench, seq: int) -> None:
        exchange = scenario("30")[seq]

        assert_same(exchange, exchange.ask(indexed.url))

    @pytest.mark.parametrize(
        ("question", "names"),
        [
            ({"query": {"match_all": {}}, "size": 1}, ["Open readings"]),
            ({"query": {"match_all": {}}, "size": 2, "from": 2}, ["Download and compute", "Sum of a column"]),
            ({"query": {"multi_match": {"query": "COLUMN", "fields": ["metadata.*"]}}}, ["Sum of a column"]),
            ({"query": {"match": {"metadata.description": "hour"}}}, ["Restricted readings"]),
            ({"query": {"term": {"services.type": "access"}}, "size": 1}, ["Download and compute"]),
            (
                {"query": {"bool": {"must_not": [{"term": {"metadata.type": "dataset"}}]}}},
                ["Sum of a column", "Other algorithm"],
            ),
            ({"query": {"bool": {"should": [{"match": {"metadata.name": "column"}}]}}}, ["Sum of a column"]),
            ({"query": {"geo_shape": {"place": "x"}}}, []),
            (
                {"filter_by": "metadata.type:=dataset && metadata.name:!=Open readings", "num_hits": 1},
                ["Restricted readings"],
            ),
        ],
    )
    def test_search_knows_the_usual_words(self, indexed: Bench, question: dict, names: list) -> None:
        answer = requests.post(
            indexed.url + "/api/aquarius/assets/metadata/query", json=question, timeout=5
        ).json()

        found = [ddo["metadata"]["name"] for page in answer for ddo in page]
        assert found == names

    def test_state_is_found_by_the_address_of_the_nft(self, indexed: Bench) -> None:
        nft = scenario("30")[10].json["nftAddress"]

        answer = requests.get(indexed.url + "/api/aquarius/state/ddo", params={"nft": nft}, timeout=5)

        assert answer.json() == scenario("30")[12].json


class TestFileInfo:
    """Scenarios 11 and 30."""

    @pytest.mark.parametrize(("seq", "name"), [(21, "data.csv"), (22, "algo_sum.py")])
    def test_of_a_published_file_says_what_the_recorded_one_did(
        self, bench: Bench, tmp_path: Path, seq: int, name: str
    ) -> None:
        exchange = scenario("30")[seq]
        (recorded,) = json.loads(exchange.content)
        content = bytes(int(recorded["contentLength"]))
        (tmp_path / name).write_bytes(content)
        bench.assets[exchange.request["body"]["did"]] = [{"local": str(tmp_path / name)}]

        response = exchange.ask(bench.url)

        (answer,) = json.loads(response.content)
        assert named_headers(response) == exchange.headers
        assert list(answer) == list(recorded)
        assert answer == recorded | {"checksum": hashlib.sha256(content).hexdigest()}

    @pytest.mark.parametrize(
        ("question", "status", "words"),
        [
            ({}, 400, "Invalid request parameters"),
            (
                {"type": "url", "url": "http://127.0.0.1:9/x", "method": "GET"},
                500,
                "ECONNREFUSED 127.0.0.1:9",
            ),
            ({"type": "url", "url": "http://example.com/x", "method": "GET"}, 500, "--allow-files-from"),
            ({"type": "url", "url": "file:///etc/passwd", "method": "GET"}, 500, "Invalid URL"),
            ({"type": "url", "url": "http://127.0.0.1/x", "method": "PUT"}, 500, "Invalid method"),
            ({"type": "url", "method": "GET"}, 500, "URL or method are missing"),
            ({"type": "ipfs", "hash": "x"}, 500, "Unsupported file object"),
            ({"type": "url", "local": "/etc/passwd"}, 500, "missing"),
        ],
    )
    def test_that_cannot_be_had_says_why(self, bench: Bench, question: dict, status: int, words: str) -> None:
        response = requests.post(bench.url + "/api/services/fileInfo", json=question, timeout=5)

        assert response.status_code == status
        assert words in response.text


class TestDirectCommand:
    """Scenario 16."""

    @pytest.mark.parametrize("seq", [19, 21, 22, 24])
    def test_is_answered_as_recorded(self, bench: Bench, seq: int) -> None:
        bench.put_job(*finished_job("16", 8))
        bench.put_job(*finished_job("18", 8))
        bench.store.use_nonce(address=scenario("16")[8].json[0]["owner"], nonce=1)
        exchange = scenario("16")[seq]

        assert_same(exchange, exchange.ask(bench.url))

    @pytest.mark.parametrize(("seq", "ours_alone"), [(20, ("fees", "description")), (23, ("escrowAddress",))])
    def test_describes_node_and_environment_in_the_recorded_shape(
        self, bench: Bench, seq: int, ours_alone: tuple[str, ...]
    ) -> None:
        exchange = scenario("16")[seq]

        response = exchange.ask(bench.url)

        answer, recorded = json.loads(response.content), json.loads(exchange.content)
        for document in (answer, recorded):
            for key in ours_alone:
                (document[0] if isinstance(document, list) else document).pop(key)
        assert named_headers(response) == exchange.headers
        assert shape(answer) == shape(recorded)

    def test_lists_jobs_of_many_owners_newest_first_and_by_the_time_of_their_end(self, bench: Bench) -> None:
        older, newer = finished_job("16", 8), finished_job("18", 8)
        bench.put_job(*older)
        bench.put_job(*newer)
        owners = [older[0]["owner"], newer[0]["owner"]]

        def listed(**fields: Any) -> list[str]:
            response = requests.post(
                bench.url + "/directCommand", json={"command": "jobs"} | fields, timeout=5
            )
            return [job["jobId"] for job in json.loads(response.content)]

        assert listed(consumerAddrs=owners) == [newer[0]["jobId"], older[0]["jobId"]] == listed()
        assert listed(consumerAddrs=owners[:1]) == [older[0]["jobId"]]
        assert listed(fromTimestamp=newer[0]["dateFinished"]) == [newer[0]["jobId"]]
        assert listed(runningJobs=True) == listed(environments=["another"]) == []

    def test_leaves_running_jobs_out_when_it_is_asked_since_when(self, bench: Bench) -> None:
        report, files = finished_job("10", 6)
        assert report["dateFinished"] is None
        bench.put_job(report, files)

        def ask(**fields: Any) -> Any:
            body = {"command": "jobs"} | fields
            return json.loads(requests.post(bench.url + "/directCommand", json=body, timeout=5).content)

        assert ask(fromTimestamp="0") == []
        assert len(ask(runningJobs=True, fromTimestamp="0")) == 1
        assert "rawcode" not in json.dumps(ask()) and "envs" not in json.dumps(ask())

    def test_takes_a_time_as_text_only(self, bench: Bench) -> None:
        response = requests.post(
            bench.url + "/directCommand", json={"command": "jobs", "fromTimestamp": 5}, timeout=5
        )

        assert (response.status_code, response.text) == (
            400,
            'Parameter : "fromTimestamp" is not a valid string',
        )


class TestStartErrors:
    """Scenario 17: everything freeCompute refuses, in the recorded order, since nonces build up."""

    def test_every_refusal_is_the_recorded_one(self, bench: Bench) -> None:
        bench.store.use_nonce(address=OWNER, nonce=35)
        pages = (27, 29)  # stack traces of another program

        for seq, exchange in scenario("17").items():
            if seq not in pages:
                assert_same(exchange, exchange.ask(bench.url))

        assert bench.store.nonce(address=OWNER) == 48
        assert bench.store.jobs() == []

    def test_invalid_json_gets_an_error_page(self, bench: Bench) -> None:
        exchange = scenario("17")[27]

        response = exchange.ask(bench.url)

        assert response.status_code == exchange.status
        assert response.headers["Content-Type"] == exchange.headers["Content-Type"]
        opening = exchange.content.partition(b"SyntaxError: ")[0]
        assert opening and response.content.startswith(opening + b"SyntaxError: ")

    def test_body_over_100_kilobytes_gets_an_error_page(self, bench: Bench) -> None:
        exchange = scenario("17")[29]
        body = {"raw": json.dumps({"x": "y" * 200_000})}

        response = exchange.ask(bench.url, body=body)

        assert response.status_code == exchange.status
        opening = exchange.content.partition(b"<br>")[0]
        assert response.content.startswith(opening)

    def test_published_algorithm_without_container_is_refused(self, bench: Bench) -> None:
        exchange = scenario("33")[41]
        bench.store.use_nonce(address=exchange.request["body"]["consumerAddress"], nonce=21)
        for asset in (exchange.request["body"]["datasets"][0], exchange.request["body"]["algorithm"]):
            bench.store.put_ddo(name=asset["documentId"], ddo={"id": asset["documentId"], "services": []})

        assert_same(exchange, exchange.ask(bench.url))


class TestStatus:
    """Scenario 16."""

    @pytest.mark.parametrize("seq", [8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18])
    def test_every_query_is_answered_as_recorded(self, bench: Bench, seq: int) -> None:
        bench.put_job(*finished_job("16", 8))
        exchange = scenario("16")[seq]

        assert_same(exchange, exchange.ask(bench.url))

    def test_id_without_engine_and_without_owner_lists_everybody(self, bench: Bench) -> None:
        bench.put_job(*finished_job("16", 8))
        bench.put_job(*finished_job("18", 8))
        short = scenario("16")[16].request["query"]["jobId"]

        answer = requests.get(bench.url + "/api/services/compute", params={"jobId": short}, timeout=5)

        assert len(answer.json()) == 2

    @pytest.mark.parametrize(
        ("number", "seq"), [("14", 9), ("15", 8), ("22", 5), ("23", 7), ("24", 8), ("11", 8)]
    )
    def test_other_ends_look_as_recorded(self, bench: Bench, number: str, seq: int) -> None:
        bench.put_job(*finished_job(number, seq))
        exchange = scenario(number)[seq]

        assert_same(exchange, exchange.ask(bench.url))


class TestResultsLogsAndStop:
    """Scenario 18: errors after the start, in the recorded order."""

    def test_every_refusal_is_the_recorded_one(self, bench: Bench) -> None:
        report, files = finished_job("18", 8)
        image_log = scenario("18")[20].content
        bench.put_job(report, files | {"image.log": image_log})
        bench.store.use_nonce(address=OWNER, nonce=52)
        bench.store.use_nonce(address=STRANGER, nonce=3)

        for seq, exchange in scenario("18").items():
            if seq >= 9:
                assert_same(exchange, exchange.ask(bench.url))

        assert bench.store.nonce(address=OWNER) == 62
        (job,) = bench.store.jobs(job_id=report["jobId"])
        assert job["stop_requested"] == 0

    def test_results_are_sent_in_chunks_and_empty_ones_are_not(self, bench: Bench) -> None:
        report, files = finished_job("22", 5)
        names = ("image.log", "configuration.log")
        contents = {name: scenario("22")[6 + place].content for place, name in enumerate(names)}
        bench.put_job(report, files | contents)
        bench.store.use_nonce(address=OWNER, nonce=71)

        for seq in (6, 7):
            assert_same(scenario("22")[seq], scenario("22")[seq].ask(bench.url))

    def test_empty_log_has_a_length_of_nought(self, bench: Bench) -> None:
        bench.put_job(*finished_job("22", 13))
        bench.store.use_nonce(address=OWNER, nonce=76)
        exchange = scenario("22")[16]

        assert_same(exchange, exchange.ask(bench.url))

    def test_stop_of_a_finished_job_reports_it_without_results(self, bench: Bench) -> None:
        bench.put_job(*finished_job("14", 9))
        bench.store.use_nonce(address=OWNER, nonce=24)
        exchange = scenario("14")[11]

        assert_same(exchange, exchange.ask(bench.url))

    def test_large_result_arrives_whole(self, bench: Bench) -> None:
        report, files = finished_job("27", 6)
        content = gzip.compress(bytes(range(256)) * 200, mtime=0) * 300
        bench.put_job(report, files | {"outputs.tar": content})
        bench.store.use_nonce(address=report["owner"], nonce=112)

        response = scenario("27")[7].ask(bench.url)

        assert response.content == content
        assert named_headers(response) == scenario("27")[7].headers


class TestTokens:
    """Scenario 15, with the tokens that our node issues in the place of the recorded ones."""

    def test_whole_scenario_is_answered_as_recorded(self, bench: Bench) -> None:
        started = bench.now
        issued: dict[str, str] = {}
        bench.store.use_nonce(address=OWNER, nonce=30)
        report, files = finished_job("15", 8)
        bench.put_job(report, files | {"image.log": scenario("15")[10].content})
        outputs = bench.engine.job_folder(job_id=report["jobId"]) / "outputs.tar"
        outputs.write_bytes(scenario("15")[9].content)

        for seq, exchange in scenario("15").items():
            if seq in range(2, 9):  # the start and its progress: see test_engine
                continue
            bench.now = started + exchange.at
            text = json.dumps(exchange.request)
            for old, new in issued.items():
                text = text.replace(old, new)
            response = exchange.ask(bench.url, **json.loads(text))
            if exchange.status == 200 and exchange.request["path"].endswith("/token"):
                issued[exchange.json["token"]] = response.json()["token"]
                assert len(response.content) == len(exchange.content)
            else:
                assert_same(exchange, response)

        assert len(set(issued.values())) == 5

    def test_token_of_a_stranger_opens_results_as_recorded(self, bench: Bench) -> None:
        """Scenario 35."""
        report, files = finished_job("35", 7)
        contents = {name: scenario("35")[8 + place].content for place, name in enumerate(files)}
        bench.put_job(report, contents)
        bench.store.use_nonce(address=scenario("35")[1].request["body"]["address"], nonce=118)
        token = scenario("35")[1].ask(bench.url).json()["token"]

        for seq in range(8, 12):
            exchange = scenario("35")[seq]
            assert_same(exchange, exchange.ask(bench.url, headers={"Authorization": token}))

    def test_token_outlives_the_process(self, tmp_path: Path) -> None:
        before = make_bench(tmp_path)
        before.store.use_nonce(address=OWNER, nonce=30)
        token = scenario("15")[1].ask(before.url).json()["token"]
        report, files = finished_job("15", 8)
        before.put_job(report, files)
        close_bench(before)

        after = make_bench(tmp_path)
        try:
            response = scenario("15")[10].ask(after.url, headers={"Authorization": token})
            assert response.status_code == 200
        finally:
            close_bench(after)


class TestNonces:
    """Scenario 26."""

    def test_counters_move_as_recorded(self, bench: Bench) -> None:
        report, files = finished_job("26", 16)
        bench.put_job(report, files | {"image.log": scenario("26")[13].content})
        bench.store.use_nonce(address=report["owner"], nonce=1)

        for seq in [*range(8, 18), *range(19, 22)]:
            exchange = scenario("26")[seq]
            if seq == 16:  # a status answer: sizes of the made-up files aside, it is in TestStatus
                continue
            assert_same(exchange, exchange.ask(bench.url))

    def test_digest_with_a_leading_zero_byte_must_be_signed_without_it(self, bench: Bench) -> None:
        for exchange in scenario("28").values():
            assert_same(exchange, exchange.ask(bench.url))


class TestServer:
    """What stands between the socket and the answers."""

    def test_rate_limit_refuses_as_recorded_and_keys_on_the_forwarded_address(self, tmp_path: Path) -> None:
        bench = make_bench(tmp_path, rate_limit=1)
        bench.store.use_nonce(address="0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266", nonce=9)
        try:
            for seq, exchange in scenario("25").items():
                forged = {"headers": {"X-Forwarded-For": "203.0.113.7"}} if seq == 13 else {}
                assert_same(exchange, exchange.ask(bench.url, **forged))
        finally:
            close_bench(bench)

    def test_every_request_is_counted(self, bench: Bench) -> None:
        requests.get(bench.url + "/api/services/nope", timeout=5)

        ((_, method, path, status),) = bench.store.requests()
        assert (method, path, status) == ("GET", "/api/services/nope", 404)

    def test_connection_stays_open_over_good_and_bad_answers(self, bench: Bench) -> None:
        connection = HTTPConnection("127.0.0.1", bench.server.port, timeout=5)
        ports = set()

        for path in ("/", "/api/services/nope", "/api/services/nonce", "/api/services/compute"):
            connection.request("GET", path)
            connection.getresponse().read()
            ports.add(connection.sock.getsockname())
        connection.close()

        assert len(ports) == 1

    def test_unknown_route_gets_the_page_that_express_makes(self, bench: Bench) -> None:
        response = requests.post(bench.url + "/api/services/compute<b>", timeout=5)

        assert response.status_code == 404
        assert "<pre>Cannot POST /api/services/compute&lt;b&gt;</pre>" in response.text
