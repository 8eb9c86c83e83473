"""A portal with one of everything for a team and for another, and every address of it with an object of the first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from allauth.account.forms import default_token_generator
from allauth.account.models import EmailAddress, EmailConfirmationHMAC
from allauth.account.utils import user_pk_to_url_str
from allauth.mfa.models import Authenticator
from django.core.cache import cache
from django.db import transaction
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from jobs.access import Person
from jobs.lifecycle import State
from jobs.models import (
    Act,
    Asset,
    ChainNonce,
    Environment,
    EscrowAccount,
    Invitation,
    Job,
    Letter,
    Membership,
    Node,
    NodeToken,
    NonceLease,
    Result,
    ShareLink,
    Team,
    Transaction,
    User,
    Wallet,
)
from jobs.models.teams import Role
from jobs.services import audit, invitations, vault
from jobs.services.audit import Thing
from tests import builders

# What a browser says of a key that it has made: one that nobody has. Source: fido2 2.0, RegistrationResponse.
KEY = {
    "id": "aWQgb2YgYSBrZXk",
    "rawId": "aWQgb2YgYSBrZXk",
    "response": {
        "clientDataJSON": "eyJ0eXBlIjoid2ViYXV0aG4uY3JlYXRlIiwiY2hhbGxlbmdlIjoiWTJoaGJHeGxibWRsIiwib3JpZ2luIjoiaHR0cHM6Ly94"
        "LmV4YW1wbGUiLCJjcm9zc09yaWdpbiI6ZmFsc2V9",
        "attestationObject": "o2NmbXRkbm9uZWdhdHRTdG10oGhhdXRoRGF0YViPAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQFBAAAAAA"
        "AAAAAAAAAAAAAAAAAAAAAAC2lkIG9mIGEga2V5pQECAyYgASFYII5TO2-gv3tGJbswZnwB-2B--fi4qA_vWzAGKHAx"
        "h7KjIlggc-sdveAzGDZtBp-DpvWQAFPHNjPLBBshxV4ahsH0ALQ",
    },
    "clientExtensionResults": {},
    "type": "public-key",
}
PNG = b"\x89PNG\r\n\x1a\n" + bytes(24)


@dataclass(frozen=True)
class Household:
    """All that one team has: one of each. share: the word of its link; key: of a person's own for signing in."""

    team: Team
    owner: User
    member: Membership
    wallet: Wallet
    watched: Wallet
    node: Node
    environment: Environment
    dataset: Asset
    algorithm: Asset
    job: Job
    running: Job
    waiting: Job
    result: Result
    link: ShareLink
    share: str
    invitation: Invitation
    account: EscrowAccount
    transaction: Transaction
    token: NodeToken
    key: Authenticator

    def parts(self, name: str) -> dict[str, Any]:
        """Return what may stand in the address of this name."""
        token = invitations.token_of(self.invitation) if name == "invitation" else self.share
        address = EmailAddress.objects.filter(user=self.owner).first()
        keys = {
            "account_confirm_email": EmailConfirmationHMAC(address).key if address else "",
            "account_reset_password_from_key": default_token_generator.make_token(self.owner),
        }
        running = name in ("jobs-stop", "jobs-log", "jobs-status")
        return {
            "team": self.team.slug,
            "job_id": self.running.pk if running else self.job.pk,
            "result_id": self.result.pk,
            "link_id": self.link.pk,
            "asset_id": self.dataset.pk,
            "wallet_id": self.wallet.pk,
            "user_id": self.member.user_id,
            "member_id": self.member.pk,
            "invitation_id": self.invitation.pk,
            "token_id": self.token.pk,
            "account_id": self.account.pk,
            "transaction_id": self.transaction.pk,
            "pk": self.key.pk,
            "uidb36": user_pk_to_url_str(self.owner),
            "key": keys.get(name, ""),
            "kind": "csv",
            "token": token,
        }

    def browser(self, **more: Any) -> Client:
        """Sign the owner in as a person does, so that no page asks who they are again."""
        cache.clear()
        client = Client(raise_request_exception=False, **more)
        client.force_login(self.owner)
        session = client.session
        session["account_authentication_methods"] = [{"method": "password", "at": 4_102_444_800}]
        session.save()
        return client


