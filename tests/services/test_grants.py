"""A right to spend needs the role and a grant of the wallet: who gives one, who takes it, and where it is asked for."""

from __future__ import annotations

from dataclasses import replace
from threading import Event
from typing import Any

import pytest

from jobs.access import Actor
from jobs.errors import InvalidInput, Missing, NotAllowed
from jobs.lifecycle import State
from jobs.models import Act, AuditEntry, Job, Membership, Team, Wallet, WalletGrant
from jobs.models.teams import Role
from jobs.services import grants, launching, members, teams
from jobs.services.choosing import DatasetChoice, LaunchRequest
from tests import builders
from tests.builders import NOW
from tests.conftest import Cast
from tests.services.conftest import Place, actor_for, run_together
from tests.services.fakes import queued
from tests.services.quay import Quay
from tests.services.test_launching import KEY

OCEAN = builders.TOKEN


@pytest.fixture
def wallet(team: Team) -> Wallet:
    return builders.make_wallet(team=team)


@pytest.fixture
def tara(team: Team) -> Actor:
    """A treasurer."""
    user = builders.make_member(team=team, username="tara", role=Role.TREASURER)
    return actor_for(user, team=team, role=Role.TREASURER)


@pytest.fixture
def adam(team: Team) -> Actor:
    """An admin."""
    user = builders.make_member(team=team, username="adam", role=Role.ADMIN)
    return actor_for(user, team=team, role=Role.ADMIN)


def entry(act: Act) -> AuditEntry:
    return AuditEntry.objects.get(act=act)


class TestGrant:
    @pytest.mark.parametrize("who", ["alice", "tara"])
    def test_is_given_by_owners_and_treasurers(
        self, request: pytest.FixtureRequest, who: str, cast: Cast, wallet: Wallet
    ) -> None:
        actor: Actor = request.getfixturevalue(who)

        assert grants.grant(actor=actor, wallet_id=wallet.pk, user_id=cast.bob.pk, now=NOW)

        found = WalletGrant.objects.get()
        assert (found.wallet, found.user, found.granted_by_id, found.granted_at) == (
            wallet,
            cast.bob,
            actor.user_id,
            NOW,
        )

    def test_is_in_the_record(self, alice: Actor, cast: Cast, wallet: Wallet) -> None:
        grants.grant(actor=alice, wallet_id=wallet.pk, user_id=cast.bob.pk, now=NOW)

        found = entry(Act.GRANTED)
        assert (found.who, found.object_id, found.object_name) == ("Alice", str(wallet.pk), "demo")
        assert found.after == {"user": cast.bob.pk, "name": "Bob"}

    def test_twice_is_one(self, alice: Actor, cast: Cast, wallet: Wallet) -> None:
        given = [
            grants.grant(actor=alice, wallet_id=wallet.pk, user_id=cast.bob.pk, now=NOW) for _ in range(2)
        ]

        assert given == [True, False]
        assert AuditEntry.objects.count() == 1

    @pytest.mark.parametrize("who", ["adam", "bob", "vera"])
    def test_is_not_given_by_others(
        self, request: pytest.FixtureRequest, who: str, cast: Cast, wallet: Wallet
    ) -> None:
        with pytest.raises(NotAllowed):
            grants.grant(
                actor=request.getfixturevalue(who), wallet_id=wallet.pk, user_id=cast.bob.pk, now=NOW
            )

        assert not WalletGrant.objects.exists()

    def test_of_another_team_s_wallet_is_missing(self, charlie: Actor, cast: Cast, wallet: Wallet) -> None:
        with pytest.raises(Missing):
            grants.grant(actor=charlie, wallet_id=wallet.pk, user_id=cast.charlie.pk, now=NOW)

    @pytest.mark.parametrize("role", [Role.TREASURER, Role.VIEWER, Role.AUDITOR])
    def test_is_refused_to_a_role_that_launches_nothing_paid(
        self, alice: Actor, cast: Cast, wallet: Wallet, role: Role
    ) -> None:
        Membership.objects.filter(user=cast.bob).update(role=role)

        with pytest.raises(InvalidInput) as caught:
            grants.grant(actor=alice, wallet_id=wallet.pk, user_id=cast.bob.pk, now=NOW)

        assert (caught.value.field, caught.value.code) == ("user", "role")

    def test_a_treasurer_does_not_give_themself_one(self, tara: Actor, wallet: Wallet) -> None:
        assert tara.user_id is not None

        with pytest.raises(InvalidInput):
            grants.grant(actor=tara, wallet_id=wallet.pk, user_id=tara.user_id, now=NOW)

    def test_is_refused_to_somebody_outside(self, alice: Actor, cast: Cast, wallet: Wallet) -> None:
        with pytest.raises(InvalidInput) as caught:
            grants.grant(actor=alice, wallet_id=wallet.pk, user_id=cast.charlie.pk, now=NOW)

        assert caught.value.code == "no_member"

    @pytest.mark.parametrize("values", [{"disabled_at": NOW}, {"encrypted_key": None}])
    def test_is_refused_for_a_wallet_that_launches_nothing(
        self, alice: Actor, cast: Cast, team: Team, values: dict[str, Any]
    ) -> None:
        wallet = builders.make_wallet(team=team, **values)

        with pytest.raises(InvalidInput):
            grants.grant(actor=alice, wallet_id=wallet.pk, user_id=cast.bob.pk, now=NOW)


