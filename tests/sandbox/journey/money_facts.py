"""The durable facts on the way from REQUESTED to RUNNING of a job that costs money; see `facts` for what a fact is."""

from collections.abc import Iterator

from tests.sandbox.journey.facts import Fact
from tests.sandbox.journey.money_ways import CALLS, NODE

# Facts that a job without costs has not.
MONEY_FACTS = {
    "tokens.learn: get_or_create": Fact("What a token is called is known.", way="token not known"),
    "acting._wish: update": Fact("A person's wish to speed a transaction up.", way="a person speeds up"),
    "sending.replace: update 2": Fact(
        "The same number is signed anew; the first version waits at the chain.",
        way="sped up",
        also=("cancelled too late",),
        long=("cancelled too late",),
    ),
    "payments._fail: move NEEDS_ATTENTION": Fact(
        "A job that was paid for in part waits for a person.", way="paid in part"
    ),
    "escrows.claim_due: update": Fact("A look at the escrow is due."),
    "running.pulse: enqueue LOOK_AT_ESCROW": Fact("A look at the escrow is asked for."),
    "escrows._read: update": Fact("What the escrow holds is noted."),
    "settling._note: update": Fact("What the job has cost is noted."),
}

# Facts of what a person wants from a wallet, outside of any job.
ACT_FACTS = {
    "acting.plan_act: enqueue ACT": Fact("A person's wish to take money back.", way="a person withdraws"),
    "acting.claim_acts: update": Fact("Somebody sees to what a person wants.", way="queue lost"),
    "running.pulse: enqueue ACT": Fact("What a person wants is asked for again.", way="queue lost"),
    "sending.prepare: get_or_create": Fact("There is a count of this address's transactions.", way="asked"),
}
ACT_PASSES = {
    "sending.prepare: update 2": Fact("A number is reserved, and the bytes are stored.", way="asked"),
    "sending.send: send": Fact("The chain has paid back; nobody here knows yet.", way="asked"),
    "sending.send: update 3": Fact("The transaction is noted as sent.", way="asked"),
    "sending._end: update": Fact("The transaction is confirmed.", way="asked"),
    "escrows._read: update": Fact("What the escrow holds is noted.", way="asked"),
}

# Facts of a chain that forgets its last blocks after a job has ended.
BLOCK_FACTS = {
    "blocks.claim_due: update": "A look at the last blocks is due.",
    "running.begin_pulse: enqueue CHECK_BLOCKS": "A look at the last blocks is asked for.",
    "blocks._follow: update": "A transaction waits for a block again, and is about to be sent.",
}

# The facts of each transaction that a start needs, and what they mean for one that moves money.
OF_EACH = {
    "sending.prepare: update 2": "A number is reserved, and the bytes are stored with it; nothing was sent.",
    "sending.send: send": "The chain has the transaction; nobody here knows yet.",
    "sending.send: update 3": "A transaction is noted as sent.",
    "sending._end: update": "A transaction is confirmed.",
}
# The others that a paid job passes, as any job with orders does.
PASSED = {
    "payments.turn_to_spend: get_or_create": "There is a count of this address's transactions.",
    "ordering._write: move": "The plan is written down, and it is this job's turn to spend.",
    "payments._paid: move PAID": "All is on the chain: the job is PAID.",
    "starting.begin_start: move STARTING": "The job is STARTING.",
    "starting._send_start.send: record": "The start is written down as sent; it is about to be.",
    "starting._send_start.send: start": "The service has the job, and a node has locked; nobody here knows yet.",
    "starting._accepted: move RUNNING": "The job is RUNNING, with the service's id.",
}
OF_A_WISH = {
    "sending.send: send": Fact(
        "The chain has the second version; nobody here knows yet.", way="sped up", also=("cancelled",)
    ),
    "sending._end: update": Fact("What took its place is mined.", way="cancelled and mined"),
}


def paid_cases() -> Iterator[tuple[str, str, str, int, bool]]:
    """Yield dialect, fact, way, number, and whether it waits for the run that may take longer."""
    for dialect, calls in CALLS.items():
        for name in PASSED:
            yield dialect, name, "plain", 1, False
        for name in OF_EACH:
            for place, call in enumerate(calls, start=1):
                # One of each kind every day: two approvals follow different calls, other calls of a kind are alike.
                again = call != "approval" and call in calls[: place - 1]
                yield dialect, name, "plain", place, again
    for facts in (MONEY_FACTS, OF_A_WISH):
        for name, fact in facts.items():
            for way, nth in fact.cases:
                yield NODE, name, way, nth, way in fact.long
