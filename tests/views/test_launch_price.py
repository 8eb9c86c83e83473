"""The launch page where a job costs something: what it offers, the price, and that nothing is launched unseen."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client

from jobs.errors import InvalidInput
from jobs.lifecycle import State
from jobs.models import Job, Token, WalletGrant
from jobs.services import choosing, quoting
from jobs.services.quoting import Amount, Quote, QuoteLine, TokenSum
from tests import builders
from tests.builders import NOW
from tests.conftest import Cast
from tests.views.rendering import queries_while_rendering
from tests.views.test_launch import KEY, PAGE, Desk, errors

QUOTE = f"{PAGE}quote/"
OCEAN = "0x5FbDB2315678afecb367f032d93F642f64180aa3"
USDC = "0xe7f1725E7734CE288F8367e1Bb143E90bb3F0512"
FEES = [
    {"feeToken": OCEAN, "prices": [{"id": "cpu", "price": 1}]},
    {"feeToken": USDC, "prices": [{"id": "cpu", "price": 0.5}]},
]


def amount(wei: int, *, symbol: str = "OCEAN", token: str = OCEAN, decimals: int = 18) -> Amount:
    exact = Decimal(wei).scaleb(-decimals)
    return Amount(token=token, symbol=symbol, exact=exact, wei=wei, decimals=decimals)


class FarSide:
    """Stands in for what a quote asks. price: in wei; it notes what was asked for."""

    def __init__(self) -> None:
        self.price = 2_610_000_000_000_000_000
        self.asked: list[Any] = []
        self.troubles: tuple[str, ...] = ()
        self.failure: Exception | None = None

    def quote(self, *, actor: Any, request: Any, clock: Any, purpose: Any = None) -> Quote:
        plan = choosing.plan(actor=actor, request=request)
        if plan.free and not plan.takes_orders:
            return quoting._free(plan=plan, now=NOW)
        self.asked.append(request)
        if self.failure is not None:
            raise self.failure
        total, nothing = amount(self.price), amount(0)
        paid = self.price > 0
        return Quote(
            lines=(
                QuoteLine(what="“Iris <b>flowers</b>”: given away", amount=None),
                QuoteLine(what="Compute time, at the most", amount=total),
            ),
            sums=(TokenSum(total=total, has=amount(10**18), escrowed=amount(5), missing=nothing),)
            if paid
            else (),
            most={OCEAN: self.price} if paid else {},
            transactions=7,
            gas=Decimal("0.00175125"),
            coin=Decimal(1),
            network="Sandbox",
            environment="Paid hall",
            node="Harbour node",
            wallet="demo",
            free=plan.free,
            asked=True,
            escrow=not plan.free,
            lasts_s=plan.max_duration_s,
            least_s=10,
            resources=(("cpu", 2.0),),
            valid_until=NOW,
            troubles=self.troubles,
            plan=plan,
            barred=quoting._barred(actor=actor, plan=plan),
        )


@pytest.fixture
def far(monkeypatch: pytest.MonkeyPatch) -> FarSide:
    """Patched by name: what a quote asks is tested with the services, over a real chain."""
    side = FarSide()
    monkeypatch.setattr(quoting, "quote", side.quote)
    return side


@pytest.fixture
def desk(cast: Cast) -> Desk:
    """What the team can launch, where jobs can be paid in two tokens."""
    desk = Desk(cast)
    desk.environment.raw = {**desk.environment.raw, "fees": {"8996": FEES}}
    desk.environment.save()
    Token.objects.create(network=desk.node.network, address=OCEAN, symbol="<b>OCEAN</b>", decimals=18)
    return desk


def paid(desk: Desk, **changes: Any) -> dict[str, Any]:
    return desk.filled(**({"environment": f"{desk.environment.pk}-paid", "token": OCEAN} | changes))


def agreed(html: str) -> str:
    """Return what the page sends back of the price that it shows."""
    found = re.search(r'name="agreed" value="([^"]*)"', html)
    assert found is not None
    return found[1]


def ask(client: Client, data: dict[str, Any]) -> str:
    response = client.post(QUOTE, data, headers={"HX-Request": "true"})
    assert response.status_code == 200
    return response.text


class TestPage:
    def test_offers_free_and_paid_places_beside_each_other(self, bob: Client, desk: Desk) -> None:
        html = bob.get(PAGE).text

        assert "The cheapest paid place that fits" in html
        assert f'value="{desk.environment.pk}"' in html
        assert f'value="{desk.environment.pk}-paid"' in html
        assert "cpu 1 <span title" in html

    def test_begins_with_a_paid_place_where_nothing_is_free(self, bob: Client, desk: Desk) -> None:
        desk.environment.raw.pop("free")
        desk.environment.has_free_tier = False
        desk.environment.save()

        html = bob.get(PAGE).text

        assert 'value="paid" checked' in html
        assert 'value="free"' not in html

    def test_asks_for_tokens_and_resources_of_a_paid_place_alone(self, bob: Client, desk: Desk) -> None:
        def fragment(value: str) -> str:
            return bob.get(f"{PAGE}parameters/", {"environment": value}, headers={"HX-Request": "true"}).text

        there, free = fragment(f"{desk.environment.pk}-paid"), fragment(str(desk.environment.pk))

        assert 'name="token"' in there
        assert re.search(r'name="resource-ram" step="any"[^>]* min="1.0" max="4.0"', there)
        assert "CPU (cores)" in there
        assert "(3600 s)" in there
        assert 'name="token"' not in free
        assert "resource-" not in free
        assert "(120 s)" in free

    def test_shows_strangers_words_as_text(self, bob: Client, desk: Desk) -> None:
        html = bob.get(PAGE).text

        assert "<b>OCEAN</b>" not in html
        assert "&lt;b&gt;OCEAN&lt;/b&gt;" in html

    def test_asks_nobody_by_itself(self, bob: Client, desk: Desk, far: FarSide) -> None:
        bob.get(PAGE)

        assert far.asked == []

    def test_asks_the_database_nothing_while_rendering(self, bob: Client, desk: Desk, far: FarSide) -> None:
        with queries_while_rendering() as late:
            bob.post(PAGE, paid(desk))

        assert late == []


class TestQuote:
    def test_shows_lines_totals_gas_and_the_button(self, bob: Client, desk: Desk, far: FarSide) -> None:
        html = ask(bob, paid(desk, **{"resource-cpu": "2"}))

        assert "Launch for at most 2.61 OCEAN" in html
        assert "Gas of 7 transactions" in html
        assert "0.001752" in html
        assert "Failed and stopped jobs are charged" in html
        assert agreed(html)
        assert "<html" not in html
        (asked,) = far.asked
        assert (asked.paid, asked.token, asked.resources) == (True, OCEAN, {"cpu": 2.0})

    def test_is_said_in_one_sentence(self, bob: Client, desk: Desk, far: FarSide) -> None:
        said = r'<p id="price-say" hx-swap-oob="innerHTML">At most 2.61 OCEAN. </p>'

        assert said in ask(bob, paid(desk))
        assert "hx-swap-oob" not in bob.post(QUOTE, paid(desk)).text

    def test_says_who_can_grant_the_wallet_and_offers_no_launch(
        self, bob: Client, desk: Desk, far: FarSide
    ) -> None:
        WalletGrant.objects.all().delete()

        html = ask(bob, paid(desk))

        assert "Nobody has granted you the use of the wallet" in html
        assert "Alice can grant it to you." in html
        assert 'id="launch-go"' not in html and 'name="agreed" value=""' in html
        assert "2.61" in html  # the price is told all the same

    def test_of_a_free_start_at_a_node_needs_no_grant(self, bob: Client, desk: Desk, far: FarSide) -> None:
        WalletGrant.objects.all().delete()

        html = ask(bob, desk.filled())

        assert "granted" not in html and 'id="launch-go"' in html

    def test_shows_names_as_text(self, bob: Client, desk: Desk, far: FarSide) -> None:
        assert "Iris &lt;b&gt;flowers" in ask(bob, paid(desk))

    def test_of_a_free_start_at_a_node_is_free(self, bob: Client, desk: Desk, far: FarSide) -> None:
        html = ask(bob, desk.filled())

        assert "Free: nothing is paid" in html
        assert "for at most" not in html.split("The same job elsewhere")[0]
        assert far.asked == []

    def test_lists_what_it_costs_elsewhere(self, bob: Client, desk: Desk, far: FarSide) -> None:
        html = ask(bob, paid(desk))

        assert re.search(rf'name="place" value="{desk.environment.pk}-paid {USDC}"', html)
        assert re.search(rf'name="place" value="{desk.environment.pk}" ', html)
        assert "chosen" in html

    def test_says_what_is_still_missing(self, bob: Client, desk: Desk, far: FarSide) -> None:
        html = ask(bob, paid(desk, datasets=[], **{"resource-ram": "64"}))

        assert "Choose at least one dataset." in html
        assert "RAM (GB): A job gets 1 to 4 of it here." in html
        assert far.asked == []
        assert agreed(html) == ""

    def test_says_why_there_is_no_price(self, bob: Client, desk: Desk, far: FarSide) -> None:
        far.failure = InvalidInput("harbour stopped answering. Look at the price again in a moment.")

        html = ask(bob, paid(desk))

        assert "<b>There is no price.</b> harbour stopped answering." in html
        assert "The same job elsewhere" in html
        assert agreed(html) == ""

    def test_that_could_not_be_paid_cannot_be_launched(self, bob: Client, desk: Desk, far: FarSide) -> None:
        far.troubles = ("The wallet lacks 5 OCEAN.",)

        html = ask(bob, paid(desk))

        assert "The wallet lacks 5 OCEAN." in html
        assert 'id="launch-go" disabled' in html
        assert agreed(html) == ""

    def test_is_a_whole_page_without_scripts(self, bob: Client, desk: Desk, far: FarSide) -> None:
        html = bob.post(QUOTE, paid(desk)).text

        assert "<html" in html
        assert "Launch for at most 2.61 OCEAN" in html

    @pytest.mark.parametrize(("member", "status"), [("vera", 403), ("charlie", 404)])
    def test_is_for_those_who_may_launch(
        self, sign_in: Callable[[str], Client], desk: Desk, far: FarSide, member: str, status: int
    ) -> None:
        assert sign_in(member).post(QUOTE, paid(desk)).status_code == status
        assert far.asked == []

    def test_sends_a_stranger_to_the_door(self, client: Client, desk: Desk, far: FarSide) -> None:
        assert client.post(QUOTE, paid(desk)).status_code == 302

    def test_is_not_had_by_looking(self, bob: Client, desk: Desk, far: FarSide) -> None:
        assert bob.get(QUOTE).status_code == 405


class TestLaunch:
    def test_at_the_price_that_was_seen_agrees_to_it(self, bob: Client, desk: Desk, far: FarSide) -> None:
        seen = agreed(ask(bob, paid(desk, **{"resource-cpu": "2"})))

        response = bob.post(PAGE, paid(desk, agreed=seen, **{"resource-cpu": "2"}))

        job = Job.objects.get()
        assert response.headers["Location"] == f"/coastal/jobs/{job.pk}/"
        assert (job.free, job.payment_token, job.resources) == (False, OCEAN, {"cpu": 2.0})
        assert job.most == {OCEAN: "2610000000000000000"}
        assert len(far.asked) == 1

    def test_without_a_price_shows_it_first(self, bob: Client, desk: Desk, far: FarSide) -> None:
        first = bob.post(PAGE, paid(desk, name="Mine"))

        assert first.status_code == 200
        assert not Job.objects.exists()
        assert "Nothing was launched yet." in first.text
        assert "Launch for at most 2.61 OCEAN" in first.text
        assert 'value="Mine"' in first.text
        assert f'name="launch_key" value="{KEY}"' in first.text

        bob.post(PAGE, paid(desk, name="Mine", agreed=agreed(first.text)))

        assert Job.objects.get().most == {OCEAN: str(far.price)}

    @pytest.mark.parametrize(
        "change", [{"max_duration_s": "61"}, {"resource-cpu": "2"}, {"token": USDC}, {"environment": "paid"}]
    )
    def test_of_something_else_than_was_seen_is_refused(
        self, bob: Client, desk: Desk, far: FarSide, change: dict[str, str]
    ) -> None:
        seen = agreed(ask(bob, paid(desk, token=USDC) if "environment" in change else paid(desk)))

        response = bob.post(PAGE, paid(desk, agreed=seen) | change)

        assert response.status_code == 400
        assert "The choice changed since this price was shown" in response.text
        assert "Launch for at most 2.61 OCEAN" in response.text
        assert not Job.objects.exists()

    def test_at_a_price_of_one_s_own_making_is_refused(self, bob: Client, desk: Desk, far: FarSide) -> None:
        seen = agreed(ask(bob, paid(desk)))

        response = bob.post(PAGE, paid(desk, agreed=seen.replace(":", "x:", 1)))

        assert response.status_code == 400
        assert not Job.objects.exists()

    def test_makes_one_job_of_a_double_click(self, bob: Client, desk: Desk, far: FarSide) -> None:
        seen = agreed(ask(bob, paid(desk)))

        first, second = (bob.post(PAGE, paid(desk, agreed=seen)) for _ in range(2))

        assert first.headers["Location"] == second.headers["Location"]
        assert Job.objects.count() == 1

    def test_that_could_not_be_paid_is_not_made(self, bob: Client, desk: Desk, far: FarSide) -> None:
        far.troubles = ("The wallet lacks 5 OCEAN.",)

        html = bob.post(PAGE, paid(desk)).text

        assert "The wallet lacks 5 OCEAN." in html
        assert not Job.objects.exists()

    def test_shows_why_there_is_no_price(self, bob: Client, desk: Desk, far: FarSide) -> None:
        far.failure = InvalidInput("harbour stopped answering.")

        html = bob.post(PAGE, paid(desk)).text

        assert "harbour stopped answering." in html
        assert not Job.objects.exists()

    def test_keeps_what_was_entered_beside_an_error(self, bob: Client, desk: Desk, far: FarSide) -> None:
        response = bob.post(PAGE, paid(desk, **{"resource-ram": "64", "max_duration_s": "77"}))

        assert response.status_code == 400
        assert "A job gets 1 to 4 of it here." in errors(response.text)["resource-ram"]
        assert 'value="64"' in response.text
        assert 'value="77"' in response.text
        assert far.asked == []


class TestLaunchWithoutGrant:
    def test_is_refused_although_its_price_was_seen_with_one(
        self, bob: Client, desk: Desk, far: FarSide
    ) -> None:
        seen = agreed(ask(bob, paid(desk)))
        WalletGrant.objects.all().delete()

        answer = bob.post(PAGE, paid(desk, agreed=seen))

        assert (answer.status_code, "Alice can grant it" in answer.text) == (403, True)
        assert not Job.objects.exists()

    def test_without_a_price_shows_it_and_launches_nothing(
        self, bob: Client, desk: Desk, far: FarSide
    ) -> None:
        WalletGrant.objects.all().delete()

        answer = bob.post(PAGE, paid(desk))

        assert "Nobody has granted you" in answer.text
        assert not Job.objects.exists()


class TestFreeStartWithOrders:
    """At a Provider even a free start needs orders, and an asset may have a price."""

    @pytest.fixture
    def desk(self, cast: Cast) -> Desk:
        """What the team can launch at a Provider."""
        desk = Desk(cast)
        node = builders.make_provider_node()
        desk.environment = builders.make_environment(node=node)
        desk.dataset = builders.make_asset(team=cast.team, node=node, name="Tides")
        desk.dataset.services[0]["compute"]["trusted_algorithms"] = [{"did": "*"}]
        return desk

    def filled(self, desk: Desk, **changes: Any) -> dict[str, Any]:
        return desk.filled(environment=str(desk.environment.pk), **changes)

    def test_that_costs_gas_alone_is_launched_at_once(self, bob: Client, desk: Desk, far: FarSide) -> None:
        far.price = 0

        bob.post(PAGE, self.filled(desk))

        assert Job.objects.get().most == {}

    def test_that_costs_more_is_shown_first(self, bob: Client, desk: Desk, far: FarSide) -> None:
        first = bob.post(PAGE, self.filled(desk)).text
        assert not Job.objects.exists()

        bob.post(PAGE, self.filled(desk, agreed=agreed(first)))

        job = Job.objects.get()
        assert (job.free, job.most) == (True, {OCEAN: str(far.price)})

    def test_is_left_to_the_worker_when_nobody_answers(self, bob: Client, desk: Desk, far: FarSide) -> None:
        far.failure = InvalidInput("quay stopped answering.")

        bob.post(PAGE, self.filled(desk))

        assert Job.objects.get().most == {}


class TestWithoutScripts:
    def test_a_button_shows_the_price_without_launching(self, bob: Client, desk: Desk, far: FarSide) -> None:
        response = bob.post(PAGE, paid(desk, show="price", name="Mine"))

        assert response.status_code == 200
        assert "Launch for at most 2.61 OCEAN" in response.text
        assert 'value="Mine"' in response.text
        assert errors(response.text) == {}
        assert not Job.objects.exists()

    def test_a_button_chooses_another_place_and_shows_its_price(
        self, bob: Client, desk: Desk, far: FarSide
    ) -> None:
        response = bob.post(PAGE, desk.filled(place=f"{desk.environment.pk}-paid {USDC}"))

        assert f'value="{desk.environment.pk}-paid" checked' in response.text
        assert f'<option value="{USDC}" selected>' in response.text
        assert far.asked[0].token == USDC
        assert not Job.objects.exists()

    def test_a_button_shows_what_a_place_offers(self, bob: Client, desk: Desk, far: FarSide) -> None:
        html = bob.post(PAGE, paid(desk, show="terms")).text

        assert 'name="resource-cpu"' in html
        assert far.asked == []


class TestAgain:
    def test_carries_place_token_and_resources(self, bob: Client, cast: Cast, desk: Desk) -> None:
        job = builders.make_job(
            team=cast.team,
            datasets=[desk.dataset],
            environment=desk.environment,
            free=False,
            payment_token=USDC,
            resources={"ram": 3},
            most={USDC: "5"},
        )

        html = bob.get(f"{PAGE}?rerun={job.pk}").text

        assert f'value="{desk.environment.pk}-paid" checked' in html
        assert f'<option value="{USDC}" selected>' in html
        assert 'name="resource-ram" value="3"' in html
        assert 'hx-trigger="load,' in html
        assert agreed(html) == ""

    def test_in_place_of_a_job_that_waits_ends_it(
        self, bob: Client, cast: Cast, desk: Desk, far: FarSide
    ) -> None:
        stuck = builders.make_job(
            team=cast.team,
            datasets=[desk.dataset],
            launched_by=cast.bob,
            state=State.NEEDS_ATTENTION,
            attention_from=State.STARTING,
        )
        page = bob.get(f"{PAGE}?instead_of={stuck.pk}").text
        assert f'name="instead_of" value="{stuck.pk}"' in page
        assert "the job that waits for a decision" in page
        assert not re.search(r'name="environment" value="[^"]*" checked', page)
        seen = agreed(ask(bob, paid(desk, instead_of=str(stuck.pk))))

        bob.post(PAGE, paid(desk, instead_of=str(stuck.pk), agreed=seen))

        stuck.refresh_from_db()
        assert stuck.state == State.CANCELLED
        assert Job.objects.exclude(pk=stuck.pk).get().state == State.REQUESTED

    def test_in_place_of_a_job_that_does_not_wait_is_refused(
        self, bob: Client, cast: Cast, desk: Desk, far: FarSide
    ) -> None:
        running = builders.make_job(team=cast.team, launched_by=cast.bob, state=State.RUNNING)

        response = bob.post(PAGE, desk.filled(instead_of=str(running.pk)))

        assert response.status_code == 400
        assert "does not wait for anybody any more" in response.text
        assert Job.objects.count() == 1
