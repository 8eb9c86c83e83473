"""What jobs cost, where people see it: on the job's page, in lists, at home; and what waits for a person after payment."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from jobs.lifecycle import State
from jobs.models import EscrowAccount, Job, Node, Transaction
from jobs.selectors import failures
from tests import builders
from tests.builders import ESCROW, NOW, TOKEN
from tests.conftest import Cast
from tests.views.rendering import queries_while_rendering

ONE = 10**18
MOST = 2**256 - 1
EVIL = "<img src=x onerror=1>"
HTMX = {"HX-Request": "true"}
OTHER = "0x" + "5F" * 20
PAYEE = builders.RAW_ENVIRONMENT["consumerAddress"]
P, Status = Transaction.Purpose, Transaction.Status


def need(wei: int = 5 * ONE) -> dict[str, Any]:
    """Describe what a node asked to find in the escrow."""
    return {"escrow": ESCROW, "payee": PAYEE, "token": TOKEN, "amount_wei": str(wei), "min_lock_s": 3600}


def paid_job(cast: Cast, **values: Any) -> Job:
    """Make a paid job at an Ocean Node: at most 6 OCEAN, of which 5 may be locked."""
    builders.make_token()
    defaults = {"state": State.RUNNING, "free": False, "most": {TOKEN: str(6 * ONE)}, "escrow_need": need()}
    return builders.make_job(team=cast.team, payment_token=TOKEN, **(defaults | values))


def pay(job: Job, wei: int = ONE, purpose: str = P.PURCHASE, **values: Any) -> Transaction:
    """Make a confirmed transaction that moves some of the token."""
    return builders.make_transaction(job=job, purpose=purpose, token=TOKEN, amount_wei=wei, **values)


def text(html: str) -> str:
    """Return what a person reads of a page, in one line."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


def section(client: Client, job: Job, ident: str = "costs") -> str:
    """Return a section of a job's page."""
    html = client.get(address(job)).text
    found = re.search(rf'<section class="card" id="{ident}".*?</section>', html, re.S)
    assert found, ident
    return found[0]


def address(job: Job) -> str:
    """Return where a job's page is."""
    return f"/coastal/jobs/{job.pk}/"


