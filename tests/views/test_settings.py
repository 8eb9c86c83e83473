"""The page of a team's rules: who reads them, who changes them, and what they do on other pages."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from jobs.lifecycle import State
from jobs.models import AuditEntry, Job, JobEvent, Membership, Result, Team
from jobs.models.teams import Role
from tests import builders
from tests.conftest import Cast
from tests.views.rendering import queries_while_rendering

PAGE = "/coastal/settings/"
CHANGE = "/coastal/settings/change/"
LAUNCH = "/coastal/jobs/launch/"


def entered(client: Client, **changes: Any) -> dict[str, Any]:
    """Return what the page's form holds, with these changes; None leaves a field out."""
    form = client.get(PAGE).context["form"]
    values = {name: form[name].value() for name in form.fields} | changes
    return {name: value for name, value in values.items() if value not in (None, False)}


def save(client: Client, **changes: Any) -> Any:
    return client.post(CHANGE, entered(client, **changes))


def old_job(team: Team, *, days: int = 40) -> Job:
    job = builders.make_job(team=team, state=State.SUCCEEDED, ended_at=timezone.now() - timedelta(days=days))
    builders.make_result(job=job)
    return job


class TestPage:
    def test_is_read_by_everybody_in_the_team(self, vera: Client, cast: Cast) -> None:
        wallet = builders.make_wallet(team=cast.team)
        place = builders.make_environment(node=builders.make_node())
        Team.objects.filter(pk=cast.team.pk).update(
            default_wallet=wallet, default_node=place.node, default_environment=place, results_kept_days=30
        )

        html = vera.get(PAGE).text

        assert "wallet demo" in html
        assert "at Harbour node" in html
        assert "are removed 30 days after a job&#x27;s end" in html or "are removed 30 days after" in html
        assert f'action="{CHANGE}"' not in html

    @pytest.mark.parametrize("role", [Role.OWNER, Role.ADMIN])
    def test_has_a_form_for_owners_and_admins(self, alice: Client, cast: Cast, role: Role) -> None:
        Membership.objects.filter(user=cast.alice, team=cast.team).update(role=role)

        assert f'action="{CHANGE}"' in alice.get(PAGE).text

    @pytest.mark.parametrize("role", [r for r in Role if r not in (Role.OWNER, Role.ADMIN)])
    def test_refuses_a_change_by_anybody_else(self, vera: Client, cast: Cast, role: Role) -> None:
        Membership.objects.filter(user=cast.vera, team=cast.team).update(role=role)

        assert vera.post(CHANGE, {"name": "Ours"}).status_code == 403
        assert vera.post(CHANGE, {"name": "Ours"}, headers={"HX-Request": "true"}).status_code == 403
        assert Team.objects.get(pk=cast.team.pk).name == "Coastal Lab"

    def test_does_not_exist_for_somebody_outside(self, charlie: Client) -> None:
        assert charlie.get(PAGE).status_code == 404
        assert charlie.post(CHANGE, {"name": "Ours"}).status_code == 404

    def test_sends_a_stranger_to_the_door(self, client: Client) -> None:
        assert client.get(PAGE).status_code == 302
        assert client.post(CHANGE, {"name": "Ours"}).status_code == 302

    def test_offers_what_can_be_used_and_nothing_of_another_team(self, alice: Client, cast: Cast) -> None:
        builders.make_wallet(team=cast.team, label="good")
        builders.make_wallet(team=cast.team, label="off", address="0x" + "1" * 40, disabled_at=builders.NOW)
        builders.make_wallet(team=cast.team, label="seen", address="0x" + "2" * 40, encrypted_key=None)
        builders.make_wallet(team=cast.other_team, label="foreign")

        html = alice.get(PAGE).text

        assert re.findall(r">(good|off|seen|foreign)<", html) == ["good"]

    def test_keeps_a_default_that_is_no_longer_usable_and_says_so(self, alice: Client, cast: Cast) -> None:
        wallet = builders.make_wallet(team=cast.team, disabled_at=builders.NOW)
        Team.objects.filter(pk=cast.team.pk).update(default_wallet=wallet)

        assert "demo (no longer usable: passed over)" in alice.get(PAGE).text
        assert save(alice, name="Ours").status_code == 302
        assert Team.objects.get(pk=cast.team.pk).default_wallet == wallet

    def test_says_nothing_of_a_default_that_is_another_team_s_now(
        self, alice: Client, vera: Client, cast: Cast
    ) -> None:
        wallet = builders.make_wallet(team=cast.other_team, label="handed over")
        Team.objects.filter(pk=cast.team.pk).update(default_wallet=wallet)

        assert "handed over" not in alice.get(PAGE).text + vera.get(PAGE).text

    def test_asks_a_bounded_number_of_questions(
        self, alice: Client, vera: Client, cast: Cast, django_assert_max_num_queries: DjangoAssertNumQueries
    ) -> None:
        for number in range(5):
            node = builders.make_node(name=f"Node {number}", base_url=f"http://127.0.0.1:900{number}")
            builders.make_environment(node=node)

        # session, person, memberships; the team with its defaults, wallets; nodes, environments; one for the frame
        with django_assert_max_num_queries(8):
            alice.get(PAGE)
        with django_assert_max_num_queries(6):
            vera.get(PAGE)

    def test_asks_nothing_while_rendering(self, alice: Client, vera: Client, cast: Cast) -> None:
        builders.make_environment(node=builders.make_node())
        for client in (alice, vera):
            with queries_while_rendering() as late:
                client.get(PAGE)
            assert late == []

    def test_shows_what_strangers_wrote_as_text(self, alice: Client, vera: Client, cast: Cast) -> None:
        place = builders.make_environment(node=builders.make_node(), description="<script>alert(1)</script>")
        Team.objects.filter(pk=cast.team.pk).update(default_environment=place, name="<i>Lab</i>")

        for client in (alice, vera):
            html = client.get(PAGE).text
            assert "<script>alert" not in html
            assert "<i>Lab" not in html
            assert "&lt;script&gt;alert(1)" in html