class TestTakeBack:
    def test_ends_it_and_is_in_the_record(self, tara: Actor, cast: Cast, wallet: Wallet) -> None:
        builders.make_grant(wallet=wallet, user=cast.bob)

        taken = [
            grants.take_back(actor=tara, wallet_id=wallet.pk, user_id=cast.bob.pk, now=NOW) for _ in range(2)
        ]

        assert taken == [True, False]
        assert not WalletGrant.objects.exists()
        assert entry(Act.GRANT_TAKEN).before == {"user": cast.bob.pk, "name": "Bob"}

    def test_is_not_for_others(self, adam: Actor, cast: Cast, wallet: Wallet) -> None:
        builders.make_grant(wallet=wallet, user=cast.bob)

        with pytest.raises(NotAllowed):
            grants.take_back(actor=adam, wallet_id=wallet.pk, user_id=cast.bob.pk, now=NOW)

        assert WalletGrant.objects.exists()

    def test_of_another_team_s_wallet_is_missing(self, charlie: Actor, cast: Cast, wallet: Wallet) -> None:
        with pytest.raises(Missing):
            grants.take_back(actor=charlie, wallet_id=wallet.pk, user_id=cast.bob.pk, now=NOW)


@pytest.fixture
def bare(place: Place) -> Place:
    """A place whose wallet nobody may spend from."""
    WalletGrant.objects.all().delete()
    return place


def asked(place: Place, **values: Any) -> LaunchRequest:
    request = LaunchRequest(
        datasets=(DatasetChoice(ref=place.dataset.did),),
        algorithm=place.algorithm.did,
        environment=str(place.environment.pk),
        wallet="demo",
    )
    return replace(request, **values)


def paid(place: Place) -> LaunchRequest:
    return asked(place, paid=True, token=OCEAN, max_duration_s=600, most={OCEAN: 10**30})


def launch(actor: Actor, request: LaunchRequest) -> Job:
    return Job.objects.get(pk=launching.launch(actor=actor, request=request, launch_key=KEY, now=NOW))


class TestLaunch:
    @pytest.mark.parametrize("who", ["alice", "bob", "adam"])
    def test_of_a_paid_job_without_a_grant_is_refused_with_who_can_give_it(
        self, request: pytest.FixtureRequest, who: str, bare: Place
    ) -> None:
        actor = request.getfixturevalue(who)

        with pytest.raises(NotAllowed) as caught:
            launch(actor, paid(bare))

        assert (caught.value.code, "Alice can grant it" in caught.value.message) == ("no_grant", True)
        assert not Job.objects.exists()
        assert queued() == []

    def test_of_a_paid_job_with_one_is_taken(self, bob: Actor, cast: Cast, bare: Place) -> None:
        builders.make_grant(wallet=bare.wallet, user=cast.bob)

        assert launch(bob, paid(bare)).launched_by == cast.bob

    def test_with_a_grant_of_another_wallet_is_refused(self, bob: Actor, cast: Cast, bare: Place) -> None:
        other = builders.make_wallet(team=cast.team, label="other", address="0x" + "12" * 20)
        builders.make_grant(wallet=other, user=cast.bob)

        with pytest.raises(NotAllowed):
            launch(bob, paid(bare))

    @pytest.mark.parametrize("role", [Role.TREASURER, Role.VIEWER, Role.AUDITOR])
    def test_with_a_grant_and_no_role_is_refused(
        self, bob: Actor, cast: Cast, bare: Place, role: Role
    ) -> None:
        builders.make_grant(wallet=bare.wallet, user=cast.bob)

        with pytest.raises(NotAllowed):
            launch(replace(bob, role=role), paid(bare))

    def test_of_a_free_job_at_a_node_needs_none(self, bob: Actor, bare: Place) -> None:
        assert launch(bob, asked(bare)).free

    def test_of_a_free_job_at_which_something_was_agreed_to_needs_one(self, bob: Actor, bare: Place) -> None:
        with pytest.raises(NotAllowed):
            launch(bob, asked(bare, most={OCEAN: 1}))

    def test_of_a_free_job_whose_orders_cost_gas_needs_one(self, bob: Actor, quay: Quay) -> None:
        WalletGrant.objects.all().delete()
        request = asked(quay, max_duration_s=60)  # type: ignore[arg-type]

        with pytest.raises(NotAllowed) as caught:
            launch(bob, request)

        assert caught.value.code == "no_grant"

    def test_by_an_operator_s_command_needs_none(self, team: Team, bare: Place) -> None:
        assert launch(teams.operator(team=team.slug), paid(bare)).launched_by is None

    def test_again_uses_the_rights_of_who_presses_it(
        self, alice: Actor, bob: Actor, cast: Cast, quay: Quay
    ) -> None:
        WalletGrant.objects.filter(user=cast.bob).delete()
        first = builders.make_job(
            team=cast.team,
            node=quay.node,
            datasets=[quay.dataset],
            algorithm=quay.algorithm,
            max_duration_s=60,
        )

        with pytest.raises(NotAllowed):
            launching.rerun(actor=bob, job_id=first.pk, launch_key=KEY, now=NOW)

        assert launching.rerun(actor=alice, job_id=first.pk, launch_key=KEY, now=NOW)

    @pytest.mark.parametrize("change", [{"disabled_at": NOW}, {"encrypted_key": None}])
    def test_with_a_wallet_that_launches_nothing_is_refused(
        self, bob: Actor, place: Place, change: dict[str, Any]
    ) -> None:
        Wallet.objects.update(**change)

        with pytest.raises(InvalidInput) as caught:
            launch(bob, asked(place))

        assert caught.value.field == "wallet"
        assert "signs nothing" in caught.value.message or "no usable wallet" in caught.value.message


