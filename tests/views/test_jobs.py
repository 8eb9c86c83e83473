"""The job list, the job's page, its live parts, and what people do with a job."""

from __future__ import annotations

import re
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.http import HttpResponse
from django.test import Client
from django.utils import timezone

from jobs import web
from jobs.lifecycle import State
from jobs.models import Job, JobEvent, Node
from jobs.views.results import safe_name
from tests import builders
from tests.conftest import Cast

HTMX = {"HX-Request": "true"}
SVG = b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"


def address(job: Job, tail: str = "") -> str:
    return f"/coastal/jobs/{job.pk}/{tail}"


def text(answer: Any) -> str:
    return " ".join(answer.content.decode().split())


@pytest.fixture
def running_job(cast: Cast) -> Job:
    return builders.make_job(
        team=cast.team,
        state=State.RUNNING,
        launched_by=cast.bob,
        algorithm_started_at=builders.NOW,
        report_at=timezone.now(),
    )


@pytest.fixture
def finished_job(cast: Cast) -> Job:
    job = builders.make_job(team=cast.team, state=State.SUCCEEDED, launched_by=cast.bob)
    builders.make_result(job=job, name="algorithm.log", kind="algorithmLog", data=b"hello\noops\n")
    builders.make_result(job=job, name="means.csv", path="tables/means.csv", data=b"name,mean\nwaves,1.25\n")
    builders.make_result(job=job, name="chart.svg", path="chart.svg", data=SVG)
    return job


class TestIndex:
    def test_tells_a_new_team_what_to_do(self, cast: Cast, bob: Client) -> None:
        assert "Launch the first job" in text(bob.get("/coastal/jobs/"))

    @pytest.mark.parametrize(
        ("view", "shown"),
        [
            ("all", {"Runs", "Waits", "Broke", "Bobs own"}),
            ("active", {"Runs"}),
            ("attention", {"Waits"}),
            ("failed", {"Broke"}),
            ("mine", {"Bobs own"}),
            ("nonsense", {"Runs", "Waits", "Broke", "Bobs own"}),
        ],
    )
    def test_filters(self, cast: Cast, bob: Client, view: str, shown: set[str]) -> None:
        builders.make_job(team=cast.team, state=State.RUNNING, name="Runs")
        builders.make_job(team=cast.team, state=State.NEEDS_ATTENTION, name="Waits", attention_from="RUNNING")
        builders.make_job(team=cast.team, state=State.FAILED, name="Broke")
        builders.make_job(team=cast.team, state=State.SUCCEEDED, name="Bobs own", launched_by=cast.bob)

        page = text(bob.get(f"/coastal/jobs/?view={view}"))

        assert {name for name in ("Runs", "Waits", "Broke", "Bobs own") if f">{name}</a>" in page} == shown

    @pytest.mark.parametrize("q", ["spring", "BUOYS", "regression"])
    def test_searches_jobs_datasets_and_algorithms(self, cast: Cast, bob: Client, q: str) -> None:
        builders.make_job(team=cast.team, name="Spring run")
        other = builders.make_asset(team=cast.team, node=Node.objects.get(), name="Tides")
        count = builders.make_asset(
            team=cast.team, node=Node.objects.get(), kind="algorithm", name="Word count"
        )
        builders.make_job(team=cast.team, name="Autumn", datasets=[other], algorithm=count)

        page = text(bob.get("/coastal/jobs/", {"q": q}))

        assert "Spring run" in page
        assert "Autumn" not in page

    def test_lists_nothing_of_another_team(self, cast: Cast, bob: Client) -> None:
        builders.make_job(team=cast.other_team, name="Their secret")

        assert "Their secret" not in text(bob.get("/coastal/jobs/"))

    def test_says_so_when_nothing_fits(self, cast: Cast, bob: Client) -> None:
        assert "No job fits “&lt;b&gt;”." in text(bob.get("/coastal/jobs/", {"q": "<b>"}))

    def test_pages_through_many(self, cast: Cast, bob: Client) -> None:
        for i in range(51):
            builders.make_job(
                team=cast.team, name=f"Job {i:02}", requested_at=builders.NOW + timedelta(minutes=i)
            )

        first, second = (text(bob.get(f"/coastal/jobs/?page={page}")) for page in (1, 2))

        assert "Job 50" in first
        assert "Job 00" not in first
        assert "page=2" in first
        assert "Job 00" in second
        assert "Job 01" not in second

    @pytest.mark.parametrize("page", ["0", "-1", "x", "99999999999999999999", "9"])
    def test_survives_nonsense_page_numbers(self, cast: Cast, bob: Client, page: str) -> None:
        assert bob.get("/coastal/jobs/", {"page": page}).status_code == 200

    def test_answers_htmx_with_the_table_alone(self, cast: Cast, bob: Client) -> None:
        answer = bob.get("/coastal/jobs/", headers=HTMX)

        assert answer.content.decode().startswith('<div class="card" id="job-table"')
        assert "HX-Request" in answer["Vary"]

    def test_asks_again_only_while_something_runs(self, cast: Cast, bob: Client) -> None:
        builders.make_job(team=cast.team, state=State.SUCCEEDED)
        quiet = text(bob.get("/coastal/jobs/"))
        builders.make_job(team=cast.team, state=State.RUNNING)
        busy = text(bob.get("/coastal/jobs/"))

        assert "every 5s" not in quiet
        assert "every 5s" in busy

    def test_keeps_its_query_budget(
        self, cast: Cast, bob: Client, django_assert_max_num_queries: Any
    ) -> None:
        for _ in range(20):
            builders.make_job(team=cast.team, state=State.RUNNING)

        # 3 who is asking (session, person, memberships), 2 frame (counts, pulse), 2 jobs and their datasets.
        with django_assert_max_num_queries(7):
            bob.get("/coastal/jobs/")


