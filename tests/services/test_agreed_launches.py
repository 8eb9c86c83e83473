"""A paid job from its launch to its run, in both dialects: exactly the transactions that are needed, and every wei told."""

from __future__ import annotations

import uuid

from jobs.access import Actor
from jobs.lifecycle import State
from jobs.models import Asset, EscrowAccount, Job
from jobs.services import launching
from jobs.services.choosing import DatasetChoice, LaunchRequest
from ocean_portal.sandbox.chain import ETHER
from tests.services.quay import statuses
from tests.services.steps import advance
from tests.services.test_outlays import DOLLARS_WEI, LOCK_WEI, OCEAN_WEI, TIME_WEI
from tests.services.tollhouse import MILLION, Tollhouse


def launched(place: Tollhouse, actor: Actor, *, token: str = "", most: dict[str, int]) -> Job:
    """Launch two bought datasets and an algorithm that is given away, as the launch page does."""
    datasets = [place.for_sale("ocean", name="Tides"), place.for_sale("dollars", name="Winds")]
    algorithm = place.asset("algorithm", kind=Asset.Kind.ALGORITHM, name="Mean")
    request = LaunchRequest(
        datasets=tuple(DatasetChoice(ref=dataset.did, service_id="compute-1") for dataset in datasets),
        algorithm=algorithm.did,
        environment=str(place.environment.pk),
        wallet="demo",
        max_duration_s=600,
        queue_wait_s=0,
        paid=True,
        token=token,
        most=most,
    )
    job_id = launching.launch(actor=actor, request=request, launch_key=uuid.UUID(int=5), now=place.clock())
    return advance(Job.objects.get(pk=job_id), place.clock)


class TestProvider:
    def test_is_paid_with_the_fee_of_the_first_order(self, toll: Tollhouse, alice: Actor) -> None:
        most = {str(toll.ocean): OCEAN_WEI + TIME_WEI, str(toll.dollars): DOLLARS_WEI}

        job = launched(toll, alice, most=most)

        assert job.state == State.RUNNING, job.message
        assert [purpose for purpose, _ in statuses(job)] == [
            *["approval"] * 2,
            *["purchase", "purchase", "dispense"],
            "approval",
            *["order"] * 3,
        ]
        assert {status for _, status in statuses(job)} == {"confirmed"}
        assert toll.holds(toll.ocean) == 1_000 * ETHER - OCEAN_WEI - TIME_WEI
        assert toll.holds(toll.dollars) == 1_000 * MILLION - DOLLARS_WEI
        assert (toll.mined(), len(toll.far.jobs)) == (9, 1)
        assert job.escrow_need is None
        assert not EscrowAccount.objects.exists()


class TestNode:
    def test_is_paid_from_the_escrow(self, gate: Tollhouse, alice: Actor) -> None:
        most = {str(gate.ocean): OCEAN_WEI + LOCK_WEI, str(gate.dollars): DOLLARS_WEI}

        job = launched(gate, alice, token=str(gate.ocean), most=most)

        assert job.state == State.RUNNING, job.message
        assert [purpose for purpose, _ in statuses(job)] == [
            *["approval"] * 2,
            *["purchase", "purchase", "dispense"],
            "approval",
            *["order"] * 3,
            *["deposit", "authorization"],
        ]
        assert gate.holds(gate.ocean) == 1_000 * ETHER - OCEAN_WEI - LOCK_WEI
        assert gate.holds(gate.dollars) == 1_000 * MILLION - DOLLARS_WEI
        assert gate.in_escrow(gate.ocean) == (0, LOCK_WEI)
        assert (gate.mined(), len(gate.far.jobs)) == (11, 1)
        need = job.escrow_need
        assert need is not None
        assert (need["amount_wei"], need["min_lock_s"]) == (str(LOCK_WEI), 4_200)
        account = EscrowAccount.objects.get()
        assert (account.wallet, account.token.symbol, account.escrow) == (
            gate.wallet,
            "OCEAN",
            gate.deployed.contracts["Escrow"],
        )

    def test_keeps_the_lock_s_number_by_which_it_is_settled(self, gate: Tollhouse, alice: Actor) -> None:
        most = {str(gate.ocean): OCEAN_WEI, str(gate.dollars): DOLLARS_WEI + 5 * MILLION}

        job = launched(gate, alice, token=str(gate.dollars), most=most)
        gate.far.claim(job, amount_wei=2 * MILLION)

        assert gate.in_escrow(gate.dollars) == (3 * MILLION, 0)
        assert gate.holds(gate.dollars) == 1_000 * MILLION - DOLLARS_WEI - 5 * MILLION
