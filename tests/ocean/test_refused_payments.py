"""Every refusal of a paid start, or of its price, recorded at a node: code, sentence, and that nothing happened.

A Provider's are in tests/services/test_every_refusal.py, with what becomes of the job.
"""

import pytest

from jobs.ocean.errors import Rejected
from tests.ocean.test_every_recording import REFUSALS, reading
from tests.ocean.wire import Answer, node, recording

DATASET = "did:op:b606364a46ac320b5229731f8c50666af8eb8bf5fff7de3c514d766a5f8f2134"
ALGORITHM = "did:op:177a60bb253acdaba6b6d33ffdf8f34d10ba5644ffa59514bce85c422ad6e27d"
OTHER = "did:op:a0c2d8d5bf218abbe9c7e7f6e0449010e5c8517ba4e950d8cf49ca11a37988bb"
UNKNOWN = "did:op:" + "0" * 64

NO_FUNDS = (
    "The escrow holds too little of the wallet's money for this job. What is locked for other jobs does not"
)
NO_TOKEN = "The environment takes no payment in this token on chain 8996. Choose one that it names."
NO_ENVIRONMENT = "The node does not know this environment"
WITHOUT = "The request lacks a usable"
# Scenario, exchange: the code, and what the sentence says.
SAID = {
    ("31", 2): ("escrow_funds", NO_FUNDS),
    ("31", 3): ("escrow_auth", "does not let the node lock money in the escrow on chain 8996 yet."),
    ("31", 4): ("escrow_lock_time", "does not let the node lock money for as long as this job needs."),
    ("31", 5): ("escrow_limit", "With this job the node would lock more money than the wallet lets it."),
    ("31", 8): ("escrow_funds", NO_FUNDS),
    ("32", 1): ("unpublished", "The node prices published datasets alone, and no files by their address."),
    ("33", 1): ("not_trusted", f"The publisher of {DATASET} has not listed this algorithm"),
    ("33", 2): ("raw_not_allowed", f"The publisher of {DATASET} allows published algorithms alone"),
    ("33", 4): ("order_missing", f"The node wants an order of {DATASET} for a paid job"),
    ("33", 5): ("order_missing", f"The node wants an order of {ALGORITHM} for a paid job"),
    ("33", 6): ("order_invalid", f"The node does not accept the order of {ALGORITHM}"),
    ("33", 7): ("order_invalid", f"The node does not accept the order of {DATASET}"),
    ("33", 8): ("unknown_service", f"The asset {DATASET} has no such service any more."),
    ("33", 9): ("unknown_asset", f"The node does not know the asset {UNKNOWN}."),
    ("33", 10): ("token_not_accepted", NO_TOKEN),
    ("33", 11): ("token_not_accepted", NO_TOKEN),
    ("33", 12): ("token_not_accepted", NO_TOKEN.replace("8996", "1")),
    ("33", 14): ("too_many_resources", "gives a job at most 2 of cpu; 64 was asked for."),
    ("33", 15): ("bad_request", f"{WITHOUT} maxJobDuration"),
    ("33", 16): ("bad_request", f"{WITHOUT} maxJobDuration"),
    ("33", 17): ("unknown_environment", f"{NO_ENVIRONMENT}. Refresh its environments and choose again."),
    ("33", 18): ("escrow_funds", NO_FUNDS),
    ("33", 40): ("order_invalid", f"The node does not accept the order of {ALGORITHM}"),
    ("33", 41): ("image", "The node finds no container image in the request for this algorithm."),
    ("34", 2): ("bad_request", f"{WITHOUT} algorithm, payment or duration"),
    ("34", 3): ("bad_request", f"{WITHOUT} payment"),
    ("34", 4): ("bad_request", f"{WITHOUT} algorithm, payment or duration"),
    ("34", 5): ("bad_request", f"{WITHOUT} consumerAddress"),
    ("34", 6): ("bad_request", f"{WITHOUT} environment"),
    ("34", 7): ("unknown_environment", f"{NO_ENVIRONMENT}, or it takes no payment on this chain."),
    ("34", 8): ("token_not_accepted", NO_TOKEN),
    ("34", 9): ("unknown_environment", f"{NO_ENVIRONMENT}, or it takes no payment on this chain."),
    ("34", 10): ("too_many_resources", "gives a job at most 2 of cpu; 99 was asked for."),
    ("34", 15): ("bad_request", f"{WITHOUT} algorithm, payment or duration"),
    ("34", 17): ("unpublished", "The node prices published datasets alone, and no files by their address."),
    ("34", 18): ("unknown_asset", f"The node does not know the asset {UNKNOWN}."),
    ("34", 19): ("not_trusted", f"The publisher of {OTHER} has not listed this algorithm"),
    ("34", 20): ("unknown_asset", "The node does not know the algorithm, or cannot fetch its file."),
    ("34", 22): ("bad_request", "did not accept the request and does not say why."),
}
# A failure of the node's own code, which says nothing; the client does not send what brings it about.
SAYS_NOTHING = {("33", 13)}
EVERY = [pytest.param(*key, *said, id="-".join(map(str, key))) for key, said in SAID.items()]


class TestEveryRefusedPayment:
    @pytest.mark.parametrize(("number", "seq", "code", "words"), EVERY)
    def test_is_told_in_a_sentence_and_did_not_happen(self, number, seq, code, words):
        exchange = recording(number)[seq]
        client, wire = node(Answer.recorded(exchange))

        with pytest.raises(Rejected) as caught:
            reading(number, exchange)(client)

        error = caught.value
        assert words in error.message
        assert error.code == code
        assert (error.retryable, error.maybe_happened) == (False, False)
        assert len(wire.sent) == 1

    def test_is_in_the_table(self):
        recorded = {
            (number, seq)
            for number in ("31", "32", "33", "34", "35")
            for seq, exchange in recording(number).items()
            if exchange["response"]["status"] != 200
        }

        assert recorded == set(SAID) | SAYS_NOTHING
        assert {key: code for key, (code, _) in SAID.items()} == {key: REFUSALS[key] for key in SAID}