class TestSave:
    def test_sets_the_rules_and_says_so(self, alice: Client, cast: Cast) -> None:
        place = builders.make_environment(node=builders.make_node())
        wallet = builders.make_wallet(team=cast.team)

        answer = alice.post(
            CHANGE,
            entered(
                alice,
                name="North",
                default_wallet=wallet.pk,
                default_environment=place.pk,
                results_kept_days=30,
                launchers_run_code="on",
                viewers_see_results=None,
            ),
            follow=True,
        )

        assert "Saved." in answer.text
        team = Team.objects.get(pk=cast.team.pk)
        assert (team.name, team.slug) == ("North", "coastal")
        assert (team.default_wallet, team.default_node, team.default_environment) == (
            wallet,
            place.node,
            place,
        )
        assert (team.results_kept_days, team.launchers_run_code, team.viewers_see_results) == (
            30,
            True,
            False,
        )
        assert AuditEntry.objects.get().origin == "127.0.0.1"

    def test_of_nothing_writes_nothing(self, alice: Client, cast: Cast) -> None:
        answer = alice.post(CHANGE, entered(alice), follow=True)

        assert "There was nothing to change." in answer.text
        assert not AuditEntry.objects.exists()

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"name": ""}, "A team needs a name."),
            ({"name": " "}, "A team needs a name."),
            ({"name": "x" * 101}, "at most 100 characters"),
            ({"name": "Lab\x00"}, "Null characters are not allowed."),
            ({"name": "Lab\u202e"}, "on one line"),
            ({"results_kept_days": "0"}, "Enter a whole number of days"),
            ({"results_kept_days": "-5"}, "Enter a whole number of days"),
            ({"results_kept_days": "many"}, "Enter a whole number of days"),
            ({"results_kept_days": "9" * 400}, "Enter a whole number of days"),
            ({"results_kept_days": "1.5"}, "Enter a whole number of days"),
            ({"default_wallet": "999999"}, "This wallet cannot be chosen"),
            ({"default_node": "<b>"}, "not among the portal"),
            ({"default_environment": "1; DROP"}, "not, or no longer, offered"),
            ({"shown": None}, "load the page again"),
            ({"shown": "{"}, "load the page again"),
            ({"shown": "[" * 1000}, "load the page again"),
            ({"shown": '{"name": 7}'}, "load the page again"),
            ({"shown": "x" * 5000}, "load the page again"),
            ({"shown": "null"}, "load the page again"),
        ],
    )
    def test_refuses_what_makes_no_sense(
        self, alice: Client, cast: Cast, changes: dict[str, Any], said: str
    ) -> None:
        answer = save(alice, **changes)

        assert answer.status_code == 400
        assert said in answer.text
        assert not AuditEntry.objects.exists()

    def test_refuses_the_wallet_of_another_team(self, alice: Client, cast: Cast) -> None:
        foreign = builders.make_wallet(team=cast.other_team)

        assert save(alice, default_wallet=foreign.pk).status_code == 400

    def test_refuses_an_environment_of_another_node(self, alice: Client, cast: Cast) -> None:
        place = builders.make_environment(node=builders.make_node())
        other = builders.make_node(name="Far node", base_url="http://127.0.0.1:8002")

        answer = save(alice, default_node=other.pk, default_environment=place.pk)

        assert answer.status_code == 400
        assert "This environment is at “Harbour node”" in answer.text

    def test_keeps_a_colleague_s_change_of_another_rule(self, alice: Client, cast: Cast) -> None:
        form = entered(alice, launchers_run_code="on")
        Team.objects.filter(pk=cast.team.pk).update(name="North")

        assert alice.post(CHANGE, form).status_code == 302

        team = Team.objects.get(pk=cast.team.pk)
        assert (team.name, team.launchers_run_code) == ("North", True)

    def test_shows_a_colleague_s_change_of_the_same_rule_and_saves_over_it_only_then(
        self, alice: Client, cast: Cast
    ) -> None:
        form = entered(alice, name="South")
        Team.objects.filter(pk=cast.team.pk).update(name="North", launchers_run_code=True)

        answer = alice.post(CHANGE, form)

        assert answer.status_code == 400
        assert "Meanwhile this was changed to “North”." in answer.text
        assert Team.objects.get(pk=cast.team.pk).name == "North"
        again = answer.context["form"].data
        assert (again["name"], again["launchers_run_code"]) == ("South", True)

        assert alice.post(CHANGE, again).status_code == 302
        team = Team.objects.get(pk=cast.team.pk)
        assert (team.name, team.launchers_run_code) == ("South", True)


