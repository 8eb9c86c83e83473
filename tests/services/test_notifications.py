"""People are written to about their jobs when they want to be: of each event once, and never of their own acts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from allauth.account.models import EmailAddress

from jobs import tasks
from jobs.access import Actor, Person
from jobs.lifecycle import State
from jobs.models import Job, JobEvent, Letter, Membership, Team, User
from jobs.selectors.profile import profile_of
from jobs.services import launching, letters, notifications, posting, profiles, running
from tests import builders
from tests.builders import NOW
from tests.conftest import Cast
from tests.services import postoffice
from tests.services.conftest import run_together
from tests.services.fakes import Clock, queued

LINK = "https://portal.example.org/coastal/jobs/"


@pytest.fixture(autouse=True)
def post_office(settings: Any) -> Iterator[None]:
    """The scripted mail server. Named by its dotted name: that is how Django chooses one."""
    settings.EMAIL_BACKEND = "tests.services.postoffice.Backend"
    settings.PORTAL_URL = "https://portal.example.org"
    postoffice.empty()
    yield
    postoffice.empty()


@pytest.fixture
def owner(cast: Cast) -> User:
    """Bob, who wants to be told of everything."""
    cast.bob.mail_when_ended = cast.bob.mail_when_needed = True
    cast.bob.email = "bob@example.org"
    cast.bob.save()
    return cast.bob


@pytest.fixture
def job(team: Team, owner: User) -> Job:
    """Bob's job, whose results are being fetched."""
    return builders.make_job(
        team=team, state=State.COLLECTING, launched_by=owner, outcome="succeeded", name="Waves"
    )


def move(job: Job, after: State = State.SUCCEEDED, **values: Any) -> JobEvent:
    before = State(Job.objects.get(pk=job.pk).state)
    assert Job.objects.move(job_id=job.pk, before=before, after=after, now=NOW, **values)
    event = job.events.order_by("-pk").first()
    assert event is not None
    return event


def tell_all(clock: Clock) -> list[str]:
    """Look at what is due, as the worker does; return to whom there are letters now."""
    for event_id in notifications.claim_due(now=clock()):
        notifications.tell(event_id=event_id, now=clock())
    return list(Letter.objects.order_by("pk").values_list("to", flat=True))


def mail(clock: Clock) -> Any:
    """Send the one letter that waits, and return it as the mail server got it."""
    posting.send(letter_id=Letter.objects.get().pk, clock=clock)
    (message,) = postoffice.taken
    return message


class TestTell:
    @pytest.mark.parametrize(
        ("state", "kind"),
        [
            (State.SUCCEEDED, Letter.Kind.JOB_ENDED),
            (State.FAILED, Letter.Kind.JOB_ENDED),
            (State.CANCELLED, Letter.Kind.JOB_ENDED),
            (State.NEEDS_ATTENTION, Letter.Kind.JOB_NEEDS_YOU),
        ],
    )
    def test_writes_to_the_owner_of_the_job(self, job: Job, clock: Clock, state: State, kind: str) -> None:
        event = move(job, state)

        assert tell_all(clock) == ["bob@example.org"]
        assert (Letter.objects.get().kind, Letter.objects.get().event) == (kind, event)

    def test_twice_late_or_by_two_writes_once(self, job: Job, clock: Clock) -> None:
        event = move(job)

        for _ in range(3):
            notifications.tell(event_id=event.pk, now=clock.tick(86_400))
        tasks.tell(event.pk, unknown=1)

        assert Letter.objects.count() == 1

    def test_writes_nothing_of_an_event_that_has_no_mark(self, job: Job, clock: Clock) -> None:
        event = builders.make_event(job=job, at=NOW, after=State.SUCCEEDED)

        notifications.tell(event_id=event.pk, now=NOW)

        assert not Letter.objects.exists()

    @pytest.mark.usefixtures("each_database")
    def test_in_threads_writes_once(self, job: Job, clock: Clock) -> None:
        event = move(job)

        run_together(*[lambda: notifications.tell(event_id=event.pk, now=NOW)] * 2)

        assert Letter.objects.count() == 1

    def test_writes_of_each_time_that_a_job_needs_somebody(self, job: Job, clock: Clock) -> None:
        move(job, State.NEEDS_ATTENTION)
        tell_all(clock)
        move(job, State.COLLECTING)
        move(job, State.NEEDS_ATTENTION)

        assert tell_all(clock) == ["bob@example.org"] * 2

    def test_says_nothing_of_what_happens_on_the_way(self, team: Team, owner: User, clock: Clock) -> None:
        job = builders.make_job(team=team, state=State.RUNNING, launched_by=owner)
        move(job, State.COLLECTING)

        assert tell_all(clock) == []
        assert not JobEvent.objects.filter(tell_at__isnull=False).exists()

    @pytest.mark.parametrize(
        ("switch", "state"),
        [("mail_when_ended", State.FAILED), ("mail_when_needed", State.NEEDS_ATTENTION)],
    )
    def test_does_not_write_to_who_did_not_ask_for_it(
        self, job: Job, owner: User, clock: Clock, switch: str, state: State
    ) -> None:
        setattr(owner, switch, False)
        owner.save()
        move(job, state)

        assert tell_all(clock) == []

    @pytest.mark.parametrize("values", [{"is_active": False}, {"email": ""}])
    def test_does_not_write_to_who_cannot_be_reached(
        self, job: Job, owner: User, clock: Clock, values: dict[str, Any]
    ) -> None:
        User.objects.filter(pk=owner.pk).update(**values)
        move(job)

        assert tell_all(clock) == []

    def test_writes_to_the_main_verified_address_and_to_no_other(
        self, job: Job, owner: User, clock: Clock
    ) -> None:
        EmailAddress.objects.create(user=owner, email="other@example.org", verified=True, primary=False)
        main = EmailAddress.objects.create(user=owner, email="main@example.org", verified=True, primary=True)
        move(job, State.NEEDS_ATTENTION)
        assert tell_all(clock) == ["main@example.org"]

        EmailAddress.objects.update(verified=False)
        move(job, State.COLLECTING)
        move(job, State.NEEDS_ATTENTION)
        assert tell_all(clock) == [main.email]

    def test_does_not_write_to_who_has_left_the_team(
        self, job: Job, cast: Cast, owner: User, clock: Clock
    ) -> None:
        Membership.objects.filter(user=owner).update(team=cast.other_team)
        move(job)

        assert tell_all(clock) == []

    def test_writes_to_whom_the_job_was_handed(self, job: Job, cast: Cast, clock: Clock) -> None:
        User.objects.filter(pk=cast.alice.pk).update(mail_when_ended=True, email="alice@example.org")
        Job.objects.filter(pk=job.pk).update(handed_to=cast.alice)
        move(job)

        assert tell_all(clock) == ["alice@example.org"]

    def test_has_nobody_to_write_to_for_the_command_line(self, team: Team, clock: Clock) -> None:
        move(builders.make_job(team=team, state=State.COLLECTING))

        assert tell_all(clock) == []


