"""Builds records for tests, with defaults that fit together and nothing random.

The cast: Alice owns the team, Bob launches, Vera views, Charlie is an owner in another team.
"""

from __future__ import annotations

import hashlib
import uuid
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from allauth.account.models import EmailAddress
from django.core.files.base import ContentFile

from jobs.access import ALLOWED, Action
from jobs.lifecycle import TERMINAL, State
from jobs.models import (
    Asset,
    Balance,
    BalanceLook,
    Environment,
    EscrowAccount,
    Invitation,
    Job,
    JobEvent,
    JobInput,
    Letter,
    LogChunk,
    Membership,
    Network,
    Node,
    Order,
    Pulse,
    Reconciliation,
    Result,
    ShareLink,
    SpendingLimit,
    Team,
    Token,
    Transaction,
    User,
    Wallet,
    WalletGrant,
)
from jobs.models.teams import Role
from jobs.services import vault

NOW = datetime(2025, 11, 22, 14, 0, tzinfo=UTC)
PASSWORD = "correct horse battery staple"  # signs every member of the cast in
PASSWORD_HASH = "md5$salt$" + hashlib.md5(b"salt" + PASSWORD.encode()).hexdigest()
TOKEN = "0x5FbDB2315678afecb367f032d93F642f64180aa3"
ESCROW = "0xCf7Ed3AccA5a467e9e704C703E8D87F634fB0Fc9"
CONTAINER = {
    "entrypoint": "python3 $ALGO",
    "image": "python",
    "tag": "3.11-slim",
    "checksum": "sha256:" + "ab" * 32,
}
# As a node lists it. Source: recording 01, exchange 5.
RAW_ENVIRONMENT: dict[str, Any] = {
    "id": "0x60962e6d-0x859c776a",
    "runningJobs": 0,
    "consumerAddress": "0xa0Ee7A142d267C1f36714E4a8F75612F20a79720",
    "platform": {"architecture": "x86_64", "os": "linux"},
    "access": {"addresses": [], "accessLists": []},
    "fees": {
        "8996": [
            {
                "feeToken": "0x5FbDB2315678afecb367f032d93F642f64180aa3",
                "prices": [{"id": "cpu", "price": 1}, {"id": "ram", "price": 0.1}],
            }
        ]
    },
    "resources": [
        {"id": "cpu", "type": "cpu", "total": 2, "max": 2, "min": 1, "description": "AMD EPYC", "inUse": 0},
        {"id": "ram", "type": "ram", "total": 8, "max": 4, "min": 1, "inUse": 0},
        {"id": "disk", "type": "disk", "total": 20, "max": 10, "min": 0, "inUse": 0},
    ],
    "queuedJobs": 0,
    "queuedFreeJobs": 0,
    "enableNetwork": False,
    "storageExpiry": 604800,
    "minJobDuration": 10,
    "maxJobDuration": 3600,
    "maxJobs": 10,
    "description": "Paid and free environment",
    "free": {
        "access": {"addresses": [], "accessLists": []},
        "minJobDuration": 10,
        "maxJobDuration": 120,
        "maxJobs": 2,
        "resources": [
            {"id": "cpu", "total": 2, "min": 1, "max": 1, "inUse": 0},
            {"id": "ram", "total": 4, "min": 1, "max": 2, "inUse": 0},
            {"id": "disk", "total": 4, "min": 0, "max": 1, "inUse": 0},
        ],
        "allowImageBuild": True,
    },
    "runningfreeJobs": 0,
}

# As a Provider lists it, below its chain. Source: provider-v4 recording 20, exchange 3.
RAW_PROVIDER_ENVIRONMENT: dict[str, Any] = {
    "chainId": 8996,
    "consumerAddress": "0x529043886F21D9bc1AE0feDb751e34265a246e47",
    "cpuNumber": 1,
    "cpuType": "",
    "currentJobs": 0,
    "desc": "",
    "diskGB": 1,
    "feeToken": "0x2473f4F7bf40ed9310838edFCA6262C17A59DF64",
    "gpuNumber": 0,
    "gpuType": "",
    "id": "ocean-compute",
    "lastSeen": "1795331336.879695",
    "maxJobDuration": "60",
    "maxJobs": 10,
    "priceMin": 0,
    "ramGB": 1,
    "storageExpiry": 0,
}

_numbers = count(1)


