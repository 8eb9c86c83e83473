"""The operators' site: what is added, changed or deleted on one of its pages is in the audit record, in the same commit.

Every page that is registered gets this, other packages' too. What services do for an action they record themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import urlsplit

from allauth.account import views as account
from allauth.account.decorators import secure_admin_login
from django.contrib import admin
from django.db import transaction
from django.db.models import JSONField, Model, QuerySet, URLField
from django.http import HttpRequest
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.views.generic import RedirectView

from jobs.access import Person
from jobs.models import Act, Membership, Team
from jobs.services import audit
from jobs.services.audit import Thing
from jobs.web import client_address

CHANGED = "changed"  # told in the place of what nobody should read
_SECRET = ("password", "secret", "token", "key", "encrypted", "signed", "usable")


class Recorded:
    """A page of the site that writes the audit record. Mixed in before the page's own class."""

    opts: Any

    def construct_change_message(
        self, request: HttpRequest, form: Any, formsets: Any, add: bool = False
    ) -> Any:
        """Keep what was before and after beside what Django's own history is told."""
        before: dict[str, Any] = {}
        after: dict[str, Any] = {}
        _compare(form, before, after, add=add)
        for formset in formsets or []:
            _compare_rows(formset, before, after)
        setattr(request, "_audited", (before, after))  # noqa: B010  # a request has no such attribute by itself
        return super().construct_change_message(request, form, formsets, add)  # type: ignore[misc]  # the page's

    def log_addition(self, request: HttpRequest, obj: Model, message: Any) -> Any:
        """Record it, last in Django's transaction."""
        logged = super().log_addition(request, obj, message)  # type: ignore[misc]  # the page's
        self._record(request, Act.ADMIN_ADDED, obj)
        return logged

    def log_change(self, request: HttpRequest, obj: Model, message: Any) -> Any:
        """Record it, last in Django's transaction."""
        logged = super().log_change(request, obj, message)  # type: ignore[misc]  # the page's
        later: list[Model] | None = getattr(request, "_audit_later", None)
        if later is None:
            self._record(request, Act.ADMIN_CHANGED, obj)
        else:
            later.append(obj)
        return logged

    def delete_model(self, request: HttpRequest, obj: Model) -> None:
        """Delete it and record that, in one transaction."""
        gone = [_gone(obj)]
        with transaction.atomic():
            super().delete_model(request, obj)  # type: ignore[misc]  # the page's
            _record_gone(request, gone)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Delete them and record each, in one transaction."""
        gone = [_gone(obj) for obj in queryset]
        with transaction.atomic():
            super().delete_queryset(request, queryset)  # type: ignore[misc]  # the page's
            _record_gone(request, gone)

    def user_change_password(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Change a password and record that, in one transaction: Django opens none here. Of the page of people only."""
        later: list[Model] = []
        setattr(request, "_audit_later", later)  # noqa: B010  # as above
        with transaction.atomic():
            answer = super().user_change_password(request, *args, **kwargs)  # type: ignore[misc]  # the page's
            del request._audit_later  # type: ignore[attr-defined]  # set above
            for person in later:  # the session was written meanwhile, and the entry comes last
                self._record(request, Act.ADMIN_CHANGED, person)
        return answer

    def _record(self, request: HttpRequest, act: Act, obj: Model) -> None:
        before, after = getattr(request, "_audited", ({}, {}))
        if act == Act.ADMIN_CHANGED and not before and not after:
            return  # saved as it was
        audit.record(
            act=act,
            by=operator(request),
            now=timezone.now(),
            thing=_thing(obj),
            before=before or None,
            after=after or None,
            team_id=_team(obj),
        )


class OperatorSite(admin.AdminSite):
    """The site of the operators' pages. There is one door: its second factors, limits and records count for them too."""

    site_header = site_title = "Ocean Portal"
    index_title = "Operation"
    login = method_decorator(secure_admin_login)(admin.AdminSite.login)
    logout = staticmethod(account.logout)
    password_change = staticmethod(RedirectView.as_view(pattern_name="account_change_password"))  # type: ignore[assignment]

    def register(self, model_or_iterable: Any, admin_class: type[Any] | None = None, **options: Any) -> None:
        """Register a page that writes the audit record."""
        page = admin_class or admin.ModelAdmin
        if not issubclass(page, Recorded):
            page = type(
                page.__name__, (Recorded, page), {"__module__": page.__module__, "__doc__": page.__doc__}
            )
        super().register(model_or_iterable, page, **options)


