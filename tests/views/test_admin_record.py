"""What operators do on their pages is in the audit record: before and after, without secrets; its own is read-only."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission
from django.db import DatabaseError
from django.test import Client
from django.urls import reverse
from django_q.models import Schedule

from jobs.models import Act, AuditEntry, Membership, Network, Team, User
from jobs.operators import Recorded
from tests import builders
from tests.conftest import Cast

FROM = "192.0.2.9"
NEW = "a new and quite long password"


@pytest.fixture
def operator(cast: Cast) -> Client:
    """The browser of a superuser, somewhere on the internet."""
    cast.alice.is_staff = cast.alice.is_superuser = True
    cast.alice.save()
    client = Client(REMOTE_ADDR=FROM)
    client.force_login(cast.alice)
    return client


def only() -> AuditEntry:
    """Return the one entry that an operator's act has written."""
    return AuditEntry.objects.get(act__startswith="admin.")


def url(name: str, *args: Any) -> str:
    """Return the address of an admin page."""
    return reverse(f"admin:{name}", args=args)


def form_of(client: Client, address: str, **changes: Any) -> dict[str, Any]:
    """Return what an admin form holds, with these changes; None leaves a field out."""
    context = client.get(address).context
    forms = [context["adminform"].form]
    for inline in context["inline_admin_formsets"]:
        forms += [inline.formset.management_form, *inline.formset.forms]
    values: dict[str, Any] = {}
    for form in forms:
        for name in form.fields:
            value = form[name].value()
            if hasattr(form[name].field.widget, "decompress"):
                for i, part in enumerate(form[name].field.widget.decompress(value)):
                    text = str(part or "").partition(".")[0]
                    values[f"{form.add_prefix(name)}_{i}"] = values[
                        f"{form.add_initial_prefix(name)}_{i}"
                    ] = text
            else:
                values[form.add_prefix(name)] = value
    return {
        name: value for name, value in (values | changes).items() if value is not None and value is not False
    }


def test_every_page_of_the_site_records() -> None:
    pages = admin.site._registry.items()

    assert len(pages) > 30
    assert [model.__name__ for model, page in pages if not isinstance(page, Recorded)] == []


