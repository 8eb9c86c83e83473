"""Mail servers that refuse, hang up and babble: what was surely not taken is tried again, what may be taken is not."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from threading import Thread
from typing import Any

import pytest

from jobs.models import Letter
from jobs.services import letters
from jobs.services.letters import Words
from tests.builders import NOW
from tests.services.fakes import Clock

pytestmark = pytest.mark.django_db

STATUS = Letter.Status
HANG_UP = b""
FINE = {
    "hello": b"220 mail.example ESMTP\r\n",
    "EHLO": b"250 mail.example\r\n",
    "MAIL": b"250 go on\r\n",
    "RCPT": b"250 go on\r\n",
    "DATA": b"354 end with a dot\r\n",
    "text": b"250 taken\r\n",
    "QUIT": b"221 bye\r\n",
}


@dataclass
class MailServer:
    """A mail server whose replies a test chooses. taken: the messages that it got whole."""

    replies: dict[str, bytes]
    port: int = 0
    taken: list[str] = field(default_factory=list)

    def serve(self, door: socket.socket) -> None:
        """Speak with whoever connects, one after the other, until the door is closed."""
        while True:
            try:
                caller, _ = door.accept()
            except OSError:
                return
            with suppress(OSError), caller, caller.makefile("rb") as lines:  # the portal hangs up on nonsense
                self._speak(caller, lines)

    def _speak(self, caller: socket.socket, lines: Any) -> None:
        if not self._reply(caller, "hello"):
            return
        for line in lines:
            word = line[:4].decode("ascii", "replace").upper().strip()
            if not self._reply(caller, word) or word == "QUIT":
                return
            if word == "DATA" and self.replies["DATA"].startswith(b"354"):
                text = b"".join(iter(lines.readline, b".\r\n"))
                self.taken.append(text.decode())
                if not self._reply(caller, "text"):
                    return

    def _reply(self, caller: socket.socket, word: str) -> bool:
        reply = self.replies.get(word, b"250 fine\r\n")
        if reply != HANG_UP:
            caller.sendall(reply)
        return reply != HANG_UP


@contextmanager
def open_mail_server(settings: Any, **replies: bytes) -> Iterator[MailServer]:
    """Open a mail server on a free port, and have the portal use it."""
    server = MailServer(replies=FINE | replies)
    with socket.create_server(("127.0.0.1", 0)) as door:
        server.port = door.getsockname()[1]
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT, settings.EMAIL_TIMEOUT = "127.0.0.1", server.port, 5
        settings.EMAIL_USE_TLS = settings.EMAIL_USE_SSL = False
        settings.EMAIL_HOST_USER = settings.EMAIL_HOST_PASSWORD = ""
        thread = Thread(target=server.serve, args=(door,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            door.shutdown(socket.SHUT_RDWR)  # wakes whoever waits at the door
            thread.join(timeout=5)


@pytest.fixture
def mail_server(settings: Any) -> Iterator[Callable[..., MailServer]]:
    """Open a mail server that replies as the test says."""
    opened = []

    def opening(**replies: bytes) -> MailServer:
        context = open_mail_server(settings, **replies)
        opened.append(context)
        return context.__enter__()

    yield opening
    for context in opened:
        context.__exit__(None, None, None)


def send(to: str = "dora@example.org") -> Letter:
    letters.post(kind=Letter.Kind.INVITATION, key="1", to=to, now=NOW)
    letter = Letter.objects.get()
    writers = {Letter.Kind.INVITATION: lambda _: Words(subject="Come along", body=".\nA dot.\n")}
    letters.send(letter_id=letter.pk, clock=Clock(), writers=writers)
    letter.refresh_from_db()
    return letter


class TestMailServer:
    def test_that_takes_a_letter_gets_it_whole(self, mail_server: Callable[..., MailServer]) -> None:
        server = mail_server()

        letter = send()

        assert (letter.status, letter.trouble) == (STATUS.SENT, "")
        (text,) = server.taken
        assert "Subject: Come along" in text
        assert f"Message-ID: <letter-{letter.pk}-" in text
        assert text.endswith("\r\n\r\n..\r\nA dot.\r\n")

    @pytest.mark.parametrize(
        ("replies", "status"),
        [
            ({"hello": b"554 not now\r\n"}, STATUS.WAITING),
            ({"hello": HANG_UP}, STATUS.WAITING),
            ({"hello": b"HTTP/1.1 400 Bad Request\r\n\r\n"}, STATUS.WAITING),
            ({"EHLO": b"502 what?\r\n", "HELO": b"502 what?\r\n"}, STATUS.WAITING),
            ({"MAIL": b"451 try later\r\n"}, STATUS.WAITING),
            ({"MAIL": b"550 who are you?\r\n"}, STATUS.WAITING),
            ({"RCPT": b"450 greylisted\r\n"}, STATUS.WAITING),
            ({"RCPT": b"550 no such user\r\n"}, STATUS.FAILED),
            ({"DATA": b"451 no room\r\n"}, STATUS.WAITING),
            ({"DATA": b"554 no\r\n"}, STATUS.FAILED),
            ({"text": b"452 no room\r\n"}, STATUS.WAITING),
            ({"text": b"554 spam\r\n"}, STATUS.FAILED),
            ({"text": HANG_UP}, STATUS.UNKNOWN),
            ({"text": b"x" * 20_000 + b"\r\n"}, STATUS.UNKNOWN),
            ({"RCPT": HANG_UP}, STATUS.UNKNOWN),
            ({"QUIT": HANG_UP}, STATUS.SENT),
            ({"QUIT": b"500 no\r\n"}, STATUS.SENT),
        ],
        ids=lambda value: "+".join(value) if isinstance(value, dict) else str(value),
    )
    def test_that_does_not_is_told_by_what_it_said(
        self, mail_server: Callable[..., MailServer], replies: dict[str, bytes], status: str
    ) -> None:
        mail_server(**replies)

        assert send().status == status

    def test_that_is_not_there_is_asked_again(self, settings: Any) -> None:
        with open_mail_server(settings):
            pass

        letter = send()

        assert (letter.status, letter.trouble) == (
            STATUS.WAITING,
            "The mail server could not be reached (ConnectionRefusedError).",
        )

    @pytest.mark.parametrize("to", ["dörä@example.org", "dora@" + "x" * 200 + ".example"])
    def test_that_could_not_read_the_address_ends_it(
        self, mail_server: Callable[..., MailServer], to: str
    ) -> None:
        server = mail_server()

        assert send(to=to).status in {STATUS.FAILED, STATUS.SENT}
        assert len(server.taken) <= 1
