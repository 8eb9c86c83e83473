"""The records. One module per part of the domain; import them from here."""

from jobs.models.catalogue import Algorithm, Asset, Dataset
from jobs.models.jobs import Job, JobEvent, JobInput, LogChunk, Pulse, Result
from jobs.models.networks import Environment, Network, Node, NodeBudget
from jobs.models.orders import (
    ChainNonce,
    EscrowAccount,
    Order,
    Reconciliation,
    SpendingLimit,
    Token,
    Transaction,
)
from jobs.models.teams import Membership, Team, User
from jobs.models.wallets import NodeToken, NonceLease, Wallet

__all__ = [
    "Algorithm",
    "Asset",
    "ChainNonce",
    "Dataset",
    "Environment",
    "EscrowAccount",
    "Job",
    "JobEvent",
    "JobInput",
    "LogChunk",
    "Membership",
    "Network",
    "Node",
    "NodeBudget",
    "NodeToken",
    "NonceLease",
    "Order",
    "Pulse",
    "Reconciliation",
    "Result",
    "SpendingLimit",
    "Team",
    "Token",
    "Transaction",
    "User",
    "Wallet",
]