class TestOwnAct:
    def test_of_ending_a_job_is_known_to_who_did_it(self, job: Job, bob: Actor, clock: Clock) -> None:
        move(job, State.NEEDS_ATTENTION)
        tell_all(clock)

        launching.give_up(actor=bob, job_id=job.pk, now=NOW)

        assert [letter.kind for letter in Letter.objects.all()] == ["job_needs_you"]
        assert len(tell_all(clock)) == 1

    def test_of_stopping_a_job_is_known_to_who_asked_for_it(self, job: Job, bob: Actor, clock: Clock) -> None:
        launching.cancel(actor=bob, job_id=job.pk, now=NOW)
        move(job, State.CANCELLED)

        assert tell_all(clock) == []

    def test_of_a_colleague_is_told(self, job: Job, alice: Actor, clock: Clock) -> None:
        launching.cancel(actor=alice, job_id=job.pk, now=NOW)
        move(job, State.CANCELLED)

        assert tell_all(clock) == ["bob@example.org"]

    def test_does_not_hide_that_the_job_failed_before_it_was_stopped(
        self, job: Job, bob: Actor, clock: Clock
    ) -> None:
        launching.cancel(actor=bob, job_id=job.pk, now=NOW)
        move(job, State.FAILED)

        assert tell_all(clock) == ["bob@example.org"]


class TestClaimDue:
    def test_gives_an_event_to_one_caller_and_again_if_its_task_got_lost(self, job: Job) -> None:
        event = move(job)

        assert notifications.claim_due(now=NOW) == [event.pk]
        assert notifications.claim_due(now=NOW + timedelta(seconds=9)) == []
        assert notifications.claim_due(now=NOW + notifications.CLAIM) == [event.pk]

    def test_is_asked_by_every_beat_of_the_pulse(self, job: Job, clock: Clock) -> None:
        event = move(job)

        running.pulse(clock=clock, holder="me")
        running.pulse(clock=clock, holder="me")

        assert [task for task in queued() if task[0] == "tell"] == [("tell", (event.pk,))]

    def test_asks_one_question_where_nothing_happened(self, job: Job, django_assert_num_queries: Any) -> None:
        builders.make_event(job=job, at=NOW, after=State.SUCCEEDED)

        with django_assert_num_queries(1):
            assert notifications.claim_due(now=NOW) == []

    def test_passes_over_the_history_from_before_there_were_e_mails(self, job: Job, clock: Clock) -> None:
        for state in (State.SUCCEEDED, State.NEEDS_ATTENTION):
            builders.make_event(job=job, at=NOW - timedelta(days=1), after=state)

        assert tell_all(clock) == []


