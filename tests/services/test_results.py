"""What a job leaves is archived whole or said to be missing, and only its team can open it."""

from __future__ import annotations

import hashlib
import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import default_storage

from jobs.access import Actor
from jobs.errors import Missing
from jobs.lifecycle import State
from jobs.models import Job, JobEvent, LogChunk, Result, Team
from jobs.ocean.errors import BadAnswer
from jobs.services import budget, results
from jobs.services.budget import Purpose
from tests import builders
from tests.builders import NOW
from tests.services.fakes import Clock, FakeNode, entry, lost_answer, nonce_of, not_there, refused
from tests.services.test_unpacking import archive

ALGORITHM_LOG = b"epoch 1\nepoch 2\n"
OUTPUTS = archive(("outputs/summary.csv", b"a,b\n1,2\n"), ("outputs/plots/swell.svg", b"<svg/>"))


@pytest.fixture
def job(team: Team, far: FakeNode) -> Job:
    """A job that ended well and left two logs and an archive."""
    far.files = {0: b"pulled\n", 1: ALGORITHM_LOG, 2: OUTPUTS}
    return make_ended(
        team,
        entry(0, "image.log", "imageLog", 7),
        entry(1, "algorithm.log", "algorithmLog"),
        entry(2, "outputs.tar", "output", len(OUTPUTS)),
    )


def make_ended(team: Team, *entries: dict[str, Any], **values: Any) -> Job:
    defaults: dict[str, Any] = {
        "state": State.COLLECTING,
        "outcome": "succeeded",
        "message": "The algorithm ended without an error.",
        "report": {"results": list(entries)},
        "next_check_at": NOW,
        "finished_at": NOW - timedelta(seconds=10),
        "node_expires_at": NOW + timedelta(days=7),
    }
    return builders.make_job(team=team, **(defaults | values))


def collect(job: Job, clock: Clock) -> Job:
    results.collect(job_id=job.pk, clock=clock)
    job.refresh_from_db()
    return job


def stored() -> list[str]:
    """Return every file in the storage."""
    root = Path(default_storage.path(""))
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def read(result: Result) -> bytes:
    with default_storage.open(result.file.name, "rb") as stream:
        return bytes(stream.read())


class TestCollect:
    def test_archives_every_result_with_its_hash(self, job: Job, far: FakeNode, clock: Clock) -> None:
        collect(job, clock)

        kept = {r.index: r for r in job.results.filter(path="")}
        assert {i: read(r) for i, r in kept.items()} == far.files
        for i, result in kept.items():
            assert result.status == Result.Status.ARCHIVED
            assert result.sha256 == hashlib.sha256(far.files[i]).hexdigest()
            assert (result.size, result.archived_at) == (len(far.files[i]), NOW)
        assert [kept[i].name for i in range(3)] == ["image.log", "algorithm.log", "outputs.tar"]

    def test_lets_the_files_of_the_archive_stand_for_themselves(self, job: Job, clock: Clock) -> None:
        collect(job, clock)

        members = {r.path: r for r in job.results.exclude(path="")}
        assert sorted(members) == ["plots/swell.svg", "summary.csv"]
        assert read(members["summary.csv"]) == b"a,b\n1,2\n"
        assert members["summary.csv"].sha256 == hashlib.sha256(b"a,b\n1,2\n").hexdigest()
        assert (members["plots/swell.svg"].name, members["plots/swell.svg"].index) == ("swell.svg", 2)
        assert job.results.get(index=2, path="").unpacked_at == NOW

    @pytest.mark.parametrize(
        ("outcome", "state"),
        [("succeeded", State.SUCCEEDED), ("failed", State.FAILED), ("cancelled", State.CANCELLED)],
    )
    def test_ends_the_job_with_its_verdict(self, job: Job, clock: Clock, outcome: str, state: State) -> None:
        Job.objects.filter(pk=job.pk).update(outcome=outcome, reason="exit_code")

        collect(job, clock)

        assert (job.state, job.reason, job.ended_at) == (state, "exit_code", NOW)
        assert job.message == "The algorithm ended without an error."
        assert job.next_check_at is None
        assert job.events.get(after=state).data == {"results": 5}

    def test_signs_each_request_with_a_higher_nonce(self, job: Job, far: FakeNode, clock: Clock) -> None:
        collect(job, clock)

        nonces = [nonce_of(call) for call in far.called("open_result")]
        assert nonces == sorted(set(nonces))
        assert len(nonces) == 3

    def test_ends_a_job_that_left_nothing(self, team: Team, far: FakeNode, clock: Clock) -> None:
        job = collect(make_ended(team), clock)

        assert job.state == State.SUCCEEDED
        assert far.calls == []

    def test_forgets_the_live_log_once_the_log_is_archived(self, job: Job, clock: Clock) -> None:
        builders.make_log(job=job, text="epoch 1\n")

        collect(job, clock)

        assert not LogChunk.objects.exists()

    def test_keeps_the_live_log_when_the_log_is_lost(self, job: Job, far: FakeNode, clock: Clock) -> None:
        builders.make_log(job=job, text="epoch 1\n")
        far.will("open_result", [b"pulled\n"], not_there())

        collect(job, clock)

        assert LogChunk.objects.count() == 1

    def test_fetches_nothing_twice(self, job: Job, far: FakeNode, clock: Clock) -> None:
        collect(job, clock)
        files = stored()
        collect(job, clock)

        assert len(far.called("open_result")) == 3
        assert stored() == files
        assert job.events.filter(after=State.SUCCEEDED).count() == 1

    def test_does_nothing_for_a_job_that_runs(self, team: Team, far: FakeNode, clock: Clock) -> None:
        job = make_ended(team, entry(0, "a"), state=State.RUNNING)

        collect(job, clock)

        assert far.calls == []
        assert job.state == State.RUNNING

    def test_names_files_by_number_and_not_by_what_strangers_call_them(
        self, team: Team, far: FakeNode, clock: Clock, tmp_path: Path
    ) -> None:
        far.files = {
            0: b"x",
            1: archive(("../../../evil", b"1"), ("outputs/a.s/../b", b"2"), ("outputs/ok.c$v", b"3")),
        }
        job = collect(
            make_ended(team, entry(0, "../../../../evil.txt", "imageLog"), entry(1, "/etc/outputs.tar")),
            clock,
        )

        assert {path.rpartition("/")[0] for path in stored()} == {f"results/{team.pk}/{job.pk}"}
        assert len(stored()) == 3
        assert [path.name for path in tmp_path.iterdir()] == ["storage"]


