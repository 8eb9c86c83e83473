"""A person's own page: name, time zone, looks, and what they want to be written to about."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods

from jobs.errors import InvalidInput
from jobs.forms.profile import ProfileForm
from jobs.selectors import profile as selector
from jobs.services import profiles
from jobs.web import person_of


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def profile(request: HttpRequest) -> HttpResponse:
    """Show a person's choices, or change them."""
    found = selector.profile(user_id=request.user.pk or 0)
    form = ProfileForm(request.POST if request.method == "POST" else None, page=found)
    if request.method == "POST" and form.is_valid():
        try:
            changed = profiles.change(person=person_of(request), wanted=form.profile(), now=timezone.now())
            messages.success(request, "Saved." if changed else "There was nothing to change.")
            return redirect("profile")
        except InvalidInput as error:
            form.refuse(error)
    context = {"form": form, "page": found}
    return render(request, "profile/profile.html", context, status=400 if form.errors else 200)
