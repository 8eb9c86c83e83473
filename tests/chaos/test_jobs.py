"""Many jobs in bad weather, free and paid, in both dialects: all end in a true state, and nothing is paid twice.

Which exchange meets which trouble depends on the threads of the moment, so a seed repeats the weather and not the course
of the jobs: what is asserted is true of every course.
"""

from pathlib import Path

import pytest

from tests.chaos import crowd, truths
from tests.chaos.storm import storm_over


def run(folder: Path, *, seed: int, jobs: int, storm_s: float, settle_s: float) -> None:
    """Launch so many jobs, let the storm blow, wait, and look at what is true."""
    with storm_over(folder, seed=seed) as storm:
        contracts = storm.box.info["contracts"]
        crowd.fund(storm.ledger, info=storm.box.info)
        launched = crowd.launch(storm.portal, wanted=list(crowd.wishes(jobs, contracts=contracts)))
        before, began_at = truths.purses(storm.ledger, contracts=contracts), storm.ledger.head()
        assert len(launched) == jobs
        try:
            storm.blow(for_s=storm_s)
            storm.settle(within_s=settle_s)
            found = truths.lies(portal=storm.portal, ledger=storm.ledger, before=before, began_at=began_at)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{storm.report()}") from None

        assert not found, "\n".join([*found, storm.report()])
        assert storm.forgotten
        assert storm.was_bad, storm.report()


@pytest.mark.xdist_group("chaos")
class TestJobs:
    @pytest.mark.timeout(600)
    @pytest.mark.parametrize("seed", [1789])
    def test_all_end_in_a_true_state_and_are_paid_once(self, tmp_path: Path, seed: int) -> None:
        run(tmp_path, seed=seed, jobs=20, storm_s=90, settle_s=300)

    @pytest.mark.long
    @pytest.mark.timeout(7_200)
    @pytest.mark.parametrize("seed", [1848])
    def test_all_of_two_hundred_end_in_a_true_state_and_are_paid_once(
        self, tmp_path: Path, seed: int
    ) -> None:
        run(tmp_path, seed=seed, jobs=200, storm_s=1_800, settle_s=3_600)
