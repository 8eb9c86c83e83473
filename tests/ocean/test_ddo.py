import copy

import pytest

from jobs.ocean.aquarius import get_ddo
from jobs.ocean.compute import Container
from jobs.ocean.ddo import caution, consumable, parse_ddo
from jobs.ocean.errors import BadAnswer, OceanError, Rejected, Unreachable
from jobs.ocean.units import Address
from tests.ocean.wire import Answer, FakeWire, account, exchanges, recording, transport

DID = "did:op:b606364a46ac320b5229731f8c50666af8eb8bf5fff7de3c514d766a5f8f2134"
ALGORITHM = "did:op:177a60bb253acdaba6b6d33ffdf8f34d10ba5644ffa59514bce85c422ad6e27d"


def recorded(did: str = DID) -> dict:
    """The DDO as the recorded node answers it."""
    for _, exchange in exchanges():
        answer = exchange["response"]["body"].get("json")
        if exchange["request"]["path"].endswith(f"/assets/ddo/{did}") and isinstance(answer, dict):
            return copy.deepcopy(answer)
    found = recording("30")[19]["response"]["body"]["json"]
    return copy.deepcopy(next(ddo for ddo in found[0] if ddo["id"] == did))


def enterprise() -> dict:
    """The same asset as 5.0.0 writes it. Source: oceanprotocol/docs, developers/ddo.js/instantiate-ddo.md."""
    inner = recorded()
    did = DID.replace("did:op", "did:ope")
    description = inner["metadata"]["description"]
    inner["metadata"] |= {
        "description": {"@value": description, "@language": "en", "@direction": "ltr"},
        "license": {"name": inner["metadata"]["license"]},
    }
    inner["services"][0] |= {"name": {"@value": "Run on it", "@language": "en"}, "state": 0}
    return {
        "@context": ["https://www.w3.org/ns/credentials/v2"],
        "id": f"{did}/VC/2026-02-18",
        "version": "5.0.0",
        "type": ["VerifiableCredential"],
        "credentialSubject": {
            "id": did,
            **{
                key: inner[key]
                for key in ("metadata", "services", "chainId", "nftAddress", "indexedMetadata")
            },
        },
    }