class TestChange:
    def test_says_what_was_before_and_what_is_after(self, operator: Client, cast: Cast) -> None:
        membership = Membership.objects.get(user=cast.bob)
        address = url("jobs_membership_change", membership.pk)

        answer = operator.post(address, form_of(operator, address, role="admin"))

        assert answer.status_code == 302
        entry = only()
        assert (entry.act, entry.who, entry.user_number) == (
            Act.ADMIN_CHANGED,
            "Alice (operator)",
            cast.alice.pk,
        )
        assert (entry.origin, entry.team_id) == (FROM, cast.team.pk)
        assert (entry.kind, entry.object_id) == ("member", str(cast.bob.pk))
        assert (entry.before, entry.after) == ({"role": "launcher"}, {"role": "admin"})

    def test_of_what_refers_to_others_says_their_names(self, operator: Client, cast: Cast) -> None:
        near = builders.make_node(name="Near")
        far = builders.make_node(network=near.network, name="Far", base_url="http://127.0.0.1:8009")
        Team.objects.filter(pk=cast.team.pk).update(default_node=near)
        address = url("jobs_team_change", cast.team.pk)

        operator.post(address, form_of(operator, address, default_node=far.pk))

        assert (only().before, only().after) == ({"default_node": "Near"}, {"default_node": "Far"})

    def test_that_changes_nothing_is_none(self, operator: Client, cast: Cast) -> None:
        address = url("jobs_team_change", cast.team.pk)

        assert operator.post(address, form_of(operator, address)).status_code == 302

        assert not AuditEntry.objects.filter(act__startswith="admin.").exists()

    def test_of_rows_that_belong_to_it_tells_of_each(self, operator: Client, cast: Cast) -> None:
        address = url("jobs_team_change", cast.team.pk)
        rows = operator.get(address).context["inline_admin_formsets"][0].formset.forms
        by_person = {form.instance.user_id: form.prefix for form in rows if form.instance.pk}

        answer = operator.post(
            address,
            form_of(
                operator,
                address,
                **{
                    f"{by_person[cast.bob.pk]}-role": "auditor",
                    f"{by_person[cast.vera.pk]}-role": "curator",
                },
            ),
        )

        assert answer.status_code == 302
        entry = only()
        assert (entry.kind, entry.team_id) == ("team", cast.team.pk)
        assert list(entry.before.values()) == [{"role": "launcher"}, {"role": "viewer"}]
        assert list(entry.after.values()) == [{"role": "auditor"}, {"role": "curator"}]

    def test_of_permissions_names_them(self, operator: Client, cast: Cast) -> None:
        right = Permission.objects.get(codename="change_network")
        address = url("jobs_user_change", cast.bob.pk)

        operator.post(address, form_of(operator, address, is_staff="on", user_permissions=[right.pk]))

        assert only().before == {"is_staff": False, "user_permissions": []}
        assert only().after == {"is_staff": True, "user_permissions": [str(right)]}
        assert (only().kind, only().object_name, only().team_id) == ("person", "Bob", None)

    def test_of_an_address_shows_no_key_in_it(self, operator: Client, cast: Cast) -> None:
        network = builders.make_network(rpc_url="https://rpc.example/v3/the-old-secret")
        address = url("jobs_network_change", network.pk)

        operator.post(
            address,
            form_of(
                operator,
                address,
                rpc_url="https://user:pass@rpc.example:8545/v3/the-new-secret?key=another-secret",
                contracts="{}",
            ),
        )

        text = f"{only().before} {only().after}"
        assert only().before["rpc_url"] == "https://rpc.example/…"
        assert only().after["rpc_url"] == "https://rpc.example:8545/…"
        assert "secret" not in text and "pass" not in text

    def test_of_a_key_in_an_address_alone_says_that_it_changed(self, operator: Client, cast: Cast) -> None:
        network = builders.make_network(rpc_url="https://rpc.example/v3/the-old-secret")
        address = url("jobs_network_change", network.pk)

        operator.post(
            address, form_of(operator, address, rpc_url="https://rpc.example/v3/new", contracts="{}")
        )

        assert only().after["rpc_url"] == "https://rpc.example/… (changed)"


class TestPassword:
    def test_is_only_said_to_have_changed(self, operator: Client, cast: Cast) -> None:
        answer = operator.post(
            url("auth_user_password_change", cast.bob.pk),
            {"password1": NEW, "password2": NEW, "usable_password": "true"},
        )

        assert answer.status_code == 302
        assert (only().act, only().object_id, only().origin) == (Act.ADMIN_CHANGED, str(cast.bob.pk), FROM)
        assert only().before is None
        assert set(only().after.values()) == {"changed"}

    def test_stays_when_it_cannot_be_recorded(
        self, operator: Client, cast: Cast, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*args: Any, **kwargs: Any) -> None:
            raise DatabaseError("the disk is full")

        monkeypatch.setattr(AuditEntry, "save", full)

        with pytest.raises(DatabaseError):
            operator.post(
                url("auth_user_password_change", cast.bob.pk),
                {"password1": NEW, "password2": NEW, "usable_password": "true"},
            )

        assert User.objects.get(pk=cast.bob.pk).password == cast.bob.password


class TestAdd:
    def test_of_a_person_keeps_their_password_out(self, operator: Client) -> None:
        page = url("jobs_user_add")
        entered = {"username": "dora", "password1": NEW, "password2": NEW, "usable_password": "true"}

        operator.post(page, form_of(operator, page, **entered))

        dora = User.objects.get(username="dora")
        assert (only().act, only().object_id) == (Act.ADMIN_ADDED, str(dora.pk))
        assert only().after["username"] == "dora"
        assert NEW not in str(only().after)
        assert only().after["password1"] == "changed"

    def test_of_a_team_names_it(self, operator: Client) -> None:
        page = url("jobs_team_add")

        operator.post(page, form_of(operator, page, slug="harbour", name="Harbour Lab"))

        team = Team.objects.get(slug="harbour")
        assert (only().act, only().team_id, only().before) == (Act.ADMIN_ADDED, team.pk, None)
        assert (only().after["slug"], only().after["name"]) == ("harbour", "Harbour Lab")

    def test_of_a_group_is_recorded_though_its_page_is_django_s(self, operator: Client) -> None:
        right = Permission.objects.get(codename="change_network")

        operator.post(url("auth_group_add"), {"name": "Operators", "permissions": [right.pk]})

        assert (only().act, only().kind, only().object_name) == (Act.ADMIN_ADDED, "group", "Operators")
        assert only().after == {"name": "Operators", "permissions": [str(right)]}


