"""The launch page: code of one's own, values that datasets ask for, and nodes of either dialect."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client

from jobs.models import Asset, Environment, Job
from jobs.models.teams import Membership, Role
from jobs.services.choosing import CODE_MAX_BYTES
from tests import builders
from tests.conftest import Cast
from tests.views.test_launch import PAGE, Desk, compute_service, errors

CODE = {
    "code": "print('hello')\n",
    "code_url": "",
    "code_language": "python",
    "code_image": "python",
    "code_tag": "3.11-slim",
    "code_entrypoint": "python3 $ALGO",
    "code_checksum": "sha256:" + "ab" * 32,
}
ASKED = [
    {
        "name": "year",
        "label": "Which year",
        "type": "number",
        "required": True,
        "description": "From 1950 on.",
    },
    {"name": "deep", "label": "Below 10 m", "type": "boolean", "required": False},
]


@pytest.fixture
def desk(cast: Cast) -> Desk:
    """What the team can launch."""
    return Desk(cast)


@pytest.fixture
def asking(cast: Cast, desk: Desk) -> Asset:
    """A dataset whose publisher asks for values."""
    service = compute_service(consumer_parameters=ASKED)
    return builders.make_asset(team=cast.team, node=desk.node, name="Tides", services=[service])


@pytest.fixture
def quay(cast: Cast) -> Asset:
    """A dataset that a Provider serves, to listed algorithms only."""
    node = builders.make_provider_node()
    builders.make_environment(node=node)
    rules = {"trusted_algorithms": [{"did": "did:op:other"}], "allow_raw": False}
    service = compute_service(endpoint=node.base_url, compute=rules)
    return builders.make_asset(team=cast.team, node=node, name="Quay", services=[service])


def own(desk: Desk, **changes: Any) -> dict[str, Any]:
    """Return a form that launches code of one's own, changed."""
    return desk.filled(algorithm="own", **(CODE | changes))


