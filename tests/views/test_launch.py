"""The launch page: what it offers, what it refuses and how, and what it records."""

from __future__ import annotations

import re
import uuid
from typing import Any

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from jobs.models import Asset, Environment, Job
from tests import builders
from tests.conftest import Cast
from tests.views.rendering import queries_while_rendering

PAGE = "/coastal/jobs/launch/"
KEY = "0b5d1c9e-0000-4000-8000-000000000001"
PARAMETERS = [
    {
        "name": "seconds",
        "label": "How long",
        "type": "number",
        "default": 30,
        "description": "About.",
        "options": [],
    },
    {"name": "stem", "label": "Stem words", "type": "boolean", "required": False, "default": None},
    {
        "name": "language",
        "label": "Language",
        "type": "select",
        "required": True,
        "options": [["en", "English"], ["pt", "Portuguese"]],
    },
]


class Desk:
    """What the team can launch: a dataset, two algorithms, a free tier, a wallet."""

    def __init__(self, cast: Cast) -> None:
        self.node = builders.make_node()
        self.environment = builders.make_environment(node=self.node)
        self.dataset = builders.make_asset(team=cast.team, node=self.node, name="Iris flowers")
        self.plain = builders.make_asset(
            team=cast.team, node=self.node, kind=Asset.Kind.ALGORITHM, name="Summary statistics"
        )
        self.asking = builders.make_asset(
            team=cast.team,
            node=self.node,
            kind=Asset.Kind.ALGORITHM,
            name="Word count",
            consumer_parameters=PARAMETERS,
        )
        self.wallet = builders.granted(builders.make_wallet(team=cast.team))

    def parameter(self, position: int) -> str:
        """Return the name of the field of one of the asking algorithm's parameters."""
        return f"parameter-{self.asking.pk}-{position}"

    def filled(self, **changes: Any) -> dict[str, Any]:
        """Return a form that launches the plain algorithm, changed."""
        entered: dict[str, Any] = {
            "launch_key": KEY,
            "datasets": [self.dataset.did],
            "algorithm": self.plain.did,
            "environment": "free",
            "wallet": "demo",
            "max_duration_s": "60",
            "queue_wait_s": "",
            "name": "",
            "parameters": "",
        }
        return entered | changes


@pytest.fixture
def desk(cast: Cast) -> Desk:
    """What the team can launch."""
    return Desk(cast)


def errors(html: str) -> dict[str, str]:
    """Return the sentences beside the fields, by field."""
    found = re.findall(r'<p class="error" id="id_([\w-]+)_error">(.*?)</p>', html, re.S)
    return {name: text.strip() for name, text in found}


def compute_service(**changes: Any) -> dict[str, Any]:
    """Return a dataset's compute service as the catalogue stores it."""
    service = {
        "id": "compute-1",
        "type": "compute",
        "name": "",
        "timeout_s": 0,
        "endpoint": "http://127.0.0.1:8001",
        "compute": {"trusted_algorithms": [{"did": "*"}], "trusted_publishers": []},
    }
    return service | changes


