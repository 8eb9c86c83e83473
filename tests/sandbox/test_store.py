"""The node's memory, over versions of the sandbox."""

import sqlite3
from pathlib import Path

from ocean_portal.sandbox.store import Store


class TestStore:
    def test_opens_a_file_of_before_images_were_built(self, tmp_path: Path) -> None:
        path = tmp_path / "node.sqlite3"
        Store(path=path).close()
        with sqlite3.connect(path) as old:
            for column in ("build_started_at", "build_stopped_at", "engine"):
                old.execute(f"ALTER TABLE jobs DROP COLUMN {column}")
        old.close()

        store = Store(path=path)

        store.add_job(job_id="a", owner="0x", status=12, spec={}, now=1.0)
        store.change_job(job_id="a", build_started_at=2.0)
        job = store.job(job_id="a")
        assert job is not None
        assert (job["build_started_at"], job["build_stopped_at"]) == (2.0, None)
        store.close()

    def test_keeps_the_jobs_of_two_engines_apart(self, tmp_path: Path) -> None:
        store = Store(path=tmp_path / "node.sqlite3")
        other = store.of_engine(name="other")
        for view, job_id in ((store, "a"), (other, "b")):
            view.add_job(job_id=job_id, owner="0x", status=41, spec={}, now=1.0)
            view.change_job(job_id=job_id, finished_at=2.0)

        store.settle_jobs(before=3.0, statuses=(41,), settled=70)

        assert [job["id"] for job in store.jobs()] == store.ended_before(moment=3.0) == ["a"]
        assert [(job["id"], job["status"]) for job in other.jobs()] == [("b", 41)]
        assert store.job(job_id="b") is None and other.job(job_id="b") is not None
        store.close()