def make_user(username: str = "alice", **values: Any) -> User:
    """Make a person who signs in with PASSWORD (a weak hash, because a strong one takes 0.2 s each time)."""
    values = {"first_name": username.capitalize(), "password": PASSWORD_HASH} | values
    return User.objects.create(username=username, **values)


def make_team(slug: str = "coastal", **values: Any) -> Team:
    """Make a team without members."""
    return Team.objects.create(slug=slug, **({"name": "Coastal Lab"} | values))


def make_member(*, team: Team, username: str, role: Role) -> User:
    """Make a person who is a member of the team."""
    user = make_user(username)
    Membership.objects.create(team=team, user=user, role=role)
    return user


def make_address(*, user: User, email: str, verified: bool = True) -> EmailAddress:
    """Give a person an e-mail address, verified unless it is said that it is not."""
    return EmailAddress.objects.create(user=user, email=email, verified=verified)


def make_invitation(
    *, team: Team, email: str = "dora@example.org", role: Role = Role.LAUNCHER, **values: Any
) -> Invitation:
    """Make an open invitation that was sent at NOW, a week before its end, with its letter."""
    defaults: dict[str, Any] = {"created_at": NOW, "expires_at": NOW + timedelta(days=7)}
    invitation = Invitation.objects.create(team=team, email=email, role=role, **(defaults | values))
    Letter.objects.create(
        kind=Letter.Kind.INVITATION,
        key=f"invitation:{invitation.pk}:1",
        to=email,
        invitation=invitation,
        status=Letter.Status.SENT,
        sent_at=NOW,
        created_at=NOW,
    )
    return invitation


def make_network(**values: Any) -> Network:
    """Make the sandbox's network, or return it."""
    defaults: dict[str, Any] = {"name": "Sandbox", "is_sandbox": True} | values
    return Network.objects.get_or_create(chain_id=defaults.pop("chain_id", 8996), defaults=defaults)[0]


def make_node(**values: Any) -> Node:
    """Make a node that answered a moment ago."""
    defaults: dict[str, Any] = {
        "name": "Harbour node",
        "base_url": "http://127.0.0.1:8001",
        "network": values.get("network") or make_network(),
        "allow_private": True,
        "asked_at": NOW,
        "answered_at": NOW,
    }
    return Node.objects.create(**(defaults | values))


def make_provider_node(**values: Any) -> Node:
    """Make a Provider v4 with its Aquarius that answered a moment ago."""
    defaults: dict[str, Any] = {
        "name": "Quay provider",
        "base_url": "http://127.0.0.1:8030",
        "metadata_url": "http://127.0.0.1:5000",
        "dialect": Node.Dialect.PROVIDER,
        "provider_address": "0xe08A1dAe983BC701D05E492DB80e0144f8f4b909",
        "said": {"software": "Provider", "version": "2.1.6", "chain_ids": [8996]},
    }
    return make_node(**(defaults | values))


def make_environment(*, node: Node, **values: Any) -> Environment:
    """Make an environment with a free tier: two places at an Ocean Node, ten at a Provider."""
    if node.dialect == Node.Dialect.PROVIDER:
        return _provider_environment(node=node, **values)
    raw = {**RAW_ENVIRONMENT, "id": values.get("env_id", RAW_ENVIRONMENT["id"])}
    defaults: dict[str, Any] = {
        "env_id": raw["id"],
        "description": "Paid and free environment",
        "has_free_tier": True,
        "free_room": 2,
        "raw": raw,
        "seen_at": NOW,
    }
    return Environment.objects.create(node=node, **(defaults | values))


def _provider_environment(*, node: Node, **values: Any) -> Environment:
    chain_id = values.get("chain_id", 8996)
    raw = {
        **RAW_PROVIDER_ENVIRONMENT,
        "chainId": chain_id,
        "id": values.get("env_id", RAW_PROVIDER_ENVIRONMENT["id"]),
    }
    defaults: dict[str, Any] = {
        "env_id": raw["id"],
        "chain_id": chain_id,
        "has_free_tier": True,
        "free_room": 10,
        "raw": raw,
        "seen_at": NOW,
    }
    return Environment.objects.create(node=node, **(defaults | values))


