"""What a person sees of a price before a launch, in a real browser, with real contracts below."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.test_journey import END_MS, named

pytestmark = [pytest.mark.xdist_group("browser"), pytest.mark.timeout(280)]


def choose(page: Page, *, dataset: str, algorithm: str) -> None:
    page.goto("/demo/jobs/launch/")
    page.get_by_role("checkbox", name=re.compile(f"^{re.escape(dataset)} (?!\\()")).check()
    page.get_by_role("radio", name=re.compile(f"^{re.escape(algorithm)} (?!\\()")).check()


class TestPaidCompute:
    def test_shows_its_price_while_it_is_entered_and_is_launched_at_it(
        self, open_as: Callable[..., Page], complaints: list[str]
    ) -> None:
        page = open_as("liam")
        choose(page, dataset="Iris flowers", algorithm="Summary statistics")
        go = page.locator("#launch-go")
        with page.expect_response(re.compile("/launch/parameters/.*environment=paid")):
            page.get_by_role("radio", name=named("The cheapest paid place that fits")).check()
        expect(go).to_have_text("Launch for at most 66 OCEAN")

        asked: list[str] = []
        page.on("request", lambda r: asked.append(r.url) if r.url.endswith("/launch/quote/") else None)
        page.get_by_label(re.compile("Stop after")).press_sequentially("120", delay=50)
        page.get_by_label(re.compile("CPU")).press_sequentially("2", delay=50)
        expect(go).to_have_text("Launch for at most 4.2 OCEAN")
        assert len(asked) == 1  # not one for each key
        expect(page.get_by_label(re.compile("CPU"))).to_be_focused()
        expect(page.locator("#quote")).to_contain_text("The same job elsewhere")

        go.click()

        expect(page.locator("#job-head")).to_contain_text("Succeeded", timeout=END_MS)
        assert complaints == []

    def test_chooses_another_place_by_its_price(
        self, open_as: Callable[..., Page], complaints: list[str]
    ) -> None:
        page = open_as("liam", width=360)
        choose(page, dataset="Iris flowers", algorithm="Summary statistics")
        page.get_by_role("radio", name=named("The cheapest paid place that fits")).check()
        expect(page.locator("#launch-go")).to_contain_text("OCEAN")

        page.get_by_role("button", name=re.compile("^Choose .* USDC$")).click()

        expect(page.locator("#launch-go")).to_contain_text("USDC")
        expect(page.locator("#launch-terms").get_by_label(re.compile("Paid in"))).to_have_value(
            re.compile("^0x")
        )
        assert page.evaluate("document.documentElement.scrollWidth") == 360
        assert complaints == []

    def test_works_without_javascript(self, open_as: Callable[..., Page]) -> None:
        page = open_as("liam", javascript=False)
        choose(page, dataset="Iris flowers (priced, v4)", algorithm="Summary statistics (v4)")
        page.get_by_role("radio", name=named("ocean-compute2")).check()

        page.get_by_role("button", name="Launch", exact=True).click()
        expect(page.get_by_role("alert")).to_contain_text("Nothing was launched yet.")
        expect(page.locator("#quote")).to_contain_text("Iris flowers (priced, v4)”: 1 datatoken")
        page.get_by_role("button", name=re.compile(r"^Launch for at most 2\.\d+ OCEAN$")).click()

        expect(page.locator("#job-head")).to_contain_text("the service does not tell how", timeout=END_MS)
        expect(page.locator("#orders")).to_contain_text("Iris flowers (priced, v4)")
