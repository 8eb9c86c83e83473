"""Questions about nodes, files, assets and many owners' jobs: what is made of their answers."""

import json

import pytest

from jobs.ocean.compute import UrlFile
from jobs.ocean.errors import BadAnswer, Refused, Rejected
from jobs.ocean.units import Address
from tests.ocean.wire import Answer, account, node, recording


class TestJobsOfMany:
    def test_are_those_of_the_owners_and_tell_no_results(self):
        (mine,) = json.loads(recording("16")[21]["response"]["body"]["text"])
        others = [{**mine, "owner": account(2).address}, {**mine, "owner": account(3).address}]
        client, _ = node(Answer.json([mine, *others]))

        reports = client.jobs_of_many(owners={Address(mine["owner"]), account(3).address})

        assert [report.owner for report in reports] == [mine["owner"], account(3).address]
        assert reports[0].results == ()
        assert not reports[0].tells_results
        assert reports[0].long_id == recording("16")[8]["request"]["query"]["jobId"]
        assert reports[0].exit_code == 0

    def test_results_are_told_by_other_answers(self):
        client, _ = node(Answer.recorded(recording("10")[3]))

        report = client.job(job_id=recording("10")[2]["response"]["body"]["json"][0]["jobId"])

        assert report.results == ()
        assert report.tells_results


class TestStatus:
    def test_names_the_version_of_the_software(self):
        client, _ = node(Answer.recorded(recording("16")[23]))

        status = client.status()

        assert (status.version, status.address) == ("3.2.0", account(9).address)
        assert status.name == "cat-carpet-papa-queen"
        assert status.uptime_s == pytest.approx(357.7, abs=0.1)

    @pytest.mark.parametrize("answer", [None, [], {}, {"version": "3", "address": "x"}, {"version": 3}])
    def test_that_cannot_be_read_is_a_bad_answer(self, answer):
        client, _ = node(Answer.json(answer))

        with pytest.raises(BadAnswer) as caught:
            client.status()

        assert caught.value.code == "node_status"


class TestFileInfo:
    FILE = UrlFile("http://127.0.0.1:8010/data.csv")

    def test_gives_what_the_node_found(self):
        client, _ = node(Answer.recorded(recording("11")[1]))

        (info,) = client.file_info(file=self.FILE)

        assert (info.valid, info.name, info.kind, info.size) == (True, "data.csv", "url", 84)
        assert info.content_type == "text/csv"
        assert info.checksum == "8f04c6fb9076d2e28062d72868751710cf8cee3bf9052b3a02a3bf611d31b949"

    @pytest.mark.parametrize(
        ("said", "size"),
        [
            ("unknown", None),
            (None, None),
            ("", None),
            ("-4", None),
            (-4, None),
            (True, None),
            (84, 84),
            ("9" * 30, None),
        ],
    )
    def test_knows_no_size_where_the_host_does_not_say_it(self, said, size):
        client, _ = node(Answer.json([{"valid": True, "contentLength": said}]))

        (info,) = client.file_info(file=self.FILE)

        assert info.size == size

    @pytest.mark.parametrize("answer", [None, {}, [{"valid": "yes"}], [7]])
    def test_that_cannot_be_read_is_a_bad_answer(self, answer):
        client, _ = node(Answer.json(answer))

        with pytest.raises(BadAnswer):
            client.file_info(file=self.FILE)

    @pytest.mark.parametrize(
        "words", ["Request failed with status code 404", "connect ECONNREFUSED 1.2.3.4:9"]
    )
    def test_of_a_file_that_cannot_be_had_is_refused_in_our_words(self, words):
        client, _ = node(Answer.text(words, 500))

        with pytest.raises(Rejected, match="cannot fetch this file") as caught:
            client.file_info(file=self.FILE)

        assert caught.value.code == "file"
        assert words not in caught.value.message
        assert not caught.value.retryable


class TestSearch:
    def test_gives_the_found_documents_raw(self):
        client, _ = node(Answer.recorded(recording("30")[18]))

        found = client.search_assets(kind="dataset")

        assert [ddo["metadata"]["name"] for ddo in found] == [
            "Open readings",
            "Restricted readings",
            "Download and compute",
        ]
        assert found.skipped == 0

    def test_joins_the_lists_of_all_schemas_and_leaves_malformed_entries_out(self):
        good = recording("30")[10]["response"]["body"]["json"]
        wrapped = {"version": "5.0.0", "credentialSubject": {"id": good["id"]}}
        client, _ = node(Answer.json([[good, {"id": "x"}, 7], [wrapped], [{"credentialSubject": []}]]))

        found = client.search_assets()

        assert list(found) == [good, wrapped]
        assert found.skipped == 3

    def test_takes_no_more_than_it_asked_for(self):
        good = recording("30")[10]["response"]["body"]["json"]
        client, _ = node(Answer.json([[good] * 5]))

        assert len(client.search_assets(limit=2)) == 2

    @pytest.mark.parametrize("answer", [None, {}, "x", [["x"]]])
    def test_that_cannot_be_read_is_a_bad_answer(self, answer):
        client, _ = node(Answer.json(answer))

        with pytest.raises(BadAnswer):
            client.search_assets()


class TestAssetState:
    DID = recording("30")[12]["request"]["query"]["did"]

    def test_says_that_the_asset_is_indexed(self):
        client, _ = node(Answer.recorded(recording("30")[12]))

        state = client.asset_state(did=self.DID)

        assert (state.did, state.valid, state.error) == (self.DID, True, "")

    @pytest.mark.parametrize("answer", [None, [], {"did": DID}, {"did": "did:op:" + "0" * 64, "valid": True}])
    def test_of_another_asset_is_a_bad_answer(self, answer):
        client, _ = node(Answer.json(answer))

        with pytest.raises(BadAnswer) as caught:
            client.asset_state(did=self.DID)

        assert caught.value.code == "asset_state"

    def test_of_a_malformed_did_is_never_asked_for(self):
        client, wire = node(Answer.json({}))

        with pytest.raises(Refused):
            client.asset_state(did="did:op:x&nft=y")

        assert wire.sent == []
