"""Node tokens are had because a person wants them, renewed in time, given back, and never used when they should not be."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.db.models import ProtectedError

from jobs import tasks
from jobs.access import Actor
from jobs.errors import InvalidInput, Missing, NotAllowed
from jobs.models import AuditEntry, NodeToken, NonceLease, Wallet
from jobs.ocean.compute import CAPABILITIES
from jobs.ocean.signing import Pen, Proof
from jobs.services import nodetokens, running, vault
from jobs.services.budget import Purpose, exhaust
from jobs.services.gateway import open_node, signed
from tests import builders
from tests.builders import NOW
from tests.services.conftest import Place
from tests.services.fakes import Clock, FakeNode, FarSides, lost_answer, not_there, queued, refused

HOUR = 3600.0


def wanted(place: Place, **values: Any) -> NodeToken:
    """Let a person have asked for a token a moment ago."""
    return NodeToken.objects.create(wallet=place.wallet, node=place.node, next_try_at=NOW, **values)


def tend(row: NodeToken, clock: Clock) -> NodeToken:
    """Let the worker see to a token; return its row as it is then."""
    nodetokens.tend(token_id=row.pk, clock=clock)
    row.refresh_from_db()
    return row


def used(place: Place, far: FakeNode, clock: Clock) -> Proof:
    """Make a signed call; return what stood for the wallet in it."""
    return signed(
        backend=far,
        wallet=place.wallet,
        node=place.node,
        clock=clock,
        act=lambda proof: proof,
        call="ask",
    )


def had(place: Place, clock: Clock) -> NodeToken:
    """Let the wallet have its first token, "token-1"."""
    return tend(wanted(place), clock)


class TestWant:
    def test_has_the_worker_get_one_at_its_next_beat(self, place: Place, alice: Actor, clock: Clock) -> None:
        nodetokens.want(actor=alice, wallet_id=place.wallet.pk, node_id=place.node.pk, now=NOW)

        running.pulse(clock=clock, holder="me")

        row = NodeToken.objects.get()
        assert ("log_in", (row.pk,)) in queued()
        assert row.encrypted_token is None

    def test_is_in_the_record(self, place: Place, alice: Actor) -> None:
        nodetokens.want(actor=alice, wallet_id=place.wallet.pk, node_id=place.node.pk, now=NOW)

        entry = AuditEntry.objects.get()
        assert (entry.act, entry.object_name, entry.after) == (
            "wallet.node_token_wanted",
            "demo",
            {"node": place.node.name},
        )

    def test_twice_is_refused(self, place: Place, alice: Actor) -> None:
        for_it = {"actor": alice, "wallet_id": place.wallet.pk, "node_id": place.node.pk, "now": NOW}
        nodetokens.want(**for_it)

        with pytest.raises(InvalidInput, match="already"):
            nodetokens.want(**for_it)

        assert AuditEntry.objects.count() == 1

    def test_after_all_takes_the_one_that_was_being_given_back(
        self, place: Place, far: FakeNode, alice: Actor, clock: Clock
    ) -> None:
        row = had(place, clock)
        nodetokens.give_back(actor=alice, wallet_id=place.wallet.pk, token_id=row.pk, now=NOW)

        nodetokens.want(actor=alice, wallet_id=place.wallet.pk, node_id=place.node.pk, now=NOW)

        assert tend(row, clock).wanted
        assert vault.token_text(row) == "token-1"

    def test_of_a_role_without_wallets_is_refused(self, place: Place, bob: Actor) -> None:
        with pytest.raises(NotAllowed):
            nodetokens.want(actor=bob, wallet_id=place.wallet.pk, node_id=place.node.pk, now=NOW)

    def test_for_another_team_s_wallet_finds_none(self, place: Place, charlie: Actor) -> None:
        with pytest.raises(Missing):
            nodetokens.want(actor=charlie, wallet_id=place.wallet.pk, node_id=place.node.pk, now=NOW)

    @pytest.mark.parametrize(
        ("change", "code"), [({"encrypted_key": None}, "no_key"), ({"disabled_at": NOW}, "disabled")]
    )
    def test_for_a_wallet_that_cannot_sign_says_so(
        self, place: Place, alice: Actor, change: dict[str, Any], code: str
    ) -> None:
        Wallet.objects.update(**change)

        with pytest.raises(InvalidInput) as caught:
            nodetokens.want(actor=alice, wallet_id=place.wallet.pk, node_id=place.node.pk, now=NOW)

        assert caught.value.code == code

    def test_at_no_node_says_so(self, place: Place, alice: Actor) -> None:
        with pytest.raises(InvalidInput) as caught:
            nodetokens.want(actor=alice, wallet_id=place.wallet.pk, node_id=place.node.pk + 1, now=NOW)

        assert caught.value.code == "no_node"


class TestGet:
    def test_keeps_a_short_token_encrypted(self, place: Place, far: FakeNode, clock: Clock) -> None:
        row = had(place, clock)

        assert row.expires_at == NOW + timedelta(hours=6)
        assert far.called("create_token")[0].given["valid_until_ms"] == row.expires_at.timestamp() * 1000
        assert b"token-1" not in bytes(row.encrypted_token)
        assert vault.token_text(row) == "token-1"
        assert (row.unknown_until, row.trouble, row.next_try_at) == (None, "", NOW + timedelta(hours=4))

    def test_is_signed_by_the_wallet_in_its_turn(self, place: Place, far: FakeNode, clock: Clock) -> None:
        had(place, clock)

        (call,) = far.called("create_token")
        assert isinstance(call.given["proof"], Pen)
        assert NonceLease.objects.get().last_nonce == call.given["proof"].nonce

    def test_writes_down_what_is_asked_for_before_the_request_leaves(
        self, place: Place, far: FakeNode, clock: Clock
    ) -> None:
        seen: list[Any] = []

        def look(**_: Any) -> str:
            seen.append(NodeToken.objects.values_list("unknown_until", "next_try_at").get())
            return "a-token"

        far.will("create_token", look)

        had(place, clock)

        assert seen == [(NOW + timedelta(hours=6), NOW + nodetokens.CLAIM)]

    def test_whose_answer_was_lost_says_until_when_a_token_may_be_about(
        self, place: Place, far: FakeNode, clock: Clock
    ) -> None:
        far.will("create_token", lost_answer())
        row = had(place, clock)

        assert (row.encrypted_token, row.unknown_until) == (None, NOW + timedelta(hours=6))
        assert row.next_try_at == NOW + timedelta(minutes=1)

        clock.tick(60)
        tend(row, clock)

        assert vault.token_text(row) == "token-2"
        assert row.unknown_until == NOW + timedelta(hours=6)  # that one is still about

    def test_that_certainly_did_not_happen_leaves_none_about(
        self, place: Place, far: FakeNode, clock: Clock
    ) -> None:
        far.will("create_token", not_there())

        assert had(place, clock).unknown_until is None

    def test_waits_longer_each_time_that_the_node_is_silent(
        self, place: Place, far: FakeNode, clock: Clock
    ) -> None:
        far.will("create_token", *[not_there()] * 8)
        row, waits = wanted(place), []
        for _ in range(8):
            tend(row, clock)
            waits.append((row.next_try_at - clock()).total_seconds() / 60)
            clock.tick((row.next_try_at - clock()).total_seconds())

        assert waits == [1, 2, 4, 8, 16, 32, 60, 60]
        assert row.trouble == "Nobody answers at the node's address."
        assert tend(row, clock).trouble == ""

    def test_waits_for_the_node_s_budget(self, place: Place, far: FakeNode, clock: Clock) -> None:
        exhaust(node=place.node, until=NOW + timedelta(seconds=20), now=NOW)

        row = had(place, clock)

        assert NOW < row.next_try_at < NOW + timedelta(seconds=30)
        assert (row.trouble, row.unknown_until) == ("", None)

    def test_says_when_the_key_cannot_be_opened(self, place: Place, far: FakeNode, clock: Clock) -> None:
        Wallet.objects.update(encrypted_key=Fernet(Fernet.generate_key()).encrypt(b"x"))

        assert "PORTAL_WALLET_KEYS" in had(place, clock).trouble
        assert far.calls == []

    def test_that_cannot_be_kept_is_given_back(
        self, place: Place, far: FakeNode, clock: Clock, alice: Actor
    ) -> None:
        row = wanted(place)

        def change_of_mind(**_: Any) -> str:
            nodetokens.give_back(actor=alice, wallet_id=place.wallet.pk, token_id=row.pk, now=NOW)
            far.tokens.append("unwanted")
            return "unwanted"

        far.will("create_token", change_of_mind)
        tend(row, clock)

        assert far.tokens == []
        assert (row.wanted, row.encrypted_token) == (False, None)

    def test_happens_once_though_the_task_runs_twice_at_once(
        self, place: Place, far: FakeNode, clock: Clock
    ) -> None:
        row = wanted(place)

        def meanwhile(**_: Any) -> str:
            NonceLease.objects.update(holder="", leased_until=None)  # else the other would wait for its turn
            stale = NodeToken.objects.select_related("wallet", "node").get(pk=row.pk)
            stale.next_try_at = NOW
            with (
                open_node(node=place.node, purpose=Purpose.ACT, clock=clock) as backend,
                pytest.raises(nodetokens._Elsewhere),
            ):
                nodetokens._get(row=stale, backend=backend, clock=clock)
            return "a-token"

        far.will("create_token", meanwhile)
        nodetokens.tend(token_id=row.pk, clock=clock)

        assert len(far.called("create_token")) == 1


class TestRenewal:
    def test_stores_the_new_one_before_the_old_one_is_given_back(
        self, place: Place, far: FakeNode, clock: Clock
    ) -> None:
        row = had(place, clock)
        clock.tick(4 * HOUR)
        seen: list[str] = []

        def look(*, token: str, **_: Any) -> None:
            kept = NodeToken.objects.select_related("wallet").get()
            seen.extend([token, vault.token_text(kept)])

        far.will("invalidate_token", look)
        tend(row, clock)

        assert seen == ["token-1", "token-2"]
        assert (row.encrypted_former, row.former_until) == (None, None)
        assert row.expires_at == NOW + timedelta(hours=10)

    def test_of_a_fresh_one_is_not_made(self, place: Place, far: FakeNode, clock: Clock) -> None:
        row = had(place, clock)
        clock.tick(3 * HOUR)

        tend(row, clock)

        assert len(far.called("create_token")) == 1

    def test_goes_on_with_the_old_one_where_a_worker_died_before_it_was_given_back(
        self, place: Place, far: FakeNode, clock: Clock
    ) -> None:
        row = had(place, clock)
        clock.tick(4 * HOUR)
        far.will("invalidate_token", not_there())
        tend(row, clock)
        assert vault.former_token_text(row) == "token-1"
        assert row.trouble == "Nobody answers at the node's address."

        clock.tick(60)
        tend(row, clock)

        assert far.tokens == ["token-2"]
        assert len(far.called("create_token")) == 2
        assert (row.encrypted_former, row.trouble) == (None, "")

    def test_that_fails_until_the_end_lets_requests_be_signed(
        self, place: Place, far: FakeNode, clock: Clock
    ) -> None:
        row = had(place, clock)
        far.will("create_token", *[not_there()] * 20)
        while clock() < NOW + timedelta(hours=7):
            clock.tick(10 * 60)
            if row.next_try_at <= clock():
                tend(row, clock)

        proof = used(place, far, clock)

        assert isinstance(proof, Pen)
        assert (row.encrypted_token, row.trouble) == (None, "Nobody answers at the node's address.")


class TestGiveBack:
    def test_uses_it_no_longer_at_once(self, place: Place, far: FakeNode, clock: Clock, alice: Actor) -> None:
        row = had(place, clock)

        nodetokens.give_back(actor=alice, wallet_id=place.wallet.pk, token_id=row.pk, now=NOW)

        proof = used(place, far, clock)
        assert isinstance(proof, Pen)

    def test_has_the_worker_tell_the_node_and_forgets_it(
        self, place: Place, far: FakeNode, clock: Clock, alice: Actor
    ) -> None:
        row = had(place, clock)
        nodetokens.give_back(actor=alice, wallet_id=place.wallet.pk, token_id=row.pk, now=NOW)

        nodetokens.tend(token_id=row.pk, clock=clock)

        assert far.tokens == []
        assert not NodeToken.objects.exists()
        assert AuditEntry.objects.filter(act="wallet.node_token_given_back").count() == 1

    def test_tells_the_record_what_each_signature_was_for(
        self, place: Place, far: FakeNode, clock: Clock, alice: Actor
    ) -> None:
        row = had(place, clock)
        nodetokens.give_back(actor=alice, wallet_id=place.wallet.pk, token_id=row.pk, now=NOW)

        nodetokens.tend(token_id=row.pk, clock=clock)

        entries = AuditEntry.objects.filter(act="wallet.signed").order_by("number")
        assert [entry.after["call"] for entry in entries] == ["ask for a token", "give a token back"]

    def test_is_tried_again_until_the_node_confirms(
        self, place: Place, far: FakeNode, clock: Clock, alice: Actor
    ) -> None:
        row = had(place, clock)
        nodetokens.give_back(actor=alice, wallet_id=place.wallet.pk, token_id=row.pk, now=NOW)
        far.will("invalidate_token", lost_answer(), refused("signature"))

        for expected in (1, 2):
            tend(row, clock)
            assert row.trouble_count == expected
            clock.tick(HOUR / 2)
        nodetokens.tend(token_id=row.pk, clock=clock)

        assert far.tokens == []
        assert not NodeToken.objects.exists()

    def test_is_done_where_the_node_says_that_it_is_gone(
        self, place: Place, far: FakeNode, clock: Clock, alice: Actor
    ) -> None:
        row = had(place, clock)
        nodetokens.give_back(actor=alice, wallet_id=place.wallet.pk, token_id=row.pk, now=NOW)
        far.will("invalidate_token", refused("token"))

        nodetokens.tend(token_id=row.pk, clock=clock)

        assert not NodeToken.objects.exists()

    def test_asks_nobody_about_one_that_has_ended_by_itself(
        self, place: Place, far: FakeNode, clock: Clock, alice: Actor
    ) -> None:
        row = had(place, clock)
        clock.tick(7 * HOUR)
        nodetokens.give_back(actor=alice, wallet_id=place.wallet.pk, token_id=row.pk, now=clock())

        nodetokens.tend(token_id=row.pk, clock=clock)

        assert far.called("invalidate_token") == []
        assert not NodeToken.objects.exists()

    def test_remembers_until_its_end_that_an_unknown_one_may_be_about(
        self, place: Place, far: FakeNode, clock: Clock, alice: Actor
    ) -> None:
        far.will("create_token", lost_answer())
        row = had(place, clock)
        nodetokens.give_back(actor=alice, wallet_id=place.wallet.pk, token_id=row.pk, now=NOW)

        assert tend(row, clock).next_try_at == NOW + timedelta(hours=6)
        clock.tick(6 * HOUR)
        nodetokens.tend(token_id=row.pk, clock=clock)

        assert not NodeToken.objects.exists()

    def test_twice_is_refused(self, place: Place, far: FakeNode, clock: Clock, alice: Actor) -> None:
        row = had(place, clock)
        nodetokens.give_back(actor=alice, wallet_id=place.wallet.pk, token_id=row.pk, now=NOW)

        with pytest.raises(InvalidInput):
            nodetokens.give_back(actor=alice, wallet_id=place.wallet.pk, token_id=row.pk, now=NOW)

    def test_of_a_role_without_wallets_is_refused(
        self, place: Place, far: FakeNode, clock: Clock, vera: Actor
    ) -> None:
        row = had(place, clock)

        with pytest.raises(NotAllowed):
            nodetokens.give_back(actor=vera, wallet_id=place.wallet.pk, token_id=row.pk, now=NOW)

    def test_of_another_wallet_s_token_finds_none(
        self, place: Place, far: FakeNode, clock: Clock, alice: Actor
    ) -> None:
        row = had(place, clock)
        other = builders.make_wallet(team=place.wallet.team, label="other", address="0x" + "1" * 40)

        with pytest.raises(Missing):
            nodetokens.give_back(actor=alice, wallet_id=other.pk, token_id=row.pk, now=NOW)

    def test_of_all_is_for_one_wallet(self, place: Place, far: FakeNode, clock: Clock) -> None:
        mine = had(place, clock)
        other = builders.make_wallet(team=place.wallet.team, label="other", address="0x" + "1" * 40)
        theirs = NodeToken.objects.create(wallet=other, node=place.node, next_try_at=NOW)

        assert nodetokens.give_back_all(wallet_id=place.wallet.pk, now=NOW) == 1
        assert nodetokens.give_back_all(wallet_id=place.wallet.pk, now=NOW) == 0

        mine.refresh_from_db()
        theirs.refresh_from_db()
        assert (mine.wanted, theirs.wanted) == (False, True)

    def test_happens_by_itself_where_the_wallet_is_disabled(
        self, place: Place, far: FakeNode, clock: Clock
    ) -> None:
        row = had(place, clock)
        Wallet.objects.update(disabled_at=NOW)

        nodetokens.tend(token_id=row.pk, clock=clock)

        assert far.tokens == []
        assert not NodeToken.objects.exists()

    def test_without_the_wallet_s_key_waits_for_the_token_s_end(
        self, place: Place, far: FakeNode, clock: Clock
    ) -> None:
        row = had(place, clock)
        Wallet.objects.update(encrypted_key=None)
        nodetokens.give_back_all(wallet_id=place.wallet.pk, now=NOW)

        assert "nothing can be signed" in tend(row, clock).trouble
        clock.tick(6 * HOUR)
        nodetokens.tend(token_id=row.pk, clock=clock)

        assert not NodeToken.objects.exists()

    def test_comes_before_the_removal_of_a_node(
        self, place: Place, far_sides: FarSides, clock: Clock
    ) -> None:
        node = builders.make_node(name="Old", base_url="http://127.0.0.1:8009")
        row = NodeToken.objects.create(wallet=place.wallet, node=node, next_try_at=NOW)
        tend(row, clock)

        with pytest.raises(ProtectedError):
            node.delete()
        nodetokens.give_back_all(wallet_id=place.wallet.pk, now=NOW)
        nodetokens.tend(token_id=row.pk, clock=clock)
        node.delete()

        assert len(far_sides.at(node.base_url).called("invalidate_token")) == 1


class TestProvider:
    def test_tokens_work_the_same(self, place: Place, far: FakeNode, clock: Clock) -> None:
        far.capabilities = CAPABILITIES["provider-v4"]
        row = had(place, clock)
        clock.tick(4 * HOUR)
        tend(row, clock)
        nodetokens.give_back_all(wallet_id=place.wallet.pk, now=clock())
        nodetokens.tend(token_id=row.pk, clock=clock)

        assert far.tokens == []
        nonces = [call.given["proof"].nonce for call in far.calls]
        assert nonces == sorted(set(nonces))


class TestTask:
    def test_is_safe_to_run_twice_and_when_the_row_is_gone(
        self, place: Place, far: FakeNode, clock: Clock
    ) -> None:
        row = wanted(place)
        far.admit = lambda: None

        tasks.log_in(row.pk, later_release=True)
        tasks.log_in(row.pk)
        tasks.log_in(row.pk + 1)

        assert len(far.called("create_token")) == 1
