"""Counts the e-mail addresses of people who are here already as verified, and makes the table of the shared cache."""

from collections import Counter
from typing import Any

from django.core.management import call_command
from django.db import migrations

CACHE_TABLE = "portal_cache"


def make_cache_table(apps: Any, schema_editor: Any) -> None:
    """Make the table in which the processes of the web server count attempts together."""
    call_command("createcachetable", CACHE_TABLE, database=schema_editor.connection.alias, verbosity=0)


def drop_cache_table(apps: Any, schema_editor: Any) -> None:
    """Take the table away again."""
    schema_editor.execute(f"DROP TABLE IF EXISTS {CACHE_TABLE}")


def trust(apps: Any, schema_editor: Any) -> None:
    """Write down each address that only one person has; an operator entered it. The others sign in by name."""
    addresses = apps.get_model("account", "EmailAddress")
    people = [
        (pk, email.strip().lower())
        for pk, email in apps.get_model("jobs", "User").objects.exclude(email="").values_list("pk", "email")
    ]
    times = Counter(email for _, email in people)
    for pk, email in people:
        if email and times[email] == 1:
            addresses.objects.get_or_create(
                user_id=pk, email=email, defaults={"verified": True, "primary": True}
            )


class Migration(migrations.Migration):
    dependencies = [
        ("jobs", "0008_grant_what_was_possible"),
        ("account", "0009_emailaddress_unique_primary_email"),
    ]
    operations = [
        migrations.RunPython(make_cache_table, drop_cache_table),
        migrations.RunPython(trust, migrations.RunPython.noop),
    ]
