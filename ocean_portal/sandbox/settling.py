"""Settles the jobs of an engine some time after their end: free ones by their status alone, paid ones at a cashier's."""

from typing import Protocol

from ocean_portal.sandbox.store import Job, Store

PATIENCE_S = 60.0  # before a job that could not be settled is tried again


class Cashier(Protocol):
    """Takes what an ended job owes."""

    def settle(self, *, job: Job) -> dict[str, object] | None:
        """Return the columns that settling changes, None when it has to be tried again later."""

    def tidy(self) -> None:
        """Give back what nobody can claim any more."""


class Settling:
    """What the engine's housekeeper calls; statuses: of ended jobs that become the settled one."""

    def __init__(
        self, *, store: Store, statuses: tuple[int, ...], settled: int, cashier: Cashier | None
    ) -> None:
        self._store = store
        self._statuses = statuses
        self._settled = settled
        self._cashier = cashier
        self._not_before: dict[str, float] = {}  # jobs that could not be settled, and when to try again
        self._tidy_at = 0.0

    def settle(self, *, now: float, after_s: float) -> None:
        """Settle what ended longer than so many seconds ago; paid jobs stay as they are without a cashier."""
        before = now - after_s
        self._store.settle_jobs(before=before, statuses=self._statuses, settled=self._settled)
        if self._cashier is None:
            return
        for job in self._store.unsettled_jobs(before=before, statuses=self._statuses):
            self._settle_paid(job, cashier=self._cashier, now=now)
        if now >= self._tidy_at:
            self._cashier.tidy()
            self._tidy_at = now + max(1.0, after_s)

    def _settle_paid(self, job: Job, *, cashier: Cashier, now: float) -> None:
        """Let the cashier settle one job; what it cannot settle is tried again later."""
        if now < self._not_before.get(job["id"], 0):
            return
        if (columns := cashier.settle(job=job)) is not None:
            self._store.change_job(job_id=job["id"], status=self._settled, **columns)
        else:
            self._not_before[job["id"]] = now + PATIENCE_S
