"""Who may do what, as the table on the team's page says it."""

from __future__ import annotations

import pytest

from jobs.access import ALLOWED, Action, Actor, require
from jobs.errors import NotAllowed
from jobs.models.teams import Role

# Written out a second time: what a role may do changes here and there, or not at all.
MAY = {
    Role.OWNER: set(Action),
    Role.ADMIN: set(Action) - {Action.SET_LIMITS, Action.MANAGE_ESCROW, Action.UNSTICK},
    Role.LAUNCHER: {Action.SEE, Action.LAUNCH, Action.STOP_OWN},
    Role.VIEWER: {Action.SEE},
}


def actor(role: Role, user_id: int | None = 1) -> Actor:
    return Actor(user_id=user_id, name="Alice", team_id=1, role=role)


class TestTable:
    def test_has_every_action(self) -> None:
        assert set(ALLOWED) == set(Action)

    @pytest.mark.parametrize("role", Role)
    @pytest.mark.parametrize("action", Action)
    def test_allows_each_role_exactly_its_actions(self, role: Role, action: Action) -> None:
        assert actor(role).may(action) == (action in MAY[role])


class TestRequire:
    @pytest.mark.parametrize("role", Role)
    @pytest.mark.parametrize("action", Action)
    def test_refuses_exactly_what_the_table_does_not_allow(self, role: Role, action: Action) -> None:
        if action in MAY[role]:
            require(actor(role), action)
            return
        with pytest.raises(NotAllowed) as caught:
            require(actor(role), action)
        assert caught.value.code == "not_allowed"

    def test_says_who_may_instead(self) -> None:
        with pytest.raises(NotAllowed) as caught:
            require(actor(Role.VIEWER), Action.LAUNCH)

        assert caught.value.message.startswith("Your role in this team is viewer; to launch jobs")
        assert "owner, admin or launcher" in caught.value.message


class TestMayStop:
    @pytest.mark.parametrize(
        ("role", "own", "other"),
        [
            (Role.OWNER, True, True),
            (Role.ADMIN, True, True),
            (Role.LAUNCHER, True, False),
            (Role.VIEWER, False, False),
        ],
    )
    def test_depends_on_role_and_launcher(self, role: Role, own: bool, other: bool) -> None:
        assert actor(role).may_stop(owner_id=1) == own
        assert actor(role).may_stop(owner_id=2) == other

    def test_does_not_take_nobody_for_oneself(self) -> None:
        assert not actor(Role.LAUNCHER, user_id=None).may_stop(owner_id=None)
