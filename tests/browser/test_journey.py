"""What a person does with the portal, in a real browser, beside the three real processes of `make demo`."""

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Demo

pytestmark = [pytest.mark.xdist_group("browser"), pytest.mark.timeout(280)]

END_MS = 90_000
PAGES = ("", "jobs/", "jobs/launch/", "catalogue/", "catalogue/find/", "environments/", "wallets/")
CODE = """
import pathlib
found = [path for path in pathlib.Path("/data/inputs").rglob("*") if path.is_file() and path.parent.name != "inputs"]
print(len(found), "files came")
pathlib.Path("/data/outputs/count.txt").write_text(str(len(found)))
"""


def named(name: str) -> re.Pattern[str]:
    """Match what bears this name itself, and not another one, such as "name (v4)"."""
    return re.compile(rf"^{re.escape(name)} (?!\()")


def launch(page: Page, *, datasets: tuple[str, ...], algorithm: str, **parameters: str) -> None:
    """Fill in the launch form and press Launch."""
    page.goto("/demo/jobs/launch/")
    for dataset in datasets:
        page.get_by_role("checkbox", name=named(dataset)).check()
    page.get_by_role("radio", name=named(algorithm)).check()
    for label, value in parameters.items():
        # The algorithm's own parameters come with the choice, without a reload.
        page.locator("#launch-parameters").get_by_label(re.compile(label, re.IGNORECASE)).fill(value)
    page.get_by_role("button", name="Launch").click()
    page.wait_for_url(re.compile(r"/demo/jobs/[0-9a-f-]{36}/$"))


class TestTheMainJob:
    def test_is_launched_watched_and_its_results_are_opened(
        self, demo: Demo, open_as: Callable[..., Page], complaints: list[str], tmp_path: Path
    ) -> None:
        page = open_as("liam")
        launch(page, datasets=("US Constitution",), algorithm="Word count", seconds="8")
        address = page.url
        lines = page.locator("#log-lines > div")

        # The log moves while the algorithm runs, without a reload.
        expect(lines.first).to_be_visible(timeout=END_MS)
        seen = lines.count()
        expect(page.locator("#job-head")).to_contain_text("Running")
        page.wait_for_function(
            "seen => document.querySelectorAll('#log-lines > div').length > seen", arg=seen, timeout=END_MS
        )

        # The end comes by itself.
        expect(page.locator("#job-head")).to_contain_text("Succeeded", timeout=END_MS)
        assert page.url == address
        chart = page.get_by_role("img", name=re.compile("words.svg"))
        expect(chart).to_be_visible()
        assert chart.evaluate("image => image.complete && image.naturalWidth > 0")
        expect(page.locator("#results")).to_contain_text("words.csv")

        # What is downloaded is what was archived.
        row = page.get_by_role("row", name=re.compile("words.csv"))
        with page.expect_download() as download:
            row.get_by_role("link", name=re.compile("Download")).click()
        saved = tmp_path / "words.csv"
        download.value.save_as(saved)
        told = row.get_by_title(re.compile("^[0-9a-f]{64}$")).get_attribute("title")
        assert hashlib.sha256(saved.read_bytes()).hexdigest() == told
        assert saved.read_bytes().startswith(b"word,")

        page.reload()
        expect(page.locator("#history")).to_contain_text("Liam Launcher fetched words.csv")
        assert complaints == []

    def test_works_without_javascript(self, open_as: Callable[..., Page]) -> None:
        page = open_as("liam", javascript=False)

        launch(page, datasets=("Iris flowers",), algorithm="Summary statistics")

        expect(page.locator("#job-head")).to_contain_text("Succeeded", timeout=END_MS)
        expect(page.locator("#results")).to_contain_text("chart.svg")

    def test_takes_several_datasets(self, open_as: Callable[..., Page]) -> None:
        page = open_as("olivia")

        launch(page, datasets=("Iris flowers", "Mauna Loa CO2"), algorithm="Summary statistics")

        expect(page.locator("#job-head")).to_contain_text("Succeeded", timeout=END_MS)
        expect(page.locator("#results")).to_contain_text("petal_width")
        expect(page.locator("#log")).to_contain_text("2 input file(s)")

    def test_that_fails_says_why(self, open_as: Callable[..., Page]) -> None:
        page = open_as("liam")

        launch(page, datasets=("Iris flowers",), algorithm="Failing example")

        expect(page.locator("#job-head")).to_contain_text("Failed", timeout=END_MS)
        expect(page.get_by_role("region", name="What happened")).to_contain_text("exit code 1")
        expect(page.locator("#log")).to_contain_text("Traceback")

    def test_is_stopped_and_run_again(self, open_as: Callable[..., Page]) -> None:
        page = open_as("liam")
        launch(page, datasets=("US Constitution",), algorithm="Word count", seconds="60")
        first = page.url
        expect(page.locator("#log-lines > div").first).to_be_visible(timeout=END_MS)

        page.get_by_role("button", name="Stop").click()
        expect(page.locator("#job-head")).to_contain_text("Cancelled", timeout=END_MS)
        page.get_by_role("button", name="Run again").click()
        page.wait_for_url(lambda url: url != first)
        expect(page.locator("#inputs")).to_contain_text('"seconds": 60')

        page.get_by_role("button", name="Stop").click()
        expect(page.locator("#job-head")).to_contain_text("Cancelled", timeout=END_MS)


