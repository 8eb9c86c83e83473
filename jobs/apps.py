"""The Django application."""

from django.apps import AppConfig


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
