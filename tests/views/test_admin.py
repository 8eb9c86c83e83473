"""The operator's pages: each opens, what services write stays, secrets stay out, actions call services."""

from __future__ import annotations

from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import Permission
from django.db import transaction
from django.db.models import Model
from django.test import Client
from django.urls import reverse

from jobs.access import Person
from jobs.lifecycle import State
from jobs.models import (
    Act,
    ChainNonce,
    EscrowAccount,
    Job,
    JobEvent,
    Network,
    NodeToken,
    NonceLease,
    Reconciliation,
    SpendingLimit,
    Transaction,
)
from jobs.services import audit, catalogue, vault
from tests import builders
from tests.conftest import Cast

MODELS = sorted(apps.get_app_config("jobs").get_models(), key=lambda model: model.__name__)
RECORDS = [model for model in MODELS if not model._meta.proxy]
EDITED_BY_HAND = {"Team", "Membership", "User", "Network", "Node"}
names = {"ids": lambda model: model.__name__}


def url(model: type[Model], page: str, *args: Any) -> str:
    """Return the address of one of a record's admin pages."""
    return reverse(f"admin:jobs_{model._meta.model_name}_{page}", args=args)


@pytest.fixture
def operator(cast: Cast) -> Client:
    """The browser of a superuser."""
    cast.alice.is_staff = cast.alice.is_superuser = True
    cast.alice.save()
    client = Client()
    client.force_login(cast.alice)
    return client


@pytest.fixture
def records(cast: Cast) -> Job:
    """One record of every kind; the job they hang on."""
    node = builders.make_node()
    environment = builders.make_environment(node=node)
    wallet = builders.make_wallet(team=cast.team)
    job = builders.make_job(
        team=cast.team, state=State.RUNNING, node=node, environment=environment, wallet=wallet
    )
    builders.make_invitation(team=cast.team)
    builders.make_log(job=job, text="a line\n")
    builders.make_link(job=job, result=builders.make_result(job=job))
    builders.beat()
    builders.make_order(job=job)
    builders.make_limit(wallet=wallet)
    builders.make_grant(wallet=wallet, user=cast.bob)
    builders.make_account(wallet=wallet)
    builders.make_balances(wallet=wallet)
    builders.make_comparison({"kind": "gap", "about": wallet.address, "sentence": "<b>2</b> are missing."})
    ChainNonce.objects.create(network=node.network, address=wallet.address)
    NonceLease.objects.create(node=node, address=wallet.address)
    NodeToken.objects.create(
        wallet=wallet, node=node, encrypted_token=vault.seal(b"the token"), expires_at=builders.NOW
    )
    node.budget = (
        node.budget if hasattr(node, "budget") else type(node).budget.related.related_model(node=node)
    )
    node.budget.save()
    with transaction.atomic():
        audit.record(act=Act.SIGNED_IN, by=Person(user_id=None, name="Alice"), now=builders.NOW)
    return job


def test_every_record_has_pages() -> None:
    assert {model for model in RECORDS if not admin.site.is_registered(model)} == set()


@pytest.mark.parametrize("model", RECORDS, **names)
class TestPages:
    def test_list_and_search(self, operator: Client, records: Job, model: type[Model]) -> None:
        search = "?q=a" if admin.site.get_model_admin(model).search_fields else ""

        assert operator.get(url(model, "changelist") + search).status_code == 200

    def test_show_one(self, operator: Client, records: Job, model: type[Model]) -> None:
        row = model._default_manager.first()
        assert row is not None

        assert operator.get(url(model, "change", row.pk)).status_code == 200

    def test_are_read_only_unless_written_by_hand(
        self, operator: Client, records: Job, model: type[Model]
    ) -> None:
        row = model._default_manager.first()
        assert row is not None
        by_hand = model.__name__ in EDITED_BY_HAND

        added = operator.get(url(model, "add")).status_code
        deleted = operator.get(url(model, "delete", row.pk)).status_code
        shown = operator.get(url(model, "change", row.pk)).text

        assert (added == 200, deleted == 200, 'name="_save"' in shown) == (by_hand,) * 3

    def test_show_no_secret(self, operator: Client, records: Job, model: type[Model]) -> None:
        row = model._default_manager.first()
        assert row is not None

        html = operator.get(url(model, "change", row.pk)).text + operator.get(url(model, "changelist")).text

        assert "encrypted" not in html.lower()
        assert "gAAAA" not in html  # how every Fernet token begins
        assert "signed bytes" not in html  # what the builder signs

    def test_are_closed_to_members(self, bob: Client, records: Job, model: type[Model]) -> None:
        assert bob.get(url(model, "changelist")).status_code == 302


def act(client: Client, action: str, *rows: Model) -> str:
    """Run an action on rows and return the page that follows."""
    return client.post(
        url(type(rows[0]), "changelist"),
        {"action": action, "_selected_action": [str(row.pk) for row in rows]},
        follow=True,
    ).text


