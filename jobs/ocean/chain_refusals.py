"""What the refusals of chains mean, as geth, erigon, nethermind, besu, hardhat, anvil and ganache say them.

A contract's own words come in the same sentences, and a contract may say anything: whether it was the contract that
refused is decided first, by what only a reverted call carries, and never by words inside of its reason.
"""

import re
from typing import Any

from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError

from jobs.ocean.errors import ChainError
from jobs.ocean.units import clean_text

_SELECTOR_ERROR, _SELECTOR_PANIC = "08c379a0", "4e487b71"
# Source: Solidity documentation, "Panic via assert and Error via require".
_PANICS = {
    0x01: "an assertion failed",
    0x11: "a number ran over",
    0x12: "a division by zero",
    0x21: "no such value of an enumeration",
    0x31: "an empty list has no last element",
    0x32: "no such element",
    0x41: "too much memory was asked for",
}
_HEX = re.compile(r"(?:Reverted )?0x((?:[0-9a-fA-F]{2})*)", re.IGNORECASE)
_REASON_LENGTH = 200
_DEEP_ENOUGH = 3

_REVERTED = re.compile(
    r"^(?:execution reverted|VM Exception|VM execution error|Error: VM Exception|Error: Transaction reverted"
    r"|Transaction reverted|reverted\b|revert\b|Bad instruction|(?:EvmError|EVM error)\b|out of gas$"
    r"|gas required exceeds allowance|invalid opcode|invalid jump destination|stack underflow|write protection)",
    re.IGNORECASE,
)
# What comes before a contract's reason in each dialect; the reason may have quotes around it.
_BEFORE_REASON = re.compile(
    r"(?:reverted with reason string|reverted with an? [a-z ]{0,20}reason:?|execution reverted|revert)"
    r":?\s+(?!with )(?:'(.{1,300})'|\"(.{1,300})\"|(.{1,300}))$",
    re.IGNORECASE | re.DOTALL,
)

# Words, code, sentence, may it pass by itself. The first that fits counts.
_SAYINGS: tuple[tuple[re.Pattern[str], str, str, bool], ...] = tuple(
    (re.compile(words, re.IGNORECASE), code, sentence, retryable)
    for words, code, sentence, retryable in (
        (
            r"\balready known|^known transaction|AlreadyKnown|already imported|same hash|\balready exists",
            "already_known",
            "The chain knows this transaction already.",
            False,
        ),
        (
            # "invalid nonce" and "correct nonce" may also mean too high: who gets this looks at the mined nonce as well.
            r"nonce (?:is )?too low|nonce has already been used|OldNonce|NonceTooLow|correct nonce"
            r"|nonce below|invalid nonce",
            "nonce_too_low",
            "A transaction of this wallet with the same number is on the chain already.",
            False,
        ),
        (
            r"nonce (?:is )?too high|NonceTooHigh|NonceGap|nonce too distant|Nonce too far|gapped",
            "nonce_too_high",
            "An earlier transaction of this wallet is missing on the chain.",
            True,
        ),
        (
            r"insufficient ?funds|enough funds|insufficient balance|InsufficientFunds"
            r"|upfront cost exceeds|exceeds account balance",
            "insufficient_funds",
            "The wallet has not enough of the chain's own coin for the gas of this transaction.",
            True,
        ),
        (
            r"exceeds the configured cap",
            "fee_cap",
            "The endpoint sends no transaction that may cost so much. Its operator has set a limit.",
            False,
        ),
        (
            r"under-?priced|fee ?too ?low|(?:gas ?price|tip|fee).*(?:too low|below|less than)|ReplacementNotAllowed"
            r"|could not replace|same nonce|future transaction tries to replace|fee per gas less than",
            "underpriced",
            "The fee of this transaction is too low for the chain at the moment.",
            True,
        ),
        (
            r"chain ?id|EIP-?155|invalid sender",
            "wrong_chain",
            "The endpoint is one of another chain than the one that this transaction is signed for.",
            False,
        ),
        (
            r"intrinsic gas|gas ?limit ?exceeded|exceeds (?:the )?(?:block|transaction) gas|gas limit.*(?:block|high)",
            "gas_limit",
            "The chain does not take a transaction with this limit of gas.",
            False,
        ),
        (
            r"type not supported|unsupported transaction type|not supported.*type",
            "tx_type",
            "The chain takes no transactions of the kind that this portal makes (EIP-1559).",
            False,
        ),
        (
            r"pool is full|txpool.*full|pool.*overflow|FeeTooLowToCompete|txpool.*limit",
            "pool_full",
            "The chain has so many transactions waiting that it takes no more at the moment.",
            True,
        ),
        (
            r"more than \d{1,9} (?:results|logs)|block range|range is too|too many (?:logs|blocks|results)|max results"
            r"|eth_getLogs (?:is|requests) |response size",
            "too_many_logs",
            "The endpoint wants to be asked about fewer blocks at a time.",
            False,
        ),
        (
            r"rate.?limit|too many requests|request count exceeded|\blimit exceeded|compute units|capacity",
            "rate_limited",
            "The chain's endpoint is asked too often.",
            True,
        ),
        (
            r"missing trie node|header not found|unknown block|block not found|pruned|state.*not available"
            r"|archive|historical state",
            "no_history",
            "The endpoint does not have this block, or keeps it no longer.",
            True,
        ),
        (
            r"method .{0,80}(?:not found|not supported|not available|does not exist|not allowed|not whitelisted)"
            r"|unsupported method|unknown method|no such method",
            "unknown_method",
            "The chain's endpoint does not know this question.",
            False,
        ),
    )
)
_BY_NUMBER = {
    -32601: "unknown_method",
    -32004: "unknown_method",
    -32005: "rate_limited",
    429: "rate_limited",
    -32097: "rate_limited",
}