def make_household(slug: str = "coastal", *, node: Node, key: int = 7, **about: Any) -> Household:
    """Make a team with one of everything. key: the number that its wallet's key is; other: its address."""
    name = slug.capitalize()
    team = builders.make_team(slug, name=f"{name} Lab")
    owner = builders.make_member(team=team, username=f"{slug}-owner", role=Role.OWNER)
    bob = builders.make_member(team=team, username=f"{slug}-bob", role=Role.LAUNCHER)
    builders.make_address(user=owner, email=f"owner@{slug}.example")
    builders.make_address(user=bob, email=f"bob@{slug}.example")
    environment = node.environments.first() or builders.make_environment(node=node)
    address = about.get("address", "0xd41c057fd1c78805AAC12B0A94a405c0461A6FBb")
    wallet = builders.make_wallet(
        team=team,
        label=f"{slug} wallet",
        address=address,
        encrypted_key=vault.seal(key.to_bytes(32, "big")),
    )
    watched = builders.make_wallet(
        team=team, label=f"{slug} watched", address=about.get("watched", "0x" + "33" * 20), encrypted_key=None
    )
    dataset = builders.make_asset(team=team, node=node, name=f"{slug} buoys")
    algorithm = builders.make_asset(
        team=team,
        node=node,
        kind=Asset.Kind.ALGORITHM,
        name=f"{slug} regression",
        consumer_parameters=[
            {
                "name": "depth",
                "type": "text",
                "label": "Depth",
                "required": False,
                "description": "How deep.",
                "default": "deep",
                "options": [],
            }
        ],
    )
    common = {"team": team, "launched_by": owner, "wallet": wallet, "node": node, "environment": environment}
    job = builders.make_job(state=State.FAILED, name=f"{slug} ended", parameters={"more": "words"}, **common)
    running = builders.make_job(state=State.RUNNING, name=f"{slug} running", handed_to=bob, **common)
    waiting = builders.make_job(
        state=State.NEEDS_ATTENTION, attention_from="REQUESTED", name=f"{slug} waits", **common
    )
    own = {"language": "python", "code": "print(1)", "url": ""}
    builders.make_job(state=State.SUCCEEDED, name=f"{slug} own code", own_algorithm=own, **common)
    builders.make_job(state=State.REQUESTED, name=f"{slug} requested", **common)
    builders.make_log(job=running, text="a line of the log\n")
    result = builders.make_result(job=job, name="chart.png", data=PNG)
    builders.make_result(job=job, name="table.csv", path="outputs/table.csv")
    builders.make_result(job=job, name="notes.txt", data=b"some text\n")
    builders.make_result(
        job=job, name="lost.txt", data=None, status=Result.Status.FAILED, trouble="It is lost."
    )
    builders.make_result(job=job, name="algorithm.log", kind="algorithmLog", data=b"a line\n")
    share = f"word-of-{slug}"
    link = builders.make_link(job=job, token=share, created_by=owner)
    builders.make_order(job=job)
    builders.make_limit(wallet=wallet)
    builders.make_grant(wallet=wallet, user=bob)
    account = builders.make_account(wallet=wallet, locks=[builders.make_lock(expires_at=1)])
    builders.make_balances(wallet=wallet, tokens={builders.make_token(): 5})
    stuck = builders.make_act(
        wallet=wallet, status=Transaction.Status.SENT, trouble=f"{Transaction.BEHIND_A_GAP}3 of this wallet."
    )
    invitation = builders.make_invitation(
        team=team, email=f"dora@{slug}.example", invited_by=owner, expires_at=builders.NOW.replace(year=2100)
    )
    event = builders.make_event(job=job, at=builders.NOW, message="Ended.", after=State.FAILED)
    Letter.objects.create(
        kind=Letter.Kind.JOB_ENDED,
        key=f"job of {slug}",
        to=f"owner@{slug}.example",
        user=owner,
        event=event,
        created_at=builders.NOW,
    )
    ChainNonce.objects.get_or_create(network=node.network, address=wallet.address)
    NonceLease.objects.get_or_create(node=node, address=wallet.address)
    token = NodeToken.objects.create(
        wallet=wallet,
        node=node,
        encrypted_token=vault.seal(b"a token"),
        expires_at=builders.NOW.replace(year=2100),
    )
    key_of_owner = Authenticator.objects.create(
        user=owner,
        type=Authenticator.Type.WEBAUTHN,
        data={"name": f"key of {slug}", "passwordless": True, "credential": KEY},
    )
    builders.beat()
    return Household(
        team=team,
        owner=owner,
        member=Membership.objects.get(user=bob),
        wallet=wallet,
        watched=watched,
        node=node,
        environment=environment,
        dataset=dataset,
        algorithm=algorithm,
        job=job,
        running=running,
        waiting=waiting,
        result=result,
        link=link,
        share=share,
        invitation=invitation,
        account=account,
        transaction=stuck,
        token=token,
        key=key_of_owner,
    )


def record(house: Household, text: str = "something") -> None:
    """Write an entry of the team's record whose every text is this."""
    with transaction.atomic():
        audit.record(
            act=Act.JOB_LAUNCHED,
            by=Person(user_id=house.owner.pk, name=text, origin=text),
            now=builders.NOW,
            thing=Thing(kind="job", id=text, name=text),
            before={"name": text},
            after={"name": text, "more": [text]},
            team_id=house.team.pk,
        )


@dataclass(frozen=True)
class Place:
    """An address of the portal: its name, the parts that it takes, and its pattern's view."""

    name: str
    takes: tuple[str, ...]

    def url(self, house: Household, **other: Any) -> str:
        """Return where it is, for what the team has."""
        parts = house.parts(self.name) | other
        return reverse(self.name, kwargs={part: parts[part] for part in self.takes})


def places() -> list[Place]:
    """Return every address of the portal but the operator's; one with a part that no household has fails its test."""
    return sorted(_places(get_resolver().url_patterns), key=lambda place: place.name)


def _places(patterns: list[URLPattern | URLResolver]) -> Iterator[Place]:
    for pattern in patterns:
        if isinstance(pattern, URLPattern):
            takes = tuple(pattern.pattern.converters) or tuple(
                getattr(getattr(pattern.pattern, "regex", None), "groupindex", {})
            )
            yield Place(name=str(pattern.name), takes=takes)
        elif pattern.namespace != "admin":
            yield from _places(pattern.url_patterns)
