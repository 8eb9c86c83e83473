"""What pages show and offer by role: no content where it is not theirs to see, no button that would be refused."""

from __future__ import annotations

import pytest
from django.test import Client

from jobs.lifecycle import State
from jobs.models import Job, Result
from jobs.models.teams import Role
from tests import builders
from tests.conftest import Cast

HTMX = {"HX-Request": "true"}
SECRET = "the wave of 1953"


@pytest.fixture
def failed_job(cast: Cast) -> Job:
    """A job with a log, and with a table that names what it found."""
    job = builders.make_job(
        team=cast.team,
        state=State.FAILED,
        launched_by=cast.bob,
        reason="exit_code",
        message="It ended with 1.",
    )
    builders.make_result(job=job, name="algorithm.log", kind="algorithmLog", data=f"{SECRET}\n".encode())
    builders.make_result(job=job, name="found.csv", data=f"what\n{SECRET}\n".encode())
    return job


@pytest.fixture
def waiting_job(cast: Cast) -> Job:
    return builders.make_job(
        team=cast.team, state=State.NEEDS_ATTENTION, attention_from="RUNNING", launched_by=cast.bob
    )


@pytest.fixture
def running_job(cast: Cast) -> Job:
    job = builders.make_job(team=cast.team, state=State.RUNNING, launched_by=cast.bob, node_status=40)
    builders.make_log(job=job, text=f"{SECRET}\n")
    return job


def browser_of(cast: Cast, role: Role) -> Client:
    client = Client()
    client.force_login(builders.make_member(team=cast.team, username=f"some-{role}", role=role))
    return client


def page(job: Job, tail: str = "") -> str:
    return f"/coastal/jobs/{job.pk}/{tail}"


@pytest.mark.parametrize("role", [Role.TREASURER, Role.AUDITOR])
class TestThoseWhoLookAfterMoney:
    def test_see_which_files_there_are_and_nothing_of_them(
        self, cast: Cast, failed_job: Job, role: Role
    ) -> None:
        html = browser_of(cast, role).get(page(failed_job)).text

        assert "found.csv" in html and "algorithm.log" in html
        assert SECRET not in html
        assert page(failed_job, "results/") not in html
        assert not any(result.sha256 in html for result in Result.objects.all())

    def test_see_how_it_ended_without_the_last_lines_of_the_log(
        self, cast: Cast, failed_job: Job, role: Role
    ) -> None:
        html = browser_of(cast, role).get(page(failed_job)).text

        assert "It ended with 1." in html
        assert 'href="#log"' not in html and 'id="log"' not in html

    def test_get_no_log_by_its_fragments_either(self, cast: Cast, running_job: Job, role: Role) -> None:
        client = browser_of(cast, role)

        whole = client.get(page(running_job)).text
        status = client.get(page(running_job, "status/"), {"v": "0"}, headers=HTMX).text
        lines = client.get(page(running_job, "log/"), headers=HTMX)

        assert SECRET not in whole + status
        assert "log-mode" not in whole + status
        assert lines.status_code == 403 and "to see logs one has to be" in lines.text

    def test_are_refused_what_the_page_does_not_link_to(
        self, cast: Cast, failed_job: Job, role: Role
    ) -> None:
        client = browser_of(cast, role)

        answers = [
            client.get(page(failed_job, f"results/{result.pk}/{tail}"))
            for result in Result.objects.all()
            for tail in ("", "download/", "inline/")
        ]

        assert [answer.status_code for answer in answers] == [403] * 6
        assert all("Your role in this team is" in answer.text for answer in answers)

    def test_read_the_names_of_results_on_the_dashboard(
        self, cast: Cast, failed_job: Job, role: Role
    ) -> None:
        html = browser_of(cast, role).get("/coastal/").text

        assert "found.csv" in html
        assert page(failed_job, "results/") not in html


