"""Links with which a person outside sees one job, or one result."""

from __future__ import annotations

import hashlib
from datetime import datetime

from django.db import models

from jobs.models.jobs import Job, Result
from jobs.models.teams import User


def digest(token: str) -> str:
    """Return what is kept of a token: its SHA-256, hexadecimal. 32 random bytes need no salt."""
    return hashlib.sha256(token.encode()).hexdigest()


class ShareLinkQuerySet(models.QuerySet["ShareLink"]):
    """Which links still lead somewhere."""

    def alive(self, *, now: datetime) -> ShareLinkQuerySet:
        """Links that are neither revoked nor expired: whoever has opened one may go on looking."""
        return self.filter(revoked_at=None, expires_at__gt=now)

    def by_token(self, token: str) -> ShareLinkQuerySet:
        """Return the link that a token is for, or none."""
        return self.filter(token_sha256=digest(token))

    def openable(self, *, now: datetime) -> ShareLinkQuerySet:
        """Links that can be opened once more."""
        left = models.Q(opens_max=None) | models.Q(opens__lt=models.F("opens_max"))
        return self.alive(now=now).filter(left)


class ShareLink(models.Model):
    """A link to a job's page, or to one of its results. The link itself is shown once: here is its SHA-256 only."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="share_links")
    result = models.ForeignKey(Result, on_delete=models.CASCADE, null=True, blank=True, related_name="+")
    token_sha256 = models.CharField(max_length=64, unique=True, editable=False)
    label = models.CharField(max_length=100, blank=True, help_text="For whom it is.")
    created_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    opens_max = models.PositiveIntegerField(null=True, blank=True, help_text="Empty: any number.")
    opens = models.PositiveIntegerField(default=0)
    last_opened_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    objects = ShareLinkQuerySet.as_manager()

    def __str__(self) -> str:
        return f"link to {self.result or self.job}"