class TestCrash:
    def crash_at(self, name: str, nth: int, monkeypatch: pytest.MonkeyPatch, job: Job, clock: Clock) -> None:
        """Let the process end at the nth call of a function; patched by name, because that is where it ends."""
        original = getattr(results, name)
        calls = []

        def die(**given: Any) -> Any:
            calls.append(given)
            if len(calls) == nth:
                raise KeyboardInterrupt
            return original(**given)

        with monkeypatch.context() as patch:
            patch.setattr(results, name, die)
            with pytest.raises(KeyboardInterrupt):
                results.collect(job_id=job.pk, clock=clock)

    def test_between_storage_and_row_is_repaired_by_repeating(
        self, job: Job, far: FakeNode, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        save = default_storage.save

        def save_and_die(name: str, content: Any, max_length: int | None = None) -> str:
            save(name, content, max_length=max_length)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            # Patched by name: the process ends between the file and the row.
            patch.setattr(default_storage, "save", save_and_die)
            with pytest.raises(KeyboardInterrupt):
                results.collect(job_id=job.pk, clock=clock)
        assert len(stored()) == 1
        assert not Result.objects.filter(status=Result.Status.ARCHIVED).exists()

        collect(job, clock)

        assert job.state == State.SUCCEEDED
        assert len(stored()) == 5
        assert {r.file.name for r in job.results.all()} == set(stored())

    @pytest.mark.parametrize(
        ("name", "nth"), [("_fetch", 2), ("_archive", 2), ("_archive", 4), ("_archive", 5), ("_finish", 1)]
    )
    def test_anywhere_is_repaired_by_repeating(
        self,
        job: Job,
        far: FakeNode,
        clock: Clock,
        monkeypatch: pytest.MonkeyPatch,
        name: str,
        nth: int,
    ) -> None:
        self.crash_at(name, nth, monkeypatch, job, clock)
        clock.tick(200)

        collect(job, clock)

        assert job.state == State.SUCCEEDED
        assert job.results.filter(status=Result.Status.ARCHIVED).count() == 5
        assert {r.file.name for r in job.results.all()} == set(stored())

    def test_in_the_middle_of_an_archive_leaves_what_was_unpacked_as_it_is(
        self, job: Job, far: FakeNode, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.crash_at("_archive", 5, monkeypatch, job, clock)
        clock.tick(200)

        collect(job, clock)

        assert job.results.get(path="summary.csv").archived_at == NOW
        assert job.results.get(path="plots/swell.svg").archived_at == clock()


class TestFailing:
    def test_is_tried_again_and_then_the_job_ends_with_its_verdict_and_a_note(
        self, job: Job, far: FakeNode, clock: Clock
    ) -> None:
        broken = BadAnswer("The node sends nothing of it.", code="result_missing", retryable=True)
        far.will("open_result", broken)
        tries = 0
        while collect(job, clock).state == State.COLLECTING:
            tries += 1
            assert job.trouble == "The node sends nothing of it."
            assert job.next_check_at == clock() + results.RETRY
            clock.now = job.next_check_at
            far.will("open_result", broken)

        assert tries == results.TRIES_WHILE_COLLECTING - 1
        assert job.state == State.SUCCEEDED
        assert job.message == (
            "The algorithm ended without an error. 1 of its results could not be fetched yet."
        )
        lost = job.results.get(index=0)
        assert (lost.status, lost.trouble) == (Result.Status.FAILED, "The node sends nothing of it.")
        assert lost.next_try_at == clock() + results.RETRY_LATE
        assert job.trouble == ""

    def test_does_not_count_a_second_task_that_comes_too_early(
        self, job: Job, far: FakeNode, clock: Clock
    ) -> None:
        far.will("open_result", not_there())
        collect(job, clock)
        calls = len(far.calls)
        clock.tick(1)

        collect(job, clock)

        assert len(far.calls) == calls
        assert job.results.get(index=0).attempts == 1
        assert job.next_check_at == NOW + results.RETRY

    def test_fetches_the_others_all_the_same(self, job: Job, far: FakeNode, clock: Clock) -> None:
        far.will("open_result", not_there())

        collect(job, clock)

        assert job.results.filter(status=Result.Status.ARCHIVED).count() == 4

    def test_shows_a_new_version_each_time(self, job: Job, far: FakeNode, clock: Clock) -> None:
        def wish_meanwhile(**_: Any) -> Any:
            Job.objects.record(job_id=job.pk, kind=JobEvent.Kind.STOP_WISH, now=NOW)
            raise not_there()

        far.will("open_result", wish_meanwhile, [b"x"], [OUTPUTS])
        before = job.version

        collect(job, clock)

        assert job.version == before + 2

    def test_is_repaired_by_a_later_success(self, job: Job, far: FakeNode, clock: Clock) -> None:
        for _ in range(results.TRIES_WHILE_COLLECTING):
            far.will("open_result", not_there())
            collect(job, clock)
            clock.tick(15)
        assert "1 of its results" in job.message
        before = job.version
        clock.tick(600)

        collect(job, clock)

        assert job.state == State.SUCCEEDED
        assert job.message == "The algorithm ended without an error."
        assert job.version == before + 1
        repaired = job.results.get(index=0)
        assert (repaired.status, repaired.trouble, repaired.next_try_at) == (Result.Status.ARCHIVED, "", None)
        assert job.events.get(kind=JobEvent.Kind.RESULT).message == "1 missing results are here now."

    def test_unpacks_an_archive_that_comes_late(self, team: Team, far: FakeNode, clock: Clock) -> None:
        job = make_ended(team, entry(2, "outputs.tar"), state=State.SUCCEEDED)
        builders.make_result(job=job, index=2, name="outputs.tar", data=None, attempts=4, next_try_at=NOW)
        far.files = {2: OUTPUTS}

        collect(job, clock)

        assert job.results.filter(status=Result.Status.ARCHIVED).count() == 3

    def test_stops_when_the_node_has_deleted_it(self, job: Job, far: FakeNode, clock: Clock) -> None:
        Job.objects.filter(pk=job.pk).update(node_expires_at=NOW + timedelta(seconds=14))
        far.will("open_result", not_there())

        collect(job, clock)

        lost = job.results.get(index=0)
        assert (lost.status, lost.next_try_at) == (Result.Status.FAILED, None)
        assert job.state == State.SUCCEEDED

    def test_that_is_hopeless_is_not_tried_with_the_others(
        self, team: Team, far: FakeNode, clock: Clock
    ) -> None:
        job = make_ended(team, entry(0, "a"), entry(1, "b"), state=State.SUCCEEDED)
        for i, at in enumerate((None, NOW)):
            builders.make_result(
                job=job, index=i, data=None, status=Result.Status.FAILED, attempts=4, next_try_at=at
            )
        far.files = {0: b"x", 1: b"x"}

        collect(job, clock)

        assert [call.given["index"] for call in far.called("open_result")] == [1]

    def test_stops_a_week_after_the_end_where_the_node_names_no_time(
        self, job: Job, far: FakeNode, clock: Clock
    ) -> None:
        Job.objects.filter(pk=job.pk).update(node_expires_at=None, finished_at=NOW - timedelta(days=7))
        far.will("open_result", not_there())

        collect(job, clock)

        assert job.results.get(index=0).next_try_at is None

    def test_in_the_middle_of_the_stream_leaves_no_file(self, job: Job, far: FakeNode, clock: Clock) -> None:
        far.will("open_result", [b"pul", lost_answer()], [b""], [b""])

        collect(job, clock)

        assert job.results.get(index=0).status == Result.Status.FAILED
        assert not any(f"/0-{job.results.get(index=0).pk}" in path for path in stored())

    def test_for_lack_of_budget_waits_and_counts_nothing(self, job: Job, far: FakeNode, clock: Clock) -> None:
        for _ in range(28):
            budget.spend(node=job.node, purpose=Purpose.ACT, now=NOW - timedelta(seconds=30))

        collect(job, clock)

        assert len(far.calls) == 1
        assert job.state == State.COLLECTING
        assert job.next_check_at == NOW + timedelta(seconds=30.1)
        assert [r.attempts for r in job.results.order_by("index")] == [0, 0, 0]

    def test_for_too_many_requests_waits_and_counts_nothing(
        self, job: Job, far: FakeNode, clock: Clock
    ) -> None:
        far.will("open_result", refused("rate_limited", retryable=True, retry_after_s=20))

        collect(job, clock)

        assert len(far.calls) == 1
        assert job.state == State.COLLECTING
        assert [r.attempts for r in job.results.order_by("index")] == [0, 0, 0]
        with pytest.raises(budget.OutOfBudget):
            budget.spend(node=job.node, purpose=Purpose.ACT, now=clock.tick(19))


class TestTooLarge:
    def test_is_refused_with_the_reason_and_not_asked_for(
        self, team: Team, far: FakeNode, clock: Clock, settings: Any
    ) -> None:
        settings.MAX_RESULT_BYTES = 100
        job = make_ended(team, entry(0, "huge.tar", size=101))

        collect(job, clock)

        result = job.results.get()
        assert (result.status, result.next_try_at) == (Result.Status.FAILED, None)
        assert "101 bytes" in result.trouble
        assert job.state == State.SUCCEEDED
        assert far.calls == []

    def test_is_capped_by_the_client_when_the_node_does_not_say(
        self, team: Team, far: FakeNode, clock: Clock, settings: Any
    ) -> None:
        settings.MAX_RESULT_BYTES = 100
        far.files = {0: b"x"}

        collect(make_ended(team, entry(0, "a")), clock)

        assert far.called("open_result")[0].given["max_bytes"] == 100


class TestArchives:
    def collect_archive(self, team: Team, far: FakeNode, clock: Clock, data: bytes) -> tuple[Job, Result]:
        far.files = {0: data}
        job = collect(make_ended(team, entry(0, "outputs.tar")), clock)
        return job, job.results.get(path="")

    def test_that_are_none_are_kept_and_said_to_be_damaged(
        self, team: Team, far: FakeNode, clock: Clock
    ) -> None:
        job, result = self.collect_archive(team, far, clock, b"no archive")

        assert job.state == State.SUCCEEDED
        assert read(result) == b"no archive"
        assert "damaged" in result.trouble

    def test_with_links_say_what_is_left_out(self, team: Team, far: FakeNode, clock: Clock) -> None:
        _, result = self.collect_archive(team, far, clock, archive(*((f"../{i}", b"1") for i in range(7))))

        assert result.trouble.startswith("Left out: ../0 has a name")
        assert result.trouble.endswith("and 2 more.")
        assert len(stored()) == 1

    def test_that_end_in_the_middle_of_a_file_keep_what_came_before(
        self, team: Team, far: FakeNode, clock: Clock
    ) -> None:
        data = archive(("outputs/a", b"1"), ("outputs/b", b"2" * 3000))[:2000]

        job, result = self.collect_archive(team, far, clock, data)

        assert job.state == State.SUCCEEDED
        assert job.results.get(path="a").status == Result.Status.ARCHIVED
        assert job.results.get(path="b").status == Result.Status.FAILED
        assert "b is damaged" in result.trouble

    def test_hold_as_many_files_as_the_operator_allows(
        self, team: Team, far: FakeNode, clock: Clock, settings: Any
    ) -> None:
        settings.MAX_ARCHIVE_FILES = 2

        job, result = self.collect_archive(team, far, clock, archive(*((f"f{i}", b"1") for i in range(5))))

        assert job.results.exclude(path="").count() == 2
        assert "after 2 files" in result.trouble


class TestLease:
    def test_of_another_holder_keeps_this_one_away(self, job: Job, far: FakeNode, clock: Clock) -> None:
        Job.objects.filter(pk=job.pk).update(lease_holder="x", lease_until=NOW + timedelta(seconds=1))

        collect(job, clock)

        assert far.calls == []
        assert (job.state, job.lease_holder) == (State.COLLECTING, "x")

    def test_lost_during_a_download_means_that_nothing_more_is_written(
        self, job: Job, far: FakeNode, clock: Clock
    ) -> None:
        def lose() -> bytes:
            clock.tick(60)
            Job.objects.filter(pk=job.pk).update(lease_holder="other")
            return b"more"

        far.will("open_result", [b"some", lose])

        collect(job, clock)

        assert stored() == []
        assert job.results.get(index=0).status == Result.Status.PENDING
        assert (job.state, job.lease_holder) == (State.COLLECTING, "other")
        assert len(far.called("open_result")) == 1

    def test_is_kept_during_a_long_download(self, job: Job, far: FakeNode, clock: Clock) -> None:
        def slowly() -> bytes:
            clock.tick(100)
            return b"x"

        far.will("open_result", [slowly] * 10)

        collect(job, clock)

        assert job.results.get(index=0).size == 10

    def test_is_kept_over_several_that_fail_slowly(self, job: Job, far: FakeNode, clock: Clock) -> None:
        def slowly(**_: Any) -> Any:
            clock.tick(100)
            raise lost_answer()

        far.will("open_result", slowly, slowly)

        collect(job, clock)

        assert job.results.get(index=2, path="").status == Result.Status.ARCHIVED

    def test_is_kept_while_a_large_file_is_stored(
        self, job: Job, far: FakeNode, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        save = default_storage.save

        def save_slowly(name: str, content: Any, max_length: int | None = None) -> str:
            read = content.read

            def read_slowly(size: int = -1) -> Any:
                clock.tick(40)
                return read(size)

            content.read = read_slowly
            content.seek(0)
            while content.read(2):
                pass
            return save(name, content, max_length=max_length)

        with monkeypatch.context() as patch:
            patch.setattr(default_storage, "save", save_slowly)  # patched by name: storing takes minutes
            collect(job, clock)

        assert job.state == State.SUCCEEDED


class TestOpenResult:
    @pytest.fixture
    def result(self, team: Team) -> Result:
        job = builders.make_job(team=team, state=State.SUCCEEDED)
        return builders.make_result(job=job, name="summary.csv", data=b"a,b\n1,2\n")

    def open_it(self, actor: Actor, result: Result) -> results.OpenedResult:
        return results.open_result(actor=actor, job_id=result.job_id, result_id=result.pk, now=NOW)

    def test_gives_the_bytes_and_notes_who_fetched_them(self, vera: Actor, result: Result) -> None:
        opened = self.open_it(vera, result)

        with opened.stream as stream:
            data = stream.read()
        assert data == b"a,b\n1,2\n"
        assert (opened.name, opened.size, opened.content_type) == ("summary.csv", 8, "text/csv")
        assert opened.sha256 == hashlib.sha256(data).hexdigest()
        event = JobEvent.objects.get(kind=JobEvent.Kind.DOWNLOADED)
        assert (event.actor_id, event.at, event.data) == (vera.user_id, NOW, {"result_id": result.pk})

    def test_of_another_team_is_missing(self, charlie: Actor, result: Result) -> None:
        with pytest.raises(Missing):
            self.open_it(charlie, result)

        assert not JobEvent.objects.filter(kind=JobEvent.Kind.DOWNLOADED).exists()

    def test_under_another_job_is_missing(self, vera: Actor, result: Result) -> None:
        with pytest.raises(Missing):
            results.open_result(actor=vera, job_id=uuid.UUID(int=1), result_id=result.pk, now=NOW)

    def test_that_is_not_archived_is_missing(self, vera: Actor, result: Result) -> None:
        Result.objects.update(status=Result.Status.PENDING)

        with pytest.raises(Missing):
            self.open_it(vera, result)

    def test_whose_file_is_gone_is_missing(self, vera: Actor, result: Result) -> None:
        default_storage.delete(result.file.name or "")

        with pytest.raises(Missing):
            self.open_it(vera, result)

    def test_is_looked_at_without_an_event(self, vera: Actor, result: Result) -> None:
        def peek(**values: Any) -> bytes:
            return results.peek(actor=vera, job_id=result.job_id, result_id=result.pk, now=NOW, **values)

        assert peek(max_bytes=3) == b"a,b"
        assert peek(max_bytes=4, from_end=True) == b"1,2\n"[-4:]
        assert peek(max_bytes=100, from_end=True) == b"a,b\n1,2\n"
        assert not JobEvent.objects.filter(kind=JobEvent.Kind.DOWNLOADED).exists()
