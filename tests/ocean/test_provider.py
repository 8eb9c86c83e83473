"""What a Provider is sent and asked beyond the recorded requests; those: test_every_provider_recording."""

import json
from dataclasses import replace
from typing import Any

import pytest

from jobs.ocean.compute import (
    AlgorithmInput,
    AssetInput,
    CodeAlgorithm,
    Container,
    ResultEntry,
    StartRequest,
    UrlAlgorithm,
    UrlFile,
    UrlInput,
)
from jobs.ocean.errors import BadAnswer, Refused, Rejected, Unreachable
from jobs.ocean.provider import Provider
from jobs.ocean.signing import Token
from jobs.ocean.units import Address
from tests.ocean.provider_replay import read_result
from tests.ocean.provider_wire import (
    ALGORITHM,
    BOB,
    CAROL,
    DATASET,
    accounts,
    answer,
    endpoints,
    last,
    names,
    pen,
    provider,
    root,
    scenario,
)
from tests.ocean.test_every_recording import assert_for_people
from tests.ocean.wire import Answer, FakeWire, transport

OWNER = Address(BOB)
CONTAINER = Container(entrypoint="python $ALGO", image="a/b", tag="c", checksum="sha256:" + "8" * 64)
JOB_ID = "e6046d662b894427aed2fcf4bdad0d71"
ORDER, OTHER_ORDER, LAST_ORDER = "0x" + "1" * 64, "0x" + "2" * 64, "0x" + "3" * 64
ENTRY = ResultEntry(index=0, name="x", kind="output", size=None)


def a_start(**changes: Any) -> StartRequest:
    fields: dict[str, Any] = {
        "environment_id": "ocean-compute",
        "datasets": (AssetInput(DATASET, "1", order=ORDER),),
        "algorithm": AlgorithmInput(ALGORITHM, "0", order=LAST_ORDER),
    }
    return StartRequest(**{**fields, **changes})


def started() -> Answer:
    return answer("40-compute-start", last("40-compute-start"))


def body_of(request: StartRequest, **changes: Any) -> dict[str, Any]:
    client, wire = provider(started())
    client.start(request=request, **{"proof": pen(), **changes})
    body: dict[str, Any] = json.loads(wire.sent[-1].body or b"")
    return body


