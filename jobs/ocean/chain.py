"""Ask a chain, and send it signed transactions: JSON-RPC over our own guarded transport.

Every answer is a stranger's. A transaction's hash is computed here and never taken from the far side.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from eth_utils.crypto import keccak

from jobs.ocean import questions
from jobs.ocean.abi import clean_reason, revert_reason
from jobs.ocean.answers import Reply, explain_generally
from jobs.ocean.errors import BadAnswer, ChainError, OceanError, Refused, Rejected
from jobs.ocean.questions import Question
from jobs.ocean.transactions import (
    Block,
    Call,
    Fees,
    KnownTransaction,
    Log,
    Receipt,
    parse_block,
    parse_log,
    parse_receipt,
    parse_transaction,
    read_amount,
    read_bytes,
    read_hash,
    read_number,
)
from jobs.ocean.units import Address, Wei

if TYPE_CHECKING:
    from jobs.ocean.transport import Transport

_CAP_BYTES = 2 * 1024 * 1024
MAX_LOG_BLOCKS = 1_000
_MAX_LOGS = 1_000
_MOST_AT_ONCE = 50  # endpoints have limits of their own, of which 100 is a common one
_RUNS = ("eth_call", "eth_estimateGas")  # what runs a contract, which may refuse
# Source: the JSON-RPC 2.0 specification, "Error object".
_PARSE_ERROR, _INVALID_REQUEST, _UNKNOWN_METHOD, _INVALID_PARAMS, _INTERNAL = (
    -32700,
    -32600,
    -32601,
    -32602,
    -32603,
)
_NEVER_TAKEN = (_PARSE_ERROR, _INVALID_REQUEST, _UNKNOWN_METHOD, _INVALID_PARAMS)
# Source: EIP-1474, "Error codes": resource not found, resource unavailable, limit exceeded.
_MAY_PASS = (_INTERNAL, -32001, -32002, -32005)
# Source: go-ethereum, internal/ethapi/errors.go, revertError.ErrorCode.
_REVERTED = 3
# HTTP refusals of whoever stands in front of the node; after any other status the node may have had the bytes.
_TOO_MANY = 429  # as some write it into the answer itself
_NOT_LET_IN = (401, 403, 404, 405, 413, 429)

# What nodes say when they do not take a transaction, and whether it is a safe no.
# Source: go-ethereum, core/error.go, core/txpool/errors.go and validation.go; Nethermind, AcceptTxResult.cs;
# Besu, TransactionInvalidReason as its JsonRpcErrorConverter words it; the sandbox's chain speaks as go-ethereum.
# A node that lags behind: go-ethereum, ethclient and trie; Besu, RpcErrorType BLOCK_NOT_FOUND, WORLD_STATE_UNAVAILABLE.
# "Too many": the pages on errors of Infura, Goldsky and 1RPC (-32005, -32001) and Wetez (429); -32005 alone may as well
# mean a question for too many events.
_SAYINGS: tuple[tuple[re.Pattern[str], str, bool], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), code, surely_not)
    for pattern, code, surely_not in (
        (r"rate.?limit|too many requests|usage limit|request (?:rate|count) exceeded", "rate_limited", False),
        (
            r"header not found|block not found|missing trie node|state (?:is )?(?:not available|unavailable)",
            "behind",
            False,
        ),
        (r"already ?known|known transaction|already imported", "already_known", False),
        (r"nonce (?:is )?too low|old ?nonce", "nonce_too_low", False),
        (r"insufficient ?funds|upfront cost exceeds", "insufficient_funds", True),
        (
            r"underpriced|fee ?too ?low|less than block base fee|gas price (?:below|is too low|too low)"
            r"|replacement ?not ?allowed",
            "underpriced",
            True,
        ),
        (
            r"intrinsic gas too low|exceeds block gas limit|invalid (?:sender|chain ?id|signature)|^rlp"
            r"|exceeds the configured cap|type not supported",
            "rpc",
            True,
        ),
    )
)
_REVERT = re.compile(
    r"revert|invalid opcode|out of gas|gas required exceeds allowance|vm e(?:xception|xecution error)",
    re.IGNORECASE,
)
# Where a node gives no data, the reason stands behind these words (go-ethereum; Hardhat and Ganache).
_SAID_REASON = re.compile(r"execution reverted: (.+)|reverted with reason string '(.+)'", re.DOTALL)

_SENTENCES = {
    "insufficient_funds": "the wallet does not hold enough of the chain's own coin for this transaction.",
    "nonce_too_low": "another transaction of the wallet has already taken this one's place.",
    "underpriced": "the fee is too low to be taken now.",
    "rate_limited": "it is asked too often. It may answer again in a moment.",
    "behind": "it does not have this block, or what was true at it. It may in a moment.",
    "already_known": "the transaction is known already.",
    "rpc": "the chain's node did not do what it was asked.",
}


@dataclass(frozen=True)
class _Failure:
    """The error of a JSON-RPC answer."""

    number: int
    text: str
    data: object


class Chain:
    """A chain behind a JSON-RPC address. Reads are repeated as the transport does it; sending happens once.

    Every method may raise Unreachable, Rejected, BadAnswer and Refused, and ChainError with one of the codes
    insufficient_funds, nonce_too_low, underpriced, reverted, rate_limited, behind, rpc.
    What it tells may be old: a balanced endpoint has nodes that lag behind, so no answer of None proves that something is
    not on the chain.
    """

    def __init__(self, transport: "Transport") -> None:
        self._transport = transport
        self._ahead: dict[str, list[Any]] = {}
        self._takes_several = True

    def ask_ahead(self, wanted: Sequence[Question]) -> None:
        """Ask several questions in one request; each answer serves the call that asks the same question later, once.

        A question that stands here twice is asked once, and serves two calls. Nothing else changes for the caller: what the
        endpoint leaves out or refuses is asked alone when its turn comes. What was asked ahead is gone with `forget` and
        with whatever is sent.
        Raises: Unreachable.
        """
        counts = Counter(questions.key(question) for question in wanted)
        distinct = {questions.key(question): question for question in wanted}
        if not self._takes_several or not 1 < len(distinct) <= _MOST_AT_ONCE:
            return
        asked = [
            questions.written(question, number=number)
            for number, question in enumerate(distinct.values(), start=1)
        ]
        try:
            answers = self._transport.get_json(path="", question=asked, cap_bytes=_CAP_BYTES)
        except (Rejected, BadAnswer, Refused):
            self._takes_several = False  # not every endpoint does
            return
        found = questions.by_number(answers, count=len(asked))
        self._takes_several = bool(found)
        for number, (key, question) in enumerate(distinct.items(), start=1):
            if number in found and self._is_telling(question[0], found[number]):
                self._ahead[key] = [found[number]] * counts[key]

    def forget(self) -> None:
        """Forget what was asked ahead: everything is asked anew."""
        self._ahead.clear()

    def chain_id(self) -> int:
        """Ask which chain it is."""
        return read_number(self._ask("eth_chainId"), what="chain id")

    def head(self) -> Block:
        """Fetch the newest block."""
        return parse_block(self._ask(*questions.HEAD))

    def block_hash(self, *, number: int) -> str | None:
        """Ask for the hash of the block at a height, or None above the head; another hash later is a reorganisation."""
        answer = self._ask("eth_getBlockByNumber", hex(number), False)
        if answer is None:
            return None
        block = parse_block(answer)
        if block.number != number:
            raise BadAnswer(f"{self._host} sent another block than was asked for.", code="chain_answer")
        return block.hash

    def balance_wei(self, *, address: Address) -> Wei:
        """Ask what an address holds of the chain's own coin."""
        return read_amount(self._ask(*questions.coin(address)), what="balance")

    def nonce(self, *, address: Address) -> int:
        """Ask for the next nonce of an address, transactions that wait for their block counted in."""
        return read_number(self._ask(*questions.next_nonce(address)), what="nonce")

    def mined_nonce(self, *, address: Address, at_block: int | None = None) -> int:
        """Ask how many transactions of an address are in blocks: every lower nonce is used up.

        at_block: as it was after this block; None for the newest.
        """
        block = "latest" if at_block is None else hex(at_block)
        return read_number(self._ask("eth_getTransactionCount", str(address), block), what="nonce")

    def call(self, *, to: Address, data: bytes, sender: Address | None = None) -> bytes:
        """Ask a contract; at most 64 kB come back, none from an address without a contract.

        Raises: ChainError "reverted", with the contract's reason.
        """
        method, asked, block = questions.contract_data(to, data)
        if sender is not None:
            asked["from"] = str(sender)
        return read_bytes(self._ask(method, asked, block), what="contract's answer")

    def estimate_gas(self, *, sender: Address, to: Address, data: bytes, value_wei: Wei) -> int:
        """Ask how much gas a transaction takes now; the state may change until it is mined, so add to it.

        Raises: ChainError "reverted", with the contract's reason, or "insufficient_funds".
        """
        asked = questions.gas(sender, Call(to=to, data=data, value_wei=value_wei))
        return read_number(self._ask(*asked), what="gas")

    def fees(self) -> Fees:
        """Ask what gas costs, enough for the base fee to double meanwhile.

        The far side makes these numbers up as it likes: the caller holds them against a limit of its own.
        On a chain without a base fee both are its gas price, which such a chain wants in full.
        Source: provider-v4 recording 30, its RPC calls; EIP-1559.
        """
        base_fee = self.head().base_fee_wei
        if not base_fee:
            return self._flat_fees()
        try:
            tip = read_amount(self._ask(*questions.TIP), what="fee")
        except ChainError:
            # Not every chain answers this one; the gas price is base fee and tip together.
            tip = Wei(max(0, self._gas_price() - base_fee))
        return Fees(max_fee_wei=_bounded(2 * base_fee + tip), priority_fee_wei=tip)

    def send(self, *, signed: bytes) -> str:
        """Send a signed transaction, once, and give its hash. That it is there already is no error.

        Sending the same bytes again is safe on every chain; signing others with the same purpose is not, until this
        one is known to be out of the race. `maybe_happened` is False only where it surely was not taken; it speaks of
        this sending, not of an earlier one.
        Raises: ChainError insufficient_funds or underpriced; nonce_too_low, when the nonce is used and this
        transaction is not seen, which may still be a node that lags behind.
        """
        tx_hash = "0x" + keccak(signed).hex()
        self.forget()  # what was true before may not be after
        answer = self._transport.send_json(
            method="POST",
            path="",
            body=questions.written(("eth_sendRawTransaction", _hex(signed)), number=1),
            explain=_explain_sending,
            cap_bytes=_CAP_BYTES,
        )
        result = self._result(answer, is_write=True)
        if not isinstance(result, _Failure):
            if not isinstance(result, str) or result.lower() != tx_hash:
                raise BadAnswer(
                    f"{self._host} took a transaction and named another one.",
                    code="chain_answer",
                    maybe_happened=True,
                )
            return tx_hash
        code, surely_not = _meaning(result)
        if code == "already_known" or (code == "nonce_too_low" and self._is_there(tx_hash)):
            return tx_hash
        raise self._refusal(code, maybe_happened=not surely_not, retryable=_may_pass(result, code))

    def receipt(self, *, tx_hash: str) -> Receipt | None:
        """Ask what became of a transaction; None while it is not mined, or unknown."""
        found = parse_receipt(self._ask(*questions.receipt(tx_hash)))
        self._check_same(found, tx_hash)
        return found

    def transaction(self, *, tx_hash: str) -> KnownTransaction | None:
        """Ask for a transaction, waiting or mined; None where the node knows it not."""
        found = parse_transaction(self._ask("eth_getTransactionByHash", tx_hash))
        self._check_same(found, tx_hash)
        return found

    def logs(
        self,
        *,
        address: Address,
        topics: Sequence[bytes | Sequence[bytes] | None],
        from_block: int,
        to_block: int,
    ) -> tuple[Log, ...]:
        """List the events of a contract in some blocks, both ends included, oldest first.

        topics: by position; None takes any, several are alternatives. At most MAX_LOG_BLOCKS blocks at a time.
        Raises: Refused "too_many_blocks"; ChainError "rpc" where the endpoint wants fewer blocks at a time.
        """
        if not 0 <= from_block <= to_block < from_block + MAX_LOG_BLOCKS:
            raise Refused(
                f"Events are asked for by at most {MAX_LOG_BLOCKS:,} blocks at a time.",
                code="too_many_blocks",
            )
        wanted = [None if topic is None else _alternatives(topic) for topic in topics]
        found = self._ask(
            "eth_getLogs",
            {
                "address": str(address),
                "topics": [each and [_hex(topic) for topic in each] for each in wanted],
                "fromBlock": hex(from_block),
                "toBlock": hex(to_block),
            },
        )
        if not isinstance(found, list) or len(found) > _MAX_LOGS:
            raise BadAnswer(f"{self._host} lists events in an unreadable way.", code="chain_answer")
        logs = [parse_log(log) for log in found if not (isinstance(log, dict) and log.get("removed") is True)]
        for log in logs:
            fits = len(log.topics) >= len(wanted) and all(
                each is None or topic in each for each, topic in zip(wanted, log.topics, strict=False)
            )
            placed = log.block_number is not None and from_block <= log.block_number <= to_block
            if log.address != address or not fits or not log.tx_hash or not placed:
                raise BadAnswer(f"{self._host} lists events that were not asked for.", code="chain_answer")
        return tuple(logs)

    def revert_reason(self, *, receipt: Receipt) -> str:
        """Find out why a transaction reverted, by calling it again at its block; "" where that tells nothing.

        The block's other transactions are then behind it, so it is a good guess, not a proof.
        """
        found = self.transaction(tx_hash=receipt.tx_hash)
        if found is None or found.to is None:
            return ""
        asked = {
            "from": str(found.sender),
            "to": str(found.to),
            "data": _hex(found.data),
            "value": hex(found.value_wei),
            "gas": hex(found.gas),
        }
        try:
            self._ask("eth_call", asked, hex(receipt.block_number))
        except ChainError as error:
            if error.reason:
                return error.reason
        # Datatokens pass calls on to their template, and a call may pass on only 63 of 64 parts of its gas (EIP-150).
        return "it ran out of gas" if receipt.gas_used >= found.gas * 63 // 64 else ""

    @property
    def _host(self) -> str:
        return self._transport.host

    def _flat_fees(self) -> Fees:
        price = self._gas_price()
        return Fees(max_fee_wei=price, priority_fee_wei=price)

    def _gas_price(self) -> Wei:
        return read_amount(self._ask("eth_gasPrice"), what="gas price")

    def _is_there(self, tx_hash: str) -> bool:
        """Look for a transaction; a node that cannot be asked has not shown it."""
        try:
            return self.transaction(tx_hash=tx_hash) is not None
        except OceanError:
            return False

    def _check_same(self, found: Receipt | KnownTransaction | None, tx_hash: str) -> None:
        if found is not None and found.tx_hash != read_hash(tx_hash, what="hash"):
            raise BadAnswer(f"{self._host} sent another transaction than was asked for.", code="chain_answer")

    def _ask(self, method: str, *params: Any) -> Any:
        question = (method, *params)
        if ready := self._ahead.get(questions.key(question)):
            answer = ready.pop()
        else:
            asked = questions.written(question, number=1)
            answer = self._transport.get_json(path="", question=asked, cap_bytes=_CAP_BYTES)
        result = self._result(answer, is_write=False)
        if not isinstance(result, _Failure):
            return result
        if method in _RUNS and _is_revert(result):
            reason = _reason(result)
            raise ChainError(
                f"The contract refuses: {reason}." if reason else "The contract refuses without a reason.",
                code="reverted",
                reason=reason,
            )
        code, _ = _meaning(result)
        raise self._refusal(code, retryable=_may_pass(result, code))

    def _is_telling(self, method: str, answer: object) -> bool:
        """Say whether an answer needs no second look: a result, or a contract's refusal."""
        try:
            result = self._result(answer, is_write=False)
        except BadAnswer:
            return False
        return not isinstance(result, _Failure) or (method in _RUNS and _is_revert(result))

    def _result(self, answer: object, *, is_write: bool) -> Any:
        """Give the result of an answer, or its error."""
        if isinstance(answer, dict):
            error = answer.get("error")
            if isinstance(error, dict):
                number, text = error.get("code"), error.get("message")
                return _Failure(
                    number=number if isinstance(number, int) else 0,
                    text=text[:1_000] if isinstance(text, str) else "",
                    data=error.get("data"),
                )
            if error is None and "result" in answer:
                return answer["result"]
        raise BadAnswer(
            f"{self._host} sent something that is no answer of a chain.",
            code="chain_answer",
            maybe_happened=is_write,
        )

    def _refusal(self, code: str, *, retryable: bool, maybe_happened: bool = False) -> ChainError:
        return ChainError(
            f"{self._host}: {_SENTENCES[code]}", code=code, retryable=retryable, maybe_happened=maybe_happened
        )


