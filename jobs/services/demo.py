"""Sets up the demo from what the sandbox wrote down. Idempotent: what is there stays as it is."""

from __future__ import annotations

from typing import Any

from jobs.errors import PortalError
from jobs.models import Asset, Network, Node, Wallet
from jobs.models.teams import Role
from jobs.services import catalogue, nodes, teams, wallets
from jobs.services.gateway import Clock

TEAM = "demo"
# user name, full name, role; the password is the user name, which is why this is only for a demo.
PEOPLE = (
    ("olivia", "Olivia Owner", Role.OWNER),
    ("liam", "Liam Launcher", Role.LAUNCHER),
    ("vera", "Vera Viewer", Role.VIEWER),
)


class SandboxSilent(PortalError):
    """The sandbox does not answer (yet)."""

    code = "sandbox_silent"


def set_up(*, info: dict[str, Any], clock: Clock) -> None:
    """Make whatever of the demo is missing.

    info: the content of sandbox.json: chain_id, rpc_url, node_url, contracts, assets, account.

    Raises:
        SandboxSilent: the node does not answer yet.
    """
    network, _ = Network.objects.update_or_create(
        chain_id=info["chain_id"],
        defaults={
            "name": "Sandbox",
            "rpc_url": info["rpc_url"] or "",
            "contracts": info["contracts"],
            "is_sandbox": True,
        },
    )
    node, _ = Node.objects.update_or_create(
        name="Sandbox node",
        defaults={
            "base_url": info["node_url"],
            "network": network,
            "allow_private": True,
            "requests_per_minute": info["rate_limit"],
        },
    )
    if not nodes.look(node_id=node.pk, clock=clock):
        raise SandboxSilent("The sandbox's node does not answer yet.")
    team_id = teams.ensure_team(slug=TEAM, name="Demo")
    for username, full_name, role in PEOPLE:
        teams.ensure_member(
            team_id=team_id,
            username=username,
            email=f"{username}@demo.invalid",
            password=username,
            role=role,
            full_name=full_name,
            staff=role == Role.OWNER,
        )
    actor = teams.operator(team=TEAM, name="the demo's set-up")
    if not Wallet.objects.filter(team_id=team_id, label="demo").exists():
        wallets.import_key(actor=actor, label="demo", secret_text=info["account"]["private_key"], now=clock())
    known = set(Asset.objects.filter(team_id=team_id).values_list("did", flat=True))
    for asset in info["assets"].values():
        # The sandbox publishes for a Provider too, which the portal does not speak to yet.
        if asset.get("dialect", "ocean-node") == "ocean-node" and asset["did"] not in known:
            catalogue.add(actor=actor, did=asset["did"], clock=clock)
