"""The escrow's answers and events, of both versions of its contract, and those of contracts that are none."""

import json
from typing import Any

import pytest
from eth_abi import encode

from jobs.ocean import escrow
from jobs.ocean.abi import event_topic
from jobs.ocean.errors import BadAnswer
from jobs.ocean.escrow import EVENT_TOPICS, Authorization, EscrowEvent, Funds, Lock
from jobs.ocean.transactions import Log
from jobs.ocean.units import Address, Wei
from tests.ocean.chain_wire import ANY_HASH, asked, chain, result
from tests.ocean.wire import RECORDINGS, account, recording

PAYER, PAYEE = account(2).address, account(9).address
TOKEN = Address("0x5FbDB2315678afecb367f032d93F642f64180aa3")
ESCROW = Address("0xa82fF9aFd8f496c3d6ac40E2a0F282E47488CFc9")
OTHER = Address("0x" + "12" * 20)
JOB = int(recording("31")[7]["response"]["body"]["json"][0]["jobIdHash"], 16)
FIVE, SIX = (
    "(uint256,address,uint256,uint256,address)[]",
    "(uint256,address,uint256,uint256,address,uint256)[]",
)


def noted() -> dict[str, Any]:
    """How the escrow stood right after the start of recording 31."""
    notes = json.loads((RECORDINGS / "31-paid-compute-assets.json").read_text())["notes"]
    return next(note for note in notes if "right after start" in note.get("escrow_state", ""))


def answering(types: list[str], values: list[Any]):
    return chain(result("0x" + encode(types, values).hex()))


def read_locks(client):
    return escrow.locks(client, escrow=ESCROW, payer=PAYER, token=TOKEN, payee=PAYEE)


class TestViews:
    def test_of_funds_name_payer_and_token(self):
        client, wire = answering(["uint256", "uint256"], noted()["funds[available,locked]"])

        assert escrow.funds(client, escrow=ESCROW, payer=PAYER, token=TOKEN) == Funds(
            Wei(0), Wei(11_100 * 10**15)
        )
        assert asked(wire)[1][0]["data"][10:] == PAYER[2:].lower().rjust(64, "0") + TOKEN[2:].lower().rjust(
            64, "0"
        )

    def test_of_an_authorization_find_the_payees(self):
        (told,) = noted()[
            "authorizations[payee,maxLockedAmount,currentLockedAmount,maxLockSeconds,maxLockCounts,currentLocks]"
        ]
        client, _ = answering(
            ["(address,uint256,uint256,uint256,uint256,uint256)[]"], [[(OTHER, 1, 2, 3, 4, 5), tuple(told)]]
        )

        found = escrow.authorization(client, escrow=ESCROW, payer=PAYER, token=TOKEN, payee=PAYEE)

        amount = Wei(11_100 * 10**15)
        assert found == Authorization(PAYEE, amount, amount, 4_200, 1, 1)

    @pytest.mark.parametrize(("kind", "more"), [(FIVE, ()), (SIX, (1_795_331_300,))])
    def test_of_locks_read_both_versions(self, kind, more):
        job, payer, amount, expiry, token = noted()["locks[jobId,payer,amount,expiry,token]"][0]
        client, _ = answering([kind], [[(job, payer, amount, expiry, token, *more)] * 2])

        lock = Lock(JOB, PAYER, TOKEN, Wei(11_100 * 10**15), 1_795_335_500)
        assert read_locks(client) == (lock, lock)

    def test_of_locks_leave_out_other_payers_and_tokens(self):
        client, _ = answering([SIX], [[(1, OTHER, 1, 1, TOKEN, 1), (2, PAYER, 1, 1, OTHER, 1)]])

        assert read_locks(client) == ()

    def test_of_no_locks_are_empty(self):
        client, _ = answering([FIVE], [[]])

        assert read_locks(client) == ()

    @pytest.mark.parametrize(
        "answer",
        [
            b"",
            b"\x00" * 31,
            b"\x00" * 63,
            encode(["uint256", "uint256"], [32, 5]),
            encode(["uint256", "uint256"], [32, 2**255]),
            encode(["uint256"] * 6, [32, 1, 1, 1, 1, 1]),
            encode(["uint256"] * 9, [32, 1, 1, 1, 1, 1, 1, 1, 1]),
            encode(["uint256"] * 7, [2**255, 1, 1, 1, 1, 1, 1]),
            encode(["uint256"] * 7, [32, 1, 1, 2**200, 1, 1, 1]),
        ],
    )
    def test_of_no_escrow_are_bad_answers(self, answer):
        client, _ = chain(result("0x" + answer.hex()))

        with pytest.raises(BadAnswer) as caught:
            read_locks(client)

        assert caught.value.code == "contract"