class TestOwnCodeAtAProvider:
    @pytest.mark.parametrize("javascript", [True, False], ids=["scripts", "no scripts"])
    def test_is_ordered_run_and_told_as_ended(
        self, open_as: Callable[..., Page], complaints: list[str], javascript: bool
    ) -> None:
        page = open_as("olivia", javascript=javascript)
        page.goto("/demo/jobs/launch/")
        for dataset in ("Iris flowers (v4)", "US Constitution (v4)"):
            page.get_by_role("checkbox", name=named(dataset)).check()
        page.get_by_role("radio", name=named("Code of your own")).check()
        page.get_by_label("Code", exact=True).fill(CODE)

        page.get_by_role("button", name="Launch").click()

        expect(page.locator("#job-head")).to_contain_text("the service does not tell how", timeout=END_MS)
        expect(page.locator("#log")).to_contain_text("2 files came")
        expect(page.locator("#results")).to_contain_text("count.txt")
        expect(page.locator("#orders")).to_contain_text("US Constitution (v4)")
        page.get_by_text("The code and its container").click()
        expect(page.locator("#inputs")).to_contain_text("files came")
        assert complaints == []


class TestFinding:
    def test_asks_both_dialects_and_knows_what_the_team_has(self, open_as: Callable[..., Page]) -> None:
        page = open_as("olivia")
        page.goto("/demo/catalogue/find/")

        page.get_by_label("Words").fill("flowers")
        page.get_by_role("button", name="Find").click()

        expect(page.locator("#found")).to_contain_text("4 found")
        expect(page.locator("#found")).to_contain_text("Iris flowers (v4)")
        expect(page.locator("#found").get_by_role("link", name="In the catalogue")).to_have_count(4)


class TestAddingANode:
    def test_tells_what_stands_at_the_address(self, demo: Demo, open_as: Callable[..., Page]) -> None:
        page = open_as("olivia")
        page.goto("/admin/jobs/node/add/")
        page.locator("#id_name").fill("Second")
        page.locator("#id_network").select_option(index=1)
        page.locator("#id_allow_private").check()

        page.locator("#id_base_url").fill(f"http://localhost:{demo.ports[2]}")  # the chain
        page.get_by_role("button", name="Save", exact=True).click()
        expect(page.locator(".errorlist").first).to_contain_text("no compute service")

        page.locator("#id_base_url").fill(f"http://localhost:{demo.ports[1]}")
        page.get_by_role("button", name="Save", exact=True).click()
        expect(page.locator(".messagelist")).to_contain_text("Ocean-Node")
        page.goto("/demo/environments/")
        expect(page.locator("main")).to_contain_text("Second")


