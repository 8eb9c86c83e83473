"""The escrow page: who sees what, what is taken back and freed, and what a stranger's numbers and words do to it."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from django_q.models import OrmQ

from jobs.lifecycle import State
from jobs.models import EscrowAccount, Network, Transaction
from tests import builders
from tests.conftest import Cast
from tests.views.rendering import queries_while_rendering

PAGE = "/coastal/escrow/"
HTMX = {"HX-Request": "true"}
EVIL = "<img src=x onerror=1>"
Status = Transaction.Status
MOST = 2**256 - 1


@pytest.fixture
def account(cast: Cast) -> EscrowAccount:
    """Four of a token are free, one is locked."""
    return builders.make_account(wallet=builders.make_wallet(team=cast.team))


def text(html: str) -> str:
    """Return what a person reads of a page, in one line."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


class TestPage:
    def test_says_what_is_available_locked_and_when_that_was_read(
        self, vera: Client, account: EscrowAccount
    ) -> None:
        html = vera.get(PAGE).text

        assert "demo · OCEAN" in html
        assert "Available 4 OCEAN Locked 1 OCEAN" in text(html)
        assert 'read <time datetime="2025-11-22T14:00:00+00:00"' in html

    def test_links_a_lock_to_its_job(self, vera: Client, cast: Cast, account: EscrowAccount) -> None:
        job = builders.make_job(team=cast.team, wallet=account.wallet, lock_id="77", name="Waves")

        html = vera.get(PAGE).text

        assert f'<a href="/coastal/jobs/{job.pk}/">Waves</a>' in html
        assert 'datetime="2100-01-01T00:00:00+00:00"' in html

    def test_links_no_lock_to_a_job_of_another_wallet(
        self, vera: Client, cast: Cast, account: EscrowAccount
    ) -> None:
        theirs = builders.make_wallet(team=cast.other_team)
        builders.make_job(team=cast.other_team, wallet=theirs, lock_id="77", name="Their secret")

        html = vera.get(PAGE).text

        assert "a job that this portal does not know" in html
        assert "Their secret" not in html

    def test_shows_nothing_of_another_team(self, vera: Client, cast: Cast) -> None:
        theirs = builders.make_wallet(team=cast.other_team, label="foreign")
        builders.make_account(wallet=theirs)
        builders.make_act(wallet=theirs, told="Their wish")

        html = vera.get(PAGE).text

        assert "foreign" not in html and "Their wish" not in html
        assert "Nothing is in an escrow yet." in html

    def test_says_why_it_could_not_be_read(self, vera: Client, account: EscrowAccount) -> None:
        EscrowAccount.objects.update(trouble=EVIL)

        html = vera.get(PAGE).text

        assert "<b>It could not be read.</b> &lt;img src=x onerror=1&gt;" in html

    @pytest.mark.parametrize("decimals", [0, 6, 18, 77])
    def test_shows_the_largest_amount_with_every_digit(self, vera: Client, cast: Cast, decimals: int) -> None:
        token = builders.make_token(EVIL[:20], decimals=decimals)
        builders.make_account(
            wallet=builders.make_wallet(team=cast.team),
            token=token,
            available_wei=MOST,
            locks=[builders.make_lock(amount_wei=str(MOST), expires_at=MOST)],
        )

        html = vera.get(PAGE).text

        digits = re.sub(r"[^\d]", "", html[html.index("Available") : html.index("Locked")].partition('">')[2])
        assert str(MOST) in digits
        assert "<img" not in html.replace('<img src="/static', "")
        assert 'datetime="9999-' in html

    def test_looks_again_only_while_something_is_under_way(
        self, vera: Client, account: EscrowAccount
    ) -> None:
        quiet = vera.get(PAGE).text
        act = builders.make_act(wallet=account.wallet, status=Status.SENT)
        busy = vera.get(PAGE).text
        Transaction.objects.filter(pk=act.pk).update(status=Status.CONFIRMED)
        done = vera.get(PAGE).text

        assert ["every 3s" in html for html in (quiet, busy, done)] == [False, True, False]

    def test_is_a_fragment_for_htmx(self, vera: Client, account: EscrowAccount) -> None:
        assert vera.get(PAGE, headers=HTMX).text.lstrip().startswith('<div id="escrow-board"')

    def test_does_not_exist_for_somebody_outside(self, charlie: Client) -> None:
        assert charlie.get(PAGE).status_code == 404

    def test_keeps_its_query_budget(
        self, alice: Client, cast: Cast, account: EscrowAccount, django_assert_max_num_queries: Any
    ) -> None:
        builders.make_job(team=cast.team, wallet=account.wallet, lock_id="77")
        for number in range(5):
            builders.make_account(
                wallet=account.wallet, token=builders.make_token(f"T{number}", address=f"0x{number:040x}")
            )
            builders.make_act(wallet=account.wallet, status=Status.SENT, token=builders.TOKEN, amount_wei=1)

        # 3 who is asking, 1 frame; accounts, jobs of locks, transactions, their tokens, what blocks them, last comparison.
        with django_assert_max_num_queries(10):
            alice.get(PAGE)

    def test_asks_nothing_while_rendering(self, alice: Client, account: EscrowAccount) -> None:
        builders.make_act(wallet=account.wallet)

        with queries_while_rendering() as late:
            alice.get(PAGE)

        assert late == []