class TestStart:
    def test_names_the_parameters_of_datasets_and_algorithm(self):
        body = body_of(
            a_start(
                datasets=(AssetInput(DATASET, "1", {"column": "x"}, ORDER),),
                algorithm=AlgorithmInput(ALGORITHM, "0", custom_data={"n": 3}, order=LAST_ORDER),
            )
        )

        assert body["dataset"]["userdata"] == {"column": "x"}
        assert body["algorithm"]["algocustomdata"] == {"n": 3}

    def test_never_sends_a_container_beside_a_published_algorithm(self):
        body = body_of(a_start(algorithm=AlgorithmInput(ALGORITHM, "0", container=CONTAINER)))

        assert body["algorithm"] == {"documentId": ALGORITHM, "serviceId": "0"}

    def test_sends_an_algorithm_by_its_plain_address(self):
        file = UrlFile("https://files.example/a.py")

        meta = body_of(a_start(algorithm=UrlAlgorithm(file, CONTAINER, language="python")))["algorithm"][
            "meta"
        ]

        assert (meta["url"], meta["rawcode"], meta["language"]) == (file.url, "", "python")

    def test_leaves_out_what_a_provider_has_no_words_for(self):
        plain = body_of(a_start())

        assert plain == body_of(
            a_start(
                tag="6f2c",
                metadata={"a": 1},
                queue_wait_s=60,
                max_duration_s=60,
                resources=(("cpu", 1),),
                additional_viewers=(OWNER,),
            )
        )

    def test_stands_with_a_token_and_its_nonce(self):
        client, wire = provider(started())

        client.start(request=a_start(), proof=Token(OWNER, "a.b.c", nonce=7))

        body = json.loads(wire.sent[0].body)
        assert wire.sent[0].headers["AuthToken"] == "a.b.c"
        assert (body["nonce"], body["consumerAddress"], "signature" in body) == (7, BOB, False)

    @pytest.mark.parametrize(
        ("changes", "code"),
        [
            ({"datasets": ()}, "no_dataset"),
            ({"datasets": (UrlInput(UrlFile("https://files.example/a")),)}, "unpublished"),
            ({"envs": {"A": "b"}}, "envs"),
            ({"algorithm": CodeAlgorithm("x", CONTAINER, custom_data={"n": 1})}, "custom_data"),
            (
                {"algorithm": UrlAlgorithm(UrlFile("https://a.example", headers={"K": "v"}), CONTAINER)},
                "algorithm_address",
            ),
            (
                {"algorithm": UrlAlgorithm(UrlFile("https://a.example", method="POST"), CONTAINER)},
                "algorithm_address",
            ),
            ({"algorithm": CodeAlgorithm("x", replace(CONTAINER, dockerfile="FROM a"))}, "dockerfile"),
            ({"algorithm": CodeAlgorithm("x" * 100 * 1024, CONTAINER)}, "too_large"),
        ],
    )
    def test_that_cannot_be_said_is_refused_before_it_is_sent(self, changes, code):
        client, wire = provider(started())

        with pytest.raises(Refused) as caught:
            client.start(request=a_start(**changes), proof=pen())

        assert caught.value.code == code
        assert_for_people(caught.value)
        assert wire.sent == []

    def test_with_a_token_without_a_nonce_is_refused_before_it_is_sent(self):
        client, wire = provider(started())

        with pytest.raises(Refused, match="nonce"):
            client.start(request=a_start(), proof=Token(OWNER, "t"))

        assert wire.sent == []

    @pytest.mark.parametrize("said", [[], [{}], {}, "ok", None, [1], [{"jobId": "a"}]])
    def test_may_have_happened_when_the_answer_cannot_be_read(self, said):
        client, _ = provider(Answer.json(said))

        with pytest.raises(BadAnswer) as caught:
            client.start(request=a_start(), proof=pen())

        assert caught.value.maybe_happened

    def test_with_a_nonce_used_before_may_have_happened_and_is_not_repeated(self):
        name = "86-start-reused-nonce-string"
        client, _ = provider(answer(name, scenario(name)[2]))

        with pytest.raises(Rejected) as caught:
            client.start(request=a_start(), proof=pen())

        assert (caught.value.code, caught.value.retryable, caught.value.maybe_happened) == (
            "nonce_reused",
            False,
            True,
        )

    def test_is_recognised_by_any_of_its_orders(self):
        request = a_start(
            datasets=(AssetInput("d", "1", order=ORDER), AssetInput("e", "1", order=OTHER_ORDER))
        )

        assert request.orders == {ORDER, OTHER_ORDER, LAST_ORDER}
        assert request.agreement_id == LAST_ORDER
        assert a_start(datasets=(), algorithm=CodeAlgorithm("x", CONTAINER)).orders == frozenset()

    @pytest.mark.parametrize("name", [n for n in names() if "start" in n and n[:2] < "82"])
    def test_comes_back_under_one_of_its_orders(self, name):
        exchange = last(name)
        body = exchange["request"]["body_json"]
        sent = [body["dataset"], *body.get("additionalDatasets", []), body["algorithm"]]

        (job,) = exchange["response"]["body_json"]

        assert job["agreementId"] in {part.get("transferTxId") for part in sent}


class TestOpenResult:
    def test_gives_the_recorded_bytes_of_a_log_as_they_are(self):
        name = "43-compute-result-2-algorithmLog"
        client, _ = provider(answer(name, last(name)))
        entry = ResultEntry(index=2, name="algorithm.log", kind="algorithmLog", size=95)

        data = read_result(client, entry, job_id=JOB_ID, proof=pen())

        assert data == last(name)["response"]["body"].encode()
        assert len(data) == 95

    def test_raises_when_less_comes_than_was_listed(self):
        client, _ = provider(Answer(b"12345"))

        with pytest.raises(BadAnswer) as caught:
            read_result(client, ENTRY.model_copy(update={"size": 6}), job_id=JOB_ID, proof=pen())

        assert caught.value.code == "result_incomplete"

    def test_raises_when_nothing_comes(self):
        client, _ = provider(Answer(b""))

        with pytest.raises(BadAnswer) as caught:
            read_result(client, ENTRY, job_id=JOB_ID, proof=pen())

        assert caught.value.code == "result_missing"

    def test_follows_no_redirect(self):
        client, wire = provider(Answer(b"", 302, {"Location": "http://10.0.0.1/secret"}))

        with pytest.raises(BadAnswer) as caught:
            read_result(client, ENTRY, job_id=JOB_ID, proof=pen())

        assert caught.value.code == "redirect"
        assert len(wire.sent) == 1

    @pytest.mark.parametrize("proof", [pen(), Token(OWNER, "t", nonce=3)])
    def test_is_not_repeated_as_each_nonce_passes_once(self, proof):
        client, wire = provider(Answer.text("down", 503), retries=True)

        with pytest.raises(Rejected):
            read_result(client, ENTRY, job_id=JOB_ID, proof=proof)

        assert len(wire.sent) == 1


