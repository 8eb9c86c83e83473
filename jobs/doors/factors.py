"""The door of second factors: their secrets are kept as wallet keys are, encrypted."""

from __future__ import annotations

from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator

from jobs.models import User
from jobs.services import vault


class FactorDoor(DefaultMFAAdapter):
    """What allauth asks the portal about second factors."""

    error_messages = DefaultMFAAdapter.error_messages | {
        "incorrect_code": "This code is not the right one, or not any more.",
        "unverified_email": "Verify your e-mail address first: a second factor could lock out whose address it really is.",
        "add_email_blocked": "Remove your second factor before you add another e-mail address.",
    }

    def encrypt(self, text: str) -> str:
        """Encrypt the secret of an authenticator app, or of recovery codes."""
        return vault.seal(text.encode()).decode("ascii")

    def decrypt(self, encrypted_text: str) -> str:
        """Open what `encrypt` made."""
        return vault.unseal(encrypted_text.encode(), what="The second factor of this account").decode()

    def generate_authenticator_name(self, user: User, type: Authenticator.Type) -> str:
        """Name a new key, until its owner does."""
        number = Authenticator.objects.filter(user_id=user.pk, type=type).count() + 1
        return "My key" if number == 1 else f"My key {number}"

    def _get_site_name(self) -> str:
        return "Ocean Portal"