class TestDetail:
    @pytest.mark.parametrize(
        ("state", "node_status", "word"),
        [
            (State.REQUESTED, None, "Waiting to start"),
            (State.STARTING, None, "Starting"),
            (State.RUNNING, 1, "Queued"),
            (State.RUNNING, 40, "Running"),
            (State.COLLECTING, 70, "Collecting results"),
            (State.SUCCEEDED, 70, "Succeeded"),
            (State.FAILED, 70, "Failed"),
            (State.CANCELLED, 70, "Cancelled"),
            (State.NEEDS_ATTENTION, None, "Needs you"),
        ],
    )
    def test_tells_each_state_by_a_word(
        self, cast: Cast, vera: Client, state: State, node_status: int | None, word: str
    ) -> None:
        job = builders.make_job(
            team=cast.team,
            state=state,
            node_status=node_status,
            attention_from="STARTING" if node_status is None else "",
        )

        assert re.search(
            rf'<span class="state \w+"><svg.*?</svg> ?{word}</span>', text(vera.get(address(job)))
        )

    def test_shows_what_was_sent(self, cast: Cast, vera: Client) -> None:
        job = builders.make_job(team=cast.team, parameters={"column": "<b>height"}, max_duration_s=90)

        page = text(vera.get(address(job)))

        for expected in (
            "Buoys 2025",
            "Linear regression",
            "&lt;b&gt;height",
            "python:3.11-slim",
            "1 min 30 s",
            str(job.tag),
        ):
            assert expected in page

    def test_escapes_what_an_algorithm_prints(self, vera: Client, running_job: Job) -> None:
        builders.make_log(job=running_job, text="<script>alert(1)</script>\n", stream=2)

        page = text(vera.get(address(running_job)))

        assert "&lt;script&gt;alert(1)" in page
        assert "<script>alert" not in page
        assert 'class="err"><span class="hidden-text">Error output: </span>' in page

    def test_reloads_by_itself_without_scripts_while_it_runs(
        self, vera: Client, running_job: Job, finished_job: Job
    ) -> None:
        refresh = '<noscript><meta http-equiv="refresh" content="5"></noscript>'

        assert refresh in text(vera.get(address(running_job)))
        assert refresh not in text(vera.get(address(finished_job)))

    def test_shows_the_archived_log_and_the_first_table_and_image(
        self, vera: Client, finished_job: Job
    ) -> None:
        page = text(vera.get(address(finished_job)))

        assert "hello" in page
        assert "<td>waves</td><td>1.25</td>" in page
        assert '/inline/" alt="chart.svg">' in page
        assert "alert(1)" not in page

    def test_says_what_happened_and_what_next(self, cast: Cast, vera: Client) -> None:
        job = builders.make_job(
            team=cast.team,
            state=State.FAILED,
            reason="exit_code",
            message="The algorithm ended with exit code 1.",
        )
        builders.make_result(
            job=job,
            name="algorithm.log",
            kind="algorithmLog",
            data=b"fine\n" * 50 + b"ValueError: no rows\n",
        )

        failure = text(vera.get(address(job))).partition("What happened")[2].partition('<nav class="tabs"')[0]

        assert "The algorithm ended with exit code 1." in failure
        assert "ValueError: no rows" in failure
        assert failure.count("fine") == 11  # the last twelve lines
        assert "Then correct the parameters" in failure

    def test_names_trouble_with_the_last_question(self, vera: Client, running_job: Job) -> None:
        Job.objects.filter(pk=running_job.pk).update(trouble="The node did not answer within 10 s.")

        assert "did not answer within 10 s. The portal asks again" in text(vera.get(address(running_job)))

    def test_says_how_long_a_queued_job_waits_at_most(self, cast: Cast, vera: Client) -> None:
        job = builders.make_job(team=cast.team, state=State.RUNNING, node_status=1, queue_wait_s=600)
        builders.make_event(
            job=job, at=builders.NOW, kind="node_status", data={"status": 1, "phase": "queued"}
        )

        assert "waits at most 10 min for a free place" in text(vera.get(address(job)))

    def test_says_how_long_steps_usually_take(self, cast: Cast, vera: Client, running_job: Job) -> None:
        for _ in range(3):
            builders.make_job(
                team=cast.team,
                state=State.SUCCEEDED,
                algorithm_started_at=builders.NOW,
                algorithm_stopped_at=builders.NOW + timedelta(seconds=45),
            )
        Job.objects.filter(pk=running_job.pk).update(node_status=40)

        assert "of about 45 s" in text(vera.get(address(running_job)))

    @pytest.mark.parametrize(
        ("who", "acts"),
        [
            ("alice", {"stop", "rerun"}),
            ("bob", {"stop", "rerun"}),
            ("vera", set()),
        ],
    )
    def test_offers_what_a_role_may(self, sign_in: Any, running_job: Job, who: str, acts: set[str]) -> None:
        page = text(sign_in(who).get(address(running_job)))

        assert {act for act in ("stop", "rerun", "go-on", "give-up") if f'/{act}/"' in page} == acts

    def test_offers_launchers_no_stop_of_a_colleagues_job(self, cast: Cast, bob: Client) -> None:
        job = builders.make_job(team=cast.team, state=State.RUNNING, launched_by=cast.alice)

        assert '/stop/"' not in text(bob.get(address(job)))

    def test_offers_a_decision_where_one_is_needed(self, cast: Cast, bob: Client) -> None:
        job = builders.make_job(
            team=cast.team,
            launched_by=cast.bob,
            state=State.NEEDS_ATTENTION,
            attention_from="RUNNING",
            message="The node forgot it.",
        )

        page = text(bob.get(address(job)))

        assert '/go-on/"' in page
        assert '/give-up/"' in page
        assert "The node forgot it." in page

    @pytest.mark.parametrize("state", [State.RUNNING, State.SUCCEEDED])
    def test_keeps_its_query_budget(
        self, cast: Cast, bob: Client, state: State, django_assert_max_num_queries: Any
    ) -> None:
        job = builders.make_job(team=cast.team, state=state)
        builders.make_job(team=cast.team, state=State.SUCCEEDED)
        for i in range(5):
            builders.make_log(job=job, text="line\n")
            builders.make_event(job=job, at=builders.NOW, message=str(i))
            builders.make_result(job=job, name=f"{i}.bin", data=b"\0")

        # 3 who is asking (session, person, memberships), 2 frame (counts, pulse), 5 job, events, results, log,
        # inputs, 2 what is usual, 2 noting that it is watched (at most every 10 s).
        with django_assert_max_num_queries(14):
            bob.get(address(job))

    def test_asks_nothing_while_rendering(
        self, bob: Client, finished_job: Job, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        spent = []
        render = web.render

        def counted(*args: Any, **kwargs: Any) -> HttpResponse:
            connection.force_debug_cursor = True
            before = len(connection.queries)
            answer = render(*args, **kwargs)
            spent.append(len(connection.queries) - before)
            return answer

        # By name: rendering is the one step that is to be watched alone.
        monkeypatch.setattr(web, "render", counted)
        try:
            bob.get(address(finished_job))
        finally:
            connection.force_debug_cursor = False

        assert spent == [0]


class TestStatus:
    def mark(self, client: Client, job: Job) -> str:
        return text(client.get(address(job))).partition('id="job-mark" value="')[2].partition('"')[0]

    def test_says_nothing_when_nothing_changed(
        self, vera: Client, running_job: Job, django_assert_max_num_queries: Any
    ) -> None:
        shown = self.mark(vera, running_job)

        # 3 who is asking (session, person, memberships), 1 the job, 1 noting that it is watched.
        with django_assert_max_num_queries(5):
            answer = vera.get(address(running_job, "status/"), {"v": shown}, headers=HTMX)

        assert answer.status_code == 204
        assert answer.content == b""

    def test_notes_that_somebody_watches(self, vera: Client, running_job: Job) -> None:
        vera.get(address(running_job, "status/"), headers=HTMX)

        running_job.refresh_from_db()
        assert running_job.watched_until is not None
        assert running_job.watched_until > timezone.now()

    def test_sends_what_changed(self, vera: Client, running_job: Job) -> None:
        shown = self.mark(vera, running_job)
        Job.objects.filter(pk=running_job.pk).update(node_status=1, version=2)

        answer = vera.get(address(running_job, "status/"), {"v": shown, "log": "live"}, headers=HTMX)

        page = text(answer)
        assert answer.status_code == 200
        assert 'id="job-head" hx-swap-oob="true"' in page
        assert "</svg>Queued</span>" in page
        assert 'role="status" hx-swap-oob="innerHTML">Queued.' in page
        assert "<html" not in page

    def test_sends_only_the_live_part_when_the_node_was_just_asked(
        self, vera: Client, running_job: Job
    ) -> None:
        shown = self.mark(vera, running_job)
        Job.objects.filter(pk=running_job.pk).update(report_at=timezone.now() + timedelta(seconds=3))

        page = text(vera.get(address(running_job, "status/"), {"v": shown, "log": "live"}, headers=HTMX))

        assert 'id="job-mark"' in page
        assert "hx-swap-oob" not in page

    def test_ends_polling_with_the_results_when_the_job_has_ended(
        self, vera: Client, finished_job: Job
    ) -> None:
        answer = vera.get(address(finished_job, "status/"), {"v": "0.0", "log": "live"}, headers=HTMX)

        page = text(answer)
        assert answer.status_code == 286
        assert 'id="results" hx-swap-oob="true"' in page
        assert "tables/means.csv" in page
        assert 'id="log" hx-swap-oob="true"' in page

    def test_goes_on_polling_while_a_person_decides(self, cast: Cast, vera: Client) -> None:
        job = builders.make_job(
            team=cast.team, launched_by=cast.bob, state=State.NEEDS_ATTENTION, attention_from="RUNNING"
        )

        assert vera.get(address(job, "status/"), {"v": "0.0"}, headers=HTMX).status_code == 200


class TestLog:
    def test_sends_only_new_lines_and_moves_on(self, vera: Client, running_job: Job) -> None:
        builders.make_log(job=running_job, text="one\ntwo\n")

        page = text(vera.get(address(running_job, "log/"), {"after": "4"}, headers=HTMX))

        assert "two" in page
        assert "one" not in page
        assert "?after=8" in page
        assert 'hx-swap-oob="true"' in page

    @pytest.mark.parametrize("after", ["8", "999", "-1", "x", ""])
    def test_says_nothing_when_nothing_is_new(self, vera: Client, running_job: Job, after: str) -> None:
        if after in ("8", "999"):
            builders.make_log(job=running_job, text="one\ntwo\n")

        answer = vera.get(address(running_job, "log/"), {"after": after}, headers=HTMX)

        assert answer.status_code == 204

    def test_ends_with_the_job(self, vera: Client, finished_job: Job) -> None:
        answer = vera.get(address(finished_job, "log/"), {"after": "0"}, headers=HTMX)

        assert (answer.status_code, answer.content) == (286, b"")


class TestResults:
    def test_are_listed_with_size_and_hash(self, vera: Client, finished_job: Job) -> None:
        page = text(vera.get(address(finished_job, "results/"), headers=HTMX))

        assert page.startswith('<section class="card" id="results"')
        assert "21 B" in page
        assert finished_job.results.get(path="tables/means.csv").sha256 in page

    def test_say_why_one_is_not_here(self, vera: Client, finished_job: Job) -> None:
        builders.make_result(
            job=finished_job,
            name="big.bin",
            data=None,
            status="failed",
            trouble="It is larger than the portal keeps.",
        )

        assert "It is larger than the portal keeps." in text(vera.get(address(finished_job, "results/")))


class TestResult:
    def url(self, job: Job, name: str, tail: str = "") -> str:
        return address(job, f"results/{job.results.get(name=name).pk}/{tail}")

    def test_shows_a_table(self, vera: Client, finished_job: Job) -> None:
        assert "<td>waves</td>" in text(vera.get(self.url(finished_job, "means.csv")))

    def test_shows_a_log_by_lines(self, vera: Client, finished_job: Job) -> None:
        page = text(vera.get(self.url(finished_job, "algorithm.log")))

        assert ">hello</span>" in page
        assert ">oops</span>" in page

    def test_shows_an_image_only_by_its_own_address(self, vera: Client, finished_job: Job) -> None:
        page = text(vera.get(self.url(finished_job, "chart.svg")))

        assert f'<img src="{self.url(finished_job, "chart.svg", "inline/")}"' in page
        assert "alert(1)" not in page

    def test_says_when_it_is_not_here(self, vera: Client, finished_job: Job) -> None:
        builders.make_result(job=finished_job, name="late.csv", data=None)

        assert "has not been fetched yet" in text(vera.get(self.url(finished_job, "late.csv")))


class TestDownload:
    def get(self, client: Client, job: Job, name: str) -> Any:
        return client.get(address(job, f"results/{job.results.get(name=name).pk}/download/"))

    def test_sends_the_very_bytes_as_an_attachment(self, vera: Client, finished_job: Job) -> None:
        answer = self.get(vera, finished_job, "means.csv")

        assert b"".join(answer.streaming_content) == b"name,mean\nwaves,1.25\n"
        assert answer["Content-Disposition"] == 'attachment; filename="means.csv"'
        assert answer["Content-Type"] == "text/csv"
        assert answer["X-Content-Type-Options"] == "nosniff"
        assert answer["Content-Length"] == "21"

    @pytest.mark.parametrize("name", ["page.html", "chart.svg", "tool.exe"])
    def test_sends_what_may_run_as_plain_bytes(self, vera: Client, finished_job: Job, name: str) -> None:
        if name != "chart.svg":
            builders.make_result(job=finished_job, name=name)

        answer = self.get(vera, finished_job, name)

        assert answer["Content-Type"] == "application/octet-stream"
        assert answer["Content-Disposition"].startswith("attachment")
        assert "sandbox" in answer["Content-Security-Policy"]
        answer.close()

    def test_is_noted_in_the_history(self, cast: Cast, vera: Client, finished_job: Job) -> None:
        self.get(vera, finished_job, "means.csv").close()

        event = finished_job.events.get(kind=JobEvent.Kind.DOWNLOADED)
        assert event.actor == cast.vera

    @pytest.mark.parametrize(
        ("stored", "sent"),
        [
            ("../../etc/passwd", "passwd"),
            ("a\\b.txt", "b.txt"),
            (".bashrc", "bashrc"),
            ('x"\r\nSet-Cookie: a=b', "xSet-Cookie a=b"),
            ("...", "result"),
            ("n" * 300 + ".csv", "n" * 146 + ".csv"),
        ],
    )
    def test_gives_names_that_are_only_names(self, stored: str, sent: str) -> None:
        assert safe_name(stored) == sent

    def test_is_missing_when_the_file_is_not_here(self, vera: Client, finished_job: Job) -> None:
        builders.make_result(job=finished_job, name="late.csv", data=None)

        assert self.get(vera, finished_job, "late.csv").status_code == 404


class TestInline:
    def get(self, client: Client, job: Job, name: str) -> Any:
        return client.get(address(job, f"results/{job.results.get(name=name).pk}/inline/"))

    def test_puts_an_svg_into_a_sandbox(self, vera: Client, finished_job: Job) -> None:
        answer = self.get(vera, finished_job, "chart.svg")

        assert answer["Content-Type"] == "image/svg+xml"
        assert answer["Content-Security-Policy"].startswith("sandbox; default-src 'none'")
        assert "script" not in answer["Content-Security-Policy"]
        assert answer["X-Content-Type-Options"] == "nosniff"

    def test_sends_nothing_but_images(self, vera: Client, finished_job: Job) -> None:
        builders.make_result(
            job=finished_job, name="fake.png", data=b"<html><script>alert(1)</script></html>"
        )

        assert self.get(vera, finished_job, "fake.png").status_code == 404


class TestActs:
    def test_stop_notes_the_wish(self, cast: Cast, bob: Client, running_job: Job) -> None:
        answer = bob.post(address(running_job, "stop/"))

        running_job.refresh_from_db()
        assert answer["Location"] == address(running_job)
        assert running_job.cancel_requested_by == cast.bob

    def test_rerun_makes_one_job_of_a_double_click(self, cast: Cast, bob: Client, finished_job: Job) -> None:
        key = str(uuid.UUID(int=77))

        first, second = (bob.post(address(finished_job, "rerun/"), {"launch_key": key}) for _ in range(2))

        again = Job.objects.get(rerun_of=finished_job)
        assert first["Location"] == second["Location"] == address(again)
        assert again.launched_by == cast.bob

    def test_go_on_returns_a_job_to_where_it_was(self, cast: Cast, bob: Client) -> None:
        job = builders.make_job(
            team=cast.team, launched_by=cast.bob, state=State.NEEDS_ATTENTION, attention_from="RUNNING"
        )

        bob.post(address(job, "go-on/"))

        job.refresh_from_db()
        assert job.state == State.RUNNING

    def test_give_up_ends_a_job(self, cast: Cast, bob: Client) -> None:
        job = builders.make_job(
            team=cast.team, launched_by=cast.bob, state=State.NEEDS_ATTENTION, attention_from="RUNNING"
        )

        bob.post(address(job, "give-up/"))

        job.refresh_from_db()
        assert job.state == State.FAILED

    @pytest.mark.parametrize("act", ["stop", "rerun", "go-on", "give-up"])
    def test_need_a_role_and_a_post(self, vera: Client, bob: Client, running_job: Job, act: str) -> None:
        assert vera.post(address(running_job, f"{act}/")).status_code == 403
        assert bob.get(address(running_job, f"{act}/")).status_code == 405
