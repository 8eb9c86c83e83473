"""Links for people outside: made once, shown once, counted, ended."""

from __future__ import annotations

import hashlib
import uuid
from datetime import timedelta
from typing import Any

import pytest
from pytest_django import DjangoAssertNumQueries

from jobs.access import Actor
from jobs.errors import InvalidInput, Missing, NotAllowed
from jobs.lifecycle import State
from jobs.models import Act, AuditEntry, Job, JobEvent, Result, ShareLink, Team
from jobs.models.teams import Role
from jobs.services import sharing
from tests import builders
from tests.builders import NOW
from tests.conftest import Cast
from tests.services.conftest import actor_for, run_together

TOKEN = "a link that the press has"
VISITOR = "192.0.2.7"


@pytest.fixture
def job(team: Team, cast: Cast) -> Job:
    job = builders.make_job(team=team, state=State.SUCCEEDED, launched_by=cast.bob)
    builders.make_result(job=job, name="found.csv", data=b"a,b\n1,2\n")
    builders.make_result(job=job, name="algorithm.log", kind="algorithmLog", data=b"hello\n")
    return job


@pytest.fixture
def output(job: Job) -> Result:
    return job.results.get(kind="output")


@pytest.fixture
def link(job: Job, cast: Cast) -> ShareLink:
    return builders.make_link(job=job, token=TOKEN, created_by=cast.bob)


def make(actor: Actor, job: Job, **changes: Any) -> str:
    asked: dict[str, Any] = {"result_id": None, "label": "The press", "days": 7, "opens_max": 3}
    return sharing.make(actor=actor, job_id=job.pk, now=NOW, **(asked | changes))


def open_it(token: str = TOKEN, *, at: timedelta = timedelta(0)) -> int:
    return sharing.open_link(token=token, now=NOW + at, origin=VISITOR)


def fetch(result: Result, *, at: timedelta = timedelta(0)) -> sharing.OpenedResult:
    return sharing.download(token=TOKEN, result_id=result.pk, now=NOW + at, origin=VISITOR)


class TestMake:
    def test_keeps_the_hash_of_the_token_alone(self, bob: Actor, job: Job) -> None:
        token = make(bob, job)

        row = ShareLink.objects.values().get()
        assert len(token) == 43  # 32 bytes
        assert row["token_sha256"] == hashlib.sha256(token.encode()).hexdigest()
        assert token not in str(row) + str(list(AuditEntry.objects.values()))
        assert (row["expires_at"], row["opens_max"], row["opens"]) == (NOW + timedelta(days=7), 3, 0)
        assert (row["created_by_id"], row["created_at"]) == (bob.user_id, NOW)

    def test_makes_another_token_each_time(self, bob: Actor, job: Job) -> None:
        assert make(bob, job) != make(bob, job)

    def test_is_in_the_record(self, bob: Actor, job: Job, output: Result) -> None:
        make(bob, job, result_id=output.pk)

        entry = AuditEntry.objects.get()
        assert (entry.act, entry.user_number, entry.kind, entry.object_id) == (
            Act.SHARED,
            bob.user_id,
            "job",
            str(job.pk),
        )
        assert entry.after["for"] == "The press"
        assert entry.after["result"] == "found.csv"
        assert entry.after["opens_max"] == 3

    @pytest.mark.parametrize(
        ("role", "own", "other"),
        [
            (Role.OWNER, True, True),
            (Role.ADMIN, True, True),
            (Role.CURATOR, True, True),
            (Role.LAUNCHER, True, False),
            (Role.TREASURER, False, False),
            (Role.VIEWER, False, False),
            (Role.AUDITOR, False, False),
        ],
    )
    def test_is_for_those_who_may_share_this_job(
        self, cast: Cast, team: Team, job: Job, role: Role, own: bool, other: bool
    ) -> None:
        for user, allowed in ((cast.bob, own), (cast.alice, other)):
            if allowed:
                assert make(actor_for(user, team=team, role=role), job)
                continue
            with pytest.raises(NotAllowed) as caught:
                make(actor_for(user, team=team, role=role), job)
            assert str(role) in caught.value.message

        assert ShareLink.objects.count() == AuditEntry.objects.count() == own + other

    def test_knows_no_job_of_another_team(self, charlie: Actor, job: Job) -> None:
        with pytest.raises(Missing):
            make(charlie, job)

    @pytest.mark.parametrize("kind", ["algorithmLog", "configurationLog"])
    def test_never_leads_to_a_log(self, bob: Actor, job: Job, kind: str) -> None:
        log = builders.make_result(job=job, name="some.log", kind=kind)

        with pytest.raises(Missing):
            make(bob, job, result_id=log.pk)

    def test_leads_to_no_other_job_s_result(self, bob: Actor, job: Job, team: Team) -> None:
        other = builders.make_result(job=builders.make_job(team=team, state=State.SUCCEEDED))

        with pytest.raises(Missing):
            make(bob, job, result_id=other.pk)

    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({"label": ""}, "label"),
            ({"label": " \n\x00\u202e"}, "label"),
            ({"label": "x" * 101}, "label"),
            ({"days": 0}, "days"),
            ({"days": 31}, "days"),
            ({"days": -1}, "days"),
            ({"opens_max": 0}, "opens_max"),
            ({"opens_max": 1001}, "opens_max"),
            ({"opens_max": 10**30}, "opens_max"),
        ],
    )
    def test_refuses_what_is_not_offered(
        self, bob: Actor, job: Job, changes: dict[str, Any], field: str
    ) -> None:
        with pytest.raises(InvalidInput) as caught:
            make(bob, job, **changes)

        assert caught.value.field == field
        assert not ShareLink.objects.exists()

    def test_takes_what_turns_or_hides_out_of_the_label(self, bob: Actor, job: Job) -> None:
        make(bob, job, label="The\x00 \u202epress\n")

        assert ShareLink.objects.get().label == "The press"