def recorded_events() -> list[dict[str, Any]]:
    """What the node's indexer noted of the escrow until the claim."""
    said: list[dict[str, Any]] = recording("20")[14]["response"]["body"]["json"]
    return [one for one in said if one["eventType"] != "Auth"]


def log_of(told: dict[str, Any]) -> Log:
    """The log that an indexer must have read a recorded event from. Source: ocean-contracts 3.1.0, Escrow."""
    kind, proof = told["eventType"], bytes.fromhex(told.get("proof", "0x")[2:])
    number = {name: int(told[name]) for name in ("jobId", "amount", "expiry") if name in told}
    payer, payee, token = told["payer"], told.get("payee"), told["token"]
    match kind:
        case "Deposit":
            topics, types, values = [payer], ["address", "uint256"], [token, number["amount"]]
            signature = "Deposit(address,address,uint256)"
        case "Lock":
            types = ["address", "address", "uint256", "uint256", "uint256", "address"]
            topics, values = [], [payer, payee, number["jobId"], number["amount"], number["expiry"], token]
            signature = "Lock(address,address,uint256,uint256,uint256,address)"
        case "Claimed":
            topics, types = [payee, payer], ["uint256", "address", "uint256", "bytes"]
            values = [number["jobId"], token, number["amount"], proof]
            signature = "Claimed(address,uint256,address,address,uint256,bytes)"
        case _:
            raise AssertionError(kind)
    return Log(
        address=ESCROW,
        topics=(event_topic(signature), *(bytes(12) + bytes.fromhex(topic[2:]) for topic in topics)),
        data=encode(types, values),
        tx_hash=told["txHash"],
        block_number=told["block"],
    )


class TestEvents:
    def test_are_those_that_an_indexer_noted(self):
        told = recorded_events()

        events = escrow.events_in([log_of(one) for one in told], escrow=ESCROW)

        assert [event.kind.capitalize() for event in events] == [one["eventType"] for one in told]
        assert {"Deposit", "Lock", "Claimed"} <= {one["eventType"] for one in told}
        for event, one in zip(events, told, strict=True):
            assert event.payer == Address.parse(one["payer"])
            assert event.token == Address.parse(one["token"])
            assert event.amount_wei == int(one["amount"])
            assert event.job_id == (int(one["jobId"]) if "jobId" in one else None)
            assert event.lock_s == (int(one["expiry"]) if "expiry" in one else None)
            assert (event.tx_hash, event.block_number) == (one["txHash"], one["block"])

    @pytest.mark.parametrize(
        "changes",
        [
            {"address": OTHER},
            {"topics": ()},
            {"topics": (event_topic("Auth(address,address,address,uint256,uint256,uint256)"),)},
            {"topics": (EVENT_TOPICS[0],)},
            {"topics": (EVENT_TOPICS[0], b"\xff" * 32)},
            {"topics": (EVENT_TOPICS[0], bytes(32), bytes(32))},
            {"data": b""},
            {"data": b"\xff" * 64},
        ],
    )
    def test_leave_out_what_is_none(self, changes):
        good = log_of(next(one for one in recorded_events() if one["eventType"] == "Deposit"))

        assert escrow.events_in([Log(**{**vars(good), **changes})], escrow=ESCROW) == ()

    def test_of_a_withdrawal_and_a_cancelled_lock(self):
        words = [bytes(12) + bytes.fromhex(address[2:]) for address in (PAYER, PAYEE)]
        taken = Log(
            ESCROW,
            (event_topic("Withdraw(address,address,uint256)"), words[0]),
            encode(["address", "uint256"], [TOKEN, 5]),
        )
        freed = Log(
            ESCROW,
            (event_topic("Canceled(address,uint256,address,address,uint256)"), words[1], words[0]),
            encode(["uint256", "address", "uint256"], [JOB, TOKEN, 6]),
            tx_hash=ANY_HASH,
        )

        assert escrow.events_in([taken, freed], escrow=ESCROW) == (
            EscrowEvent("withdraw", PAYER, TOKEN, Wei(5)),
            EscrowEvent("canceled", PAYER, TOKEN, Wei(6), payee=PAYEE, job_id=JOB, tx_hash=ANY_HASH),
        )
