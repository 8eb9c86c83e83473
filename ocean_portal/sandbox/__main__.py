"""Run the sandbox: `python -m ocean_portal.sandbox --state var/sandbox`."""

import argparse
import signal
import sys
import threading
from pathlib import Path

from ocean_portal.sandbox.network import Network, Options, PortTaken, StateTaken


def read_options(argv: list[str]) -> tuple[Options, bool]:
    """Return the options of the command line, and whether to print what is going on."""
    parser = argparse.ArgumentParser(
        prog="python -m ocean_portal.sandbox", description="A small local Ocean network."
    )
    parser.add_argument(
        "--state", type=Path, default=Path("var/sandbox"), help="folder that keeps everything"
    )
    parser.add_argument("--node-port", type=int, default=8001, help="0: the last one again, or any")
    parser.add_argument("--chain-port", type=int, default=8545, help="0: the last one again, or any")
    parser.add_argument("--provider-port", type=int, default=8002, help="0: the last one again, or any")
    parser.add_argument("--aquarius-port", type=int, default=8003, help="0: the last one again, or any")
    parser.add_argument(
        "--step", type=float, default=2.0, help="seconds per step of a job; a real node takes 2"
    )
    parser.add_argument(
        "--rate-limit", type=int, default=30, help="requests per minute and client; a real node takes 30"
    )
    parser.add_argument("--settle", type=float, default=3600.0, help="seconds from status 71 to 70")
    parser.add_argument("--storage-expiry", type=int, default=604800, help="seconds that results are kept")
    parser.add_argument(
        "--allow-files-from",
        action="append",
        default=[],
        metavar="HOST",
        help="fetch inputs from this host too; without it from this machine only; may be repeated",
    )
    parser.add_argument("--no-chain", action="store_true", help="the node only, with made-up DIDs")
    parser.add_argument("--quiet", action="store_true", help="print errors only")
    given = parser.parse_args(argv)
    options = Options(
        state=given.state,
        node_port=given.node_port,
        chain_port=given.chain_port,
        provider_port=given.provider_port,
        aquarius_port=given.aquarius_port,
        chain=not given.no_chain,
        step_s=given.step,
        rate_limit=given.rate_limit,
        settle_s=given.settle,
        storage_expiry_s=given.storage_expiry,
        allow_files_from=tuple(given.allow_files_from),
    )
    return options, not given.quiet


def main(argv: list[str]) -> int:
    """Serve until SIGINT or SIGTERM. Return 2 when a port or the state folder is taken."""
    options, loud = read_options(argv)
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    try:
        network = Network(
            options=options, say=(lambda line: print(line, flush=True)) if loud else (lambda _: None)
        )
    except (PortTaken, StateTaken) as error:
        print(error, file=sys.stderr)
        return 2
    ended.wait()
    network.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
