"""`make demo`: the sandbox, the worker and the web server together, with a team to try things with.

Makes the demo's secrets once, in the ignored file `.env`; keeps database, chain, jobs and results in `var/`.
"""

from __future__ import annotations

import argparse
import base64
import os
import secrets
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

from honcho.manager import Manager

ROOT = Path(__file__).resolve().parent.parent
ENV_FILE = Path(os.environ.get("PORTAL_ENV_FILE") or ROOT / ".env")
SANDBOX_STATE = Path(os.environ.get("PORTAL_VAR") or ROOT / "var") / "sandbox"
MARK = "PORTAL_DEMO=true"
READY_WITHIN_S = 90
SETTLE_S = 20.0  # so that one sees what a paid job cost while one still looks at it


def main() -> int:
    """Check the ports, prepare, run the three processes until Ctrl-C; return an exit code."""
    options = _parser().parse_args()
    taken = [
        f"port {port} ({what}) is taken; choose another one with: make demo {variable}=…"
        for variable, what, port in (
            ("PORT", "the portal", options.port),
            ("NODE_PORT", "the sandbox's node", options.node_port),
            ("CHAIN_PORT", "the sandbox's chain", options.chain_port),
            ("PROVIDER_PORT", "the sandbox's Provider", options.provider_port),
            ("AQUARIUS_PORT", "the sandbox's Aquarius", options.aquarius_port),
        )
        if not _is_free(port)
    ]
    if taken:
        print("The demo cannot start:", *taken, sep="\n  ", file=sys.stderr)
        return 2
    if not _make_secrets():
        print(
            f"{ENV_FILE.name} belongs to an installation that is no demo. Run the demo in a clone of its own.",
            file=sys.stderr,
        )
        return 2
    _migrate()
    return _run(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ocean_portal.demo", description=main.__doc__)
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--node-port", type=int, default=8001)
    parser.add_argument("--chain-port", type=int, default=8545)
    parser.add_argument("--provider-port", type=int, default=8002)
    parser.add_argument("--aquarius-port", type=int, default=8003)
    parser.add_argument(
        "--step", type=float, default=2.0, help="seconds between a node's steps; a real node's are 2"
    )
    parser.add_argument(
        "--rate-limit", type=int, default=30, help="requests a minute; 30 is what a node ships with"
    )
    parser.add_argument(
        "--settle",
        type=float,
        default=SETTLE_S,
        help="seconds from the end of a paid job to the node's claim; a real node's are up to an hour",
    )
    return parser


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            return False
    return True


def _make_secrets() -> bool:
    """Write `.env` if there is none; return whether the one that is there is a demo's."""
    if ENV_FILE.exists():
        return MARK in ENV_FILE.read_text()
    wallet_key = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
    text = f"# Made by `make demo`; not for a real installation.\n{MARK}\n"
    text += f"PORTAL_SECRET_KEY={secrets.token_urlsafe(50)}\nPORTAL_WALLET_KEYS={wallet_key}\n"
    handle = os.open(ENV_FILE, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(text)
    return True


def _migrate() -> None:
    subprocess.run(
        [sys.executable, "manage.py", "migrate", "-v", "0"], cwd=ROOT, check=True
    )  # our own command


def _run(options: argparse.Namespace) -> int:
    info = SANDBOX_STATE / "sandbox.json"
    info.unlink(missing_ok=True)  # what the last run wrote names its ports
    manager = Manager()
    address = f"http://127.0.0.1:{options.port}"
    environment = {"PORTAL_URL": address, **os.environ, "PYTHONUNBUFFERED": "1"}
    for name, command in _commands(options).items():
        manager.add_process(name, command, cwd=str(ROOT), env=environment)
    # Started here and not in the thread: honcho forks without exec, and a fork between a thread's pipe() and exec would
    # keep that pipe open for ever, with the thread waiting for its end.
    setting_up = subprocess.Popen(
        [sys.executable, "manage.py", "setup_demo", "--sandbox", str(info), "--wait", str(READY_WITHIN_S)],
        cwd=ROOT,
    )
    threading.Thread(target=_welcome, args=(options.port, setting_up), daemon=True).start()
    manager.loop()
    return 0 if manager.returncode in (0, 130, -2, -15, None) else 1


def _commands(options: argparse.Namespace) -> dict[str, str]:
    """Return the shell command of each process by its name."""
    python = sys.executable
    return {
        "sandbox": (
            f"exec {python} -m ocean_portal.sandbox --quiet --state {SANDBOX_STATE} "
            f"--node-port {options.node_port} --chain-port {options.chain_port} "
            f"--provider-port {options.provider_port} --aquarius-port {options.aquarius_port} --step {options.step} "
            f"--rate-limit {options.rate_limit} --settle {options.settle}"
        ),
        "worker": f"exec {python} manage.py worker",
        "web": (
            f"exec {python} -m gunicorn ocean_portal.wsgi --bind 127.0.0.1:{options.port} --threads 8 "
            "--log-level warning --timeout 120 --keep-alive 15"
        ),
    }


def _welcome(port: int, setting_up: subprocess.Popen[bytes]) -> None:
    """Say where the portal is once the demo is set up, which waits for the sandbox."""
    address = f"http://127.0.0.1:{port}"
    end = time.monotonic() + READY_WITHIN_S
    done = setting_up.wait() == 0
    while done and not _answers(f"{address}/health/"):
        done = time.monotonic() < end
        time.sleep(0.2)
    if not done:
        print("The demo is not ready; the lines above say why. Ctrl-C ends it.", flush=True)
        return
    print(
        f"""
  Ocean Portal is ready: {address}

    Sign in as   olivia   password  olivia    (owner, and operator of {address}/admin/)
                 liam     password  liam      (launcher)
                 vera     password  vera      (viewer)
                 and adam (admin), tara (treasurer), carl (curator), aude (auditor), each with the name as password

    Then click   Launch a job, choose “Iris flowers” and “Summary statistics”, and press Launch:
                 watch it run, look at its chart, download its files. “Word count” has a log to watch.
    Or pay       with the demo wallet, which holds tokens of the sandbox: “Iris flowers (priced)” and “Summary
                 statistics (priced)” cost some, and so does the node outside of its free tier, which takes
                 what a job really cost soon after its end.

    From another terminal, in this folder:
      .venv/bin/python manage.py launch_job --team demo --wallet demo --dataset "Iris flowers" \\
          --algorithm "Summary statistics" --environment free --wait --json

  Ctrl-C ends everything; `make demo` brings it all back.
""",
        flush=True,
    )


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310  # our own server on the loopback
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


if __name__ == "__main__":
    sys.exit(main())
