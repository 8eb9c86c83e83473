"""Ends paid jobs: the node claims what a job really cost, and the payer gets the rest back.

Source: recording 20; ocean-node v3.2.0, compute_engine_docker.ts, claimPayments.
"""

import sys

from ocean_portal.sandbox.answers import spelt
from ocean_portal.sandbox.encoding import RpcError
from ocean_portal.sandbox.environment import MIN_DURATION_S, Environment
from ocean_portal.sandbox.escrow import Escrow, Lock, job_number
from ocean_portal.sandbox.prices import FeeToken, plain
from ocean_portal.sandbox.reports import status_report
from ocean_portal.sandbox.store import Job

NO_LOCK = "nolock"  # what a node writes in place of transactions when it finds no lock


def used_s(job: Job) -> float:
    """Return the seconds that a job is charged for: its run and its build, within the limits of the environment.

    A job that never ran, or whose run failed, costs the minimum too.
    """
    run_s = build_s = 0.0
    if job["algo_started_at"]:
        run_s = abs((job["algo_stopped_at"] or job["finished_at"]) - job["algo_started_at"])
    if job["build_started_at"] and job["build_stopped_at"]:
        build_s = max(0.0, job["build_stopped_at"] - job["build_started_at"])
    longest_s = float(job["spec"]["max_job_duration"])
    return max(MIN_DURATION_S, min(run_s + build_s, longest_s))


class EscrowCashier:
    """The engine's Cashier."""

    def __init__(self, *, escrow: Escrow, environment: Environment) -> None:
        self._escrow = escrow
        self._environment = environment

    def settle(self, *, job: Job) -> dict[str, object] | None:
        """Claim a job's lock and return its payment; None when the chain refuses.

        A claim whose note died with the process is found again: a lock is claimed once.
        """
        payment, number = job["payment"], job_number(job["id"])
        fee = self._environment.fee(chain_id=payment["chainId"], token=payment["token"])
        if fee is None:
            return None
        try:
            lock = next((lock for lock in self._escrow.locks() if lock.job == number), None)
            said = self._ended(number, fee=fee) if lock is None else self._end(job, lock=lock, fee=fee)
        except RpcError as error:
            print(f"job {job['id']} is not settled: {error}", file=sys.stderr)
            return None
        return {"payment": payment | said}

    def tidy(self) -> None:
        """Give back every lock that is too old to be claimed, whatever became of its job."""
        try:
            for lock in self._escrow.locks():
                if self._escrow.now() > lock.expires_at:
                    self._escrow.cancel(lock=lock)
        except RpcError as error:
            print(f"expired locks stay: {error}", file=sys.stderr)

    def _end(self, job: Job, *, lock: Lock, fee: FeeToken) -> dict[str, object]:
        if self._escrow.now() > lock.expires_at:
            return {"cancelTx": self._escrow.cancel(lock=lock)}
        cost = fee.cost(resources=job["spec"]["resources"], duration_s=used_s(job))
        proof = spelt(status_report(job, environment=self._environment))
        claim_tx = self._escrow.claim(lock=lock, amount_wei=fee.in_wei(cost), proof=proof)
        return {"claimTx": claim_tx, "cost": plain(cost)}

    def _ended(self, number: int, *, fee: FeeToken) -> dict[str, object]:
        """Say how a lock ended that is not there any more."""
        if claim := self._escrow.claimed_in(job=number):
            return {"claimTx": claim.tx_hash, "cost": plain(fee.from_wei(claim.amount_wei))}
        if cancel_tx := self._escrow.cancelled_in(job=number):
            return {"cancelTx": cancel_tx}
        return {"claimTx": NO_LOCK, "cancelTx": NO_LOCK}
