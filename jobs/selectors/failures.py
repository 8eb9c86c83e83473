"""What to do next, by the reason that a job ended for; beside the buttons to run it again."""

from __future__ import annotations

from dataclasses import dataclass

from jobs.selectors.logs import LogLine

UNTOLD = "exit_unknown"  # Source of the word: jobs.ocean.compute.verdict

_OPERATOR = "The node's operator may know more; run it again later."
_MISTRUST = "Nothing was paid. Do not launch there again before its operator has explained this."
_AGREE = "Run it again: the launch page shows the price as it is now, and the job pays no more than you agree to there."
_CLAIMED = "Nothing was started, and nothing was locked. Run it again: the portal lets the node lock what it asks for anew."
_REFRESH = "Read the asset again in the catalogue, then run the job with changes."
NEXT = {
    "queue_expired": "Run it again when the environment is less busy, or let it wait longer in the queue.",
    "busy": "Run it again when there is room; where the environment has a queue, with a queue wait.",
    "image_pull": "Ask the algorithm's publisher whether the image is still there under this name.",
    "image_build": "Ask the algorithm's publisher; the image log below says what went wrong.",
    "data_provisioning": "Ask the dataset's publisher whether the file is there; see the configuration log.",
    "algorithm_provisioning": "Ask the algorithm's publisher; the configuration log says why.",
    "exit_code": "The last lines of the log usually say why. Then correct the parameters or the data.",
    "oom": "Use a smaller dataset, or an environment that gives a job more memory.",
    "time_limit": "Run it again with a longer duration, if the environment allows one.",
    "disk_quota": "Let the algorithm write less, or use an environment that gives a job more disk.",
    "never_ended": "Tell the node's operator: the job may still run there.",
    "given_up": "",
    # What a Provider, or the chain, said before anything ran.
    "order_invalid": "Run it again: the portal orders anew what is no longer accepted.",
    "order_in_use": "Wait until the other job with the same order has ended, then run it again; or use another wallet.",
    "fees_not_paid": "Run it again: the portal asks for the price anew and renews the order.",
    "valid_until": "Run it again: the portal orders for a later time.",
    "not_trusted": "Ask the dataset's publisher to list the algorithm, or choose one that is listed.",
    "algorithm_changed": "Ask the dataset's publisher to list the algorithm again as it is now.",
    "raw_not_allowed": "Publish the code as an algorithm and ask the dataset's publisher to list it.",
    "asset_disabled": "Ask its publisher, or choose another asset.",
    "not_allowed": "Ask its publisher to let this wallet use it, or launch with a wallet that may.",
    "denied": "Ask its publisher, or launch with another wallet.",
    "file": "Ask its publisher whether the file is still there, then run the job again.",
    "image": "Give the container its entry point, image and checksum, then run it with changes.",
    "unknown_asset": _REFRESH,
    "unknown_service": _REFRESH,
    "not_computable": _REFRESH,
    "not_algorithm": _REFRESH,
    "other_provider": "Ask an operator to add the node that the asset names, then read the asset again.",
    "no_compute": "This node runs no jobs at all. Choose data that another one serves.",
    "unknown_environment": "Choose another environment and run it with changes.",
    "insufficient_funds": "Send the wallet what the sentence says is missing, then run the job again. Nothing was sent.",
    "reverted": "Nothing but gas was spent. Run it again; if it ends the same way, ask the asset's publisher.",
    "dispenser": "Ask the asset's publisher to open or refill its dispenser, or get a datatoken in another way.",
    "no_chain": "An operator enters the network's RPC endpoint in the admin; then run the job again.",
    "no_network": "An operator adds the network of the environment's chain in the admin; then run the job again.",
    "wrong_chain": "An operator corrects the network's RPC endpoint in the admin: it belongs to another chain.",
    "chain_answer": "The network's RPC endpoint may be ill: run it again later, or ask an operator to look at it.",
    "gas_too_high": "Run it again when the chain is less busy.",
    "no_datatoken": "Ask the asset's publisher for a datatoken, or to open a dispenser that gives them away.",
    "unexpected_fee": "Nothing was paid. Choose an environment that is free, or ask the service's operator.",
    # What stops a paid start before its first transaction.
    "not_agreed": _AGREE,
    "price_changed": _AGREE,
    "price_outdated": _AGREE,
    "over_limit": "An owner raises the wallet's limit, or the job takes fewer resources or less time. Nothing was paid.",
    "datatoken_gone": "Run it again: the launch page shows what the datatoken costs now.",
    "partly_paid": "What was ordered is in the ledger, and the next launch of the same uses it again.",
    "transaction_cancelled": "Nothing but gas was spent. Run it again when the chain is less busy.",
    "token_not_taken": "Choose a token that the environment takes, on the launch page.",
    "token_not_accepted": "Choose a token that the environment takes, on the launch page.",
    "lock_time": "Nothing was paid. Choose another environment, or ask the node's operator why it locks money for so long.",
    "old_block": "Nothing was sent. The network's RPC endpoint lags behind: run it again in some minutes.",
    "escrow": "Nothing was paid. Ask an operator: only the contracts named for the network in the admin are paid.",
    "contract": "Nothing was paid. Ask an operator: only the contracts named for the network in the admin are paid.",
    "payee": _MISTRUST,
    "payment": _MISTRUST,
    "escrow_funds": "Run it again: the portal pays into the escrow what is missing by then. Other jobs may have locked it.",
    "escrow_auth": _CLAIMED,
    "escrow_lock_time": _CLAIMED,
    "escrow_limit": _CLAIMED,
    "escrow_locks": _CLAIMED,
    "order_missing": "Run it again: the portal orders what the service wants.",
    "unpublished": "A paid job needs a published dataset: choose one.",
    "no_paid_environment": "Choose another environment on the launch page, or run it for free.",
    "replaced": "",
    "datatoken": _MISTRUST,
    "fee": _MISTRUST,
    "fee_signature": _MISTRUST,
    "initialize": _OPERATOR,
    "orders": _OPERATOR,
    "endpoint": "An operator looks in the admin at what the node says of itself; its software may be another one.",
    "signature": _OPERATOR,
    "token": _OPERATOR,
    "too_many_resources": "Choose an environment that gives a job more.",
    "node_forgot": "Run it again: its results are gone at the node, and what the portal has is kept here.",
}
_OTHERWISE = "Run it again; if it fails the same way, the node's operator may know more."