def make_wallet(*, team: Team, label: str = "demo", **values: Any) -> Wallet:
    """Make a wallet whose key is the number 7, encrypted with the tests' vault key."""
    defaults: dict[str, Any] = {
        "address": "0xd41c057fd1c78805AAC12B0A94a405c0461A6FBb",
        "encrypted_key": vault.seal((7).to_bytes(32, "big")),
        "created_at": NOW,
    }
    return Wallet.objects.create(team=team, label=label, **(defaults | values))


def make_grant(*, wallet: Wallet, user: User, **values: Any) -> WalletGrant:
    """Let a person spend from a wallet."""
    return WalletGrant.objects.create(wallet=wallet, user=user, **({"granted_at": NOW} | values))


def granted(wallet: Wallet) -> Wallet:
    """Let every member of the wallet's team spend from it whose role launches; return the wallet."""
    for member in Membership.objects.filter(team=wallet.team, role__in=ALLOWED[Action.LAUNCH_PAID]):
        make_grant(wallet=wallet, user=member.user)
    return wallet


def make_asset(*, team: Team, node: Node, kind: str = Asset.Kind.DATASET, **values: Any) -> Asset:
    """Make a catalogue entry that the node serves: a dataset with one compute service, or an algorithm."""
    algorithm = kind == Asset.Kind.ALGORITHM
    defaults: dict[str, Any] = {
        "did": f"did:op:{next(_numbers):064x}",
        "name": "Linear regression" if algorithm else "Buoys 2025",
        "description": "Wave heights, measured.",
        "author": "Coastal Lab",
        "licence": "CC0-1.0",
        "tags": ["waves"],
        "chain_id": node.network.chain_id,
        "services": [
            {
                "id": "access-1" if algorithm else "compute-1",
                "type": "access" if algorithm else "compute",
                "name": "",
                "timeout_s": 0,
                "datatoken": "0x" + "11" * 20,
                "endpoint": node.base_url,
                "compute": None if algorithm else {"trusted_algorithms": [{"did": "*"}]},
            }
        ],
        "container": CONTAINER if algorithm else None,
        "raw": {},
        "fetched_at": NOW,
    }
    return Asset.objects.create(team=team, node=node, kind=kind, **(defaults | values))


def make_job(
    *,
    team: Team,
    state: State = State.REQUESTED,
    launched_by: User | None = None,
    datasets: list[Asset] | None = None,
    **values: Any,
) -> Job:
    """Make a job in the given state, with whatever it needs that is not given, and its first event.

    own_algorithm: with it the job runs code of one's own, and no published algorithm.
    Times fit the state: requested 4 minutes before NOW, accepted from RUNNING on, ended when it is terminal.
    """
    node = values.pop("node", None) or Node.objects.order_by("pk").first() or make_node()
    algorithm = (
        values.pop("algorithm", None)
        or Asset.objects.filter(team=team, kind=Asset.Kind.ALGORITHM).order_by("pk").first()
        or make_asset(team=team, node=node, kind=Asset.Kind.ALGORITHM)
    )
    if values.get("own_algorithm"):
        algorithm = None
    datasets = datasets or [
        Asset.objects.filter(team=team, kind=Asset.Kind.DATASET).order_by("pk").first()
        or make_asset(team=team, node=node)
    ]
    requested_at = values.pop("requested_at", NOW - timedelta(minutes=4))
    at_node = (
        state in TERMINAL
        or State.RUNNING in (state, values.get("attention_from"))
        or state == State.COLLECTING
    )
    defaults: dict[str, Any] = {
        "name": f"{algorithm.name if algorithm else 'Own code'}, {datasets[0].name}",
        "launch_key": uuid.UUID(int=2**64 + next(_numbers)),  # never one that a test names
        "launched_by": launched_by,
        "wallet": values.get("wallet") or Wallet.objects.filter(team=team).first() or make_wallet(team=team),
        "node": node,
        "environment": values.get("environment") or node.environments.first() or make_environment(node=node),
        "algorithm": algorithm,
        "algorithm_service_id": algorithm.services[0]["id"] if algorithm else "",
        "container": algorithm.container if algorithm else CONTAINER,
        "max_duration_s": 120,
        "queue_wait_s": 120,
        "state": state,
        "node_job_id": f"0x60962e6d-0x{next(_numbers):064x}" if at_node else "",
        "node_status": (70 if state in TERMINAL else 40) if at_node else None,
        "accepted_at": requested_at + timedelta(seconds=1) if at_node else None,
        "ended_at": requested_at + timedelta(minutes=2) if state in TERMINAL else None,
        "requested_at": requested_at,
    }
    job = Job.objects.create(team=team, **(defaults | values))
    JobInput.objects.bulk_create(
        JobInput(job=job, position=i, dataset=dataset, service_id=dataset.services[0]["id"])
        for i, dataset in enumerate(datasets)
    )
    make_event(job=job, at=requested_at, after=State.REQUESTED, message="Launched.", actor=launched_by)
    return job


