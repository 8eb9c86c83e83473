"""Links with which a person outside sees one job, or one result."""

from __future__ import annotations

from django.db import models

from jobs.models.jobs import Job, Result
from jobs.models.teams import User


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

    def __str__(self) -> str:
        return f"link to {self.result or self.job}"
