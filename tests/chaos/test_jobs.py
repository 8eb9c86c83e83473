"""Many jobs in bad weather, free and paid, in both dialects: all end in a true state, and nothing is paid twice."""

from pathlib import Path

import pytest

from tests.chaos import crowd, truths
from tests.chaos.storm import storm_over


def run(folder: Path, *, seed: int, jobs: int, storm_s: float, settle_s: float) -> None:
    """Launch so many jobs, let the storm blow, wait, and look at what is true."""
    with storm_over(folder, seed=seed) as storm:
        crowd.fund(storm.ledger, info=storm.box.info)
        wanted = list(crowd.wishes(jobs, contracts=storm.box.info["contracts"]))
        crowd.launch(storm.portal, wanted=wanted)
        before = truths.purses(storm.ledger, contracts=storm.box.info["contracts"])
        began_at = storm.ledger.head()
        try:
            storm.blow(for_s=storm_s)
            storm.settle(within_s=settle_s)
            found = truths.lies(portal=storm.portal, ledger=storm.ledger, before=before, began_at=began_at)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{storm.report()}") from None
        assert not found, "\n".join([*found, storm.report()])
        assert all(proxy.counts.total() > jobs for proxy in storm.proxies if proxy.name != "aquarius")
        print(storm.report())


class TestJobs:
    @pytest.mark.xdist_group("chaos")
    @pytest.mark.parametrize("seed", [1789])
    def test_all_end_in_a_true_state_and_are_paid_once(self, tmp_path: Path, seed: int) -> None:
        run(tmp_path, seed=seed, jobs=20, storm_s=40, settle_s=150)
