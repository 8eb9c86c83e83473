"""The members' pages: who sees what, who may do what, and that foreign numbers open nothing."""

from __future__ import annotations

import pytest
from allauth.mfa.models import Authenticator
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from jobs.lifecycle import State
from jobs.models import Invitation, Job, Letter, Membership, ShareLink, User, WalletGrant
from jobs.models.teams import Role
from tests import builders
from tests.builders import NOW
from tests.conftest import Cast
from tests.views.rendering import queries_while_rendering

PAGE = "/coastal/members/"
HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def adam(cast: Cast) -> Client:
    """An admin's browser."""
    client = Client()
    client.force_login(builders.make_member(team=cast.team, username="adam", role=Role.ADMIN))
    return client


def number(user: User) -> int:
    return Membership.objects.get(user=user).pk


def invite(client: Client, email: str = "dora@example.org", role: str = "launcher") -> object:
    return client.post(f"{PAGE}invite/", {"invite-email": email, "invite-role": role})


class TestList:
    def test_shows_everybody_with_role_and_jobs_under_way(self, vera: Client, cast: Cast) -> None:
        for state in (State.RUNNING, State.NEEDS_ATTENTION, State.SUCCEEDED):
            builders.make_job(team=cast.team, state=state, launched_by=cast.bob)

        html = vera.get(PAGE).text

        assert all(name in html for name in ("Alice", "Bob", "Vera", "owner", "launcher", "viewer"))
        assert '<td class="num" data-what="Jobs:">2</td>' in html
        assert "Charlie" not in html

    def test_shows_addresses_sign_ins_and_factors_to_those_who_manage_members(
        self, alice: Client, adam: Client, bob: Client, cast: Cast
    ) -> None:
        User.objects.filter(pk=cast.vera.pk).update(email="vera@example.org")
        builders.make_invitation(team=cast.team)
        Authenticator.objects.create(user=cast.vera, type=Authenticator.Type.TOTP, data={})
        Authenticator.objects.create(user=cast.bob, type=Authenticator.Type.RECOVERY_CODES, data={})

        for client in (alice, adam):
            html = client.get(PAGE).text
            assert all(text in html for text in ("vera@example.org", "dora@example.org", "Last sign-in"))
            assert html.count(">On<") == 1

        html = bob.get(PAGE).text
        assert not [
            text
            for text in ("vera@example.org", "dora@example.org", "Last sign-in", "Invite somebody", "Remove<")
            if text in html
        ]

    def test_offers_an_admin_only_what_they_may_give_and_take(self, adam: Client, cast: Cast) -> None:
        html = adam.get(PAGE).text

        assert f"/members/{number(cast.bob)}/role/" in html
        assert f"/members/{number(cast.alice)}/role/" not in html
        assert f"/members/{number(cast.alice)}/remove/" not in html
        assert 'value="curator"' in html
        assert not [role for role in ("owner", "admin", "treasurer") if f'value="{role}"' in html]

    def test_tells_where_each_invitation_s_letter_is(self, alice: Client, cast: Cast) -> None:
        builders.make_invitation(team=cast.team, expires_at=NOW)
        Letter.objects.update(
            status=Letter.Status.FAILED, trouble=f"The mail server refused it (550): {HOSTILE}"
        )

        html = alice.get(PAGE).text

        assert all(text in html for text in ("Could not be sent", "refused it (550)", ">Over<"))
        assert HOSTILE not in html

    def test_shows_names_as_text(self, alice: Client, cast: Cast) -> None:
        User.objects.filter(pk=cast.bob.pk).update(first_name=HOSTILE, email=f'"{HOSTILE}"@example.org')
        builders.make_invitation(team=cast.team, email="o'neil+<b>@example.org", invited_by=cast.bob)

        html = alice.get(PAGE).text

        assert HOSTILE not in html
        assert "&lt;script&gt;" in html
        assert "+<b>" not in html

    def test_is_where_the_side_bar_leads(self, vera: Client) -> None:
        assert f'<a href="{PAGE}" aria-current="page">' in vera.get(PAGE).text
        assert f'<a href="{PAGE}">' in vera.get("/coastal/").text

    def test_takes_few_queries_however_many_there_are(
        self, alice: Client, cast: Cast, django_assert_num_queries: DjangoAssertNumQueries
    ) -> None:
        for i in range(5):
            builders.make_member(team=cast.team, username=f"member-{i}", role=Role.VIEWER)
            builders.make_invitation(team=cast.team, email=f"invited-{i}@example.org")
        alice.get(PAGE)

        # Session, person, memberships; members with their jobs, factors, invitations, their letters; the frame.
        with django_assert_num_queries(8):
            alice.get(PAGE)

    def test_asks_for_nothing_while_it_is_rendered(self, alice: Client, cast: Cast) -> None:
        builders.make_invitation(team=cast.team)

        with queries_while_rendering() as late:
            alice.get(PAGE)

        assert late == []


