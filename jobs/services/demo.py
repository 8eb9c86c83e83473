"""Sets up the demo from what the sandbox wrote down. Idempotent: what is there stays as it is."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from jobs.errors import PortalError
from jobs.models import Asset, Network, Node, Token, User, Wallet
from jobs.models.teams import Role
from jobs.services import catalogue, grants, limits, nodes, teams, wallets
from jobs.services.gateway import Clock

TEAM = "demo"
LIMIT_PER_JOB = Decimal(100)  # of each token that the sandbox's environments are paid in
PROVIDER_REQUESTS_PER_MINUTE = 600  # a Provider counts nobody's requests; this is only to be polite
# user name, full name, role; the password is the user name, which is why this is only for a demo.
PEOPLE = (
    ("olivia", "Olivia Owner", Role.OWNER),
    ("adam", "Adam Admin", Role.ADMIN),
    ("tara", "Tara Treasurer", Role.TREASURER),
    ("carl", "Carl Curator", Role.CURATOR),
    ("liam", "Liam Launcher", Role.LAUNCHER),
    ("vera", "Vera Viewer", Role.VIEWER),
    ("aude", "Aude Auditor", Role.AUDITOR),
)
GRANTED = ("olivia", "liam")  # who may spend from the demo's wallet from the beginning


class SandboxSilent(PortalError):
    """The sandbox does not answer (yet)."""

    code = "sandbox_silent"


def set_up(*, info: dict[str, Any], clock: Clock) -> None:
    """Make whatever of the demo is missing.

    info: the content of sandbox.json: chain_id, rpc_url, node_url, contracts, assets, account; with a chain also
        provider_url and aquarius_url.

    Raises:
        SandboxSilent: the node does not answer yet.
    """
    network, _ = Network.objects.update_or_create(
        chain_id=info["chain_id"],
        defaults={
            "name": "Sandbox",
            "rpc_url": info["rpc_url"] or "",
            "contracts": info["contracts"],
            "allow_private": True,
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
    served_by = {Node.Dialect.OCEAN_NODE.value: node}
    if info.get("provider_url"):
        served_by[Node.Dialect.PROVIDER.value], _ = Node.objects.update_or_create(
            name="Sandbox provider (v4)",
            defaults={
                "base_url": info["provider_url"],
                "metadata_url": info["aquarius_url"],
                "dialect": Node.Dialect.PROVIDER,
                "network": network,
                "allow_private": True,
                "requests_per_minute": PROVIDER_REQUESTS_PER_MINUTE,
            },
        )
    for served in served_by.values():
        if not nodes.look(node_id=served.pk, clock=clock):
            raise SandboxSilent(f"{served.name} does not answer yet.")
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
        made = wallets.import_key(
            actor=actor, label="demo", secret_text=info["account"]["private_key"], now=clock()
        )
        for user in User.objects.filter(username__in=GRANTED).order_by("pk"):
            grants.grant(actor=actor, wallet_id=made, user_id=user.pk, now=clock())
    wallet = Wallet.objects.get(team_id=team_id, label="demo")
    for token in Token.objects.filter(network=network).exclude(pk__in=wallet.limits.values("token_id")):
        limits.set_limit(
            actor=actor, wallet_id=wallet.pk, token_id=token.pk, amount=LIMIT_PER_JOB, now=clock()
        )
    known = set(Asset.objects.filter(team_id=team_id).values_list("did", flat=True))
    for asset in info["assets"].values():
        if asset["did"] not in known:
            serving = served_by[asset.get("dialect", Node.Dialect.OCEAN_NODE)]
            catalogue.add(actor=actor, did=asset["did"], clock=clock, node_id=serving.pk)
