"""`make demo` before it starts anything: ports, secrets. That it runs is shown by tests/browser."""

import shlex
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from ocean_portal import demo
from ocean_portal.sandbox.__main__ import read_options

ROOT = Path(__file__).resolve().parent.parent


class TestPorts:
    def test_a_taken_port_is_named_with_the_way_to_choose_another(self) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]

            done = subprocess.run(
                [sys.executable, "-m", "ocean_portal.demo", "--node-port", str(port)],
                cwd=ROOT,
                capture_output=True,
                text=True,
                timeout=60,
            )

        assert done.returncode == 2
        assert f"port {port} (the sandbox's node) is taken" in done.stderr
        assert "make demo NODE_PORT=" in done.stderr

    def test_a_number_that_is_no_port_is_not_free(self) -> None:
        assert not demo._is_free(700_000)


class TestCommands:
    def test_the_node_takes_what_a_job_cost_while_one_still_looks_at_it(self) -> None:
        command = demo._commands(demo._parser().parse_args([]))["sandbox"]

        options, loud = read_options(shlex.split(command.removeprefix("exec "))[3:])

        assert options.settle_s <= 30
        assert (options.step_s, options.rate_limit, options.chain, loud) == (2.0, 30, True, False)


class TestSecrets:
    @pytest.fixture(autouse=True)
    def env_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        file = tmp_path / ".env"
        monkeypatch.setattr(demo, "ENV_FILE", file)
        return file

    def test_they_are_made_once_and_only_for_the_owner_of_the_file(self, env_file: Path) -> None:
        assert demo._make_secrets()
        made = env_file.read_text()

        assert demo._make_secrets()

        assert env_file.read_text() == made
        assert stat.S_IMODE(env_file.stat().st_mode) == 0o600
        assert "PORTAL_DEMO=true" in made

    def test_two_demos_have_different_ones(self, env_file: Path) -> None:
        demo._make_secrets()
        first = env_file.read_text()
        env_file.unlink()

        demo._make_secrets()

        assert env_file.read_text() != first

    def test_an_installation_that_is_no_demo_is_left_alone(self, env_file: Path) -> None:
        env_file.write_text("PORTAL_SECRET_KEY=real\n")

        assert not demo._make_secrets()
        assert env_file.read_text() == "PORTAL_SECRET_KEY=real\n"
