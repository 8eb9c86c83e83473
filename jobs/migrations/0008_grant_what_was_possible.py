"""Gives everybody who could spend from a wallet the grant that it takes from now on."""

from typing import Any

from django.db import migrations
from django.utils import timezone


def grant(apps: Any, schema_editor: Any) -> None:
    """Grant every wallet in use to the members whose role let them launch."""
    grants = apps.get_model("jobs", "WalletGrant")
    now = timezone.now()
    for wallet in apps.get_model("jobs", "Wallet").objects.filter(disabled_at=None):
        members = apps.get_model("jobs", "Membership").objects.filter(
            team_id=wallet.team_id, role__in=("owner", "admin", "launcher")
        )
        for user_id in members.values_list("user_id", flat=True):
            grants.objects.get_or_create(wallet=wallet, user_id=user_id, defaults={"granted_at": now})


class Migration(migrations.Migration):
    dependencies = [("jobs", "0007_append_only_record")]
    operations = [migrations.RunPython(grant, migrations.RunPython.noop)]