class TestLaunchPage:
    def test_offers_what_the_team_has(self, bob: Client, desk: Desk) -> None:
        html = bob.get(PAGE).text

        assert all(did in html for did in (desk.dataset.did, desk.plain.did, desk.asking.did))
        assert "2 of 2 free places" in html
        assert "The free tier with the most room" in html
        assert "demo · 0xd41c…6FBb" in html

    def test_does_not_offer_what_is_another_team_s(self, bob: Client, cast: Cast, desk: Desk) -> None:
        foreign = builders.make_asset(team=cast.other_team, node=desk.node, name="Foreign dataset")
        builders.make_wallet(team=cast.other_team, label="foreign wallet")

        html = bob.get(PAGE).text

        assert foreign.did not in html
        assert "foreign wallet" not in html

    def test_asks_a_bounded_number_of_questions(
        self, bob: Client, cast: Cast, desk: Desk, django_assert_max_num_queries: DjangoAssertNumQueries
    ) -> None:
        for number in range(20):
            builders.make_asset(team=cast.team, node=desk.node, name=f"Dataset {number}")

        # session, person, memberships; assets, nodes, environments, wallets, the team's defaults; two for the frame
        with django_assert_max_num_queries(10):
            bob.get(PAGE)

    def test_asks_nothing_while_rendering(self, bob: Client, desk: Desk) -> None:
        with queries_while_rendering() as late:
            bob.get(PAGE)

        assert late == []

    def test_is_refused_to_a_viewer(self, vera: Client, desk: Desk) -> None:
        assert vera.get(PAGE).status_code == 403

    def test_does_not_exist_for_somebody_outside(self, charlie: Client, desk: Desk) -> None:
        assert charlie.get(PAGE).status_code == 404

    def test_sends_a_stranger_to_the_door(self, client: Client, desk: Desk) -> None:
        response = client.get(PAGE)

        assert response.status_code == 302
        assert response.headers["Location"].startswith("/accounts/login/")

    def test_shows_a_dataset_of_an_unknown_node_disabled_with_the_reason(
        self, bob: Client, cast: Cast, desk: Desk
    ) -> None:
        far = builders.make_asset(
            team=cast.team, node=desk.node, services=[compute_service(endpoint="https://far.example")]
        )

        html = bob.get(PAGE).text

        assert re.search(rf'value="{far.did}" disabled', html)
        assert "Served by https://far.example, which is not among this portal&#x27;s nodes." in html

    def test_lets_a_service_be_chosen_where_there_are_several(
        self, bob: Client, cast: Cast, desk: Desk
    ) -> None:
        services = [compute_service(), compute_service(id="compute-2", name="Since 1900")]
        twofold = builders.make_asset(team=cast.team, node=desk.node, services=services)

        html = bob.get(PAGE).text

        assert html.count('<select name="service-') == 1
        assert f'<select name="service-{twofold.pk}"' in html

    def test_starts_with_what_the_link_names(self, bob: Client, desk: Desk) -> None:
        html = bob.get(f"{PAGE}?dataset={desk.dataset.pk}&algorithm={desk.asking.pk}").text

        assert f'value="{desk.dataset.did}" checked' in html
        assert f'value="{desk.asking.did}" checked' in html
        assert f'name="{desk.parameter(0)}" value="30"' in html

    def test_makes_a_new_launch_key_each_time(self, bob: Client, desk: Desk) -> None:
        keys = {re.findall(r'name="launch_key" value="([\w-]+)"', bob.get(PAGE).text)[0] for _ in range(2)}

        assert len(keys) == 2

    def test_says_what_to_do_when_there_is_nothing(self, bob: Client, cast: Cast) -> None:
        html = bob.get(PAGE).text

        assert "catalogue has no dataset yet" in html
        assert "Ask an owner of the team to make one" in html


class TestRerun:
    def test_shows_what_was_launched(self, bob: Client, cast: Cast, desk: Desk) -> None:
        other = builders.make_wallet(
            team=cast.team, label="second", address="0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
        )
        job = builders.make_job(
            team=cast.team,
            algorithm=desk.asking,
            datasets=[desk.dataset],
            wallet=other,
            environment=desk.environment,
            name="Count again",
            max_duration_s=77,
            parameters={"seconds": 12, "stem": False, "more": {"x": 1}},
        )

        html = bob.get(f"{PAGE}?rerun={job.pk}").text

        assert f'value="{desk.dataset.did}" checked' in html
        assert f'value="{desk.asking.did}" checked' in html
        assert f'name="environment" value="{desk.environment.pk}" checked' in html
        assert f'name="{desk.parameter(0)}" value="12"' in html
        assert '<option value="false" selected>' in html
        assert "&quot;more&quot;" in html
        assert "&quot;seconds&quot;: 12" not in html
        assert '<option value="second" selected>' in html
        assert 'value="77"' in html
        assert 'value="Count again"' in html
        assert f'name="rerun_of" value="{job.pk}"' in html

    def test_of_another_team_s_job_is_not_there(self, bob: Client, cast: Cast, desk: Desk) -> None:
        job = builders.make_job(team=cast.other_team)

        assert bob.get(f"{PAGE}?rerun={job.pk}").status_code == 404

    def test_of_nonsense_is_not_there(self, bob: Client, desk: Desk) -> None:
        assert bob.get(f"{PAGE}?rerun=nonsense").status_code == 404


