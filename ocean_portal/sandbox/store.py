"""The sandbox node's memory: one SQLite file that survives SIGKILL at any line."""

import copy
import json
import sqlite3
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SCHEMA = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    status INTEGER NOT NULL,
    spec TEXT NOT NULL,
    created_at REAL NOT NULL,
    finished_at REAL,
    stop_requested INTEGER NOT NULL DEFAULT 0,
    algo_started_at REAL,
    algo_stopped_at REAL,
    exit_code INTEGER,
    oom_killed INTEGER,
    build_started_at REAL,
    build_stopped_at REAL,
    engine TEXT NOT NULL DEFAULT '',
    payment TEXT
);
CREATE INDEX IF NOT EXISTS jobs_by_owner ON jobs (owner, created_at);
CREATE TABLE IF NOT EXISTS runs (job_id TEXT NOT NULL, started_at REAL NOT NULL, UNIQUE (job_id, started_at));
CREATE TABLE IF NOT EXISTS paid_starts (
    job_id TEXT PRIMARY KEY, owner TEXT NOT NULL, spec TEXT NOT NULL, payment TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS nonces (address TEXT PRIMARY KEY, nonce TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS tokens (token TEXT PRIMARY KEY, address TEXT NOT NULL, valid_until INTEGER);
CREATE TABLE IF NOT EXISTS ddos (did TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS requests (
    at REAL NOT NULL, method TEXT NOT NULL, path TEXT NOT NULL, status INTEGER NOT NULL
);
"""
KEEP_REQUESTS_S = 7 * 86400

Job = dict[str, Any]
JOB_COLUMNS = frozenset(
    {
        "status",
        "finished_at",
        "stop_requested",
        "algo_started_at",
        "algo_stopped_at",
        "exit_code",
        "oom_killed",
        "build_started_at",
        "build_stopped_at",
        "payment",
    }
)


class Store:
    """Hold one connection that all threads share, one statement at a time."""

    def __init__(self, *, path: Path) -> None:
        self._lock = threading.RLock()
        self._engine = ""
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.executescript(SCHEMA)
        self._add_columns("jobs", "build_started_at REAL", "build_stopped_at REAL")
        self._add_columns("jobs", "engine TEXT NOT NULL DEFAULT ''", "payment TEXT")
        self._db.execute("DELETE FROM requests WHERE at < ?", (time.time() - KEEP_REQUESTS_S,))

    def of_engine(self, *, name: str) -> "Store":
        """Return this store with the jobs of another engine in view; everything else is the same.

        The node's own engine has the empty name.
        """
        view = copy.copy(self)
        view._engine = name
        return view

    def close(self) -> None:
        """Close the file; later calls raise sqlite3.ProgrammingError."""
        with self._lock:
            self._db.close()

    def _add_columns(self, table: str, *columns: str) -> None:
        """Bring a file of an earlier version up to date."""
        known = {row["name"] for row in self._run(f"PRAGMA table_info({table})")}
        for column in columns:
            if column.partition(" ")[0] not in known:
                self._run(f"ALTER TABLE {table} ADD COLUMN {column}")

    def _run(self, sql: str, *values: object) -> list[sqlite3.Row]:
        with self._lock:
            return self._db.execute(sql, values).fetchall()

    # facts

    def fact(self, *, name: str) -> Any:
        """Return the remembered JSON value of this name, or None."""
        rows = self._run("SELECT value FROM facts WHERE name = ?", name)
        return json.loads(rows[0][0]) if rows else None

    def remember(self, *, name: str, value: object) -> None:
        """Keep a JSON value under this name, over an older one."""
        self._run("INSERT OR REPLACE INTO facts VALUES (?, ?)", name, json.dumps(value))

    # jobs

    def add_job(
        self,
        *,
        job_id: str,
        owner: str,
        status: int,
        spec: Mapping[str, object],
        now: float,
        payment: Mapping[str, object] | None = None,
    ) -> None:
        """Insert a job; a free one has no payment."""
        self._run(
            "INSERT INTO jobs (id, owner, status, spec, created_at, engine, payment)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            *(job_id, owner, status, json.dumps(spec), now, self._engine, _payment(payment)),
        )

    def change_job(self, *, job_id: str, **columns: object) -> None:
        """Set columns of a job.

        Raises ValueError for a column that does not change in a job's life.
        """
        if unknown := columns.keys() - JOB_COLUMNS:
            raise ValueError(f"not a column that changes: {', '.join(sorted(unknown))}")
        if "payment" in columns:
            columns["payment"] = _payment(columns["payment"])
        assignments = ", ".join(f"{name} = ?" for name in columns)
        self._run(f"UPDATE jobs SET {assignments} WHERE id = ?", *columns.values(), job_id)  # noqa: S608 - names are checked above

    def delete_job(self, *, job_id: str) -> None:
        """Forget a job's row."""
        self._run("DELETE FROM jobs WHERE id = ?", job_id)

    def job(self, *, job_id: str) -> Job | None:
        """Return one job, its spec and its payment decoded, or None."""
        return next(iter(self.jobs(job_id=job_id)), None)

    def jobs(
        self, *, job_id: str | None = None, owner: str | None = None, ended: bool | None = None
    ) -> list[Job]:
        """Return the jobs that match all given filters, oldest first."""
        rows = self._run(
            "SELECT * FROM jobs WHERE engine = ? AND id = ifnull(?, id) AND owner = ifnull(?, owner)"
            " AND (finished_at IS NOT NULL) = ifnull(?, finished_at IS NOT NULL) ORDER BY created_at, rowid",
            *(self._engine, job_id, owner, ended),
        )
        return [
            dict(row) | {name: json.loads(row[name] or "null") for name in ("spec", "payment")}
            for row in rows
        ]

    def ended_before(self, *, moment: float) -> list[str]:
        """Return the ids of jobs that ended before a time."""
        sql = "SELECT id FROM jobs WHERE engine = ? AND finished_at < ?"
        return [row[0] for row in self._run(sql, self._engine, moment)]

    def settle_jobs(self, *, before: float, statuses: tuple[int, ...], settled: int) -> None:
        """Give the settled status to free jobs that finished before a time and have one of the statuses."""
        marks = ", ".join("?" * len(statuses))
        self._run(
            "UPDATE jobs SET status = ? WHERE engine = ? AND finished_at < ? AND payment IS NULL"  # noqa: S608 - only marks
            f" AND status IN ({marks})",
            *(settled, self._engine, before, *statuses),
        )

    def unsettled_jobs(self, *, before: float, statuses: tuple[int, ...]) -> list[Job]:
        """Return the paid jobs that finished before a time and have one of the statuses."""
        marks = ", ".join("?" * len(statuses))
        rows = self._run(
            "SELECT id FROM jobs WHERE engine = ? AND finished_at < ? AND payment IS NOT NULL"  # noqa: S608 - only marks
            f" AND status IN ({marks}) ORDER BY finished_at, rowid",
            *(self._engine, before, *statuses),
        )
        return [job for row in rows if (job := self.job(job_id=row["id"])) is not None]

    # paid starts

    def plan_start(
        self, *, job_id: str, owner: str, spec: Mapping[str, object], payment: Mapping[str, object]
    ) -> None:
        """Note a paid start before anything of it is on the chain; `lockTx` of the payment is not known yet."""
        self._run(
            "INSERT INTO paid_starts VALUES (?, ?, ?, ?)",
            *(job_id, owner, json.dumps(spec), json.dumps(payment)),
        )

    def planned_starts(self) -> list[dict[str, Any]]:
        """Return the paid starts of which nobody knows how they ended: job_id, owner, spec, payment."""
        return [
            dict(row) | {name: json.loads(row[name]) for name in ("spec", "payment")}
            for row in self._run("SELECT * FROM paid_starts ORDER BY rowid")
        ]

    def drop_plan(self, *, job_id: str) -> None:
        """Forget a planned start: its job is there, or there will be none."""
        self._run("DELETE FROM paid_starts WHERE job_id = ?", job_id)

    def add_run(self, *, job_id: str, started_at: float) -> None:
        """Note that an algorithm was started; the same start noted twice is one line."""
        self._run("INSERT OR IGNORE INTO runs VALUES (?, ?)", job_id, started_at)

    def runs(self, *, job_id: str) -> list[float]:
        """Return the times at which this job's algorithm was started."""
        return [
            row[0] for row in self._run("SELECT started_at FROM runs WHERE job_id = ? ORDER BY 1", job_id)
        ]

    # nonces and tokens

    def nonce(self, *, address: str) -> int:
        """Return the last nonce of exactly this text, 0 when it was never seen."""
        rows = self._run("SELECT nonce FROM nonces WHERE address = ?", address)
        return int(rows[0][0]) if rows else 0

    def use_nonce(self, *, address: str, nonce: int) -> bool:
        """Move the counter of this text up to the nonce; False when it is not higher than the last one."""
        with self._lock:
            if nonce <= self.nonce(address=address):
                return False
            self._run("INSERT OR REPLACE INTO nonces VALUES (?, ?)", address, str(nonce))
            return True

    def add_token(self, *, token: str, address: str, valid_until: int | None) -> None:
        """Keep a token; valid_until is in milliseconds, None for ever."""
        self._run("INSERT OR REPLACE INTO tokens VALUES (?, ?, ?)", token, address, valid_until)

    def token_is_valid(self, *, token: str, now_ms: int) -> bool:
        """Tell whether the token is known, not revoked and not over its time."""
        sql = "SELECT 1 FROM tokens WHERE token = ? AND (valid_until IS NULL OR valid_until > ?)"
        return bool(self._run(sql, token, now_ms))

    def revoke_token(self, *, token: str) -> None:
        """Forget a token."""
        self._run("DELETE FROM tokens WHERE token = ?", token)

    # DDOs

    def put_ddo(self, *, name: str, ddo: Mapping[str, Any]) -> None:
        """Keep a published asset's document under its DID and its name."""
        self._run("INSERT OR REPLACE INTO ddos VALUES (?, ?, ?)", ddo["id"], name, json.dumps(ddo))

    def ddo(self, *, did: str) -> dict[str, Any] | None:
        """Return the document of this DID, or None."""
        rows = self._run("SELECT body FROM ddos WHERE did = ?", did)
        return json.loads(rows[0][0]) if rows else None

    def ddos(self) -> dict[str, dict[str, Any]]:
        """Return all documents by the name they were published under."""
        return {row[0]: json.loads(row[1]) for row in self._run("SELECT name, body FROM ddos ORDER BY rowid")}

    # requests

    def count_request(self, *, method: str, path: str, status: int, at: float) -> None:
        """Note one answered request."""
        self._run("INSERT INTO requests VALUES (?, ?, ?, ?)", at, method, path, status)

    def requests(self, *, since: float = 0) -> list[tuple[float, str, str, int]]:
        """Return the answered requests since a time: at, method, path, status."""
        return [tuple(row) for row in self._run("SELECT * FROM requests WHERE at >= ? ORDER BY at", since)]


def _payment(payment: object) -> str | None:
    return None if payment is None else json.dumps(payment)
