"""Two teams with everything in them, and a person of every role: what the matrix of roles is tried on.

Made once for a module, inside a transaction that is rolled back at its end; each request is rolled back on its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.test import Client
from django.utils import timezone

from jobs.lifecycle import State
from jobs.models import Asset, Job, Node, NodeToken, Team, Transaction, User, Wallet
from jobs.models.teams import Role
from jobs.services import vault
from tests import builders

PNG = b"\x89PNG\r\n\x1a\n" + bytes(24)
FAR_AWAY = datetime(2100, 1, 1, tzinfo=UTC)
COLLEAGUE, OUTSIDER, NOBODY, STRANGER = "colleague", "outsider", "nobody", "stranger"


@dataclass
class World:
    """Who there is, by role or by name, each with a browser; and what belongs to whom.

    things: the parts of an address that name an object, by kind of object and whose it is: a person's (a role, or a name
    above) or, for what belongs to a whole team, the team's slug.
    """

    browsers: dict[str, Client] = field(default_factory=dict)
    things: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)

    def thing(self, kind: str, *, whose: str) -> dict[str, Any]:
        """Return the parts of an address that name an object of this kind."""
        team = "offshore" if whose == OUTSIDER else "coastal"
        return self.things.get((kind, whose)) or self.things[(kind, team)]


def make_world() -> World:
    """Fill the database, and sign everybody in."""
    builders.beat(timezone.now())
    # No node and no chain can be reached from here: an address of this machine is refused before anything is sent.
    node = builders.make_node(allow_private=False)
    builders.make_environment(node=node)
    # One more: a wallet asks for a token where it has none yet.
    builders.make_provider_node(allow_private=False)
    world = World(browsers={STRANGER: Client()})
    coastal, offshore = builders.make_team(), builders.make_team("offshore", name="Offshore Lab")
    for team in (coastal, offshore):
        _furnish(world, team)
    _join(world, offshore, OUTSIDER, Role.OWNER)
    for role in Role:
        _join(world, coastal, role, role)
    _join(world, coastal, COLLEAGUE, Role.LAUNCHER)
    _sign_in(world, NOBODY, builders.make_user(NOBODY))
    return world


@contextmanager
def undone() -> Iterator[list[str]]:
    """Undo what happens inside; collect the statements that wrote something, sessions aside."""
    wrote: list[str] = []

    def watch(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.startswith(("INSERT", "UPDATE", "DELETE")) and '"django_session"' not in sql:
            wrote.append(sql)
        return execute(sql, params, many, context)

    with tests_own_transaction(), connection.execute_wrapper(watch):
        yield wrote


@contextmanager
def tests_own_transaction() -> Iterator[None]:
    """Undo what happens inside, and be no transaction of the portal's own: inside one it would call no far side."""
    block = transaction.atomic()
    block._from_testcase = True
    with block:
        yield
        transaction.set_rollback(True)


def _join(world: World, team: Team, name: str, role: Role) -> None:
    """Make a member who has launched a job of every sort."""
    user = builders.make_member(team=team, username=f"{name}-member", role=role)
    _sign_in(world, name, user)
    for kind, state, more in (
        ("running", State.RUNNING, {}),
        ("waiting", State.NEEDS_ATTENTION, {"attention_from": "RUNNING"}),
        ("ended", State.SUCCEEDED, {}),
    ):
        job = builders.make_job(team=team, state=state, launched_by=user, name=f"{name}, {kind}", **more)
        world.things[kind, name] = {"job_id": job.pk}
    builders.make_log(job=Job.objects.get(name=f"{name}, running"), text="a line\n")
    output = builders.make_result(job=job, name="chart.png", data=PNG)
    log = builders.make_result(job=job, name="algorithm.log", kind="algorithmLog", data=b"a line\n")
    link = builders.make_link(job=job, created_by=user)
    world.things["link", name] = {"job_id": job.pk, "link_id": link.pk}
    world.things["output", name] = {"job_id": job.pk, "result_id": output.pk}
    world.things["log", name] = {"job_id": job.pk, "result_id": log.pk}


def _sign_in(world: World, name: str, user: User) -> None:
    world.browsers[name] = Client()
    world.browsers[name].force_login(user)


def _furnish(world: World, team: Team) -> None:
    """Give a team what belongs to all of it."""
    wallet = builders.make_wallet(team=team)
    node = Node.objects.get(dialect=Node.Dialect.OCEAN_NODE)
    asset = Asset.objects.filter(team=team).first() or builders.make_asset(team=team, node=node)
    account = builders.make_account(wallet=wallet, locks=[builders.make_lock(expires_at=1)])
    guest = builders.make_member(team=team, username=f"{team.slug}-guest", role=Role.VIEWER)
    builders.make_grant(wallet=wallet, user=guest)
    invitation = builders.make_invitation(team=team, role=Role.VIEWER)
    token = NodeToken.objects.create(
        wallet=wallet, node=node, encrypted_token=vault.seal(b"t"), expires_at=FAR_AWAY
    )
    laid_up = builders.make_wallet(
        team=team, label="laid up", address="0x" + "22" * 20, disabled_at=builders.NOW
    )
    world.things |= {
        ("", team.slug): {},
        ("disabled wallet", team.slug): {"wallet_id": laid_up.pk},
        ("format", team.slug): {"kind": "csv"},
        ("member", team.slug): {"member_id": guest.memberships.get().pk},
        ("invitation", team.slug): {"invitation_id": invitation.pk},
        ("node token", team.slug): {"wallet_id": wallet.pk, "token_id": token.pk},
        ("wallet", team.slug): {"wallet_id": wallet.pk},
        ("grant", team.slug): {"wallet_id": wallet.pk, "user_id": guest.pk},
        ("asset", team.slug): {"asset_id": asset.pk},
        ("account", team.slug): {"account_id": account.pk},
        ("transaction", team.slug): {"transaction_id": _stuck(wallet).pk},
    }


def _stuck(wallet: Wallet) -> Transaction:
    """Make a transaction that waits behind a gap, so that all that can be wished of one is offered."""
    return builders.make_act(
        wallet=wallet,
        status=Transaction.Status.SENT,
        trouble=f"{Transaction.BEHIND_A_GAP}3 of this wallet.",
        sent_at=timezone.now() - timedelta(minutes=5),
    )
