"""From rows to client objects: opens a node for a purpose, and gives each wallet its turn to sign.

Nothing here may be called inside a transaction: a lock held while a far side thinks would stop every other writer.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Q

from jobs.access import Person
from jobs.errors import CannotOrder, PortalError
from jobs.lifecycle import ACTIVE
from jobs.models import Act, Environment, Job, Network, Node, NodeToken, NonceLease, User, Wallet
from jobs.ocean.chain import Chain
from jobs.ocean.compute import ComputeBackend
from jobs.ocean.errors import OceanError, Rejected
from jobs.ocean.node import OceanNode
from jobs.ocean.provider import Provider
from jobs.ocean.signing import Pen, Proof, Token
from jobs.ocean.transport import Transport
from jobs.ocean.units import Address
from jobs.services import audit, vault
from jobs.services.budget import OutOfBudget, Purpose, exhaust, spend
from jobs.services.holders import new_holder

Clock = Callable[[], datetime]
T = TypeVar("T")

TURN_S = 60  # a turn lasts until the answer's head is here; longer means that its holder died
WAIT_FOR_TURN_S = 45
TRY_AGAIN = timedelta(seconds=1)  # where a node has as many workers as it may
TOKEN_MARGIN = timedelta(minutes=2)  # a token this close to its end is no longer used
TOKEN_PAUSE = timedelta(
    minutes=1
)  # a node that takes none of its own tokens is not asked for one after the other


class InTransaction(Exception):
    """A far side was about to be called inside a transaction: a bug in the caller."""


class NoTurn(PortalError):
    """Another process signs for this wallet at this node for longer than we want to wait."""

    code = "no_turn"


class NoChain(PortalError):
    """There is no way to the chain of a network."""

    code = "no_chain"


@contextmanager
def open_node(
    *, node: Node, purpose: Purpose, clock: Clock, patience: Callable[[], float] | None = None
) -> Iterator[ComputeBackend]:
    """Yield the client for a node; every request it makes is counted against the node's budget.

    patience: how many seconds are left for all of them, where a person waits.
    Raises:
        InTransaction: the caller holds a transaction open.
        OutOfBudget: (from any call on the client) the node was asked often enough.
    """
    refuse_inside_transaction()

    def admit() -> None:
        spend(node=node, purpose=purpose, now=clock())

    with ExitStack() as stack:

        def reach(url: str) -> Transport:
            return stack.enter_context(
                Transport(
                    url,
                    admit=admit,
                    allow_private=node.allow_private,
                    monotonic=time.monotonic,
                    sleep=time.sleep,
                    patience=patience,
                )
            )

        stack.enter_context(heeding_limits(node=node, clock=clock))
        if node.dialect == Node.Dialect.PROVIDER:
            yield Provider(
                reach(node.base_url),
                aquarius=reach(node.metadata_url) if node.metadata_url else None,
                endpoints={name: tuple(place) for name, place in node.said.get("endpoints", {}).items()},
            )
        else:
            yield OceanNode(reach(node.base_url))


@contextmanager
def open_chain(*, network: Network, patience: Callable[[], float] | None = None) -> Iterator[Chain]:
    """Yield the client for a network's chain, once its endpoint has said that it is one of that chain.

    patience: as in `open_node`.
    Raises:
        InTransaction: the caller holds a transaction open.
        NoChain: the network has no RPC endpoint.
        CannotOrder: the endpoint is another chain's; nothing of what it says is believed.
        OceanError: it does not answer.
    """
    refuse_inside_transaction()
    if not network.rpc_url:
        raise NoChain(
            f"The network {network.name} has no RPC endpoint, so nothing can be ordered there. "
            "An operator can enter one in the admin."
        )
    with Transport(
        network.rpc_url,
        admit=lambda: None,
        allow_private=network.allow_private,
        monotonic=time.monotonic,
        sleep=time.sleep,
        patience=patience,
    ) as transport:
        chain = Chain(transport)
        found = chain.chain_id()
        if found != network.chain_id:
            raise CannotOrder(
                f"The RPC endpoint of {network.name} is one of chain {found}, not of {network.chain_id}. "
                "An operator has to correct it.",
                code="wrong_chain",
            )
        yield chain


def network_of(*, node: Node, environment: Environment) -> Network:
    """Return the network that orders for an environment are made on.

    Raises:
        CannotOrder: the portal does not know it.
    """
    chain_id = environment.chain_id or node.network.chain_id
    network = Network.objects.filter(chain_id=chain_id).first()
    if network is None:
        raise CannotOrder(
            f"The environment takes orders on chain {chain_id}, which is not among this portal's networks. "
            "An operator can add it.",
            code="no_network",
        )
    return network


def has_room(*, job_id: uuid.UUID, now: datetime) -> bool:
    """Say whether one more worker may go to a job's node; if not, the job is due again in a second.

    A node that drips would else have all the workers, and no other node's jobs went on.
    """
    node_id = Job.objects.filter(pk=job_id).values_list("node_id", flat=True).first()
    if node_id is None:
        return False
    at_work = Job.objects.exclude(pk=job_id).filter(node_id=node_id, lease_until__gt=now).count()
    if at_work < max(1, int(settings.Q_CLUSTER["workers"]) // 2):
        return True
    Job.objects.filter(pk=job_id, state__in=ACTIVE).update(next_check_at=now + TRY_AGAIN)
    return False


@contextmanager
def heeding_limits(*, node: Node, clock: Clock) -> Iterator[None]:
    """Note when a node says "too many", so that no other caller asks it meanwhile; the error goes on.

    For unsigned calls whose errors are caught before they leave `open_node`.
    """
    try:
        yield
    except Rejected as error:
        if error.code == "rate_limited":
            now = clock()
            exhaust(node=node, until=now + timedelta(seconds=error.retry_after_s or 60), now=now)
        raise


def signed(
    *,
    backend: ComputeBackend,
    wallet: Wallet,
    node: Node,
    clock: Clock,
    act: Callable[[Proof], T],
    call: str,
    once: bool = False,
    job: Job | None = None,
    asked_by: int | None = None,
) -> T:
    """Make one signed call: with the node's token if the wallet has one, else in turn with the next nonce.

    Where a token stands in for the signature only, it takes its turn too. A token that the node refuses is dropped and the
    call signed instead: of a call with a refused token nothing happened.

    The nonce is stored before the request leaves, and with it the entry in the audit record that something was signed; with
    a token nothing is, and there is no entry. A refused nonce (someone else uses the same wallet) means that nothing
    happened: the node's counter is read once and the call repeated with a higher number.

    call, job, asked_by: what for, such as "start a job", and for whom (a person's number), as the audit record tells it.
    once: it must not happen twice. What stands between may have sent the same bytes two times, and the refusal is of the
    second: then the node's counter is our own number, and nothing is repeated.

    Raises:
        NoTurn: the wallet's turn at this node did not come.
        OceanError: from the call; "nonce_reused", with `maybe_happened`, where it must not be repeated.
    """
    token = _valid_token(wallet=wallet, node=node, now=clock())
    if token is not None:
        try:
            return _with_token(
                token, backend=backend, wallet=wallet, node=node, clock=clock, act=act, once=once
            )
        except vault.VaultLocked:
            pass  # the wallet's own key may open
        except Rejected as error:
            if error.code != "token" or error.maybe_happened:
                raise
            _drop(token, node=node, now=clock())
    return signed_with_key(
        backend=backend,
        wallet=wallet,
        node=node,
        clock=clock,
        act=act,
        once=once,
        call=call,
        job=job,
        asked_by=asked_by,
    )


def signed_with_key(
    *,
    backend: ComputeBackend,
    wallet: Wallet,
    node: Node,
    clock: Clock,
    act: Callable[[Pen], T],
    call: str,
    once: bool = False,
    job: Job | None = None,
    asked_by: int | None = None,
) -> T:
    """Make one call that the wallet's own key signs, whether it has a token or not. Otherwise as `signed`."""
    pen: Callable[[int], Pen] = partial(Pen, vault.signer(wallet))
    told = _Signing(wallet=wallet, node=node, call=call, job=job, asked_by=asked_by)
    return _in_turn(
        pen, backend=backend, wallet=wallet, node=node, clock=clock, act=act, once=once, told=told
    )


def _with_token(
    token: NodeToken,
    *,
    backend: ComputeBackend,
    wallet: Wallet,
    node: Node,
    clock: Clock,
    act: Callable[[Proof], T],
    once: bool,
) -> T:
    """Make one call with a token. Raises: VaultLocked; as `signed`, and Rejected "token"."""
    address, text = Address(wallet.address), vault.token_text(token)
    if not backend.capabilities.token_nonces:
        with heeding_limits(node=node, clock=clock):
            return act(Token(address=address, token=text))
    proof: Callable[[int], Proof] = partial(Token, address, text)
    return _in_turn(
        proof, backend=backend, wallet=wallet, node=node, clock=clock, act=act, once=once, told=None
    )


def _in_turn(
    proof: Callable[[int], Any],
    *,
    backend: ComputeBackend,
    wallet: Wallet,
    node: Node,
    clock: Clock,
    act: Callable[[Any], T],
    once: bool,
    told: _Signing | None,
) -> T:
    """Make one call with a nonce, when the wallet's turn has come. told: what is signed, where something is."""
    address = Address(wallet.address)
    with (
        heeding_limits(node=node, clock=clock),
        _turn(node=node, address=wallet.address, clock=clock) as turn,
    ):
        nonce = turn.next_nonce(at_least=0, told=told)
        try:
            return act(proof(nonce))
        except Rejected as error:
            if error.code != "nonce":
                raise
            seen = _seen_nonce(backend=backend, address=address, ours=nonce, once=once)
        nonce = turn.next_nonce(at_least=seen + 1, told=told)
        try:
            return act(proof(nonce))
        except Rejected as error:
            if once and error.code == "nonce":
                _seen_nonce(backend=backend, address=address, ours=nonce, once=once)
            raise


def _seen_nonce(*, backend: ComputeBackend, address: Address, ours: int, once: bool) -> int:
    """Read a wallet's counter after a refused nonce.

    Raises:
        Rejected: "nonce_reused": the counter is our own number, or nobody says, and the call must happen once only.
        OceanError, OutOfBudget: nobody says.
    """
    had_it = Rejected(
        "The node has had this request before, or may have: it is looked for before it is sent again.",
        code="nonce_reused",
        retryable=True,
        maybe_happened=True,
    )
    try:
        seen = backend.nonce(address=address)
    except (OceanError, OutOfBudget) as error:
        if once:
            raise had_it from error
        raise
    if once and seen == ours:
        raise had_it
    return seen


@dataclass(frozen=True)
class _Signing:
    """What the audit record tells of a signature."""

    wallet: Wallet
    node: Node
    call: str
    job: Job | None
    asked_by: int | None

    def record(self, *, nonce: int, now: datetime) -> None:
        """Write it down: neither the signature nor what it covers."""
        person = None if self.asked_by is None else User.objects.filter(pk=self.asked_by).first()
        audit.record(
            act=Act.SIGNED,
            by=Person(
                user_id=person.pk if person else None,
                name=f"The worker, for {person}" if person else "The worker",
                origin=audit.WORKER,
            ),
            now=now,
            thing=audit.wallet_thing(self.wallet),
            after={
                "call": self.call,
                "node": self.node.name,
                "address": self.wallet.address,
                "nonce": nonce,
                **({"job": str(self.job.pk), "job name": self.job.name} if self.job else {}),
            },
            team_id=self.wallet.team_id,
        )


@dataclass(frozen=True)
class _Turn:
    lease_id: int
    holder: str
    clock: Clock

    def next_nonce(self, *, at_least: int, told: _Signing | None) -> int:
        """Reserve the next number: larger than any before, in milliseconds (both dialects take these).

        told: what is signed with it; in the audit record before the request leaves.
        """
        lease = NonceLease.objects.get(pk=self.lease_id)
        now = self.clock()
        nonce = max(lease.last_nonce + 1, int(now.timestamp() * 1000), at_least)
        with transaction.atomic():
            kept = NonceLease.objects.filter(pk=self.lease_id, holder=self.holder).update(
                last_nonce=nonce, leased_until=now + timedelta(seconds=TURN_S)
            )
            if not kept:
                raise NoTurn("The turn to sign for this wallet was lost to another process.")
            if told is not None:
                told.record(nonce=nonce, now=now)
        return nonce


@contextmanager
def _turn(*, node: Node, address: str, clock: Clock) -> Iterator[_Turn]:
    lease, _created = NonceLease.objects.get_or_create(node=node, address=address)
    holder = new_holder()
    give_up_at = time.monotonic() + WAIT_FOR_TURN_S
    while True:
        now = clock()
        free = Q(leased_until__isnull=True) | Q(leased_until__lte=now)
        if (
            NonceLease.objects.filter(pk=lease.pk)
            .filter(free)
            .update(holder=holder, leased_until=now + timedelta(seconds=TURN_S))
        ):
            break
        if time.monotonic() >= give_up_at:
            raise NoTurn(f"Another process is signing for this wallet at {node.name}; try again in a minute.")
        time.sleep(0.05)
    try:
        yield _Turn(lease_id=lease.pk, holder=holder, clock=clock)
    finally:
        NonceLease.objects.filter(pk=lease.pk, holder=holder).update(holder="", leased_until=None)


def _valid_token(*, wallet: Wallet, node: Node, now: datetime) -> NodeToken | None:
    """Return the wallet's token, unless nobody wants it any more or its end is near."""
    return (
        NodeToken.objects.select_related("wallet")
        .filter(wallet=wallet, node=node, expires_at__gt=now + TOKEN_MARGIN)
        .filter(wanted=True, encrypted_token__isnull=False, wallet__disabled_at=None)
        .first()
    )


def _drop(token: NodeToken, *, node: Node, now: datetime) -> None:
    """Forget a token that the node does not take; one that came in its place meanwhile stays. Another is asked for soon."""
    same = NodeToken.objects.filter(pk=token.pk, encrypted_token=bytes(token.encrypted_token or b""))
    same.update(
        encrypted_token=None,
        expires_at=None,
        next_try_at=now + TOKEN_PAUSE,
        trouble=f"{node.name} did not take the token any more: it is gone there, or was taken back. Requests are signed "
        "until there is another."[:500],
    )


def refuse_inside_transaction() -> None:
    """Raise InTransaction where the caller holds a transaction open: nobody far away is asked then."""
    # Django marks the transactions that a TestCase wraps around a test: those are not the caller's.
    blocks: list[Any] = getattr(connection, "atomic_blocks", [])
    if any(not getattr(block, "_from_testcase", False) for block in blocks):
        raise InTransaction("a far side must not be called inside a transaction")
