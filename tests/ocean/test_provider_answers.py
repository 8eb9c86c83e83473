"""What is made of a Provider's answers, odd and hostile ones too. Every recorded answer: test_every_provider_recording."""

import copy
from decimal import Decimal
from typing import Any

import pytest

from jobs.ocean.compute import (
    AlgorithmInput,
    AssetInput,
    CodeAlgorithm,
    Container,
    JobReport,
    OrderNeed,
    StartRequest,
    parse_environments_by_chain,
)
from jobs.ocean.errors import BadAnswer
from jobs.ocean.needs import parse_order_needs
from jobs.ocean.provider_answers import parse_provider_job
from jobs.ocean.units import Address
from jobs.ocean.verdicts import failure_number, verdict
from tests.ocean.provider_wire import ALGORITHM, BOB, CAROL, DATASET, last, provider, scenario
from tests.ocean.wire import Answer

OWNER = Address(BOB)
OTHER = "did:op:cd9200d44c550586c4482889d082e618492f7295859352dcbb31a4c33a9ac934"
ORDER = "0x" + "1" * 64
WHO = "The Provider"


def job(**changes: Any) -> dict[str, Any]:
    """The ended job of recording 42, with changes."""
    (told,) = last("42-compute-status-finished")["response"]["body_json"]
    return {**copy.deepcopy(told), **changes}


def report(**changes: Any) -> JobReport:
    return parse_provider_job(job(**changes))