class TestShorterRule:
    def test_asks_before_results_are_lost(self, alice: Client, cast: Cast) -> None:
        old_job(cast.team)
        form = entered(alice, results_kept_days=30)

        answer = alice.post(CHANGE, form)

        assert answer.status_code == 200
        assert "the archived results of 1 job are removed within the hour" in answer.text
        assert 'name="confirmed_days" value="30"' in answer.text
        assert Team.objects.get(pk=cast.team.pk).results_kept_days is None

        assert alice.post(CHANGE, form | {"confirmed_days": "30"}).status_code == 302
        assert Team.objects.get(pk=cast.team.pk).results_kept_days == 30

    def test_asks_again_when_the_number_was_changed_after_that(self, alice: Client, cast: Cast) -> None:
        old_job(cast.team)

        assert save(alice, results_kept_days=2, confirmed_days=30).status_code == 200
        assert Team.objects.get(pk=cast.team.pk).results_kept_days is None

    def test_presses_no_button_that_agrees_by_the_enter_key(self, alice: Client, cast: Cast) -> None:
        old_job(cast.team)
        html = save(alice, results_kept_days=30).text

        buttons = re.findall(r"<button[^>]*>", html[html.index(f'action="{CHANGE}"') :])

        assert buttons[0] == "<button hidden>"


class TestRemovedResults:
    @pytest.fixture
    def job(self, cast: Cast) -> Job:
        """A job whose results the rule has removed."""
        job = builders.make_job(team=cast.team, state=State.SUCCEEDED)
        removed = {"status": Result.Status.REMOVED, "removed_at": builders.NOW, "file": ""}
        for name, kind in (("plot.png", "output"), ("algorithm.log", "algorithmLog")):
            result = builders.make_result(job=job, name=name, kind=kind)
            Result.objects.filter(pk=result.pk).update(**removed)
        return job

    def test_are_said_to_be_removed_on_the_job_s_page(self, vera: Client, job: Job) -> None:
        html = vera.get(f"/coastal/jobs/{job.pk}/").text

        assert html.count("2025-11-22</time> by the team") == 2  # its results, and its log
        assert "plot.png" in html
        assert "Not fetched yet" not in html
        assert "/download/" not in html

    def test_are_said_to_be_removed_on_their_own_page(self, vera: Client, job: Job) -> None:
        for result in job.results.all():
            answer = vera.get(f"/coastal/jobs/{job.pk}/results/{result.pk}/")
            assert answer.status_code == 200
            assert "2025-11-22</time> by the team" in answer.text

    @pytest.mark.parametrize("act", ["download", "inline"])
    def test_answer_with_the_reason_where_their_bytes_are_asked_for(
        self, vera: Client, job: Job, act: str
    ) -> None:
        result = job.results.earliest("pk")

        answer = vera.get(f"/coastal/jobs/{job.pk}/results/{result.pk}/{act}/")

        assert answer.status_code == 404
        assert "This result was removed on 2025-11-22" in answer.text

    def test_stand_in_the_history(self, vera: Client, job: Job) -> None:
        builders.make_event(
            job=job, at=builders.NOW, kind=JobEvent.Kind.REMOVED, message="2 archived files removed: so."
        )

        assert "2 archived files removed: so." in vera.get(f"/coastal/jobs/{job.pk}/").text