def make_event(*, job: Job, at: datetime, kind: str = JobEvent.Kind.STATE, **values: Any) -> JobEvent:
    """Make one event of a job's history."""
    return JobEvent.objects.create(job=job, at=at, kind=kind, **values)


def make_log(*, job: Job, text: str, stream: int = 1, at: datetime = NOW) -> LogChunk:
    """Append a piece to a job's live log."""
    last = LogChunk.objects.filter(job=job).order_by("-offset").first()
    offset = last.offset + len(last.data) if last else 0
    return LogChunk.objects.create(job=job, offset=offset, stream=stream, data=text.encode(), arrived_at=at)


def make_transaction(*, job: Job, status: str = Transaction.Status.CONFIRMED, **values: Any) -> Transaction:
    """Make a transaction of a job, the next in its order: one that gets the dataset's token from its dispenser."""
    place = job.transactions.count()
    hashed = status not in (Transaction.Status.PLANNED, Transaction.Status.PREPARED)
    confirmed = status == Transaction.Status.CONFIRMED
    defaults: dict[str, Any] = {
        "sequence": place,
        "step": place,
        "wallet": job.wallet,
        "network": job.node.network,
        "purpose": Transaction.Purpose.DISPENSE,
        "told": "Get a datatoken of Buoys 2025 from its dispenser",
        "to": "0x" + "22" * 20,
        "data": b"call",
        "status": status,
        "nonce": None if status == Transaction.Status.PLANNED else job.wallet.transactions.count(),
        "gas": 300_000,
        "signed": None if status == Transaction.Status.PLANNED else b"the signed bytes",
        "tx_hash": f"0x{next(_numbers):064x}" if hashed else "",
        "block_number": 62 if confirmed else None,
        "gas_used": 187_114 if confirmed else None,
        "sent_at": job.requested_at if hashed else None,
        "confirmed_at": job.requested_at + timedelta(seconds=3) if confirmed else None,
    }
    return Transaction.objects.create(job=job, **(defaults | values))


def make_order(*, job: Job, dataset: Asset | None = None, **values: Any) -> Order:
    """Make an order that a confirmed transaction of the job paid for: of a dataset, else of its first input."""
    asset = dataset or job.inputs.order_by("position")[0].dataset
    transaction = values.pop("transaction", None) or make_transaction(
        job=job, purpose=Transaction.Purpose.ORDER, told=f"Order {asset.name}"
    )
    defaults: dict[str, Any] = {
        "wallet": job.wallet,
        "transaction": transaction,
        "did": asset.did,
        "service_id": asset.services[0]["id"],
        "datatoken": "0x" + "11" * 20,
        "consumer": RAW_PROVIDER_ENVIRONMENT["consumerAddress"],
        "fee_token": RAW_PROVIDER_ENVIRONMENT["feeToken"],
        "fee_valid_until": NOW + timedelta(days=1),
    }
    return Order.objects.create(**(defaults | values))


def make_result(
    *, job: Job, name: str = "summary.csv", data: bytes | None = b"a,b\n1,2\n", **values: Any
) -> Result:
    """Make an archived result with these bytes; without bytes, one that could not be fetched yet."""
    defaults: dict[str, Any] = {
        "index": job.results.count(),
        "name": name,
        "path": "",
        "kind": "output",
        "status": Result.Status.PENDING if data is None else Result.Status.ARCHIVED,
    }
    if data is not None:
        defaults |= {"size": len(data), "sha256": hashlib.sha256(data).hexdigest(), "archived_at": NOW}
    result = Result.objects.create(job=job, **(defaults | values))
    if data is not None:
        result.file.save(f"{job.pk}/{result.pk}.bin", ContentFile(data))
    return result


