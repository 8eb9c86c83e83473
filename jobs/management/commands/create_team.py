"""python manage.py create_team: the first team of an installation, and its first owner."""

from __future__ import annotations

import getpass
import os
import sys
from argparse import ArgumentParser
from typing import Any

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError

from jobs.errors import InvalidInput
from jobs.models import Membership, Team, User
from jobs.models.teams import Role
from jobs.services import accounts, teams

PASSWORD_VARIABLE = "PORTAL_OWNER_PASSWORD"  # noqa: S105  # the name of a variable, not a password


class Command(BaseCommand):
    """Make a team and its owner, whatever of the two is missing."""

    help = (
        f"Make a team and its owner. The password is asked for, or read from {PASSWORD_VARIABLE}, "
        "or the owner sets it with a link that --send-link sends them."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Describe the options."""
        parser.add_argument("--slug", required=True, help="the team's part of every address, such as lab")
        parser.add_argument("--name", required=True, help='what the team is called, such as "Coastal Lab"')
        parser.add_argument("--owner", required=True, metavar="USERNAME", help="who owns the team")
        parser.add_argument("--email", default="", help="the owner's e-mail address")
        parser.add_argument(
            "--operator", action="store_true", help="a new owner may also use the admin pages"
        )

        parser.add_argument(
            "--send-link", action="store_true", help="send a new owner a link to set their password with"
        )

    def handle(self, **options: Any) -> None:
        """Check everything, then write; say what was made and what was there already."""
        slug, username = options["slug"], options["owner"]
        person = User.objects.filter(username=username).first()
        team = Team.objects.filter(slug=slug).first()
        _check_values(
            **({} if team else {"team": Team(slug=slug, name=options["name"])}),
            **({} if person else {"owner": User(username=username, email=options["email"])}),
        )
        by_link = options["send_link"] and person is None
        if by_link and not options["email"]:
            raise CommandError("--send-link needs --email: where is the link to go?")
        password = None if person or by_link else _password(User(username=username, email=options["email"]))
        try:
            team_id = teams.ensure_team(slug=slug, name=options["name"])
        except InvalidInput as error:
            raise CommandError(error.message) from error
        teams.ensure_member(
            team_id=team_id,
            username=username,
            email=options["email"],
            password=password,
            role=Role.OWNER,
            staff=options["operator"],
        )
        self.stdout.write(f"Team “{slug}” {'was there already' if team else 'is made'}.")
        if by_link:
            self._send_link(username=username, email=options["email"])
        self._tell_of_owner(team_id=team_id, person=person, username=username, operator=options["operator"])

    def _send_link(self, *, username: str, email: str) -> None:
        """Send the link; the team and its owner are there either way.

        Raises:
            CommandError: the mail server did not take it.
        """
        try:
            accounts.send_password_link(user_id=User.objects.get(username=username).pk)
        except accounts.MailRefused as error:
            raise CommandError(f"Team and owner are there, but: {error.message}") from error
        self.stdout.write(f"A link to set a password is on its way to {email}.")

    def _tell_of_owner(self, *, team_id: int, person: User | None, username: str, operator: bool) -> None:
        if person is None:
            self.stdout.write(
                f"“{username}” is made, and owns the team{' and may operate the portal' * operator}."
            )
            return
        role = Membership.objects.get(team_id=team_id, user=person).role
        self.stdout.write(f"“{username}” was there already, with the password they had. Role here: {role}.")
        if role != Role.OWNER:
            self.stderr.write("An operator changes roles in the admin, under Memberships.")
        if operator and not person.is_staff:
            self.stderr.write(
                f"“{username}” is no operator, and this command makes none of a person who is there already. "
                "An operator can, in the admin; the first one comes from: python manage.py createsuperuser"
            )


def _check_values(**records: Team | User) -> None:
    """Hold new records to their fields' rules, as the admin would.

    Raises:
        CommandError: with one line for each field that cannot be used.
    """
    troubles: list[str] = []
    for option, record in records.items():
        try:
            record.clean_fields(exclude={"password"})
        except ValidationError as error:
            troubles += [f"{option} {field}: {' '.join(told)}" for field, told in error.message_dict.items()]
    if troubles:
        raise CommandError("\n".join(troubles))


def _password(owner: User) -> str:
    """Return the new owner's password.

    Raises:
        CommandError: nobody can be asked, the two entries differ, or the password is too weak.
    """
    password = os.environ.get(PASSWORD_VARIABLE, "")
    if not password:
        if not sys.stdin.isatty():
            raise CommandError(f"There is no terminal to ask for the password at: set {PASSWORD_VARIABLE}.")
        password = getpass.getpass(f"Password for {owner.username}: ")
        if password != getpass.getpass("Again: "):
            raise CommandError("The two passwords differ. Nothing was made.")
    try:
        validate_password(password, owner)
    except ValidationError as error:
        raise CommandError("\n".join(error.messages)) from error
    return password
