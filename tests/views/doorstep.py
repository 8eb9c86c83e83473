"""What tests of the doors share: letters, links in them, and what was recorded."""

from __future__ import annotations

import re
from collections.abc import Callable

from django.core.mail import EmailMessage
from django.http import HttpResponse
from django.test import Client

from jobs.models import Act, AuditEntry

Post = Callable[..., HttpResponse]
LOGIN = "/accounts/login/"


def link(letter: EmailMessage) -> str:
    """Return the address in a letter, without its host."""
    found = re.search(r"https?://[^/\s]+(/\S+)", str(letter.body))
    assert found, letter.body
    return found[1]


def entries(act: Act) -> list[AuditEntry]:
    """Return what was recorded of an act."""
    return list(AuditEntry.objects.filter(act=act.value).order_by("number"))


def is_in(client: Client, path: str = "/accounts/sessions/") -> bool:
    """Say whether the browser is signed in."""
    return client.get(path).status_code == 200
