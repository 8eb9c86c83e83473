"""The outbox: e-mails are written down with what they tell of, and sent by the worker, once.

A letter is WAITING, then SENDING (committed before the mail server is spoken to), then SENT. A refusal from before the
mail server took it is tried again with growing pauses, then it FAILED. A process that dies in between leaves SENDING, which
becomes UNKNOWN after a while: it may be at its reader, so nothing sends it again but a person.
"""

from __future__ import annotations

import re
import smtplib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.mail import EmailMessage, get_connection
from django.template.loader import render_to_string

from jobs import queue
from jobs.models import Letter
from jobs.services.gateway import Clock, refuse_inside_transaction

CLAIM = timedelta(seconds=15)  # a letter whose task got lost is due again after this
LOST_AFTER = timedelta(minutes=5)  # longer than a task may take (Q_CLUSTER): whoever was sending is gone
# How long to wait after each refusal; after one more it has failed.
PAUSES = (
    timedelta(minutes=1),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=6),
)
BATCH = 50
_Status = Letter.Status
_FOR_EVER = 500  # a reply code from here on stays as it is. Source: RFC 5321, 4.2.1


@dataclass(frozen=True)
class Words:
    """What a letter says. subject: one line."""

    subject: str
    body: str


class NotNeeded(Exception):
    """What the letter tells of is no longer so. Its text says why, for the members' page."""


class _Refused(Exception):
    """The mail server did not take it, for sure. final: it never will."""

    def __init__(self, told: str, *, final: bool = False) -> None:
        super().__init__(told)
        self.told = told
        self.final = final


Writer = Callable[[Letter], Words]


def post(
    *,
    kind: Letter.Kind,
    key: str,
    to: str,
    now: datetime,
    user_id: int | None = None,
    invitation_id: int | None = None,
    event_id: int | None = None,
) -> bool:
    """Put a letter into the outbox, in the caller's transaction; return whether it is new.

    key: what it tells whom, at most 100 characters: twice the same is one letter.
    """
    letter, new = Letter.objects.get_or_create(
        key=key,
        defaults={
            "kind": kind,
            "to": to,
            "user_id": user_id,
            "invitation_id": invitation_id,
            "event_id": event_id,
            "due_at": now + CLAIM,
            "created_at": now,
        },
    )
    if new:
        queue.enqueue(queue.Task.SEND_LETTER, letter.pk)
    return new


def claim_due(*, now: datetime) -> list[int]:
    """Return the letters that wait and whose time has come, each to one caller."""
    due = Letter.objects.filter(status=_Status.WAITING, due_at__lte=now).order_by("due_at", "pk")
    return [
        pk
        for pk, due_at in due.values_list("pk", "due_at")[:BATCH]
        if Letter.objects.filter(pk=pk, status=_Status.WAITING, due_at=due_at).update(due_at=now + CLAIM)
    ]


def give_up_lost(*, now: datetime) -> None:
    """Note of letters whose sender died that they may have been sent."""
    lost = Letter.objects.filter(status=_Status.SENDING, claimed_at__lte=now - LOST_AFTER)
    for pk in list(lost.values_list("pk", flat=True)[:BATCH]):
        Letter.objects.filter(pk=pk, status=_Status.SENDING, claimed_at__lte=now - LOST_AFTER).update(
            status=_Status.UNKNOWN,
            trouble="The worker ended while it was sending: it may have arrived, and is not sent again by itself.",
        )


def send(*, letter_id: int, clock: Clock, writers: Mapping[str, Writer]) -> None:
    """Send a letter that waits; do nothing with any other.

    writers: how to write each kind of letter; what it says is made now, so that no secret lies in the outbox.
    Raises:
        InTransaction: the caller holds a transaction open.
    """
    refuse_inside_transaction()
    letter = _take(letter_id=letter_id, now=clock())
    if letter is None:
        return
    try:
        message = _message(letter, writers[letter.kind](letter))
    except NotNeeded as reason:
        _end(letter, status=_Status.FAILED, trouble=str(reason))
        return
    try:
        _hand_over(message)
    except _Refused as refusal:
        _note_refusal(letter, refusal, now=clock())
    except (smtplib.SMTPException, OSError) as error:
        # In the middle of it: the server may have taken it.
        _end(
            letter,
            status=_Status.UNKNOWN,
            trouble=f"The mail server went away while it was handed over ({type(error).__name__}): it may have arrived, "
            "and is not sent again by itself.",
        )
    else:
        _end(letter, status=_Status.SENT, sent_at=clock(), trouble="")


def write(template: str, **facts: Any) -> Words:
    """Write a letter from `letters/<template>.txt`, whose first line is the subject.

    facts: texts become one line each, without control characters: names are strangers' words. Give a text that may be long,
        such as a link, as `Link`.
    """
    plain = {name: one_line(value) if type(value) is str else value for name, value in facts.items()}
    subject, _, body = render_to_string(f"letters/{template}.txt", plain).strip().partition("\n")
    return Words(subject=one_line(subject), body=body.strip() + "\n")


