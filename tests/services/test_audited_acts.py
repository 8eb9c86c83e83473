"""Every act of a person is in the audit record once: a table of all addresses that take a form, and some that one looks at.

An address that takes a form and is neither in the table nor named beside it with a reason fails here.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.db import DatabaseError
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse
from django.utils import timezone

from jobs.lifecycle import State
from jobs.models import (
    Act,
    Asset,
    AuditEntry,
    EscrowAccount,
    Invitation,
    Job,
    JobEvent,
    Letter,
    Membership,
    NodeToken,
    SpendingLimit,
    Transaction,
    Wallet,
)
from jobs.models.teams import Role
from jobs.services import invitations, vault
from jobs.services.verifying import verify
from tests import builders
from tests.conftest import Cast
from tests.ocean.test_ddo import ALGORITHM, DID, recorded
from tests.repo.source import ROOT
from tests.services.fakes import FakeNode

CHANGED = (
    Job,
    JobEvent,
    Transaction,
    Asset,
    EscrowAccount,
    AuditEntry,
    Invitation,
    Letter,
    Membership,
    NodeToken,
    Wallet,
    SpendingLimit,
)
KEY = "0b5d1c9e-0000-4000-8000-000000000001"
FROM = "192.0.2.7"
DUMMIES: dict[str, Any] = {
    "UUIDConverter": uuid.UUID(int=1),
    "IntConverter": 1,
    "SlugConverter": "x",
    "StringConverter": "x",
}


class World:
    """A team with a bit of everything, and what is sent for each act."""

    def __init__(self, cast: Cast) -> None:
        self.cast = cast
        self.node = builders.make_node()
        self.environment = builders.make_environment(node=self.node)
        self.dataset = builders.make_asset(team=cast.team, node=self.node)
        self.algorithm = builders.make_asset(team=cast.team, node=self.node, kind=Asset.Kind.ALGORITHM)
        self.wallet = builders.make_wallet(team=cast.team)

    def job(self, state: State = State.RUNNING, **values: Any) -> Job:
        """Make a job of Bob's."""
        return builders.make_job(team=self.cast.team, state=state, launched_by=self.cast.bob, **values)

    def known(self) -> Asset:
        """Make an asset that the node knows."""
        return builders.make_asset(team=self.cast.team, node=self.node, did=DID)

    def waiting_job(self) -> Job:
        """Make a job that waits for a person."""
        return self.job(State.NEEDS_ATTENTION, attention_from=State.STARTING)

    def transaction(self) -> Transaction:
        """Make a transaction that has waited for a block for five minutes, behind a gap."""
        return builders.make_transaction(
            job=self.job(State.PAYING),
            status=Transaction.Status.SENT,
            sent_at=timezone.now() - timedelta(minutes=5),
            trouble=f"{Transaction.BEHIND_A_GAP}3 of this wallet.",
        )

    def account(self, **values: Any) -> EscrowAccount:
        """Make a place in an escrow."""
        return builders.make_account(wallet=self.wallet, **values)

    def invitation(self) -> int:
        """Make an invitation that was sent an hour ago."""
        return Invitation.objects.create(
            team=self.cast.team,
            email="dora@example.org",
            role=Role.VIEWER,
            created_at=timezone.now() - timedelta(hours=1),
            expires_at=timezone.now() + timedelta(days=1),
        ).pk

    def bob(self, role: Role = Role.LAUNCHER) -> int:
        """Return the number of Bob's membership."""
        membership = Membership.objects.get(user=self.cast.bob)
        Membership.objects.filter(pk=membership.pk).update(role=role)
        return membership.pk

    def token(self) -> int:
        """Make a token at the node."""
        return NodeToken.objects.create(
            wallet=self.wallet,
            node=self.node,
            encrypted_token=vault.seal(b"the token"),
            expires_at=timezone.now() + timedelta(days=1),
        ).pk

    def result(self) -> dict[str, Any]:
        """Make a result; return what its address needs."""
        row = builders.make_result(job=self.job(State.SUCCEEDED))
        return {"job_id": row.job_id, "result_id": row.pk}


