"""From what a person entered to what a job is made of, where a Provider differs: code, lists, chains, waits, userdata."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest

from jobs.access import Actor
from jobs.errors import InvalidInput, NotAllowed
from jobs.models import Asset, Environment, Job, Team
from jobs.services import choosing, launching
from jobs.services.choosing import CODE_MAX_BYTES, DatasetChoice, LaunchRequest, OwnAlgorithm, Plan
from tests import builders
from tests.builders import NOW
from tests.ocean.provider_wire import DATASET, scenario
from tests.services.conftest import Place
from tests.services.fakes import OWNER, STRANGER
from tests.services.test_launching import KEY

CONSUMER = builders.RAW_PROVIDER_ENVIRONMENT["consumerAddress"]
CHECKSUM = "sha256:" + "ab" * 32
CODE = OwnAlgorithm(
    image="python",
    tag="3.11",
    entrypoint="python3 $ALGO",
    code="print(1)",
    language="python",
    checksum=CHECKSUM,
)


@pytest.fixture
def quay(team: Team) -> Place:
    """A Provider with an environment, and what a job there is made of; the documents are recorded ones."""
    node = builders.make_provider_node()
    dataset = builders.make_asset(team=team, node=node, did=DATASET, raw=document())
    dataset.services[0]["compute"] = {"trusted_algorithms": [], "allow_raw": True}
    dataset.save()
    return Place(
        node=node,
        environment=builders.make_environment(node=node),
        dataset=dataset,
        algorithm=builders.make_asset(team=team, node=node, kind="algorithm"),
        wallet=builders.granted(builders.make_wallet(team=team)),
    )


def document(**values: Any) -> dict[str, Any]:
    """A recorded document of the dataset, with some of its parts changed."""
    body: dict[str, Any] = deepcopy(scenario("10-aquarius-resolve")[1]["response"]["body_json"])
    return body | values


def asked(place: Place, **values: Any) -> LaunchRequest:
    request = LaunchRequest(
        datasets=(DatasetChoice(ref=place.dataset.did),),
        algorithm=place.algorithm.did,
        environment=str(place.environment.pk),
        wallet="demo",
    )
    return replace(request, **values)


def plan(actor: Actor, place: Place, **values: Any) -> Plan:
    return choosing.plan(actor=actor, request=asked(place, **values))


def refused(actor: Actor, place: Place, **values: Any) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        plan(actor, place, **values)
    return caught.value


class TestOwnCode:
    def test_takes_the_place_of_a_published_algorithm(self, alice: Actor, quay: Place) -> None:
        made = plan(alice, quay, algorithm=CODE)

        assert (made.algorithm.asset, made.algorithm.service_id) == (None, "")
        assert made.algorithm.own == {"language": "python", "code": "print(1)", "url": ""}
        assert made.algorithm.container == {
            "image": "python",
            "tag": "3.11",
            "entrypoint": "python3 $ALGO",
            "checksum": CHECKSUM,
        }
        assert made.name == "Own code (python), Buoys 2025"

    @pytest.mark.parametrize("member", ["bob", "vera"])
    def test_is_for_owners_and_admins(self, request: pytest.FixtureRequest, quay: Place, member: str) -> None:
        with pytest.raises(NotAllowed):
            plan(request.getfixturevalue(member), quay, algorithm=CODE)

    def test_cannot_be_run_again_by_who_may_not_run_it(self, bob: Actor, quay: Place, team: Team) -> None:
        job = builders.make_job(
            team=team,
            node=quay.node,
            own_algorithm={"language": "", "code": "print(1)", "url": ""},
            datasets=[quay.dataset],
        )

        with pytest.raises(NotAllowed):
            launching.rerun(actor=bob, job_id=job.pk, launch_key=KEY, now=NOW)

        assert Job.objects.count() == 1

    @pytest.mark.parametrize(
        ("change", "field", "code"),
        [
            ({"code": " "}, "code", "no_code"),
            ({"url": "https://host/algo.py"}, "code", "no_code"),
            ({"code": "é" * (CODE_MAX_BYTES // 2 + 1)}, "code", "code_too_large"),
            ({"code": "", "url": "ftp://host/algo.py"}, "code_url", "invalid"),
            ({"code": "", "url": "https://"}, "code_url", "invalid"),
            ({"code": "", "url": "https://host/" + "a" * 2_000}, "code_url", "invalid"),
            ({"image": " "}, "code_image", "no_container"),
            ({"tag": ""}, "code_tag", "no_container"),
            ({"entrypoint": ""}, "code_entrypoint", "no_container"),
            ({"entrypoint": "python3 algo.py"}, "code_entrypoint", "no_entrypoint"),
        ],
    )
    def test_that_cannot_run_is_refused_at_its_field(
        self, alice: Actor, quay: Place, change: dict[str, str], field: str, code: str
    ) -> None:
        error = refused(alice, quay, algorithm=replace(CODE, **change))

        assert error.field == field
        if code != "invalid":
            assert error.code == code

    def test_of_the_largest_size_is_taken(self, alice: Actor, quay: Place) -> None:
        made = plan(alice, quay, algorithm=replace(CODE, code="a" * CODE_MAX_BYTES))

        assert made.algorithm.own is not None

    def test_is_refused_where_a_publisher_and_a_provider_enforce_it(self, alice: Actor, quay: Place) -> None:
        quay.dataset.services[0]["compute"]["allow_raw"] = False
        quay.dataset.save()

        error = refused(alice, quay, algorithm=CODE)

        assert (error.field, error.code) == ("algorithm", "raw_not_allowed")

    def test_is_left_to_an_ocean_node_that_does_not_enforce_it(self, alice: Actor, place: Place) -> None:
        assert plan(alice, place, algorithm=CODE).algorithm.own is not None


class TestConsumability:
    def lists(self, quay: Place, **credentials: list[Any]) -> None:
        values = {kind: [{"type": "address", "values": addresses}] for kind, addresses in credentials.items()}
        Asset.objects.filter(pk=quay.dataset.pk).update(raw=document(credentials=values))

    @pytest.mark.parametrize(
        ("credentials", "code"),
        [
            ({"allow": [str(OWNER)]}, "not_allowed"),
            ({"allow": [CONSUMER]}, "not_allowed"),
            ({"allow": [STRANGER]}, "not_allowed"),
            ({"deny": [str(OWNER)]}, "denied"),
            ({"deny": [CONSUMER]}, "denied"),
            ({"allow": [str(OWNER), CONSUMER]}, None),
            ({"allow": [str(OWNER).lower(), CONSUMER.lower()]}, None),
            ({"deny": [STRANGER]}, None),
            ({"allow": [str(OWNER), CONSUMER], "deny": [CONSUMER]}, None),
        ],
    )
    def test_is_asked_for_the_wallet_and_for_the_environment(
        self, alice: Actor, quay: Place, credentials: dict[str, list[Any]], code: str | None
    ) -> None:
        self.lists(quay, **credentials)

        if code is None:
            assert plan(alice, quay)
        else:
            error = refused(alice, quay)
            assert (error.field, error.code) == ("datasets", code)
            assert "“Buoys 2025”" in error.message

    @pytest.mark.parametrize(
        ("state", "usable"), [(0, True), (1, False), (2, False), (3, False), (4, False), (5, True)]
    )
    def test_ends_with_the_asset(self, alice: Actor, quay: Place, state: int, usable: bool) -> None:
        raw = document()
        raw["nft"]["state"] = state
        Asset.objects.filter(pk=quay.dataset.pk).update(raw=raw)

        if usable:
            assert plan(alice, quay)
        else:
            assert refused(alice, quay).code == "asset_disabled"

    def test_of_the_algorithm_is_told_at_its_field(self, alice: Actor, quay: Place) -> None:
        raw = document(credentials={"deny": [{"type": "address", "values": [CONSUMER]}]})
        Asset.objects.filter(pk=quay.algorithm.pk).update(raw=raw | {"id": quay.algorithm.did})

        assert refused(alice, quay).field == "algorithm"


class TestEnvironments:
    def test_of_two_chains_with_one_name_are_told_apart_by_the_data(self, alice: Actor, quay: Place) -> None:
        builders.make_environment(node=quay.node, chain_id=137)

        made = plan(alice, quay, environment=quay.environment.env_id)

        assert made.environment == quay.environment

    def test_of_another_chain_is_not_offered(self, alice: Actor, quay: Place) -> None:
        other = builders.make_environment(node=quay.node, chain_id=137)

        error = refused(alice, quay, environment=str(other.pk))

        assert error.code == "unknown_environment"
        assert error.candidates == (quay.environment.env_id,)

    def test_free_ones_are_looked_for_on_the_data_s_chain(self, alice: Actor, quay: Place) -> None:
        builders.make_environment(node=quay.node, chain_id=137, free_room=50)

        assert plan(alice, quay, environment="free").environment == quay.environment

    def test_that_are_gone_are_not_chosen(self, alice: Actor, quay: Place) -> None:
        Environment.objects.filter(pk=quay.environment.pk).update(gone_at=NOW)

        assert refused(alice, quay).code == "unknown_environment"
        assert refused(alice, quay, environment="free").code == "no_free_tier"

    def test_that_cost_something_are_paid_in_their_token(self, alice: Actor, quay: Place) -> None:
        raw = quay.environment.raw | {"priceMin": 1}
        Environment.objects.filter(pk=quay.environment.pk).update(raw=raw, has_free_tier=False)

        made = plan(alice, quay)

        assert (made.free, made.payment_token) == (False, raw["feeToken"])

    def test_take_data_of_one_chain_at_a_time(self, alice: Actor, quay: Place, team: Team) -> None:
        other = builders.make_asset(team=team, node=quay.node, chain_id=137)

        error = refused(alice, quay, datasets=(DatasetChoice(quay.dataset.did), DatasetChoice(other.did)))

        assert (error.field, error.code) == ("datasets", "different_chains")

    def test_take_an_algorithm_of_their_chain_alone(self, alice: Actor, quay: Place) -> None:
        Asset.objects.filter(pk=quay.algorithm.pk).update(chain_id=137)

        error = refused(alice, quay)

        assert (error.field, error.code) == ("algorithm", "different_chains")


class TestWait:
    def test_counts_for_nothing_where_there_is_no_queue(self, alice: Actor, quay: Place) -> None:
        assert plan(alice, quay, queue_wait_s=10**9).queue_wait_s == 0

    def test_is_limited_where_there_is_one(self, alice: Actor, place: Place) -> None:
        assert refused(alice, place, queue_wait_s=10**9).field == "queue_wait_s"

    def test_of_a_job_from_there_may_be_run_again_here(self, alice: Actor, quay: Place, team: Team) -> None:
        job = builders.make_job(
            team=team, node=quay.node, datasets=[quay.dataset], algorithm=quay.algorithm, max_duration_s=60
        )

        again = Job.objects.get(pk=launching.rerun(actor=alice, job_id=job.pk, launch_key=KEY, now=NOW))

        assert (again.queue_wait_s, again.rerun_of) == (0, job)


class TestDuration:
    def test_is_the_environment_s_limit_unless_told(self, alice: Actor, quay: Place) -> None:
        assert plan(alice, quay).max_duration_s == 60

    @pytest.mark.parametrize("seconds", [0, 61])
    def test_beyond_its_limits_is_refused(self, alice: Actor, quay: Place, seconds: int) -> None:
        assert refused(alice, quay, max_duration_s=seconds).field == "max_duration_s"


class TestUserdata:
    @pytest.fixture(autouse=True)
    def asks(self, quay: Place) -> None:
        """The dataset's service asks for a region, and knows a year by itself."""
        quay.dataset.services[0]["consumer_parameters"] = [
            {"name": "region", "required": True, "default": ""},
            {"name": "year", "required": True, "default": 2025},
        ]
        quay.dataset.save()

    def choose(self, quay: Place, userdata: dict[str, Any] | None) -> tuple[DatasetChoice, ...]:
        return (DatasetChoice(ref=quay.dataset.did, userdata=userdata),)

    def test_is_filled_up_with_what_the_publisher_takes_for_granted(self, alice: Actor, quay: Place) -> None:
        made = plan(alice, quay, datasets=self.choose(quay, {"region": "North"}))

        assert made.inputs[0].userdata == {"region": "North", "year": 2025}

    def test_travels_with_its_own_dataset(self, alice: Actor, quay: Place, team: Team) -> None:
        other = builders.make_asset(team=team, node=quay.node)

        made = plan(alice, quay, datasets=(*self.choose(quay, {"region": "N"}), DatasetChoice(ref=other.did)))

        assert [x.userdata for x in made.inputs] == [{"region": "N", "year": 2025}, None]

    @pytest.mark.parametrize("userdata", [None, {}, {"region": ""}, {"region": None}])
    def test_that_is_missing_is_named(
        self, alice: Actor, quay: Place, userdata: dict[str, Any] | None
    ) -> None:
        error = refused(alice, quay, datasets=self.choose(quay, userdata))

        assert (error.field, error.code) == ("datasets", "missing_parameter")
        assert "“region”" in error.message

    @pytest.mark.parametrize("value", [float("nan"), "a" * 20_001])
    def test_that_cannot_travel_is_refused(self, alice: Actor, quay: Place, value: Any) -> None:
        assert refused(alice, quay, datasets=self.choose(quay, {"region": value})).field == "datasets"