class TestDelete:
    def test_of_one_says_what_it_was(self, operator: Client, cast: Cast) -> None:
        membership = Membership.objects.get(user=cast.bob)

        operator.post(url("jobs_membership_delete", membership.pk), {"post": "yes"})

        assert not Membership.objects.filter(pk=membership.pk).exists()
        entry = only()
        assert (entry.act, entry.team_id, entry.after) == (Act.ADMIN_DELETED, cast.team.pk, None)
        assert entry.before == {"team": "Coastal Lab", "user": "Bob", "role": "launcher"}

    def test_of_several_is_an_entry_each(self, operator: Client) -> None:
        chosen = [str(builders.make_network(chain_id=number, name=f"Net {number}").pk) for number in (71, 72)]

        operator.post(
            url("jobs_network_changelist"),
            {"action": "delete_selected", "_selected_action": chosen, "post": "yes"},
        )

        entries = AuditEntry.objects.filter(act=Act.ADMIN_DELETED)
        assert sorted(entry.object_id for entry in entries) == sorted(chosen)
        assert not Network.objects.filter(pk__in=chosen).exists()

    def test_of_another_package_s_tells_none_of_its_contents(self, operator: Client) -> None:
        job = Schedule.objects.create(func="jobs.tasks.pulse", name="the pulse", kwargs="secret=1")

        operator.post(url("django_q_schedule_delete", job.pk), {"post": "yes"})

        assert (only().kind, only().before) == ("schedule", {})

    def test_does_not_happen_when_it_cannot_be_recorded(
        self, operator: Client, cast: Cast, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*args: Any, **kwargs: Any) -> None:
            raise DatabaseError("the disk is full")

        monkeypatch.setattr(AuditEntry, "save", full)
        membership = Membership.objects.get(user=cast.bob)

        with pytest.raises(DatabaseError):
            operator.post(url("jobs_membership_delete", membership.pk), {"post": "yes"})

        assert Membership.objects.filter(pk=membership.pk).exists()

    def test_of_a_team_that_the_record_tells_of_is_refused(self, operator: Client, cast: Cast) -> None:
        empty = builders.make_team("empty")
        membership = Membership.objects.get(user=cast.bob)
        operator.post(url("jobs_membership_delete", membership.pk), {"post": "yes"})

        answers = [
            operator.post(url("jobs_team_delete", team.pk), {"post": "yes"}).status_code
            for team in (cast.team, empty)
        ]

        assert answers == [403, 302]
        assert AuditEntry.objects.get(kind="team").team_id is None


class TestRecordPages:
    def test_list_narrow_and_show_and_change_nothing(self, operator: Client, cast: Cast) -> None:
        membership = Membership.objects.get(user=cast.bob)
        operator.post(url("jobs_membership_delete", membership.pk), {"post": "yes"})
        number = only().number
        listed = url("jobs_auditentry_changelist")

        shown = operator.get(listed + "?group=admin").text
        other = operator.get(listed + "?group=money&act=money.sped_up").text
        one = url("jobs_auditentry_change", number)

        assert "Alice (operator)" in shown and "Alice (operator)" not in other.partition("</header>")[2]
        assert operator.get(listed + "?group=x&act=y&q=alice").status_code in (200, 302)
        assert 'name="_save"' not in operator.get(one).text
        assert operator.post(one, {"who": "Mallory"}).status_code == 403
        assert operator.get(url("jobs_auditentry_delete", number)).status_code == 403
        assert operator.get(url("jobs_auditentry_add")).status_code == 403
        assert "delete_selected" not in shown

    def test_are_closed_to_owners_who_are_no_operators(self, sign_in: Any) -> None:
        assert sign_in("bob").get(url("jobs_auditentry_changelist")).status_code == 302