class TestInvite:
    def test_invites_and_says_so(self, alice: Client) -> None:
        answer = alice.post(
            f"{PAGE}invite/",
            {"invite-email": " Dora@Example.org", "invite-role": "curator"},
            follow=True,
        )

        assert answer.redirect_chain == [(PAGE, 302)]
        assert "Dora@example.org is invited" in answer.text.replace("Dora@Example.org", "Dora@example.org")
        assert Invitation.objects.get().role == "curator"

    @pytest.mark.parametrize(
        ("email", "role", "sentence"),
        [
            ("", "viewer", "Enter an e-mail address."),
            ("dora", "viewer", "Enter an e-mail address, such as"),
            ("d" * 300 + "@example.org", "viewer", "No e-mail address is longer than 254 characters."),
            ("dora@example.org\nBcc: all@example.org", "viewer", "Enter an e-mail address, such as"),
            ("dora@example.org", "", "Choose a role."),
            ("dora@example.org", "emperor", "There is no such role."),
            (HOSTILE, HOSTILE, "Enter an e-mail address, such as"),
        ],
    )
    def test_tells_beside_the_field_what_is_wrong(
        self, alice: Client, email: str, role: str, sentence: str
    ) -> None:
        answer = invite(alice, email, role)

        assert answer.status_code == 400  # type: ignore[attr-defined]
        assert sentence in answer.text  # type: ignore[attr-defined]
        assert HOSTILE not in answer.text  # type: ignore[attr-defined]
        assert not Invitation.objects.exists()

    def test_tells_of_an_invitation_that_is_open(self, alice: Client) -> None:
        invite(alice)

        answer = invite(alice, "DORA@example.org")

        assert "is invited already" in answer.text  # type: ignore[attr-defined]
        assert Invitation.objects.count() == 1

    def test_of_a_role_that_one_may_not_give_is_refused(self, adam: Client) -> None:
        assert invite(adam, role="owner").status_code == 403  # type: ignore[attr-defined]
        assert not Invitation.objects.exists()

    def test_is_refused_to_those_who_may_not(self, bob: Client, vera: Client, charlie: Client) -> None:
        assert [invite(client).status_code for client in (bob, vera, charlie)] == [403, 403, 404]  # type: ignore[attr-defined]
        assert not Invitation.objects.exists()

    def test_needs_a_form_of_this_site(self, cast: Cast) -> None:
        client = Client(enforce_csrf_checks=True)
        client.force_login(cast.alice)

        assert invite(client).status_code == 403  # type: ignore[attr-defined]
        assert not Invitation.objects.exists()