def operator(request: HttpRequest) -> Person:
    """Return the operator, where no team is meant."""
    return Person(user_id=request.user.pk, name=f"{request.user} (operator)", origin=client_address(request))


def _compare(form: Any, before: dict[str, Any], after: dict[str, Any], *, add: bool = False) -> None:
    """Put the fields that a form has changed into before and after."""
    model = getattr(getattr(form, "_meta", None), "model", None)
    for name in form.changed_data:
        if _is_secret(model, name):
            after[name] = CHANGED
            continue
        old, new = _told(model, name, form.initial.get(name)), _told(model, name, form.cleaned_data.get(name))
        if not add:
            before[name] = old
        after[name] = new if add or old != new else f"{new} ({CHANGED})"


def _compare_rows(formset: Any, before: dict[str, Any], after: dict[str, Any]) -> None:
    """Put the rows that belong to a record and were changed with it into before and after."""
    for form in formset.forms:
        row = form.instance
        name = f"{row._meta.verbose_name} {row}"
        if form in getattr(formset, "deleted_forms", []):
            if row.pk is not None or form.initial:
                before[name] = _fields(row)
            continue
        if not form.has_changed():
            continue
        old: dict[str, Any] = {}
        new: dict[str, Any] = {}
        _compare(form, old, new, add=not form.initial)
        if old:
            before[name] = old
        after[name] = new


def _gone(obj: Model) -> tuple[Thing, int | None, dict[str, Any]]:
    # The team itself cannot be named by an entry once it is gone.
    return _thing(obj), None if isinstance(obj, Team) else _team(obj), _fields(obj)


def _record_gone(request: HttpRequest, gone: Iterable[tuple[Thing, int | None, dict[str, Any]]]) -> None:
    for thing, team_id, before in gone:
        audit.record(
            act=Act.ADMIN_DELETED,
            by=operator(request),
            now=timezone.now(),
            thing=thing,
            before=before,
            team_id=team_id,
        )


def _thing(obj: Model) -> Thing:
    names = {"membership": "member", "user": "person"}  # as the portal's own pages call them
    kind = str(obj._meta.model_name)
    number = (
        obj.user_id if isinstance(obj, Membership) else obj.pk
    )  # members go by their person's number there
    return Thing(names.get(kind, kind), str(number), str(obj))


def _team(obj: Model) -> int | None:
    return obj.pk if isinstance(obj, Team) else getattr(obj, "team_id", None)


def _fields(obj: Model) -> dict[str, Any]:
    """Return what a record of ours held, secrets aside; of another package's, what it is called is enough."""
    if obj._meta.app_label != "jobs":
        return {}
    return dict(_values(obj))


def _values(obj: Model) -> Iterator[tuple[str, Any]]:
    for field in obj._meta.concrete_fields:
        if field.editable and not field.primary_key and not _is_secret(type(obj), field.name):
            yield field.name, _told(type(obj), field.name, getattr(obj, field.name))


def _is_secret(model: type[Model] | None, name: str) -> bool:
    ours = model is None or model._meta.app_label in ("jobs", "auth")
    return not ours or any(word in name.lower() for word in _SECRET)


def _told(model: type[Model] | None, name: str, value: Any) -> Any:
    """Write a value for people: records by their names, addresses without what may be a key in them."""
    field = next((f for f in model._meta.get_fields() if f.name == name), None) if model is not None else None
    if isinstance(field, URLField) and value:
        return _without_keys(str(value))
    if isinstance(field, JSONField):
        return value
    related = getattr(field, "related_model", None)
    if isinstance(value, QuerySet | list | tuple):
        return [str(part) for part in value]
    if related is not None and value is not None and not isinstance(value, Model):
        named = related._default_manager.filter(pk=value).first()
        return str(named) if named is not None else str(value)
    return value if value is None or isinstance(value, bool | int) else str(value)


def _without_keys(url: str) -> str:
    """Return where an address leads to: services put keys into the rest."""
    parts = urlsplit(url)
    place = f"{parts.scheme}://{parts.hostname or ''}" + (f":{parts.port}" if parts.port else "")
    return place + ("/…" if parts.path.strip("/") or parts.query or parts.username else "")