class TestJobs:
    def test_are_read_as_recorded(self):
        read = report()

        assert read.dialect == "provider-v4"
        assert (read.job_id, read.long_id) == ("e6046d662b894427aed2fcf4bdad0d71",) * 2
        assert (read.owner, read.environment_id, read.exit_code, read.tag) == (BOB, None, None, None)
        assert read.agreement_id == job()["agreementId"]
        assert (read.created_at, read.finished_at) == (1795331338.373367, 1795331341.0919)
        assert [(one.index, one.name, one.kind, one.size) for one in read.results] == [
            (0, "result.json", "output", 130),
            (1, "summary.txt", "output", 15),
            (2, "algorithm.log", "algorithmLog", 95),
            (3, "configure.log", "configrationLog", 302),
            (4, "publish.log", "publishLog", 55),
        ]

    @pytest.mark.parametrize("none", ["", None, []])
    def test_without_results_yet_have_none(self, none):
        assert report(results=none, dateFinished=None).results == ()

    def test_that_run_have_no_end(self):
        (told,) = last("41-compute-status-running")["response"]["body_json"]

        read = parse_provider_job(told)

        assert (read.ended, read.results, verdict(read).state) == (False, (), "running")

    @pytest.mark.parametrize(
        ("number", "stopped", "too_long"), [(0, False, False), (1, True, False), (2, False, True)]
    )
    def test_tell_a_stop_from_an_end_by_the_clock(self, number, stopped, too_long):
        read = report(stopreq=number)

        assert (read.stop_requested, read.ran_too_long) == (stopped, too_long)

    def test_read_nothing_that_is_a_nodes_alone(self):
        read = report(
            terminationDetails={"exitCode": 0, "OOMKilled": True},
            environment="e",
            maxJobDuration=5,
            metadata={"tag": "x"},
            stopRequested=True,
            dialect="ocean-node",
            job_id="other",
            exit_code=0,
        )

        assert (read.exit_code, read.oom_killed, read.environment_id, read.tag) == (None, None, None, None)
        assert (read.dialect, read.stop_requested, read.job_id) == ("provider-v4", False, job()["jobId"])

    def test_show_names_without_markup_tricks(self):
        read = report(
            results=[
                {"filename": "\u202e<script>\x00../../etc/passwd", "filesize": "12", "type": "out\x1bput"},
                {"filename": "b" * 900, "filesize": None, "type": "output"},
            ]
        )

        first, second = read.results
        assert (first.name, first.kind, first.size) == ("<script>../../etc/passwd", "output", 12)
        assert (len(second.name), second.size) == (255, None)

    @pytest.mark.parametrize(
        "changes",
        [
            {"jobId": None},
            {"jobId": 5},
            {"jobId": ""},
            {"jobId": "../../admin"},
            {"jobId": "a/b"},
            {"jobId": "a b"},
            {"jobId": "a&owner=b"},
            {"jobId": "a" * 200},
            {"jobId": "a\n"},
            {"owner": None},
            {"owner": "0x1"},
            {"owner": BOB[:-1] + "b"},
            {"owner": [BOB]},
            {"status": None},
            {"status": "70"},
            {"status": True},
            {"status": -1},
            {"status": 70.0},
            {"status": 10**6},
            {"statusText": 5},
            {"statusText": ["a"]},
            {"agreementId": 5},
            {"agreementId": "x" * 500},
            {"dateCreated": "yesterday"},
            {"dateFinished": "soon"},
            {"dateFinished": True},
            {"dateFinished": "-1"},
            {"dateFinished": "1e30"},
            {"dateFinished": {}},
            {"stopreq": "1"},
            {"stopreq": True},
            {"stopreq": None},
            {"stopreq": [1]},
            {"results": "none"},
            {"results": {"a": 1}},
            {"results": 5},
            {"results": ["a"]},
            {"results": [[]]},
            {"results": [{}]},
            {"results": [{"filename": 5, "filesize": 1, "type": "output"}]},
            {"results": [{"filename": "a", "filesize": -1, "type": "output"}]},
            {"results": [{"filename": "a", "filesize": "-1", "type": "output"}]},
            {"results": [{"filename": "a", "filesize": 1.5, "type": "output"}]},
            {"results": [{"filename": "a", "filesize": 10**20, "type": "output"}]},
            {"results": [{"filename": "a", "filesize": 1, "type": None}]},
            {"results": [{"filename": "a", "filesize": 1, "type": "output"}] * 2_000},
        ],
    )
    def test_that_cannot_be_read_are_bad_answers(self, changes):
        with pytest.raises(BadAnswer) as caught:
            report(**changes)

        assert caught.value.code == "job"
        assert len(caught.value.message) < 200

    @pytest.mark.parametrize("entry", [None, 5, "x", [], [job()]])
    def test_that_are_no_objects_are_bad_answers(self, entry):
        with pytest.raises(BadAnswer):
            parse_provider_job(entry)

    def test_of_others_are_dropped_and_malformed_ones_counted(self):
        client, _ = provider(Answer.json([job(), job(owner=CAROL), job(status="x"), 7]))

        found = client.jobs_of(owner=OWNER)

        assert (len(found), found.skipped) == (1, 2)
        assert found[0].owner == BOB

    @pytest.mark.parametrize("said", [{}, None, "x", 5, [{}], [5], [[[[]]]]])
    def test_of_another_shape_are_a_bad_answer_and_not_an_empty_list(self, said):
        client, _ = provider(Answer.json(said))

        with pytest.raises(BadAnswer):
            client.jobs_of(owner=OWNER)

    def test_are_at_most_five_thousand(self):
        small = {"jobId": "a", "owner": BOB, "status": 1, "stopreq": 0, "results": ""}
        client, _ = provider(Answer.json([small] * 5_010))

        found = client.jobs_of(owner=OWNER)

        assert (len(found), found.skipped) == (5_000, 10)

    def test_that_are_too_deep_are_a_bad_answer(self):
        client, _ = provider(Answer(b"[" * 100_000, 200, {"Content-Type": "application/json"}))

        with pytest.raises(BadAnswer):
            client.jobs_of(owner=OWNER)


# What stopreq says, what an ended job then is. A Provider tells no exit code, so an end alone says little.
BY_STOP = {0: ("unknown", "exit_unknown"), 1: ("cancelled", "stopped"), 2: ("failed", "time_limit")}
BY_NUMBER = {31: ("failed", "data_provisioning"), 32: ("failed", "algorithm_provisioning")}
RESULTS = ["", None, [], job()["results"]]


