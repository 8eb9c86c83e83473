"""The escrow from which an Ocean Node is paid: what a payer does with it, sees in it, and what a receipt proves.

Only what every version of the contract shares (ocean-contracts 2.6.0, which the recordings used, to 3.1.0): the calls of
a payer, the views, and the events but `Auth`; what a payee may lock is read from the view.
Source: ocean-node recordings 20, 31, 32 and 35, notes; ocean-contracts 3.1.0, Escrow.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError

from jobs.ocean import questions
from jobs.ocean.abi import encode_call, event_topic
from jobs.ocean.chain import Chain
from jobs.ocean.contracts import ask, call_of, decoded
from jobs.ocean.errors import BadAnswer
from jobs.ocean.questions import Question
from jobs.ocean.transactions import Call, Log
from jobs.ocean.units import Address, Wei

_MOST_LOCKS = 1_000
_WORD = 32
_FUNDS, _AUTHORIZATIONS = "getUserFunds(address,address)", "getAuthorizations(address,address,address)"
# Since 3.x a lock also tells when it began; before it has one word less. Source: the two versions' getLocks.
_LOCK_WORDS = (5, 6)


@dataclass(frozen=True)
class Funds:
    """What a payer has in the escrow in one token. available_wei: can be withdrawn or locked; locked_wei: for jobs."""

    available_wei: Wei
    locked_wei: Wei


@dataclass(frozen=True)
class Authorization:
    """What a payer lets a payee lock: amounts of all its locks together, seconds of each, and how many at a time."""

    payee: Address
    max_locked_wei: Wei
    locked_wei: Wei
    max_lock_s: int
    max_locks: int
    locks: int

    def admits(self, *, amount_wei: Wei, lock_s: int) -> bool:
        """Say whether one more lock of this size and length would pass, as a node will check."""
        return (
            self.locked_wei + amount_wei <= self.max_locked_wei
            and lock_s <= self.max_lock_s
            and self.locks < self.max_locks
        )


@dataclass(frozen=True)
class Lock:
    """Money that waits for a job. job_id: the number of `JobReport.lock_id`. expires_at: seconds since the epoch."""

    job_id: int
    payer: Address
    token: Address
    amount_wei: Wei
    expires_at: int


Kind = Literal["deposit", "withdraw", "lock", "claimed", "canceled"]


@dataclass(frozen=True)
class EscrowEvent:
    """Something that an escrow noted. payee, job_id: of a lock and its end; lock_s: of a lock, for how long.

    tx_hash, block_number: as in Log.
    """

    kind: Kind
    payer: Address
    token: Address
    amount_wei: Wei
    payee: Address | None = None
    job_id: int | None = None
    lock_s: int | None = None
    tx_hash: str = ""
    block_number: int | None = None


def deposit(*, escrow: Address, token: Address, amount_wei: Wei) -> Call:
    """Pay into the escrow; it draws the amount, so it is whom the payer lets draw. Source: recording 31, notes."""
    return call_of(escrow, "deposit(address,uint256)", token, amount_wei)


def withdraw(*, escrow: Address, token: Address, amount_wei: Wei) -> Call:
    """Take back what is available; more than that the contract leaves out without a word."""
    return call_of(escrow, "withdraw(address[],uint256[])", [token], [amount_wei])


def authorize(
    *,
    escrow: Address,
    token: Address,
    payee: Address,
    max_locked_wei: Wei,
    max_lock_s: int,
    max_locks: int,
) -> Call:
    """Let a payee lock, in place of what it was allowed before. All three limits are for all its locks.

    At a node anybody's token may start a job on this (recording 35): allow no more than the job needs.
    Source: recording 31, notes.
    """
    return call_of(
        escrow,
        "authorize(address,address,uint256,uint256,uint256)",
        token,
        payee,
        max_locked_wei,
        max_lock_s,
        max_locks,
    )


def cancel_expired_locks(*, escrow: Address, payee: Address, locks: Sequence[Lock]) -> Call:
    """Free what is locked beyond its time; anybody may. payee: who holds the locks.

    A lock whose time is not over is passed over without a word: what was freed, the receipt's events tell.
    """
    return call_of(
        escrow,
        "cancelExpiredLocks(uint256[],address[],address[],address[])",
        [lock.job_id for lock in locks],
        [lock.token for lock in locks],
        [lock.payer for lock in locks],
        [payee for _ in locks],
    )


def first_questions(*, escrow: Address, payer: Address, token: Address, payee: Address) -> list[Question]:
    """Return what funds and authorization ask, for `Chain.ask_ahead`."""
    return [
        questions.contract(escrow, _FUNDS, payer, token),
        questions.contract(escrow, _AUTHORIZATIONS, token, payer, payee),
    ]


def funds(chain: Chain, *, escrow: Address, payer: Address, token: Address) -> Funds:
    """Ask what a payer has in the escrow."""
    available, locked = ask(chain, escrow, _FUNDS, ["uint256", "uint256"], payer, token)
    return Funds(available_wei=Wei(available), locked_wei=Wei(locked))


def authorization(
    chain: Chain, *, escrow: Address, payer: Address, token: Address, payee: Address
) -> Authorization | None:
    """Ask what a payer lets one payee lock; None for nothing yet."""
    found = ask(
        chain,
        escrow,
        _AUTHORIZATIONS,
        ["(address,uint256,uint256,uint256,uint256,uint256)[]"],
        token,
        payer,
        payee,
    )[0]
    for whom, most, locked, seconds, count, taken in found:
        if Address.parse(whom) == payee:
            return Authorization(
                payee=payee,
                max_locked_wei=Wei(most),
                locked_wei=Wei(locked),
                max_lock_s=seconds,
                max_locks=count,
                locks=taken,
            )
    return None


def locks(
    chain: Chain, *, escrow: Address, payer: Address, token: Address, payee: Address
) -> tuple[Lock, ...]:
    """List what a payee has locked of a payer's money.

    Raises: BadAnswer "contract".
    """
    data = encode_call("getLocks(address,address,address)", token, payer, payee)
    answer = chain.call(to=escrow, data=data)
    words = _words_per_lock(answer, escrow=escrow)
    more = ",uint256" * (words - _LOCK_WORDS[0])
    found = decoded([f"(uint256,address,uint256,uint256,address{more})[]"], answer, of=escrow)[0]
    read = (
        Lock(
            job_id=lock[0],
            payer=Address.parse(lock[1]),
            token=Address.parse(lock[4]),
            amount_wei=Wei(lock[2]),
            expires_at=lock[3],
        )
        for lock in found
    )
    return tuple(lock for lock in read if lock.payer == payer and lock.token == token)


def _words_per_lock(answer: bytes, *, escrow: Address) -> int:
    """Tell the contract's versions apart by the length of the answer: a place, a count, and the locks."""
    head, body = answer[: 2 * _WORD], answer[2 * _WORD :]
    count = int.from_bytes(head[_WORD:], "big")
    if len(head) == 2 * _WORD and count == 0 and not body:
        return _LOCK_WORDS[0]
    for words in _LOCK_WORDS:
        if 0 < count <= _MOST_LOCKS and len(body) == count * words * _WORD:
            return words
    raise BadAnswer(f"The escrow {escrow} lists its locks in a way that is not known.", code="contract")


