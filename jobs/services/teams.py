"""Teams and their members."""

from __future__ import annotations

from django.db import transaction

from jobs.access import Actor
from jobs.errors import InvalidInput, Missing
from jobs.models import Membership, Team, User
from jobs.models.teams import RESERVED_SLUGS, Role
from jobs.services import accounts


def ensure_team(*, slug: str, name: str) -> int:
    """Return the team with this slug, made if it is not there.

    Raises:
        InvalidInput: the slug is a word that the portal's own pages use.
    """
    if slug in RESERVED_SLUGS:
        raise InvalidInput(
            f"“{slug}” cannot be a team's address: the portal's own pages use it.", field="slug"
        )
    team, _ = Team.objects.get_or_create(slug=slug, defaults={"name": name})
    return team.pk


def ensure_member(
    *,
    team_id: int,
    username: str,
    email: str,
    password: str | None,
    role: Role,
    full_name: str = "",
    staff: bool = False,
) -> bool:
    """Make a person and their membership if they are not there; return whether the person is new.

    A person who exists keeps their password and names. An operator says whose the address is, so it counts as verified.
    password: None for somebody who sets one with a link.
    """
    with transaction.atomic():
        user, new = User.objects.get_or_create(username=username, defaults={"email": email})
        if new:
            user.set_password(password)
            first, _, last = full_name.partition(" ")
            user.first_name, user.last_name = first, last
            user.is_staff = user.is_superuser = staff
            user.save()
            accounts.verify_email(user_id=user.pk, email=email)
        Membership.objects.get_or_create(team_id=team_id, user=user, defaults={"role": role})
    return new


def operator(*, team: str, name: str = "the command line") -> Actor:
    """Return the actor that an operator's command is in a team: no person, with an owner's rights.

    Raises:
        Missing: no such team.
    """
    found = Team.objects.filter(slug=team).first()
    if found is None:
        known = ", ".join(Team.objects.order_by("slug").values_list("slug", flat=True)[:10]) or "none yet"
        raise Missing(f"There is no team “{team}”. Teams here: {known}.")
    return Actor(user_id=None, name=name, team_id=found.pk, role=Role.OWNER, origin="command line")