class TestParseDdo:
    def test_reads_a_recorded_dataset(self):
        ddo = parse_ddo(recorded(), did=DID)

        assert (ddo.kind, ddo.name, ddo.chain_id, ddo.version) == (
            "dataset",
            "Restricted readings",
            8996,
            "4.1.0",
        )
        assert ddo.licence == "https://creativecommons.org/licenses/by/4.0/"
        assert ddo.tags == ("test",)
        assert ddo.nft_state == 0
        assert ddo.container is None
        (service,) = ddo.services
        assert (service.id, service.type, service.timeout_s) == ("compute-1", "compute", 3600)
        assert service.endpoint == "http://127.0.0.1:8001"
        assert service.compute.trusted_algorithms[0].did == ALGORITHM
        assert not service.compute.allow_raw
        assert ddo.service("compute-1") is service
        assert ddo.service("other") is None

    def test_reads_a_recorded_algorithm(self):
        ddo = parse_ddo(recorded(ALGORITHM), did=ALGORITHM)

        assert ddo.kind == "algorithm"
        assert ddo.container == Container(
            entrypoint="python3 $ALGO",
            image="localhost:5000/c2d-python",
            tag="3.11",
            checksum="sha256:a078ca0376126dbb9b41ed87b7e436de5bbc801cda69c617354c06db0aa717a4",
        )

    def test_reads_a_5_0_0_document_into_the_same_shape(self):
        raw = enterprise()

        ddo = parse_ddo(raw, did=raw["credentialSubject"]["id"])

        plain = parse_ddo(recorded(), did=DID)
        assert ddo.description == plain.description
        assert ddo.licence == plain.licence
        assert ddo.services[0].compute == plain.services[0].compute
        assert ddo.services[0].name == "Run on it"
        assert ddo.nft_state == 0

    @pytest.mark.parametrize("version", ["4.1.0", "4.3.0", "4.5.0", "4.7.0"])
    def test_reads_every_version_of_4(self, version):
        assert parse_ddo(recorded() | {"version": version}, did=DID).version == version

    def test_reads_consumer_parameters(self):
        raw = recorded(ALGORITHM)
        raw["metadata"]["algorithm"]["consumerParameters"] = [
            {
                "name": "column",
                "type": "select",
                "label": "Column",
                "required": True,
                "default": "a",
                "description": "Which one",
                "options": [{"a": "First"}, {"b": "Second"}],
            },
            {
                "name": "limit",
                "type": "number",
                "label": "Limit",
                "required": False,
                "default": 3,
                "options": None,
            },
        ]

        column, limit = parse_ddo(raw, did=ALGORITHM).consumer_parameters

        assert column.options == (("a", "First"), ("b", "Second"))
        assert column.required
        assert limit.default == 3
        assert limit.options == ()

    @pytest.mark.parametrize(
        ("raw", "code"),
        [
            (recorded() | {"id": ALGORITHM}, "ddo_mismatch"),
            (recorded() | {"id": "hello"}, "ddo_mismatch"),
            (recorded() | {"id": None}, "ddo_mismatch"),
            ({}, "ddo_mismatch"),
            (recorded() | {"version": "3.0.0"}, "ddo_version"),
            (recorded() | {"version": 4}, "ddo_version"),
            (recorded() | {"version": "deprecated"}, "ddo_withdrawn"),
            (recorded() | {"metadata": None}, "ddo"),
            ({"credentialSubject": "x"}, "ddo"),
        ],
    )
    def test_refuses_what_is_not_the_asset(self, raw, code):
        with pytest.raises(BadAnswer) as caught:
            parse_ddo(raw, did=DID)

        assert caught.value.code == code

    @pytest.mark.parametrize(
        ("change", "field"),
        [
            (lambda raw: raw.update(chainId="8996"), "chainId"),
            (lambda raw: raw.update(chainId=-1), "chainId"),
            (lambda raw: raw.update(nftAddress="0x1"), "nftAddress"),
            (lambda raw: raw.update(services=[]), "services"),
            (lambda raw: raw.update(services=None), "services"),
            (lambda raw: raw.update(services=raw["services"] * 300), "services"),
            (lambda raw: raw["metadata"].update(type="model"), "kind"),
            (lambda raw: raw["metadata"].update(name=7), "name"),
            (lambda raw: raw["metadata"].update(name="\x00 \u202e"), "name"),
            (lambda raw: raw["metadata"].update(description=["a"]), "description"),
            (lambda raw: raw["metadata"].update(tags="test"), "tags"),
            (lambda raw: raw["services"][0].update(timeout="1"), "services.0.timeout"),
            (lambda raw: raw["services"][0].update(timeout=-1), "services.0.timeout"),
            (lambda raw: raw["services"][0].update(datatokenAddress=None), "services.0.datatokenAddress"),
            (lambda raw: raw["services"][0].update(serviceEndpoint=5), "services.0.serviceEndpoint"),
            (
                lambda raw: raw["services"][0].update(serviceEndpoint="x" * 3_000),
                "services.0.serviceEndpoint",
            ),
            (lambda raw: raw["services"][0].update(compute=[]), "services.0.compute"),
            (lambda raw: raw["services"][0]["compute"].update(allowRawAlgorithm="yes"), "services.0.compute"),
            (lambda raw: raw["indexedMetadata"]["nft"].update(state="0"), "nft_state"),
        ],
    )
    def test_names_the_field_that_it_cannot_read(self, change, field):
        raw = recorded()
        change(raw)

        with pytest.raises(BadAnswer) as caught:
            parse_ddo(raw, did=DID)

        assert field in caught.value.message

    @pytest.mark.parametrize(
        "container",
        [
            "python",
            [],
            {"image": "a", "tag": "b"},
            {"entrypoint": "x" * 2_000, "image": "a"},
            {"entrypoint": "a", "image": 5},
        ],
    )
    def test_refuses_a_container_that_it_cannot_read(self, container):
        raw = recorded(ALGORITHM)
        raw["metadata"]["algorithm"]["container"] = container

        with pytest.raises(BadAnswer, match="container"):
            parse_ddo(raw, did=ALGORITHM)

    def test_refuses_two_services_of_one_id(self):
        raw = recorded()
        raw["services"] *= 2

        with pytest.raises(BadAnswer):
            parse_ddo(raw, did=DID)

    def test_cleans_and_cuts_what_people_see(self):
        raw = recorded()
        raw["metadata"] |= {"name": "\u202eevil\x00" + "x" * 10_000, "description": "<b>\x1b[2Jhi</b>"}

        ddo = parse_ddo(raw, did=DID)

        assert ddo.name.startswith("evilxxx")
        assert len(ddo.name) == 200
        assert ddo.description == "<b>[2Jhi</b>"

    def test_takes_null_where_a_list_may_be_missing(self):
        raw = recorded()
        raw["metadata"]["tags"] = None
        raw["services"][0]["compute"] |= {
            "publisherTrustedAlgorithms": None,
            "publisherTrustedAlgorithmPublishers": None,
        }

        ddo = parse_ddo(raw, did=DID)

        assert ddo.tags == ()
        assert ddo.services[0].compute.trusted_algorithms is None