class TestGoOn:
    def stuck(self, cast: Cast, state: State, **values: Any) -> Job:
        return builders.make_job(
            team=cast.team,
            state=State.NEEDS_ATTENTION,
            attention_from=state,
            launched_by=cast.bob,
            **({"free": False, "most": {OCEAN: "5"}} | values),
        )

    @pytest.mark.parametrize("state", [State.REQUESTED, State.PAYING, State.PAID, State.STARTING])
    def test_before_it_ran_needs_the_grant_of_who_presses_it(
        self, bob: Actor, cast: Cast, state: State
    ) -> None:
        job = self.stuck(cast, state)

        with pytest.raises(NotAllowed) as caught:
            launching.go_on(actor=bob, job_id=job.pk, now=NOW)

        assert caught.value.code == "no_grant"
        builders.make_grant(wallet=job.wallet, user=cast.bob)
        assert launching.go_on(actor=bob, job_id=job.pk, now=NOW)

    @pytest.mark.parametrize(
        ("state", "values"),
        [(State.RUNNING, {}), (State.COLLECTING, {}), (State.STARTING, {"free": True, "most": {}})],
    )
    def test_where_nothing_more_is_spent_needs_none(
        self, bob: Actor, cast: Cast, state: State, values: dict[str, Any]
    ) -> None:
        assert launching.go_on(actor=bob, job_id=self.stuck(cast, state, **values).pk, now=NOW)


class TestWhoCanGrant:
    def test_names_a_few(self, team: Team, cast: Cast) -> None:
        assert grants.who_can_grant(team_id=team.pk) == "Alice"
        for name in ("tara", "tom", "tess"):
            builders.make_member(team=team, username=name, role=Role.TREASURER)

        assert grants.who_can_grant(team_id=team.pk) == "Alice, Tara, Tom or others"

    def test_names_the_roles_where_there_is_nobody(self, team: Team, cast: Cast) -> None:
        Membership.objects.filter(team=team).delete()

        assert grants.who_can_grant(team_id=team.pk) == "An owner or treasurer of the team"


class TestGrantAtTheMomentOfARemoval:
    def test_does_not_outlive_it(self, each_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
        team = builders.make_team()
        owner = builders.make_member(team=team, username="alice", role=Role.OWNER)
        bob = builders.make_member(team=team, username="bob", role=Role.LAUNCHER)
        actor, wallet = actor_for(owner, team=team, role=Role.OWNER), builders.make_wallet(team=team)
        member_id = Membership.objects.get(user=bob).pk
        checked, removed, give = Event(), Event(), grants.give

        def give_late(**values: Any) -> bool:
            # The member was found; a removal that does not have to wait is over before the grant is written.
            checked.set()
            removed.wait(0.5)
            return give(**values)

        def remove() -> members.Parting:
            assert checked.wait(10)
            parting = members.remove(actor=actor, member_id=member_id, hand_on_to=None, now=NOW)
            removed.set()
            return parting

        monkeypatch.setattr(grants, "give", give_late)
        outcomes = run_together(
            lambda: grants.grant(actor=actor, wallet_id=wallet.pk, user_id=bob.pk, now=NOW), remove
        )

        assert outcomes == [True, members.Parting(name="Bob", handed_on=0, stopped=0)]
        assert not WalletGrant.objects.filter(user=bob).exists()
