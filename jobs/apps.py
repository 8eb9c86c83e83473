"""The Django application."""

from django.apps import AppConfig


class JobsConfig(AppConfig):
    """Ocean Portal's one application."""

    name = "jobs"
    verbose_name = "Ocean Portal"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the system checks."""
        from jobs import checks  # noqa: F401  # importing registers them
