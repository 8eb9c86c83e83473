"""The demo is made from what the sandbox wrote down, and making it again changes nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from jobs.models import Asset, Membership, Network, Node, User, Wallet, WalletGrant
from jobs.services import demo
from jobs.services.demo import SandboxSilent
from tests.ocean.test_ddo import ALGORITHM, DID, recorded
from tests.services.fakes import Clock, FakeNode, FarSides, not_there

pytestmark = pytest.mark.django_db
NODE_URL = "http://127.0.0.1:8001"
INFO: dict[str, Any] = {
    "chain_id": 8996,
    "rpc_url": None,
    "node_url": NODE_URL,
    "contracts": {"Escrow": "0x" + "11" * 20},
    "assets": {"readings": {"did": DID}, "sum": {"did": ALGORITHM}},
    "account": {"private_key": "0x" + "07".rjust(64, "0")},
    "rate_limit": 60,
}


@pytest.fixture(autouse=True)
def published(far: FakeNode) -> None:
    """The sandbox's node knows its assets. Source of the documents: recording 30."""
    far.ddos = {DID: recorded(), ALGORITHM: recorded(ALGORITHM)}


def rows() -> dict[str, list[Any]]:
    """Return what was made, without the times that another look may change."""
    return {
        "people": list(User.objects.order_by("pk").values("pk", "username", "password", "is_superuser")),
        "members": list(Membership.objects.order_by("pk").values("pk", "role", "user__username")),
        "wallets": list(Wallet.objects.values("pk", "label", "address", "encrypted_key")),
        "assets": list(Asset.objects.order_by("pk").values("pk", "did", "fetched_at", "node_id")),
        "nodes": list(Node.objects.values("pk", "name", "base_url", "requests_per_minute", "allow_private")),
        "networks": list(Network.objects.values("pk", "chain_id", "is_sandbox", "contracts")),
    }


class TestSetUp:
    def test_makes_people_wallet_node_and_catalogue(self, clock: Clock) -> None:
        demo.set_up(info=INFO, clock=clock)

        made = rows()
        assert [(m["user__username"], m["role"]) for m in made["members"]] == [
            ("olivia", "owner"),
            ("adam", "admin"),
            ("tara", "treasurer"),
            ("carl", "curator"),
            ("liam", "launcher"),
            ("vera", "viewer"),
            ("aude", "auditor"),
        ]
        assert set(WalletGrant.objects.values_list("user__username", flat=True)) == {"olivia", "liam"}
        assert [p["username"] for p in made["people"] if p["is_superuser"]] == ["olivia"]
        assert Wallet.objects.get().address == "0xd41c057fd1c78805AAC12B0A94a405c0461A6FBb"
        assert {a["did"] for a in made["assets"]} == {DID, ALGORITHM}
        node = Node.objects.get()
        assert (node.base_url, node.requests_per_minute, node.allow_private) == (NODE_URL, 60, True)
        assert node.environments.get().has_free_tier
        assert Network.objects.get().is_sandbox

    def test_again_changes_nothing(self, far: FakeNode, clock: Clock) -> None:
        demo.set_up(info=INFO, clock=clock)
        before = rows()
        clock.tick(600)

        demo.set_up(info=INFO, clock=clock)

        assert rows() == before
        assert len(far.called("get_ddo")) == 2

    def test_again_gives_back_no_grant_that_was_taken(self, clock: Clock) -> None:
        demo.set_up(info=INFO, clock=clock)
        WalletGrant.objects.filter(user__username="liam").delete()

        demo.set_up(info=INFO, clock=clock)

        assert WalletGrant.objects.get().user.username == "olivia"

    def test_again_follows_the_node_to_a_new_address(self, far_sides: FarSides, clock: Clock) -> None:
        demo.set_up(info=INFO, clock=clock)

        demo.set_up(info=INFO | {"node_url": "http://127.0.0.1:9999"}, clock=clock)

        assert Node.objects.get().base_url == "http://127.0.0.1:9999"

    def test_makes_what_was_missing_after_an_end_half_way(self, far: FakeNode, clock: Clock) -> None:
        far.will("get_ddo", Unforeseen())
        with pytest.raises(Unforeseen):
            demo.set_up(info=INFO, clock=clock)

        demo.set_up(info=INFO, clock=clock)

        assert Asset.objects.count() == 2
        assert Wallet.objects.count() == 1

    def test_says_that_the_sandbox_is_silent(self, far: FakeNode, clock: Clock) -> None:
        far.will("identify", not_there())

        with pytest.raises(SandboxSilent):
            demo.set_up(info=INFO, clock=clock)

        assert not User.objects.exists()


class Unforeseen(Exception):
    """Something nobody foresaw, half way through."""


class TestCommand:
    def test_reads_what_the_sandbox_wrote(self, tmp_path: Path) -> None:
        path = tmp_path / "sandbox.json"
        path.write_text(json.dumps(INFO))

        call_command("setup_demo", sandbox=path)

        assert Asset.objects.count() == 2

    def test_gives_up_when_the_sandbox_does_not_come(self, tmp_path: Path) -> None:
        with pytest.raises(CommandError) as caught:
            call_command("setup_demo", sandbox=tmp_path / "sandbox.json", wait=0.0)

        assert "did not come up" in str(caught.value)
