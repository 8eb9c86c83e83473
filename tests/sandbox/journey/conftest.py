"""The portals that the journeys share: one that works, one that is killed, one where nobody works."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.sandbox.journey.nursery import Nursery
from tests.sandbox.journey.portal import Portal
from tests.sandbox.running import Box, running_sandbox


@contextmanager
def open_portal(folder: Path, **options: Any) -> Iterator[Portal]:
    """Run a portal without a worker beside a sandbox (options: of start_sandbox) for the time of a with block."""
    with running_sandbox(folder / "sandbox", **options) as box:
        portal = Portal(folder=folder / "var", box=box)
        try:
            portal.set_up()
            yield portal
        finally:
            portal.close()
            # A test may have put another process in the place of the first.
            if portal.box is not box:
                portal.box.stop()


@pytest.fixture(scope="session")
def portal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portal]:
    """A portal with a worker beside a sandbox with its chain. Tests share it and leave it working."""
    with open_portal(tmp_path_factory.mktemp("journey")) as portal:
        portal.start_worker()
        yield portal
        assert "Traceback" not in portal.worker_log()


@pytest.fixture(scope="session")
def _fragile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portal]:
    with open_portal(tmp_path_factory.mktemp("fragile"), chain=False) as portal:
        yield portal


@pytest.fixture
def fragile(_fragile: Portal) -> Iterator[Portal]:
    """A portal whose processes a test may end; there is no worker before and after."""
    yield _fragile
    _fragile.close()


@pytest.fixture(scope="session")
def idle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portal]:
    """A portal where no worker has ever run."""
    with open_portal(tmp_path_factory.mktemp("idle"), chain=False) as portal:
        yield portal


@pytest.fixture(scope="module")
def nursery(box: Box, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    """What starts the workers of one portal after another, all in the same folder, beside the `box` of a module."""
    folder = tmp_path_factory.mktemp("nursery")
    nursery = Nursery(
        environment=Portal(folder=folder / "var", box=box).environment,
        folder=folder / "var",
        exits=folder / "exits",
    )
    yield nursery
    nursery.close()