class TestRoles:
    """Everybody in the team sees; only an owner takes and frees; somebody outside finds nothing."""

    @pytest.mark.parametrize(
        ("who", "statuses"),
        [
            ("alice", [200, 302, 200, 302]),
            ("bob", [200, 302, 403, 403]),
            ("vera", [200, 302, 403, 403]),
            ("charlie", [404, 404, 404, 404]),
        ],
    )
    def test_may_do_what_the_table_says(
        self, sign_in: Any, account: EscrowAccount, who: str, statuses: list[int]
    ) -> None:
        EscrowAccount.objects.update(locks=[builders.make_lock(expires_at=1)])
        client, own = sign_in(who), f"{PAGE}{account.pk}"

        found = [
            client.get(PAGE).status_code,
            client.post(f"{own}/look/").status_code,
            client.get(f"{own}/withdraw/").status_code,
            client.post(f"{own}/release/").status_code,
        ]

        assert found == statuses

    def test_of_an_account_of_another_team_is_not_there(self, alice: Client, cast: Cast) -> None:
        theirs = builders.make_account(wallet=builders.make_wallet(team=cast.other_team))
        own = f"{PAGE}{theirs.pk}"

        found = [
            alice.get(f"{own}/withdraw/"),
            alice.post(f"{own}/withdraw/", {"amount": "1", "agreed": "yes"}),
        ]
        found += [alice.post(f"{own}/look/"), alice.post(f"{own}/release/")]

        assert [answer.status_code for answer in found] == [404] * 4
        assert not Transaction.objects.exists()

    @pytest.mark.parametrize("who", ["bob", "vera"])
    def test_shows_no_button_that_would_be_refused(
        self, sign_in: Any, account: EscrowAccount, who: str
    ) -> None:
        EscrowAccount.objects.update(locks=[builders.make_lock(expires_at=1)])
        builders.make_act(wallet=account.wallet, status=Status.SENT)

        html = sign_in(who).get(PAGE).text

        assert not re.search(r"/(withdraw|release|speed-up|cancel)/", html)
        assert "/look/" in html

    def test_asks_with_a_token_against_forged_forms(self, account: EscrowAccount, cast: Cast) -> None:
        strict = Client(enforce_csrf_checks=True)
        strict.force_login(cast.alice)

        answer = strict.post(f"{PAGE}{account.pk}/withdraw/", {"amount": "1", "agreed": "yes"})

        assert answer.status_code == 403
        assert not Transaction.objects.exists()


class TestLook:
    def test_has_the_worker_read_it_at_its_next_beat(self, vera: Client, account: EscrowAccount) -> None:
        html = vera.post(f"{PAGE}{account.pk}/look/", follow=True).text

        account.refresh_from_db()
        assert account.next_look_at is not None and account.next_look_at <= timezone.now()
        assert "being read" in html


