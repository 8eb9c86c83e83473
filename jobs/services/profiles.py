"""Changes what a person chose for themselves: name, time zone, looks, and what they are written to about."""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import datetime

from django.db import transaction
from django.db.models import Q

from jobs.access import Person
from jobs.errors import InvalidInput, Missing
from jobs.lifecycle import TERMINAL, State
from jobs.models import Act, JobEvent, User
from jobs.selectors.profile import Profile, profile_of, zones
from jobs.services import audit

NAME_MAX = 150  # of each of the two columns that a name is kept in


def change(*, person: Person, wanted: Profile, now: datetime) -> bool:
    """Set a person's own choices; return whether there was anything to change.

    Who switches an e-mail on is not written to about what happened before that.

    Raises:
        Missing: there is no such person any more.
        InvalidInput
    """
    wanted = replace(wanted, full_name=" ".join(wanted.full_name.split()))
    _check(wanted)
    with transaction.atomic():
        user = User.objects.select_for_update().filter(pk=person.user_id or 0).first()
        if user is None:
            raise Missing("There is no such person.")
        before, after = asdict(profile_of(user)), asdict(wanted)
        changed = sorted(name for name in after if after[name] != before[name])
        if not changed:
            return False
        first, _, last = wanted.full_name.partition(" ")
        _forget_untold(user, ended=not user.mail_when_ended, needed=not user.mail_when_needed)
        User.objects.filter(pk=user.pk).update(
            first_name=first,
            last_name=last,
            time_zone=wanted.time_zone,
            theme=wanted.theme,
            mail_when_ended=wanted.mail_when_ended,
            mail_when_needed=wanted.mail_when_needed,
        )
        audit.record(
            act=Act.PROFILE_CHANGED,
            by=person,
            now=now,
            thing=audit.Thing(kind="person", id=str(user.pk), name=wanted.full_name or user.get_username()),
            before={name: before[name] for name in changed},
            after={name: after[name] for name in changed},
        )
    return True


def _check(wanted: Profile) -> None:
    first, _, last = wanted.full_name.partition(" ")
    if len(first) > NAME_MAX or len(last) > NAME_MAX or not wanted.full_name.isprintable():
        raise InvalidInput(
            f"A name has at most {NAME_MAX} characters, and stands on one line.", field="full_name"
        )
    if wanted.time_zone and wanted.time_zone not in zones():
        raise InvalidInput(
            "There is no such time zone. Its name is that of a place, such as Europe/Berlin; empty is the portal's own.",
            field="time_zone",
        )
    if wanted.theme not in User.Theme.values:
        raise InvalidInput("Choose light, dark, or what the device says.", field="theme")


def _forget_untold(user: User, *, ended: bool, needed: bool) -> None:
    """Take the mark off events that nobody has looked at yet, and that this person had no wish to be told of."""
    mine = Q(job__handed_to=user) | Q(job__handed_to=None, job__launched_by=user)
    unwanted = [*(TERMINAL if ended else ()), *([State.NEEDS_ATTENTION] if needed else ())]
    if unwanted:
        events = JobEvent.objects.filter(mine, tell_at__isnull=False, after__in=unwanted)
        JobEvent.objects.filter(pk__in=list(events.values_list("pk", flat=True))).update(tell_at=None)