class TestCosts:
    def test_of_a_free_job_without_transactions_are_not_spoken_of(self, vera: Client, cast: Cast) -> None:
        html = vera.get(address(builders.make_job(team=cast.team))).text

        assert 'id="costs"' not in html and "#costs" not in html
        assert "<dt>Price</dt><dd>free</dd>" in html

    def test_are_what_was_agreed_to_and_what_was_paid(self, vera: Client, cast: Cast) -> None:
        job = paid_job(cast)
        pay(job), pay(job, 4 * ONE, P.DEPOSIT), pay(job, 9 * ONE, status=Status.REVERTED)

        shown = text(section(vera, job))

        assert "Agreed to at most 6 OCEAN" in shown
        assert "Paid 1 OCEAN" in shown
        assert "Into the escrow 4 OCEAN" in shown
        assert "9 OCEAN" not in shown

    def test_tell_what_is_to_come(self, vera: Client, cast: Cast) -> None:
        job = paid_job(cast, state=State.PAYING)
        pay(job, status=Status.SENT), pay(job, 2 * ONE, status=Status.PLANNED)

        assert "To come at most 3 OCEAN" in text(section(vera, job))

    def test_tell_of_the_lock_until_when_it_is(self, vera: Client, cast: Cast) -> None:
        job = paid_job(cast, lock_id="77")
        builders.make_account(wallet=job.wallet)

        shown = section(vera, job)

        assert "Node may lock 5 OCEAN" in text(shown)
        assert 'data-copy="77"' in shown
        assert 'runs out <time datetime="2100-01-01T00:00:00+00:00"' in shown
        assert "when the job has ended" in shown

    def test_tell_what_was_charged_and_came_back(self, vera: Client, cast: Cast) -> None:
        job = paid_job(
            cast, state=State.SUCCEEDED, lock_id="77", charged_wei=ONE // 4, settled_at=NOW, claim_tx="0xab"
        )

        shown = text(section(vera, job))

        assert "Paid 0.25 OCEAN" in shown
        assert "Charged 0.25 OCEAN seen" in shown
        assert "Came back 4.75 OCEAN" in shown
        assert "Failed and stopped jobs are billed" not in shown

    @pytest.mark.parametrize(
        ("facts", "words"),
        [
            ({"lock_id": "77"}, "not yet: the node settles up to an hour after the end"),
            ({"lock_id": "77", "settled_at": NOW, "charged_wei": 0}, "nothing: the lock was given back"),
            ({"lock_id": "77", "settled_at": NOW}, "cannot be told"),
            ({}, "<dd>nothing was locked"),
        ],
    )
    def test_tell_each_end_of_a_lock(
        self, vera: Client, cast: Cast, facts: dict[str, Any], words: str
    ) -> None:
        assert words in section(vera, paid_job(cast, state=State.SUCCEEDED, **facts))

    @pytest.mark.parametrize("state", [State.FAILED, State.CANCELLED])
    def test_of_failed_and_stopped_jobs_say_that_they_are_billed(
        self, vera: Client, cast: Cast, state: State
    ) -> None:
        ran = section(vera, paid_job(cast, state=state))
        never = section(vera, paid_job(cast, state=state, accepted_at=None))

        assert "Failed and stopped jobs are billed: the node takes" in ran
        assert "are billed" not in never

    def test_of_a_provider_name_its_fee(self, vera: Client, cast: Cast) -> None:
        quay = builders.make_provider_node()
        job = paid_job(cast, node=quay, escrow_need=None, state=State.FAILED)
        order = pay(job, 4 * ONE, P.ORDER)
        builders.make_order(job=job, transaction=order, fee_token=TOKEN, fee_wei=3 * ONE)

        shown = text(section(vera, job))

        assert "Paid 4 OCEAN" in shown
        assert "Of it, fees 3 OCEAN to the service, for its time" in shown
        assert "the fee was for the whole time" in shown

    def test_of_an_order_in_two_tokens_name_both(self, vera: Client, cast: Cast) -> None:
        builders.make_token("USDC", address=OTHER, decimals=6)
        job = paid_job(cast, escrow_need=None)
        pay(job, 4 * ONE, P.ORDER, also={OTHER: str(3 * 10**6)})

        shown, table = text(section(vera, job)), text(section(vera, job, "orders"))

        assert "Paid 4 OCEAN 3 USDC" in shown or "Paid 3 USDC 4 OCEAN" in shown
        assert "Confirmed 4 OCEAN 3 USDC" in table
        assert all(amount in text(vera.get("/coastal/").text) for amount in ("4 OCEAN", "3 USDC"))
        assert all(amount in text(vera.get("/coastal/jobs/").text) for amount in ("4 OCEAN", "3 USDC"))

    @pytest.mark.parametrize("decimals", [0, 6, 18, 77])
    def test_show_the_largest_amounts_and_a_hostile_symbol_as_text(
        self, alice: Client, cast: Cast, decimals: int
    ) -> None:
        builders.make_token(EVIL[:20], decimals=decimals)
        job = paid_job(
            cast,
            most={TOKEN: str(MOST)},
            escrow_need=need(MOST),
            state=State.SUCCEEDED,
            charged_wei=MOST,
            settled_at=NOW,
        )
        pay(job, MOST, confirmed_at=timezone.now())

        for url in (address(job), "/coastal/jobs/", "/coastal/"):
            assert "<img src=x" not in alice.get(url).text
        assert str(MOST) in re.sub(r"[,.]", "", section(alice, job))

    def test_in_a_token_that_is_not_known_are_told_in_its_smallest_unit(
        self, vera: Client, cast: Cast
    ) -> None:
        job = paid_job(cast, most={"0x" + "12" * 20: "7"})

        assert "at most 7 of the smallest unit of 0x1212…1212" in text(section(vera, job))

    def test_arrive_on_an_open_page(self, vera: Client, cast: Cast) -> None:
        job = paid_job(cast)
        pay(job)

        html = vera.get(f"{address(job)}status/?v=0.0", headers=HTMX).text

        assert '<section class="card" id="costs" hx-swap-oob="true"' in html

    def test_keep_the_query_budget(
        self, vera: Client, cast: Cast, django_assert_max_num_queries: Any
    ) -> None:
        job = paid_job(cast, lock_id="77")
        builders.make_account(wallet=job.wallet)
        for _ in range(5):
            pay(job, status=Status.SENT)

        # 3 who is asking, 2 frame, 5 job, events, results, log, inputs, 2 transactions and what blocks them, 1 tokens,
        # 1 lock, 2 what is usual, 2 watched.
        with django_assert_max_num_queries(17):
            vera.get(address(job))

    def test_ask_nothing_while_rendering(self, vera: Client, cast: Cast) -> None:
        pay(paid_job(cast))

        for url in (address(Job.objects.get()), "/coastal/jobs/", "/coastal/"):
            with queries_while_rendering() as late:
                vera.get(url)
            assert late == []


