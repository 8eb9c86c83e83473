"""People, teams, and invitations. Every other record, networks and nodes aside, belongs to one team."""

from __future__ import annotations

import uuid

from django.contrib.auth.models import AbstractUser
from django.core.validators import RegexValidator
from django.db import models
from django.db.models.functions import Lower

# Words that are pages of their own, so that no team can hide them.
RESERVED_SLUGS = frozenset({"admin", "static", "accounts", "health", "api", "shared", "teams"})


class Role(models.TextChoices):
    """What a member is in a team; what that allows is said in `jobs.access`."""

    OWNER = "owner"
    ADMIN = "admin"
    TREASURER = "treasurer"
    CURATOR = "curator"
    LAUNCHER = "launcher"
    VIEWER = "viewer"
    AUDITOR = "auditor"


class User(AbstractUser):
    """A person who can sign in. A model of our own from the first migration on, because it cannot be swapped later."""

    class Theme(models.TextChoices):
        SYSTEM = "", "As the device says"
        LIGHT = "light", "Light"
        DARK = "dark", "Dark"

    time_zone = models.CharField(
        max_length=64, blank=True, help_text="A name such as Europe/Berlin; empty for the portal's own."
    )
    theme = models.CharField(max_length=10, choices=Theme, default=Theme.SYSTEM, blank=True)
    mail_when_ended = models.BooleanField(default=False, help_text="An e-mail when a job of theirs ends.")
    mail_when_needed = models.BooleanField(
        default=True, help_text="An e-mail when a job of theirs waits for a person."
    )

    def __str__(self) -> str:
        return self.get_full_name() or self.get_username()


class Team(models.Model):
    """The owner of jobs, wallets and catalogue entries; the first part of every address."""

    slug = models.SlugField(
        max_length=40,
        unique=True,
        validators=[RegexValidator(r"^[a-z0-9][a-z0-9-]*$", "Lower-case letters, digits and hyphens.")],
        help_text="The team's part of every address: lower-case letters, digits, hyphens.",
    )
    name = models.CharField(max_length=100)
    created_at = models.DateTimeField(auto_now_add=True)
    default_wallet = models.ForeignKey(
        "Wallet", on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    default_node = models.ForeignKey(
        "Node", on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    default_environment = models.ForeignKey(
        "Environment", on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    results_kept_days = models.PositiveIntegerField(
        null=True,
        blank=True,
        help_text="Archived results are deleted so long after a job's end; empty: never.",
    )
    launchers_run_code = models.BooleanField(default=False, help_text="Launchers may run code of their own.")
    viewers_see_results = models.BooleanField(
        default=True, help_text="Viewers may look at results and download them."
    )

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=~models.Q(slug__in=sorted(RESERVED_SLUGS)), name="team_slug_not_reserved"
            )
        ]

    def __str__(self) -> str:
        return self.name


class Membership(models.Model):
    """A person's role in a team."""

    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=20, choices=Role)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["team", "user"], name="membership_once")]

    def __str__(self) -> str:
        return f"{self.user} in {self.team} as {self.role}"


class Invitation(models.Model):
    """An offer to join a team, sent by e-mail. Its link is signed over `serial`: sending it again may change that."""

    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="invitations")
    email = models.EmailField(max_length=254)
    role = models.CharField(max_length=20, choices=Role)
    serial = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    invited_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    accepted_at = models.DateTimeField(null=True, blank=True)
    accepted_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                "team",
                Lower("email"),
                condition=models.Q(accepted_at__isnull=True, revoked_at__isnull=True),
                name="invitation_open_once",
            )
        ]

    def __str__(self) -> str:
        return f"{self.email} to {self.team} as {self.role}"
