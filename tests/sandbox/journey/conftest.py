"""The portals that the journeys share: one that works, one that is killed, one where nobody works."""

from collections.abc import Iterator

import pytest

from tests.sandbox.journey.portal import Portal
from tests.sandbox.running import running_sandbox


@pytest.fixture(scope="session")
def portal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portal]:
    """A portal with a worker beside a sandbox with its chain. Tests share it and leave it working."""
    folder = tmp_path_factory.mktemp("journey")
    with running_sandbox(folder / "sandbox") as box:
        portal = Portal(folder=folder / "var", box=box)
        try:
            portal.set_up()
            portal.start_worker()
            yield portal
            assert "Traceback" not in portal.worker_log()
        finally:
            portal.close()


@pytest.fixture(scope="session")
def _fragile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portal]:
    folder = tmp_path_factory.mktemp("fragile")
    with running_sandbox(folder / "sandbox", chain=False) as box:
        portal = Portal(folder=folder / "var", box=box)
        try:
            portal.set_up()
            yield portal
        finally:
            portal.close()
            # A test may have put another process in the place of the first.
            if portal.box is not box:
                portal.box.stop()


@pytest.fixture
def fragile(_fragile: Portal) -> Iterator[Portal]:
    """A portal whose processes a test may end; there is no worker before and after."""
    yield _fragile
    _fragile.close()


@pytest.fixture(scope="session")
def idle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portal]:
    """A portal where no worker has ever run."""
    folder = tmp_path_factory.mktemp("idle")
    with running_sandbox(folder / "sandbox", chain=False) as box:
        portal = Portal(folder=folder / "var", box=box)
        try:
            portal.set_up()
            yield portal
        finally:
            portal.close()
