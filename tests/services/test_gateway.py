"""Rows become clients outside of transactions, and each address signs in turn."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction

from jobs.lifecycle import State
from jobs.models import Job, Network, Node, NodeToken, NonceLease, Team, Wallet
from jobs.ocean.compute import CAPABILITIES
from jobs.ocean.errors import Refused, Rejected
from jobs.ocean.signing import Pen, Proof, Token
from jobs.ocean.transport import Transport
from jobs.services import budget, gateway, vault
from jobs.services.budget import OutOfBudget, Purpose
from jobs.services.gateway import InTransaction, NoChain, NoTurn, open_chain, open_node, signed
from tests import builders
from tests.builders import NOW
from tests.conftest import Cast
from tests.ocean.provider_wire import root
from tests.ocean.wire import Answer, FakeWire
from tests.services.conftest import Place, run_together
from tests.services.fakes import STRANGER, Clock, FakeNode, refused

NOW_MS = int(NOW.timestamp() * 1000)


def act_signed(place: Place, far: FakeNode, clock: Clock, act: Any = None, **values: Any) -> Any:
    given = {"wallet": place.wallet, "node": place.node, "call": "ask"} | values
    return signed(backend=far, clock=clock, act=act or (lambda proof: proof), **given)


def lease() -> NonceLease:
    return NonceLease.objects.get()


class TestOpenNode:
    def test_refuses_inside_a_transaction(self, place: Place, far: FakeNode, clock: Clock) -> None:
        with (
            transaction.atomic(),
            pytest.raises(InTransaction),
            open_node(node=place.node, purpose=Purpose.ACT, clock=clock),
        ):
            pass

    def test_counts_every_request(self, place: Place, far: FakeNode, clock: Clock) -> None:
        with open_node(node=place.node, purpose=Purpose.BACKGROUND, clock=clock) as backend:
            for _ in range(14):
                backend.identify()
            with pytest.raises(OutOfBudget):
                backend.identify()

        assert len(far.calls) == 14

    def test_silences_everybody_when_the_node_has_enough(
        self, place: Place, far: FakeNode, clock: Clock
    ) -> None:
        far.will("identify", refused("rate_limited", retry_after_s=7))

        with (
            pytest.raises(Rejected),
            open_node(node=place.node, purpose=Purpose.ACT, clock=clock) as backend,
        ):
            backend.identify()

        with pytest.raises(OutOfBudget) as caught:
            budget.spend(node=place.node, purpose=Purpose.ACT, now=NOW)
        assert caught.value.available_at == NOW + timedelta(seconds=7.2)

    def test_goes_on_after_any_other_refusal(self, place: Place, far: FakeNode, clock: Clock) -> None:
        far.will("identify", refused("server_error"))

        with (
            pytest.raises(Rejected),
            open_node(node=place.node, purpose=Purpose.ACT, clock=clock) as backend,
        ):
            backend.identify()

        budget.spend(node=place.node, purpose=Purpose.ACT, now=NOW)


class TestOpenChain:
    @pytest.fixture
    def network(self, db: None) -> Network:
        return builders.make_network(rpc_url="http://127.0.0.1:8545", allow_private=True)

    def test_refuses_inside_a_transaction(self, network: Network) -> None:
        with transaction.atomic(), pytest.raises(InTransaction), open_chain(network=network):
            pass

    def test_says_when_there_is_no_way_to_the_chain(self, network: Network) -> None:
        network.rpc_url = ""

        with pytest.raises(NoChain) as caught, open_chain(network=network):
            pass

        assert (caught.value.code, "Sandbox" in caught.value.message) == ("no_chain", True)

    @pytest.mark.parametrize("allowed", [True, False])
    def test_reaches_a_private_address_only_where_an_operator_said_so(
        self, network: Network, monkeypatch: pytest.MonkeyPatch, allowed: bool
    ) -> None:
        seen: dict[str, Any] = {}

        @contextmanager
        def transport(url: str, **given: Any) -> Iterator[Any]:
            seen.update(given, url=url)
            with Transport(url, **{**given, "allow_private": True}, adapter=wire) as made:
                yield made

        wire = FakeWire(Answer.json({"jsonrpc": "2.0", "id": 1, "result": hex(network.chain_id)}))
        monkeypatch.setattr(gateway, "Transport", transport)
        network.allow_private = allowed

        with open_chain(network=network):
            pass

        assert (seen["url"], seen["allow_private"]) == ("http://127.0.0.1:8545", allowed)


class TestOpenProvider:
    """The real client of a Provider on a wire of recorded answers."""

    @pytest.fixture
    def wire(self, monkeypatch: pytest.MonkeyPatch) -> FakeWire:
        wire = FakeWire(Answer.json(root()), Answer.json({"nonce": 5}))
        monkeypatch.setattr(
            gateway,
            "Transport",
            lambda url, **given: Transport(url, **{**given, "sleep": None}, adapter=wire),
        )
        return wire

    def test_uses_the_endpoints_that_were_kept(self, cast: Cast, wire: FakeWire, clock: Clock) -> None:
        node = builders.make_provider_node(said={"endpoints": {"nonce": ["GET", "/api/services/kept-nonce"]}})
        wire.answers = [Answer.json({"nonce": 5})]

        with open_node(node=node, purpose=Purpose.ACT, clock=clock) as backend:
            assert backend.nonce(address=STRANGER) == 5

        assert [sent.path for sent in wire.sent] == ["/api/services/kept-nonce"]

    def test_asks_once_for_the_endpoints_that_nobody_kept(
        self, cast: Cast, wire: FakeWire, clock: Clock
    ) -> None:
        node = builders.make_provider_node(said={})

        with open_node(node=node, purpose=Purpose.ACT, clock=clock) as backend:
            for _ in range(2):
                backend.nonce(address=STRANGER)

        assert [sent.path for sent in wire.sent] == ["/", "/api/services/nonce", "/api/services/nonce"]

    def test_counts_what_is_asked_of_its_aquarius_too(self, cast: Cast, wire: FakeWire, clock: Clock) -> None:
        node = builders.make_provider_node(requests_per_minute=3)
        wire.answers = [Answer.json({"hits": {"hits": []}})]

        with open_node(node=node, purpose=Purpose.ACT, clock=clock) as backend:
            for _ in range(2):
                backend.search_assets(text="")
            with pytest.raises(OutOfBudget):
                backend.search_assets(text="")

        assert len(wire.sent) == 2

    def test_without_an_aquarius_says_so(self, cast: Cast, wire: FakeWire, clock: Clock) -> None:
        node = builders.make_provider_node(metadata_url="")

        with (
            open_node(node=node, purpose=Purpose.ACT, clock=clock) as backend,
            pytest.raises(Refused) as caught,
        ):
            backend.get_ddo(did="did:op:" + "0" * 64)

        assert caught.value.code == "no_aquarius"
        assert wire.sent == []


class TestHasRoom:
    @pytest.mark.parametrize(("workers", "may"), [(4, 2), (2, 1), (1, 1)])
    def test_keeps_half_of_the_workers_from_a_service_that_takes_half_a_minute_to_say_no(
        self, team: Team, clock: Clock, settings: Any, workers: int, may: int
    ) -> None:
        settings.Q_CLUSTER = settings.Q_CLUSTER | {"workers": workers}
        slow, quick = builders.make_provider_node(), builders.make_node()
        waiting = [
            builders.make_job(team=team, node=slow, state=State.STARTING, next_check_at=NOW) for _ in range(4)
        ]
        other = builders.make_job(team=team, node=quick, state=State.STARTING, next_check_at=NOW)

        taken = []
        for job in waiting:
            if gateway.has_room(job_id=job.pk, now=clock()):  # as a step does, before it takes its lease
                taken.append(job)
                Job.objects.claim(
                    job_id=job.pk,
                    holder=f"step {len(taken)}",
                    now=clock(),
                    until=clock() + timedelta(seconds=90),
                )
            clock.tick(1)

        assert len(taken) == may
        assert gateway.has_room(job_id=other.pk, now=clock())
        put_off = Job.objects.filter(pk__in=[job.pk for job in waiting]).exclude(
            lease_holder__startswith="step"
        )
        assert {job.next_check_at > NOW for job in put_off} == {True}


class TestSigned:
    def test_signs_with_the_time_in_milliseconds(self, place: Place, far: FakeNode, clock: Clock) -> None:
        proof = act_signed(place, far, clock)

        assert isinstance(proof, Pen)
        assert (proof.nonce, str(proof.address)) == (NOW_MS, place.wallet.address)

    def test_never_repeats_a_nonce_though_the_clock_stands_still_or_goes_back(
        self, place: Place, far: FakeNode, clock: Clock
    ) -> None:
        nonces = [act_signed(place, far, clock).nonce]
        nonces.append(act_signed(place, far, clock).nonce)
        clock.tick(-3600)
        nonces.append(act_signed(place, far, clock).nonce)

        assert nonces == [NOW_MS, NOW_MS + 1, NOW_MS + 2]

    def test_stores_the_nonce_before_it_is_used(self, place: Place, far: FakeNode, clock: Clock) -> None:
        seen = []

        def look(proof: Proof) -> None:
            assert isinstance(proof, Pen)
            seen.append((lease().last_nonce, proof.nonce))

        act_signed(place, far, clock, look)

        assert seen == [(NOW_MS, NOW_MS)]

    def test_reads_the_counter_once_when_the_nonce_is_refused(
        self, place: Place, far: FakeNode, clock: Clock
    ) -> None:
        far.last_nonce = NOW_MS + 500
        nonces = []

        def act(proof: Pen) -> str:
            nonces.append(proof.nonce)
            if len(nonces) == 1:
                raise refused("nonce", retryable=True)
            return "done"

        assert act_signed(place, far, clock, act) == "done"
        assert nonces == [NOW_MS, NOW_MS + 501]
        assert lease().last_nonce == NOW_MS + 501

    def test_gives_up_when_the_nonce_is_refused_twice(
        self, place: Place, far: FakeNode, clock: Clock
    ) -> None:
        def act(proof: Pen) -> None:
            raise refused("nonce", retryable=True)

        with pytest.raises(Rejected):
            act_signed(place, far, clock, act)

        assert len(far.called("nonce")) == 1

    def test_gives_the_turn_back_also_after_an_error(self, place: Place, far: FakeNode, clock: Clock) -> None:
        def act(proof: Pen) -> None:
            raise refused("image")

        with pytest.raises(Rejected):
            act_signed(place, far, clock, act)

        assert (lease().holder, lease().leased_until) == ("", None)

    def test_silences_everybody_when_the_node_has_enough(
        self, place: Place, far: FakeNode, clock: Clock
    ) -> None:
        def act(proof: Proof) -> None:
            raise refused("rate_limited", retry_after_s=7)

        with pytest.raises(Rejected):
            act_signed(place, far, clock, act)

        with pytest.raises(OutOfBudget):
            budget.spend(node=place.node, purpose=Purpose.ACT, now=NOW)

    def test_says_when_the_key_cannot_be_opened(
        self, place: Place, far: FakeNode, clock: Clock, settings: Any
    ) -> None:
        settings.WALLET_KEYS = ["AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="]

        with pytest.raises(vault.VaultLocked) as caught:
            act_signed(place, far, clock)

        assert "PORTAL_WALLET_KEYS" in caught.value.message
        assert not NonceLease.objects.exists()


class TestTurn:
    def occupy(self, place: Place, *, seconds: float) -> None:
        NonceLease.objects.create(
            node=place.node,
            address=place.wallet.address,
            holder="other",
            leased_until=NOW + timedelta(seconds=seconds),
            last_nonce=NOW_MS + 9_000_000,
        )

    def test_is_waited_for(
        self, place: Place, far: FakeNode, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.occupy(place, seconds=30)
        # Patched by name: waiting moves the test's clock.
        monkeypatch.setattr(gateway.time, "sleep", lambda _: clock.tick(10))

        proof = act_signed(place, far, clock)

        assert clock() == NOW + timedelta(seconds=30)
        assert proof.nonce == NOW_MS + 9_000_001

    def test_is_not_waited_for_endlessly(
        self, place: Place, far: FakeNode, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.occupy(place, seconds=30)
        monkeypatch.setattr(gateway, "WAIT_FOR_TURN_S", 0)  # patched by name: else the test waits 45 s

        with pytest.raises(NoTurn):
            act_signed(place, far, clock)

        assert lease().holder == "other"

    def test_that_was_lost_is_noticed_before_the_next_nonce(
        self, place: Place, far: FakeNode, clock: Clock
    ) -> None:
        def act(proof: Pen) -> None:
            NonceLease.objects.update(holder="other")
            raise refused("nonce", retryable=True)

        with pytest.raises(NoTurn):
            act_signed(place, far, clock, act)

        assert (lease().holder, lease().last_nonce) == ("other", NOW_MS)

    def test_is_one_for_all_wallets_of_an_address(
        self, cast: Cast, place: Place, far: FakeNode, clock: Clock
    ) -> None:
        twin = Wallet.objects.create(
            team=cast.other_team,
            label="twin",
            address=place.wallet.address,
            encrypted_key=place.wallet.encrypted_key,
            created_at=NOW,
        )
        act_signed(place, far, clock)

        assert act_signed(place, far, clock, wallet=twin).nonce == NOW_MS + 1
        assert NonceLease.objects.count() == 1

    def test_is_another_at_another_node(self, place: Place, far: FakeNode, clock: Clock) -> None:
        other = Node.objects.create(
            name="Other", base_url="http://127.0.0.1:8002", network=place.node.network
        )
        act_signed(place, far, clock)

        assert act_signed(place, far, clock, node=other).nonce == NOW_MS

    def test_belongs_to_one_thread_at_a_time(self, on_disk: None, place: Place, far: FakeNode) -> None:
        clock, inside, most, nonces = Clock(), 0, 0, []
        counting = threading.Lock()

        def act(proof: Pen) -> None:
            nonlocal inside, most
            with counting:
                inside += 1
                most = max(most, inside)
                nonces.append(proof.nonce)
            threading.Event().wait(0.02)  # long enough for the others to come
            with counting:
                inside -= 1

        outcomes = run_together(*[lambda: act_signed(place, far, clock, act)] * 4)

        assert outcomes == [None] * 4
        assert most == 1
        assert nonces == [NOW_MS + i for i in range(4)]


class TestToken:
    def give(self, place: Place, *, minutes: float) -> None:
        NodeToken.objects.create(
            wallet=place.wallet,
            node=place.node,
            encrypted_token=vault.seal(b"a-token"),
            expires_at=NOW + timedelta(minutes=minutes),
        )

    def test_stands_in_for_the_signature(self, place: Place, far: FakeNode, clock: Clock) -> None:
        self.give(place, minutes=3)

        proof = act_signed(place, far, clock)

        assert proof == Token(address=proof.address, token="a-token")
        assert proof.address == place.wallet.address
        assert not NonceLease.objects.exists()

    def test_of_a_provider_takes_its_turn_and_a_nonce(
        self, place: Place, far: FakeNode, clock: Clock
    ) -> None:
        self.give(place, minutes=60)
        far.capabilities = CAPABILITIES["provider-v4"]

        proofs = [act_signed(place, far, clock) for _ in range(2)]

        assert [(proof.token, proof.nonce) for proof in proofs] == [
            ("a-token", NOW_MS),
            ("a-token", NOW_MS + 1),
        ]
        assert (lease().last_nonce, lease().holder) == (NOW_MS + 1, "")

    def test_of_a_provider_whose_nonce_is_refused_gets_a_higher_one(
        self, place: Place, far: FakeNode, clock: Clock
    ) -> None:
        self.give(place, minutes=60)
        far.capabilities = CAPABILITIES["provider-v4"]
        far.last_nonce = NOW_MS + 500
        seen: list[Token] = []

        def act(proof: Token) -> None:
            seen.append(proof)
            if len(seen) == 1:
                raise refused("nonce", retryable=True)

        act_signed(place, far, clock, act)

        assert [(proof.token, proof.nonce) for proof in seen] == [
            ("a-token", NOW_MS),
            ("a-token", NOW_MS + 501),
        ]

    def test_needs_no_key_of_the_wallet(self, place: Place, far: FakeNode, clock: Clock) -> None:
        self.give(place, minutes=60)
        place.wallet.encrypted_key = b"nonsense"
        far.capabilities = CAPABILITIES["provider-v4"]

        assert act_signed(place, far, clock).token == "a-token"

    @pytest.mark.parametrize("minutes", [-1, 0, 2])
    def test_about_to_end_is_not_used(
        self, place: Place, far: FakeNode, clock: Clock, minutes: float
    ) -> None:
        self.give(place, minutes=minutes)

        assert isinstance(act_signed(place, far, clock), Pen)

    def test_silences_everybody_when_the_node_has_enough(
        self, place: Place, far: FakeNode, clock: Clock
    ) -> None:
        self.give(place, minutes=60)

        def act(proof: Proof) -> None:
            raise refused("rate_limited", retry_after_s=7)

        with pytest.raises(Rejected):
            act_signed(place, far, clock, act)

        with pytest.raises(OutOfBudget):
            budget.spend(node=place.node, purpose=Purpose.ACT, now=NOW)

    @pytest.mark.parametrize("dialect", list(CAPABILITIES))
    def test_that_the_node_refuses_is_dropped_and_the_call_signed(
        self, place: Place, far: FakeNode, clock: Clock, dialect: str
    ) -> None:
        self.give(place, minutes=60)
        far.capabilities = CAPABILITIES[dialect]
        seen: list[Proof] = []

        def act(proof: Proof) -> str:
            seen.append(proof)
            if isinstance(proof, Token):
                raise refused("token")
            return "done"

        assert act_signed(place, far, clock, act, once=True) == "done"
        assert [type(proof) for proof in seen] == [Token, Pen]
        row = NodeToken.objects.get()
        assert (row.encrypted_token, row.expires_at) == (None, None)
        assert row.next_try_at == NOW + gateway.TOKEN_PAUSE  # another one is asked for
        assert "did not take the token" in row.trouble

    def test_that_came_in_the_place_of_a_refused_one_stays(
        self, place: Place, far: FakeNode, clock: Clock
    ) -> None:
        self.give(place, minutes=60)

        def act(proof: Proof) -> None:
            if isinstance(proof, Token):
                NodeToken.objects.update(encrypted_token=vault.seal(b"the-next"))
                raise refused("token")

        act_signed(place, far, clock, act)

        assert act_signed(place, far, clock).token == "the-next"

    def test_is_not_replaced_by_a_signature_where_something_may_have_happened(
        self, place: Place, far: FakeNode, clock: Clock
    ) -> None:
        self.give(place, minutes=60)
        seen: list[Proof] = []

        def act(proof: Proof) -> None:
            seen.append(proof)
            raise refused("token", maybe_happened=True)

        with pytest.raises(Rejected):
            act_signed(place, far, clock, act)

        assert len(seen) == 1

    def test_that_is_missing_is_not_looked_for_again_when_a_signed_call_is_refused(
        self, place: Place, far: FakeNode, clock: Clock
    ) -> None:
        seen: list[Proof] = []

        def act(proof: Proof) -> None:
            seen.append(proof)
            raise refused("token")

        with pytest.raises(Rejected):
            act_signed(place, far, clock, act)

        assert len(seen) == 1

    def test_that_cannot_be_opened_is_replaced_by_a_signature(
        self, place: Place, far: FakeNode, clock: Clock
    ) -> None:
        self.give(place, minutes=60)
        NodeToken.objects.update(encrypted_token=b"nonsense")

        assert isinstance(act_signed(place, far, clock), Pen)

    @pytest.mark.parametrize("change", ["unwanted", "disabled"])
    def test_that_is_being_given_back_is_not_used(
        self, place: Place, far: FakeNode, clock: Clock, change: str
    ) -> None:
        self.give(place, minutes=60)
        if change == "unwanted":
            NodeToken.objects.update(wanted=False)
        else:
            Wallet.objects.update(disabled_at=NOW)

        assert isinstance(act_signed(place, far, clock), Pen)

    def test_of_another_wallet_is_not_used(self, place: Place, far: FakeNode, clock: Clock) -> None:
        self.give(place, minutes=60)
        other = Wallet.objects.create(
            team=place.wallet.team,
            label="other",
            address=str(STRANGER),
            encrypted_key=place.wallet.encrypted_key,
            created_at=NOW,
        )

        assert isinstance(act_signed(place, far, clock, wallet=other), Pen)

    def test_is_not_stored_in_clear(self, place: Place) -> None:
        self.give(place, minutes=60)

        assert b"a-token" not in bytes(NodeToken.objects.get().encrypted_token)
