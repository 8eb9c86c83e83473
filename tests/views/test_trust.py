"""What a publisher's lists let run, as each dialect reads them.

Sources: provider v2.1.6, validation/algo.py; ocean-node 3.2.0, components/core/compute/utils.ts.
"""

from __future__ import annotations

from typing import Any

import pytest

from jobs.ocean.compute import CAPABILITIES
from jobs.selectors.catalogue import trusted

NODE, PROVIDER = CAPABILITIES["ocean-node"], CAPABILITIES["provider-v4"]
ONE = {"did": "did:op:one"}
ANY = {"did": "*"}


@pytest.mark.parametrize(
    ("algorithms", "publishers", "at_node", "at_provider"),
    [
        ([], [], set(), {"*"}),
        (None, [], set(), {"*"}),
        ([ONE], [], {"did:op:one"}, {"did:op:one"}),
        ([ANY], [], {"*"}, set()),
        ([ONE, ANY], [], {"did:op:one", "*"}, {"did:op:one"}),
        ([], ["0xabc"], None, None),
        ([ONE], ["0xabc"], None, {"did:op:one"}),  # a node: either list; a Provider: both
        ([ANY], ["0xabc"], {"*"}, set()),
    ],
)
def test_lists(
    algorithms: list[dict[str, str]] | None,
    publishers: list[str],
    at_node: set[str] | None,
    at_provider: set[str] | None,
) -> None:
    service: dict[str, Any] = {
        "compute": {"trusted_algorithms": algorithms, "trusted_publishers": publishers}
    }

    assert trusted(service, can=NODE) == at_node
    assert trusted(service, can=PROVIDER) == at_provider


def test_no_settings_at_all() -> None:
    assert trusted({"compute": None}, can=NODE) == set()
    assert trusted({}, can=PROVIDER) == {"*"}