WALLET, STRANGER = Address(account(1).address), Address(account(2).address)


def listing(*, allow: object = (), deny: object = (), **changes: object) -> dict:
    """A dataset whose publisher names who may use it, as 4.1.0 writes it."""
    lists = {"allow": list(allow), "deny": list(deny)}
    return recorded() | {"credentials": lists} | changes


def addresses(*texts: object) -> list:
    return [{"type": "address", "values": list(texts)}]


def in_state(state: int) -> dict:
    raw = recorded()
    raw["indexedMetadata"]["nft"]["state"] = state
    return raw


class TestCredentials:
    @pytest.mark.parametrize(
        "credentials", [None, {}, {"allow": [], "deny": []}, {"allow": None}, {"allow": [{"type": "email"}]}]
    )
    def test_that_list_nobody_let_everybody_in(self, credentials):
        ddo = parse_ddo(recorded() | {"credentials": credentials}, did=DID)

        assert (ddo.allowed, ddo.denied) == (None, frozenset())

    def test_are_compared_without_regard_to_capitals(self):
        ddo = parse_ddo(
            listing(allow=addresses(WALLET.lower()), deny=addresses("0x" + STRANGER[2:].upper())), did=DID
        )

        assert (ddo.allowed, ddo.denied) == ({WALLET}, {STRANGER})

    @pytest.mark.parametrize("nonsense", ["0x1", "", "*", None, 5, []])
    def test_that_list_no_address_let_nobody_in(self, nonsense):
        ddo = parse_ddo(listing(allow=addresses(nonsense)), did=DID)

        assert ddo.allowed == frozenset()

    def test_of_5_0_0_wrap_addresses_and_know_a_star(self):
        raw = enterprise()
        raw["credentialSubject"]["credentials"] = {"allow": addresses({"address": WALLET}), "deny": []}
        did = raw["credentialSubject"]["id"]
        assert parse_ddo(raw, did=did).allowed == {WALLET}

        raw["credentialSubject"]["credentials"] = {"allow": addresses({"address": "*"})}
        assert parse_ddo(raw, did=did).allowed is None

        raw["credentialSubject"]["credentials"] = {"deny": addresses("*")}
        assert parse_ddo(raw, did=did).allowed == frozenset()

    @pytest.mark.parametrize(
        "credentials",
        [
            "x",
            [],
            {"allow": "x"},
            {"allow": {}},
            {"deny": 5},
            {"allow": [{"type": "address"}]},
            {"allow": [{"type": "address", "values": "x"}]},
            {"deny": [{"type": "address", "values": ["0x1"] * 20_000}]},
            {"allow": [{}] * 20_000},
        ],
    )
    def test_that_cannot_be_read_are_a_bad_answer(self, credentials):
        with pytest.raises(BadAnswer, match="credentials"):
            parse_ddo(recorded() | {"credentials": credentials}, did=DID)