class TestList:
    def row(self, client: Client) -> str:
        html = client.get("/coastal/jobs/").text
        found = re.search(r'<td class="num cost.*?</td>', html, re.S)
        assert found
        return text(found[0]).strip()

    def test_says_free(self, vera: Client, cast: Cast) -> None:
        builders.make_job(team=cast.team)

        assert self.row(vera) == "free"

    @pytest.mark.parametrize(
        ("values", "words"),
        [
            ({}, "1 OCEAN at most 6 OCEAN"),
            ({"state": State.FAILED, "accepted_at": None}, "1 OCEAN"),
            ({"state": State.SUCCEEDED, "lock_id": "77"}, "1 OCEAN at most 6 OCEAN"),
            ({"state": State.SUCCEEDED, "settled_at": NOW, "charged_wei": ONE // 2}, "1.5 OCEAN"),
        ],
    )
    def test_says_what_is_sure_and_what_may_come(
        self, vera: Client, cast: Cast, values: dict[str, Any], words: str
    ) -> None:
        job = paid_job(cast, **values)
        pay(job), pay(job, 4 * ONE, P.DEPOSIT)

        assert self.row(vera) == words

    def test_says_nothing_for_what_never_paid(self, vera: Client, cast: Cast) -> None:
        paid_job(cast, state=State.FAILED, accepted_at=None)

        assert self.row(vera) == "nothing"

    def test_keeps_its_query_budget(
        self, cast: Cast, vera: Client, django_assert_max_num_queries: Any
    ) -> None:
        for _ in range(10):
            pay(paid_job(cast))

        # 3 who is asking, 2 frame, 2 jobs and their datasets, 2 what was paid and the names of tokens.
        with django_assert_max_num_queries(9):
            vera.get("/coastal/jobs/")


class TestHome:
    def test_adds_up_the_last_month_and_the_escrows(self, vera: Client, cast: Cast) -> None:
        now = timezone.now()
        job = paid_job(cast, state=State.SUCCEEDED, charged_wei=ONE // 2, settled_at=now)
        pay(job, confirmed_at=now), pay(job, 4 * ONE, P.DEPOSIT, confirmed_at=now)
        pay(job, 9 * ONE, confirmed_at=now - timedelta(days=31))
        builders.make_account(wallet=job.wallet)
        theirs = builders.make_wallet(team=cast.other_team)
        builders.make_account(wallet=theirs, available_wei=99 * ONE)
        foreign = builders.make_job(team=cast.other_team, wallet=theirs, payment_token=TOKEN)
        pay(foreign, 99 * ONE, confirmed_at=now)
        Job.objects.filter(pk=foreign.pk).update(charged_wei=99 * ONE, settled_at=now)

        shown = text(vera.get("/coastal/").text)

        assert "Locked for jobs 1.5 OCEAN 4 OCEAN 1 OCEAN" in shown

    def test_does_not_speak_of_money_where_all_is_free(self, vera: Client, cast: Cast) -> None:
        builders.make_job(team=cast.team)

        assert "money-title" not in vera.get("/coastal/").text


class TestWaitingAfterPayment:
    @pytest.fixture
    def waiting(self, cast: Cast) -> Job:
        job = paid_job(
            cast,
            state=State.NEEDS_ATTENTION,
            attention_from=State.REQUESTED,
            reason="partly_paid",
            message="Buy a datatoken: the chain refused it.",
            launched_by=cast.bob,
            escrow_need=None,
        )
        pay(job), pay(job, 4 * ONE, P.DEPOSIT)
        builders.granted(job.wallet)
        return job

    def test_offers_to_go_on_to_those_alone_who_may_spend_from_the_wallet(
        self, bob: Client, waiting: Job
    ) -> None:
        waiting.wallet.grants.all().delete()

        html = bob.get(address(waiting)).text

        assert "/go-on/" not in html and "/give-up/" in html
        assert "the use of the wallet “demo” is not granted to you" in html

    def test_says_what_was_paid_and_offers_three_ways(self, bob: Client, waiting: Job) -> None:
        html = bob.get(address(waiting)).text

        assert "Paid so far 1 OCEAN In the escrow 4 OCEAN paid in" in text(html)
        assert f'href="/coastal/jobs/launch/?instead_of={waiting.pk}">Choose another environment</a>' in html
        assert '/go-on/"' in html and '/give-up/"' in html and "End it here</button>" in html
        assert "what is paid is not paid again" in html

    def test_says_what_has_to_be_done_first(self, bob: Client, waiting: Job) -> None:
        Job.objects.update(reason="insufficient_funds")

        html = bob.get(address(waiting)).text

        assert failures.WAITING["insufficient_funds"] in html
        assert '<a href="/coastal/wallets/">Wallets and their limits</a></p>' in html

    def test_offers_them_to_those_who_may_alone(self, vera: Client, waiting: Job) -> None:
        html = vera.get(address(waiting)).text

        assert "instead_of" not in html and "/go-on/" not in html and "/give-up/" not in html

    @pytest.mark.parametrize(
        "facts",
        [{"attention_from": State.RUNNING}, {"node_job_id": "0x1-0x2"}, {"start_sent_at": NOW}],
        ids=["lost by the node", "at the node", "perhaps at the node"],
    )
    def test_is_not_launched_elsewhere_while_the_node_may_have_it(
        self, bob: Client, waiting: Job, facts: dict[str, Any]
    ) -> None:
        Job.objects.update(**facts)

        assert "instead_of" not in bob.get(address(waiting)).text

    def test_tells_of_a_free_job_nothing_of_money(self, bob: Client, cast: Cast) -> None:
        job = builders.make_job(
            team=cast.team, state=State.NEEDS_ATTENTION, attention_from=State.RUNNING, launched_by=cast.bob
        )

        html = bob.get(address(job)).text

        assert "paid" not in text(html).replace("Paid and free environment", "")


class TestRunAgain:
    def test_of_a_paid_job_leads_to_its_price(self, bob: Client, cast: Cast) -> None:
        job = paid_job(cast, state=State.SUCCEEDED)

        html = bob.get(address(job)).text

        assert f'id="job-rerun" href="/coastal/jobs/launch/?rerun={job.pk}"' in html
        assert "/rerun/" not in html

    def test_of_a_free_job_is_one_click(self, bob: Client, cast: Cast) -> None:
        html = bob.get(address(builders.make_job(team=cast.team, state=State.SUCCEEDED))).text

        assert '/rerun/"' in html


class TestWords:
    @pytest.mark.parametrize(
        "reason",
        [
            *(
                "not_agreed",
                "price_changed",
                "over_limit",
                "insufficient_funds",
                "no_datatoken",
                "datatoken_gone",
            ),
            *(
                "wrong_chain",
                "unexpected_fee",
                "token_not_taken",
                "escrow",
                "payee",
                "lock_time",
                "old_block",
            ),
            *("escrow_funds", "escrow_auth", "escrow_lock_time", "escrow_limit", "escrow_locks", "contract"),
            *(
                "token_not_accepted",
                "order_missing",
                "unpublished",
                "transaction_cancelled",
                "price_outdated",
            ),
        ],
    )
    def test_say_what_to_do_next(self, vera: Client, cast: Cast, reason: str) -> None:
        job = paid_job(cast, state=State.FAILED, reason=reason, message=f"It cost too much. {EVIL}")

        html = vera.get(address(job)).text

        assert failures.NEXT[reason] != failures.next_step("never heard of")
        assert failures.NEXT[reason].replace("'", "&#x27;") in html
        assert EVIL not in html

    @pytest.mark.parametrize(
        ("reason", "place"), [("over_limit", "wallets"), ("escrow_funds", "escrow"), ("busy", "environments")]
    )
    def test_link_to_where_something_can_be_done(
        self, vera: Client, cast: Cast, reason: str, place: str
    ) -> None:
        html = vera.get(address(paid_job(cast, state=State.FAILED, reason=reason))).text

        assert f'<a href="/coastal/{place}/">{failures.PLACES[reason][1]}</a></p>' in html

    def test_name_pages_that_exist(self) -> None:
        assert {name for name, _ in failures.PLACES.values()} <= {
            *("wallets", "escrow", "environments", "catalogue")
        }


class TestSteps:
    @pytest.mark.parametrize(("free", "first"), [(False, "Ordering"), (True, "Accepted")])
    def test_of_a_paid_job_at_a_node_begin_with_ordering(
        self, vera: Client, cast: Cast, free: bool, first: str
    ) -> None:
        job = paid_job(cast, state=State.PAYING, free=free, most={}, escrow_need=None)

        html = vera.get(address(job)).text

        assert re.findall(r'<li class="\w*"[^>]*><i></i><b>(\w+)</b>', html)[0] == first
        assert ("Ordering and paying on the chain" in html) == (not free)


def test_account_of_another_token_has_no_lock_of_the_job(vera: Client, cast: Cast) -> None:
    job = paid_job(cast, lock_id="77")
    builders.make_account(wallet=job.wallet, token=builders.make_token("X", address="0x" + "12" * 20))

    assert "runs out" not in section(vera, job)
    assert EscrowAccount.objects.count() == 1
    assert Node.objects.count() == 1