@dataclass(frozen=True)
class Row:
    """What is sent to an address, and the entry that is written. kind: of what it was done to; "" is nothing.

    also: entries of what the act brings with it.
    """

    act: Act
    kind: str
    make: Callable[[World], Mapping[str, Any]] = lambda world: {}
    data: Callable[[World], Mapping[str, Any]] = lambda world: {}
    method: str = "post"
    also: tuple[Act, ...] = ()


def launched(world: World) -> dict[str, Any]:
    """Return a launch form, filled in."""
    return {
        "launch_key": KEY,
        "datasets": [world.dataset.did],
        "algorithm": world.algorithm.did,
        "environment": "free",
        "wallet": "demo",
        "max_duration_s": "60",
        "queue_wait_s": "",
        "name": "Waves",
        "parameters": "",
    }


def over(world: World) -> dict[str, Any]:
    """Return an account whose locks, of two payees, are over their time."""
    locks = [builders.make_lock(id=str(i), payee=f"0x{i:040x}", expires_at=1) for i in (1, 2)]
    return {"account_id": world.account(locks=locks).pk}


def with_another_owner(world: World) -> dict[str, Any]:
    """Make Bob an owner too, so that Alice can leave."""
    world.bob(Role.OWNER)
    return {}


TABLE: dict[str, Row] = {
    "launch": Row(Act.JOB_LAUNCHED, "job", data=launched),
    "jobs-stop": Row(Act.JOB_STOPPED, "job", lambda w: {"job_id": w.job().pk}),
    "jobs-rerun": Row(
        Act.JOB_LAUNCHED,
        "job",
        lambda w: {"job_id": w.job(State.SUCCEEDED).pk},
        lambda w: {"launch_key": KEY},
    ),
    "jobs-go-on": Row(Act.JOB_GONE_ON, "job", lambda w: {"job_id": w.waiting_job().pk}),
    "jobs-give-up": Row(Act.JOB_GIVEN_UP, "job", lambda w: {"job_id": w.waiting_job().pk}),
    "catalogue-add": Row(Act.ASSET_ADDED, "asset", data=lambda w: {"did": DID}),
    "catalogue-refresh": Row(Act.ASSET_READ_AGAIN, "asset", lambda w: {"asset_id": w.known().pk}),
    "escrow-withdraw": Row(
        Act.ESCROW_WITHDRAWN,
        "escrow",
        lambda w: {"account_id": w.account().pk},
        lambda w: {"amount": "1.5", "agreed": "yes"},
    ),
    "escrow-release": Row(Act.ESCROW_RELEASED, "escrow", over),
    "transactions-speed-up": Row(
        Act.TRANSACTION_SPED_UP, "transaction", lambda w: {"transaction_id": w.transaction().pk}
    ),
    "transactions-cancel": Row(
        Act.TRANSACTION_CANCELLED, "transaction", lambda w: {"transaction_id": w.transaction().pk}
    ),
    "transactions-fill": Row(Act.GAP_FILLED, "transaction", lambda w: {"transaction_id": w.transaction().pk}),
    "members-invite": Row(
        Act.INVITED,
        "invitation",
        data=lambda w: {"invite-email": "dora@example.org", "invite-role": "viewer"},
    ),
    "members-resend": Row(Act.INVITED_AGAIN, "invitation", lambda w: {"invitation_id": w.invitation()}),
    "members-revoke": Row(Act.INVITATION_REVOKED, "invitation", lambda w: {"invitation_id": w.invitation()}),
    "members-role": Row(
        Act.ROLE_CHANGED, "member", lambda w: {"member_id": w.bob()}, lambda w: {"role": "curator"}
    ),
    "members-remove": Row(Act.MEMBER_REMOVED, "member", lambda w: {"member_id": w.bob()}),
    "members-leave": Row(Act.LEFT, "member", with_another_owner),
    "wallets-generate": Row(
        Act.WALLET_ADDED, "wallet", data=lambda w: {"new-label": "harbour"}, also=(Act.GRANTED,)
    ),
    "wallets-disable": Row(Act.WALLET_DISABLED, "wallet", lambda w: {"wallet_id": w.wallet.pk}),
    "wallets-limit": Row(
        Act.LIMIT_SET,
        "wallet",
        data=lambda w: {
            "limit-wallet": w.wallet.pk,
            "limit-token": builders.make_token().pk,
            "limit-amount": "2",
        },
    ),
    "wallets-tokens": Row(
        Act.NODE_TOKEN_WANTED,
        "wallet",
        lambda w: {"wallet_id": w.wallet.pk},
        lambda w: {"token-node": w.node.pk},
    ),
    "wallets-tokens-give-back": Row(
        Act.NODE_TOKEN_GIVEN_BACK, "wallet", lambda w: {"wallet_id": w.wallet.pk, "token_id": w.token()}
    ),
    # Looked at, and in the record all the same.
    "result-detail": Row(Act.LOOKED, "job", World.result, method="get"),
    "result-inline": Row(Act.LOOKED, "job", World.result, method="get"),
    "result-download": Row(Act.DOWNLOADED, "job", World.result, method="get"),
    "record-export": Row(Act.RECORD_EXPORTED, "", lambda w: {"kind": "csv"}, method="get"),
}

