"""A team's rules: who changes them, that nobody's change is lost unseen, and what they are good for."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from jobs.access import Action, Actor
from jobs.errors import InvalidInput, NotAllowed
from jobs.lifecycle import State
from jobs.models import Act, AuditEntry, Team
from jobs.models.teams import Role
from jobs.selectors import portal
from jobs.selectors.settings import Rules, rules_of
from jobs.services import audit, settings
from jobs.services.settings import Overtaken, RemovesResults
from tests import builders
from tests.builders import NOW
from tests.conftest import Cast
from tests.services.conftest import Place, actor_for, run_together


def rules(team: Team) -> Rules:
    return rules_of(Team.objects.get(pk=team.pk))


def change(actor: Actor, team: Team, *, shown: Rules | None = None, **wanted: Any) -> bool:
    """Change what is given of the rules that are there, or that were shown."""
    confirmed = wanted.pop("confirmed_days", None)
    before = shown or rules(team)
    return settings.change(
        actor=actor, shown=before, wanted=replace(before, **wanted), now=NOW, confirmed_days=confirmed
    )


class TestChange:
    def test_sets_every_rule_with_one_entry_that_says_before_and_after(
        self, alice: Actor, team: Team, place: Place
    ) -> None:
        wanted: dict[str, Any] = {
            "name": "Coastal  Lab \n North",
            "default_wallet": place.wallet.pk,
            "default_node": place.node.pk,
            "default_environment": place.environment.pk,
            "results_kept_days": 30,
            "launchers_run_code": True,
            "viewers_see_results": False,
        }

        assert change(alice, team, **wanted)

        assert rules(team) == Rules(**(wanted | {"name": "Coastal Lab North"}))
        entry = AuditEntry.objects.get()
        assert (entry.act, entry.who, entry.team_id) == (Act.SETTINGS_CHANGED, alice.name, team.pk)
        assert (entry.kind, entry.object_id) == ("team", str(team.pk))
        assert entry.before["name"] == "Coastal Lab"
        assert entry.before["default_wallet"] is None
        assert entry.after["default_wallet"].startswith("demo")
        assert (entry.before["results_kept_days"], entry.after["results_kept_days"]) == (None, 30)

    def test_writes_nothing_where_nothing_changed(self, alice: Actor, team: Team) -> None:
        assert not change(alice, team, name=" Coastal Lab ")

        assert not AuditEntry.objects.exists()

    def test_names_in_the_record_only_what_changed(self, alice: Actor, team: Team) -> None:
        change(alice, team, launchers_run_code=True)

        entry = AuditEntry.objects.get()
        assert (entry.before, entry.after) == ({"launchers_run_code": False}, {"launchers_run_code": True})

    @pytest.mark.parametrize("role", [role for role in Role if role not in (Role.OWNER, Role.ADMIN)])
    def test_is_refused_to_everybody_but_owners_and_admins(self, team: Team, role: Role) -> None:
        with pytest.raises(NotAllowed):
            change(actor_for(None, team=team, role=role), team, name="Ours")

        assert rules(team).name == "Coastal Lab"

    def test_is_for_admins_too(self, team: Team) -> None:
        assert change(actor_for(None, team=team, role=Role.ADMIN), team, name="Ours")

    @pytest.mark.parametrize("name", ["", "   ", "x" * 101, "Lab\x07", "Lab \u202e eman"])
    def test_refuses_a_name_that_is_none(self, alice: Actor, team: Team, name: str) -> None:
        with pytest.raises(InvalidInput) as refused:
            change(alice, team, name=name)

        assert refused.value.field == "name"

    @pytest.mark.parametrize("days", [0, -1, settings.DAYS_MAX + 1])
    def test_refuses_a_number_of_days_that_is_none(self, alice: Actor, team: Team, days: int) -> None:
        with pytest.raises(InvalidInput) as refused:
            change(alice, team, results_kept_days=days)

        assert refused.value.field == "results_kept_days"

    def test_takes_no_wallet_of_another_team(self, alice: Actor, team: Team, cast: Cast) -> None:
        foreign = builders.make_wallet(team=cast.other_team)

        with pytest.raises(InvalidInput, match="not one of the team's"):
            change(alice, team, default_wallet=foreign.pk)

    @pytest.mark.parametrize("values", [{"disabled_at": NOW}, {"encrypted_key": None}])
    def test_takes_no_wallet_that_cannot_launch(
        self, alice: Actor, team: Team, values: dict[str, Any]
    ) -> None:
        wallet = builders.make_wallet(team=team, **values)

        with pytest.raises(InvalidInput) as refused:
            change(alice, team, default_wallet=wallet.pk)

        assert refused.value.field == "default_wallet"

    def test_takes_only_an_environment_of_the_node(self, alice: Actor, team: Team, place: Place) -> None:
        other = builders.make_node(name="Far node", base_url="http://127.0.0.1:8002")

        with pytest.raises(InvalidInput, match="Harbour node") as refused:
            change(alice, team, default_node=other.pk, default_environment=place.environment.pk)

        assert refused.value.field == "default_environment"

    def test_notices_that_a_new_node_does_not_have_the_old_environment(
        self, alice: Actor, team: Team, place: Place
    ) -> None:
        change(alice, team, default_environment=place.environment.pk)
        other = builders.make_node(name="Far node", base_url="http://127.0.0.1:8002")

        with pytest.raises(InvalidInput):
            change(alice, team, default_node=other.pk)

    def test_brings_the_node_along_with_an_environment(self, alice: Actor, team: Team, place: Place) -> None:
        change(alice, team, default_environment=place.environment.pk)

        assert rules(team).default_node == place.node.pk

    def test_takes_no_environment_that_is_gone_and_no_node_that_is_not_there(
        self, alice: Actor, team: Team
    ) -> None:
        gone = builders.make_environment(node=builders.make_node(), gone_at=NOW)

        with pytest.raises(InvalidInput):
            change(alice, team, default_environment=gone.pk)
        with pytest.raises(InvalidInput):
            change(alice, team, default_node=gone.node_id + 1)

    def test_leaves_a_default_alone_that_can_no_longer_be_used(
        self, alice: Actor, team: Team, place: Place
    ) -> None:
        change(alice, team, default_wallet=place.wallet.pk)
        place.wallet.disabled_at = NOW
        place.wallet.save()

        assert change(alice, team, name="Ours")

        assert rules(team).default_wallet == place.wallet.pk

    def test_is_undone_where_the_record_cannot_be_written(
        self, alice: Actor, team: Team, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(**_: Any) -> None:
            raise OSError("the disk is full")

        # Patched by name: nothing else makes the record fail.
        monkeypatch.setattr(audit, "record", fail)

        with pytest.raises(OSError, match="full"):
            change(alice, team, name="Ours")

        assert rules(team).name == "Coastal Lab"


class TestTwoAtOnce:
    def test_keep_each_other_s_changes_of_different_rules(self, alice: Actor, team: Team) -> None:
        shown = rules(team)
        change(alice, team, shown=shown, name="North")

        change(alice, team, shown=shown, launchers_run_code=True)

        assert (rules(team).name, rules(team).launchers_run_code) == ("North", True)

    def test_are_told_when_they_changed_the_same(self, alice: Actor, team: Team) -> None:
        shown = rules(team)
        change(alice, team, shown=shown, name="North")

        with pytest.raises(Overtaken) as told:
            change(alice, team, shown=shown, name="South", viewers_see_results=False)

        assert told.value.fields == {"name": "Meanwhile this was changed to “North”."}
        assert (told.value.now_is, told.value.wished) == (
            rules(team),
            replace(rules(team), name="South", viewers_see_results=False),
        )
        assert rules(team).viewers_see_results

    def test_do_not_quarrel_over_the_same_wish(self, alice: Actor, team: Team) -> None:
        shown = rules(team)
        change(alice, team, shown=shown, name="North")

        assert not change(alice, team, shown=shown, name="North")

    @pytest.mark.usefixtures("each_database")
    def test_in_threads_lose_nothing(self, alice: Actor, team: Team) -> None:
        shown = rules(team)

        outcomes = run_together(
            lambda: change(alice, team, shown=shown, name="North"),
            lambda: change(alice, team, shown=shown, name="South"),
        )

        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Overtaken", "bool"]
        assert AuditEntry.objects.count() == 1


class TestShorterRule:
    def old_job(self, team: Team, *, days: int, data: bytes | None = b"1") -> None:
        job = builders.make_job(team=team, state=State.SUCCEEDED, ended_at=NOW - timedelta(days=days))
        builders.make_result(job=job, data=data)
        builders.make_result(job=job, name="more.csv", data=data)

    def test_asks_first_and_says_how_many_jobs_lose_results(
        self, alice: Actor, team: Team, cast: Cast
    ) -> None:
        self.old_job(team, days=40)
        self.old_job(team, days=31)
        self.old_job(team, days=29)
        self.old_job(team, days=50, data=None)
        self.old_job(cast.other_team, days=50)

        with pytest.raises(RemovesResults, match="2 jobs") as question:
            change(alice, team, results_kept_days=30)

        assert (question.value.days, question.value.jobs) == (30, 2)
        assert rules(team).results_kept_days is None

    def test_is_set_when_it_was_confirmed(self, alice: Actor, team: Team) -> None:
        self.old_job(team, days=40)

        assert change(alice, team, results_kept_days=30, confirmed_days=30)

        assert rules(team).results_kept_days == 30

    def test_asks_again_for_another_rule_than_the_confirmed_one(self, alice: Actor, team: Team) -> None:
        self.old_job(team, days=40)

        with pytest.raises(RemovesResults):
            change(alice, team, results_kept_days=3, confirmed_days=30)

    def test_is_set_at_once_where_it_removes_nothing(self, alice: Actor, team: Team) -> None:
        self.old_job(team, days=29)

        assert change(alice, team, results_kept_days=30)

    def test_is_not_asked_about_when_it_is_longer(self, alice: Actor, team: Team) -> None:
        Team.objects.filter(pk=team.pk).update(results_kept_days=10)
        self.old_job(team, days=40)

        assert change(alice, team, results_kept_days=30)
        assert change(alice, team, results_kept_days=None)


class TestWhatTheyAllow:
    def member(self, cast: Cast, who: Any) -> Actor:
        found = portal.membership(user_id=who.pk, name=str(who), slug=cast.team.slug)
        assert found is not None
        return found[0]

    def test_lets_launchers_run_code(self, cast: Cast, alice: Actor, team: Team) -> None:
        assert not self.member(cast, cast.bob).may(Action.LAUNCH_CODE)

        change(alice, team, launchers_run_code=True)

        assert self.member(cast, cast.bob).may(Action.LAUNCH_CODE)
        assert not self.member(cast, cast.vera).may(Action.LAUNCH_CODE)

    def test_lets_viewers_see_results(self, cast: Cast, alice: Actor, team: Team) -> None:
        assert self.member(cast, cast.vera).may(Action.SEE_RESULTS)

        change(alice, team, viewers_see_results=False)

        assert not self.member(cast, cast.vera).may(Action.SEE_RESULTS)
        assert self.member(cast, cast.bob).may(Action.SEE_RESULTS)
