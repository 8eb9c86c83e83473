"""Roles are given and taken within bounds; a team always has an owner; who leaves leaves the team's history whole."""

from __future__ import annotations

from typing import Any

import pytest

from jobs.access import Actor
from jobs.errors import InvalidInput, Missing, NotAllowed
from jobs.lifecycle import TERMINAL, State
from jobs.models import AuditEntry, Invitation, Job, JobEvent, Membership, ShareLink, Team, User, WalletGrant
from jobs.models.teams import Role
from jobs.services import members
from tests import builders
from tests.builders import NOW
from tests.conftest import Cast
from tests.services.conftest import actor_for, run_together
from tests.services.fakes import queued

UNDER_WAY = [
    State.REQUESTED,
    State.PAYING,
    State.PAID,
    State.STARTING,
    State.RUNNING,
    State.COLLECTING,
    State.NEEDS_ATTENTION,
]
GIVEN_BY_ADMINS = {Role.CURATOR, Role.LAUNCHER, Role.VIEWER, Role.AUDITOR}


@pytest.fixture
def adam(cast: Cast) -> Actor:
    """An admin."""
    user = builders.make_member(team=cast.team, username="adam", role=Role.ADMIN)
    return actor_for(user, team=cast.team, role=Role.ADMIN)


def membership(who: User | Actor, team: Team | None = None) -> Membership:
    user_id = who.user_id if isinstance(who, Actor) else who.pk
    rows = Membership.objects.filter(user_id=user_id)
    return (rows.filter(team=team) if team else rows).get()


def change(actor: Actor, who: User | Actor, role: str) -> bool:
    return members.change_role(actor=actor, member_id=membership(who).pk, role=role, now=NOW)


def remove(actor: Actor, who: User | Actor, hand_on_to: User | Actor | None = None) -> members.Parting:
    heir = membership(hand_on_to).pk if hand_on_to else None
    return members.remove(actor=actor, member_id=membership(who).pk, hand_on_to=heir, now=NOW)


def is_member(who: User | Actor) -> bool:
    return Membership.objects.filter(user_id=who.user_id if isinstance(who, Actor) else who.pk).exists()


def acts() -> list[str]:
    return list(AuditEntry.objects.order_by("number").values_list("act", flat=True))


class TestChangeRole:
    def test_gives_the_role_and_records_both(self, alice: Actor, cast: Cast) -> None:
        assert change(alice, cast.bob, Role.CURATOR)

        assert membership(cast.bob).role == Role.CURATOR
        entry = AuditEntry.objects.get()
        assert (entry.act, entry.before, entry.after) == (
            "team.role_changed",
            {"role": "launcher"},
            {"role": "curator"},
        )
        assert (entry.object_id, entry.object_name) == (str(cast.bob.pk), "Bob")

    def test_says_when_nothing_changes(self, alice: Actor, cast: Cast) -> None:
        assert not change(alice, cast.bob, Role.LAUNCHER)
        assert acts() == []

    @pytest.mark.parametrize("old", Role)
    @pytest.mark.parametrize("new", Role)
    def test_lets_an_admin_do_it_within_the_table(
        self, adam: Actor, cast: Cast, old: Role, new: Role
    ) -> None:
        Membership.objects.filter(user=cast.bob).update(role=old)

        if {old, new} <= GIVEN_BY_ADMINS:
            assert change(adam, cast.bob, new) == (old != new)
            assert membership(cast.bob).role == new
            return
        with pytest.raises(NotAllowed):
            change(adam, cast.bob, new)
        assert membership(cast.bob).role == old

    def test_lets_no_admin_make_themselves_an_owner(self, adam: Actor) -> None:
        with pytest.raises(NotAllowed):
            change(adam, adam, Role.OWNER)

    @pytest.mark.parametrize("who", ["bob", "vera"])
    def test_is_for_owners_and_admins(self, who: str, cast: Cast, request: pytest.FixtureRequest) -> None:
        with pytest.raises(NotAllowed):
            change(request.getfixturevalue(who), cast.vera, Role.AUDITOR)

    @pytest.mark.parametrize("role", ["", "emperor", "OWNER", "x" * 100_000])
    def test_refuses_what_is_no_role(self, alice: Actor, cast: Cast, role: str) -> None:
        with pytest.raises(InvalidInput):
            change(alice, cast.bob, role)

    def test_knows_no_members_of_another_team(self, alice: Actor, cast: Cast) -> None:
        with pytest.raises(Missing):
            change(alice, cast.charlie, Role.VIEWER)

        assert membership(cast.charlie).role == Role.OWNER

    def test_does_not_take_the_last_owner_s_role(self, alice: Actor) -> None:
        with pytest.raises(InvalidInput) as caught:
            change(alice, alice, Role.ADMIN)

        assert caught.value.code == "last_owner"
        assert membership(alice).role == Role.OWNER

    def test_takes_an_owner_s_role_where_there_is_another(self, alice: Actor, cast: Cast) -> None:
        change(alice, cast.bob, Role.OWNER)

        assert change(alice, alice, Role.VIEWER)

    def test_believes_what_the_actor_is_now_and_not_what_they_were(self, alice: Actor, cast: Cast) -> None:
        change(alice, cast.bob, Role.OWNER)
        change(alice, alice, Role.VIEWER)  # in another tab; this one still thinks that she is an owner

        with pytest.raises(NotAllowed):
            change(alice, cast.vera, Role.OWNER)

    def test_is_refused_to_whoever_was_removed_in_another_tab(
        self, alice: Actor, adam: Actor, cast: Cast
    ) -> None:
        remove(alice, adam)

        with pytest.raises(Missing):
            change(adam, cast.bob, Role.VIEWER)


