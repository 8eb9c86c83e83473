"""Jobs on a real sandbox process, over orders on its chain: statuses, layout, results, restarts."""

from collections.abc import Iterator

import pytest

from tests.sandbox.providerclient import ProviderClient
from tests.sandbox.running import Box, running_sandbox

LOOK = """
import json, os
from pathlib import Path
root = Path(os.environ["DATA_ROOT"])
found = sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file())
print(json.dumps({"files": found, "dids": json.loads(os.environ["DIDS"]), "of": os.environ["TRANSFORMATION_DID"],
                  "custom": (root / "inputs" / "algoCustomData.json").read_text()}))
"""


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    with running_sandbox(tmp_path_factory.mktemp("provider") / "state") as box:
        yield box


@pytest.fixture
def client(box: Box) -> ProviderClient:
    return ProviderClient(box.info)


class TestCourse:
    def test_published_algorithm_runs_on_a_published_dataset(self, client: ProviderClient) -> None:
        job = client.run(["Iris flowers (v4)"], client.asset("Summary statistics (v4)"))

        seen = client.wait(job)

        assert (seen[0]["status"], seen[-1]["status"]) == (1, 70)
        files = client.files(job)
        assert list(files) == ["chart.svg", "summary.csv", "algorithm.log", "configure.log", "publish.log"]
        assert b"sepal_length,150" in files["summary.csv"]
        assert files["algorithm.log"].startswith(b"1 input file(s)\n")
