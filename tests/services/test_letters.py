"""The outbox: a letter is sent once, tried again only where it was surely not taken, and given up with words."""

from __future__ import annotations

import smtplib
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from jobs import tasks
from jobs.models import Letter
from jobs.services import letters, running
from jobs.services.gateway import InTransaction
from jobs.services.letters import NotNeeded, Words
from tests.builders import NOW
from tests.services import postoffice
from tests.services.conftest import run_together
from tests.services.fakes import Clock, queued

pytestmark = pytest.mark.django_db

STATUS = Letter.Status
REFUSED_FOR_NOW = smtplib.SMTPRecipientsRefused({"dora@example.org": (450, b"try again later")})
WRITERS = {Letter.Kind.INVITATION: lambda letter: Words(subject="Come", body="Come along.\n")}


@pytest.fixture(autouse=True)
def post_office(settings: Any) -> Iterator[None]:
    """The scripted mail server. Named by its dotted name: that is how Django chooses one."""
    settings.EMAIL_BACKEND = "tests.services.postoffice.Backend"
    settings.PORTAL_URL = "https://portal.example.org"
    postoffice.empty()
    yield
    postoffice.empty()


@pytest.fixture
def letter() -> Letter:
    """A letter that was posted a moment ago."""
    post()
    return Letter.objects.get()


def post(**values: Any) -> bool:
    defaults: dict[str, Any] = {
        "kind": Letter.Kind.INVITATION,
        "key": "invitation:1:1",
        "to": "dora@example.org",
        "now": NOW,
    }
    return letters.post(**(defaults | values))


def send(letter: Letter, clock: Clock, writers: Any = WRITERS) -> Letter:
    letters.send(letter_id=letter.pk, clock=clock, writers=writers)
    letter.refresh_from_db()
    return letter


class TestPost:
    def test_writes_it_down_and_asks_the_worker(self) -> None:
        assert post()

        letter = Letter.objects.get()
        assert (letter.status, letter.to, letter.created_at) == (STATUS.WAITING, "dora@example.org", NOW)
        assert queued() == [("send_letter", (letter.pk,))]

    def test_takes_the_same_once(self) -> None:
        assert [post(), post()] == [True, False]

        assert Letter.objects.count() == len(queued()) == 1

    def test_is_part_of_the_caller_s_transaction(self) -> None:
        with pytest.raises(IntegrityError), transaction.atomic():
            post()
            raise IntegrityError

        assert not Letter.objects.exists()
        assert queued() == []


class TestClaimDue:
    def test_finds_each_letter_again_whose_task_got_lost(self, letter: Letter) -> None:
        later = NOW + letters.CLAIM

        assert letters.claim_due(now=NOW) == []
        assert letters.claim_due(now=later) == [letter.pk]
        assert letters.claim_due(now=later) == []
        assert letters.claim_due(now=later + letters.CLAIM) == [letter.pk]

    @pytest.mark.parametrize("status", [STATUS.SENDING, STATUS.SENT, STATUS.FAILED, STATUS.UNKNOWN])
    def test_leaves_alone_what_does_not_wait(self, letter: Letter, status: str) -> None:
        Letter.objects.update(status=status)

        assert letters.claim_due(now=NOW + timedelta(days=1)) == []

    def test_is_asked_by_the_pulse(self, letter: Letter, clock: Clock) -> None:
        clock.tick(letters.CLAIM.total_seconds())

        running.pulse(clock=clock, holder="me")

        assert queued() == [("send_letter", (letter.pk,))] * 2


