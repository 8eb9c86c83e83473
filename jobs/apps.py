"""The Django application."""

from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig


class JobsConfig(AppConfig):
    """Ocean Portal's one application."""

    name = "jobs"
    verbose_name = "Ocean Portal"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the system checks, and listen to what allauth tells of."""
        from jobs import checks  # noqa: F401  # importing registers them
        from jobs.doors import notes

        notes.connect()


class OperatorsConfig(AdminConfig):
    """Django's admin, with the site whose pages write the audit record."""

    default_site = "jobs.operators.OperatorSite"