def explain_error(error: object, *, host: str, is_write: bool) -> ChainError:
    """Explain the `error` of a JSON-RPC answer.

    is_write: it was a transaction; what is not understood may have happened then, and so has what was mined and reverted,
    as development chains tell it.
    """
    said = error if isinstance(error, dict) else {"message": error}
    text = said.get("message")
    text = text[:2_000] if isinstance(text, str) else ""
    number = said.get("code")
    raw = _revert_data(said.get("data"))
    if _is_revert(text=text, number=number, raw=raw):
        reason = _reason(raw=raw, text=text, data=said.get("data"))
        return ChainError(
            f"The contract refused. It says: {reason}." if reason else "The contract refused.",
            code="reverted",
            maybe_happened=is_write,
        )
    for words, code, sentence, retryable in _SAYINGS:
        if words.search(text):
            return ChainError(f"{host}: {sentence}", code=code, retryable=retryable)
    named = _BY_NUMBER.get(number) if isinstance(number, int) else None
    for _words, code, sentence, retryable in _SAYINGS:
        if code == named:
            return ChainError(f"{host}: {sentence}", code=code, retryable=retryable)
    return ChainError(
        f"{host} did not do as it was asked, for a reason that this portal does not know.",
        code="rpc",
        retryable=True,
        maybe_happened=is_write,
    )


def _is_revert(*, text: str, number: object, raw: str | None) -> bool:
    # 3 is what execution-apis has for it; a message never decides where the data does.
    return number == 3 or bool(raw) or _REVERTED.search(text) is not None


def _revert_data(data: Any) -> str | None:
    """Find what a contract gave back, as hexadecimal digits; ganache, hardhat and others wrap it, each otherwise."""
    for _ in range(_DEEP_ENOUGH):
        if isinstance(data, str):
            match = _HEX.fullmatch(data)
            return match[1].lower() if match else None
        if not isinstance(data, dict):
            return None
        inner = next((data[name] for name in ("result", "data", "return") if data.get(name)), None)
        # ganache 6 files it under the hash of the transaction.
        data = inner or next((part for part in data.values() if isinstance(part, dict)), None)
    return None


def _reason(*, raw: str | None, text: str, data: Any) -> str:
    """Return a contract's own words, cleaned and cut; "" where it gave none."""
    try:
        if raw and raw.startswith(_SELECTOR_ERROR):
            return _shown(str(decode(["string"], bytes.fromhex(raw[8:]))[0]))
        if raw and raw.startswith(_SELECTOR_PANIC):
            panic = int(decode(["uint256"], bytes.fromhex(raw[8:]))[0])
            return _PANICS.get(panic, f"panic {panic if panic < 1_000 else 'of an unknown number'}")
    except (DecodingError, ValueError, OverflowError):
        return ""
    match = _BEFORE_REASON.search(text)
    if match is not None:
        return _shown(next(group for group in match.groups() if group))
    told = data.get("reason") if isinstance(data, dict) else None
    return _shown(told) if isinstance(told, str) else ""


def _shown(text: str) -> str:
    return " ".join(clean_text(text, limit=_REASON_LENGTH).split()).rstrip(".")