class TestEndpoints:
    def test_are_asked_for_once_where_nobody_kept_them(self):
        client, wire = provider(Answer.json(root()), Answer.json([]), asked=False)

        client.jobs_of(owner=OWNER)
        client.jobs_of(owner=OWNER)

        assert [sent.path for sent in wire.sent] == ["/", "/api/services/compute", "/api/services/compute"]

    def test_may_lie_where_the_provider_says(self):
        wire = FakeWire(Answer.json([]))
        places = {**endpoints(), "computeStatus": ("GET", "/api/v5/jobs")}
        client = Provider(transport(wire), aquarius=None, endpoints=places)

        client.jobs_of(owner=OWNER)

        assert wire.sent[0].path == "/api/v5/jobs"

    @pytest.mark.parametrize(
        "place",
        [
            ("DELETE", "/api/services/compute"),
            ("GET", "//evil.example/api/services/compute"),
            ("GET", "//api/services/compute"),
            ("GET", "https://evil.example/api"),
            ("GET", "@evil.example/api"),
            ("GET", "/api/../admin"),
            ("GET", "/api/services/compute?a=b"),
            ("GET", "/api/services/compute#a"),
            ("GET", "/api/%2e%2e/admin"),
            ("GET", "/api/services\\compute"),
            ("GET", "/api/services/compute\n"),
            ("GET", "/api/" + "a" * 10_000),
            ("GET", "/admin"),
            ("GET", "api/services/compute"),
            ("GET", ""),
            ("GET", None),
            ("get", "/api/services/compute"),
            (),
            ("GET",),
            None,
        ],
    )
    def test_that_lead_elsewhere_are_never_called(self, place):
        wire = FakeWire(Answer.json([]))
        client = Provider(transport(wire), aquarius=None, endpoints={**endpoints(), "computeStatus": place})

        with pytest.raises(BadAnswer) as caught:
            client.jobs_of(owner=OWNER)

        assert caught.value.code == "endpoint"
        assert_for_people(caught.value)
        assert wire.sent == []

    def test_that_are_missing_are_a_bad_answer(self):
        wire = FakeWire(Answer.json({}))
        client = Provider(transport(wire), aquarius=None, endpoints={"nonce": ("GET", "/api/services/nonce")})

        with pytest.raises(BadAnswer, match="starting a job"):
            client.start(request=a_start(), proof=pen())


class Patience:
    """A transport that keeps how long it was told to wait, and whether to try again."""

    host = "node.example"

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []

    def get_json(self, **told: Any) -> None:
        self.told.append(told)
        raise Unreachable("Nobody is there.", code="timeout")

    send_json = get_json


class TestPatience:
    @pytest.mark.parametrize(
        ("ask", "total_s"),
        [
            (lambda client: client.jobs_of(owner=OWNER), 10),
            (lambda client: client.environments(), 10),
            (lambda client: client.start(request=a_start(), proof=pen()), 45),
            (lambda client: client.stop(job_id=JOB_ID, proof=pen()), 45),
        ],
    )
    def test_is_short_for_reads_and_outlasts_half_a_minute_for_writes(self, ask, total_s):
        patience: Any = Patience()
        client = Provider(patience, aquarius=None, endpoints=endpoints())

        with pytest.raises(Unreachable):
            ask(client)

        (told,) = patience.told
        assert told["total_s"] == total_s
        assert told.get("retry", False) is False


class TestTokens:
    def test_end_at_whole_seconds(self):
        client, wire = provider(Answer.json({"token": "a.b.c"}))

        assert client.create_token(proof=pen(), valid_until_ms=1_795_334_972_999) == "a.b.c"
        assert wire.sent[0].query["expiration"] == "1795334972"

    def test_without_an_end_are_refused(self):
        client, wire = provider(Answer.json({}))

        with pytest.raises(Refused) as caught:
            client.create_token(proof=pen())

        assert caught.value.code == "token_period"
        assert wire.sent == []

    @pytest.mark.parametrize(
        "said", [{}, [], {"token": 1}, {"token": ""}, {"token": "a\nb"}, {"token": "x" * 5_000}]
    )
    def test_that_no_header_could_carry_are_bad_answers(self, said):
        client, _ = provider(Answer.json(said))

        with pytest.raises(BadAnswer) as caught:
            client.create_token(proof=pen(), valid_until_ms=1)

        assert caught.value.code == "token_answer"

    @pytest.mark.parametrize("said", [{}, [], None, {"success": False}, {"success": ""}])
    def test_that_are_not_confirmed_as_gone_may_be_gone(self, said):
        client, _ = provider(Answer.json(said))

        with pytest.raises(BadAnswer) as caught:
            client.invalidate_token(proof=pen(), token="t")

        assert caught.value.maybe_happened