class TestSend:
    def test_hands_it_to_the_mail_server_and_says_so(self, letter: Letter, clock: Clock) -> None:
        send(letter, clock)

        (mail,) = postoffice.taken
        assert (mail.to, mail.subject, mail.body) == (["dora@example.org"], "Come", "Come along.\n")
        assert (letter.status, letter.sent_at, letter.attempts, letter.due_at) == (STATUS.SENT, NOW, 1, None)

    def test_sends_once_though_run_twice(self, letter: Letter, clock: Clock) -> None:
        send(letter, clock)
        send(letter, clock)

        assert len(postoffice.taken) == 1

    def test_sends_once_though_two_run_at_the_same_time(self, letter: Letter, clock: Clock) -> None:
        postoffice.meanwhile.append(lambda: letters.send(letter_id=letter.pk, clock=clock, writers=WRITERS))

        send(letter, clock)

        assert len(postoffice.taken) == 1

    def test_leaves_it_to_another_process_that_took_it_in_between(
        self, letter: Letter, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def another_takes_it(letter: Letter, *, now: datetime) -> bool:
            monkeypatch.undo()
            send(letter, clock)
            return True

        # Patched by name: the other process comes between the look and the claim.
        monkeypatch.setattr(letters, "_has_waited", another_takes_it)

        letters.send(letter_id=letter.pk, clock=clock, writers=WRITERS)

        assert len(postoffice.taken) == 1

    def test_has_written_down_that_it_sends_before_it_does(self, letter: Letter, clock: Clock) -> None:
        seen: list[Any] = []
        postoffice.meanwhile.append(lambda: seen.append(Letter.objects.values("status", "claimed_at").get()))

        send(letter, clock)

        assert seen == [{"status": STATUS.SENDING, "claimed_at": NOW}]

    def test_gives_each_attempt_the_same_message_id(self, letter: Letter, clock: Clock) -> None:
        postoffice.at_send.append(REFUSED_FOR_NOW)
        ids = []
        for _ in range(2):
            send(letter, clock)
            clock.tick(letters.PAUSES[0].total_seconds())
            message = letters._message(letter, Words(subject="x", body="y"))
            ids.append(message.message()["Message-ID"])

        (mail,) = postoffice.taken
        assert ids == [mail.message()["Message-ID"]] * 2
        assert ids[0].endswith("@portal.example.org>")

    def test_knows_nothing_of_a_letter_that_is_gone(self, clock: Clock) -> None:
        letters.send(letter_id=4711, clock=clock, writers=WRITERS)

        assert postoffice.taken == []

    def test_is_not_begun_inside_a_transaction(self, letter: Letter, clock: Clock) -> None:
        with transaction.atomic(), pytest.raises(InTransaction):
            send(letter, clock)

        letter.refresh_from_db()
        assert letter.status == STATUS.WAITING

    def test_tells_why_it_is_not_needed_any_more(self, letter: Letter, clock: Clock) -> None:
        def write(letter: Letter) -> Words:
            raise NotNeeded("The invitation was revoked before it was sent.")

        send(letter, clock, {Letter.Kind.INVITATION: write})

        assert (letter.status, letter.trouble) == (
            STATUS.FAILED,
            "The invitation was revoked before it was sent.",
        )
        assert postoffice.taken == []


class TestRefusal:
    @pytest.mark.parametrize(
        ("place", "error", "told"),
        [
            ("at_open", ConnectionRefusedError(), "could not be reached (ConnectionRefusedError)"),
            ("at_open", smtplib.SMTPConnectError(421, b"busy"), "could not be reached"),
            ("at_open", smtplib.SMTPAuthenticationError(535, b"no: hunter2"), "name and password (535)."),
            ("at_send", REFUSED_FOR_NOW, "refused it (450): try again later"),
            ("at_send", smtplib.SMTPDataError(452, b"full"), "refused it (452): full"),
            ("at_send", smtplib.SMTPSenderRefused(550, b"who?", "portal"), "refused it (550): who?"),
        ],
    )
    def test_before_it_was_taken_is_tried_again(
        self, letter: Letter, clock: Clock, place: str, error: Exception, told: str
    ) -> None:
        getattr(postoffice, place).append(error)

        send(letter, clock)

        assert (letter.status, letter.due_at) == (STATUS.WAITING, NOW + letters.PAUSES[0])
        assert told in letter.trouble
        assert "hunter2" not in letter.trouble
        clock.tick(letters.PAUSES[0].total_seconds())
        send(letter, clock)
        assert (letter.status, letter.trouble) == (STATUS.SENT, "")

    def test_is_not_tried_again_before_its_pause_is_over(self, letter: Letter, clock: Clock) -> None:
        postoffice.at_send.append(REFUSED_FOR_NOW)
        send(letter, clock)
        clock.tick(letters.PAUSES[0].total_seconds() - 1)

        send(letter, clock)

        assert (letter.status, letter.attempts) == (STATUS.WAITING, 1)

    def test_fails_with_its_words_after_the_last_pause(self, letter: Letter, clock: Clock) -> None:
        waited = []
        for _ in range(len(letters.PAUSES) + 1):
            postoffice.at_send.append(REFUSED_FOR_NOW)
            send(letter, clock)
            if letter.due_at is not None:
                waited.append(letter.due_at - clock())
                clock.now = letter.due_at

        assert waited == list(letters.PAUSES) == sorted(waited)
        assert (letter.status, letter.attempts) == (STATUS.FAILED, len(letters.PAUSES) + 1)
        assert letter.trouble == "The mail server refused it (450): try again later"

    @pytest.mark.parametrize(
        "error",
        [
            smtplib.SMTPRecipientsRefused({"dora@example.org": (550, b"no such user")}),
            smtplib.SMTPDataError(554, b"looks like spam"),
            ValueError("an address with two at signs"),
        ],
    )
    def test_for_ever_is_not_tried_again(self, letter: Letter, clock: Clock, error: Exception) -> None:
        postoffice.at_send.append(error)

        send(letter, clock)

        assert (letter.status, letter.due_at) == (STATUS.FAILED, None)

    def test_does_not_repeat_the_link_that_the_server_quotes(self, letter: Letter, clock: Clock) -> None:
        quoted = b"bad link https://portal.example.org/x/1-abc.def in it; 1-0123456789abcdef0123456789abcdef.sig\r\n\x1b[1m"
        postoffice.at_send.append(smtplib.SMTPDataError(554, quoted))

        send(letter, clock)

        assert letter.trouble == "The mail server refused it (554): bad link … in it; … [1m"

    @pytest.mark.parametrize(
        "error", [smtplib.SMTPServerDisconnected("gone"), TimeoutError(), BrokenPipeError()]
    )
    def test_that_may_be_none_is_never_tried_again(
        self, letter: Letter, clock: Clock, error: Exception
    ) -> None:
        postoffice.at_send.append(error)

        send(letter, clock)
        clock.tick(86_400)
        send(letter, clock)

        assert letter.status == STATUS.UNKNOWN
        assert "may have arrived" in letter.trouble
        assert letters.claim_due(now=clock()) == []
        assert postoffice.taken == []


class TestLostLetters:
    def test_are_perhaps_sent_after_a_while(self, letter: Letter) -> None:
        Letter.objects.update(status=STATUS.SENDING, claimed_at=NOW, attempts=1)

        letters.give_up_lost(now=NOW + letters.LOST_AFTER - timedelta(seconds=1))
        assert Letter.objects.get().status == STATUS.SENDING
        running.begin_pulse(now=NOW + letters.LOST_AFTER)

        assert Letter.objects.get().status == STATUS.UNKNOWN

    def test_are_sent_after_all_if_their_sender_was_only_slow(self, letter: Letter, clock: Clock) -> None:
        postoffice.meanwhile.append(lambda: letters.give_up_lost(now=clock.tick(600)))

        send(letter, clock)

        assert letter.status == STATUS.SENT

    def test_take_longer_to_be_lost_than_a_task_may_take(self, settings: Any) -> None:
        assert letters.LOST_AFTER.total_seconds() > settings.Q_CLUSTER["timeout"]


class TestTask:
    def test_leaves_a_letter_alone_that_met_an_unknown_error(
        self, letter: Letter, caplog: pytest.LogCaptureFixture
    ) -> None:
        postoffice.at_send.append(RuntimeError("boom"))
        Letter.objects.update(kind="unheard_of")

        tasks.send_letter(letter.pk)

        letter.refresh_from_db()
        assert letter.status == STATUS.SENDING
        assert f"letter {letter.pk}" in caplog.text
        letters.give_up_lost(now=timezone.now() + letters.LOST_AFTER)
        assert Letter.objects.get().status == STATUS.UNKNOWN


class TestTwoWorkers:
    def test_send_a_letter_once(self, each_database: str, clock: Clock) -> None:
        post()
        pk = Letter.objects.get().pk

        outcomes = run_together(
            *[lambda: letters.send(letter_id=pk, clock=clock, writers=WRITERS) for _ in range(4)]
        )

        assert outcomes == [None] * 4
        assert len(postoffice.taken) == 1
        assert Letter.objects.get().status == STATUS.SENT


class TestOneLine:
    @pytest.mark.parametrize(
        ("text", "line"),
        [
            ("Coastal Lab", "Coastal Lab"),
            ("Coastal\r\nBcc: everybody@example.org", "Coastal Bcc: everybody@example.org"),
            ("a\x00b\u2028c\u202ed\x7f", "a b c d"),
            ("  Ünïcødé 実験  ", "Ünïcødé 実験"),
            ("x" * 201, "x" * 199 + "…"),
        ],
    )
    def test_makes_a_stranger_s_text_fit_for_a_header(self, text: str, line: str) -> None:
        assert letters.one_line(text) == line
