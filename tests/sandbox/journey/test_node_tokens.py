"""Node tokens against both services of a real sandbox: had, used, lost, and given back."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.sandbox.journey.conftest import open_portal
from tests.sandbox.journey.portal import Portal, wait_for

pytestmark = pytest.mark.xdist_group("tokens")

IN_USE = "SELECT count(*) FROM jobs_nodetoken WHERE encrypted_token IS NOT NULL"
WANT = """
from jobs.services import nodetokens
wallet = Wallet.objects.get(label="demo")
for node in Node.objects.all():
    nodetokens.want(actor=actor, wallet_id=wallet.pk, node_id=node.pk, now=clock())
"""
GIVE_BACK = """
from jobs.services import nodetokens
answer = nodetokens.give_back_all(wallet_id=Wallet.objects.get(label="demo").pk, now=clock())
"""
UNREADABLE = "UPDATE jobs_wallet SET encrypted_key = ? WHERE label = 'demo'"


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portal]:
    """A portal whose wallet has a token at each service."""
    with open_portal(tmp_path_factory.mktemp("tokens")) as portal:
        portal.start_worker()
        portal.call(WANT)
        wait_for(lambda: portal.rows(IN_USE)[0][0] == 2, "a token of each service")
        yield portal


class TestTokens:
    def test_stand_in_for_the_key_on_the_whole_way_of_a_job(self, held: Portal) -> None:
        (row,) = held.rows("SELECT encrypted_key FROM jobs_wallet WHERE label = 'demo'")
        held.write(UNREADABLE, b"nobody can sign with this")
        try:
            ended = held.launch("Summary statistics")
        finally:
            held.write(UNREADABLE, row["encrypted_key"])

        assert ended.code == 0, (ended.stdout, ended.stderr)
        assert "summary.csv" in held.archived(ended.job["id"])

    def test_of_a_provider_do_the_same_beside_the_nonce(self, held: Portal) -> None:
        ended = held.launch("Summary statistics (v4)", datasets=("Iris flowers (v4)",))

        assert ended.code == 0, (ended.stdout, ended.stderr)

    def test_that_a_node_has_lost_are_dropped_and_the_job_is_signed(self, held: Portal) -> None:
        with closing(sqlite3.connect(held.box.state / "node.sqlite3", timeout=20)) as db, db:
            db.execute("DELETE FROM tokens")

        ended = held.launch("Summary statistics")

        assert ended.code == 0, (ended.stdout, ended.stderr)
        assert held.runs(ended.job["id"]) == 1
        (row,) = held.rows("SELECT * FROM jobs_nodetoken WHERE trouble != ''")
        assert row["encrypted_token"] is None
        assert "did not take the token any more" in row["trouble"]

    def test_are_given_back_to_both(self, held: Portal) -> None:
        held.write("UPDATE jobs_nodetoken SET next_try_at = '2020-01-01 00:00:00'")
        wait_for(lambda: held.rows(IN_USE)[0][0] == 2, "another token")

        assert held.call(GIVE_BACK) == 2
        wait_for(lambda: not held.rows("SELECT 1 FROM jobs_nodetoken"), "the giving back")

        assert held.box.rows("SELECT * FROM tokens") == []
        with closing(sqlite3.connect(next(held.box.state.rglob("provider*.sqlite3")), timeout=20)) as db:
            assert len(db.execute("SELECT * FROM revoked_tokens").fetchall()) == 1
