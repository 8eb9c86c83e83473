"""People and teams. Every other record, networks and nodes aside, belongs to one team."""

from __future__ import annotations

from django.contrib.auth.models import AbstractUser
from django.core.validators import RegexValidator
from django.db import models

# Words that are pages of their own, so that no team can hide them.
RESERVED_SLUGS = frozenset({"admin", "static", "accounts", "health", "api", "teams"})


class Role(models.TextChoices):
    """What a member is in a team; what that allows is said in `jobs.access`."""

    OWNER = "owner"
    ADMIN = "admin"
    LAUNCHER = "launcher"
    VIEWER = "viewer"


class User(AbstractUser):
    """A person who can sign in. A model of our own from the first migration on, because it cannot be swapped later."""

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
