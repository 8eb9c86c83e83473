"""The durable facts on the way from REQUESTED to RUNNING of a job that needs orders; see `facts` for what a fact is."""

from tests.sandbox.journey.facts import Fact

EACH = (1, 3, 4, 6)  # the first and the last of three dispenses and of three orders
LAST = (3, 6)

ORDER_FACTS = {
    # planned
    "ordering._write: move": Fact(
        "What is to be sent is written down with the orders that it makes, and the orders that are there are taken.",
        also=("orders are there", "orders to be renewed"),
        long=("orders to be renewed",),
    ),
    "starting._not_planned: put_off": Fact("The plan is put off.", way="RPC away while planning"),
    # paid
    "payments.carry_on: renew": Fact("The lease is renewed for another round.", nth=(1, 2, 3), long=(2, 3)),
    "payments.turn_to_spend: get_or_create": Fact("There is a count of this address's transactions."),
    "sending.prepare: update 2": Fact(
        "A number is reserved, and the bytes are stored with it; nothing was sent.", nth=EACH, long=LAST
    ),
    "sending.send: send": Fact(
        "The chain has the transaction; nobody here knows yet.",
        nth=EACH,
        also=("orders to be renewed",),
        long=(*LAST, "orders to be renewed"),
    ),
    "sending.send: update 3": Fact("A transaction is noted as sent.", nth=(1, 4), long=(4,)),
    "sending._end: update": Fact(
        "How a transaction ended is noted: confirmed, refused, without an order in it, or never mined.",
        nth=EACH,
        also=("order reverts", "order is none", "number used by another program"),
        long=LAST,
    ),
    "starting.pay: update": Fact("The job waits for a block.", way="blocks take long"),
    "starting.pay: put_off 2": Fact(
        "The chain did not answer.",
        way="RPC away while paying",
        also=("RPC away with a transaction prepared",),
        long=("RPC away with a transaction prepared",),
    ),
    "payments._paid: move PAID": Fact("All orders are on the chain: the job is PAID."),
    # not paid
    "sending._refused: update": Fact("An order would be refused: it is not sent.", way="order would revert"),
    "payments._fail: move FAILED": Fact("The job has failed for want of an order.", way="order reverts"),
    "sending.plan_one: create": Fact(
        "A token that was spent elsewhere is to be got once more.", way="token spent by another program"
    ),
    "sending._overtaken: update": Fact(
        "Something else was seen with the number.", way="number used by another program"
    ),
    "sending.plan_again: update": Fact("The same is planned anew.", way="number used by another program"),
    # left under way
    "payments.claim_strays: update": Fact(
        "What an ended job has left under way is looked after.",
        way="put aside with a transaction prepared",
        also=("given up with a transaction sent",),
        long=("given up with a transaction sent",),
    ),
    "running.pulse: enqueue SETTLE": Fact(
        "Looking after it is asked for.",
        way="put aside with a transaction prepared",
        also=("given up with a transaction sent",),
        long=("given up with a transaction sent",),
    ),
    # started
    "starting._note_earlier_jobs: update": Fact(
        "What the Provider runs with these orders is known before.", way="orders are there"
    ),
}

# What FACTS has for a free job means more for one with orders.
ORDERED_FACTS = {
    "starting.begin_start: move STARTING": Fact("The job is STARTING."),
    "starting._send_start.send: record": Fact("The start is written down as sent; it is about to be."),
    "starting._send_start.send: start": Fact(
        "The Provider has the job, filed under one of its orders; nobody here knows yet.",
        also=("orders are there",),
    ),
    "starting._accepted: move RUNNING": Fact("The job is RUNNING, with the Provider's id."),
    "starting._end_unstarted: move FAILED": Fact(
        "The Provider has refused the job.", way="order in use at the Provider"
    ),
    "starting._put_aside: move NEEDS_ATTENTION": Fact(
        "The chain has not answered for hours.", way="RPC away for hours"
    ),
    "starting._cancel: move CANCELLED": Fact(
        "Nobody wants the job any more.",
        way="stopped when planned",
        also=(
            "stopped when prepared",
            "stopped when dispensed",
            "stopped when an order is sent",
            "stopped when paid",
        ),
        long=("stopped when prepared", "stopped when dispensed", "stopped when paid"),
    ),
}

# Where a worker falls asleep past its leases, while another one goes on.
FROZEN_ORDERING = {
    "ordering._write: move": Fact("about to prepare"),
    "payments.carry_on: renew": Fact("about to prepare, or to send", nth=(1, 2), long=(2,)),
    "payments.turn_to_spend: get_or_create": Fact("about to work out what is to be sent"),
    "sending.prepare: update 2": Fact("about to go on to the next, or to send", nth=(1, 4), long=(1,)),
    "sending.send: send": Fact("about to note that it was sent", nth=(1, 4), long=(1,)),
    "sending._end: update": Fact("about to go on", nth=(3,)),
    "payments._paid: move PAID": Fact("about to start"),
}