def make_link(*, job: Job, token: str = "a token", **values: Any) -> ShareLink:
    """Make a link to a job's page that can be opened any number of times until the year 2100.

    token: with the default, each link gets one of its own that nobody knows.
    """
    token = f"{token} {next(_numbers)}" if token == "a token" else token
    defaults: dict[str, Any] = {
        "token_sha256": hashlib.sha256(token.encode()).hexdigest(),
        "label": "The press",
        "created_at": NOW,
        "expires_at": datetime(2100, 1, 1, tzinfo=UTC),
    }
    return ShareLink.objects.create(job=job, **(defaults | values))


def make_token(symbol: str = "OCEAN", **values: Any) -> Token:
    """Make a token with 18 decimals on the sandbox's network, or return it."""
    defaults: dict[str, Any] = {"network": make_network(), "address": TOKEN, "decimals": 18} | values
    place = {"network": defaults.pop("network"), "address": defaults.pop("address")}
    return Token.objects.get_or_create(**place, defaults={"symbol": symbol} | defaults)[0]


def make_limit(*, wallet: Wallet, **values: Any) -> SpendingLimit:
    """Let one job spend 10 of a token from a wallet."""
    token = values.pop("token", None) or make_token()
    return SpendingLimit.objects.create(
        wallet=wallet, token=token, **({"per_job_wei": 10 * 10**18, "set_at": NOW} | values)
    )


def make_account(*, wallet: Wallet, **values: Any) -> EscrowAccount:
    """Make a wallet's place in an escrow, as it was read a moment ago: 4 are there, 1 is locked for lock 77."""
    token = values.pop("token", None) or make_token()
    defaults: dict[str, Any] = {
        "escrow": ESCROW,
        "available_wei": 4 * 10**18,
        "locked_wei": 10**18,
        "locks": [make_lock()],
        "read_at": NOW,
        "next_look_at": datetime(2100, 1, 1, tzinfo=UTC),
    }
    return EscrowAccount.objects.create(wallet=wallet, token=token, **(defaults | values))


def make_lock(**values: Any) -> dict[str, Any]:
    """Describe a lock as an account keeps it; it runs out in the year 2100."""
    defaults = {"id": "77", "payee": RAW_ENVIRONMENT["consumerAddress"], "amount_wei": str(10**18)}
    return {**defaults, "expires_at": 4_102_444_800} | values


def make_balances(*, wallet: Wallet, coin_wei: int = 10**18, **values: Any) -> BalanceLook:
    """Make what a wallet held on the sandbox's network a moment ago; gas is offered for one gwei.

    tokens: how much of each token.
    """
    tokens: dict[Token, int] = values.pop("tokens", {})
    defaults: dict[str, Any] = {
        "network": make_network(),
        "asked_at": NOW,
        "looked_at": NOW,
        "next_look_at": datetime(2100, 1, 1, tzinfo=UTC),
        "gas_price_wei": 10**9,
    }
    look = BalanceLook.objects.create(wallet=wallet, **(defaults | values))
    Balance.objects.create(look=look, token=None, amount_wei=coin_wei)
    for token, wei in tokens.items():
        Balance.objects.create(look=look, token=token, amount_wei=wei)
    return look


def make_act(*, wallet: Wallet, status: str = Transaction.Status.PLANNED, **values: Any) -> Transaction:
    """Make a transaction that a person wanted outside of any job: to take something back from the escrow."""
    signed = status not in (Transaction.Status.PLANNED, Transaction.Status.WITHDRAWN)
    defaults: dict[str, Any] = {
        "sequence": 0,
        "step": 0,
        "network": make_network(),
        "purpose": Transaction.Purpose.WITHDRAWAL,
        "told": "Take 4 OCEAN back from the escrow",
        "to": ESCROW,
        "data": b"call",
        "status": status,
        "nonce": wallet.transactions.count() if signed else None,
        "signed": b"the signed bytes" if signed else None,
        "tx_hash": f"0x{next(_numbers):064x}" if signed else "",
        "sent_at": NOW if signed else None,
    }
    return Transaction.objects.create(job=None, wallet=wallet, **(defaults | values))


def make_comparison(*found: dict[str, str], at: datetime = NOW) -> Reconciliation:
    """Make the outcome of a comparison of the ledger with chains and nodes."""
    return Reconciliation.objects.create(at=at, differences=list(found))


def beat(at: datetime = NOW) -> None:
    """Let the worker have been alive at this time."""
    Pulse.objects.update_or_create(name="pulse", defaults={"beat_at": at})