def standing(read: JobReport, *, first: int | None = None) -> tuple[str, str]:
    judged = verdict(read, first_failure=first)
    assert judged.sentence.strip()
    return judged.state, judged.reason


class TestVerdict:
    """Every status number by every stopreq and kind of results: while it runs, at its end, and rewritten to 70."""

    @pytest.mark.parametrize("number", range(100))
    @pytest.mark.parametrize("stop", [0, 1, 2])
    def test_is_the_same_whenever_the_number_was_seen(self, number, stop):
        for results in RESULTS:
            early = report(status=number, stopreq=stop, results=results, dateFinished=None)
            late = report(status=number, stopreq=stop, results=results)
            settled = report(status=70, stopreq=stop, results=results)
            expected = BY_NUMBER.get(number, BY_STOP[stop])
            seen = failure_number(early)

            assert standing(early) == ("running", "")
            assert standing(late) == expected
            assert standing(late, first=seen) == expected
            assert standing(settled, first=seen) == expected
            assert standing(settled) == BY_STOP[stop]

    def test_takes_no_failure_number_of_a_node_for_one_of_a_provider(self):
        assert {number for number in range(100) if failure_number(report(status=number)) is not None} == {
            31,
            32,
        }

    @pytest.mark.parametrize(
        ("name", "expected"),
        [
            ("42-compute-status-finished", ("unknown", "exit_unknown")),
            ("53-compute-status-stopped", ("cancelled", "stopped")),
            ("54-compute-status-algorithm-failed", ("unknown", "exit_unknown")),
            ("55-compute-status-data-provisioning-failed", ("failed", "data_provisioning")),
            ("56-compute-status-algorithm-provisioning-failed", ("failed", "algorithm_provisioning")),
            ("89-status-additional-datasets", ("unknown", "exit_unknown")),
        ],
    )
    def test_of_the_recorded_ends(self, name, expected):
        (told,) = last(name)["response"]["body_json"]

        assert standing(parse_provider_job(told)) == expected


def asking(*, datasets: int = 1, published: bool = True) -> StartRequest:
    container = Container(entrypoint="a", image="b", tag="c", checksum="d")
    return StartRequest(
        environment_id="e",
        datasets=tuple(AssetInput(did, "1") for did in (DATASET, OTHER)[:datasets]),
        algorithm=AlgorithmInput(ALGORITHM, "0") if published else CodeAlgorithm("x", container),
    )


def told(name: str) -> dict[str, Any]:
    said: dict[str, Any] = copy.deepcopy(last(name)["response"]["body_json"])
    return said


def with_fee(**changes: Any) -> dict[str, Any]:
    """The answer of recording 60, whose only fee has changes."""
    said = told("60-provider-fees-preview")
    said["datasets"][0]["providerFee"] |= changes
    return said