# Their own tests count the entries; the file is named.
ELSEWHERE: dict[str, str] = {
    **dict.fromkeys(
        ("wallets-import", "wallets-watch", "wallets-enable"),
        "tests/services/test_wallets.py",
    ),
    "wallets-hand-over": "tests/services/test_handovers.py",
    **dict.fromkeys(("wallets-grant", "wallets-take-back"), "tests/services/test_grants.py"),
    **dict.fromkeys(("login", "logout", "sessions-end", "organisation"), "tests/views/test_accounts.py"),
    **dict.fromkeys(
        (
            *("account_change_password", "account_confirm_email", "account_email", "account_login"),
            *("account_logout", "account_reset_password_from_key", "account_set_password", "account_signup"),
            *("mfa_activate_totp", "mfa_add_webauthn", "mfa_deactivate_totp", "mfa_generate_recovery_codes"),
            *("mfa_authenticate", "mfa_login_webauthn", "mfa_remove_webauthn"),
        ),
        "tests/views/test_accounts.py",
    ),
    "invitation": "tests/services/test_audited_acts.py",
    "profile": "tests/views/test_profile.py",
    "settings-change": "tests/services/test_settings.py",
    **dict.fromkeys(("share", "share-revoke", "shared"), "tests/services/test_sharing.py"),
}

NO_ACTS: dict[str, str] = {
    "launch-quote": "asks what a launch would cost, and changes nothing",
    "escrow-look": "asks for what the worker reads anyway, earlier",
    "account_reauthenticate": "shows once more who one is, inside of a session",
    "mfa_reauthenticate": "as above",
    "mfa_reauthenticate_webauthn": "as above",
    "account_reset_password": "asks for an e-mail; the new password is in the record",
    "mfa_download_recovery_codes": "gone: it answers to nobody",
    "mfa_edit_webauthn": "what a passkey is called",
    "wallets-balances-look": "asks for what the worker reads anyway, earlier",
    "favicon": "a redirect, which takes every method",
}


@pytest.fixture
def world(cast: Cast, far: FakeNode) -> World:
    """A team, and a node that knows what is added to its catalogue."""
    far.ddos = {DID: recorded(), ALGORITHM: recorded(ALGORITHM)}
    return World(cast)


@pytest.fixture
def owner(cast: Cast) -> Client:
    """Alice's browser, somewhere on the internet."""
    client = Client(REMOTE_ADDR=FROM)
    client.force_login(cast.alice)
    return client


def send(client: Client, name: str, world: World) -> Any:
    """Do what a row of the table says."""
    row = TABLE[name]
    url = reverse(name, kwargs={"team": "coastal", **row.make(world)})
    answer = getattr(client, row.method)(url, row.data(world))
    answer.close()  # a file that is sent is open until then
    return answer


