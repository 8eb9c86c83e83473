"""The pages of links for people outside: the team's, and what a stranger sees."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from jobs.lifecycle import State
from jobs.models import Act, AuditEntry, Job, Result, ShareLink
from jobs.services.sharing import LEADS_NOWHERE
from jobs.views import sharing
from jobs.views.results import BYTES_POLICY
from tests import builders
from tests.conftest import Cast
from tests.views.rendering import queries_while_rendering

TOKEN = "a-link-that-the-press-has"
DOOR = f"/shared/{TOKEN}/"
EVIL = "<img src=x onerror=1>\u202e"
OVER = [
    {"expires_at": builders.NOW},
    {"revoked_at": builders.NOW},
    {"opens_max": 2, "opens": 2},
]


@pytest.fixture
def job(cast: Cast) -> Job:
    job = builders.make_job(
        team=cast.team, state=State.SUCCEEDED, launched_by=cast.bob, name="Waves", message="Bob said so."
    )
    builders.make_result(job=job, name="found.html", data=b"<script>alert(1)</script>")
    builders.make_result(job=job, name="algorithm.log", kind="algorithmLog", data=b"a secret line\n")
    return job


@pytest.fixture
def link(job: Job, cast: Cast) -> ShareLink:
    return builders.make_link(job=job, token=TOKEN, created_by=cast.bob)


@pytest.fixture
def visitor(link: ShareLink, client: Client) -> Client:
    """The browser of a stranger who has opened the link."""
    assert client.post(DOOR).status_code == 302
    return client


def page_of(job: Job, tail: str = "") -> str:
    return f"/coastal/jobs/{job.pk}/share/{tail}"


def file_of(result: Result) -> str:
    return f"{DOOR}results/{result.pk}/"


def entered(**changes: str) -> dict[str, str]:
    return {"label": "The press", "what": "job", "days": "7", "opens_max": ""} | changes


def made(answer: Any) -> str:
    """Return the link that a page shows."""
    found = re.search(r'id="new-link">([^<]+)</code>', answer.text)
    return found.group(1) if found else ""


class TestTheTeamsPage:
    def test_shows_the_new_link_once(self, bob: Client, job: Job) -> None:
        answer = bob.post(page_of(job), entered())

        url = made(answer)
        assert re.fullmatch(r"http://testserver/shared/[\w-]{43}/", url)
        assert "no-store" in answer["Cache-Control"]
        token = url.split("/")[-2]
        assert token not in bob.get(page_of(job)).text
        assert token not in str(dict(bob.session))

    def test_makes_links_that_work(self, bob: Client, job: Job, client: Client) -> None:
        url = made(bob.post(page_of(job), entered()))

        assert client.post(url, follow=True).status_code == 200

    def test_lists_what_there_is(self, bob: Client, job: Job, cast: Cast) -> None:
        later = timezone.now() + timedelta(days=1)
        builders.make_link(job=job, label="Open one", expires_at=later, created_by=cast.bob, opens=2)
        builders.make_link(job=job, label="Late one", expires_at=builders.NOW)
        builders.make_link(job=job, label="Ended one", revoked_at=builders.NOW)
        builders.make_link(job=job, label="Full one", opens=3, opens_max=3, result=job.results.first())

        html = bob.get(page_of(job)).text

        words = [word for word in ("Open", "Expired", "Revoked", "Used up") if f"</svg>{word}</span>" in html]
        assert words == ["Open", "Expired", "Revoked", "Used up"]
        assert "3 of 3" in html and "only found.html" in html
        assert html.count("/revoke/") == 2  # of those that are alive, as it is Bob's job

    @pytest.mark.parametrize(
        ("changes", "sentence"),
        [
            ({"label": ""}, "Say for whom it is."),
            ({"label": "\x00\u202e"}, "Null characters are not allowed."),
            ({"label": "x" * 5000}, "at most 100 characters"),
            ({"days": "365"}, "365 is not one of the available choices"),
            ({"days": ""}, "Choose for how long it works."),
            ({"opens_max": "-1"}, "greater than or equal to 1"),
            ({"opens_max": "9" * 5000}, "Enter a whole number"),
            ({"opens_max": "many"}, "Enter a whole number"),
            ({"what": ""}, "Choose what it shows."),
            ({"what": "999999"}, "999999 is not one of the available choices"),
        ],
    )
    def test_says_what_is_wrong_with_the_form(
        self, bob: Client, job: Job, changes: dict[str, str], sentence: str
    ) -> None:
        answer = bob.post(page_of(job), entered(**changes))

        assert answer.status_code == 400
        assert sentence in answer.text
        assert not ShareLink.objects.exists()

    def test_offers_no_log_and_takes_none(self, bob: Client, job: Job) -> None:
        log = job.results.get(kind="algorithmLog")

        assert "algorithm.log" not in bob.get(page_of(job)).text
        assert bob.post(page_of(job), entered(what=str(log.pk))).status_code == 400

    def test_does_nothing_with_an_empty_form(self, bob: Client, job: Job) -> None:
        assert bob.post(page_of(job), {}).status_code == 400

    def test_shows_what_strangers_wrote_as_text(self, bob: Client, job: Job) -> None:
        Job.objects.update(name=EVIL)
        Result.objects.update(name=EVIL)
        builders.make_link(job=job, label=EVIL, result=job.results.first())

        assert "<img src=x" not in bob.get(page_of(job)).text

    def test_revokes(self, bob: Client, job: Job, link: ShareLink, visitor: Client) -> None:
        answer = bob.post(page_of(job, f"{link.pk}/revoke/"), follow=True)

        assert "The link is revoked" in answer.text
        assert visitor.get(DOOR).status_code == 404  # also for who has opened it

    def test_is_offered_on_the_job_s_page_to_those_who_may(
        self, bob: Client, vera: Client, cast: Cast, job: Job
    ) -> None:
        theirs = builders.make_job(team=cast.team, state=State.SUCCEEDED, launched_by=cast.alice)

        shown = [
            page_of(of) in client.get(f"/coastal/jobs/{of.pk}/").text
            for client, of in ((bob, job), (bob, theirs), (vera, job))
        ]

        assert shown == [True, False, False]

    def test_has_a_budget_of_queries(
        self, bob: Client, job: Job, django_assert_num_queries: DjangoAssertNumQueries
    ) -> None:
        for _ in range(5):
            builders.make_link(job=job)

        # session, person, membership; job, links, outputs; what the frame shows
        with django_assert_num_queries(7), queries_while_rendering() as late:
            bob.get(page_of(job))
        assert late == []


class TestDoor:
    def test_tells_nothing_of_the_job_and_counts_nothing(self, client: Client, link: ShareLink) -> None:
        answer = client.get(DOOR)

        assert "Coastal Lab shares something with you" in answer.text
        assert all(word not in answer.text for word in ("Waves", "found.html", "The press", "Bob"))
        assert (ShareLink.objects.get().opens, AuditEntry.objects.count()) == (0, 0)

    @pytest.mark.parametrize("method", ["head", "options", "put", "delete", "patch", "trace"])
    def test_is_opened_by_no_odd_method(self, client: Client, link: ShareLink, method: str) -> None:
        answer = getattr(client, method)(DOOR)

        assert answer.status_code == (200 if method == "head" else 405)
        assert ShareLink.objects.get().opens == 0

    @pytest.mark.parametrize("method", ["get", "post"])
    @pytest.mark.parametrize("changes", OVER)
    def test_of_a_link_that_is_over_looks_as_if_it_never_was(
        self, client: Client, link: ShareLink, method: str, changes: dict[str, Any]
    ) -> None:
        ShareLink.objects.update(**changes)

        answers: list[HttpResponse] = [getattr(client, method)(url) for url in (DOOR, "/shared/a-guess/")]

        assert [answer.status_code for answer in answers] == [404, 404]
        assert LEADS_NOWHERE in answers[0].text
        over, never = (re.sub(r'"X-CSRFToken": "\w+"', "", answer.text) for answer in answers)
        assert over == never
        assert dict(answers[0].headers) == dict(answers[1].headers)

    @pytest.mark.parametrize("token", ["x", "x" * 4000, "%00", "%F0%9F", "..", "a%2Fb"])
    def test_takes_any_text_for_a_token(self, db: None, client: Client, token: str) -> None:
        assert client.get(f"/shared/{token}/").status_code == 404

    def test_costs_a_guess_one_query(
        self, db: None, client: Client, django_assert_num_queries: DjangoAssertNumQueries
    ) -> None:
        with django_assert_num_queries(1):
            client.get("/shared/a-guess/")
        with django_assert_num_queries(1):
            client.post("/shared/a-guess/")

    def test_is_opened_by_a_form_of_its_own_alone(self, link: ShareLink) -> None:
        strict = Client(enforce_csrf_checks=True)

        assert strict.post(DOOR).status_code == 403
        assert ShareLink.objects.get().opens == 0

    def test_is_no_team_s_place(self, alice: Client, link: ShareLink) -> None:
        assert "<aside" not in alice.get(DOOR).text


class TestSharedPage:
    def test_shows_the_job_and_its_results(self, visitor: Client, job: Job) -> None:
        html = visitor.get(DOOR).text

        assert all(
            word in html for word in ("Waves", "Succeeded", "Linear regression", "Buoys 2025", "found.html")
        )
        assert file_of(job.results.get(kind="output")) in html

    def test_shows_no_log_no_wallet_and_nobody(self, visitor: Client, job: Job) -> None:
        html = visitor.get(DOOR).text

        hidden = ["algorithm.log", "a secret line", "Bob", "demo", "The press", job.wallet.address]
        assert [word for word in (*hidden, job.node_job_id, "/coastal/") if word in html] == []

    def test_of_one_result_shows_nothing_else(self, client: Client, job: Job, link: ShareLink) -> None:
        builders.make_result(job=job, name="other.csv")
        ShareLink.objects.update(result=job.results.get(name="found.html"))

        html = client.post(DOOR, follow=True).text

        assert "found.html" in html
        assert all(word not in html for word in ("other.csv", "Linear regression", "Buoys 2025"))

    def test_counts_one_opening_for_all_that_a_browser_does(
        self, visitor: Client, job: Job, link: ShareLink
    ) -> None:
        ShareLink.objects.update(opens_max=1)

        answers = [
            visitor.get(DOOR),
            visitor.post(DOOR),
            visitor.get(file_of(job.results.get(kind="output"))),
        ]
        answers[-1].close()

        assert [answer.status_code for answer in answers] == [200, 302, 200]
        assert ShareLink.objects.get().opens == 1
        assert Client().get(DOOR).status_code == 404

    def test_is_closed_again_after_an_hour(
        self, visitor: Client, link: ShareLink, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(
            sharing, "MARK_S", -1
        )  # instead of waiting: signed cookies read the clock themselves

        assert "Opening it is counted" in visitor.get(DOOR).text

    def test_is_not_opened_by_the_mark_of_another_link(
        self, visitor: Client, job: Job, link: ShareLink
    ) -> None:
        builders.make_link(job=job, token="other")
        mark = visitor.cookies["shared"]
        thief = Client()
        thief.cookies["shared"] = mark.value

        assert "Opening it is counted" in thief.get("/shared/other/").text
        assert (mark["path"], mark["httponly"], mark["samesite"]) == (DOOR, True, "Lax")

    @pytest.mark.parametrize("changes", OVER[:2])
    def test_ends_with_the_link(self, visitor: Client, job: Job, changes: dict[str, Any]) -> None:
        ShareLink.objects.update(**changes)

        assert visitor.get(DOOR).status_code == 404
        assert visitor.get(file_of(job.results.get(kind="output"))).status_code == 404

    def test_tells_of_results_that_were_removed(self, visitor: Client) -> None:
        Result.objects.filter(kind="output").update(status=Result.Status.REMOVED)

        html = visitor.get(DOOR).text

        assert "The team no longer keeps this file." in html
        assert "/results/" not in html

    def test_of_a_job_that_is_under_way_does_not_poll(self, visitor: Client, job: Job) -> None:
        Job.objects.update(state=State.NEEDS_ATTENTION, attention_from="RUNNING")

        html = visitor.get(DOOR).text

        assert "Waits for the team" in html
        assert "hx-get" not in html and "http-equiv" not in html

    def test_shows_what_strangers_wrote_as_text(self, visitor: Client, job: Job) -> None:
        Job.objects.update(name=EVIL)
        Result.objects.update(name=EVIL)

        assert "<img src=x" not in visitor.get(DOOR).text

    def test_is_open_although_the_team_s_own_viewers_see_no_results(
        self, visitor: Client, job: Job, cast: Cast
    ) -> None:
        cast.team.viewers_see_results = False
        cast.team.save()

        assert "found.html" in visitor.get(DOOR).text

    def test_asks_nothing_while_rendering(self, visitor: Client) -> None:
        with queries_while_rendering() as late:
            visitor.get(DOOR)

        assert late == []


class TestDownload:
    def test_is_an_attachment_that_no_browser_acts_on(self, visitor: Client, job: Job) -> None:
        answer: Any = visitor.get(file_of(job.results.get(kind="output")))

        assert b"".join(answer.streaming_content) == b"<script>alert(1)</script>"
        assert answer["Content-Disposition"] == 'attachment; filename="found.html"'
        assert answer["Content-Type"] == "application/octet-stream"
        assert answer["Content-Security-Policy"] == BYTES_POLICY
        assert answer["X-Content-Type-Options"] == "nosniff"

    def test_is_in_the_record_with_the_link_s_name(self, visitor: Client, job: Job) -> None:
        visitor.get(file_of(job.results.get(kind="output"))).close()

        acts = list(AuditEntry.objects.order_by("number").values_list("act", "who", "origin"))
        who = "a person with the link “The press”"
        assert acts == [(Act.SHARE_OPENED, who, "127.0.0.1"), (Act.SHARE_DOWNLOADED, who, "127.0.0.1")]

    def test_leads_to_the_door_before_the_link_is_opened(
        self, client: Client, job: Job, link: ShareLink
    ) -> None:
        answer = client.get(file_of(job.results.get(kind="output")))

        assert answer["Location"] == DOOR
        assert not AuditEntry.objects.exists()

    def test_of_a_log_is_not_there(self, visitor: Client, job: Job) -> None:
        assert visitor.get(file_of(job.results.get(kind="algorithmLog"))).status_code == 404

    def test_of_another_team_s_result_is_not_there(self, visitor: Client, cast: Cast) -> None:
        theirs = builders.make_result(job=builders.make_job(team=cast.other_team, state=State.SUCCEEDED))

        assert visitor.get(file_of(theirs)).status_code == 404


class TestHeaders:
    @pytest.mark.parametrize("opened", [False, True])
    def test_keep_it_out_of_caches_indexes_and_other_sites_logs(
        self, client: Client, job: Job, link: ShareLink, opened: bool
    ) -> None:
        first = client.post(DOOR) if opened else client.get("/shared/a-guess/")
        answers = [first, client.get(DOOR), client.get(file_of(job.results.get(kind="output")))]

        for answer in answers:
            answer.close()
            assert answer["Cache-Control"] == "no-store"
            assert answer["X-Robots-Tag"] == "noindex, nofollow"
            assert "default-src 'none'" in answer["Content-Security-Policy"]
        # The door's form has to say where it comes from, or it is taken for forged; it leads nowhere else.
        policies = [answer["Referrer-Policy"] for answer in answers]
        assert policies == ["no-referrer", "no-referrer" if opened else "same-origin", "no-referrer"]