class TestOrderNeeds:
    def test_are_new_orders_for_the_dataset_and_then_the_algorithm(self):
        said = told("30-pay-for-compute-service")

        dataset, algorithm = parse_order_needs(said, request=asking(), who=WHO)

        assert (dataset.did, dataset.service_id, dataset.valid_order) == (DATASET, "1", "")
        assert (algorithm.did, algorithm.service_id, algorithm.valid_order) == (ALGORITHM, "0", "")
        assert dataset.datatoken == "0x56AcE95fFAC3f82bEae9bf701687d6C0B260f29A"
        fee = said["algorithm"]["providerFee"]
        assert algorithm.fee is not None
        assert (algorithm.fee.amount_wei, algorithm.fee.v, algorithm.fee.r, algorithm.fee.data) == (
            0,
            fee["v"],
            fee["r"],
            fee["providerData"],
        )
        assert (algorithm.fee.address, algorithm.fee.token) == (
            fee["providerFeeAddress"],
            fee["providerFeeToken"],
        )
        assert algorithm.fee.valid_until == 1795417737

    def test_are_nothing_to_send_where_the_orders_are_valid(self):
        said = told("31-pay-again-reuses-order")

        assert parse_order_needs(said, request=asking(), who=WHO) == (
            OrderNeed(DATASET, "1", None, said["datasets"][0]["validOrder"], None),
            OrderNeed(ALGORITHM, "0", None, said["algorithm"]["validOrder"], None),
        )

    def test_are_renewals_where_an_order_is_valid_for_too_short_a_time(self):
        needs = parse_order_needs(told("32-pay-again-longer-reuse-order"), request=asking(), who=WHO)

        assert all(need.valid_order and need.fee and need.datatoken for need in needs)

    def test_carry_the_fee_of_the_environment_once(self):
        needs = parse_order_needs(told("88-init-two-datasets"), request=asking(datasets=2), who=WHO)

        assert [need.did for need in needs] == [DATASET, OTHER, ALGORITHM]
        assert [need.fee.amount_wei for need in needs] == [99833333333333340, 0, 0]

    def test_leave_an_algorithm_out_that_is_not_published(self):
        (need,) = parse_order_needs(
            told("60-provider-fees-preview"), request=asking(published=False), who=WHO
        )

        assert (need.did, need.fee.amount_wei) == (DATASET, 99833333333333340)

    @pytest.mark.parametrize("amount", [0, "0", 5, "99833333333333340", 2**256 - 1, str(2**256 - 1)])
    def test_take_amounts_up_to_256_bits(self, amount):
        (need,) = parse_order_needs(
            with_fee(providerFeeAmount=amount), request=asking(published=False), who=WHO
        )

        assert need.fee.amount_wei == int(amount)

    @pytest.mark.parametrize(
        "changes",
        [
            {"providerFeeAmount": 2**256},
            {"providerFeeAmount": str(2**256)},
            {"providerFeeAmount": "9" * 5_000},
            {"providerFeeAmount": -1},
            {"providerFeeAmount": "-1"},
            {"providerFeeAmount": 1.5},
            {"providerFeeAmount": "1e18"},
            {"providerFeeAmount": "0x10"},
            {"providerFeeAmount": "٣"},
            {"providerFeeAmount": ""},
            {"providerFeeAmount": True},
            {"providerFeeAmount": None},
            {"providerFeeAmount": [1]},
            {"providerFeeAddress": "0x1"},
            {"providerFeeAddress": None},
            {"providerFeeAddress": BOB[:-1] + "b"},
            {"providerFeeToken": "OCEAN"},
            {"providerFeeToken": 5},
            {"validUntil": "1795331958"},
            {"validUntil": -1},
            {"validUntil": 10**20},
            {"validUntil": True},
            {"validUntil": None},
            {"v": 0},
            {"v": 29},
            {"v": "27"},
            {"v": True},
            {"v": None},
            {"r": "0x1"},
            {"r": None},
            {"r": "0x" + "g" * 64},
            {"s": "0x" + "1" * 65},
            {"s": ["0x"]},
            {"providerData": "7b"},
            {"providerData": "0x7"},
            {"providerData": "0x" + "00" * 6_000},
            {"providerData": None},
            {"providerData": {"a": 1}},
        ],
    )
    def test_with_a_fee_that_no_contract_takes_are_bad_answers(self, changes):
        with pytest.raises(BadAnswer) as caught:
            parse_order_needs(with_fee(**changes), request=asking(published=False), who=WHO)

        assert caught.value.code == "orders"
        assert len(caught.value.message) < 200

    @pytest.mark.parametrize(
        "said",
        [
            None,
            [],
            "x",
            {},
            {"datasets": {}},
            {"datasets": []},
            {"datasets": [5]},
            {"datasets": [{}]},
            {"datasets": [{"validOrder": 5}]},
            {"datasets": [{"validOrder": "0x1"}]},
            {"datasets": [{"validOrder": ""}]},
            {"datasets": [{"validOrder": ORDER + "\n"}]},
            {"datasets": [{"validOrder": ORDER}] * 2},
            {"datasets": [{"datatoken": BOB}]},
            {"datasets": [{"datatoken": BOB, "providerFee": []}]},
            {"datasets": [{"datatoken": BOB, "providerFee": "x"}]},
            {"datasets": [{"datatoken": BOB, "providerFee": {}}]},
            {"datasets": [{"providerFee": told("60-provider-fees-preview")["datasets"][0]["providerFee"]}]},
            {"datasets": [{"datatoken": "0x1", "validOrder": ORDER}]},
        ],
    )
    def test_of_another_shape_are_bad_answers(self, said):
        with pytest.raises(BadAnswer) as caught:
            parse_order_needs(said, request=asking(published=False), who=WHO)

        assert caught.value.code == "orders"

    @pytest.mark.parametrize("algorithm", [None, [], {}, "x"])
    def test_without_what_a_published_algorithm_needs_are_bad_answers(self, algorithm):
        said = {"datasets": [{"validOrder": ORDER}], "algorithm": algorithm}

        with pytest.raises(BadAnswer):
            parse_order_needs(said, request=asking(), who=WHO)