class TestInvitations:
    @pytest.mark.parametrize(
        ("act", "sentence"), [("resend", "sends the invitation again"), ("revoke", "is revoked")]
    )
    def test_are_acted_on_from_the_list(self, alice: Client, cast: Cast, act: str, sentence: str) -> None:
        invitation = builders.make_invitation(team=cast.team)

        answer = alice.post(f"{PAGE}invitations/{invitation.pk}/{act}/", follow=True)

        assert sentence in answer.text
        changed = Invitation.objects.get()
        assert (changed.revoked_at is not None) == (act == "revoke")
        assert changed.letters.count() == (2 if act == "resend" else 1)

    @pytest.mark.parametrize("act", ["resend", "revoke"])
    def test_of_another_team_are_not_there(self, alice: Client, cast: Cast, act: str) -> None:
        invitation = builders.make_invitation(team=cast.other_team)

        assert alice.post(f"{PAGE}invitations/{invitation.pk}/{act}/").status_code == 404
        assert alice.post(f"/offshore/members/invitations/{invitation.pk}/{act}/").status_code == 404
        unchanged = Invitation.objects.get()
        assert (unchanged.revoked_at, unchanged.letters.count()) == (None, 1)

    @pytest.mark.parametrize("act", ["resend", "revoke"])
    def test_are_not_touched_by_those_who_may_not(
        self, bob: Client, adam: Client, cast: Cast, act: str
    ) -> None:
        invitation = builders.make_invitation(team=cast.team, role=Role.ADMIN)

        for client in (bob, adam):
            assert client.post(f"{PAGE}invitations/{invitation.pk}/{act}/").status_code == 403
            assert client.get(f"{PAGE}invitations/{invitation.pk}/{act}/").status_code == 405

    def test_that_were_accepted_meanwhile_are_told_of(self, alice: Client, cast: Cast) -> None:
        invitation = builders.make_invitation(team=cast.team, accepted_at=NOW)

        answer = alice.post(f"{PAGE}invitations/{invitation.pk}/revoke/", follow=True)

        assert "This invitation has been used." in answer.text


class TestRole:
    def test_counts_from_the_next_request_on(self, alice: Client, bob: Client, cast: Cast) -> None:
        assert bob.get("/coastal/jobs/launch/").status_code == 200

        answer = alice.post(f"{PAGE}{number(cast.bob)}/role/", {"role": "viewer"}, follow=True)

        assert "The role is changed." in answer.text
        assert bob.get("/coastal/jobs/launch/").status_code == 403

    @pytest.mark.parametrize("entered", [{}, {"role": "emperor"}, {"role": "x" * 100_000}])
    def test_that_is_none_is_refused_with_a_sentence(
        self, alice: Client, cast: Cast, entered: dict[str, str]
    ) -> None:
        answer = alice.post(f"{PAGE}{number(cast.bob)}/role/", entered, follow=True)

        assert "There is no such role." in answer.text
        assert Membership.objects.get(user=cast.bob).role == Role.LAUNCHER

    def test_of_the_last_owner_stays(self, alice: Client, cast: Cast) -> None:
        answer = alice.post(f"{PAGE}{number(cast.alice)}/role/", {"role": "viewer"}, follow=True)

        assert "the last owner" in answer.text
        assert Membership.objects.get(user=cast.alice).role == Role.OWNER

    def test_of_another_team_s_member_is_not_there(self, alice: Client, cast: Cast) -> None:
        url = f"{PAGE}{number(cast.charlie)}/role/"

        assert alice.post(url, {"role": "viewer"}).status_code == 404
        assert Membership.objects.get(user=cast.charlie).role == Role.OWNER

    def test_is_not_changed_by_those_who_may_not(self, bob: Client, adam: Client, cast: Cast) -> None:
        assert bob.post(f"{PAGE}{number(cast.bob)}/role/", {"role": "owner"}).status_code == 403
        assert adam.post(f"{PAGE}{number(cast.bob)}/role/", {"role": "owner"}).status_code == 403
        assert adam.post(f"{PAGE}{number(cast.alice)}/role/", {"role": "viewer"}).status_code == 403
        assert Membership.objects.get(user=cast.bob).role == Role.LAUNCHER


