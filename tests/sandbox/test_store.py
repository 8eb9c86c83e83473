"""The node's memory, over versions of the sandbox."""

import sqlite3
from pathlib import Path

from ocean_portal.sandbox.store import Store


class TestStore:
    def test_opens_a_file_of_before_images_were_built(self, tmp_path: Path) -> None:
        path = tmp_path / "node.sqlite3"
        Store(path=path).close()
        with sqlite3.connect(path) as old:
            for column in ("build_started_at", "build_stopped_at"):
                old.execute(f"ALTER TABLE jobs DROP COLUMN {column}")
        old.close()

        store = Store(path=path)

        store.add_job(job_id="a", owner="0x", status=12, spec={}, now=1.0)
        store.change_job(job_id="a", build_started_at=2.0)
        job = store.job(job_id="a")
        assert job is not None
        assert (job["build_started_at"], job["build_stopped_at"]) == (2.0, None)
        store.close()