class TestConsumable:
    @pytest.mark.parametrize(
        ("raw", "code", "sentence"),
        [
            (recorded(), None, ""),
            (in_state(5), None, ""),
            (in_state(1), "asset_disabled", "ended"),
            (in_state(2), "asset_disabled", "replaced"),
            (in_state(3), "asset_disabled", "revoked"),
            (in_state(4), "asset_disabled", "paused"),
            (in_state(9), "asset_disabled", "nobody may use it"),
            (listing(allow=addresses(WALLET)), None, ""),
            (listing(allow=addresses(STRANGER)), "not_allowed", "certain addresses"),
            (listing(allow=addresses("0x1")), "not_allowed", "certain addresses"),
            (listing(deny=addresses(STRANGER)), None, ""),
            (listing(deny=addresses(WALLET)), "denied", "does not let"),
            # A Provider does not look at the list of the denied where there is one of the allowed.
            (listing(allow=addresses(WALLET), deny=addresses(WALLET)), None, ""),
        ],
    )
    def test_says_why_not_and_each_reason_in_its_own_words(self, raw, code, sentence):
        found = consumable(parse_ddo(raw, did=DID), address=WALLET)

        assert (found.code if found else None) == code
        assert sentence in (found.sentence if found else "")

    def test_says_nothing_where_the_state_is_not_told(self):
        raw = recorded()
        del raw["indexedMetadata"]

        assert consumable(parse_ddo(raw, did=DID), address=WALLET) is None

    def test_leaves_an_unlisted_asset_usable_with_a_word_of_caution(self):
        unlisted, listed = parse_ddo(in_state(5), did=DID), parse_ddo(recorded(), did=DID)

        assert caution(unlisted).code == "unlisted"
        assert caution(listed) is None

    @pytest.mark.parametrize("state", [2, 3])
    def test_is_not_asked_where_an_aquarius_has_emptied_the_document(self, state):
        with pytest.raises(BadAnswer) as caught:
            parse_ddo({"nft": {"state": state}, "event": {}, "datatokens": [], "stats": {}}, did=DID)

        assert caught.value.code == "ddo_withdrawn"


class TestGetDdo:
    def test_gives_the_document_as_it_was_sent(self):
        wire = FakeWire(Answer.recorded(recording("30")[10]))

        document = get_ddo(transport(wire), did=DID)

        assert document == recorded()
        assert wire.sent[0].path == recording("30")[10]["request"]["path"]

    def test_tells_an_unknown_asset_from_an_unreachable_service(self):
        with pytest.raises(Rejected) as unknown:
            get_ddo(transport(FakeWire(Answer.recorded(recording("30")[16]))), did=DID)
        with pytest.raises(Unreachable):
            get_ddo(transport(FakeWire(ConnectionResetError())), did=DID)
        with pytest.raises(BadAnswer) as page:
            get_ddo(transport(FakeWire(Answer.text("<html>nginx</html>", 404))), did=DID)

        assert unknown.value.code == "unknown_asset"
        assert page.value.code == "html_page"

    @pytest.mark.parametrize("document", [[], "x", None, 5])
    def test_refuses_what_is_no_document(self, document):
        with pytest.raises(BadAnswer):
            get_ddo(transport(FakeWire(Answer.json(document))), did=DID)

    @pytest.mark.parametrize("did", ["", "hello", DID + "/../x", DID + "?a"])
    def test_never_asks_for_a_malformed_did(self, did):
        wire = FakeWire(Answer.json({}))

        with pytest.raises(OceanError) as caught:
            get_ddo(transport(wire), did=did)

        assert caught.value.code == "did"
        assert wire.sent == []