class TestOwnCode:
    def test_is_offered_to_those_who_may_with_a_container_that_the_team_knows(
        self, alice: Client, desk: Desk
    ) -> None:
        html = alice.get(PAGE).text

        assert 'name="algorithm" value="own"' in html
        assert 'name="code_image" value="python"' in html
        assert f'name="code_checksum" value="{builders.CONTAINER["checksum"]}"' in html
        assert 'name="code_entrypoint" value="python3 $ALGO"' in html
        assert "At most 60 kB." in html

    def test_starts_with_python_where_no_algorithm_says_how_it_runs(self, alice: Client, cast: Cast) -> None:
        html = alice.get(PAGE).text

        assert 'name="code_tag" value="3.11-slim"' in html

    def test_is_not_offered_to_a_launcher(self, bob: Client, desk: Desk) -> None:
        html = bob.get(PAGE).text

        assert 'value="own"' not in html
        assert "code_image" not in html

    def test_is_refused_to_a_launcher_who_sends_it_all_the_same(self, bob: Client, desk: Desk) -> None:
        response = bob.post(PAGE, own(desk))

        assert "cannot be chosen here" in errors(response.text)["algorithm"]
        assert not Job.objects.exists()

    def test_is_recorded_as_it_was_written(self, alice: Client, desk: Desk) -> None:
        alice.post(PAGE, own(desk, code="import os\r\n  print('é')\r\n"))

        job = Job.objects.get()
        assert job.algorithm is None
        assert job.own_algorithm == {"language": "python", "code": "import os\n  print('é')\n", "url": ""}
        assert job.container == {
            "image": "python",
            "tag": "3.11-slim",
            "entrypoint": "python3 $ALGO",
            "checksum": CODE["code_checksum"],
        }

    def test_may_be_an_address(self, alice: Client, desk: Desk) -> None:
        alice.post(PAGE, own(desk, code="", code_url="https://code.example/a.py"))

        job = Job.objects.get()
        assert job.own_algorithm is not None
        assert (job.own_algorithm["url"], job.own_algorithm["code"]) == ("https://code.example/a.py", "")

    @pytest.mark.parametrize(
        ("changes", "field", "words"),
        [
            ({"code": ""}, "code", "either the code itself or its address"),
            ({"code_url": "https://code.example/a.py"}, "code", "either the code itself or its address"),
            ({"code": "x" * (CODE_MAX_BYTES + 1)}, "code", "a node takes 60,000"),
            ({"code": "x\0"}, "code", "Null characters"),
            ({"code": "", "code_url": "ftp://code.example/a.py"}, "code_url", "begins with https://"),
            ({"code": "", "code_url": "h" * 2001}, "code_url", "at most 2000 characters"),
            ({"code_image": ""}, "code_image", "needs a container"),
            ({"code_tag": " "}, "code_tag", "needs a container"),
            ({"code_entrypoint": ""}, "code_entrypoint", "needs a container"),
            ({"code_entrypoint": "python3 code.py"}, "code_entrypoint", "names the code as $ALGO"),
            ({"code_language": "p" * 41}, "code_language", "at most 40 characters"),
            ({"code_checksum": "s" * 201}, "code_checksum", "at most 200 characters"),
        ],
    )
    def test_says_beside_the_field_what_cannot_be_used(
        self, alice: Client, desk: Desk, changes: dict[str, str], field: str, words: str
    ) -> None:
        response = alice.post(PAGE, own(desk, **changes))

        assert response.status_code == 400
        assert words in errors(response.text)[field]
        assert len(errors(response.text)) == 1
        assert not Job.objects.exists()

    def test_in_the_fields_does_not_disturb_a_published_algorithm(self, alice: Client, desk: Desk) -> None:
        response = alice.post(PAGE, desk.filled(**(CODE | {"code_checksum": "s" * 201, "code": "x\0"})))

        assert response.status_code == 302
        assert Job.objects.get().algorithm == desk.plain

    def test_comes_back_when_something_else_is_refused(self, alice: Client, desk: Desk) -> None:
        html = alice.post(PAGE, own(desk, code="</textarea><script>alert(1)</script>", wallet="")).text

        assert "&lt;/textarea&gt;&lt;script&gt;alert(1)" in html
        assert '<input type="radio" name="algorithm" value="own" checked>' in html

    def test_is_refused_where_its_rules_are_enforced(self, alice: Client, desk: Desk, quay: Asset) -> None:
        response = alice.post(PAGE, own(desk, datasets=[quay.did]))

        assert "lets published algorithms run on it only" in errors(response.text)["algorithm"]

    def test_is_prefilled_when_a_job_is_launched_again(self, alice: Client, cast: Cast, desk: Desk) -> None:
        code = {"language": "R", "code": "print('<b>')", "url": ""}
        job = builders.make_job(team=cast.team, own_algorithm=code, datasets=[desk.dataset])

        html = alice.get(f"{PAGE}?rerun={job.pk}").text

        assert '<input type="radio" name="algorithm" value="own" checked>' in html
        assert "print(&#x27;&lt;b&gt;&#x27;)</textarea>" in html
        assert 'name="code_language" value="R"' in html
        assert 'name="code_tag" value="3.11-slim"' in html

    def test_of_a_former_job_is_not_given_to_a_launcher(self, bob: Client, cast: Cast, desk: Desk) -> None:
        code = {"language": "R", "code": "print('secret')", "url": ""}
        job = builders.make_job(team=cast.team, own_algorithm=code, datasets=[desk.dataset])

        html = bob.get(f"{PAGE}?rerun={job.pk}").text

        assert "which your role may not launch" in html
        assert "print(&#x27;secret" not in html

    @pytest.mark.parametrize(
        ("role", "offered"), [(Role.OWNER, True), (Role.ADMIN, True), (Role.LAUNCHER, False)]
    )
    def test_follows_the_role(self, cast: Cast, desk: Desk, bob: Client, role: Role, offered: bool) -> None:
        Membership.objects.filter(user=cast.bob).update(role=role)

        assert ('value="own"' in bob.get(PAGE).text) == offered


