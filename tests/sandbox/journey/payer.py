"""A portal with one launched job that needs orders, with a wallet of its own on a chain that the test can see."""

import json
import sqlite3
import uuid
from pathlib import Path
from typing import Any

from eth_account import Account
from eth_utils.crypto import keccak

from jobs.services import vault
from tests.sandbox.journey.ledger import Ledger, Mined, moves
from tests.sandbox.journey.mortal import Mortal
from tests.sandbox.journey.nursery import Nursery
from tests.sandbox.journey.portal import wait_for
from tests.sandbox.running import Box

UNDER_WAY = "SELECT 1 FROM jobs_transaction WHERE status IN ('prepared', 'sent')"


class Payer(Mortal):
    """A copy of a portal where a job for a Provider has been launched, and nothing done."""

    def __init__(self, *, box: Box, template: Path, nursery: Nursery) -> None:
        super().__init__(box=box, template=template, nursery=nursery)
        self._template = template
        self.ledger = Ledger(box.rpc_url)
        self.began_at = self.ledger.head()
        # A wallet that nobody has used before, so that no test finds what another one has left.
        self.key = "0x" + keccak(text=f"payer {self.began_at}").hex()
        self.address = str(Account.from_key(self.key).address)
        self.ledger.give_gas_money(self.address)
        sealed = vault.seal(bytes.fromhex(self.key[2:]))
        self.write("UPDATE jobs_wallet SET address = ?, encrypted_key = ?", self.address, sealed)
        self.earlier_jobs: set[str] = set()
        self.given: dict[str, int] = {}  # what the wallet got from the test, in wei by token

    @property
    def service_url(self) -> str:
        """Where the job runs."""
        return self.box.provider_url

    def at_node(self, job_id: str) -> list[str]:
        """Return the Provider's jobs of this wallet, without those from before this job was launched."""
        rows = self.box.rows("SELECT id, owner FROM jobs")
        mine = {str(row[0]) for row in rows if str(row[1]).lower() == self.address.lower()}
        return sorted(mine - self.earlier_jobs)

    def launch_again(self) -> None:
        """Launch the same job once more; the earlier one stays."""
        self.earlier_jobs |= set(self.at_node(self.job_id))
        self.job_id = str(uuid.UUID(self.insert_job()))

    def insert_job(self, **changed: object) -> str:
        """Put the job into the database once more, as it was launched; return the key of its row."""
        made = uuid.uuid4().hex
        fresh = {
            "jobs_job": {"id": made, "launch_key": uuid.uuid4().hex, "tag": uuid.uuid4().hex, **changed},
            "jobs_jobinput": {"id": None, "job_id": made},
        }
        with sqlite3.connect(f"file:{self._template / 'portal.sqlite3'}?mode=ro", uri=True) as template:
            template.row_factory = sqlite3.Row
            for table, news in fresh.items():
                for row in template.execute(f"SELECT * FROM {table}").fetchall():
                    values = dict(row) | news
                    marks = ", ".join("?" * len(values))
                    self.write(
                        f"INSERT INTO {table} ({', '.join(values)}) VALUES ({marks})", *values.values()
                    )
        template.close()
        return made

    def set_seconds(self, seconds: float) -> None:
        """Say how long the algorithm takes."""
        self.write(
            "UPDATE jobs_job SET parameters = ? WHERE id = ?",
            json.dumps({"seconds": seconds}),
            uuid.UUID(self.job_id).hex,
        )

    def end_of_job(self) -> sqlite3.Row:
        """Return the job's row once it has ended and nothing is under way on the chain any more."""
        row = super().end_of_job()

        def settled() -> bool:
            self.hasten()
            return not self.rows(UNDER_WAY)

        wait_for(settled, "the end of every transaction")
        return row

    # the chain

    def transactions(self) -> list[dict[str, Any]]:
        """Return the portal's transactions, in the order of their numbers."""
        rows = self.rows("SELECT * FROM jobs_transaction ORDER BY nonce, sequence")
        return [dict(row) for row in rows]

    def mined(self) -> list[Mined]:
        """Return what this wallet has on the chain."""
        return list(self.ledger.mined_of(self.address, since=self.began_at))

    def assert_rows_agree_with_the_chain(self) -> None:
        """Every row says what the chain says, no number is missing, and the tokens are what is left of the calls."""
        mined = self.mined()
        assert [one.nonce for one in mined] == list(range(len(mined)))
        assert self.ledger.nonce(self.address, "pending") == len(mined)
        on_chain = {one.hash: one for one in mined}
        for row in self.transactions():
            found = on_chain.get(row["tx_hash"])
            if row["status"] in ("confirmed", "reverted", "cancelled"):
                assert found is not None, row["told"]
                assert (row["nonce"], row["block_number"]) == (found.nonce, found.block)
            else:
                assert found is None, (row["told"], row["status"])
            if row["status"] == "confirmed":
                assert found is not None and found.succeeded
                assert found.call in (row["purpose"], "other")
        self._assert_balances(mined)

    def _assert_balances(self, mined: list[Mined]) -> None:
        tokens = dict(self.given)
        for one in mined:
            if one.succeeded:
                for token, wei in moves(one, ledger=self.ledger):
                    tokens[token] = tokens.get(token, 0) + wei
        assert {token: self.ledger.balance(token, self.address) for token in tokens} == tokens
