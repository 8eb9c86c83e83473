"""What a node's refusals mean. It says them in words; the status numbers that come with them say little."""

import re

from jobs.ocean.answers import Reply
from jobs.ocean.errors import OceanError, Rejected

# Words, code, may it pass by itself, sentence. Groups of a pattern fill the sentence; nothing else of what a
# node says is ever quoted, as it may repeat a signature or a token.
# Source: recordings 15, 16, 17, 18, 24, 30 and 31 to 34.
_SAYINGS: tuple[tuple[re.Pattern[str], str, bool, str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), code, retryable, sentence)
    for pattern, code, retryable, sentence in (
        (
            r"^Not enough available (\w{1,40})",
            "busy",
            True,
            "The environment is busy: no {0} is free now. Try again later, or let the job wait in the queue.",
        ),
        (
            r"Not enough (\w{1,40}) resources\. Requested ([\d.e+]{1,40}), but max is ([\d.e+]{1,40})",
            "too_many_resources",
            False,
            "The environment gives a job at most {2} of {0}; {1} was asked for.",
        ),
        (
            r"^nonce: \S{1,40} is not a valid nonce",
            "nonce",
            True,
            "The node has seen a newer request of this wallet, so it did not take this one.",
        ),
        (
            r"signature mismatch|^Invalid authentication",
            "signature",
            False,
            "The node does not accept the wallet's signature.",
        ),
        (
            r"^Invalid token",
            "token",
            False,
            "The node does not accept the token any more. Give the wallet a new one.",
        ),
        (
            r"^Invalid C2D Environment",
            "unknown_environment",
            False,
            "The node does not know this environment. Refresh its environments and choose again.",
        ),
        (
            r"does not have enough funds$",
            "escrow_funds",
            False,
            "The escrow holds too little of the wallet's money for this job. What is locked for other jobs does not count.",
        ),
        (
            r"^No escrow auths found for: chain=(\d{1,15})",
            "escrow_auth",
            False,
            "The wallet does not let the node lock money in the escrow on chain {0} yet.",
        ),
        (
            r"^No valid escrow auths found\(maxLockSeconds too low\)",
            "escrow_lock_time",
            False,
            "The wallet does not let the node lock money for as long as this job needs.",
        ),
        (
            r"^No valid escrow auths found\(will go over limit\)",
            "escrow_limit",
            False,
            "With this job the node would lock more money than the wallet lets it.",
        ),
        (
            # Source: ocean-node v3.2.0, escrow.ts, createLock.
            r"^No valid escrow auths found\(too many",
            "escrow_locks",
            False,
            "With this job the node would lock money for more jobs at a time than the wallet lets it.",
        ),
        (
            r"^No valid escrow auths found",
            "escrow_auth",
            False,
            "The wallet does not let the node lock the money of this job in the escrow.",
        ),
        (
            r"^This compute env does not accept payments on chain: (\d{1,15}) using token",
            "token_not_accepted",
            False,
            "The environment takes no payment in this token on chain {0}. Choose one that it names.",
        ),
        (
            r"^Missing transferTxId for DDO (did:\w{2,3}:[0-9a-f]{64})",
            "order_missing",
            False,
            "The node wants an order of {0} for a paid job, and was given none.",
        ),
        (
            r"^TxId Service \S{1,100} is not valid for DDO (did:\w{2,3}:[0-9a-f]{64})",
            "order_invalid",
            False,
            "The node does not accept the order of {0}: it is of another asset or environment, or its time is over. Order"
            " it again.",
        ),
        (
            r"^Algorithm undefined not allowed to run on the dataset: (did:\w{2,3}:[0-9a-f]{64})",
            "raw_not_allowed",
            False,
            "The publisher of {0} allows published algorithms alone, and no code of one's own.",
        ),
        (
            r"^Algorithm did:\w{2,3}:[0-9a-f]{64} not allowed to run on the dataset: (did:\w{2,3}:[0-9a-f]{64})",
            "not_trusted",
            False,
            "The publisher of {0} has not listed this algorithm for the chosen service, so it may not run there.",
        ),
        (
            r"^Failed to retrieve algorithm checksums",
            "unknown_asset",
            False,
            "The node does not know the algorithm, or cannot fetch its file. Check the DID, or ask a node that serves it.",
        ),
        (
            r"^Missing dataset did",
            "unpublished",
            False,
            "The node prices published datasets alone, and no files by their address.",
        ),
        (
            r"^Missing algorithm$|^Invalid payment options|^Invalid maxJobDuration",
            "bad_request",
            False,
            "The request lacks a usable algorithm, payment or duration, without which the node names no price.",
        ),
        (
            r"^Cannot find image (\S{1,200}) for (\S{1,40})\.",
            "image",
            False,
            "The node finds no image {0} for {1}. Whoever chose the algorithm's image has to correct it.",
        ),
        (
            r"^Unable to extract docker image",
            "image",
            False,
            "The node finds no container image in the request for this algorithm.",
        ),
        (
            r"^Metadata size is too large",
            "metadata_too_large",
            False,
            "The node finds the note that goes with the job too long.",
        ),
        (
            r'^Missing one \( "(\w{1,40})" \)|^Parameter : "(\w{1,40})" is not a valid',
            "bad_request",
            False,
            "The request lacks a usable {0}{1}, without which the node does nothing.",
        ),
        (
            r"^Missing (?:or invalid )?required (?:parameters?|body)",
            "bad_request",
            False,
            "The request lacks something without which the node does nothing.",
        ),
        (
            r"^Invalid result index",
            "bad_request",
            False,
            "The node counts results from 0 on; this is no place in its list.",
        ),
        (
            r"^Invalid or unrecognized command",
            "bad_request",
            False,
            "The node does not know such a command. Its software may be older than this portal expects.",
        ),
        (
            r"^DDO (?:(did:\w{2,3}:[0-9a-f]{64}) )?not found",
            "unknown_asset",
            False,
            "The node does not know the asset {0}. Check the DID, or ask a node that serves it.",
        ),
        (
            r"^Cannot find service \S{1,300} in DDO (did:\w{2,3}:[0-9a-f]{64})",
            "unknown_service",
            False,
            "The asset {0} has no such service any more. Refresh the asset and choose again.",
        ),
        (
            r"^Cannot find job with id",
            "unknown_job",
            False,
            "The node does not know this job, or keeps it no longer.",
        ),
        (
            r"is not authorized to get results",
            "not_authorized",
            False,
            "The node gives the results of this job to somebody else only.",
        ),
        (
            r"^Job not found or not running",
            "not_running",
            True,
            "The algorithm is not running now, so there is no live log.",
        ),
    )
)


