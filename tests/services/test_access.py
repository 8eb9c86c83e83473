"""Who may do what, as the table on the team's page says it."""

from __future__ import annotations

import pytest

from jobs.access import ALLOWED, GIVES, IF_TEAM_LETS, Action, Actor, require
from jobs.errors import NotAllowed
from jobs.models import Team
from jobs.models.teams import Role

# Written out a second time: what a role may do changes here and there, or not at all.
MAY = {
    Role.OWNER: set(Action),
    Role.ADMIN: set(Action)
    - {
        Action.HAND_WALLETS_OVER,
        Action.GRANT_WALLETS,
        Action.SET_LIMITS,
        Action.MANAGE_ESCROW,
        Action.UNSTICK,
    },
    Role.TREASURER: {
        Action.SEE,
        Action.STOP_ANY,
        Action.STOP_OWN,
        Action.GRANT_WALLETS,
        Action.SET_LIMITS,
        Action.MANAGE_ESCROW,
        Action.UNSTICK,
        Action.READ_MONEY_RECORD,
    },
    Role.CURATOR: {
        Action.SEE,
        Action.SEE_LOGS,
        Action.SEE_RESULTS,
        Action.LAUNCH,
        Action.LAUNCH_PAID,
        Action.LAUNCH_CODE,
        Action.STOP_OWN,
        Action.SHARE_ANY,
        Action.SHARE_OWN,
        Action.EDIT_CATALOGUE,
    },
    Role.LAUNCHER: {
        Action.SEE,
        Action.SEE_LOGS,
        Action.SEE_RESULTS,
        Action.LAUNCH,
        Action.LAUNCH_PAID,
        Action.STOP_OWN,
        Action.SHARE_OWN,
    },
    Role.VIEWER: {Action.SEE, Action.SEE_LOGS},
    Role.AUDITOR: {Action.SEE, Action.READ_RECORD, Action.READ_MONEY_RECORD},
}
# What a team may let a role do besides, and the setting that does.
LETS = {
    (Role.LAUNCHER, Action.LAUNCH_CODE): "launchers_run_code",
    (Role.VIEWER, Action.SEE_RESULTS): "viewers_see_results",
}


def actor(role: Role, user_id: int | None = 1, *, lets: str = "") -> Actor:
    return Actor(user_id=user_id, name="Alice", team_id=1, role=role, lets=frozenset({lets} - {""}))


class TestTable:
    def test_has_every_action(self) -> None:
        assert set(ALLOWED) == set(Action)

    @pytest.mark.parametrize("role", Role)
    @pytest.mark.parametrize("action", Action)
    def test_allows_each_role_exactly_its_actions(self, role: Role, action: Action) -> None:
        assert actor(role).may(action) == (action in MAY[role])


class TestWhatATeamLets:
    def test_is_these_settings_and_no_others(self) -> None:
        assert IF_TEAM_LETS == LETS
        assert all(isinstance(getattr(Team(), setting), bool) for setting in LETS.values())

    @pytest.mark.parametrize("setting", LETS.values())
    @pytest.mark.parametrize("role", Role)
    @pytest.mark.parametrize("action", Action)
    def test_adds_one_action_to_one_role(self, setting: str, role: Role, action: Action) -> None:
        expected = action in MAY[role] or LETS.get((role, action)) == setting

        assert actor(role, lets=setting).may(action) == expected

    def test_is_on_for_viewers_and_off_for_code_unless_the_team_says_so(self) -> None:
        assert Team().viewers_see_results
        assert not Team().launchers_run_code

    def test_lets_nobody_have_what_another_role_was_let(self) -> None:
        assert not actor(Role.AUDITOR, lets="viewers_see_results").may(Action.SEE_RESULTS)


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
        assert "owner, admin, curator or launcher" in caught.value.message

    def test_says_where_the_team_s_settings_could_change_it(self) -> None:
        with pytest.raises(NotAllowed) as caught:
            require(actor(Role.VIEWER), Action.SEE_RESULTS)

        assert "or the team lets a viewer" in caught.value.message


class TestMayStop:
    @pytest.mark.parametrize(
        ("role", "own", "other"),
        [
            (Role.OWNER, True, True),
            (Role.ADMIN, True, True),
            (Role.TREASURER, True, True),
            (Role.CURATOR, True, False),
            (Role.LAUNCHER, True, False),
            (Role.VIEWER, False, False),
            (Role.AUDITOR, False, False),
        ],
    )
    def test_depends_on_role_and_launcher(self, role: Role, own: bool, other: bool) -> None:
        assert actor(role).may_stop(owner_id=1) == own
        assert actor(role).may_stop(owner_id=2) == other

    def test_does_not_take_nobody_for_oneself(self) -> None:
        assert not actor(Role.LAUNCHER, user_id=None).may_stop(owner_id=None)


class TestMayShare:
    @pytest.mark.parametrize(
        ("role", "own", "other"),
        [
            (Role.OWNER, True, True),
            (Role.ADMIN, True, True),
            (Role.TREASURER, False, False),
            (Role.CURATOR, True, True),
            (Role.LAUNCHER, True, False),
            (Role.VIEWER, False, False),
            (Role.AUDITOR, False, False),
        ],
    )
    def test_depends_on_role_and_launcher(self, role: Role, own: bool, other: bool) -> None:
        assert actor(role).may_share(owner_id=1) == own
        assert actor(role).may_share(owner_id=2) == other

    def test_does_not_take_nobody_for_oneself(self) -> None:
        assert not actor(Role.LAUNCHER, user_id=None).may_share(owner_id=None)


class TestMayGive:
    @pytest.mark.parametrize("role", Role)
    def test_lets_an_owner_give_every_role(self, role: Role) -> None:
        assert actor(Role.OWNER).may_give(role)

    @pytest.mark.parametrize("role", Role)
    def test_lets_an_admin_give_no_role_that_is_over_people_or_money(self, role: Role) -> None:
        expected = role not in (Role.OWNER, Role.ADMIN, Role.TREASURER)

        assert actor(Role.ADMIN).may_give(role) == expected

    @pytest.mark.parametrize("giver", [role for role in Role if role not in (Role.OWNER, Role.ADMIN)])
    @pytest.mark.parametrize("role", Role)
    def test_lets_nobody_else_give_any(self, giver: Role, role: Role) -> None:
        assert not actor(giver).may_give(role)

    def test_never_gives_more_than_the_giver_may(self) -> None:
        """Or a person could raise themselves by a friend: what an admin gives allows nothing that an admin may not."""
        assert all(MAY[given] <= MAY[giver] for giver, roles in GIVES.items() for given in roles)