class TestWhatLaunchesStartWith:
    @pytest.fixture
    def team(self, cast: Cast) -> Team:
        """A team with two wallets and two nodes."""
        near, far = (
            builders.make_node(name=name, base_url=f"http://127.0.0.1:{port}")
            for name, port in (("Near", 8001), ("Far", 8002))
        )
        builders.make_environment(node=near)
        builders.make_environment(node=far, env_id="0x2-0x2")
        builders.make_wallet(team=cast.team, label="first")
        builders.make_wallet(team=cast.team, label="second", address="0x" + "1" * 40)
        return cast.team

    def start(self, client: Client, query: str = "") -> tuple[str, str]:
        form = client.get(LAUNCH + query).context["form"]
        return str(form["wallet"].value() or ""), str(form["environment"].value() or "")

    def test_is_left_open_without_a_rule(self, bob: Client, team: Team) -> None:
        assert self.start(bob) == ("", "free")

    def test_is_the_team_s_wallet_and_environment(self, bob: Client, team: Team) -> None:
        wallet = team.wallets.get(label="second")
        place = builders.Environment.objects.get(node__name="Far")
        Team.objects.filter(pk=team.pk).update(
            default_wallet=wallet, default_node=place.node, default_environment=place
        )

        assert self.start(bob) == ("second", str(place.pk))

    def test_is_the_place_with_most_room_at_the_team_s_node(self, bob: Client, team: Team) -> None:
        node = builders.Environment.objects.get(node__name="Far").node
        roomy = builders.make_environment(node=node, env_id="0x2-0x3", free_room=50)
        Team.objects.filter(pk=team.pk).update(default_node=node)

        assert self.start(bob) == ("", str(roomy.pk))

    def test_passes_over_what_is_gone_or_disabled(self, bob: Client, team: Team) -> None:
        place = builders.Environment.objects.get(node__name="Far")
        wallet = team.wallets.get(label="second")
        Team.objects.filter(pk=team.pk).update(default_wallet=wallet, default_environment=place)
        team.wallets.filter(pk=wallet.pk).update(disabled_at=builders.NOW)
        builders.Environment.objects.filter(pk=place.pk).update(gone_at=builders.NOW)

        assert self.start(bob) == ("first", "free")  # the only wallet that is left

    def test_does_not_change_what_a_person_chose(self, bob: Client, team: Team) -> None:
        Team.objects.filter(pk=team.pk).update(default_wallet=team.wallets.get(label="second"))
        job = builders.make_job(team=team, wallet=team.wallets.get(label="first"), state=State.SUCCEEDED)

        assert self.start(bob, f"?rerun={job.pk}")[0] == "first"

    def test_stands_in_for_a_wallet_that_is_no_longer_usable(self, bob: Client, team: Team) -> None:
        builders.make_wallet(team=team, label="third", address="0x" + "3" * 40)
        first = team.wallets.get(label="first")
        Team.objects.filter(pk=team.pk).update(default_wallet=team.wallets.get(label="second"))
        job = builders.make_job(team=team, wallet=first, state=State.SUCCEEDED)
        team.wallets.filter(pk=first.pk).update(disabled_at=builders.NOW)

        assert self.start(bob, f"?rerun={job.pk}")[0] == "second"


class TestWhoMayDoMore:
    def test_lets_launchers_run_code_of_their_own(self, alice: Client, bob: Client, cast: Cast) -> None:
        assert 'value="own"' not in bob.get(LAUNCH).text

        save(alice, launchers_run_code="on")

        assert 'value="own"' in bob.get(LAUNCH).text