def entries() -> list[AuditEntry]:
    """Return what was written of acts of people of the team."""
    return list(AuditEntry.objects.exclude(act__startswith="account.").order_by("number"))


@dataclass(frozen=True)
class Address:
    """One address of the portal: its name, and what stands for the parts of it."""

    name: str
    parts: dict[str, Any] = field(default_factory=dict)


def addresses(resolver: URLResolver, *, space: str = "", above: Mapping[str, Any] = {}) -> Iterator[Address]:
    """Yield every address with a name, the operators' pages aside: a mixin of theirs is tested by itself."""
    for pattern in resolver.url_patterns:
        converters = pattern.pattern.converters
        known = {name: DUMMIES[type(by).__name__] for name, by in converters.items()}
        by_expression = dict.fromkeys(pattern.pattern.regex.groupindex.keys() - converters.keys(), "x")
        parts = {**above, **known, **by_expression}
        parts |= {"team": "coastal"} if "team" in parts else {}
        if isinstance(pattern, URLPattern):
            if pattern.name:
                yield Address(space + pattern.name, parts)
        elif pattern.namespace != "admin":
            inner = f"{space}{pattern.namespace}:" if pattern.namespace else space
            yield from addresses(pattern, space=inner, above=parts)


class TestTable:
    def test_has_every_address_that_takes_a_form(self, owner: Client) -> None:
        known = set(TABLE) | set(ELSEWHERE) | set(NO_ACTS)
        takes_forms = set()
        for address in addresses(get_resolver()):
            answer = owner.put(reverse(address.name, kwargs=address.parts))
            if answer.status_code != 405 or "POST" in answer.headers["Allow"]:
                takes_forms.add(address.name)

        assert sorted(takes_forms - known) == []
        written_by_a_look = {name for name, row in TABLE.items() if row.method == "get"}
        assert known - written_by_a_look - takes_forms == set()  # no line is left over

    def test_names_tests_that_are_there(self) -> None:
        assert [path for path in ELSEWHERE.values() if not (ROOT / path).exists()] == []

    @pytest.mark.parametrize("name", TABLE)
    def test_act_writes_its_one_entry(self, owner: Client, world: World, name: str) -> None:
        row = TABLE[name]

        answer = send(owner, name, world)

        assert answer.status_code in (200, 302, 404 if name == "result-inline" else 200), answer
        assert [entry.act for entry in entries()] == [row.act, *row.also]
        entry = entries()[0]
        assert (entry.who, entry.user_number, entry.origin) == ("Alice", world.cast.alice.pk, FROM)
        assert (entry.team_id, entry.kind) == (world.cast.team.pk, row.kind)
        assert abs(entry.at - timezone.now()) < timedelta(minutes=1)
        assert verify(tell=print).whole

    @pytest.mark.parametrize("name", TABLE)
    def test_act_fails_with_its_entry(
        self, owner: Client, world: World, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*args: Any, **kwargs: Any) -> None:
            raise DatabaseError("the disk is full")

        row = TABLE[name]
        url = reverse(name, kwargs={"team": "coastal", **row.make(world)})
        data = row.data(world)
        before = state_of_all()
        monkeypatch.setattr(AuditEntry, "save", full)

        with pytest.raises(DatabaseError, match="the disk is full"):
            getattr(owner, row.method)(url, data)

        assert state_of_all() == before


def state_of_all() -> dict[str, Any]:
    """Return what any act of the table would change."""
    return {model.__name__: list(model._default_manager.order_by("pk").values()) for model in CHANGED}


