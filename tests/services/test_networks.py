"""Which addresses mean the same node."""

from __future__ import annotations

import pytest

from jobs.models.networks import normal_endpoint


class TestNormalEndpoint:
    @pytest.mark.parametrize(
        "url",
        [
            "https://node.example",
            "https://node.example/",
            "HTTPS://Node.Example:443",
            " https://node.example ",
        ],
    )
    def test_takes_one_address_for_one(self, url: str) -> None:
        assert normal_endpoint(url) == "https://node.example:443"

    @pytest.mark.parametrize(
        "url",
        ["", "node.example", "ftp://node.example", "https://", "https://node.example:port", "http://[::1"],
    )
    def test_takes_nothing_else_for_an_address(self, url: str) -> None:
        assert normal_endpoint(url) == ""

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("https://node.example", "http://node.example"),
            ("https://node.example", "https://node.example:8443"),
            ("https://node.example", "https://node.example/c2d"),
            ("https://node.example", "https://node.example.evil"),
        ],
    )
    def test_keeps_different_addresses_apart(self, one: str, other: str) -> None:
        assert normal_endpoint(one) != normal_endpoint(other)
