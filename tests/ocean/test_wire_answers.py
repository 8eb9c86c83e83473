"""What is made of answers, good, bad and odd ones. Every recorded answer: test_every_recording."""

from contextlib import nullcontext

import pytest

from jobs.ocean import signing
from jobs.ocean.compute import JobReport, ResultEntry
from jobs.ocean.errors import BadAnswer, OceanError, Rejected, Unreachable
from jobs.ocean.node import OceanNode
from jobs.ocean.signing import Pen, Token
from jobs.ocean.transport import Transport
from jobs.ocean.units import Address
from tests.ocean.replay import read_log, read_result
from tests.ocean.test_wire_requests import start_request
from tests.ocean.wire import Answer, FakeWire, account, node, recorded_body, recording, transport

OWNER = account(1)
START = Pen(OWNER, nonce=1)
STOP = Pen(OWNER, nonce=1)
RESULT = Pen(OWNER, nonce=1)
LOGS = Pen(OWNER, nonce=1)
TOKEN = Pen(OWNER, nonce=1)
UNLISTED = ResultEntry(index=0, name="x", kind="output", size=None)


def fetched(client: OceanNode, entry: ResultEntry) -> bytes:
    return read_result(client, entry, job_id="0x60-1", proof=RESULT)


def followed(client: OceanNode) -> list:
    return read_log(client, job_id="0x60-1", proof=LOGS)


class TestRefusals:
    @pytest.mark.parametrize(
        ("number", "seq", "retryable", "maybe_happened"),
        [
            ("24", 4, True, False),  # busy
            ("17", 12, True, False),  # nonce
            ("17", 14, False, False),  # unknown environment, although it is a 500
            ("17", 21, False, False),  # image, although it is a 500
            ("17", 9, False, False),  # signature
            ("17", 29, False, False),  # too large
            ("18", 34, True, True),  # a stop that says nothing
        ],
    )
    def test_say_whether_they_may_pass_and_whether_it_happened(self, number, seq, retryable, maybe_happened):
        exchange = recording(number)[seq]
        client, _ = node(Answer.recorded(exchange))

        with pytest.raises(Rejected) as caught:
            if exchange["request"]["method"] == "PUT":
                client.stop(job_id="0x60-1", proof=STOP)
            else:
                client.start(request=start_request(), proof=START)

        assert (caught.value.retryable, caught.value.maybe_happened) == (retryable, maybe_happened)

    def test_of_the_rate_limit_say_how_long_to_wait(self):
        client, _ = node(Answer.recorded(recording("25")[10]))

        with pytest.raises(Rejected) as caught:
            client.nonce(address=OWNER.address)

        assert caught.value.retry_after_s == 60
        assert caught.value.retryable

    def test_never_quote_what_a_node_repeats(self):
        secret = signing.prove_start_free(START.signer, nonce=START.nonce).signature
        client, _ = node(Answer.json(f"Parameter signature {secret} is bad", 400))

        with pytest.raises(Rejected) as caught:
            client.start(request=start_request(), proof=START)

        assert secret not in caught.value.message

    def test_name_the_resource_and_its_limit(self):
        exchange = recording("17")[18]
        client, _ = node(Answer.recorded(exchange))

        with pytest.raises(Rejected, match="at most 2 of ram; 64 was asked for"):
            client.start(request=start_request(), proof=START)

    @pytest.mark.parametrize("status", [500, 502, 503, 504])
    def test_without_known_words_may_have_happened_when_it_was_a_write(self, status):
        client, _ = node(Answer.text("upstream broke", status))

        with pytest.raises(Rejected) as caught:
            client.start(request=start_request(), proof=START)

        assert caught.value.maybe_happened
        assert caught.value.retryable

    def test_are_not_read_out_of_web_pages(self):
        client, _ = node(Answer.text("<html>signature mismatch</html>", 404))

        with pytest.raises(BadAnswer) as caught:
            client.start(request=start_request(), proof=START)

        assert caught.value.code == "html_page"

    def test_by_403_are_not_authorized(self):
        client, _ = node(Answer.text("no", 403))

        with pytest.raises(Rejected) as caught:
            client.start(request=start_request(), proof=START)

        assert caught.value.code == "not_authorized"