def _meaning(failure: _Failure) -> tuple[str, bool]:
    """Give the code of a refusal, and whether the transaction surely was not taken."""
    for pattern, code, surely_not in _SAYINGS:
        if pattern.search(failure.text):
            return code, surely_not
    if failure.number == _TOO_MANY:
        return "rate_limited", False
    return "rpc", failure.number in _NEVER_TAKEN


def _may_pass(failure: _Failure, code: str) -> bool:
    return code in ("rate_limited", "behind") or failure.number in _MAY_PASS


def _is_revert(failure: _Failure) -> bool:
    return failure.number == _REVERTED or _REVERT.search(failure.text) is not None


def _reason(failure: _Failure) -> str:
    data = failure.data
    if isinstance(data, dict):  # as Hardhat wraps it
        data = data.get("data")
    if isinstance(data, str):
        try:
            reason = revert_reason(read_bytes(data.removeprefix("Reverted "), what="reason"))
        except BadAnswer:
            reason = ""
        if reason:
            return reason
    said = _SAID_REASON.search(failure.text)
    return clean_reason(said[1] or said[2]) if said else ""


def _explain_sending(reply: Reply) -> OceanError:
    error = explain_generally(reply)
    if reply.status not in _NOT_LET_IN:
        error.maybe_happened = True
    return error


def _bounded(amount: int) -> Wei:
    if amount >= 2**256:
        raise BadAnswer("The chain's node sent an unreadable fee.", code="chain_answer")
    return Wei(amount)


def _alternatives(topic: bytes | Sequence[bytes]) -> list[bytes]:
    return [topic] if isinstance(topic, bytes) else list(topic)


def _hex(data: bytes) -> str:
    return "0x" + data.hex()
