"""A mail server that a test scripts, as Django's mail sees it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend

taken: list[EmailMessage] = []
at_open: list[Exception] = []  # what the next connections meet
at_send: list[Exception] = []  # what the next messages meet
meanwhile: list[Callable[[], Any]] = []  # what happens while the next message is handed over


class Backend(BaseEmailBackend):
    """Takes messages, or does what the test wants."""

    def open(self) -> bool:
        """Connect."""
        if at_open:
            raise at_open.pop(0)
        return True

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        """Take the messages."""
        if meanwhile:
            meanwhile.pop(0)()
        if at_send:
            raise at_send.pop(0)
        taken.extend(email_messages)
        return len(email_messages)


def empty() -> None:
    """Forget everything."""
    for kept in (taken, at_open, at_send, meanwhile):
        kept.clear()