class TestRemove:
    def test_ends_the_membership_and_keeps_the_history(self, alice: Actor, cast: Cast) -> None:
        job = builders.make_job(team=cast.team, state=State.SUCCEEDED, launched_by=cast.bob)
        builders.make_result(job=job)

        parting = remove(alice, cast.bob)

        assert (parting.name, parting.handed_on, parting.stopped) == ("Bob", 0, 0)
        assert not is_member(cast.bob)
        job.refresh_from_db()
        assert (job.launched_by, job.state, job.results.count()) == (cast.bob, State.SUCCEEDED, 1)
        assert User.objects.filter(pk=cast.bob.pk).exists()
        entry = AuditEntry.objects.get()
        assert (entry.act, entry.object_name) == ("team.member_removed", "Bob")
        assert entry.before is not None
        assert entry.before["role"] == "launcher"

    @pytest.mark.parametrize("state", UNDER_WAY)
    def test_hands_jobs_on_in_every_state(self, alice: Actor, adam: Actor, cast: Cast, state: State) -> None:
        job = self.make_job(cast, state)

        parting = remove(alice, cast.bob, hand_on_to=adam)

        job.refresh_from_db()
        assert (parting.handed_on, job.handed_to_id, job.owner_id) == (1, adam.user_id, adam.user_id)
        assert (job.state, job.launched_by, job.cancel_requested_at) == (state, cast.bob, None)
        event = job.events.get(kind=JobEvent.Kind.HANDED_ON)
        assert event.message == "Handed on from Bob to Adam by Alice."
        assert acts() == ["job.handed_on", "team.member_removed"]

    @pytest.mark.parametrize("state", UNDER_WAY)
    def test_stops_jobs_in_every_state_but_those_that_are_over(
        self, alice: Actor, cast: Cast, state: State
    ) -> None:
        job = self.make_job(cast, state)

        parting = remove(alice, cast.bob)

        job.refresh_from_db()
        if state == State.COLLECTING:
            assert (parting.stopped, job.cancel_requested_at) == (0, None)
            return
        assert (parting.stopped, job.cancel_requested_at, job.cancel_requested_by_id) == (
            1,
            NOW,
            alice.user_id,
        )
        assert job.state == (State.RUNNING if state == State.NEEDS_ATTENTION else state)
        assert ("advance", (str(job.pk),)) in queued()

    @pytest.mark.parametrize("state", sorted(TERMINAL))
    def test_leaves_jobs_alone_that_have_ended(
        self, alice: Actor, adam: Actor, cast: Cast, state: State
    ) -> None:
        job = builders.make_job(team=cast.team, state=state, launched_by=cast.bob)

        remove(alice, cast.bob, hand_on_to=adam)

        job.refresh_from_db()
        assert job.handed_to is None

    def test_takes_along_jobs_that_were_handed_to_them_and_leaves_those_that_they_handed_on(
        self, alice: Actor, adam: Actor, cast: Cast
    ) -> None:
        got = builders.make_job(
            team=cast.team, state=State.RUNNING, launched_by=cast.vera, handed_to=cast.bob
        )
        gave = builders.make_job(
            team=cast.team, state=State.RUNNING, launched_by=cast.bob, handed_to=cast.vera
        )

        remove(alice, cast.bob, hand_on_to=adam)

        got.refresh_from_db()
        gave.refresh_from_db()
        assert (got.owner_id, gave.owner_id) == (adam.user_id, cast.vera.pk)

    def test_leaves_their_jobs_in_other_teams_alone(self, alice: Actor, adam: Actor, cast: Cast) -> None:
        Membership.objects.create(team=cast.other_team, user=cast.bob, role=Role.LAUNCHER)
        wallet = builders.make_wallet(team=cast.other_team)
        job = builders.make_job(
            team=cast.other_team, state=State.RUNNING, launched_by=cast.bob, wallet=wallet
        )
        WalletGrant.objects.create(wallet=wallet, user=cast.bob, granted_at=NOW)
        member_id = membership(cast.bob, cast.team).pk

        members.remove(actor=alice, member_id=member_id, hand_on_to=membership(adam).pk, now=NOW)

        job.refresh_from_db()
        assert job.handed_to is None
        assert WalletGrant.objects.count() == 1
        assert membership(cast.bob).team == cast.other_team

    @pytest.mark.parametrize("role", [Role.VIEWER, Role.TREASURER, Role.AUDITOR])
    def test_hands_on_to_nobody_who_may_not_launch(self, alice: Actor, cast: Cast, role: Role) -> None:
        Membership.objects.filter(user=cast.vera).update(role=role)
        self.make_job(cast, State.RUNNING)

        with pytest.raises(InvalidInput) as caught:
            remove(alice, cast.bob, hand_on_to=cast.vera)

        assert caught.value.code == "may_not_run"
        assert is_member(cast.bob)

    @pytest.mark.parametrize("who", ["bob", "charlie"])
    def test_hands_on_to_nobody_outside_nor_back_to_them(self, alice: Actor, cast: Cast, who: str) -> None:
        job = self.make_job(cast, State.RUNNING)

        with pytest.raises(Missing):
            remove(alice, cast.bob, hand_on_to=getattr(cast, who))

        job.refresh_from_db()
        assert (is_member(cast.bob), job.handed_to) == (True, None)

    @pytest.mark.parametrize(
        ("state", "values", "needed"),
        [
            (State.REQUESTED, {"free": False}, True),
            (State.PAYING, {"free": False}, True),
            (State.NEEDS_ATTENTION, {"free": False, "attention_from": State.PAYING}, True),
            (State.NEEDS_ATTENTION, {"free": False, "attention_from": State.RUNNING}, False),
            (State.RUNNING, {"free": False}, False),
            (State.REQUESTED, {"free": True}, False),
        ],
    )
    def test_hands_what_is_still_to_be_paid_to_those_who_may_spend(
        self, alice: Actor, adam: Actor, cast: Cast, state: State, values: dict[str, Any], needed: bool
    ) -> None:
        job = builders.make_job(team=cast.team, state=state, launched_by=cast.bob, **values)
        if needed:
            with pytest.raises(InvalidInput) as caught:
                remove(alice, cast.bob, hand_on_to=adam)
            assert (caught.value.code, "demo" in caught.value.message) == ("may_not_spend", True)
            WalletGrant.objects.create(wallet=job.wallet, user_id=adam.user_id, granted_at=NOW)

        assert remove(alice, cast.bob, hand_on_to=adam).handed_on == 1

    def test_takes_grants_links_and_invitations_to_them(self, alice: Actor, cast: Cast) -> None:
        wallet = builders.make_wallet(team=cast.team)
        for user in (cast.bob, cast.alice):
            WalletGrant.objects.create(wallet=wallet, user=user, granted_at=NOW)
        job = builders.make_job(team=cast.team, state=State.SUCCEEDED)
        links = [
            ShareLink.objects.create(
                job=job,
                token_sha256=str(i),
                created_by=user,
                created_at=NOW,
                expires_at=NOW,
                label=f"link {i}",
            )
            for i, user in enumerate((cast.bob, cast.alice))
        ]
        builders.make_address(user=cast.bob, email="robert@example.org")
        back = builders.make_invitation(team=cast.team, email="Robert@example.org")
        elsewhere = builders.make_invitation(team=cast.other_team, email="robert@example.org")
        his = builders.make_invitation(team=cast.team, invited_by=cast.bob)

        remove(alice, cast.bob)

        assert WalletGrant.objects.get().user == cast.alice
        assert [
            link.revoked_at for link in ShareLink.objects.filter(pk__in=[x.pk for x in links]).order_by("pk")
        ] == [
            NOW,
            None,
        ]
        open_now = Invitation.objects.filter(revoked_at=None)
        assert set(open_now) == {elsewhere, his}
        assert back not in open_now
        assert acts() == [
            "wallet.grant_taken",
            "job.share_revoked",
            "team.invitation_revoked",
            "team.member_removed",
        ]

    @pytest.mark.parametrize("role", Role)
    def test_lets_an_admin_remove_those_whose_role_they_may_take(
        self, adam: Actor, cast: Cast, role: Role
    ) -> None:
        Membership.objects.filter(user=cast.bob).update(role=role)

        if role in GIVEN_BY_ADMINS:
            remove(adam, cast.bob)
            assert not is_member(cast.bob)
            return
        with pytest.raises(NotAllowed):
            remove(adam, cast.bob)
        assert is_member(cast.bob)

    @pytest.mark.parametrize("who", ["bob", "vera"])
    def test_is_for_owners_and_admins(self, who: str, cast: Cast, request: pytest.FixtureRequest) -> None:
        with pytest.raises(NotAllowed):
            remove(request.getfixturevalue(who), cast.vera)

    def test_is_not_how_one_leaves(self, alice: Actor) -> None:
        with pytest.raises(InvalidInput) as caught:
            remove(alice, alice)

        assert caught.value.code == "oneself"

    def test_knows_no_members_of_another_team(self, alice: Actor, cast: Cast) -> None:
        with pytest.raises(Missing):
            remove(alice, cast.charlie)

        assert is_member(cast.charlie)

    def test_happens_once(self, alice: Actor, cast: Cast) -> None:
        member_id = membership(cast.bob).pk
        remove(alice, cast.bob)

        with pytest.raises(Missing):
            members.remove(actor=alice, member_id=member_id, hand_on_to=None, now=NOW)

    def test_is_undone_whole_where_the_record_cannot_be_written(
        self, alice: Actor, adam: Actor, cast: Cast, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        job = self.make_job(cast, State.RUNNING)
        builders.make_invitation(team=cast.team, email="bob@example.org")

        def fail(**_: Any) -> None:
            raise RuntimeError("the record is full")

        # Patched by name: nothing that a caller can do makes the record fail.
        monkeypatch.setattr(members, "record", fail)

        with pytest.raises(RuntimeError):
            remove(alice, cast.bob, hand_on_to=adam)

        job.refresh_from_db()
        assert (is_member(cast.bob), job.handed_to, job.events.count()) == (True, None, 1)

    def make_job(self, cast: Cast, state: State) -> Job:
        values = {"attention_from": State.RUNNING} if state == State.NEEDS_ATTENTION else {}
        return builders.make_job(team=cast.team, state=state, launched_by=cast.bob, **values)


class TestLeave:
    def test_ends_one_s_own_membership(self, bob: Actor, alice: Actor, cast: Cast) -> None:
        job = builders.make_job(team=cast.team, state=State.RUNNING, launched_by=cast.bob)

        parting = members.leave(actor=bob, hand_on_to=membership(alice).pk, now=NOW)

        assert (parting.handed_on, is_member(bob)) == (1, False)
        job.refresh_from_db()
        assert job.owner_id == alice.user_id
        assert acts() == ["job.handed_on", "team.left"]

    @pytest.mark.parametrize("role", sorted(set(Role) - {Role.OWNER}))
    def test_stops_one_s_own_jobs_whatever_one_has_become(self, cast: Cast, role: Role) -> None:
        Membership.objects.filter(user=cast.bob).update(role=role)
        job = builders.make_job(team=cast.team, state=State.RUNNING, launched_by=cast.bob)
        actor = actor_for(cast.bob, team=cast.team, role=role)

        assert members.leave(actor=actor, hand_on_to=None, now=NOW).stopped == 1

        job.refresh_from_db()
        assert (job.cancel_requested_by, is_member(cast.bob)) == (cast.bob, False)

    def test_is_refused_to_the_last_owner(self, alice: Actor) -> None:
        with pytest.raises(InvalidInput) as caught:
            members.leave(actor=alice, hand_on_to=None, now=NOW)

        assert (caught.value.code, is_member(alice)) == ("last_owner", True)

    def test_is_refused_to_the_last_member_as_well(self, charlie: Actor) -> None:
        with pytest.raises(InvalidInput):
            members.leave(actor=charlie, hand_on_to=None, now=NOW)

    def test_lets_an_owner_go_where_there_is_another(self, alice: Actor, cast: Cast) -> None:
        change(alice, cast.bob, Role.OWNER)

        members.leave(actor=alice, hand_on_to=None, now=NOW)

        assert not is_member(alice)

    def test_is_for_members(self, alice: Actor, bob: Actor) -> None:
        remove(alice, bob)

        with pytest.raises(Missing):
            members.leave(actor=bob, hand_on_to=None, now=NOW)

    def test_of_an_operator_who_is_no_member_is_nothing(self, cast: Cast) -> None:
        operator = actor_for(None, team=cast.team, role=Role.OWNER)

        with pytest.raises(Missing):
            members.leave(actor=operator, hand_on_to=None, now=NOW)


class TestTwoOwnersAtOnce:
    @pytest.mark.parametrize(
        "act", ["demote each other", "remove each other", "both leave", "demote themselves"]
    )
    def test_never_leave_a_team_without_an_owner(self, each_database: str, act: str) -> None:
        team = builders.make_team()
        users = [builders.make_member(team=team, username=name, role=Role.OWNER) for name in ("alice", "zoe")]
        actors = [actor_for(user, team=team, role=Role.OWNER) for user in users]
        ids = [membership(user).pk for user in users]

        def run(i: int) -> Any:
            if act == "both leave":
                return members.leave(actor=actors[i], hand_on_to=None, now=NOW)
            if act == "remove each other":
                return members.remove(actor=actors[i], member_id=ids[1 - i], hand_on_to=None, now=NOW)
            target = ids[i] if act == "demote themselves" else ids[1 - i]
            return members.change_role(actor=actors[i], member_id=target, role="viewer", now=NOW)

        outcomes = run_together(lambda: run(0), lambda: run(1))

        assert sum(isinstance(outcome, InvalidInput | NotAllowed | Missing) for outcome in outcomes) == 1
        assert Membership.objects.filter(role=Role.OWNER).count() == 1


class TestRemovalWhileTheWorkerWorks:
    def test_neither_hangs_nor_loses_a_move_of_the_job(self, each_database: str) -> None:
        team = builders.make_team()
        owner, bob = (
            builders.make_member(team=team, username=name, role=role)
            for name, role in (("alice", Role.OWNER), ("bob", Role.LAUNCHER))
        )
        actor = actor_for(owner, team=team, role=Role.OWNER)
        jobs = [builders.make_job(team=team, state=State.STARTING, launched_by=bob) for _ in range(5)]
        member_id, heir = membership(bob).pk, membership(owner).pk

        def work(job: Job) -> bool:
            return Job.objects.move(
                job_id=job.pk, before=State.STARTING, after=State.RUNNING, now=NOW, node_job_id=f"0x{job.pk}"
            )

        outcomes = run_together(
            lambda: members.remove(actor=actor, member_id=member_id, hand_on_to=heir, now=NOW),
            *[lambda job=job: work(job) for job in jobs],
        )

        assert outcomes[1:] == [True] * 5
        assert not isinstance(outcomes[0], Exception), outcomes[0]
        assert set(Job.objects.values_list("state", "handed_to_id")) == {("RUNNING", owner.pk)}