class TestOpen:
    def test_counts_and_is_in_the_record(self, link: ShareLink, team: Team) -> None:
        assert open_it() == open_it(at=timedelta(minutes=1)) == link.pk

        link.refresh_from_db()
        assert (link.opens, link.last_opened_at) == (2, NOW + timedelta(minutes=1))
        entry = AuditEntry.objects.order_by("number")[0]
        assert (entry.act, entry.user_number, entry.who, entry.origin, entry.team_id) == (
            Act.SHARE_OPENED,
            None,
            "a person with the link “The press”",
            VISITOR,
            team.pk,
        )

    @pytest.mark.parametrize(
        ("changes", "token"),
        [
            ({"expires_at": NOW}, TOKEN),
            ({"revoked_at": NOW}, TOKEN),
            ({"opens_max": 2, "opens": 2}, TOKEN),
            ({}, "another"),
            ({}, ""),
            ({}, "\x00" * 4000),
        ],
    )
    def test_of_a_link_that_is_over_is_told_like_one_that_never_was(
        self, link: ShareLink, changes: dict[str, Any], token: str
    ) -> None:
        ShareLink.objects.update(**changes)
        before = ShareLink.objects.values().get()

        with pytest.raises(Missing) as caught:
            open_it(token)

        assert caught.value.message == sharing.LEADS_NOWHERE
        assert ShareLink.objects.values().get() == before
        assert not AuditEntry.objects.exists()

    def test_of_an_unknown_link_costs_one_query(
        self, link: ShareLink, django_assert_num_queries: DjangoAssertNumQueries
    ) -> None:
        with django_assert_num_queries(1), pytest.raises(Missing):
            open_it("a guess")

    def test_is_not_counted_where_the_record_cannot_be_written(
        self, link: ShareLink, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(**_: object) -> None:
            raise RuntimeError("the record is not there")

        monkeypatch.setattr(sharing.audit, "record", broken)  # by name: nothing else makes the record fail

        with pytest.raises(RuntimeError):
            open_it()

        link.refresh_from_db()
        assert link.opens == 0

    @pytest.mark.django_db(transaction=True)
    def test_lets_one_of_many_at_once_take_the_last_opening(self, team: Team, on_disk: None) -> None:
        job = builders.make_job(team=team, state=State.SUCCEEDED)
        builders.make_link(job=job, token=TOKEN, opens=4, opens_max=5)

        outcomes = run_together(*[open_it] * 6)

        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Missing"] * 5 + ["int"]
        assert ShareLink.objects.get().opens == 5
        assert AuditEntry.objects.filter(act=Act.SHARE_OPENED).count() == 1


class TestDownload:
    def test_gives_the_bytes_and_says_so_twice(self, link: ShareLink, output: Result) -> None:
        with fetch(output).stream as stream:
            assert stream.read() == b"a,b\n1,2\n"

        entry = AuditEntry.objects.get()
        assert (entry.act, entry.origin, entry.after["result"]) == (
            Act.SHARE_DOWNLOADED,
            VISITOR,
            "found.csv",
        )
        event = JobEvent.objects.get(kind=JobEvent.Kind.DOWNLOADED)
        assert event.message == "A person with the link “The press” fetched found.csv."

    def test_goes_on_when_the_openings_are_used_up(self, link: ShareLink, output: Result) -> None:
        ShareLink.objects.update(opens=1, opens_max=1)

        fetch(output).stream.close()

    @pytest.mark.parametrize("changes", [{"expires_at": NOW}, {"revoked_at": NOW}])
    def test_ends_with_the_link(self, link: ShareLink, output: Result, changes: dict[str, Any]) -> None:
        ShareLink.objects.update(**changes)

        with pytest.raises(Missing):
            fetch(output)

    def test_gives_no_log(self, link: ShareLink, job: Job) -> None:
        with pytest.raises(Missing):
            fetch(job.results.get(kind="algorithmLog"))

    def test_gives_nothing_but_the_one_result_that_is_shared(
        self, link: ShareLink, job: Job, output: Result
    ) -> None:
        other = builders.make_result(job=job, name="other.csv")
        ShareLink.objects.update(result=output)

        with pytest.raises(Missing):
            fetch(other)
        fetch(output).stream.close()

    def test_gives_no_result_of_another_job(self, link: ShareLink, team: Team) -> None:
        other = builders.make_result(job=builders.make_job(team=team, state=State.SUCCEEDED))

        with pytest.raises(Missing):
            fetch(other)

    def test_gives_nothing_that_the_team_has_removed(self, link: ShareLink, output: Result) -> None:
        Result.objects.update(status=Result.Status.REMOVED)

        with pytest.raises(Missing):
            fetch(output)
        assert not AuditEntry.objects.exists()


class TestRevoke:
    def revoke(self, actor: Actor, link: ShareLink, **changes: Any) -> bool:
        asked = {"job_id": link.job_id, "link_id": link.pk} | changes
        return sharing.revoke(actor=actor, now=NOW, **asked)

    def test_ends_it_and_is_in_the_record_once(self, bob: Actor, link: ShareLink) -> None:
        assert [self.revoke(bob, link) for _ in range(2)] == [True, False]

        with pytest.raises(Missing):
            open_it()
        entry = AuditEntry.objects.get()
        assert (entry.act, entry.after["link"], entry.after["for"]) == (
            Act.SHARE_REVOKED,
            link.pk,
            "The press",
        )

    @pytest.mark.parametrize(
        ("role", "made_by", "allowed"),
        [
            (Role.OWNER, "bob", True),
            (Role.ADMIN, "bob", True),
            (Role.CURATOR, "bob", False),
            (Role.CURATOR, "alice", True),
            (Role.LAUNCHER, "bob", False),
            (Role.TREASURER, "bob", False),
            (Role.VIEWER, "bob", False),
            (Role.AUDITOR, "bob", False),
        ],
    )
    def test_is_for_who_made_it_and_for_those_over_all_links(
        self, cast: Cast, team: Team, link: ShareLink, role: Role, made_by: str, allowed: bool
    ) -> None:
        ShareLink.objects.update(created_by=getattr(cast, made_by))
        actor = actor_for(cast.alice, team=team, role=role)

        if allowed:
            assert self.revoke(actor, link)
            return
        with pytest.raises(NotAllowed):
            self.revoke(actor, link)
        assert ShareLink.objects.get().revoked_at is None

    def test_is_for_whose_job_it_is(self, cast: Cast, bob: Actor, link: ShareLink) -> None:
        ShareLink.objects.update(created_by=cast.alice)

        assert self.revoke(bob, link)

    def test_knows_no_link_of_another_team_or_job(
        self, alice: Actor, charlie: Actor, link: ShareLink
    ) -> None:
        with pytest.raises(Missing):
            self.revoke(charlie, link)
        with pytest.raises(Missing):
            self.revoke(alice, link, job_id=uuid.UUID(int=1))
