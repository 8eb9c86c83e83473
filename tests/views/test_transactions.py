"""Transactions on pages: why one waits, what was sent before it, and what an owner may do about it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from jobs.lifecycle import State
from jobs.models import Job, Transaction, Wallet
from tests import builders
from tests.conftest import Cast

Status, Wish = Transaction.Status, Transaction.Wish
EVIL = "<img src=x onerror=1>"
HTMX = {"HX-Request": "true"}


@pytest.fixture
def job(cast: Cast) -> Job:
    """A job that pays, at a Provider."""
    return builders.make_job(team=cast.team, node=builders.make_provider_node(), state=State.PAYING)


def waiting(job: Job, **values: Any) -> Transaction:
    """Make a transaction of the job that has waited for a block for five minutes."""
    since = timezone.now() - timedelta(minutes=5)
    return builders.make_transaction(
        job=job, status=Status.SENT, **({"sent_at": since, "told": "Order “Buoys”"} | values)
    )


def page(client: Client, job: Job) -> str:
    """Return the job's page."""
    return client.get(f"/coastal/jobs/{job.pk}/").text


class TestWaiting:
    def test_is_told_with_since_when_and_why(self, vera: Client, job: Job) -> None:
        waiting(job)

        html = page(vera, job)

        assert "Waits since <time" in html and ">5 min ago</time>. No block has taken it yet" in html

    def test_names_the_one_before_it(self, vera: Client, job: Job) -> None:
        builders.make_act(wallet=job.wallet, status=Status.SENT, told=EVIL, nonce=3)
        waiting(job, nonce=7)

        html = page(vera, job)

        assert "this one is number 7, and number 3 (“&lt;img src=x onerror=1&gt;”) still waits." in html
        assert EVIL not in html

    def test_says_what_the_chain_said_in_place_of_a_guess(self, vera: Client, job: Job) -> None:
        waiting(job, trouble="The chain asks for more than this transaction offers for its gas.")

        html = page(vera, job)

        assert "asks for more than this transaction offers" in html
        assert "No block has taken it yet" not in html

    def test_is_not_spoken_of_at_once(self, vera: Client, job: Job) -> None:
        waiting(job, sent_at=timezone.now())

        assert "Waits since" not in page(vera, job)

    @pytest.mark.parametrize(
        ("wish", "words"),
        [(Wish.FASTER, "A person asked to speed it up"), (Wish.CANCEL, "A person asked to cancel it")],
    )
    def test_shows_what_a_person_wants(self, vera: Client, job: Job, wish: str, words: str) -> None:
        waiting(job, wish=wish)

        assert words in page(vera, job)

    def test_shows_what_was_sent_before_under_the_same_number(self, vera: Client, job: Job) -> None:
        former = "0x" + "ab" * 32
        waiting(job, earlier=[{"tx_hash": former, "cancels": False}])

        html = page(vera, job)

        assert "earlier version</summary>" in html and f'data-copy="{former}"' in html

    def test_changes_an_open_page_although_the_job_stays_as_it_is(self, vera: Client, job: Job) -> None:
        tx = waiting(job)
        url = f"/coastal/jobs/{job.pk}/status/"
        html = page(vera, job)
        mark = html.partition('id="job-mark" value="')[2].partition('"')[0]

        same = vera.get(url, {"v": mark, "log": "later"}, headers=HTMX)
        Transaction.objects.filter(pk=tx.pk).update(status=Status.CONFIRMED)
        changed = vera.get(url, {"v": mark, "log": "later"}, headers=HTMX)

        assert same.status_code == 204
        assert 'id="orders" hx-swap-oob="true"' in changed.text

    @pytest.mark.parametrize(
        ("status", "word"),
        [
            (Status.CANCELLED, "Cancelled"),
            (Status.WITHDRAWN, "Not sent, not needed"),
            (Status.REFUSED, "Not sent"),
        ],
    )
    def test_has_words_for_the_end(self, vera: Client, job: Job, status: str, word: str) -> None:
        builders.make_transaction(job=job, status=status)

        assert word in page(vera, job)


