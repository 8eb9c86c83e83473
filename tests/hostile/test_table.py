"""The table of what a far side may do: how many lines it has, and that no line stands in it twice."""

from collections import Counter

from tests.hostile import (
    test_archives,
    test_bodies,
    test_connections,
    test_ddos,
    test_environments,
    test_job_lists,
    test_logs,
    test_results,
    test_starts,
)

NAMES = [
    *(case.name for case in test_job_lists.CASES),
    *(case.name for case in test_results.CASES),
    *(case.name for case in (*test_starts.STARTS, *test_starts.NONCES, *test_starts.STOPS)),
    *(f"environments: {case.name}" for case in test_environments.CASES),
    *(f"DDO: {case.name}" for case in test_ddos.CASES),
    *(f"HTTP: {case.name}" for case in test_bodies.CASES),
    *(f"resolves to {case.name}" for case in test_connections.CASES),
    *(f"archive: {case.name}" for case in test_archives.CASES),
    *(f"live log: {name}" for name in test_logs.ENDLESS),
]


class TestTable:
    def test_has_more_than_three_hundred_lines(self) -> None:
        assert len(NAMES) > 300

    def test_has_no_line_twice(self) -> None:
        assert [name for name, times in Counter(NAMES).items() if times > 1] == []