class TestIdentify:
    @pytest.mark.parametrize(
        "answer",
        [
            {},
            [],
            {"software": "Provider"},
            {"software": "Ocean-Node"},
            {"software": "Ocean-Node", "providerAddress": 1},
        ],
    )
    def test_refuses_what_is_no_ocean_node(self, answer):
        client, _ = node(Answer.json(answer))

        with pytest.raises(BadAnswer) as caught:
            client.identify()

        assert caught.value.code == "not_a_node"

    def test_gives_address_and_chains(self):
        client, _ = node(Answer.recorded(recording("01")[1]))

        identity = client.identify()

        assert identity.address == account(9).address
        assert identity.chain_ids == (8996,)


class TestNonce:
    @pytest.mark.parametrize(("sent", "nonce"), [("0", 0), (0, 0), ("1795330880771", 1795330880771), (5, 5)])
    def test_is_read_as_text_or_number(self, sent, nonce):
        client, _ = node(Answer.json({"nonce": sent}))

        assert client.nonce(address=OWNER.address) == nonce

    @pytest.mark.parametrize("sent", [None, True, "", "-1", "1.5", "x", 10**30, {}, "٣"])
    def test_that_is_no_number_is_a_bad_answer(self, sent):
        client, _ = node(Answer.json({"nonce": sent}))

        with pytest.raises(BadAnswer) as caught:
            client.nonce(address=OWNER.address)

        assert caught.value.code == "nonce_answer"


class TestStartFree:
    def test_gives_the_long_and_the_short_id(self):
        exchange = recording("33")[42]
        client, _ = node(Answer.recorded(exchange))

        report = client.start(request=start_request(), proof=START)

        sent = exchange["response"]["body"]["json"][0]["jobId"]
        assert report.long_id == sent
        assert sent.endswith("-" + report.job_id)
        assert report.status == 10
        assert not report.ended

    @pytest.mark.parametrize("answer", [[], [{}], {}, "ok", None, [1], [{"jobId": "a"}]])
    def test_may_have_happened_when_the_answer_cannot_be_read(self, answer):
        client, _ = node(Answer.json(answer))

        with pytest.raises(BadAnswer) as caught:
            client.start(request=start_request(), proof=START)

        assert caught.value.maybe_happened


class TestJobs:
    def test_of_others_are_dropped(self):
        mine, theirs = dict(job()), {**job(), "owner": account(2).address}
        client, _ = node(Answer.json([mine, theirs]))

        reports = client.jobs_of(owner=Address(mine["owner"]))

        assert [report.owner for report in reports] == [mine["owner"]]
        assert reports.skipped == 0

    def test_that_are_malformed_are_counted_and_do_not_hide_the_others(self):
        good = job()
        broken = [{**good, "status": "40"}, {**good, "results": [{"index": -1}]}, 7, {**good, "jobId": None}]
        client, _ = node(Answer.json([broken[0], good, *broken[1:]]))

        reports = client.jobs_of(owner=Address(good["owner"]))

        assert len(reports) == 1
        assert reports.skipped == 4

    def test_that_are_all_malformed_are_a_bad_answer_and_not_an_empty_list(self):
        client, _ = node(Answer.json([{**job(), "status": "40"}]))

        with pytest.raises(BadAnswer, match="status"):
            client.jobs_of(owner=OWNER.address)

    def test_are_at_most_five_thousand(self):
        client, _ = node(
            Answer.json(
                [{"jobId": "1-a", "environment": "1-b", "owner": account(1).address, "status": 1}] * 5_010
            )
        )

        reports = client.jobs_of(owner=OWNER.address)

        assert len(reports) == 5_000
        assert reports.skipped == 10

    def test_get_their_long_id_back_from_the_environment(self):
        started = recording("10")[2]["response"]["body"]["json"][0]["jobId"]
        client, _ = node(Answer.recorded(recording("10")[3]))

        report = client.job(job_id=started)

        assert report.long_id == started

    def test_carry_the_tag_of_their_start(self):
        report = JobReport.model_validate(
            {**job(), "job_id": "a", "long_id": "1-a", "metadata": {"tag": "6f2c"}}
        )

        assert report.tag == "6f2c"
        assert (
            JobReport.model_validate({**job(), "job_id": "a", "long_id": "1-a", "metadata": "x"}).tag is None
        )

    def test_of_another_id_than_asked_are_unknown(self):
        client, _ = node(Answer.json([job()]))

        with pytest.raises(Rejected) as caught:
            client.job(job_id="0x60-ffff")

        assert caught.value.code == "unknown_job"