class TestLaunch:
    def test_records_the_job_and_shows_it(self, bob: Client, cast: Cast, desk: Desk) -> None:
        response = bob.post(PAGE, desk.filled(name="First", parameters='{"deep": {"x": [1]}}'))

        job = Job.objects.get()
        assert response.headers["Location"] == f"/coastal/jobs/{job.pk}/"
        assert (job.name, job.launched_by, job.wallet, job.environment) == (
            "First",
            cast.bob,
            desk.wallet,
            desk.environment,
        )
        assert (job.max_duration_s, job.queue_wait_s, job.parameters) == (60, 120, {"deep": {"x": [1]}})
        assert [(x.dataset, x.service_id) for x in job.inputs.all()] == [(desk.dataset, "compute-1")]

    def test_makes_one_job_of_a_double_click(self, bob: Client, desk: Desk) -> None:
        first, second = (bob.post(PAGE, desk.filled()) for _ in range(2))

        assert Job.objects.count() == 1
        assert first.headers["Location"] == second.headers["Location"]

    def test_sends_the_algorithm_s_parameters_in_their_types(self, bob: Client, desk: Desk) -> None:
        asked = {desk.parameter(0): "12", desk.parameter(1): "false", desk.parameter(2): "pt"}

        bob.post(PAGE, desk.filled(algorithm=desk.asking.did, parameters='{"more": 1}', **asked))

        sent = Job.objects.get().parameters
        assert sent == {"seconds": 12, "stem": False, "language": "pt", "more": 1}
        assert isinstance(sent["seconds"], int)

    def test_uses_the_chosen_service(self, bob: Client, cast: Cast, desk: Desk) -> None:
        services = [compute_service(), compute_service(id="compute-2", name="Since 1900")]
        twofold = builders.make_asset(team=cast.team, node=desk.node, services=services)

        bob.post(PAGE, desk.filled(datasets=[twofold.did], **{f"service-{twofold.pk}": "compute-2"}))

        assert Job.objects.get().inputs.get().service_id == "compute-2"

    def test_names_the_served_service_of_a_dataset_with_a_far_one_too(
        self, bob: Client, cast: Cast, desk: Desk
    ) -> None:
        services = [compute_service(id="far", endpoint="https://far.example"), compute_service(id="near")]
        mixed = builders.make_asset(team=cast.team, node=desk.node, services=services)

        bob.post(PAGE, desk.filled(datasets=[mixed.did]))

        assert Job.objects.get().inputs.get().service_id == "near"

    def test_is_not_led_astray_by_a_wallet_whose_label_is_another_s_number(
        self, bob: Client, cast: Cast, desk: Desk
    ) -> None:
        builders.make_wallet(
            team=cast.team,
            label=str(desk.wallet.pk),
            address="0x70997970C51812dc3A010C7d01b50e0d17dc79C8",
        )

        bob.post(PAGE, desk.filled(wallet="demo"))

        assert Job.objects.get().wallet == desk.wallet

    def test_is_refused_to_a_viewer(self, vera: Client, desk: Desk) -> None:
        assert vera.post(PAGE, desk.filled()).status_code == 403
        assert not Job.objects.exists()

    @pytest.mark.parametrize(
        ("changes", "field", "words"),
        [
            ({"datasets": []}, "datasets", "Choose at least one dataset."),
            ({"datasets": ["did:op:" + "0f" * 32]}, "datasets", "cannot be chosen here"),
            ({"algorithm": ""}, "algorithm", "Choose an algorithm."),
            ({"environment": ""}, "environment", "Choose an environment."),
            ({"environment": "999"}, "environment", "not, or no longer, offered"),
            ({"wallet": ""}, "wallet", "Choose a wallet."),
            ({"max_duration_s": "121"}, "max_duration_s", "between 1 and 120 seconds"),
            ({"max_duration_s": "soon"}, "max_duration_s", "whole number"),
            ({"queue_wait_s": "-1"}, "queue_wait_s", "greater than or equal to 0"),
            ({"queue_wait_s": "700000"}, "queue_wait_s", "between 0 and 604800 seconds"),
            ({"parameters": "{bad"}, "parameters", "This is no JSON: "),
            ({"parameters": "[1]"}, "parameters", "has to be a JSON object"),
            ({"parameters": '{"x": NaN}'}, "parameters", "cannot be stored or sent"),
            ({"parameters": '{"x": "\\ud800"}'}, "parameters", "cannot be stored or sent"),
            ({"parameters": '{"x": "\\u0000"}'}, "parameters", "cannot be stored"),
            ({"parameters": "[" * 100_000}, "parameters", "nested deeper than 100 levels"),
            ({"parameters": '{"x": "' + "a" * 20_000 + '"}'}, "parameters", "larger than 20 kB"),
        ],
    )
    def test_says_beside_the_field_what_cannot_be_used(
        self, bob: Client, desk: Desk, changes: dict[str, Any], field: str, words: str
    ) -> None:
        response = bob.post(PAGE, desk.filled(**changes))

        assert response.status_code == 400
        assert words in errors(response.text)[field]
        assert len(errors(response.text)) == 1
        assert not Job.objects.exists()

    def test_keeps_what_was_entered_and_points_to_the_error(self, bob: Client, desk: Desk) -> None:
        html = bob.post(PAGE, desk.filled(parameters="{bad", name="Mine", max_duration_s="61")).text

        assert f'value="{desk.dataset.did}" checked' in html
        assert f'value="{desk.plain.did}" checked' in html
        assert "{bad</textarea>" in html
        assert 'value="Mine"' in html
        assert 'value="61"' in html
        assert f'name="launch_key" value="{KEY}"' in html
        assert 'aria-describedby="id_parameters_helptext id_parameters_error"' in html

    @pytest.mark.parametrize(
        ("position", "entered", "words"),
        [
            (0, "many", "Enter a number."),
            (0, "1e999", "Enter a number."),
            (2, "", "needs this"),
            (2, "fr", "valid choice"),
        ],
    )
    def test_checks_the_algorithm_s_own_parameters(
        self, bob: Client, desk: Desk, position: int, entered: str, words: str
    ) -> None:
        asked = {desk.parameter(0): "1", desk.parameter(2): "en"} | {desk.parameter(position): entered}

        response = bob.post(PAGE, desk.filled(algorithm=desk.asking.did, **asked))

        assert words in errors(response.text)[desk.parameter(position)]
        assert not Job.objects.exists()

    def test_refuses_a_parameter_that_is_set_twice(self, bob: Client, desk: Desk) -> None:
        asked = {desk.parameter(0): "1", desk.parameter(2): "en", "parameters": '{"seconds": 2}'}

        response = bob.post(PAGE, desk.filled(algorithm=desk.asking.did, **asked))

        assert "has a field of its own" in errors(response.text)["parameters"]

    def test_shows_a_service_s_refusal_beside_its_field(self, bob: Client, cast: Cast, desk: Desk) -> None:
        far = builders.make_node(name="Far node", base_url="https://far.example")
        elsewhere = builders.make_asset(
            team=cast.team, node=far, services=[compute_service(endpoint="https://far.example")]
        )

        response = bob.post(PAGE, desk.filled(datasets=[desk.dataset.did, elsewhere.did]))

        assert "served by different nodes" in errors(response.text)["datasets"]

    def test_says_so_when_the_environment_has_gone_meanwhile(self, bob: Client, desk: Desk) -> None:
        Environment.objects.update(gone_at=builders.NOW)

        response = bob.post(PAGE, desk.filled())

        assert "offers a free tier at the moment" in errors(response.text)["environment"]

    def test_asks_to_load_the_page_again_without_a_launch_key(self, bob: Client, desk: Desk) -> None:
        response = bob.post(PAGE, desk.filled(launch_key=""))

        assert response.status_code == 400
        assert "load the page again" in response.text


