"""What a Provider's refusals mean, the ones too that were never recorded. The recorded: test_every_provider_recording."""

import json

import pytest

from jobs.ocean.errors import OceanError, Rejected
from jobs.ocean.units import Address
from tests.ocean.provider_wire import ALGORITHM, BOB, DATASET, answer, pen, provider, scenario
from tests.ocean.test_every_recording import assert_for_people
from tests.ocean.test_provider import JOB_ID, a_start
from tests.ocean.wire import Answer

OWNER = Address(BOB)
JSON = {"Content-Type": "application/json"}


class TestRefusals:
    @pytest.mark.parametrize(
        ("name", "n", "retryable", "maybe_happened"),
        [
            ("82-start-agreement-in-use", 2, False, False),
            ("82-start-other-consumer", 2, False, False),
            ("82-start-bad-signature", 2, False, False),
            ("82-start-old-nonce", 1, True, False),
            ("82-start-untrusted-algorithm", 2, False, False),
            ("97-download-only-provider", 3, False, False),
            ("96-operator-service-down-status", 1, True, True),
        ],
    )
    def test_of_a_start_say_whether_they_may_pass_and_whether_it_happened(
        self, name, n, retryable, maybe_happened
    ):
        client, _ = provider(answer(name, scenario(name)[n]))

        with pytest.raises(Rejected) as caught:
            client.start(request=a_start(), proof=pen())

        assert (caught.value.retryable, caught.value.maybe_happened) == (retryable, maybe_happened)

    def test_of_a_read_never_may_have_happened(self):
        name = "96-operator-service-down-status"
        client, _ = provider(answer(name, scenario(name)[1]))

        with pytest.raises(Rejected) as caught:
            client.jobs_of(owner=OWNER)

        assert (caught.value.code, caught.value.retryable, caught.value.maybe_happened) == (
            "gateway",
            True,
            False,
        )

    @pytest.mark.parametrize(
        ("error", "code", "named"),
        [
            # Source: provider v2.1.6, validation/algo.py and utils/asset.py.
            ({"dataset": "Asset malformed or disabled."}, "asset_disabled", "The dataset cannot"),
            ({"datasets[1]": "Asset is not consumable."}, "asset_disabled", "Dataset 2 cannot"),
            (
                {
                    "dataset": f"Error: Access to asset {DATASET} was denied with code: ConsumableCodes.ASSET_DISABLED."
                },
                "asset_disabled",
                "The dataset",
            ),
            (
                {
                    "algorithm.credentials": f"Error: Access to asset {ALGORITHM} was denied with code:"
                    " ConsumableCodes.CREDENTIAL_NOT_IN_ALLOW_LIST."
                },
                "not_allowed",
                "publisher of the algorithm",
            ),
            (
                {
                    "dataset": f"Error: Access to asset {DATASET} was denied with code:"
                    " ConsumableCodes.CREDENTIAL_IN_DENY_LIST."
                },
                "denied",
                "publisher of the dataset",
            ),
            ({"datasets[2]": "not_trusted_algo_publisher"}, "not_trusted", "publisher of dataset 3"),
            ({"dataset": "no_publisherTrustedAlgorithms"}, "not_trusted", "the dataset"),
            ({"dataset": "algorithm_file_checksum_mismatch"}, "algorithm_changed", "the dataset"),
            ({"dataset": "algorithm_container_checksum_mismatch"}, "algorithm_changed", "the dataset"),
            ({"dataset.serviceId": "compute_services_not_in_same_provider"}, "other_provider", "The dataset"),
            ({"datasets[1].serviceId": "service_not_access_compute"}, "not_computable", "dataset 2"),
            ({"order": "fees_not_paid"}, "fees_not_paid", "orders"),
            ({"algorithm": "file_unavailable"}, "file", "the algorithm"),
            ({"algorithm": "did_not_found"}, "unknown_asset", "the algorithm"),
            ({"algorithm": "missing_meta_documentId"}, "bad_request", "the algorithm"),
            ({"algorithm.container": "checksum_prefix"}, "image", "the algorithm"),
            ({"additional_input": "invalid"}, "bad_request", "the datasets"),
            ({"output": "invalid"}, "bad_request", "the output"),
            # Words that no Provider is known to say, and parts that it may have been told to repeat.
            ({"dataset": "because"}, "bad_request", "the dataset"),
            ({"0xsecret": "order_invalid"}, "order_invalid", "a part of the request"),
            ({"dataset": ["order_invalid"]}, "bad_request", "the dataset"),
            ({}, "bad_request", "a part of the request"),
        ],
    )
    def test_of_a_part_name_the_part_and_the_reason(self, error, code, named):
        client, _ = provider(Answer.json({"error": error}, 400))

        with pytest.raises(Rejected) as caught:
            client.start(request=a_start(), proof=pen())

        assert caught.value.code == code
        assert named in caught.value.message
        assert_for_people(caught.value)

    @pytest.mark.parametrize(
        ("said", "status", "code"),
        [
            # Source: provider v2.1.6, routes and user_nonce.py; operator-service v1.0.1, routes.py.
            ({"error": "DID is not a valid algorithm"}, 400, "not_algorithm"),
            ({"error": "Environment invalid or does not exist"}, 400, "unknown_environment"),
            ({"error": "No results for job a"}, 404, "result_missing"),
            ({"error": f"Provider {BOB} mismatch for job a"}, 404, "unknown_job"),
            ({"error": "Token is expired."}, 400, "token"),
            ({"error": "Provider Ganache: Invalid serviceId."}, 400, "unknown_service"),
            ({"error": "Provider Ganache: Unable to get dataset files"}, 400, "other_provider"),
            (
                {"errors": [{"RBAC": "RBAC Validation failed!"}], "message": "Validation error"},
                400,
                "not_allowed",
            ),
            ({"errors": "?"}, 400, "bad_request"),
            ({"errors": {}}, 400, "bad_request"),
            # With a token the Provider compares nonces outside of its validation, and fails.
            (
                {"error": "Invalid signature expected nonce (5) > current nonce (1).", "context": {}},
                503,
                "nonce",
            ),
            ({"error": "something new"}, 400, "bad_request"),
            ({"error": "something new"}, 503, "gateway"),
            (["?"], 400, "bad_request"),
        ],
    )
    def test_in_a_sentence_have_their_code(self, said, status, code):
        client, _ = provider(Answer.json(said, status))

        with pytest.raises(Rejected) as caught:
            client.start(request=a_start(), proof=pen())

        assert caught.value.code == code
        assert_for_people(caught.value)
        assert caught.value.maybe_happened == (code == "gateway")

    @pytest.mark.parametrize(
        "said",
        [
            {"errors": {"signature": "Invalid signature {0} for ethereum address"}},
            {"errors": {"{0}": ["The {0} field is required."]}},
            {"error": {"{0}": "{0}"}},
            {"error": {"dataset": "{0}"}},
            {"error": "Cannot create duplicates in the database. {0}", "context": {"signature": "{0}"}},
            {"error": "{0}"},
        ],
    )
    @pytest.mark.parametrize("status", [400, 404, 500, 503])
    def test_never_quote_what_a_provider_repeats(self, said, status):
        secret = "0x" + "ab" * 65
        client, _ = provider(Answer(json.dumps(said).replace("{0}", secret).encode(), status, JSON))

        with pytest.raises(OceanError) as caught:
            client.start(request=a_start(), proof=pen())

        assert secret[:12] not in caught.value.message

    def test_after_a_long_request_are_read_to_the_end(self):
        said = {"context": {"rawcode": "\n" * 90_000}, "error": "Cannot create duplicates in the database."}
        client, _ = provider(Answer.json(said, 503))

        with pytest.raises(Rejected) as caught:
            client.start(request=a_start(), proof=pen())

        assert caught.value.code == "nonce_reused"

    def test_of_a_stop_with_a_nonce_used_before_may_be_repeated(self):
        client, _ = provider(Answer.json({"error": "Cannot create duplicates in the database."}, 503))

        with pytest.raises(Rejected) as caught:
            client.stop(job_id=JOB_ID, proof=pen())

        assert (caught.value.code, caught.value.retryable, caught.value.maybe_happened) == (
            "nonce",
            True,
            True,
        )
