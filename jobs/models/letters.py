"""E-mails that the worker sends."""

from __future__ import annotations

from django.db import models

from jobs.models.jobs import JobEvent
from jobs.models.teams import Invitation, User


class Letter(models.Model):
    """One e-mail: written down with what it tells of, sent by the worker, once.

    What it says is made when it is sent: no secret lies here.
    """

    class Kind(models.TextChoices):
        INVITATION = "invitation", "Invitation"
        JOB_ENDED = "job_ended", "A job has ended"
        JOB_NEEDS_YOU = "job_needs_you", "A job needs you"

    class Status(models.TextChoices):
        WAITING = "waiting", "Waiting"
        SENDING = "sending", "Being sent"
        SENT = "sent", "Sent"
        FAILED = "failed", "Could not be sent"
        UNKNOWN = "unknown", "Perhaps sent"

    kind = models.CharField(max_length=20, choices=Kind)
    key = models.CharField(
        max_length=100, unique=True, help_text="What it tells whom: the same is sent once."
    )
    to = models.EmailField(max_length=254)
    user = models.ForeignKey(User, on_delete=models.CASCADE, null=True, blank=True, related_name="+")
    invitation = models.ForeignKey(
        Invitation, on_delete=models.CASCADE, null=True, blank=True, related_name="letters"
    )
    event = models.ForeignKey(JobEvent, on_delete=models.CASCADE, null=True, blank=True, related_name="+")
    status = models.CharField(max_length=10, choices=Status, default=Status.WAITING)
    attempts = models.PositiveIntegerField(default=0)
    due_at = models.DateTimeField(null=True, blank=True, db_index=True)
    claimed_at = models.DateTimeField(null=True, blank=True)
    sent_at = models.DateTimeField(null=True, blank=True)
    trouble = models.CharField(max_length=500, blank=True)
    created_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.kind} to {self.to}"
