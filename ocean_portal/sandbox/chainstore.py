"""The sandbox chain on disk: the EVM's state, and an index of transactions and logs, in one SQLite file."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from eth.abc import AtomicWriteBatchAPI
from eth.db.backends.base import BaseAtomicDB

_SCHEMA = """
CREATE TABLE IF NOT EXISTS state (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS transactions (
    hash TEXT PRIMARY KEY, block INTEGER NOT NULL, body TEXT NOT NULL, receipt TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS transactions_by_block ON transactions (block);
CREATE TABLE IF NOT EXISTS logs (
    block INTEGER NOT NULL, position INTEGER NOT NULL, address TEXT NOT NULL,
    topic0 TEXT, topic1 TEXT, topic2 TEXT, topic3 TEXT, body TEXT NOT NULL,
    PRIMARY KEY (block, position)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS logs_by_address ON logs (address, topic0, block);
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS pool (arrived INTEGER PRIMARY KEY AUTOINCREMENT, hash TEXT UNIQUE, raw BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS snapshots (id INTEGER PRIMARY KEY AUTOINCREMENT, time_offset_s INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS pool_then (
    snapshot INTEGER NOT NULL, arrived INTEGER NOT NULL, hash TEXT NOT NULL, raw BLOB NOT NULL,
    PRIMARY KEY (snapshot, arrived)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS state_then (
    key BLOB NOT NULL, snapshot INTEGER NOT NULL, value BLOB, PRIMARY KEY (key, snapshot)
) WITHOUT ROWID;
"""
AUTOMINE = "automine"
TIME_OFFSET_S = "time_offset_s"
REVERTS = "reverts"
_DEFAULTS = {AUTOMINE: 1, TIME_OFFSET_S: 0, REVERTS: 0}


class ChainStore(BaseAtomicDB):
    """Keep py-evm's key-value pairs and our index together, so that a block has both or is not there."""

    def __init__(self, path: Path) -> None:
        """Open or create the file, and hold it for this process alone.

        Raises: RuntimeError when another process holds it.
        """
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=1)
        try:
            self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._db.execute("PRAGMA journal_mode = WAL")
            # A killed process loses nothing in this mode; only a power cut may lose the newest blocks.
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.executescript(_SCHEMA)
        except sqlite3.OperationalError as error:
            self._db.close()
            if "locked" in str(error):
                raise RuntimeError(f"{path} is in use by another sandbox; stop that one first") from error
            raise

    def close(self) -> None:
        """Give the file back; the next start finds everything that was committed."""
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit everything written inside, or nothing when the block raises or the process dies."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            self._db.rollback()
            raise

    @contextmanager
    def rehearsal(self) -> Iterator[None]:
        """Forget everything written inside, whatever happens."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            self._db.rollback()

    # What py-evm calls.

    def __getitem__(self, key: bytes) -> bytes:
        row = self._db.execute("SELECT value FROM state WHERE key = ?", (bytes(key),)).fetchone()
        if row is None:
            raise KeyError(key)
        value: bytes = row[0]
        return value

    def __setitem__(self, key: bytes, value: bytes) -> None:
        self._remember(key)
        self._db.execute("INSERT OR REPLACE INTO state VALUES (?, ?)", (bytes(key), bytes(value)))

    def __delitem__(self, key: bytes) -> None:
        self._remember(key)
        if not self._db.execute("DELETE FROM state WHERE key = ?", (bytes(key),)).rowcount:
            raise KeyError(key)

    def _exists(self, key: bytes) -> bool:
        return self._db.execute("SELECT 1 FROM state WHERE key = ?", (bytes(key),)).fetchone() is not None

    @contextmanager
    def atomic_batch(self) -> Iterator[AtomicWriteBatchAPI]:
        """Lend the store itself: the transaction around the block is the batch."""
        yield cast(AtomicWriteBatchAPI, self)

    def _remember(self, key: bytes) -> None:
        """Keep what the newest snapshot, if there is one, had under a key that is about to change."""
        if not self._db.in_transaction:
            raise RuntimeError("the chain's state is written inside transaction() only")
        self._db.execute(
            "INSERT OR IGNORE INTO state_then SELECT ?1, id, (SELECT value FROM state WHERE key = ?1) "
            "FROM snapshots ORDER BY id DESC LIMIT 1",
            (bytes(key),),
        )

    # Settings, the pool and snapshots.

    def setting(self, name: str) -> int:
        """Return AUTOMINE (0 or 1), TIME_OFFSET_S (seconds ahead of the clock) or REVERTS (how many)."""
        row = self._db.execute("SELECT value FROM settings WHERE name = ?", (name,)).fetchone()
        return int(row[0]) if row else _DEFAULTS[name]

    def change_setting(self, name: str, value: int) -> None:
        """Change a setting."""
        self._db.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (name, value))

    def waiting(self) -> list[bytes]:
        """Return the raw transactions of the pool, oldest first."""
        return [row[0] for row in self._db.execute("SELECT raw FROM pool ORDER BY arrived").fetchall()]

    def add_waiting(self, *, tx_hash: str, raw: bytes) -> None:
        """Put a raw transaction behind those that wait already."""
        self._db.execute("INSERT INTO pool (hash, raw) VALUES (?, ?)", (tx_hash, raw))

    def drop_waiting(self, tx_hash: str) -> None:
        """Take a transaction out of the pool, if it is there."""
        self._db.execute("DELETE FROM pool WHERE hash = ?", (tx_hash,))

    def take_snapshot(self) -> int:
        """Remember everything as it is, and return an id that no other snapshot ever has."""
        row = self._db.execute(
            "INSERT INTO snapshots (time_offset_s) VALUES (?) RETURNING id", (self.setting(TIME_OFFSET_S),)
        ).fetchone()
        self._db.execute("INSERT INTO pool_then SELECT ?, arrived, hash, raw FROM pool", row)
        return int(row[0])

    def restore(self, snapshot: int) -> bool:
        """Bring back state, pool and time of a snapshot, and use it and all later ones up.

        The index keeps what it has: see forget_blocks. Return False, with nothing changed, for an unknown id.
        """
        row = self._db.execute("SELECT time_offset_s FROM snapshots WHERE id = ?", (snapshot,)).fetchone()
        if row is None:
            return False
        self.change_setting(TIME_OFFSET_S, row[0])
        # Of all that later snapshots remember of a key, the oldest is what it was at this one.
        self._db.execute(
            "DELETE FROM state WHERE key IN (SELECT key FROM state_then WHERE snapshot >= ?)", (snapshot,)
        )
        self._db.execute(
            "INSERT INTO state SELECT key, value FROM state_then AS kept WHERE value IS NOT NULL AND snapshot = "
            "(SELECT min(snapshot) FROM state_then WHERE key = kept.key AND snapshot >= ?)",
            (snapshot,),
        )
        self._db.execute("DELETE FROM pool")
        self._db.execute(
            "INSERT INTO pool (arrived, hash, raw) SELECT arrived, hash, raw FROM pool_then WHERE snapshot = ?",
            (snapshot,),
        )
        self._db.execute("DELETE FROM state_then WHERE snapshot >= ?", (snapshot,))
        self._db.execute("DELETE FROM pool_then WHERE snapshot >= ?", (snapshot,))
        self._db.execute("DELETE FROM snapshots WHERE id >= ?", (snapshot,))
        return True

    # The index.

    def add_transaction(self, *, block: int, body: dict[str, Any], receipt: dict[str, Any]) -> None:
        """Index a mined transaction, its receipt and its logs, all in their JSON-RPC shapes."""
        self._db.execute(
            "INSERT INTO transactions VALUES (?, ?, ?, ?)",
            (body["hash"], block, json.dumps(body), json.dumps(receipt)),
        )
        for log in receipt["logs"]:
            topics = (log["topics"] + [None] * 4)[:4]
            self._db.execute(
                "INSERT INTO logs VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (block, int(log["logIndex"], 16), log["address"].lower(), *topics, json.dumps(log)),
            )

    def forget_blocks(self, *, after: int) -> None:
        """Take the transactions and logs of all blocks above this number out of the index."""
        self._db.execute("DELETE FROM transactions WHERE block > ?", (after,))
        self._db.execute("DELETE FROM logs WHERE block > ?", (after,))

    def body(self, tx_hash: str) -> dict[str, Any] | None:
        """Return the transaction with this hash, or None."""
        return self._one("SELECT body FROM transactions WHERE hash = ?", tx_hash)

    def receipt(self, tx_hash: str) -> dict[str, Any] | None:
        """Return the receipt of the transaction with this hash, or None."""
        return self._one("SELECT receipt FROM transactions WHERE hash = ?", tx_hash)

    def bodies(self, block: int) -> list[dict[str, Any]]:
        """Return the transactions of a block, in their order."""
        return self._of_block("SELECT body FROM transactions WHERE block = ?", block)

    def receipts(self, block: int) -> list[dict[str, Any]]:
        """Return the receipts of a block, in the order of its transactions."""
        return self._of_block("SELECT receipt FROM transactions WHERE block = ?", block)

    def logs(
        self, *, first: int, last: int, addresses: Sequence[str], topics: Sequence[Sequence[str]]
    ) -> list[dict[str, Any]]:
        """Return the logs of a range of blocks, oldest first.

        addresses, and each of topics: lower-case alternatives; none given means any.
        """
        conditions = ["block BETWEEN ? AND ?"]
        values: list[int | str] = [first, last]
        wanted = [("address", addresses)]
        wanted += [(f"topic{position}", alternatives) for position, alternatives in enumerate(topics[:4])]
        for column, alternatives in wanted:
            if alternatives:
                conditions.append(f"{column} IN ({','.join('?' * len(alternatives))})")
                values += alternatives
        # Only fixed column names and question marks are put together here; what clients send is bound.
        query = f"SELECT body FROM logs WHERE {' AND '.join(conditions)} ORDER BY block, position"  # noqa: S608
        return [json.loads(row[0]) for row in self._db.execute(query, values).fetchall()]

    def _of_block(self, query: str, block: int) -> list[dict[str, Any]]:
        found = [json.loads(row[0]) for row in self._db.execute(query, (block,)).fetchall()]
        return sorted(found, key=lambda item: int(item["transactionIndex"], 16))

    def _one(self, query: str, value: str) -> dict[str, Any] | None:
        row = self._db.execute(query, (value,)).fetchone()
        if row is None:
            return None
        found: dict[str, Any] = json.loads(row[0])
        return found