class TestButtons:
    def test_are_for_owners(self, alice: Client, bob: Client, vera: Client, job: Job) -> None:
        tx = waiting(job)

        pages = [page(client, job) for client in (alice, bob, vera)]

        assert [f"/transactions/{tx.pk}/speed-up/" in html for html in pages] == [True, False, False]
        assert [f"/transactions/{tx.pk}/cancel/" in html for html in pages] == [True, False, False]
        assert "<b>Speed up</b> sends the same transaction anew" in pages[0]

    @pytest.mark.parametrize("status", sorted(set(Status) - {Status.SENT, Status.PREPARED}))
    def test_are_not_there_for_what_does_not_wait(self, alice: Client, job: Job, status: str) -> None:
        builders.make_transaction(job=job, status=status)

        assert "/transactions/" not in page(alice, job)

    @pytest.mark.parametrize(
        ("trouble", "offered"), [("", False), ("The chain asks for more than it offers.", True)]
    )
    def test_are_there_for_what_the_chain_does_not_take(
        self, alice: Client, job: Job, trouble: str, offered: bool
    ) -> None:
        builders.make_transaction(
            job=job, status=Status.PREPARED, prepared_at=timezone.now(), trouble=trouble
        )

        assert ("/speed-up/" in page(alice, job)) == offered

    @pytest.mark.parametrize(("act", "wish"), [("speed-up", Wish.FASTER), ("cancel", Wish.CANCEL)])
    def test_note_the_wish_and_lead_back(self, alice: Client, job: Job, act: str, wish: str) -> None:
        tx = waiting(job)

        answer = alice.post(f"/coastal/transactions/{tx.pk}/{act}/")

        tx.refresh_from_db()
        assert (tx.wish, answer.headers["Location"]) == (wish, f"/coastal/jobs/{job.pk}/")

    def test_pressed_twice_are_one_wish(self, alice: Client, job: Job) -> None:
        tx = waiting(job)
        for _ in range(2):
            alice.post(f"/coastal/transactions/{tx.pk}/speed-up/")

        assert Transaction.objects.get().wish == Wish.FASTER
        assert "Speed up</button>" not in page(alice, job)

    @pytest.mark.parametrize("act", ["speed-up", "cancel", "fill"])
    def test_too_late_say_so(self, alice: Client, job: Job, act: str) -> None:
        tx = builders.make_transaction(job=job)

        answer = alice.post(
            f"/coastal/transactions/{tx.pk}/{act}/",
            headers={"Referer": f"http://testserver/coastal/jobs/{job.pk}/"},
            follow=True,
        )

        assert "This transaction does not wait any more." in answer.text
        assert answer.request["PATH_INFO"] == f"/coastal/jobs/{job.pk}/"

    @pytest.mark.parametrize("act", ["speed-up", "cancel", "fill"])
    @pytest.mark.parametrize(("who", "status"), [("bob", 403), ("vera", 403), ("charlie", 404)])
    def test_are_refused_to_others(self, sign_in: Any, job: Job, act: str, who: str, status: int) -> None:
        tx = waiting(job)

        assert sign_in(who).post(f"/coastal/transactions/{tx.pk}/{act}/").status_code == status
        assert Transaction.objects.get().wish == ""

    @pytest.mark.parametrize("act", ["speed-up", "cancel", "fill"])
    def test_of_another_team_s_are_not_there(self, alice: Client, cast: Cast, act: str) -> None:
        theirs: Wallet = builders.make_wallet(team=cast.other_team)
        tx = builders.make_act(wallet=theirs, status=Status.SENT)

        assert alice.post(f"/coastal/transactions/{tx.pk}/{act}/").status_code == 404

    @pytest.mark.parametrize(("gap", "offered"), [(True, True), (False, False)])
    def test_fill_a_gap_where_one_waits_behind_it(
        self, alice: Client, bob: Client, job: Job, gap: bool, offered: bool
    ) -> None:
        tx = waiting(job)
        Transaction.objects.update(trouble=f"{Transaction.BEHIND_A_GAP if gap else ''}3 of this wallet.")

        pages = [page(client, job) for client in (alice, bob)]

        assert [f"/transactions/{tx.pk}/fill/" in html for html in pages] == [offered, False]

    def test_fill_it_once(self, alice: Client, job: Job) -> None:
        tx = waiting(job)
        for _ in range(2):
            answer = alice.post(f"/coastal/transactions/{tx.pk}/fill/")

        assert answer.status_code == 302
        planned = Transaction.objects.get(job=None)
        assert (planned.purpose, planned.status) == (Transaction.Purpose.FILL, Status.PLANNED)

    def test_do_nothing_when_they_are_only_looked_at(self, alice: Client, job: Job) -> None:
        tx = waiting(job)

        assert alice.get(f"/coastal/transactions/{tx.pk}/cancel/").status_code == 405