class TestRemove:
    def test_shows_what_hangs_on_it_and_changes_nothing(self, alice: Client, cast: Cast) -> None:
        job = builders.make_job(
            team=cast.team, state=State.RUNNING, launched_by=cast.bob, name=f"Waves {HOSTILE}"
        )
        WalletGrant.objects.create(wallet=job.wallet, user=cast.bob, granted_at=NOW)
        ShareLink.objects.create(
            job=job, token_sha256="0", created_by=cast.bob, created_at=NOW, expires_at=NOW
        )
        builders.make_invitation(team=cast.team, invited_by=cast.bob)

        html = alice.get(f"{PAGE}{number(cast.bob)}/remove/").text

        told = (
            "Waves",
            "Hand them on to Alice (owner)",
            "Stop them",
            "demo ends",
            "1 link",
            "dora@example.org",
        )
        assert [text for text in told if text not in html] == []
        assert "Hand them on to Vera" not in html
        assert HOSTILE not in html
        assert Membership.objects.filter(user=cast.bob).exists()

    def test_hands_the_jobs_on(self, alice: Client, bob: Client, cast: Cast) -> None:
        job = builders.make_job(team=cast.team, state=State.RUNNING, launched_by=cast.bob)

        answer = alice.post(
            f"{PAGE}{number(cast.bob)}/remove/", {"jobs": str(number(cast.alice))}, follow=True
        )

        assert "Bob is no member any more. Jobs handed on: 1." in answer.text
        assert Job.objects.get(pk=job.pk).handed_to == cast.alice
        assert "Handed on from Bob to Alice by Alice." in alice.get(f"/coastal/jobs/{job.pk}/").text

    def test_stops_the_jobs(self, alice: Client, cast: Cast) -> None:
        job = builders.make_job(team=cast.team, state=State.RUNNING, launched_by=cast.bob)

        answer = alice.post(f"{PAGE}{number(cast.bob)}/remove/", {"jobs": "stop"}, follow=True)

        assert "Jobs asked to stop: 1." in answer.text
        assert Job.objects.get(pk=job.pk).cancel_requested_at is not None

    @pytest.mark.parametrize("chosen", [None, "", "emperor", "0", "-1", "9" * 40])
    def test_wants_to_know_what_becomes_of_the_jobs(
        self, alice: Client, cast: Cast, chosen: str | None
    ) -> None:
        builders.make_job(team=cast.team, state=State.RUNNING, launched_by=cast.bob)

        answer = alice.post(f"{PAGE}{number(cast.bob)}/remove/", {} if chosen is None else {"jobs": chosen})

        assert answer.status_code == 400
        assert "Choose" in answer.text
        assert Membership.objects.filter(user=cast.bob).exists()

    @pytest.mark.parametrize("heir", ["vera", "charlie", "bob"])
    def test_hands_on_to_nobody_who_is_not_in_the_list(self, alice: Client, cast: Cast, heir: str) -> None:
        job = builders.make_job(team=cast.team, state=State.RUNNING, launched_by=cast.bob)

        answer = alice.post(f"{PAGE}{number(cast.bob)}/remove/", {"jobs": str(number(getattr(cast, heir)))})

        assert answer.status_code == 400
        assert Job.objects.get(pk=job.pk).handed_to is None

    def test_tells_where_the_new_owner_could_not_pay(self, alice: Client, cast: Cast) -> None:
        builders.make_job(team=cast.team, state=State.REQUESTED, launched_by=cast.bob, free=False)

        answer = alice.post(f"{PAGE}{number(cast.bob)}/remove/", {"jobs": str(number(cast.alice))})

        assert (answer.status_code, "may not spend" in answer.text) == (400, True)

    def test_is_felt_at_the_next_request_in_every_tab(self, alice: Client, bob: Client, cast: Cast) -> None:
        job = builders.make_job(team=cast.team, state=State.SUCCEEDED, launched_by=cast.bob)
        bob.get(PAGE)

        alice.post(f"{PAGE}{number(cast.bob)}/remove/")

        assert [bob.get(url).status_code for url in (PAGE, "/coastal/", f"/coastal/jobs/{job.pk}/")] == [
            404
        ] * 3
        posted = [
            bob.post(url)
            for url in (f"{PAGE}leave/", f"/coastal/jobs/{job.pk}/rerun/", f"/coastal/jobs/{job.pk}/stop/")
        ]
        assert [answer.status_code for answer in posted] == [404] * 3
        assert bob.get("/").status_code == 200

    def test_is_refused_to_those_who_may_not(
        self, bob: Client, adam: Client, charlie: Client, cast: Cast
    ) -> None:
        alice_s, bob_s = (f"{PAGE}{number(user)}/remove/" for user in (cast.alice, cast.bob))

        for ask in ("get", "post"):
            assert getattr(bob, ask)(alice_s).status_code == 403
            assert getattr(adam, ask)(alice_s).status_code == 403
            assert getattr(charlie, ask)(bob_s).status_code == 404
        assert Membership.objects.filter(team=cast.team).count() == 4

    def test_of_another_team_s_member_is_not_there(self, alice: Client, cast: Cast) -> None:
        url = f"{PAGE}{number(cast.charlie)}/remove/"

        assert [alice.get(url).status_code, alice.post(url).status_code] == [404, 404]
        assert Membership.objects.filter(user=cast.charlie).exists()


