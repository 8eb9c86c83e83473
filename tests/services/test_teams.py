"""Teams and members are made once; an operator acts without being a person."""

from __future__ import annotations

import pytest

from jobs.errors import InvalidInput, Missing
from jobs.models import Membership, Team, User
from jobs.models.teams import RESERVED_SLUGS, Role
from jobs.services import teams
from tests.conftest import Cast

pytestmark = pytest.mark.django_db


def ensure_member(team_id: int, **values: object) -> bool:
    defaults: dict[str, object] = {
        "username": "dora",
        "email": "dora@example.org",
        "password": "three small harbours",
        "role": Role.LAUNCHER,
        "full_name": "Dora van der Meer",
    }
    return teams.ensure_member(team_id=team_id, **(defaults | values))  # type: ignore[arg-type]


class TestEnsureTeam:
    def test_makes_it_once(self) -> None:
        made = [teams.ensure_team(slug="lab", name=name) for name in ("Lab", "Other")]

        assert made[0] == made[1]
        assert Team.objects.get().name == "Lab"

    @pytest.mark.parametrize("slug", sorted(RESERVED_SLUGS))
    def test_refuses_the_portal_s_own_addresses(self, slug: str) -> None:
        with pytest.raises(InvalidInput) as caught:
            teams.ensure_team(slug=slug, name="x")

        assert caught.value.field == "slug"


class TestEnsureMember:
    def test_makes_a_person_with_a_role(self) -> None:
        team_id = teams.ensure_team(slug="lab", name="Lab")

        assert ensure_member(team_id)

        user = User.objects.get()
        assert user.check_password("three small harbours")
        assert (user.first_name, user.last_name) == ("Dora", "van der Meer")
        assert (user.is_staff, user.is_superuser) == (False, False)
        assert Membership.objects.get().role == Role.LAUNCHER

    def test_leaves_a_person_who_exists_as_they_are(self) -> None:
        team_id = teams.ensure_team(slug="lab", name="Lab")
        ensure_member(team_id)

        assert not ensure_member(team_id, password="another one", role=Role.OWNER, staff=True)

        user = User.objects.get()
        assert user.check_password("three small harbours")
        assert not user.is_superuser
        assert Membership.objects.get().role == Role.LAUNCHER

    def test_makes_staff_only_when_asked(self) -> None:
        ensure_member(teams.ensure_team(slug="lab", name="Lab"), staff=True)

        assert User.objects.get().is_superuser


class TestOperator:
    def test_is_nobody_with_an_owner_s_rights(self, cast: Cast) -> None:
        actor = teams.operator(team="coastal")

        assert (actor.user_id, actor.team_id, actor.role) == (None, cast.team.pk, Role.OWNER)

    def test_of_an_unknown_team_names_those_there_are(self, cast: Cast) -> None:
        with pytest.raises(Missing) as caught:
            teams.operator(team="nope")

        assert "coastal, offshore" in caught.value.message
