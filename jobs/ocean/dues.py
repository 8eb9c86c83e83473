"""What a service wants to see on the chain before it starts a job: orders, fees inside of them, and money in an escrow."""

from dataclasses import dataclass

from jobs.ocean.units import Address, Wei


@dataclass(frozen=True)
class ProviderFee:
    """What a service wants to be paid inside an order, signed by it: handed to the datatoken contract as it is.

    token: what it is paid in; amount_wei: in that token's smallest unit. valid_until: seconds since the epoch.
    data, r, s: 0x and hexadecimal digits. Source: provider-v4 recording 30.
    """

    address: Address
    token: Address
    amount_wei: Wei
    valid_until: int
    data: str
    v: int
    r: str
    s: str


@dataclass(frozen=True)
class OrderNeed:
    """What a service wants to see on the chain for one asset before it starts a job.

    valid_order: an order that it still takes, "" for none. fee: None where nothing is to be sent; with a valid order the
    fee renews it, without one it goes into a new order. chain_id: where the datatoken is; None where the service does not
    say, and it is the environment's. Source: provider-v4 recordings 30, 31 and 32; ocean-node recording 31, exchange 1.

    A valid order is always the first one, also where its renewal was offered: it is what a renewal names, but without a
    fee a job starts with the transaction that was offered. Source: provider v2.1.6, datatoken.py, verify_order_tx.
    """

    did: str
    service_id: str
    datatoken: Address | None
    valid_order: str
    fee: ProviderFee | None
    chain_id: int | None = None


@dataclass(frozen=True)
class PaymentNeed:
    """What a node wants to find in the escrow before it starts a paid job.

    payee: who locks it and has to be authorised for `amount_wei`, for one lock more, for `min_lock_s` seconds at least.
    amount_wei: for the whole duration that was asked for; what was not used is given back when the node settles, but a
    started minute counts whole. Source: recordings 31, 32 and 34.
    """

    escrow: Address
    payee: Address
    chain_id: int
    token: Address
    amount_wei: Wei
    min_lock_s: int


@dataclass(frozen=True)
class Needs:
    """What has to be on the chain before a start.

    orders: one for each published input, the algorithm's last; empty where none is wanted.
    payment: None where nothing is paid from an escrow.
    """

    orders: tuple[OrderNeed, ...] = ()
    payment: PaymentNeed | None = None
