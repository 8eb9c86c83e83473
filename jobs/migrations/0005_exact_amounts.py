"""Write amounts that were numbers until 0004 as text of one length, so that the database compares them as it should."""

from django.db import migrations

_AMOUNTS = {
    "Network": ["max_gas_wei"],
    "Order": ["fee_wei"],
    "Transaction": ["value_wei", "max_fee_wei"],
}


def write_again(apps, schema_editor):
    """Read each amount as it is, and write it back; the field does the rest."""
    for model, fields in _AMOUNTS.items():
        rows = apps.get_model("jobs", model).objects.only("pk", *fields)
        for row in rows.iterator():
            row.save(update_fields=fields)


class Migration(migrations.Migration):
    dependencies = [("jobs", "0004_paid_compute")]
    operations = [migrations.RunPython(write_again, migrations.RunPython.noop)]