class TestLeave:
    def test_leads_home(self, bob: Client, cast: Cast) -> None:
        assert "no job under way" in bob.get(f"{PAGE}leave/").text

        answer = bob.post(f"{PAGE}leave/", follow=True)

        assert answer.redirect_chain == [("/", 302)]
        assert "You have left Coastal Lab." in answer.text
        assert "You are in no team yet" in answer.text

    def test_asks_for_one_s_own_jobs(self, bob: Client, cast: Cast) -> None:
        builders.make_job(team=cast.team, state=State.RUNNING, launched_by=cast.bob)

        assert bob.post(f"{PAGE}leave/").status_code == 400
        assert bob.post(f"{PAGE}leave/", {"jobs": "stop"}).status_code == 302

    def test_is_not_offered_to_the_last_owner(self, alice: Client, cast: Cast) -> None:
        assert "the last owner of this team" in alice.get(f"{PAGE}leave/").text
        assert alice.post(f"{PAGE}leave/").status_code == 400
        assert Membership.objects.filter(user=cast.alice).exists()

    def test_is_not_for_strangers(self, charlie: Client, client: Client) -> None:
        assert charlie.post(f"{PAGE}leave/").status_code == 404
        assert client.post(f"{PAGE}leave/")["Location"].startswith("/accounts/login/")


class TestSeveralTeams:
    def test_are_a_click_away_on_every_page(self, bob: Client, cast: Cast) -> None:
        Membership.objects.create(team=cast.other_team, user=cast.bob, role=Role.VIEWER)

        for page in ("/coastal/", PAGE, "/coastal/jobs/"):
            assert '<a href="/offshore/">Offshore Lab</a>' in bob.get(page).text

    def test_are_listed_at_the_start_with_what_goes_on_there(
        self, bob: Client, cast: Cast, django_assert_num_queries: DjangoAssertNumQueries
    ) -> None:
        Membership.objects.create(team=cast.other_team, user=cast.bob, role=Role.VIEWER)
        for state in (State.RUNNING, State.PAYING, State.NEEDS_ATTENTION, State.SUCCEEDED):
            builders.make_job(team=cast.team, state=state)

        with django_assert_num_queries(3):  # session, person, teams
            html = bob.get("/").text

        assert "you are launcher, 2 jobs under way, 1 needs attention" in html
        assert '<a href="/offshore/">' in html
