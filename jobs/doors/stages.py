"""A step between the password and the session: has the person's e-mail address been verified?"""

from __future__ import annotations

from typing import Any

from allauth.account.models import EmailAddress
from allauth.account.stages import EmailVerificationStage
from django.http import HttpResponse

from jobs.services import accounts


class AddressStage(EmailVerificationStage):
    """As allauth asks it, but not of people whom an operator made: they may have no address at all.

    Whoever signs up has their address written down in the same commit, so no address means: made by an operator.
    """

    def handle(self) -> tuple[HttpResponse | None, bool]:
        """Let people without an address in; an address that an operator wrote counts as verified."""
        user = self.login.user
        if user is not None and not EmailAddress.objects.filter(user_id=user.pk).exists():
            accounts.verify_email(user_id=user.pk, email=user.email)
            return None, True
        answer: Any = super().handle()
        return answer  # type: ignore[no-any-return]