# What a person can do about a job that waits for a decision, beside its buttons.
WAITING = {
    "price_changed": "Launch it elsewhere, or in the same place, at a price that you see: what was ordered is used again.",
    "not_agreed": "Launch it elsewhere, or in the same place, at a price that you see: what was ordered is used again.",
    "insufficient_funds": "Send the wallet what is missing first, then let it go on.",
    "over_limit": "An owner can raise the wallet's limit; then let it go on.",
    "gas_too_high": "Let it go on when the chain is less busy.",
    "no_chain": "An operator enters the network's RPC endpoint in the admin; then let it go on.",
    "wrong_chain": "An operator corrects the network's RPC endpoint in the admin; then let it go on.",
    "datatoken_gone": "“Go on” works the price out again; it pays no more than was agreed to.",
    "busy": "Let it go on when there is room.",
}
_WALLETS, _ESCROW, _FIND = (
    ("wallets", "Wallets and their limits"),
    ("escrow", "Escrow"),
    ("environments", "Environments"),
)
# Where something can be done about it: the name of a page, and what its link says.
PLACES = {
    **dict.fromkeys(("insufficient_funds", "over_limit"), _WALLETS),
    **dict.fromkeys(
        ("escrow_funds", "escrow_auth", "escrow_limit", "escrow_locks", "escrow_lock_time"), _ESCROW
    ),
    **dict.fromkeys(
        ("token_not_taken", "token_not_accepted", "busy", "unknown_environment", "lock_time"), _FIND
    ),
    **dict.fromkeys(("unknown_asset", "unknown_service", "not_trusted"), ("catalogue", "Catalogue")),
}


@dataclass(frozen=True)
class Failure:
    """What happened, what the algorithm said last, and what to do. place: a page's name and what its link says."""

    sentence: str
    reason: str
    lines: tuple[LogLine, ...]
    next: str
    place: tuple[str, str] | None


def next_step(reason: str) -> str:
    """Say what to do about a job that ended for this reason."""
    return NEXT.get(reason, _OTHERWISE)


def waiting_step(reason: str) -> str:
    """Say what to do about a job that waits for a decision, for this reason; "" where the buttons say it all."""
    return WAITING.get(reason, "")


def place_of(reason: str) -> tuple[str, str] | None:
    """Return the page where something can be done about it: its name, and what a link to it says."""
    return PLACES.get(reason)