class TestBadInput:
    def test_stays_in_the_form_with_a_sentence_beside_it(self, open_as: Callable[..., Page]) -> None:
        page = open_as("liam")
        page.goto("/demo/jobs/launch/")
        page.get_by_role("checkbox", name=named("Iris flowers")).check()
        page.get_by_role("radio", name=named("Summary statistics")).check()
        page.get_by_label(re.compile("Name")).fill("kept as entered")
        page.locator("main summary").click()
        page.get_by_label(re.compile("JSON")).last.fill("{no json")

        page.get_by_role("button", name="Launch").click()

        expect(page.get_by_role("alert")).to_contain_text("Nothing was launched")
        expect(page.locator("form#launch")).to_contain_text("JSON")
        expect(page.get_by_label(re.compile("Name"))).to_have_value("kept as entered")
        expect(page.get_by_role("checkbox", name=named("Iris flowers"))).to_be_checked()

    def test_an_unknown_did_is_told_beside_the_field(self, open_as: Callable[..., Page]) -> None:
        page = open_as("olivia")
        page.goto("/demo/catalogue/")

        page.get_by_label(re.compile("DID")).first.fill("did:op:" + "0" * 64)
        page.get_by_role("button", name=re.compile("Add")).click()

        expect(page.get_by_text("None of the portal's nodes knows this DID")).to_be_visible()


class TestEveryPage:
    @pytest.mark.parametrize("width", [360, 1600])
    def test_fits_its_window_and_breaks_no_rule_of_the_browser(
        self, open_as: Callable[..., Page], complaints: list[str], width: int
    ) -> None:
        page = open_as("olivia", width=width)

        for path in PAGES:
            page.goto(f"/demo/{path}")
            assert page.evaluate("document.documentElement.scrollWidth") <= width, path

        assert complaints == []

    def test_lets_a_viewer_look_but_not_launch(self, open_as: Callable[..., Page]) -> None:
        page = open_as("vera")

        expect(page.get_by_role("link", name="Launch a job")).to_have_count(0)
        refused = page.goto("/demo/jobs/launch/")

        assert refused is not None
        assert refused.status == 403
        expect(page.locator("main")).to_contain_text("viewer")


class TestSingleKeys:
    def test_work_until_they_are_switched_off_and_stay_off(
        self, open_as: Callable[..., Page], complaints: list[str]
    ) -> None:
        page = open_as("vera")
        page.goto("/demo/jobs/")
        search = page.get_by_role("searchbox")
        page.keyboard.press("/")
        expect(search).to_be_focused()

        page.get_by_text("Keyboard", exact=True).click()
        page.get_by_role("button", name="Single-key shortcuts", pressed=True).click()
        page.reload()
        page.keyboard.press("/")
        expect(search).not_to_be_focused()
        page.keyboard.press("g")
        page.keyboard.press("c")
        page.get_by_text("Keyboard", exact=True).click()
        expect(page).to_have_url(re.compile("/demo/jobs/$"))

        page.get_by_role("button", name="Single-key shortcuts", pressed=False).click()
        page.keyboard.press("g")
        page.keyboard.press("c")
        page.wait_for_url("**/demo/catalogue/")
        page.keyboard.press("/")
        expect(page.get_by_role("searchbox").first).to_be_focused()
        assert complaints == []


class TestTheDemo:
    def test_keeps_its_jobs_over_a_restart_and_serves_the_command_line(
        self, demo: Demo, open_as: Callable[..., Page]
    ) -> None:
        arguments = ["--team", "demo", "--wallet", "demo", "--environment", "free", "--wait", "--json"]
        names = ["--dataset", "Iris flowers", "--algorithm", "Summary statistics"]
        done = demo.manage("launch_job", *arguments, *names)
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        assert told["state"] == "SUCCEEDED"

        demo.stop()
        demo.start()

        page = open_as("vera")
        page.goto(f"/demo/jobs/{told['id']}/")
        expect(page.locator("#job-head")).to_contain_text("Succeeded")
        expect(page.get_by_role("img", name=re.compile("chart.svg"))).to_be_visible()
        again = demo.manage("launch_job", *arguments, *names)
        assert again.returncode == 0, again.stderr
        assert {r["sha256"] for r in json.loads(again.stdout)["results"] if r["name"] == "summary.csv"} == {
            r["sha256"] for r in told["results"] if r["name"] == "summary.csv"
        }