class TestATeamThatKeepsResultsFromViewers:
    @pytest.fixture(autouse=True)
    def kept(self, cast: Cast) -> None:
        cast.team.viewers_see_results = False
        cast.team.save()

    def test_shows_them_the_log_and_no_results(self, cast: Cast, failed_job: Job, vera: Client) -> None:
        log, found = Result.objects.order_by("index")

        html = vera.get(page(failed_job)).text

        assert SECRET in html  # of the log
        assert page(failed_job, f"results/{log.pk}/") in html
        assert page(failed_job, f"results/{found.pk}/") not in html
        assert '<th scope="col">what</th>' not in html

    @pytest.mark.parametrize("tail", ["", "download/", "inline/"])
    def test_refuses_them_the_rest(self, cast: Cast, failed_job: Job, vera: Client, tail: str) -> None:
        log, found = Result.objects.order_by("index")

        assert vera.get(page(failed_job, f"results/{found.pk}/{tail}")).status_code == 403
        assert vera.get(page(failed_job, f"results/{log.pk}/")).status_code == 200

    def test_says_that_it_is_the_team_s_choice(self, cast: Cast, failed_job: Job, vera: Client) -> None:
        found = Result.objects.get(kind="output")

        assert "or the team lets a viewer" in vera.get(page(failed_job, f"results/{found.pk}/")).text

    def test_keeps_them_from_nobody_else(self, cast: Cast, failed_job: Job, bob: Client) -> None:
        found = Result.objects.get(kind="output")

        assert SECRET in bob.get(page(failed_job, f"results/{found.pk}/")).text


class TestAJobThatWaitsForAPerson:
    @pytest.mark.parametrize(
        ("role", "offered"),
        [
            (Role.OWNER, ["go-on", "give-up"]),
            (Role.TREASURER, ["give-up"]),  # may stop any job, and launches none
            (Role.CURATOR, []),  # not their own
            (Role.LAUNCHER, []),
            (Role.VIEWER, []),
            (Role.AUDITOR, []),
        ],
    )
    def test_offers_what_the_role_may_do(
        self, cast: Cast, waiting_job: Job, role: Role, offered: list[str]
    ) -> None:
        html = browser_of(cast, role).get(page(waiting_job)).text

        assert [act for act in ("go-on", "give-up") if page(waiting_job, f"{act}/") in html] == offered

    def test_is_of_whom_it_was_handed_to(self, cast: Cast, waiting_job: Job, bob: Client) -> None:
        dora = builders.make_member(team=cast.team, username="dora", role=Role.LAUNCHER)
        Job.objects.update(handed_to=dora)
        client = Client()
        client.force_login(dora)

        assert page(waiting_job, "give-up/") in client.get(page(waiting_job)).text
        assert page(waiting_job, "give-up/") not in bob.get(page(waiting_job)).text
        assert bob.post(page(waiting_job, "give-up/")).status_code == 403


class TestAJobWithCodeOfOnesOwn:
    @pytest.fixture
    def job(self, cast: Cast) -> Job:
        own = {"language": "Python", "code": "print(1)"}
        return builders.make_job(
            team=cast.team, state=State.SUCCEEDED, launched_by=cast.alice, own_algorithm=own
        )

    def test_is_not_run_again_by_the_rights_of_who_launched_it(
        self, cast: Cast, job: Job, bob: Client
    ) -> None:
        html, answer = bob.get(page(job)).text, bob.post(page(job, "rerun/"))

        assert page(job, "rerun/") not in html
        assert "Run with changes" in html
        assert answer.status_code == 403
        assert Job.objects.count() == 1

    def test_is_run_again_by_whoever_may_run_code(self, cast: Cast, job: Job, bob: Client) -> None:
        cast.team.launchers_run_code = True
        cast.team.save()

        html, answer = bob.get(page(job)).text, bob.post(page(job, "rerun/"))

        assert page(job, "rerun/") in html
        assert answer.status_code == 302
        assert Job.objects.get(rerun_of=job).launched_by == cast.bob
