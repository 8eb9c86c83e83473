"""Teams in addresses, the browser's rules, and errors as answers."""

from __future__ import annotations

import re
import uuid

import pytest
from django.contrib.messages import get_messages
from django.test import Client

from jobs.lifecycle import State
from tests import builders
from tests.conftest import Cast

HTMX = {"HX-Request": "true"}


class TestTeam:
    def test_does_not_exist_for_whoever_is_outside(self, cast: Cast, charlie: Client) -> None:
        assert charlie.get("/coastal/").status_code == 404
        assert charlie.get("/nowhere/").status_code == 404

    def test_is_not_told_apart_from_one_that_does_not_exist(self, cast: Cast, charlie: Client) -> None:
        foreign, unknown = (charlie.get(f"/{team}/jobs/").content.decode() for team in ("coastal", "nowhere"))

        token = re.compile(r'"X-CSRFToken": "\w+"')  # another one in every answer
        assert token.sub("", foreign) == token.sub("", unknown)

    def test_asks_strangers_to_sign_in(self, cast: Cast, client: Client) -> None:
        assert client.get("/coastal/jobs/")["Location"] == "/accounts/login/?next=/coastal/jobs/"

    def test_sends_a_fragments_whole_page_to_the_door(self, cast: Cast, client: Client) -> None:
        answer = client.get(
            "/coastal/jobs/", headers=HTMX | {"HX-Current-URL": "http://testserver/coastal/jobs/?q=a"}
        )

        assert answer.status_code == 200
        assert answer["HX-Redirect"] == "/accounts/login/?next=/coastal/jobs/%3Fq%3Da"

    def test_hides_objects_of_other_teams(self, cast: Cast, alice: Client) -> None:
        theirs = builders.make_job(team=cast.other_team, state=State.SUCCEEDED)
        result = builders.make_result(job=theirs)
        base = f"/coastal/jobs/{theirs.pk}/"

        for tail in (
            "",
            "status/",
            "log/",
            "results/",
            *(f"results/{result.pk}/{x}" for x in ("", "download/", "inline/")),
        ):
            assert alice.get(base + tail).status_code == 404, tail
        # A guess at the version that the page shows must not tell that there is such a job.
        assert alice.get(f"{base}status/", {"v": "1.0"}).status_code == 404
        for act in ("stop", "rerun", "go-on", "give-up"):
            assert alice.post(f"{base}{act}/").status_code == 404, act


class TestRules:
    def test_forbid_what_is_inline_or_from_elsewhere(self, cast: Cast, alice: Client) -> None:
        policy = alice.get("/coastal/")["Content-Security-Policy"]

        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy

    def test_hold_for_the_door_and_for_errors_too(self, db: None, client: Client) -> None:
        assert "default-src 'none'" in client.get("/accounts/login/")["Content-Security-Policy"]
        assert "default-src 'none'" in client.get("/a/b/c")["Content-Security-Policy"]

    def test_are_kept_by_the_pages_themselves(self, cast: Cast, alice: Client) -> None:
        job = builders.make_job(team=cast.team, state=State.RUNNING, node_status=40)

        for address in ("/coastal/", "/coastal/jobs/", f"/coastal/jobs/{job.pk}/", "/accounts/login/"):
            page = alice.get(address, follow=True).content.decode()

            assert "<script>" not in page
            assert "style=" not in page
            assert "<style" not in page
            assert "hx-on" not in page

    def test_keep_pages_out_of_shared_caches(self, cast: Cast, alice: Client) -> None:
        assert "private" in alice.get("/coastal/jobs/")["Cache-Control"]

    def test_need_a_token_for_every_act(self, cast: Cast) -> None:
        job = builders.make_job(team=cast.team, state=State.RUNNING)
        browser = Client(enforce_csrf_checks=True)
        browser.force_login(cast.alice)

        assert browser.post(f"/coastal/jobs/{job.pk}/stop/").status_code == 403


class TestErrors:
    def test_of_a_missing_thing_are_a_page_of_the_portal(self, cast: Cast, alice: Client) -> None:
        answer = alice.get(f"/coastal/jobs/{uuid.uuid4()}/")

        assert answer.status_code == 404
        assert "There is no such job in this team." in answer.content.decode()
        assert "Coastal Lab" in answer.content.decode()

    def test_of_a_forbidden_act_say_which_role_may(self, cast: Cast, vera: Client) -> None:
        job = builders.make_job(team=cast.team, state=State.SUCCEEDED)

        answer = vera.post(f"/coastal/jobs/{job.pk}/rerun/")

        assert answer.status_code == 403
        assert "owner, admin, curator or launcher" in answer.content.decode()

    def test_of_refused_input_come_back_to_the_page(self, cast: Cast, alice: Client) -> None:
        job = builders.make_job(team=cast.team, state=State.SUCCEEDED)
        job.environment.gone_at = builders.NOW
        job.environment.save()

        page = f"http://testserver/coastal/jobs/{job.pk}/"
        answer = alice.post(f"{page}rerun/", headers={"Referer": page})

        assert answer["Location"] == page
        assert "no longer) offered" in str(next(iter(get_messages(answer.wsgi_request))))

    def test_do_not_lead_to_another_site(self, cast: Cast, alice: Client) -> None:
        job = builders.make_job(team=cast.team, state=State.SUCCEEDED)
        job.environment.gone_at = builders.NOW
        job.environment.save()

        answer = alice.post(
            f"/coastal/jobs/{job.pk}/rerun/", headers={"Referer": "https://elsewhere.example/"}
        )

        assert answer["Location"] == "/coastal/"

    def test_reach_htmx_as_a_small_alert(self, cast: Cast, vera: Client) -> None:
        job = builders.make_job(team=cast.team, state=State.SUCCEEDED)

        answer = vera.post(f"/coastal/jobs/{job.pk}/rerun/", headers=HTMX)

        assert answer.status_code == 403
        assert answer["HX-Retarget"] == "#notes"
        assert answer.content.decode().startswith('<p class="note bad" role="alert">')

    def test_never_put_a_whole_page_into_a_fragment(self, cast: Cast, charlie: Client) -> None:
        assert charlie.get("/coastal/jobs/", headers=HTMX)["HX-Reswap"] == "none"

    def test_nobody_foresaw_get_a_page_without_details(
        self, cast: Cast, alice: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(**_: object) -> None:
            raise RuntimeError("a secret detail")

        # By name, because no input makes this selector fail.
        monkeypatch.setattr("jobs.selectors.jobs.listing", broken)
        alice.raise_request_exception = False

        answer = alice.get("/coastal/jobs/")

        assert answer.status_code == 500
        assert "Something broke in the portal" in answer.content.decode()
        assert "secret" not in answer.content.decode()