class TestWithdraw:
    @pytest.fixture
    def url(self, account: EscrowAccount) -> str:
        return f"{PAGE}{account.pk}/withdraw/"

    def test_says_the_numbers_first_and_sends_nothing(self, alice: Client, url: str) -> None:
        html = alice.post(url, {"amount": "1.5"}).text

        assert "Take back 1.5 OCEAN Taken back" in text(html)
        assert "Stays available 2.5 OCEAN Stays locked 1 OCEAN" in text(html)
        assert '<input type="hidden" name="amount" value="1.500000000000000000">' in html
        assert not Transaction.objects.exists()

    def test_takes_all_where_nothing_is_entered(self, alice: Client, url: str) -> None:
        html = alice.post(url, {"amount": ""}).text

        assert "Take back 4 OCEAN Taken back" in text(html)
        assert 'name="amount" value="4.000000000000000000"' in html

    def test_is_done_by_the_worker_once_it_is_agreed_to(
        self, alice: Client, cast: Cast, account: EscrowAccount, url: str
    ) -> None:
        answer = alice.post(url, {"amount": "1.5", "agreed": "yes"})

        act = Transaction.objects.get()
        assert answer.headers["Location"] == PAGE
        assert (act.job, act.asked_by, act.told) == (None, cast.alice, "Take 1.5 OCEAN back from the escrow")
        assert (act.status, act.to) == (Status.PLANNED, account.escrow)
        assert OrmQ.objects.count() == 1
        assert "asked for by Alice" in alice.get(PAGE).text

    def test_sent_twice_is_one_transaction(self, alice: Client, url: str) -> None:
        alice.post(url, {"amount": "1.5", "agreed": "yes"})

        again = alice.post(url, {"amount": "1.50", "agreed": "yes"})

        assert again.status_code == 400
        assert "The same is under way already" in again.text
        assert Transaction.objects.count() == 1

    @pytest.mark.parametrize(
        ("amount", "sentence"),
        [
            ("4.000000000000000001", "There are 4"),
            ("0", "There are 4"),
            ("1.0000000000000000001", "has 18 decimal places"),
            ("-1", "greater than or equal to 0"),
            ("much", "Enter an amount in digits"),
            ("NaN", "Enter an amount in digits"),
            ("Infinity", "Enter an amount in digits"),
            ("1e99999999", "more than 160 digits"),
            ("1e999999", "more than 160 digits"),
            ("9" * 79, "larger than any token can have"),
            ("9" * 400, "more than 160 digits"),
            (EVIL, "Enter an amount in digits"),
        ],
    )
    @pytest.mark.parametrize("agreed", [{}, {"agreed": "yes"}])
    def test_is_refused_beside_the_amount(
        self, alice: Client, url: str, amount: str, sentence: str, agreed: dict[str, str]
    ) -> None:
        answer = alice.post(url, {"amount": amount, **agreed})

        assert answer.status_code == 400
        assert sentence in answer.text
        assert EVIL not in answer.text
        assert not Transaction.objects.exists()

    @pytest.mark.parametrize("decimals", [0, 6, 77])
    def test_takes_the_last_unit_of_any_token(self, alice: Client, cast: Cast, decimals: int) -> None:
        token = builders.make_token("T", decimals=decimals)
        large = builders.make_account(
            wallet=builders.make_wallet(team=cast.team), token=token, available_wei=MOST
        )
        url = f"{PAGE}{large.pk}/withdraw/"

        shown = alice.post(url, {"amount": ""}).text
        amount = re.search(r'name="amount" value="([\d.]+)"', shown)
        assert amount is not None
        alice.post(url, {"amount": amount[1], "agreed": "yes"})

        assert Transaction.objects.get().data[-32:] == b"\xff" * 32

    def test_says_so_where_nothing_is_there(self, alice: Client, account: EscrowAccount, url: str) -> None:
        EscrowAccount.objects.update(available_wei=0)

        page, shown = alice.get(PAGE).text, alice.get(url)

        assert "Nothing to take back." in page and "Take back…" not in page
        assert shown.status_code == 200
        assert "1 OCEAN is locked for jobs." in text(shown.text)
        assert alice.post(url, {"amount": "", "agreed": "yes"}).status_code == 400


