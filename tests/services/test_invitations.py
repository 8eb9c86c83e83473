"""Invitations: one person, one use, one week; refused to everybody else, with a sentence each."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.core import mail

from jobs.access import Actor, Person
from jobs.errors import InvalidInput, Missing, NotAllowed
from jobs.models import AuditEntry, Invitation, Letter, Membership, Team, User
from jobs.models.teams import Role
from jobs.services import invitations, members, posting
from jobs.services.invitations import NotForThem, NotOpen
from tests import builders
from tests.builders import NOW
from tests.conftest import Cast
from tests.services.conftest import actor_for, run_together
from tests.services.fakes import Clock, queued

LATER = NOW + timedelta(minutes=5)
DORA = "dora@example.org"


@pytest.fixture
def dora(cast: Cast) -> User:
    """Somebody outside, with a verified address."""
    user = builders.make_user("dora")
    builders.make_address(user=user, email=DORA)
    return user


@pytest.fixture
def admin(cast: Cast) -> Actor:
    user = builders.make_member(team=cast.team, username="adam", role=Role.ADMIN)
    return actor_for(user, team=cast.team, role=Role.ADMIN)


def invite(actor: Actor, email: str = DORA, role: str = Role.LAUNCHER, now: datetime = NOW) -> Invitation:
    return Invitation.objects.get(pk=invitations.invite(actor=actor, email=email, role=role, now=now))


def accept(invitation: Invitation | str, user: User | None, now: datetime = LATER) -> str:
    token = invitation if isinstance(invitation, str) else invitations.token_of(invitation)
    person = Person(user_id=user.pk if user else None, name=str(user), origin="203.0.113.7")
    return invitations.accept(token=token, person=person, now=now)


def refusal(invitation: Invitation | str, user: User | None, now: datetime = LATER) -> str:
    """Return the code with which somebody is refused, having seen that nothing has changed."""
    before = (Membership.objects.count(), list(Invitation.objects.values("accepted_at", "revoked_at")))
    with pytest.raises((NotOpen, NotForThem, InvalidInput)) as caught:
        accept(invitation, user, now)
    after = (Membership.objects.count(), list(Invitation.objects.values("accepted_at", "revoked_at")))
    assert after == before
    assert caught.value.message.endswith(".")
    return caught.value.code


def acts() -> list[str]:
    return list(AuditEntry.objects.order_by("number").values_list("act", flat=True))


class TestInvite:
    def test_makes_an_offer_for_a_week_and_asks_the_worker_to_send_it(self, alice: Actor, team: Team) -> None:
        invitation = invite(alice, "  Dora@EXAMPLE.org ", Role.CURATOR)

        assert (invitation.team, invitation.email, invitation.role) == (
            team,
            "Dora@example.org",
            Role.CURATOR,
        )
        assert (invitation.invited_by_id, invitation.expires_at) == (alice.user_id, NOW + timedelta(days=7))
        letter = Letter.objects.get()
        assert (letter.kind, letter.to, letter.invitation) == ("invitation", "Dora@example.org", invitation)
        assert queued() == [("send_letter", (letter.pk,))]

    def test_is_in_the_record_with_the_role(self, alice: Actor) -> None:
        invite(alice)

        entry = AuditEntry.objects.get()
        assert (entry.act, entry.user_number, entry.object_name) == ("team.invited", alice.user_id, DORA)
        assert entry.after["role"] == "launcher"

    @pytest.mark.parametrize(
        "email",
        [
            "",
            "   ",
            "dora",
            "dora@",
            "@example.org",
            "dora@example.org, all@example.org",
            "dora@example.org\nBcc: all@example.org",
            "dora@example.org\r\n\r\nbuy",
            "Dora <dora@example.org>",
            "d" * 243 + "@example.org",
            "d" * 200_000 + "@example.org",
            "do\x00ra@example.org",
        ],
    )
    def test_refuses_what_is_no_address(self, alice: Actor, email: str) -> None:
        with pytest.raises(InvalidInput) as caught:
            invite(alice, email)

        assert caught.value.field == "email"
        assert len(caught.value.message) < 200
        assert not Invitation.objects.exists()

    def test_refuses_a_role_that_is_none(self, alice: Actor) -> None:
        with pytest.raises(InvalidInput) as caught:
            invite(alice, role="emperor")

        assert caught.value.field == "role"

    @pytest.mark.parametrize("role", Role)
    def test_lets_an_admin_give_only_what_the_table_says(self, admin: Actor, role: Role) -> None:
        if role in {Role.CURATOR, Role.LAUNCHER, Role.VIEWER, Role.AUDITOR}:
            assert invite(admin, role=role).role == role
            return
        with pytest.raises(NotAllowed):
            invite(admin, role=role)

    @pytest.mark.parametrize("who", ["bob", "vera"])
    def test_is_for_owners_and_admins(self, who: str, request: pytest.FixtureRequest) -> None:
        with pytest.raises(NotAllowed):
            invite(request.getfixturevalue(who), role=Role.VIEWER)

    def test_refuses_whoever_is_a_member_already_by_either_address(self, alice: Actor, cast: Cast) -> None:
        User.objects.filter(pk=cast.bob.pk).update(email="bob@example.org")
        builders.make_address(user=cast.bob, email="robert@example.org")

        for email in ("BOB@example.org", "Robert@example.org"):
            with pytest.raises(InvalidInput) as caught:
                invite(alice, email)
            assert caught.value.code == "member"

    def test_refuses_whoever_is_invited_already_in_any_capitals(self, alice: Actor) -> None:
        invite(alice)

        with pytest.raises(InvalidInput) as caught:
            invite(alice, "DORA@example.org", Role.VIEWER)

        assert (caught.value.field, caught.value.code) == ("email", "invited")
        assert Letter.objects.count() == 1

    def test_invites_anew_after_a_revocation(self, alice: Actor) -> None:
        invitations.revoke(actor=alice, invitation_id=invite(alice).pk, now=NOW)

        assert invite(alice).pk

    def test_leaves_other_teams_their_invitations(self, alice: Actor, charlie: Actor) -> None:
        assert invite(alice).team_id != invite(charlie).team_id


class TestLetter:
    def send(self, invitation: Invitation, at: datetime = NOW) -> Letter:
        letter = invitation.letters.order_by("-pk").first()
        assert letter is not None
        posting.send(letter_id=letter.pk, clock=Clock(at))
        letter.refresh_from_db()
        return letter

    def test_carries_the_link_and_what_it_is_about(self, alice: Actor, settings: Any) -> None:
        settings.PORTAL_URL = "https://portal.example.org/"
        invitation = invite(alice)

        self.send(invitation)

        (message,) = mail.outbox
        link = f"https://portal.example.org/accounts/invitations/{invitations.token_of(invitation)}/"
        assert link in message.body
        assert all(word in message.body for word in ("Alice", "Coastal Lab", "launcher", DORA, "29 November"))
        assert (message.to, message.subject) == ([DORA], "Join Coastal Lab on Ocean Portal")

    def test_has_the_link_nowhere_else(self, alice: Actor) -> None:
        invitation = invite(alice)
        self.send(invitation)

        token = invitations.token_of(invitation)
        rows = [*Letter.objects.values(), *AuditEntry.objects.values()]
        assert not [row for row in rows if token in str(row) or invitation.serial.hex in str(row)]

    def test_takes_names_as_text_of_one_line(self, alice: Actor, team: Team, cast: Cast) -> None:
        Team.objects.update(name="Lab\r\nBcc: all@example.org\r\n\r\n<b>Hi</b> & co")
        User.objects.filter(pk=cast.alice.pk).update(first_name="Al\nice", last_name="{{ portal }}")

        self.send(invite(alice))

        (message,) = mail.outbox
        assert message.subject == "Join Lab Bcc: all@example.org <b>Hi</b> & co on Ocean Portal"
        assert message.message().get_all("Bcc") is None
        assert "“Lab Bcc: all@example.org <b>Hi</b> & co”" in message.body
        assert "Al ice {{ portal }}" in message.body

    @pytest.mark.parametrize(
        ("changes", "told"),
        [
            ({"revoked_at": NOW}, "revoked before it was sent"),
            ({"accepted_at": NOW}, "accepted before this was sent"),
        ],
    )
    def test_is_not_sent_when_it_is_not_needed_any_more(
        self, alice: Actor, changes: dict[str, Any], told: str
    ) -> None:
        invitation = invite(alice)
        Invitation.objects.update(**changes)

        letter = self.send(invitation)

        assert (letter.status, told in letter.trouble) == (Letter.Status.FAILED, True)
        assert mail.outbox == []

    def test_is_not_sent_late_after_it_was_sent_again(self, alice: Actor) -> None:
        invitation = invite(alice)
        first = invitation.letters.get()
        invitations.resend(actor=alice, invitation_id=invitation.pk, now=LATER)

        posting.send(letter_id=first.pk, clock=Clock(LATER))
        self.send(invitation, LATER)

        assert len(mail.outbox) == 1


class TestResend:
    def test_begins_its_time_anew_and_sends_the_same_link(self, alice: Actor) -> None:
        invitation = invite(alice)
        before = invitations.token_of(invitation)

        invitations.resend(actor=alice, invitation_id=invitation.pk, now=LATER)

        invitation.refresh_from_db()
        assert (invitation.expires_at, invitations.token_of(invitation)) == (LATER + invitations.LIFE, before)
        assert invitation.letters.count() == 2
        assert acts() == ["team.invited", "team.invited_again"]

    def test_brings_one_back_whose_time_is_over(self, alice: Actor, dora: User) -> None:
        invitation = invite(alice, now=NOW - timedelta(days=8))
        invitations.resend(actor=alice, invitation_id=invitation.pk, now=NOW)

        assert accept(invitation, dora) == "coastal"

    def test_is_done_once_a_minute(self, alice: Actor) -> None:
        invitation = invite(alice)
        with pytest.raises(InvalidInput) as caught:
            invitations.resend(actor=alice, invitation_id=invitation.pk, now=NOW + timedelta(seconds=59))

        assert caught.value.code == "too_soon"
        invitation.refresh_from_db()
        assert invitation.expires_at == NOW + invitations.LIFE
        invitations.resend(actor=alice, invitation_id=invitation.pk, now=NOW + timedelta(seconds=60))

    @pytest.mark.parametrize("field", ["accepted_at", "revoked_at"])
    def test_is_refused_for_what_is_not_open(self, alice: Actor, field: str) -> None:
        invitation = invite(alice)
        Invitation.objects.update(**{field: NOW})

        with pytest.raises(NotOpen):
            invitations.resend(actor=alice, invitation_id=invitation.pk, now=LATER)

        assert Letter.objects.count() == 1


class TestRevoke:
    def test_closes_it_for_good(self, alice: Actor, dora: User) -> None:
        invitation = invite(alice)
        invitations.revoke(actor=alice, invitation_id=invitation.pk, now=NOW)

        assert refusal(invitation, dora) == "revoked"
        assert acts() == ["team.invited", "team.invitation_revoked"]

    def test_says_so_where_it_was_accepted_meanwhile(self, alice: Actor, dora: User) -> None:
        invitation = invite(alice)
        accept(invitation, dora)

        with pytest.raises(NotOpen) as caught:
            invitations.revoke(actor=alice, invitation_id=invitation.pk, now=LATER)

        assert caught.value.code == "used"


@pytest.mark.parametrize("act", [invitations.resend, invitations.revoke])
class TestTouching:
    def test_is_not_for_another_team(self, alice: Actor, charlie: Actor, act: Any) -> None:
        invitation = invite(alice)

        with pytest.raises(Missing):
            act(actor=charlie, invitation_id=invitation.pk, now=LATER)

        invitation.refresh_from_db()
        assert invitation.revoked_at is None

    def test_is_not_for_an_admin_where_they_may_not_give_the_role(
        self, alice: Actor, admin: Actor, act: Any
    ) -> None:
        invitation = invite(alice, role=Role.TREASURER)

        with pytest.raises(NotAllowed):
            act(actor=admin, invitation_id=invitation.pk, now=LATER)

    def test_is_not_for_other_roles(self, alice: Actor, bob: Actor, act: Any) -> None:
        invitation = invite(alice, role=Role.VIEWER)

        with pytest.raises(NotAllowed):
            act(actor=bob, invitation_id=invitation.pk, now=LATER)


class TestAccept:
    def test_makes_a_member_with_the_role(self, alice: Actor, dora: User, team: Team) -> None:
        invitation = invite(alice, role=Role.CURATOR)

        assert accept(invitation, dora) == "coastal"

        assert Membership.objects.get(team=team, user=dora).role == Role.CURATOR
        invitation.refresh_from_db()
        assert (invitation.accepted_at, invitation.accepted_by) == (LATER, dora)
        entry = AuditEntry.objects.order_by("-number")[0]
        assert (entry.act, entry.team, entry.user_number, entry.origin) == (
            "team.joined",
            team,
            dora.pk,
            "203.0.113.7",
        )

    def test_looks_at_the_address_in_any_capitals(self, alice: Actor, dora: User) -> None:
        assert accept(invite(alice, "DORA@Example.ORG"), dora)

    def test_works_once(self, alice: Actor, dora: User, cast: Cast) -> None:
        invitation = invite(alice)
        accept(invitation, dora)
        Membership.objects.filter(user=dora).delete()

        assert refusal(invitation, dora) == "used"

    @pytest.mark.parametrize("verified", [True, False])
    def test_is_refused_by_another_address(self, alice: Actor, cast: Cast, verified: bool) -> None:
        builders.make_address(user=cast.charlie, email="charlie@example.org", verified=verified)

        assert refusal(invite(alice), cast.charlie) == "not_for_them"

    def test_is_refused_by_an_address_that_nobody_has_verified(self, alice: Actor, cast: Cast) -> None:
        User.objects.filter(pk=cast.charlie.pk).update(email=DORA)
        builders.make_address(user=cast.charlie, email=DORA, verified=False)

        assert refusal(invite(alice), cast.charlie) == "not_for_them"

    def test_is_refused_to_whoever_is_not_signed_in(self, alice: Actor, dora: User) -> None:
        assert refusal(invite(alice), None) == "not_for_them"

    def test_is_refused_from_the_moment_of_its_end(self, alice: Actor, dora: User) -> None:
        invitation = invite(alice)
        end = invitation.expires_at

        assert refusal(invitation, dora, end) == "expired"
        assert accept(invitation, dora, end - timedelta(microseconds=1))

    def test_leaves_it_open_to_whoever_is_a_member_already(
        self, alice: Actor, dora: User, team: Team
    ) -> None:
        invitation = invite(alice, role=Role.OWNER)
        Membership.objects.create(team=team, user=dora, role=Role.VIEWER)

        assert refusal(invitation, dora) == "member"
        assert Membership.objects.get(team=team, user=dora).role == Role.VIEWER

    def test_stays_good_when_the_inviter_has_lost_the_right(
        self, alice: Actor, admin: Actor, dora: User
    ) -> None:
        invitation = invite(admin)
        Membership.objects.filter(user_id=admin.user_id).update(role=Role.VIEWER)

        assert accept(invitation, dora)

    def test_stays_good_when_the_inviter_has_left(self, alice: Actor, admin: Actor, dora: User) -> None:
        invitation = invite(admin)
        members.leave(actor=admin, hand_on_to=None, now=NOW)

        assert accept(invitation, dora)

    def test_stays_good_when_the_inviter_s_account_is_gone(
        self, alice: Actor, admin: Actor, dora: User
    ) -> None:
        invitation = invite(admin)
        User.objects.filter(pk=admin.user_id).delete()

        assert accept(invitation, dora)

    @pytest.mark.parametrize(
        "forged", ["", "x", "1-2.3", "1." + "a" * 43, "é" * 5000, "\x00", "1-" + "0" * 32]
    )
    def test_knows_no_forged_token(self, alice: Actor, dora: User, forged: str) -> None:
        invite(alice)

        with pytest.raises(Missing):
            accept(forged, dora)

    def test_knows_no_token_that_was_changed_or_signed_elsewhere(
        self, alice: Actor, dora: User, settings: Any
    ) -> None:
        invitation = invite(alice)
        token = invitations.token_of(invitation)
        settings.SECRET_KEY = "another key, another key, another key, another key, another"
        elsewhere = invitations.token_of(invitation)

        for forged in (token, re.sub(r"^\d+", "4711", elsewhere), elsewhere[:-1], elsewhere + "A"):
            with pytest.raises(Missing):
                accept(forged, dora)
        assert accept(elsewhere, dora)

    def test_knows_no_token_of_an_invitation_with_another_serial(self, alice: Actor, dora: User) -> None:
        invitation = invite(alice)
        token = invitations.token_of(invitation)
        Invitation.objects.filter(pk=invitation.pk).update(serial="00000000-0000-0000-0000-000000000001")

        with pytest.raises(Missing):
            accept(token, dora)


class TestTwoAtOnce:
    def test_accept_an_invitation_once(self, each_database: str) -> None:
        team = builders.make_team()
        user = builders.make_user("dora")
        builders.make_address(user=user, email=DORA)
        invitation = builders.make_invitation(team=team)

        outcomes = run_together(*[lambda: accept(invitation, user)] * 4)

        assert outcomes.count("coastal") == 1
        assert [type(outcome) for outcome in outcomes].count(NotOpen) == 3
        assert Membership.objects.count() == AuditEntry.objects.count() == 1

    def test_send_it_again_once(self, each_database: str) -> None:
        team = builders.make_team()
        owner = builders.make_member(team=team, username="alice", role=Role.OWNER)
        actor = actor_for(owner, team=team, role=Role.OWNER)
        invitation = builders.make_invitation(team=team)

        outcomes = run_together(
            *[lambda: invitations.resend(actor=actor, invitation_id=invitation.pk, now=LATER)] * 3
        )

        assert [type(outcome) for outcome in outcomes].count(InvalidInput) == 2
        assert Letter.objects.count() == 2


class TestOpenInvitation:
    def test_says_what_it_is_about(self, alice: Actor) -> None:
        offer = invitations.open_invitation(token=invitations.token_of(invite(alice)), now=NOW)

        assert offer is not None
        assert (offer.team, offer.role, offer.email, offer.invited_by, offer.expires_at) == (
            "Coastal Lab",
            "launcher",
            DORA,
            "Alice",
            NOW + invitations.LIFE,
        )

    def test_is_none_when_it_is_forged_or_closed(self, alice: Actor) -> None:
        token = invitations.token_of(invite(alice))

        assert invitations.open_invitation(token="forged", now=NOW) is None
        assert invitations.open_invitation(token=token, now=NOW + invitations.LIFE) is None
        Invitation.objects.update(revoked_at=NOW)
        assert invitations.open_invitation(token=token, now=NOW) is None
