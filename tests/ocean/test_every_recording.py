"""Every exchange of every recording: sent by the client field by field and its answer understood, or named as unused."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

import pytest

from jobs.ocean.errors import BadAnswer, OceanError, Refused, Rejected
from jobs.ocean.signing import Pen
from tests.ocean.replay import Act, listed_entry, producing, read_log, read_result, start_request
from tests.ocean.wire import Answer, account, exchanges, node, recording

GOOD = "good"
OWNER = account(1)
DID = "did:op:" + "0" * 64

# Scenario, exchange: the code of the error that the answer is. Whatever is not named here must be understood.
REFUSALS = {
    ("14", 2): "not_running",
    ("14", 12): "not_running",
    **{("15", seq): "token" for seq in (11, 14, 22, 26, 28, 30)},
    **{("15", seq): "not_authorized" for seq in (12, 16, 20)},
    **{("15", seq): "signature" for seq in (13, 31)},
    ("15", 32): "nonce",
    ("15", 33): "bad_request",
    **{("16", seq): "unknown_job" for seq in (10, 14)},
    **{("16", seq): "server_error" for seq in (13, 15, 18)},
    **{("16", seq): "bad_request" for seq in (24, 25)},
    **{("17", seq): "bad_request" for seq in (1, 2, 3, 4, 5, 6, 27, 28)},
    **{("17", seq): "signature" for seq in (7, 8, 9, 10, 11)},
    **{("17", seq): "nonce" for seq in (12, 13)},
    **{("17", seq): "unknown_environment" for seq in (14, 15, 16)},
    **{("17", seq): "too_many_resources" for seq in (17, 18, 19)},
    **{("17", seq): "image" for seq in (20, 21, 22, 23, 24)},
    ("17", 25): "metadata_too_large",
    ("17", 26): "unknown_asset",
    ("17", 29): "too_large",
    **{("18", seq): "result_missing" for seq in (3, 9)},
    **{("18", seq): "bad_request" for seq in (10, 11, 12, 16, 29)},
    **{("18", seq): "unknown_job" for seq in (13, 14, 15, 28, 30, 33)},
    **{("18", seq): "not_authorized" for seq in (17, 22, 25)},
    **{("18", seq): "signature" for seq in (18, 19, 24)},
    ("18", 21): "nonce",
    **{("18", seq): "not_running" for seq in (26, 27)},
    **{("18", seq): "server_error" for seq in (31, 32, 34, 35)},
    ("22", 8): "signature",
    ("24", 4): "busy",
    **{("25", seq): "rate_limited" for seq in (10, 11, 12)},
    ("26", 9): "signature",
    ("26", 11): "unknown_job",
    ("26", 15): "nonce",
    ("26", 19): "not_authorized",
    ("28", 1): "signature",
    **{("28", seq): "unknown_job" for seq in (2, 3)},
    **{("30", seq): "unknown_asset" for seq in (13, 14, 16)},
    **{("30", seq): "bad_request" for seq in (15, 17)},
    **{("31", seq): "escrow_funds" for seq in (2, 8)},
    ("31", 3): "escrow_auth",
    ("31", 4): "escrow_lock_time",
    ("31", 5): "escrow_limit",
    ("32", 1): "unpublished",
    ("33", 1): "not_trusted",
    ("33", 2): "raw_not_allowed",
    **{("33", seq): "order_missing" for seq in (4, 5)},
    **{("33", seq): "order_invalid" for seq in (6, 7, 40)},
    ("33", 8): "unknown_service",
    ("33", 9): "unknown_asset",
    **{("33", seq): "token_not_accepted" for seq in (10, 11, 12)},
    ("33", 13): "server_error",
    ("33", 14): "too_many_resources",
    **{("33", seq): "bad_request" for seq in (15, 16)},
    ("33", 17): "unknown_environment",
    ("33", 18): "escrow_funds",
    ("33", 41): "image",
    **{("34", seq): "bad_request" for seq in (2, 3, 4, 5, 6, 15, 22)},
    **{("34", seq): "unknown_environment" for seq in (7, 9)},
    ("34", 8): "token_not_accepted",
    ("34", 10): "too_many_resources",
    ("34", 17): "unpublished",
    **{("34", seq): "unknown_asset" for seq in (18, 20)},
    ("34", 19): "not_trusted",
}

# Answers that no call of ours understands, because none asks for them.
ESCROW_EVENTS = "what an escrow noted is read from the chain itself"
UNPRICED = "files by their address have no price and are left out of the question for one"
WHOLE_QUESTION = "the question for a price has all its fields"
PUBLISHING = "the publisher's own call, which seals files and documents"
COMMAND_TWIN = "the same question goes to its own route, in the same words"
NO_SUCH_ROUTE = "a route that no client asks for"


@dataclass(frozen=True)
class Unused:
    """Requests that the client does not send, and why. read: whether it understands their answers all the same."""

    number: str
    seqs: Iterable[int]
    reason: str
    read: bool = True


UNUSED = (
    Unused("01", (3, 4), "a nonce is asked for by an address, and what is none is no Address"),
    Unused("01", (6, 7), "the client reads all environments; who asks for a chain chooses among them"),
    Unused("15", (12,), "every proof names its address"),
    Unused("15", (13, 33), "a call without any proof cannot be said"),
    Unused("15", (31, 34), "signed wrongly on purpose"),
    Unused("16", (9, 10), "a job is asked for by its id alone; the caller compares the owner"),
    Unused("16", (12, 13), "an Address is checksummed, and what is none is no Address"),
    Unused("16", (16,), "a job is asked for by its long id"),
    Unused("16", (17,), "a node's jobs have no agreement; the filter is Provider's"),
    Unused("16", (18,), "a status question names a job or an owner"),
    Unused("16", (19, 20, 22), COMMAND_TWIN, read=False),
    Unused("16", (24, 25), "the client sends known commands, in JSON"),
    Unused("17", (1, 2, 3, 4, 5, 6), "a start has all its fields, and an Address"),
    Unused("17", (7, 8), "a start has its whole proof"),
    Unused("17", (9, 10, 11), "signed wrongly on purpose"),
    Unused("17", (23, 24), "code and addresses come with their container"),
    Unused("17", (25,), "refused by the client before it is sent"),
    Unused("17", (29,), "refused by the client before it is sent; the recording keeps but the begin of it"),
    Unused("17", (27, 28), "a body is JSON and says so"),
    Unused("17", (30, 31), NO_SUCH_ROUTE, read=False),
    Unused("18", (10, 11, 12), "a result is asked for by its place in the list"),
    Unused("18", (16, 29, 32), "these calls name a job"),
    Unused("18", (18, 19, 34), "signed wrongly on purpose"),
    Unused("18", (24,), "a nonce is a whole number"),
    Unused("18", (25,), "an Address is checksummed"),
    Unused("18", (35,), "a stop is asked for in the query, where a node reads it"),
    Unused("20", (14,), ESCROW_EVENTS, read=False),
    Unused("22", (8,), "all 32 bytes were signed where the first is zero (recording 28)"),
    Unused("26", (9,), "signed wrongly on purpose"),
    Unused("26", (21,), "an Address is checksummed"),
    Unused("28", (1,), "all 32 bytes were signed where the first is zero"),
    Unused("30", range(1, 10), PUBLISHING, read=False),
    Unused("30", (11,), "the same document is asked for by the ddo route"),
    Unused("30", (13,), "the publisher's own question, by his transaction"),
    Unused("30", (15, 17), "assets are asked for by their DID"),
    Unused("30", (19,), "the search has two languages; the client speaks the other one"),
    Unused("30", (20,), "a search names a kind that there is, and how many hits are wanted"),
    Unused("31", (19,), ESCROW_EVENTS, read=False),
    Unused("32", (1,), UNPRICED),
    Unused("32", (3,), "the recorder kept the body of exchange 15 for it, without the proof that was sent"),
    Unused("33", (11,), "an Address is checksummed, which is how a node spells its tokens"),
    Unused("33", (13,), "a start without a payment is a free one"),
    Unused("33", (15,), "refused by the client before it is sent: a paid job has a longest duration"),
    Unused("34", (2, 3, 4, 5, 6), WHOLE_QUESTION),
    Unused("34", (17,), UNPRICED),
    Unused("34", (22,), "a body is JSON and says so"),
)
NAMED = {(unused.number, seq): unused for unused in UNUSED for seq in unused.seqs}
EVERY = [pytest.param(number, exchange, id=f"{number}-{exchange['seq']}") for number, exchange in exchanges()]
READ_THOUGH_UNUSED = [
    pytest.param(number, recording(number)[seq], id=f"{number}-{seq}")
    for (number, seq), unused in NAMED.items()
    if unused.read
]


def outcome(act: Act, exchange: dict) -> str:
    """Let the client read the recorded answer; GOOD, or the code of the error, whose sentence is checked."""
    client, wire = node(Answer.recorded(exchange))
    try:
        act(client)
    except OceanError as error:
        assert isinstance(error, Rejected | BadAnswer)
        assert_for_people(error)
        return error.code
    assert len(wire.sent) == 1
    return GOOD


def assert_for_people(error: OceanError) -> None:
    """A sentence or some: whole, short, no secret, neither our code nor a status number."""
    sentence = error.message
    assert sentence.endswith(".")
    assert 20 < len(sentence) < 400
    assert "0x" not in sentence
    assert not re.search(r"[a-z]_[a-z]|HTTP", sentence)


class TestEveryExchange:
    @pytest.mark.parametrize(("number", "exchange"), EVERY)
    def test_is_sent_and_understood_or_named_as_unused(self, number, exchange):
        act = producing(number, exchange)
        unused = NAMED.get((number, exchange["seq"]))

        if unused is not None:
            assert act is None, f"The client sends this now; it is no more unused: {unused.reason}."
            return
        assert act is not None, "The client cannot send this, and no reason is given."
        assert outcome(act, exchange) == REFUSALS.get((number, exchange["seq"]), GOOD)

    @pytest.mark.parametrize(("number", "exchange"), READ_THOUGH_UNUSED)
    def test_that_is_unused_is_understood_where_a_call_may_meet_its_answer(self, number, exchange):
        assert outcome(reading(number, exchange), exchange) == REFUSALS.get((number, exchange["seq"]), GOOD)


class TestTables:
    def test_name_each_exchange_once(self):
        named = [(unused.number, seq) for unused in UNUSED for seq in unused.seqs]

        assert len(named) == len(set(named))

    def test_name_recorded_exchanges_alone(self):
        known = {(number, exchange["seq"]) for number, exchange in exchanges()}

        assert set(NAMED) <= known
        assert set(REFUSALS) <= known - {key for key, unused in NAMED.items() if not unused.read}

    def test_leave_most_exchanges_to_the_client(self):
        assert len(EVERY) - len(NAMED) > 350

    def test_give_reasons_that_say_something(self):
        assert all(len(unused.reason.split()) > 3 for unused in UNUSED)


class TestTooLargeStarts:
    """What the recorded client sent and was refused, ours does not send (recording 17, exchanges 25 and 29)."""

    def test_are_refused_for_their_note_by_the_number_of_characters(self):
        start = start_request(recording("17")[25]["request"]["body"])
        client, wire = node(Answer.json([]))

        with pytest.raises(Refused, match="1,108 characters; a node takes 1,024") as caught:
            client.start(request=start, proof=Pen(OWNER, nonce=1))

        assert caught.value.code == "metadata_too_large"
        assert wire.sent == []
        assert_for_people(caught.value)

    def test_are_refused_for_their_code_by_the_number_of_bytes(self):
        start = start_request(recording("17")[29]["request"]["body"])
        client, wire = node(Answer.json([]))

        with pytest.raises(Refused, match=r"200,\d{3} bytes long; a node takes 102,400 \(100 kB\)") as caught:
            client.start(request=start, proof=Pen(OWNER, nonce=1))

        assert caught.value.code == "too_large"
        assert wire.sent == []
        assert_for_people(caught.value)


def reading(number: str, exchange: dict) -> Act:
    """The call that would meet this answer, whatever it sends itself."""
    request = exchange["request"]
    result = Pen(OWNER, nonce=1)
    proof_of_token = Pen(OWNER, nonce=1)
    match request["method"], request["path"]:
        case "GET", "/api/services/nonce":
            return lambda client: client.nonce(address=OWNER.address)
        case "GET", "/api/services/computeEnvironments":
            return lambda client: client.environments()
        case "POST", "/api/services/freeCompute":
            start = start_request(recording("10")[2]["request"]["body"])
            return lambda client: client.start(request=start, proof=Pen(OWNER, nonce=1))
        case "POST", "/api/services/compute":
            start = start_request(recording("31")[7]["request"]["body"])
            return lambda client: client.start(request=start, proof=Pen(OWNER, nonce=1))
        case "POST", "/api/services/initializeCompute":
            start = start_request(recording("31")[7]["request"]["body"])
            return lambda client: client.initialize(
                request=start, consumer=account(9).address, payer=OWNER.address, valid_until=1
            )
        case "GET", "/api/services/compute" if "jobId" in request["query"]:
            return lambda client: client.job(job_id=request["query"]["jobId"])
        case "GET", "/api/services/compute":
            return lambda client: client.jobs_of(owner=OWNER.address)
        case "PUT", "/api/services/compute":
            return lambda client: client.stop(job_id="0x60-1", proof=Pen(OWNER, nonce=1))
        case "GET", "/api/services/computeResult":
            entry = listed_entry("10", recording("10")[12])
            return lambda client: read_result(client, entry, job_id="0x60-1", proof=result)
        case "GET", "/api/services/computeStreamableLogs":
            return lambda client: read_log(client, job_id="0x60-1", proof=result)
        case "POST", "/api/services/auth/token":
            return lambda client: client.create_token(proof=proof_of_token)
        case "POST", "/api/services/auth/token/invalidate":
            return lambda client: client.invalidate_token(proof=proof_of_token, token="t")
        case "POST", "/directCommand":
            return lambda client: client.status()
        case "POST", "/api/aquarius/assets/metadata/query":
            return lambda client: client.search_assets()
        case "GET", "/api/aquarius/state/ddo":
            return lambda client: client.asset_state(did=DID)
        case "GET", path if path.startswith("/api/aquarius/assets/"):
            return lambda client: client.get_ddo(did=DID)
    raise AssertionError(f"no call of ours meets {request['method']} {request['path']}")
