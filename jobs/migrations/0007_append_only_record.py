"""Has the database refuse to change or delete entries of the audit record."""

from typing import Any

from django.db import migrations

SAYS = "the audit record is append-only"
TABLE = "jobs_auditentry"


def guard(apps: Any, schema_editor: Any) -> None:
    """Make the triggers."""
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(
            "CREATE OR REPLACE FUNCTION jobs_audit_refuses() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN RAISE EXCEPTION '{SAYS}'; END $$"
        )
        schema_editor.execute(
            f"CREATE TRIGGER jobs_audit_rows BEFORE UPDATE OR DELETE ON {TABLE} "
            "FOR EACH ROW EXECUTE FUNCTION jobs_audit_refuses()"
        )
        schema_editor.execute(
            f"CREATE TRIGGER jobs_audit_table BEFORE TRUNCATE ON {TABLE} "
            "FOR EACH STATEMENT EXECUTE FUNCTION jobs_audit_refuses()"
        )
        return
    for act in ("UPDATE", "DELETE"):
        schema_editor.execute(
            f"CREATE TRIGGER jobs_audit_{act.lower()} BEFORE {act} ON {TABLE} "
            f"BEGIN SELECT RAISE(ABORT, '{SAYS}'); END"
        )


def unguard(apps: Any, schema_editor: Any) -> None:
    """Take the triggers away."""
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(f"DROP TRIGGER IF EXISTS jobs_audit_rows ON {TABLE}")
        schema_editor.execute(f"DROP TRIGGER IF EXISTS jobs_audit_table ON {TABLE}")
        schema_editor.execute("DROP FUNCTION IF EXISTS jobs_audit_refuses()")
        return
    for act in ("update", "delete"):
        schema_editor.execute(f"DROP TRIGGER IF EXISTS jobs_audit_{act}")


class Migration(migrations.Migration):
    dependencies = [("jobs", "0006_team")]
    operations = [migrations.RunPython(guard, unguard)]