class TestRelease:
    def test_frees_what_is_over_its_time(self, alice: Client, account: EscrowAccount) -> None:
        EscrowAccount.objects.update(locks=[builders.make_lock(expires_at=1)])

        before = alice.get(PAGE).text
        alice.post(f"{PAGE}{account.pk}/release/")

        assert "Over its time" in before and "Free locks" in before
        assert Transaction.objects.get().purpose == Transaction.Purpose.RELEASE

    def test_is_not_offered_before(self, alice: Client, account: EscrowAccount) -> None:
        page = alice.get(PAGE).text
        answer = alice.post(f"{PAGE}{account.pk}/release/", follow=True)

        assert "Free locks" not in page
        assert "No lock of this account is over its time." in answer.text
        assert not Transaction.objects.exists()


class TestActs:
    def test_tell_how_far_they_are(self, alice: Client, account: EscrowAccount) -> None:
        builders.make_act(wallet=account.wallet, status=Status.REVERTED, trouble=f"It was undone: {EVIL}.")
        builders.make_act(wallet=account.wallet, status=Status.CANCELLED)

        html = alice.get(PAGE).text

        assert "Reverted" in html and "Cancelled" in html
        assert "It was undone: &lt;img" in html

    def test_that_nobody_signed_can_be_taken_back(self, alice: Client, account: EscrowAccount) -> None:
        act = builders.make_act(wallet=account.wallet)

        page = alice.get(PAGE).text
        answer = alice.post(f"/coastal/transactions/{act.pk}/cancel/")

        act.refresh_from_db()
        assert "Take back</button>" in page and "Speed up</button>" not in page
        assert answer.headers["Location"] == PAGE
        assert act.status == Status.WITHDRAWN


class TestLedger:
    def test_lists_what_differs_in_what_is_the_team_s(
        self, vera: Client, cast: Cast, account: EscrowAccount
    ) -> None:
        act = builders.make_act(wallet=account.wallet, status=Status.CONFIRMED)
        job = builders.make_job(team=cast.team, state=State.RUNNING)
        about = [act.tx_hash, account.wallet.address, str(job.pk), "77", "demo, OCEAN"]
        builders.make_comparison(*({"kind": "k", "about": x, "sentence": f"{EVIL} {x}"} for x in about))

        html = vera.get(PAGE).text

        assert all(f"&lt;img src=x onerror=1&gt; {x}<" in html for x in about)

    def test_lists_nothing_of_others(self, vera: Client, cast: Cast, account: EscrowAccount) -> None:
        wallet = builders.make_wallet(team=cast.other_team, address="0x" + "22" * 20)
        builders.make_account(wallet=wallet, locks=[builders.make_lock(id="78")])
        job = builders.make_job(team=cast.other_team)
        about = [wallet.address, str(job.pk), "78", "Harbour node", "demo, OCEAN"]
        builders.make_comparison(*({"kind": "k", "about": x, "sentence": "Their secret"} for x in about))

        html = vera.get(PAGE).text

        assert "Their secret" not in html
        assert "They agree in all that is this team's" in html

    def test_is_told_to_an_owner_at_home(self, alice: Client, bob: Client, account: EscrowAccount) -> None:
        builders.make_comparison({"kind": "gap", "about": account.wallet.address, "sentence": "x"})

        pages = [client.get("/coastal/").text for client in (alice, bob)]

        told = 'href="/coastal/escrow/#ledger">see which</a>'
        assert [told in html for html in pages] == [True, False]
        assert "The ledger and the chain differ in 1 thing," in pages[0]

    def test_is_not_spoken_of_where_the_last_one_found_nothing(
        self, alice: Client, account: EscrowAccount
    ) -> None:
        builders.make_comparison({"kind": "gap", "about": account.wallet.address, "sentence": "x"})
        builders.make_comparison(at=builders.NOW + timedelta(days=1))

        assert "differ in" not in alice.get("/coastal/").text
        assert "They agree" in alice.get(PAGE).text


def test_network_without_an_explorer_gets_no_link(alice: Client, account: EscrowAccount) -> None:
    Network.objects.update(explorer_url="javascript:alert(1)//")
    builders.make_act(
        wallet=account.wallet, status=Status.SENT, earlier=[{"tx_hash": "0xab", "cancels": False}]
    )

    assert "javascript:" not in alice.get(PAGE).text
