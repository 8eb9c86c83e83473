"""What the Provider remembers: the last nonce of each spelling of an address, and revoked tokens."""

import sqlite3
import threading
from pathlib import Path

SCHEMA = """
CREATE TABLE IF NOT EXISTS user_nonce (address TEXT PRIMARY KEY, nonce TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS revoked_tokens (token TEXT PRIMARY KEY);
"""


class DuplicateNonce(Exception):
    """The nonce that was to be stored is, as text, the stored one. Source: recording 85-result-reused-nonce."""


class Memory:
    """A small SQLite file of the Provider's own, which all threads share."""

    def __init__(self, *, path: Path) -> None:
        self._lock = threading.RLock()
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.executescript(SCHEMA)

    def close(self) -> None:
        """Close the file; later calls raise sqlite3.ProgrammingError."""
        with self._lock:
            self._db.close()

    def forget(self) -> None:
        """Forget everything."""
        with self._lock:
            self._db.executescript("DELETE FROM user_nonce; DELETE FROM revoked_tokens")

    def nonce(self, *, address: str) -> str | None:
        """Return the last nonce of exactly this text, or None."""
        with self._lock:
            rows = self._db.execute("SELECT nonce FROM user_nonce WHERE address = ?", (address,)).fetchall()
        return str(rows[0][0]) if rows else None

    def store_nonce(self, *, address: str, nonce: object) -> None:
        """Store a nonce that passed its check; a number never counts as equal to the stored text.

        Raises DuplicateNonce. Source: recordings 86-start-reused-nonce-string and -number.
        """
        if nonce is None:
            return
        with self._lock:
            stored = self.nonce(address=address)
            if stored is not None and stored == nonce:
                raise DuplicateNonce(
                    f"Cannot create duplicates in the database.\n Existing nonce: {stored} vs. new nonce: {nonce}"
                )
            self._db.execute("INSERT OR REPLACE INTO user_nonce VALUES (?, ?)", (address, str(nonce)))

    def revoke(self, *, token: str) -> None:
        """Do not take this token any more."""
        with self._lock:
            self._db.execute("INSERT OR IGNORE INTO revoked_tokens VALUES (?)", (token,))

    def restore(self, *, token: str) -> None:
        """Take this token again."""
        with self._lock:
            self._db.execute("DELETE FROM revoked_tokens WHERE token = ?", (token,))

    def is_revoked(self, *, token: str) -> bool:
        """Tell whether this token was revoked."""
        with self._lock:
            return bool(self._db.execute("SELECT 1 FROM revoked_tokens WHERE token = ?", (token,)).fetchall())
