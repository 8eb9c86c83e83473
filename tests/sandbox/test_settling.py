"""When ended jobs are settled, and what happens to those that cannot be."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ocean_portal.sandbox.settling import PATIENCE_S, Settling
from ocean_portal.sandbox.store import Job, Store

SETTLING, SETTLED, EXPIRED = 71, 70, 2
ENDED_AT = 1000.0
PAID = {"lockTx": "0x1"}


@dataclass
class Till:
    """A cashier that claims what it is asked to while it is open."""

    is_open: bool = True
    asked: list[str] = field(default_factory=list)
    tidied: int = 0

    def settle(self, *, job: Job) -> dict[str, object] | None:
        self.asked.append(job["id"])
        return {"payment": job["payment"] | {"claimTx": "0x2"}} if self.is_open else None

    def tidy(self) -> None:
        self.tidied += 1


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store with an ended job of each kind."""
    opened = Store(path=tmp_path / "node.sqlite3")
    for name, status, payment in (
        ("free", SETTLING, None),
        ("paid", SETTLING, PAID),
        ("never", EXPIRED, PAID),
    ):
        opened.add_job(job_id=name, owner="0x", status=status, spec={}, now=ENDED_AT - 9, payment=payment)
        opened.change_job(job_id=name, finished_at=ENDED_AT)
    yield opened
    opened.close()


def settling(store: Store, till: Till | None) -> Settling:
    return Settling(store=store, statuses=(SETTLING,), settled=SETTLED, cashier=till)


def statuses(store: Store) -> dict[str, int]:
    return {job["id"]: job["status"] for job in store.jobs()}


class TestSettle:
    def test_claims_the_paid_jobs_and_marks_the_free_ones(self, store: Store) -> None:
        till = Till()

        settling(store, till).settle(now=ENDED_AT + 21, after_s=20)

        assert statuses(store) == {"free": SETTLED, "paid": SETTLED, "never": EXPIRED}
        assert till.asked == ["paid"]
        paid = store.job(job_id="paid")
        assert paid is not None and paid["payment"] == {"lockTx": "0x1", "claimTx": "0x2"}

    def test_leaves_what_ended_a_moment_ago(self, store: Store) -> None:
        till = Till()

        settling(store, till).settle(now=ENDED_AT + 19, after_s=20)

        assert statuses(store)["paid"] == SETTLING
        assert till.asked == []

    def test_tries_again_after_a_while_what_could_not_be_claimed(self, store: Store) -> None:
        till = Till(is_open=False)
        under_test = settling(store, till)
        under_test.settle(now=ENDED_AT + 21, after_s=20)
        till.is_open = True

        under_test.settle(now=ENDED_AT + 21 + PATIENCE_S / 2, after_s=20)
        in_between = statuses(store)["paid"]
        under_test.settle(now=ENDED_AT + 21 + PATIENCE_S, after_s=20)

        assert in_between == SETTLING
        assert statuses(store)["paid"] == SETTLED
        assert till.asked == ["paid", "paid"]

    def test_leaves_paid_jobs_alone_where_nothing_takes_money(self, store: Store) -> None:
        settling(store, None).settle(now=ENDED_AT + 21, after_s=20)

        assert statuses(store) == {"free": SETTLED, "paid": SETTLING, "never": EXPIRED}

    def test_gives_expired_locks_back_once_in_a_while(self, store: Store) -> None:
        till = Till()
        under_test = settling(store, till)

        for later in (21, 30, 40):
            under_test.settle(now=ENDED_AT + later, after_s=20)
        few = till.tidied
        under_test.settle(now=ENDED_AT + 41, after_s=20)

        assert (few, till.tidied) == (1, 2)