class TestUserdata:
    def test_is_asked_for_when_the_dataset_is_ticked(self, bob: Client, desk: Desk, asking: Asset) -> None:
        without = bob.get(PAGE).text
        ticked = bob.get(f"{PAGE}?dataset={asking.pk}").text

        assert f'name="userdata-{asking.pk}-0-0"' not in without
        assert f'name="userdata-{asking.pk}-0-0"' in ticked
        assert "What Tides asks for" in ticked
        assert "From 1950 on." in ticked

    def test_travels_with_its_dataset(self, bob: Client, desk: Desk, asking: Asset) -> None:
        given = {f"userdata-{asking.pk}-0-0": "1987", f"userdata-{asking.pk}-0-1": "false"}

        bob.post(PAGE, desk.filled(datasets=[desk.dataset.did, asking.did], **given))

        inputs = {x.dataset: x.userdata for x in Job.objects.get().inputs.all()}
        assert inputs == {desk.dataset: None, asking: {"year": 1987, "deep": False}}

    @pytest.mark.parametrize(
        ("entered", "words"), [("", "The dataset needs this."), ("soon", "Enter a number")]
    )
    def test_is_checked_beside_its_field(
        self, bob: Client, desk: Desk, asking: Asset, entered: str, words: str
    ) -> None:
        response = bob.post(
            PAGE, desk.filled(datasets=[asking.did], **{f"userdata-{asking.pk}-0-0": entered})
        )

        assert words in errors(response.text)[f"userdata-{asking.pk}-0-0"]
        assert not Job.objects.exists()

    def test_belongs_to_the_chosen_service(self, bob: Client, cast: Cast, desk: Desk) -> None:
        services = [compute_service(), compute_service(id="second", consumer_parameters=ASKED)]
        twofold = builders.make_asset(team=cast.team, node=desk.node, services=services)
        chosen = {f"service-{twofold.pk}": "second", f"userdata-{twofold.pk}-1-0": "7"}

        bob.post(PAGE, desk.filled(datasets=[twofold.did], **chosen))

        assert Job.objects.get().inputs.get().userdata == {"year": 7}

    def test_appears_by_button_without_scripts_and_keeps_the_rest(
        self, bob: Client, desk: Desk, asking: Asset
    ) -> None:
        response = bob.post(PAGE, desk.filled(datasets=[asking.did], name="Mine", show="userdata"))

        assert response.status_code == 200
        assert errors(response.text) == {}
        assert f'name="userdata-{asking.pk}-0-0"' in response.text
        assert 'value="Mine"' in response.text

    def test_comes_in_the_fragment_with_what_was_entered(
        self, bob: Client, desk: Desk, asking: Asset
    ) -> None:
        query = {"datasets": [asking.did], f"userdata-{asking.pk}-0-0": "1999"}

        html = bob.get(f"{PAGE}parameters/", query, headers={"HX-Request": "true"}).text

        assert '<div id="launch-userdata">' in html
        assert 'value="1999"' in html
        assert "<html" not in html

    def test_is_shown_again_with_a_former_job(
        self, bob: Client, cast: Cast, desk: Desk, asking: Asset
    ) -> None:
        job = builders.make_job(team=cast.team, algorithm=desk.plain, datasets=[asking])
        job.inputs.update(userdata={"year": 1987, "deep": True})

        html = bob.get(f"{PAGE}?rerun={job.pk}").text

        assert f'name="userdata-{asking.pk}-0-0" value="1987"' in html
        assert '<option value="true" selected>' in html

    def test_shows_what_publishers_wrote_as_text(self, bob: Client, cast: Cast, desk: Desk) -> None:
        nasty = [
            {"name": '"><script>', "type": "text", "label": "<script>alert(1)</script>", "default": "<b>"}
        ]
        asset = builders.make_asset(
            team=cast.team,
            node=desk.node,
            name="<script>x</script>",
            services=[compute_service(consumer_parameters=nasty)],
        )

        html = bob.get(f"{PAGE}?dataset={asset.pk}").text

        assert "<script>alert" not in html and "<script>x" not in html
        assert "&lt;script&gt;alert(1)" in html


class TestDialects:
    def test_are_both_offered_with_their_limits(self, bob: Client, desk: Desk, quay: Asset) -> None:
        html = bob.get(PAGE).text

        assert "10 of 10 free places" in html
        assert "a job may run 1 min" in html
        assert "at Quay provider, chain 8996" in html
        assert "its orders cost gas on the chain" in html
        assert "Only where the environment has a queue." in html

    def test_without_a_queue_ask_for_no_wait(self, bob: Client, cast: Cast, desk: Desk, quay: Asset) -> None:
        Environment.objects.filter(node=desk.node).delete()
        entered = desk.filled(datasets=[quay.did])
        del entered["queue_wait_s"]

        html = bob.get(PAGE).text

        assert "queue_wait_s" not in html
        assert "would wait in the queue" not in html

    def test_that_enforce_trust_refuse_and_others_warn(
        self, bob: Client, cast: Cast, desk: Desk, quay: Asset
    ) -> None:
        lax = builders.make_asset(
            team=cast.team, node=desk.node, name="Lax", services=[compute_service(compute=None)]
        )
        query = {"datasets": [quay.did, lax.did], "algorithm": desk.plain.did}

        html = bob.get(f"{PAGE}parameters/", query, headers={"HX-Request": "true"}).text
        bad, warn = (re.findall(rf'<p class="note {tone}">(.*?)</p>', html) for tone in ("bad", "warn"))

        assert len(bad) == len(warn) == 1
        assert "“Quay”" in bad[0] and "the start will be refused" in bad[0]
        assert "“Lax”" in warn[0] and "runs it all the same" in warn[0]

    def test_that_enforce_trust_object_to_own_code(self, alice: Client, desk: Desk, quay: Asset) -> None:
        query = {"datasets": [quay.did], "algorithm": "own"}

        html = alice.get(f"{PAGE}parameters/", query, headers={"HX-Request": "true"}).text

        assert "no code of one&#x27;s own" in html
        assert "the start will be refused" in html
