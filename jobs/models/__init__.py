"""The records. One module per part of the domain; import them from here."""

from jobs.models.audit import Act, AuditEntry, AuditHead
from jobs.models.catalogue import Algorithm, Asset, Dataset
from jobs.models.jobs import Job, JobEvent, JobInput, LogChunk, Pulse, Result
from jobs.models.letters import Letter
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
from jobs.models.sharing import ShareLink
from jobs.models.teams import Invitation, Membership, Team, User
from jobs.models.wallets import Balance, BalanceLook, NodeToken, NonceLease, Wallet, WalletGrant

__all__ = [
    "Act",
    "Algorithm",
    "Asset",
    "AuditEntry",
    "AuditHead",
    "Balance",
    "BalanceLook",
    "ChainNonce",
    "Dataset",
    "Environment",
    "EscrowAccount",
    "Invitation",
    "Job",
    "JobEvent",
    "JobInput",
    "Letter",
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
    "ShareLink",
    "SpendingLimit",
    "Team",
    "Token",
    "Transaction",
    "User",
    "Wallet",
    "WalletGrant",
]
