"""Operators end memberships as a team's own pages do: what hangs on one ends with it, and every team keeps an owner."""

from __future__ import annotations

from typing import Any

import pytest
from django.db.models import Model
from django.test import Client
from django.urls import reverse

from jobs.lifecycle import State
from jobs.models import Act, AuditEntry, Job, Membership, ShareLink, Team, User, WalletGrant
from jobs.models.teams import Role
from tests import builders
from tests.conftest import Cast


@pytest.fixture
def operator(cast: Cast) -> Client:
    """The browser of a superuser who is in no team."""
    user = builders.make_user("olga")
    user.is_staff = user.is_superuser = True
    user.save()
    client = Client()
    client.force_login(user)
    return client


def url(model: type[Model], page: str, *args: Any) -> str:
    return reverse(f"admin:jobs_{model._meta.model_name}_{page}", args=args)


def delete(client: Client, row: Model) -> str:
    """Delete a record on its page; return the page that follows."""
    address = url(type(row), "delete", row.pk)
    return client.post(address, {"post": "yes"}, follow=True, headers={"Referer": address}).text


def membership(user: User) -> Membership:
    return Membership.objects.get(user=user)


class TestDeletingAMembership:
    def test_ends_grants_links_and_jobs(self, operator: Client, cast: Cast) -> None:
        job = builders.make_job(team=cast.team, state=State.RUNNING, launched_by=cast.bob)
        builders.make_grant(wallet=job.wallet, user=cast.bob)
        builders.make_link(job=job, result=builders.make_result(job=job), created_by=cast.bob)

        delete(operator, membership(cast.bob))

        assert not Membership.objects.filter(user=cast.bob).exists()
        assert not WalletGrant.objects.exists()
        assert ShareLink.objects.get().revoked_at is not None
        assert Job.objects.get().cancel_requested_at is not None

    def test_is_told_by_the_record_of_the_team_with_the_operator_s_name(
        self, operator: Client, cast: Cast
    ) -> None:
        builders.make_grant(wallet=builders.make_wallet(team=cast.team), user=cast.bob)

        delete(operator, membership(cast.bob))

        entries = AuditEntry.objects.filter(team=cast.team).order_by("number")
        assert [entry.act for entry in entries] == [Act.GRANT_TAKEN, Act.MEMBER_REMOVED, Act.ADMIN_DELETED]
        assert {entry.who for entry in entries} == {"Olga (operator)"}

    def test_may_be_one_s_own(self, operator: Client, cast: Cast) -> None:
        olga = User.objects.get(username="olga")
        Membership.objects.create(team=cast.team, user=olga, role=Role.ADMIN)

        delete(operator, membership(olga))

        assert not Membership.objects.filter(user=olga).exists()

    def test_of_the_last_owner_is_refused_with_words(self, operator: Client, cast: Cast) -> None:
        said = delete(operator, membership(cast.alice))

        assert "Alice is the last owner of this team." in said
        assert "was deleted successfully" not in said
        assert membership(cast.alice).role == Role.OWNER
        assert not AuditEntry.objects.exists()


class TestMany:
    @pytest.mark.parametrize("model", [Membership, User], ids=["memberships", "people"])
    def test_are_not_deleted_at_once(self, operator: Client, cast: Cast, model: type[Model]) -> None:
        chosen = [str(row.pk) for row in model._default_manager.all()]

        operator.post(
            url(model, "changelist"),
            {"action": "delete_selected", "_selected_action": chosen, "post": "yes"},
        )

        assert model._default_manager.count() == len(chosen)

    def test_are_not_deleted_on_a_page_of_a_team_or_a_person(self, operator: Client, cast: Cast) -> None:
        for row in (cast.team, cast.bob):
            html = operator.get(url(type(row), "change", row.pk)).text

            assert "memberships-0-role" in html
            assert "memberships-0-DELETE" not in html


class TestDeletingAPerson:
    def test_who_is_in_a_team_is_refused_with_words(self, operator: Client, cast: Cast) -> None:
        said = delete(operator, cast.bob)

        assert "Bob is in Coastal Lab. Delete these memberships first" in said
        assert User.objects.filter(pk=cast.bob.pk).exists()

    def test_who_is_in_none_goes(self, operator: Client, cast: Cast) -> None:
        delete(operator, membership(cast.bob))

        delete(operator, cast.bob)

        assert not User.objects.filter(pk=cast.bob.pk).exists()


class TestChangingAMembership:
    def change(self, client: Client, row: Membership, **values: Any) -> None:
        client.post(
            url(Membership, "change", row.pk),
            {"user": row.user_id, "team": row.team_id, "role": row.role} | values,
        )

    def test_gives_any_role(self, operator: Client, cast: Cast) -> None:
        self.change(operator, membership(cast.alice), role="viewer")

        assert membership(cast.alice).role == "viewer"

    def test_never_makes_it_another_s(self, operator: Client, cast: Cast) -> None:
        builders.make_grant(wallet=builders.make_wallet(team=cast.team), user=cast.bob)
        elsewhere = Team.objects.exclude(pk=cast.team.pk).get()

        self.change(operator, membership(cast.bob), team=elsewhere.pk, user=cast.vera.pk, role="auditor")

        assert (membership(cast.bob).team, membership(cast.bob).role) == (cast.team, "auditor")

    def test_is_made_for_anybody(self, operator: Client, cast: Cast) -> None:
        olga = User.objects.get(username="olga")

        operator.post(url(Membership, "add"), {"user": olga.pk, "team": cast.team.pk, "role": "treasurer"})

        assert membership(olga).role == "treasurer"
