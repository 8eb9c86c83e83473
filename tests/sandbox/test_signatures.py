"""Who may speak, judged by known answers of the recorded node."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ocean_portal.sandbox.signatures import Gate, Unauthorized, parse_nonce, signature_matches
from ocean_portal.sandbox.store import Store
from tests.sandbox.client import Client
from tests.sandbox.recordings import scenario

ALICE = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(path=tmp_path / "node.sqlite3")


@pytest.fixture
def gate(store: Store) -> Gate:
    return Gate(store=store, secret=b"secret", now=lambda: 1_795_330_733.126)


class TestSignatureMatches:
    @pytest.mark.parametrize(
        ("number", "seq", "command"),
        [
            ("10", 2, "freeStartCompute"),  # signed over the digest's bytes
            ("11", 2, "freeStartCompute"),  # signed over the digest's text
            ("10", 9, "getComputeResult"),
            ("14", 2, "getComputeStreamableLogs"),
            ("14", 6, "stopCompute"),
            ("28", 2, "getComputeResult"),  # bytes without the leading zero
            ("28", 3, "getComputeResult"),
        ],
    )
    def test_recorded_signatures_are_good_for_their_command_only(
        self, number: str, seq: int, command: str
    ) -> None:
        request = scenario(number)[seq].request
        fields = request["body"] or request["query"]

        def matches(name: str) -> bool:
            return signature_matches(
                address=fields["consumerAddress"],
                nonce=int(fields["nonce"]),
                command=name,
                signature=fields["signature"],
            )

        assert matches(command)
        assert not matches("createAuthToken")

    def test_bytes_with_their_leading_zero_do_not_match(self) -> None:
        query = scenario("28")[1].request["query"]

        assert not signature_matches(
            address=query["consumerAddress"],
            nonce=int(query["nonce"]),
            command="getComputeResult",
            signature=query["signature"],
        )

    @pytest.mark.parametrize("signature", ["", "0x", "hello", "0x" + "00" * 65, "0x" + "ff" * 65, "1"])
    def test_garbage_does_not_match(self, signature: str) -> None:
        assert not signature_matches(address=ALICE, nonce=1, command="stopCompute", signature=signature)


class TestParseNonce:
    @pytest.mark.parametrize(
        ("text", "number"),
        [
            ("7", 7),
            (7, 7),
            (" 7", 7),
            ("1795330880776.7", 1795330880776),
            ("12ab", 12),
            ("-3", -3),
            ("1795330880776123456", 1795330880776123400),  # as JavaScript prints that double
        ],
    )
    def test_reads_like_javascript(self, text: object, number: int) -> None:
        assert parse_nonce(text=text) == number

    @pytest.mark.parametrize("text", ["", "abc", None, "x1"])
    def test_is_none_without_leading_digits(self, text: object) -> None:
        assert parse_nonce(text=text) is None


class TestGate:
    @pytest.fixture
    def admit(self, gate: Gate) -> Callable[..., None]:
        """Let Alice's freshly signed stop pass, with changes."""
        client = Client("")
        client.nonce = 0

        def call(**changes: object) -> None:
            fields = client.signed("stopCompute")
            values = {
                "address": fields["consumerAddress"],
                "nonce": fields["nonce"],
                "signature": fields["signature"],
            }
            gate.admit(**(values | {"command": "stopCompute"} | changes))  # type: ignore[arg-type]

        return call

    def test_good_signature_uses_the_nonce_up(self, admit: Callable[..., None], store: Store) -> None:
        admit()

        assert store.nonce(address=ALICE) == 1

    def test_bad_signature_does_not(self, admit: Callable[..., None], store: Store) -> None:
        with pytest.raises(Unauthorized, match="mismatch"):
            admit(command="freeStartCompute")

        assert store.nonce(address=ALICE) == 0

    def test_nonce_must_grow(self, admit: Callable[..., None], store: Store) -> None:
        store.use_nonce(address=ALICE, nonce=1)

        with pytest.raises(Unauthorized, match="nonce: 1 is not a valid nonce"):
            admit()

    def test_nonce_that_is_no_number_is_refused_by_its_javascript_name(
        self, admit: Callable[..., None]
    ) -> None:
        with pytest.raises(Unauthorized, match="nonce: NaN is not a valid nonce"):
            admit(nonce="abc")

    def test_other_spelling_of_an_address_has_its_own_counter(self, store: Store) -> None:
        store.use_nonce(address=ALICE, nonce=9)

        assert store.nonce(address=ALICE.lower()) == 0

    def test_token_stands_in_for_a_missing_signature(self, gate: Gate, admit: Callable[..., None]) -> None:
        token = gate.issue_token(address="0xanybody", nonce="1", valid_until=None)

        admit(signature=None, nonce=None, token=token)

    def test_bad_signature_is_not_saved_by_a_token(self, gate: Gate, admit: Callable[..., None]) -> None:
        token = gate.issue_token(address=ALICE, nonce="1", valid_until=None)

        with pytest.raises(Unauthorized, match="mismatch"):
            admit(token=token, command="freeStartCompute")

    @pytest.mark.parametrize(
        ("valid_until", "passes"), [(1_795_330_733_126, False), (1_795_330_733_127, True)]
    )
    def test_token_ends_at_its_millisecond(
        self, gate: Gate, admit: Callable[..., None], valid_until: int, passes: bool
    ) -> None:
        token = gate.issue_token(address=ALICE, nonce="1", valid_until=valid_until)

        if passes:
            admit(signature=None, token=token)
        else:
            with pytest.raises(Unauthorized, match="Invalid token"):
                admit(signature=None, token=token)

    def test_token_of_another_secret_is_signed_otherwise(self, store: Store, gate: Gate) -> None:
        other = Gate(store=store, secret=b"other", now=lambda: 1_795_330_733.126)

        ours, theirs = (one.issue_token(address=ALICE, nonce="31", valid_until=None) for one in (gate, other))

        recorded = scenario("15")[1].json["token"]
        assert ours.rpartition(".")[0] == theirs.rpartition(".")[0] == recorded.rpartition(".")[0]
        assert ours != theirs