class TestLaunch:
    def test_says_what_runs_where_and_what_it_may_cost(self, owner: Client, world: World) -> None:
        send(owner, "launch", world)

        (entry,) = entries()
        assert (entry.object_id, entry.object_name) == (str(Job.objects.get().pk), "Waves")
        assert entry.after == {
            "datasets": [f"Buoys 2025 ({world.dataset.did})"],
            "algorithm": f"Linear regression ({world.algorithm.did})",
            "node": "Harbour node",
            "environment": "Paid and free environment",
            "wallet": "demo",
            "address": world.wallet.address,
            "free": True,
        }

    def test_of_a_double_click_is_one(self, owner: Client, world: World) -> None:
        send(owner, "launch", world)
        send(owner, "launch", world)

        assert [entry.act for entry in entries()] == [Act.JOB_LAUNCHED]

    def test_in_the_place_of_another_ends_that_one_in_the_record_too(
        self, owner: Client, world: World
    ) -> None:
        old = world.waiting_job()
        url = reverse("launch", kwargs={"team": "coastal"})

        owner.post(url, launched(world) | {"instead_of": str(old.pk)})

        ended, begun = entries()
        assert (ended.act, ended.object_id) == (Act.JOB_GIVEN_UP, str(old.pk))
        assert ended.after == {"state": State.CANCELLED, "replaced by": begun.object_id}
        assert (begun.act, begun.after["in the place of"]) == (Act.JOB_LAUNCHED, str(old.pk))


class TestJoin:
    def test_is_in_the_record_of_the_team(self, world: World) -> None:
        dora = builders.make_user("dora", email="dora@example.org")
        EmailAddress.objects.create(user=dora, email=dora.email, verified=True, primary=True)
        token = invitations.token_of(Invitation.objects.get(pk=world.invitation()))
        browser = Client(REMOTE_ADDR=FROM)
        browser.force_login(dora)

        for _ in range(2):
            browser.post(reverse("invitation", kwargs={"token": token}))

        (entry,) = entries()
        assert (entry.act, entry.who, entry.origin) == (Act.JOINED, "Dora", FROM)
        assert (entry.team_id, entry.after["role"]) == (world.cast.team.pk, "viewer")


class TestNothing:
    @pytest.mark.parametrize("name", ["jobs-stop", "jobs-go-on", "jobs-give-up"])
    def test_is_written_where_nothing_is_done(self, owner: Client, world: World, name: str) -> None:
        ended = world.job(State.SUCCEEDED)

        owner.post(reverse(name, kwargs={"team": "coastal", "job_id": ended.pk}))

        assert entries() == []

    @pytest.mark.parametrize("act", ["speed-up", "cancel", "fill"])
    def test_is_written_where_it_is_refused(self, owner: Client, world: World, act: str) -> None:
        tx = builders.make_transaction(job=world.job(State.PAYING))

        owner.post(reverse(f"transactions-{act}", kwargs={"team": "coastal", "transaction_id": tx.pk}))

        assert entries() == []


class TestLooks:
    def test_of_one_person_at_one_file_are_one_for_an_hour(
        self, owner: Client, bob_s: Client, world: World
    ) -> None:
        place = world.result()
        other = builders.make_result(job=Job.objects.get(pk=place["job_id"]), name="other.csv")
        url = reverse("result-detail", kwargs={"team": "coastal", **place})

        for _ in range(3):
            owner.get(url)
        bob_s.get(url)
        owner.get(reverse("result-detail", kwargs={"team": "coastal", **place, "result_id": other.pk}))

        assert [(entry.who, entry.after["result_id"]) for entry in entries()] == [
            ("Alice", place["result_id"]),
            ("Bob", place["result_id"]),
            ("Alice", other.pk),
        ]

    def test_are_told_again_after_it(
        self, owner: Client, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        url = reverse("result-detail", kwargs={"team": "coastal", **world.result()})
        owner.get(url)
        later = timezone.now() + timedelta(minutes=61)
        monkeypatch.setattr("jobs.views.results.timezone.now", lambda: later)  # the edge's clock

        owner.get(url)

        assert len(entries()) == 2

    @pytest.fixture
    def bob_s(self, cast: Cast) -> Client:
        """Bob's browser."""
        client = Client()
        client.force_login(cast.bob)
        return client