class Link(str):
    """An address of this portal in a letter."""

    __slots__ = ()


def link(path: str) -> Link:
    """Return the whole address of one of the portal's paths: a worker has no request that would tell it."""
    return Link(settings.PORTAL_URL.rstrip("/") + path)


def one_line(text: str, *, most: int = 200) -> str:
    """Make a stranger's text fit for a line of a letter: no line breaks or control characters, not too long."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= most else line[: most - 1] + "…"


def _take(*, letter_id: int, now: datetime) -> Letter | None:
    """Make a letter this caller's to send; None if it is not to be sent now."""
    letter = Letter.objects.filter(pk=letter_id, status=_Status.WAITING).first()
    if letter is None or not _has_waited(letter, now=now):
        return None
    won = Letter.objects.filter(pk=letter.pk, status=_Status.WAITING, attempts=letter.attempts).update(
        status=_Status.SENDING, attempts=letter.attempts + 1, claimed_at=now, due_at=None
    )
    letter.attempts += 1
    return letter if won else None


def _has_waited(letter: Letter, *, now: datetime) -> bool:
    """Say whether the pause after the last refusal is over: a task that comes twice does not shorten it."""
    if letter.attempts == 0 or letter.claimed_at is None:
        return True
    return now >= letter.claimed_at + PAUSES[min(letter.attempts, len(PAUSES)) - 1]


def _message(letter: Letter, words: Words) -> EmailMessage:
    host = urlsplit(settings.PORTAL_URL).hostname or "localhost"
    return EmailMessage(
        subject=words.subject,
        body=words.body,
        to=[letter.to],
        headers={
            # The same for each attempt: a server or reader that got it twice can tell.
            "Message-ID": f"<letter-{letter.pk}-{letter.created_at:%Y%m%d%H%M%S%f}@{host}>",
            "Auto-Submitted": "auto-generated",
        },
    )


def _hand_over(message: EmailMessage) -> None:
    """Give a message to the mail server. Raises: _Refused; SMTPException or OSError, if it may have been taken."""
    try:
        message.message().as_bytes()
    except ValueError as error:
        raise _Refused(f"It cannot be written as an e-mail: {_said(str(error))}", final=True) from None
    mail = get_connection()
    try:
        mail.open()
    except smtplib.SMTPAuthenticationError as error:
        raise _Refused(
            f"The mail server did not take the portal's name and password ({error.smtp_code})."
        ) from None
    except (smtplib.SMTPException, OSError) as error:
        raise _Refused(f"The mail server could not be reached ({type(error).__name__}).") from None
    try:
        mail.send_messages([message])
    except smtplib.SMTPRecipientsRefused as error:
        code, words = next(iter(error.recipients.values()))
        raise _Refused(_by_server(code, words), final=code >= _FOR_EVER) from None
    except smtplib.SMTPDataError as error:
        raise _Refused(
            _by_server(error.smtp_code, error.smtp_error), final=error.smtp_code >= _FOR_EVER
        ) from None
    except (smtplib.SMTPHeloError, smtplib.SMTPSenderRefused) as error:  # the operator's to mend
        raise _Refused(_by_server(error.smtp_code, error.smtp_error)) from None
    except (
        smtplib.SMTPNotSupportedError,
        ValueError,
    ) as error:  # of an address, before anything was handed over
        raise _Refused(f"The mail server cannot take it: {_said(str(error))}", final=True) from None
    finally:
        with suppress(smtplib.SMTPException, OSError):  # it has said what it had to say
            mail.close()


def _note_refusal(letter: Letter, refusal: _Refused, *, now: datetime) -> None:
    if refusal.final or letter.attempts > len(PAUSES):
        _end(letter, status=_Status.FAILED, trouble=refusal.told)
    else:
        due_at = now + PAUSES[letter.attempts - 1]
        _end(letter, status=_Status.WAITING, trouble=refusal.told, due_at=due_at)


def _end(letter: Letter, *, status: Letter.Status, trouble: str, **facts: Any) -> None:
    """Write down how an attempt ended. That it was sent is true also of a letter that was given up meanwhile."""
    found = Letter.objects.filter(pk=letter.pk, attempts=letter.attempts)
    before = (_Status.SENDING, _Status.UNKNOWN) if status == _Status.SENT else (_Status.SENDING,)
    found.filter(status__in=before).update(status=status, trouble=trouble[:500], **facts)


def _by_server(code: int, words: bytes | str) -> str:
    text = words.decode("utf-8", "replace") if isinstance(words, bytes) else words
    return f"The mail server refused it ({code}): {_said(text)}"


def _said(text: str) -> str:
    """Quote a mail server. It may quote the letter in turn: links and whatever looks like a key are left out."""
    return one_line(re.sub(r"\S*://\S*|\S{33,}", "…", text), most=300)