class TestOpenResult:
    def test_gives_the_recorded_bytes(self):
        exchange = recording("10")[12]
        client, _ = node(Answer.recorded(exchange))

        data = fetched(client, ResultEntry(index=3, name="outputs.tar", kind="output", size=2560))

        assert data == recorded_body(exchange["response"])
        assert len(data) == 2560

    def test_takes_the_frames_off_an_algorithm_log(self):
        client, _ = node(Answer.recorded(recording("10")[11]))

        data = fetched(client, ResultEntry(index=2, name="algorithm.log", kind="algorithmLog", size=36))

        assert data == b"to stdout\nto stderr\n"

    def test_raises_when_less_comes_than_was_listed(self):
        client, _ = node(Answer(b"12345"))

        with pytest.raises(BadAnswer) as caught:
            fetched(client, ResultEntry(index=0, name="a", kind="output", size=6))

        assert caught.value.code == "result_incomplete"

    def test_takes_a_log_that_has_grown_since(self):
        client, _ = node(Answer(b"12345"))

        assert fetched(client, ResultEntry(index=0, name="a", kind="imageLog", size=4)) == b"12345"

    def test_takes_an_empty_file_that_was_listed_as_empty(self):
        client, _ = node(Answer(b""))

        assert fetched(client, ResultEntry(index=0, name="a", kind="output", size=0)) == b""


class TestStreamLog:
    def test_gives_the_recorded_lines(self):
        client, _ = node(Answer.recorded(recording("14")[10]))

        pieces = followed(client)

        assert len(pieces) == 1, "what one read brought is one piece"
        assert {piece.stream for piece in pieces} == {1}
        assert b"".join(piece.data for piece in pieces).startswith(b"tick 0\ntick 1\n")

    class Breaking(Transport):
        """A stream that gives one frame and then ends with an error."""

        def __init__(self, code: str) -> None:
            self.host = "node.example"
            self.code = code

        def stream(self, **_):
            def body():
                yield b"\x01\0\0\0\0\0\0\x02hi"
                raise Unreachable("It broke.", code=self.code)

            return nullcontext(body())

    def test_ends_quietly_when_our_patience_does(self):
        assert [piece.data for piece in followed(OceanNode(self.Breaking("deadline")))] == [b"hi"]

    @pytest.mark.parametrize("code", ["cut_off", "timeout"])
    def test_says_so_when_the_node_breaks_off(self, code):
        with pytest.raises(Unreachable) as caught:
            followed(OceanNode(self.Breaking(code)))

        assert caught.value.code == code

    def test_does_not_hide_other_ends(self):
        client, _ = node(Answer(b"\x01\0\0\0\0\0\0\x02hi" * 10))

        with (
            pytest.raises(BadAnswer) as caught,
            client.stream_log(job_id="1-a", proof=LOGS, max_bytes=50, total_s=5) as pieces,
        ):
            list(pieces)

        assert caught.value.code == "too_large"


class TestSignedReads:
    @pytest.mark.parametrize(("proof", "requests"), [(RESULT, 1), (Token(OWNER.address, "t"), 4)])
    def test_are_repeated_only_when_that_uses_up_no_nonce(self, proof, requests):
        wire = FakeWire(Answer.text("down", 503))
        client = OceanNode(transport(wire, retries=True))

        with (
            pytest.raises(Rejected),
            client.open_result(job_id="1-a", entry=UNLISTED, proof=proof, max_bytes=50, total_s=60),
        ):
            pass

        assert len(wire.sent) == requests


class TestTokens:
    @pytest.mark.parametrize(
        "answer", [{}, [], {"token": 1}, {"token": ""}, {"token": "a\nb"}, {"token": "x" * 5_000}]
    )
    def test_that_no_header_could_carry_are_bad_answers(self, answer):
        client, _ = node(Answer.json(answer))

        with pytest.raises(BadAnswer) as caught:
            client.create_token(proof=TOKEN)

        assert caught.value.code == "token_answer"


class TestDdo:
    def test_with_a_malformed_did_is_never_asked_for(self):
        client, wire = node(Answer.json({}))

        with pytest.raises(OceanError) as caught:
            client.get_ddo(did="did:op:../../services/nonce")

        assert caught.value.code == "did"
        assert wire.sent == []


def job() -> dict:
    return recording("10")[8]["response"]["body"]["json"][0]
