"""launch_job where a job costs something: the price is told, and no more is spent than was said."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from django.core.management import call_command

from jobs.models import Job, SpendingLimit, Transaction
from jobs.selectors import commands
from ocean_portal.sandbox.chain import ETHER
from tests import builders
from tests.services.conftest import Place
from tests.services.quay import Quay
from tests.services.test_quoting import paid_environment, sell


def launch_job(*options: str, dataset: str = "Buoys 2025") -> tuple[int, dict[str, Any], str]:
    """Run the command; return its exit code, its object and what it said of refusals."""
    out, err = io.StringIO(), io.StringIO()
    always = ("--team", "coastal", "--wallet", "demo", "--dataset", dataset, "--json")
    with pytest.raises(SystemExit) as end:
        call_command(
            "launch_job", *always, "--algorithm", "Linear regression", *options, stdout=out, stderr=err
        )
    assert isinstance(end.value.code, int)
    return end.value.code, json.loads(out.getvalue() or "{}"), err.getvalue()


class TestPaidPlace:
    @pytest.fixture
    def ocean(self, quay: Quay) -> str:
        """The token that a paid environment takes: 3 of them for a minute."""
        token = sell(quay)
        paid_environment(quay, token=token)
        return token

    def test_without_a_limit_is_refused_with_its_price(self, quay: Quay, ocean: str) -> None:
        code, told, said = launch_job("--environment", "paid")

        assert (code, told["code"], Job.objects.count()) == (5, "not_agreed", 0)
        assert "--max-cost: This costs at most 3 OCEAN in “Paid hall” at Quay provider" in said
        assert said.strip().endswith("add --max-cost 3")
        assert told["quote"]["totals"] == [
            {"token": ocean, "symbol": "OCEAN", "amount": "3", "wallet_has": "100", "missing": "0"}
        ]

    @pytest.mark.parametrize("limit", ["2.999999999999999999", "0"])
    def test_above_the_limit_is_refused(self, quay: Quay, ocean: str, limit: str) -> None:
        code, told, said = launch_job("--environment", "paid", "--max-cost", limit)

        assert (code, told["code"], Job.objects.count()) == (5, "above_max_cost", 0)
        assert "costs at most 3 OCEAN" in said
        assert not Transaction.objects.exists()

    @pytest.mark.parametrize("limit", ["3", "4.5:ocean", "1e1"])
    def test_within_the_limit_is_launched_and_agrees_to_it(self, quay: Quay, ocean: str, limit: str) -> None:
        code, told, said = launch_job("--environment", "paid", "--max-cost", limit, "--token", "ocean")

        job = Job.objects.get()
        assert code == 0, said
        assert (job.environment.description, job.free, job.payment_token) == ("Paid hall", False, ocean)
        agreed = {"3": 3, "4.5:ocean": 4.5, "1e1": 10}[limit]
        assert job.most == {ocean: str(int(agreed * ETHER))}
        assert told["quote"]["totals"][0]["amount"] == "3"
        assert told["charged"] is None

    def test_that_the_wallet_may_not_pay_is_refused(self, quay: Quay, ocean: str) -> None:
        SpendingLimit.objects.update(per_job_wei=ETHER)

        code, _, said = launch_job("--environment", "paid", "--max-cost", "3")

        assert (code, Job.objects.count()) == (2, 0)
        assert "--wallet: This start costs 3 OCEAN; one job may spend 1 OCEAN" in said

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            (("--max-cost", "much"), "--max-cost: Write it as AMOUNT"),
            (("--max-cost", "-1"), "--max-cost: Write it as AMOUNT"),
            (("--max-cost", "NaN"), "--max-cost: Write it as AMOUNT"),
            (("--token", "GOLD"), "--token: The portal has met no token called “GOLD”"),
            (("--resources", "cpu=many"), "--resources: Write it as NAME=AMOUNT"),
            (("--resources", "cpu=NaN"), "--resources: Write it as NAME=AMOUNT"),
            (("--resources", "cpu=64"), "--environment: No node that serves these datasets offers a paid"),
        ],
    )
    def test_says_by_option_what_cannot_be_used(
        self, quay: Quay, ocean: str, options: tuple[str, ...], said: str
    ) -> None:
        code, _, told = launch_job("--environment", "paid", *options)

        assert (code, Job.objects.count()) == (2, 0)
        assert said in told


class TestPricedAssetInAFreePlace:
    def test_within_the_limit_is_launched(self, quay: Quay) -> None:
        sell(quay)
        quay.asset("sold", name="Iris")

        code, told, said = launch_job("--environment", "free", "--max-cost", "2", dataset="Iris")

        job = Job.objects.get()
        assert code == 0, said
        assert job.free
        assert list(job.most.values()) == [str(2 * ETHER)]
        assert told["quote"]["free"]

    def test_above_the_limit_is_refused(self, quay: Quay) -> None:
        sell(quay)
        quay.asset("sold", name="Iris")

        code, _, said = launch_job("--environment", "free", "--max-cost", "0.5", dataset="Iris")

        assert (code, Job.objects.count()) == (5, 0)
        assert "costs at most 1" in said


def test_a_free_start_asks_nobody_for_a_price(place: Place) -> None:
    code, told, _ = launch_job("--environment", "free")

    assert (code, told["quote"]) == (0, None)


class TestCharged:
    def test_adds_up_what_moved_for_orders_and_what_the_node_took(self, place: Place, team: Any) -> None:
        ocean = "0x5FbDB2315678afecb367f032d93F642f64180aa3"
        job = builders.make_job(
            team=team, free=False, payment_token=ocean, escrow_need={"amount_wei": "9"}, charged_wei=5
        )
        for purpose, status in (("purchase", "confirmed"), ("deposit", "confirmed"), ("order", "reverted")):
            builders.make_transaction(job=job, purpose=purpose, status=status, token=ocean, amount_wei=2)

        told = commands.job_summary(team_id=team.pk, job_id=job.pk)

        assert told["charged"] == [{"token": ocean, "symbol": "", "amount": "7"}]

    def test_is_not_known_before_the_node_has_settled(self, place: Place, team: Any) -> None:
        job = builders.make_job(team=team, free=False, escrow_need={"amount_wei": "9"})

        assert commands.job_summary(team_id=team.pk, job_id=job.pk)["charged"] is None
