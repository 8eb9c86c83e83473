"""Amounts come back from the database as they went in, to the wei, and are compared as numbers."""

from __future__ import annotations

from decimal import Decimal
from importlib import import_module

import pytest
from django.apps import apps
from django.core.exceptions import ValidationError
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs.models import Network
from tests import builders

MOST = 2**256 - 1
amounts = st.one_of(st.integers(0, MOST), st.integers(0, 10**19), st.just(MOST))


@pytest.fixture
def network(db: None) -> Network:
    return builders.make_network()


def stored(network: Network, amount: int | Decimal) -> int:
    Network.objects.filter(pk=network.pk).update(max_gas_wei=amount)
    return Network.objects.get(pk=network.pk).max_gas_wei


class TestKeeping:
    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(amount=amounts)
    def test_loses_no_wei(self, network: Network, amount: int) -> None:
        assert stored(network, amount) == amount

    def test_takes_whole_decimals(self, network: Network) -> None:
        assert stored(network, Decimal("1e21")) == 10**21

    @pytest.mark.parametrize("bad", [-1, MOST + 1, Decimal("0.5"), Decimal("NaN"), "much", object()])
    def test_refuses_what_is_no_amount(self, network: Network, bad: object) -> None:
        with pytest.raises(ValueError, match="no amount"):
            Network.objects.filter(pk=network.pk).update(max_gas_wei=bad)

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(one=amounts, other=amounts)
    def test_is_compared_as_a_number(self, network: Network, one: int, other: int) -> None:
        stored(network, one)

        assert Network.objects.filter(max_gas_wei__gt=other).exists() == (one > other)
        assert Network.objects.filter(max_gas_wei=other).exists() == (one == other)


class TestEntering:
    @pytest.mark.parametrize(("text", "amount"), [("5", 5), ("1e18", 10**18), (" 7 ", 7), ("", None)])
    def test_reads_what_a_person_writes(self, text: str, amount: int | None) -> None:
        assert Network._meta.get_field("max_gas_wei").to_python(text) == amount

    @pytest.mark.parametrize("text", ["-1", "1.5", "many", "Infinity", "1" * 79])
    def test_refuses_the_rest_with_a_sentence(self, text: str) -> None:
        with pytest.raises(ValidationError, match="whole number"):
            Network._meta.get_field("max_gas_wei").to_python(text)


class TestMigration:
    def test_writes_what_older_versions_kept_as_a_number_anew(self, network: Network) -> None:
        with connection.cursor() as cursor:
            cursor.execute("UPDATE jobs_network SET max_gas_wei = %s", ["50000000000000000.0"])
        assert not Network.objects.filter(max_gas_wei=5 * 10**16).exists()

        import_module("jobs.migrations.0005_exact_amounts").write_again(apps, None)

        assert Network.objects.filter(max_gas_wei=5 * 10**16).exists()