class TestJobActions:
    def test_cancel_notes_the_wish_with_the_operator_s_name(self, operator: Client, records: Job) -> None:
        html = act(operator, "cancel", records)

        records.refresh_from_db()
        wish = JobEvent.objects.get(kind=JobEvent.Kind.STOP_WISH)
        assert records.cancel_requested_at is not None
        assert "(operator)" in wish.message
        assert "1 job: asked to stop." in html

    def test_cancel_says_what_had_ended(self, operator: Client, cast: Cast, records: Job) -> None:
        ended = builders.make_job(team=cast.team, state=State.SUCCEEDED)

        html = act(operator, "cancel", records, ended)

        assert "1 job: asked to stop." in html
        assert "1 job: had ended, or was asked to stop before." in html

    def test_ask_now_makes_active_jobs_due(self, operator: Client, cast: Cast, records: Job) -> None:
        ended = builders.make_job(team=cast.team, state=State.FAILED)

        html = act(operator, "ask_now", records, ended)

        records.refresh_from_db()
        ended.refresh_from_db()
        assert records.next_check_at is not None
        assert ended.next_check_at is None
        assert "looks at 1 active job at its next beat" in html

    def test_are_refused_to_staff_who_may_only_look(self, cast: Cast, records: Job) -> None:
        cast.vera.is_staff = True
        cast.vera.save()
        cast.vera.user_permissions.add(Permission.objects.get(codename="view_job"))
        looker = Client()
        looker.force_login(cast.vera)

        page = looker.get(url(Job, "changelist"))
        act(looker, "cancel", records)

        records.refresh_from_db()
        assert page.status_code == 200
        assert records.cancel_requested_at is None


class TestOtherActions:
    def test_look_now_makes_nodes_due(self, operator: Client, records: Job) -> None:
        html = act(operator, "look_now", records.node)

        records.node.refresh_from_db()
        assert records.node.next_look_at is not None
        assert "asks 1 node at its next beat" in html

    def test_saving_a_new_node_makes_it_due(self, operator: Client, cast: Cast) -> None:
        network = builders.make_network()

        operator.post(
            reverse("admin:jobs_node_add"),
            {
                "name": "New node",
                "base_url": "https://node.example",
                "unasked": "on",
                "dialect": "ocean-node",
                "network": network.pk,
                "requests_per_minute": "30",
            },
        )

        assert network.nodes.get().next_look_at is not None

    def test_disable_stops_launching_with_a_wallet(self, operator: Client, records: Job) -> None:
        html = act(operator, "disable", records.wallet)

        records.wallet.refresh_from_db()
        assert records.wallet.disabled_at is not None
        assert "1 wallet: disabled." in html

    def test_give_back_uses_a_token_no_longer(self, operator: Client, records: Job) -> None:
        html = act(operator, "give_back", NodeToken.objects.get())

        assert not NodeToken.objects.get().wanted
        assert "1 token: given back by the worker." in html

    def test_read_again_tells_of_each_failure(
        self, operator: Client, cast: Cast, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        node = builders.make_node()
        good = builders.make_asset(team=cast.team, node=node, name="Good")
        lost = builders.make_asset(team=cast.team, node=node, name="Lost")

        def refresh(*, actor: Any, asset_id: int, clock: Any) -> None:
            if asset_id == lost.pk:
                raise catalogue.NodesUnreachable("No node answers.")

        # Patched by name: the node behind the service is what its own tests are about.
        monkeypatch.setattr(catalogue, "refresh", refresh)

        html = act(operator, "read_again", good, lost)

        assert "Lost: No node answers." in html
        assert "1 asset: read again." in html


class TestMoney:
    def test_names_earlier_versions_of_a_transaction_without_their_bytes(
        self, operator: Client, records: Job
    ) -> None:
        row = builders.make_transaction(
            job=records, earlier=[{"tx_hash": "0xabc", "cancels": True, "signed": "0x5ec4e7"}]
        )

        html = operator.get(url(Transaction, "change", row.pk)).text

        assert "0xabc (cancels)" in html and "5ec4e7" not in html

    def test_is_told_in_tokens_with_every_digit(self, operator: Client, records: Job) -> None:
        EscrowAccount.objects.update(available_wei=2**256 - 1)

        html = operator.get(url(EscrowAccount, "changelist")).text
        limits = operator.get(url(SpendingLimit, "changelist")).text

        assert "115,792,089,237,316,195,423,570,985,008,687,907,853,269,984,665,640,564,039,457.58" in html
        assert "10.000000000000000000 OCEAN" in limits

    def test_differences_are_listed_as_text(self, operator: Client, records: Job) -> None:
        row = Reconciliation.objects.get()

        html = operator.get(url(Reconciliation, "change", row.pk)).text

        assert f"<b>gap</b> {records.wallet.address}: &lt;b&gt;2&lt;/b&gt; are missing." in html

    def test_agreement_is_said(self, operator: Client, records: Job) -> None:
        row = builders.make_comparison()

        assert "Nothing differs." in operator.get(url(Reconciliation, "change", row.pk)).text

    def test_addresses_of_a_network_say_what_they_are_trusted_with(
        self, operator: Client, records: Job
    ) -> None:
        html = operator.get(reverse("admin:jobs_network_add")).text

        assert "Only these are paid" in html
        assert "FixedPrice (the exchange), Escrow" in html

    def test_network_can_be_added(self, operator: Client, records: Job) -> None:
        form = operator.get(reverse("admin:jobs_network_add")).context["adminform"].form
        shown = {name: form[name].value() for name in form.fields}
        entered = {name: value for name, value in shown.items() if value not in (None, False)}

        entered |= {"name": "Polygon", "chain_id": 137, "contracts": "{}", "max_gas_wei": str(10**20)}
        answer = operator.post(reverse("admin:jobs_network_add"), entered)

        assert answer.status_code == 302
        assert Network.objects.get(chain_id=137).max_gas_wei == 10**20


class TestLogInline:
    def test_shows_only_the_last_pieces(
        self, operator: Client, records: Job, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("jobs.admin.work.LOG_PIECES", 2)
        for _ in range(3):
            builders.make_log(job=records, text="more\n")

        html = operator.get(url(Job, "change", records.pk)).text

        assert 'name="log_chunks-TOTAL_FORMS" value="2"' in html