def explain(reply: Reply) -> OceanError | None:
    """Explain a node's refusal by its words; None leaves it to the status number."""
    for pattern, code, retryable, sentence in _SAYINGS:
        match = pattern.search(reply.text)
        if match is not None:
            said = sentence.format(*(group or "" for group in match.groups()))
            return Rejected(f"{reply.host}: {said}", code=code, retryable=retryable)
    if reply.status == 403:
        return Rejected(f"{reply.host} does not admit this wallet.", code="not_authorized")
    return None


def explain_job(reply: Reply) -> OceanError | None:
    """Explain a refusal about a job. A node that does not know its engine speaks of environments.

    Source: recording 18, exchange 14.
    """
    error = explain(reply)
    if error is not None and error.code == "unknown_environment":
        return Rejected(f"{reply.host}: The node does not know this job.", code="unknown_job")
    return error


def explain_price(reply: Reply) -> OceanError | None:
    """Explain a refusal to name a price. Of a chain that it does not take, a node says that it has no such environment.

    Source: recording 34, exchanges 7 and 9.
    """
    error = explain(reply)
    if error is not None and error.code == "unknown_environment":
        return Rejected(
            f"{reply.host}: The node does not know this environment, or it takes no payment on this chain. Refresh its"
            " environments and choose again.",
            code="unknown_environment",
        )
    return error


def explain_file(reply: Reply) -> OceanError | None:
    """Explain a refusal about a file: a node fails with the words of whoever keeps the file."""
    error = explain(reply)
    if error is None and reply.status in (400, 500) and not reply.is_html:
        return Rejected(f"{reply.host} cannot fetch this file. Check its address.", code="file")
    return error
