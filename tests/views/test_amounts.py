"""How amounts of tokens look: exact where they are decided on, short where they are glanced at."""

from __future__ import annotations

from decimal import Decimal

import pytest

from jobs.templatetags.portal import amount, brief, exact, plain

MOST = 2**256 - 1


class TestExact:
    @pytest.mark.parametrize("decimals", [0, 6, 18, 77])
    def test_keeps_every_digit(self, decimals: int) -> None:
        most = Decimal((0, tuple(map(int, str(MOST))), -decimals))

        assert exact(most).replace(",", "").replace(".", "") == str(MOST)
        assert plain(most).replace(".", "") == str(MOST)

    def test_goes_beside_what_is_rounded_however_large_it_is(self) -> None:
        assert amount(Decimal(MOST)) == exact(Decimal(MOST))


class TestBrief:
    @pytest.mark.parametrize(
        ("said", "shown"),
        [
            ("0", "0"),
            ("4.000000000000123456", "4"),
            ("1.333333333333333333", "1.3333"),
            ("1234.5", "1,234.5"),
            ("0.000000000000000001", "0.000000000000000001"),
            ("0.000412345678", "0.0004123"),
            (str(MOST), "1.16 × 10^77"),
        ],
    )
    def test_is_short_and_never_nothing_for_something(self, said: str, shown: str) -> None:
        assert brief(Decimal(said)) == shown

    def test_of_nothing_known_is_a_dash(self) -> None:
        assert brief(None) == "–"