@dataclass(frozen=True)
class _Shape:
    """How an event is written: the names of its values in order, and which of them are topics."""

    kind: Kind
    fields: tuple[tuple[str, str], ...]
    indexed: tuple[str, ...]

    @property
    def topic(self) -> bytes:
        types = ",".join(kind for _, kind in self.fields)
        return event_topic(f"{self.kind.capitalize()}({types})")


_PAYER, _PAYEE, _TOKEN = ("payer", "address"), ("payee", "address"), ("token", "address")
_AMOUNT, _JOB = ("amount_wei", "uint256"), ("job_id", "uint256")
_SHAPES = (
    _Shape("deposit", (_PAYER, _TOKEN, _AMOUNT), ("payer",)),
    _Shape("withdraw", (_PAYER, _TOKEN, _AMOUNT), ("payer",)),
    _Shape("lock", (_PAYER, _PAYEE, _JOB, _AMOUNT, ("lock_s", "uint256"), _TOKEN), ()),
    _Shape("claimed", (_PAYEE, _JOB, _TOKEN, _PAYER, _AMOUNT, ("proof", "bytes")), ("payee", "payer")),
    _Shape("canceled", (_PAYEE, _JOB, _TOKEN, _PAYER, _AMOUNT), ("payee", "payer")),
)
_BY_TOPIC = {shape.topic: shape for shape in _SHAPES}
# What to ask `Chain.logs` for: any of these as the first topic.
EVENT_TOPICS: tuple[bytes, ...] = tuple(_BY_TOPIC)


def events_in(logs: Sequence[Log], *, escrow: Address) -> tuple[EscrowEvent, ...]:
    """Read what an escrow noted, from the logs of a receipt or of `Chain.logs`; other events are passed over."""
    found = []
    for log in logs:
        shape = _BY_TOPIC.get(log.topics[0]) if log.topics else None
        if log.address == escrow and shape is not None:
            event = _event(log, shape)
            if event is not None:
                found.append(event)
    return tuple(found)


def _event(log: Log, shape: _Shape) -> EscrowEvent | None:
    types = dict(shape.fields)
    in_data = [name for name, _ in shape.fields if name not in shape.indexed]
    if len(log.topics) != 1 + len(shape.indexed):
        return None
    try:
        values: dict[str, Any] = dict(
            zip(in_data, decode([types[name] for name in in_data], log.data), strict=True)
        )
        for name, topic in zip(shape.indexed, log.topics[1:], strict=True):
            values[name] = decode([types[name]], topic)[0]
    except (DecodingError, ValueError, OverflowError):
        return None
    values.pop("proof", None)
    for name in ("payer", "payee", "token"):
        if name in values:
            values[name] = Address.parse(values[name])
    return EscrowEvent(kind=shape.kind, tx_hash=log.tx_hash, block_number=log.block_number, **values)