class TestKilled:
    """The process dies at each durable step: no event is passed over, and none is told twice."""

    def test_between_claim_and_look_it_is_looked_at_again(self, job: Job, clock: Clock) -> None:
        move(job)
        notifications.claim_due(now=clock())

        assert tell_all(clock) == []
        clock.tick(10)
        assert tell_all(clock) == ["bob@example.org"]

    @pytest.mark.parametrize("after", [False, True])
    def test_around_the_letter_mark_and_letter_stay_together(
        self, job: Job, clock: Clock, monkeypatch: pytest.MonkeyPatch, after: bool
    ) -> None:
        event = move(job)
        post = letters.post

        def deadly(**given: Any) -> None:
            if after:
                post(**given)
            raise KeyboardInterrupt

        # Patched by name: it is this line that the process does not outlive.
        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(letters, "post", deadly)
            notifications.tell(event_id=event.pk, now=clock())

        assert not Letter.objects.exists()
        clock.tick(10)
        assert tell_all(clock) == ["bob@example.org"]
        assert tell_all(clock) == ["bob@example.org"]


class TestSwitchingOn:
    def switch(self, user: User, **values: bool) -> None:
        user.refresh_from_db()
        person = Person(user_id=user.pk, name=str(user))
        profiles.change(person=person, wanted=replace(profile_of(user), **values), now=NOW)

    def test_tells_nothing_of_what_happened_before(self, job: Job, owner: User, clock: Clock) -> None:
        self.switch(owner, mail_when_ended=False)
        move(job)  # and the worker is away

        self.switch(owner, mail_when_ended=True)

        assert tell_all(clock) == []

    def test_leaves_what_was_wanted_all_along(self, job: Job, owner: User, clock: Clock) -> None:
        self.switch(owner, mail_when_ended=False)
        move(job, State.NEEDS_ATTENTION)

        self.switch(owner, mail_when_ended=True)

        assert tell_all(clock) == ["bob@example.org"]

    def test_leaves_what_others_are_to_be_told(self, job: Job, owner: User, cast: Cast, clock: Clock) -> None:
        move(job)

        self.switch(cast.alice, mail_when_ended=True)

        assert tell_all(clock) == ["bob@example.org"]


class TestWrite:
    def test_says_what_happened_and_where_to_look(self, job: Job, clock: Clock) -> None:
        move(job, State.FAILED, message="The algorithm left with exit code 3.")
        tell_all(clock)

        message = mail(clock)

        assert message.to == ["bob@example.org"]
        assert message.subject == "A job has failed: Waves"
        assert "“Waves” of the team “Coastal Lab”" in message.body
        assert "The algorithm left with exit code 3." in message.body
        assert f"{LINK}{job.pk}/" in message.body
        assert "https://portal.example.org/accounts/profile/" in message.body
        assert message.content_subtype == "plain"

    def test_takes_what_strangers_wrote_as_text_on_one_line(
        self, team: Team, owner: User, clock: Clock
    ) -> None:
        job = builders.make_job(
            team=team,
            state=State.COLLECTING,
            launched_by=owner,
            name="<b>Waves</b>\r\nBcc: everybody@example.org\n\x1b[31m" + "x" * 120,
        )
        move(job, State.FAILED, message="<script>alert(1)</script>\nDear\u202e customer, " + "y" * 400)
        tell_all(clock)

        message = mail(clock)

        assert "\n" not in message.subject
        assert "\nBcc" not in message.message().as_string().partition("\n\n")[0]
        assert "<b>Waves</b> Bcc: everybody@example.org [31mxxx" in message.body
        assert "<script>alert(1)</script> Dear customer, yyy" in message.body
        assert "y" * 200 not in message.body
        assert "\x1b" not in message.body + message.subject

    def test_asks_for_the_person_where_the_job_waits(self, job: Job, clock: Clock) -> None:
        move(job, State.NEEDS_ATTENTION, message="The wallet has too little gas.")
        tell_all(clock)

        message = mail(clock)

        assert message.subject == "A job needs you: Waves"
        assert "Nothing is sent for it until somebody decides" in message.body

    def test_is_left_out_where_the_job_no_longer_waits(self, job: Job, clock: Clock) -> None:
        move(job, State.NEEDS_ATTENTION)
        tell_all(clock)
        move(job, State.COLLECTING)

        posting.send(letter_id=Letter.objects.get().pk, clock=clock)

        assert postoffice.taken == []
        assert Letter.objects.get().status == Letter.Status.FAILED

    def test_is_left_out_where_the_person_has_left_meanwhile(
        self, job: Job, owner: User, clock: Clock
    ) -> None:
        move(job)
        tell_all(clock)
        Membership.objects.filter(user=owner).delete()

        posting.send(letter_id=Letter.objects.get().pk, clock=clock)

        assert postoffice.taken == []