class TestShowAgain:
    """The way of browsers without scripts: a button shows the parameters of the algorithm just chosen."""

    def test_shows_the_parameters_without_judging_or_launching(self, bob: Client, desk: Desk) -> None:
        response = bob.post(
            PAGE,
            desk.filled(algorithm=desk.asking.did, name="Mine", max_duration_s="soon", show="parameters"),
        )

        assert response.status_code == 200
        assert errors(response.text) == {}
        assert f'name="{desk.parameter(2)}"' in response.text
        assert 'value="Mine"' in response.text
        assert f'value="{desk.dataset.did}" checked' in response.text
        assert not Job.objects.exists()


class TestParameters:
    FRAGMENT = f"{PAGE}parameters/"

    def fragment(self, client: Client, **query: Any) -> Any:
        return client.get(self.FRAGMENT, query, headers={"HX-Request": "true"})

    def test_answers_with_the_fields_alone(self, bob: Client, desk: Desk) -> None:
        html = self.fragment(bob, algorithm=desk.asking.did).text

        assert html.lstrip().startswith('<div id="launch-parameters">')
        assert all(f'name="{desk.parameter(i)}"' in html for i in range(3))
        assert "<html" not in html

    def test_warns_when_the_publisher_has_not_listed_the_algorithm(
        self, bob: Client, cast: Cast, desk: Desk
    ) -> None:
        rules = {"trusted_algorithms": [{"did": desk.asking.did}], "trusted_publishers": []}
        picky = builders.make_asset(
            team=cast.team, node=desk.node, name="Picky", services=[compute_service(compute=rules)]
        )

        refused = self.fragment(bob, datasets=[picky.did], algorithm=desk.plain.did).text
        listed = self.fragment(bob, datasets=[picky.did], algorithm=desk.asking.did).text

        assert "The publisher of “Picky” has not listed “Summary statistics” as trusted." in refused
        assert "has not listed" not in listed

    @pytest.mark.parametrize("rules", [None, {"trusted_algorithms": None}, {"trusted_algorithms": []}])
    def test_warns_when_the_publisher_listed_none(
        self, bob: Client, cast: Cast, desk: Desk, rules: dict[str, Any] | None
    ) -> None:
        closed = builders.make_asset(
            team=cast.team, node=desk.node, services=[compute_service(compute=rules)]
        )

        html = self.fragment(bob, datasets=[closed.did], algorithm=desk.plain.did).text

        assert "has not listed" in html

    def test_warns_about_the_chosen_service_only(self, bob: Client, cast: Cast, desk: Desk) -> None:
        services = [compute_service(compute={"trusted_algorithms": []}), compute_service(id="open")]
        twofold = builders.make_asset(team=cast.team, node=desk.node, services=services)
        chosen = {"datasets": [twofold.did], "algorithm": desk.plain.did}

        closed = self.fragment(bob, **chosen).text
        opened = self.fragment(bob, **chosen, **{f"service-{twofold.pk}": "open"}).text

        assert "has not listed" in closed
        assert "has not listed" not in opened

    def test_escapes_what_publishers_wrote(self, bob: Client, cast: Cast, desk: Desk) -> None:
        nasty = [
            {"name": '"><script>', "type": "text", "label": "<script>alert(1)</script>", "default": "<b>"}
        ]
        asset = builders.make_asset(
            team=cast.team, node=desk.node, kind=Asset.Kind.ALGORITHM, consumer_parameters=nasty
        )

        html = self.fragment(bob, algorithm=asset.did).text

        assert "<script>" not in html
        assert "&lt;script&gt;" in html

    def test_is_a_whole_page_without_scripts(self, bob: Client, desk: Desk) -> None:
        html = bob.get(self.FRAGMENT, {"algorithm": desk.asking.did}).text

        assert "<html" in html
        assert f'name="{desk.parameter(0)}"' in html

    def test_is_refused_to_a_viewer(self, vera: Client, desk: Desk) -> None:
        assert vera.get(self.FRAGMENT).status_code == 403


def test_a_launch_key_of_a_fresh_page_is_a_uuid(bob: Client, desk: Desk) -> None:
    found = re.findall(r'name="launch_key" value="([\w-]+)"', bob.get(PAGE).text)

    assert uuid.UUID(found[0]).version == 4