class TestWithoutWhatANodeHas:
    def test_live_logs_are_refused_with_a_sentence(self):
        client, wire = provider(Answer.json({}))

        with pytest.raises(Refused) as caught:
            client.stream_log(job_id=JOB_ID, proof=pen(), max_bytes=1, total_s=1)

        assert caught.value.code == "no_live_logs"
        assert_for_people(caught.value)
        assert wire.sent == []

    @pytest.mark.parametrize(
        "ask", [lambda client: client.get_ddo(did=DATASET), lambda client: client.search_assets()]
    )
    def test_documents_are_refused_where_no_aquarius_is_named(self, ask):
        client = Provider(transport(FakeWire(Answer.json({}))), aquarius=None, endpoints=endpoints())

        with pytest.raises(Refused) as caught:
            ask(client)

        assert caught.value.code == "no_aquarius"
        assert_for_people(caught.value)

    def test_nothing_is_promised_that_cannot_be_kept(self):
        can = Provider.capabilities

        assert not (can.live_logs or can.exit_codes or can.queue or can.tags)
        assert can.free_jobs and can.tokens and can.orders and can.token_nonces and can.trust_enforced


class TestSearch:
    def test_always_names_the_kinds_of_assets(self):
        client, wire = provider(Answer.json({"hits": {"hits": []}}))

        client.search_assets(text=" branin ", limit=5)
        client.search_assets(kind="dataset", limit=1_000)

        first, second = (json.loads(sent.body) for sent in wire.sent)
        assert first["query"]["bool"]["filter"] == [{"terms": {"metadata.type": ["dataset", "algorithm"]}}]
        assert first["query"]["bool"]["must"][0]["multi_match"]["query"] == "branin"
        assert second["query"]["bool"] == {"filter": [{"terms": {"metadata.type": ["dataset"]}}]}
        assert (first["size"], second["size"]) == (5, 100)

    def test_gives_the_recorded_documents(self):
        client, _ = provider(answer("13-aquarius-query", last("13-aquarius-query")))

        found = client.search_assets(kind="algorithm")

        assert found[0]["id"] == ALGORITHM
        assert {one["metadata"]["type"] for one in found} == {"algorithm"}

    @pytest.mark.parametrize(
        "said",
        [[], None, "x", {}, {"hits": None}, {"hits": []}, {"hits": {"hits": {}}}, {"hits": {"hits": None}}],
    )
    def test_of_another_shape_is_a_bad_answer(self, said):
        client, _ = provider(Answer.json(said))

        with pytest.raises(BadAnswer) as caught:
            client.search_assets()

        assert caught.value.code == "search"

    def test_leaves_out_what_is_no_asset(self):
        good = last("13-aquarius-query")["response"]["body_json"]["hits"]["hits"][0]
        hits = [good, {"_source": {"did": DATASET}}, {}, 7, {"_source": None}]
        client, _ = provider(Answer.json({"hits": {"hits": hits}}))

        found = client.search_assets()

        assert (len(found), found.skipped) == (1, 4)


def not_found(text: str) -> Answer:
    """What an Aquarius says when its index fails. Source: aquarius v5.1.8, app/assets.py, get_ddo."""
    return Answer.json({"error": f"Error encountered while searching the asset DID {text}"}, 404)


class TestDdo:
    def test_of_an_aquarius_that_is_down_is_not_an_unknown_asset(self):
        with pytest.raises(Rejected) as down:
            provider(Answer.text("down", 503))[0].get_ddo(did=DATASET)
        with pytest.raises(Rejected) as broken:
            provider(not_found(f"{DATASET}: ConnectionError(timed out)."))[0].get_ddo(did=DATASET)
        with pytest.raises(Rejected) as hidden:
            provider(not_found(f"{DATASET}: 'NoneType' object is not iterable."))[0].get_ddo(did=DATASET)
        with pytest.raises(Unreachable):
            provider(ConnectionResetError())[0].get_ddo(did=DATASET)
        with pytest.raises(Rejected) as unknown:
            provider(answer("11-aquarius-resolve-unknown", last("11-aquarius-resolve-unknown")))[0].get_ddo(
                did=DATASET
            )

        assert (down.value.code, unknown.value.code) == ("gateway", "unknown_asset")
        assert (broken.value.code, broken.value.retryable) == ("gateway", True)
        assert hidden.value.code == "unknown_asset"


class TestOwners:
    def test_are_checksummed_as_a_provider_compares_them_as_text(self):
        client, wire = provider(Answer.json([]))

        client.jobs_of(owner=Address(CAROL.lower()))

        assert wire.sent[0].query == {"consumerAddress": CAROL}
        assert CAROL in accounts()
