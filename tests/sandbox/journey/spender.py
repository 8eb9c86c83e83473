"""A portal with one launched job that costs money, with a wallet of its own that has tokens, and an escrow to look into."""

import json
import sqlite3
from pathlib import Path
from typing import Any

from eth_abi.abi import encode
from eth_utils.abi import function_signature_to_4byte_selector
from eth_utils.address import to_checksum_address

from tests.sandbox.journey.ledger import Mined
from tests.sandbox.journey.mortal import PAST
from tests.sandbox.journey.nursery import Nursery
from tests.sandbox.journey.payer import Payer
from tests.sandbox.journey.portal import wait_for
from tests.sandbox.running import Box

OCEAN_WEI = 10**18
GIVEN_WEI = 40 * OCEAN_WEI + 7  # an odd amount: no rounding hides in it
# What a look at the escrow waits for: the node settles a moment after a job's end.
SOON_READ = (
    "next_look_at > datetime('now', '+1 seconds') AND "
    "(read_at IS NULL OR read_at < datetime('now', '-1 seconds'))"
)


class Spender(Payer):
    """A copy of a portal where a paid job has been launched, and nothing done."""

    def __init__(self, *, box: Box, template: Path, nursery: Nursery) -> None:
        super().__init__(box=box, template=template, nursery=nursery)
        self.ocean = str(to_checksum_address(box.info["contracts"]["Ocean"]))
        self.escrow = str(to_checksum_address(box.info["contracts"]["Escrow"]))
        self.ledger.give_tokens(self.address, token=self.ocean, amount_wei=GIVEN_WEI)
        self.given[self.ocean] = GIVEN_WEI

    @property
    def dialect(self) -> str:
        """What the service of the job speaks."""
        sql = "SELECT dialect FROM jobs_node JOIN jobs_job ON jobs_node.id = node_id"
        return str(self.rows(sql)[0]["dialect"])

    @property
    def funds(self) -> tuple[int, int]:
        """What the wallet has in the escrow, in wei: available and locked."""
        return self.ledger.funds(self.escrow, payer=self.address, token=self.ocean)

    @property
    def balance(self) -> int:
        """What the wallet has itself, in wei."""
        return self.ledger.balance(self.ocean, self.address)

    def hasten(self, *, at_once: bool = False) -> bool:
        """Shorten the pauses before a look at the escrow too."""
        if self.rows(f"SELECT 1 FROM jobs_escrowaccount WHERE {SOON_READ}"):
            self.write(f"UPDATE jobs_escrowaccount SET next_look_at = ? WHERE {SOON_READ}", PAST)
        return super().hasten(at_once=at_once)

    def end_of_job(self) -> sqlite3.Row:
        """Return the job's row once it has ended, with nothing under way, and its costs are known where it ran."""
        super().end_of_job()

        def settled() -> sqlite3.Row | None:
            self.hasten()
            job = self.job(self.job_id)
            return None if job["accepted_at"] and job["escrow_need"] and not job["settled_at"] else job

        try:
            return wait_for(settled, "the costs of the job")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.worker_log()}") from None

    def deposit_by_hand(self, amount_wei: int) -> None:
        """Pay into the escrow without the portal."""
        for to, signature, values in (
            (self.ocean, "approve(address,uint256)", [self.escrow, amount_wei]),
            (self.escrow, "deposit(address,uint256)", [self.ocean, amount_wei]),
        ):
            data = function_signature_to_4byte_selector(signature) + encode(["address", "uint256"], values)
            self.ledger.send(self.ledger.signed(self.key, to=to, data=data)[1])

    def wait_for_the_escrow(self) -> None:
        """Wait until the portal has seen what the escrow holds now."""

        def read() -> bool:
            self.hasten()
            rows = self.rows("SELECT available_wei, locked_wei FROM jobs_escrowaccount")
            return all((int(row["available_wei"]), int(row["locked_wei"])) == self.funds for row in rows)

        wait_for(read, "a look at the escrow")

    def differences(self) -> list[dict[str, Any]]:
        """Return what the command reconcile finds."""
        log = self.folder / "reconcile.log"
        log.unlink(missing_ok=True)
        child = self._nursery.start(
            "manage.py", "reconcile", "--json", log=log, interruption=self.undisturbed
        )
        assert child.wait() in (0, 1), log.read_text()
        found: list[dict[str, Any]] = json.loads(log.read_text())
        assert child.returncode == bool(found)
        return found

    def assert_compute_is_paid(self, *, charged_wei: int, most_wei: int) -> None:
        """The node has locked and claimed once, what the portal says; the rest is in the escrow, free."""
        job = self.job(self.job_id)
        (claim,) = self.ledger.claims(self.escrow, payer=self.address, since=self.began_at)
        assert (claim.amount_wei, claim.tx_hash) == (charged_wei, job["claim_tx"])
        assert int(job["charged_wei"]) == charged_wei
        # The community's share is the node's to pay.
        assert sum(claim.paid_out.values()) == charged_wei
        assert self.funds == (most_wei - charged_wei, 0)

    def calls(self) -> tuple[list[str], list[Mined]]:
        """Return the calls of this wallet that succeeded, in their order, and what failed."""
        mined = self.mined()
        return [one.call for one in mined if one.succeeded], [one for one in mined if not one.succeeded]