class TestNonce:
    @pytest.mark.parametrize(
        ("sent", "nonce"),
        [
            ("1", 1),
            (1, 1),
            ("1795331659687", 1795331659687),
            (1795331659687.0, 1795331659687),
            ("5.0", 5),
            (5.2, 6),
            ("1795331659701666127", 1795331659701666127),
        ],
    )
    def test_is_read_as_text_number_or_fraction(self, sent, nonce):
        client, _ = provider(Answer.json({"nonce": sent}))

        assert client.nonce(address=OWNER) == nonce

    @pytest.mark.parametrize(
        "said",
        [
            *(
                {"nonce": one}
                for one in (None, True, "", "-1", "x", "1e99", "1e5", 10**30, 1e300, {}, [], "٣")
            ),
            {"nonce": -1},
            {"nonce": "9" * 20},
            {},
            [],
            None,
            "1",
        ],
    )
    def test_that_is_no_number_or_missing_is_a_bad_answer(self, said):
        client, _ = provider(Answer.json(said))

        with pytest.raises(BadAnswer) as caught:
            client.nonce(address=OWNER)

        assert caught.value.code == "nonce_answer"


class TestEnvironments:
    def test_are_those_of_every_chain_with_their_prices(self):
        client, _ = provider(Answer.json(scenario("20-c2d-environments")[3]["response"]["body_json"]))

        free, paid = client.environments()

        assert (free.id, free.chain_id, free.price_min) == ("ocean-compute", 8996, 0)
        assert free.free is not None
        assert (paid.id, paid.price_min, paid.free) == ("ocean-compute2", Decimal("0.01"), None)

    @pytest.mark.parametrize(
        "said",
        [
            [],
            None,
            "x",
            {"8996": {}},
            {"mainnet": []},
            {"-1": []},
            {"8996": [5]},
            {"8996": [{}]},
            {"8996": [{"id": "a/../b c", "consumerAddress": BOB, "priceMin": 0, "maxJobDuration": 1}]},
            {"8996": [{"id": "a", "consumerAddress": "0x1", "priceMin": 0, "maxJobDuration": 1}]},
            {"8996": [{"id": "a", "consumerAddress": BOB, "priceMin": -1, "maxJobDuration": 1}]},
            {"8996": [{"id": "a", "consumerAddress": BOB, "priceMin": "nan", "maxJobDuration": 1}]},
            {"8996": [{"id": "a", "consumerAddress": BOB, "priceMin": "Infinity", "maxJobDuration": 1}]},
            {"8996": [{"id": "a", "consumerAddress": BOB, "priceMin": 0, "maxJobDuration": "1e40"}]},
            {"8996": [{"id": "a", "consumerAddress": BOB, "priceMin": 0, "maxJobDuration": -5}]},
            {
                "8996": [
                    {"id": "a", "consumerAddress": BOB, "priceMin": 0, "maxJobDuration": 1, "feeToken": "x"}
                ]
            },
        ],
    )
    def test_of_another_shape_are_bad_answers(self, said):
        with pytest.raises(BadAnswer):
            parse_environments_by_chain(said)
