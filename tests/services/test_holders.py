"""Leases of processes that were killed."""

import os
import subprocess
import sys
from datetime import timedelta

import pytest

from jobs.lifecycle import State
from jobs.models import Job, NonceLease, Pulse, Team
from jobs.services import holders, running
from tests import builders
from tests.builders import NOW
from tests.services.conftest import Place

LATER = NOW + timedelta(seconds=80)


@pytest.fixture
def of_the_dead() -> str:
    """The holder's name of a process that has ended."""
    ask = "from jobs.services.holders import new_holder; print(new_holder())"
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    return done.stdout.strip()


class TestIsDead:
    def test_says_no_of_this_process(self) -> None:
        assert not holders.is_dead(holders.new_holder())

    def test_says_yes_of_a_process_that_has_ended(self, of_the_dead: str) -> None:
        assert holders.is_dead(of_the_dead)

    def test_says_yes_of_a_process_that_has_ended_and_that_nobody_has_asked_how(self) -> None:
        ask = "from jobs.services.holders import new_holder; print(new_holder(), flush=True)"
        with subprocess.Popen([sys.executable, "-c", ask], stdout=subprocess.PIPE, text=True) as ending:
            assert ending.stdout
            name = ending.stdout.read().strip()  # read to its end: all that is left is to end
            os.waitid(os.P_PID, ending.pid, os.WEXITED | os.WNOWAIT)

            assert holders.is_dead(name)

    def test_says_yes_when_its_number_came_round_to_somebody_else(self) -> None:
        machine, pid, started, rest = holders.new_holder().split("|")

        assert holders.is_dead(f"{machine}|{pid}|{int(started) - 1}|{rest}")

    def test_says_no_of_another_machine(self, of_the_dead: str) -> None:
        assert not holders.is_dead(of_the_dead.replace("|", "x|", 1))

    @pytest.mark.parametrize("text", ["", "x", "|", "a|b|c|d", "|||"])
    def test_says_no_of_what_is_no_name(self, text: str) -> None:
        assert not holders.is_dead(text)

    def test_names_fit_their_columns(self) -> None:
        assert len(holders.new_holder()) <= Job._meta.get_field("lease_holder").max_length
        assert len(holders.new_holder()) <= NonceLease._meta.get_field("holder").max_length

    def test_two_steps_of_a_process_have_different_names(self) -> None:
        assert holders.new_holder() != holders.new_holder()
        assert f"|{os.getpid()}|" in holders.new_holder()


class TestFreeing:
    @pytest.mark.parametrize("state", [State.STARTING, State.COLLECTING])
    def test_gives_back_a_job_and_makes_it_due(self, team: Team, of_the_dead: str, state: State) -> None:
        job = builders.make_job(
            team=team, state=state, lease_holder=of_the_dead, lease_until=LATER, next_check_at=LATER
        )

        running.free_leases_of_the_dead(now=NOW)

        job.refresh_from_db()
        assert (job.lease_holder, job.lease_until, job.next_check_at) == ("", None, NOW)

    def test_leaves_what_the_living_hold(self, team: Team) -> None:
        mine = holders.new_holder()
        job = builders.make_job(
            team=team, state=State.STARTING, lease_holder=mine, lease_until=LATER, next_check_at=LATER
        )

        running.free_leases_of_the_dead(now=NOW)

        job.refresh_from_db()
        assert (job.lease_holder, job.lease_until, job.next_check_at) == (mine, LATER, LATER)

    def test_gives_back_turns_logs_and_the_pulse(self, place: Place, team: Team, of_the_dead: str) -> None:
        followed = {"follow_holder": of_the_dead, "follow_until": LATER, "next_check_at": LATER}
        job = builders.make_job(team=team, state=State.RUNNING, **followed)
        turn = NonceLease.objects.create(
            node=job.node, address=job.wallet.address, last_nonce=7, holder=of_the_dead, leased_until=LATER
        )
        Pulse.objects.create(holder=of_the_dead, lease_until=LATER)

        running.free_leases_of_the_dead(now=NOW)

        job.refresh_from_db()
        turn.refresh_from_db()
        assert (job.follow_holder, job.follow_until, job.next_check_at) == ("", None, NOW)
        assert (turn.holder, turn.leased_until, turn.last_nonce) == ("", None, 7)
        assert Pulse.objects.get().lease_until is None
