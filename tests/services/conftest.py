"""The far sides of the services, and a database on disk where real threads meet."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from django.db import connections

from jobs.access import Actor
from jobs.models import Asset, Environment, Job, Node, Team, User, Wallet
from jobs.models.teams import Role
from jobs.services import gateway
from tests import builders
from tests.conftest import Cast
from tests.services.databases import PostgreSQL
from tests.services.fakes import Clock, FakeNode, FarSides


@dataclass(frozen=True)
class Place:
    """What a launch needs."""

    node: Node
    environment: Environment
    dataset: Asset
    algorithm: Asset
    wallet: Wallet


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def far_sides(monkeypatch: pytest.MonkeyPatch) -> FarSides:
    """Nodes in memory. Patched by name, because the gateway is where rows become clients: everything above it is real."""
    sides = FarSides()
    monkeypatch.setattr(gateway, "Transport", sides.transport)
    monkeypatch.setattr(gateway, "OceanNode", sides.client)
    return sides


@pytest.fixture
def far(far_sides: FarSides) -> FakeNode:
    """The far side of builders.make_node."""
    return far_sides.at("http://127.0.0.1:8001")


@pytest.fixture
def team(cast: Cast) -> Team:
    return cast.team


@pytest.fixture
def job(team: Team) -> Job:
    """A job that was launched a moment ago."""
    return builders.make_job(
        team=team, requested_at=builders.NOW, next_check_at=builders.NOW, parameters={"column": "height"}
    )


def actor_for(user: User | None, *, team: Team, role: Role) -> Actor:
    """Return a member as services see them."""
    return Actor(
        user_id=user.pk if user else None, name=str(user or "the operator"), team_id=team.pk, role=role
    )


@pytest.fixture
def alice(cast: Cast) -> Actor:
    return actor_for(cast.alice, team=cast.team, role=Role.OWNER)


@pytest.fixture
def bob(cast: Cast) -> Actor:
    return actor_for(cast.bob, team=cast.team, role=Role.LAUNCHER)


@pytest.fixture
def vera(cast: Cast) -> Actor:
    return replace(
        actor_for(cast.vera, team=cast.team, role=Role.VIEWER), lets=frozenset({"viewers_see_results"})
    )


@pytest.fixture
def charlie(cast: Cast) -> Actor:
    return actor_for(cast.charlie, team=cast.other_team, role=Role.OWNER)


@pytest.fixture
def on_disk(transactional_db: None, tmp_path: Path) -> Iterator[None]:
    """Move the test's database into a file: threads of one process cannot share SQLite's database in memory."""
    ours = connections["default"]
    ours.ensure_connection()
    path = tmp_path / "portal.sqlite3"
    with sqlite3.connect(path) as copy:
        ours.connection.backup(copy)
    copy.close()
    name = connections.settings["default"]["NAME"]
    connections.settings["default"]["NAME"] = str(path)
    connections["default"] = connections.create_connection("default")
    yield
    connections["default"].close()
    connections.settings["default"]["NAME"] = name
    connections["default"] = ours


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[PostgreSQL]:
    """A PostgreSQL server of the tests' own."""
    server = PostgreSQL()
    yield server
    server.stop()


@pytest.fixture(params=["sqlite", "postgresql"])
def each_database(request: pytest.FixtureRequest, transactional_db: None) -> Iterator[str]:
    """Run a test on SQLite in a file and on PostgreSQL: what commits is seen by other threads."""
    if request.param == "sqlite":
        request.getfixturevalue("on_disk")
        yield request.param
        return
    server: PostgreSQL = request.getfixturevalue("postgresql_server")
    with server.fresh():
        yield request.param


def run_together(*acts: Callable[[], Any]) -> list[Any]:
    """Run functions in threads of their own, each with its own connection; return values or errors in order."""
    outcomes: list[Any] = [None] * len(acts)

    def run(i: int, act: Callable[[], Any]) -> None:
        try:
            outcomes[i] = act()
        except Exception as error:
            outcomes[i] = error
        finally:
            connections.close_all()

    threads = [Thread(target=run, args=(i, act)) for i, act in enumerate(acts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    return outcomes


@pytest.fixture
def place(team: Team) -> Place:
    """A node with an environment, and a dataset, an algorithm and a wallet of the team."""
    node = builders.make_node()
    return Place(
        node=node,
        environment=builders.make_environment(node=node),
        dataset=builders.make_asset(team=team, node=node),
        algorithm=builders.make_asset(team=team, node=node, kind="algorithm"),
        wallet=builders.granted(builders.make_wallet(team=team)),
    )


@pytest.fixture(scope="session")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A chain with what the tests spend; each test puts it back. Imported here: its engine takes a second to load."""
    from ocean_portal.sandbox.chain import Chain
    from tests.services.quay import deployed_on

    chain = Chain(tmp_path_factory.mktemp("chain"), clock=lambda: builders.NOW.timestamp())
    yield deployed_on(chain)
    chain.close()


@pytest.fixture
def quay(team: Team, deployed: Any, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A Provider over a real chain. Patched by name, because the gateway is where rows become clients."""
    from tests.services.quay import make_quay

    before = deployed.chain.rpc("evm_snapshot", [])
    deployed.chain.rpc("evm_setAutomine", [True])
    made = make_quay(team=team, deployed=deployed, clock=clock)
    monkeypatch.setattr(gateway, "Transport", made.transport)
    monkeypatch.setattr(gateway, "Provider", made.provider)
    yield made
    deployed.chain.rpc("evm_revert", [before])


@pytest.fixture(scope="session")
def priced(deployed: Any) -> Any:
    """Datatokens that are sold, on the same chain."""
    from tests.services.tollhouse import priced_on

    return priced_on(deployed)


@pytest.fixture
def tollhouses(
    team: Team, deployed: Any, priced: Any, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], Any]]:
    """Open a paid service of a dialect. Patched by name, because the gateway is where rows become clients."""
    from tests.services.tollhouse import make_tollhouse

    before = deployed.chain.rpc("evm_snapshot", [])
    deployed.chain.rpc("evm_setAutomine", [True])

    def opened(dialect: str) -> Any:
        made = make_tollhouse(team=team, deployed=deployed, sold=priced, clock=clock, dialect=dialect)
        monkeypatch.setattr(gateway, "Transport", made.transport)
        monkeypatch.setattr(
            gateway, "Provider" if dialect == Node.Dialect.PROVIDER else "OceanNode", made.provider
        )
        return made

    yield opened
    deployed.chain.rpc("evm_revert", [before])


@pytest.fixture
def toll(tollhouses: Callable[[str], Any]) -> Any:
    """A Provider whose time is paid for with the fee of an order."""
    return tollhouses(Node.Dialect.PROVIDER)


@pytest.fixture
def gate(tollhouses: Callable[[str], Any]) -> Any:
    """A node whose time is paid for from the Escrow."""
    return tollhouses(Node.Dialect.OCEAN_NODE)


@pytest.fixture(params=list(Node.Dialect))
def either(request: pytest.FixtureRequest, tollhouses: Callable[[str], Any]) -> Any:
    """A paid service of each dialect."""
    return tollhouses(request.param)


@pytest.fixture
def harbour(quay: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An Ocean Node over the same chain, which is paid from the escrow. Patched by name, as the Provider is."""
    from tests.services.harbour import make_harbour

    made = make_harbour(quay)
    monkeypatch.setattr(gateway, "OceanNode", made.client)
    return made
