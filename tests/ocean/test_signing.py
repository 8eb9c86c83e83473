import copy
import json
import pickle

import pytest
from eth_account import Account
from eth_account.messages import encode_defunct
from eth_account.typed_transactions import TypedTransaction
from eth_utils import keccak
from hexbytes import HexBytes

from jobs.ocean import signing
from jobs.ocean.signing import (
    DEV_ADDRESSES,
    Form,
    Signed,
    Signer,
    Token,
    key_from_hex,
    key_from_keystore,
    key_from_mnemonic,
    new_key,
    node_message,
    provider_digest,
)
from jobs.ocean.transactions import Transaction
from jobs.ocean.units import Address, Wei
from tests.ocean import provider_wire as v4
from tests.ocean.wire import MNEMONIC, account, accounts, exchanges, recording

PROOFS = {
    ("POST", "/api/services/freeCompute"): signing.prove_start_free,
    ("PUT", "/api/services/compute"): signing.prove_stop,
    ("GET", "/api/services/computeResult"): signing.prove_result,
    ("GET", "/api/services/computeStreamableLogs"): signing.prove_logs,
    ("POST", "/api/services/auth/token"): signing.prove_token,
    ("POST", "/api/services/auth/token/invalidate"): signing.prove_invalidate,
}
# Calls that were recorded because their signature is wrong, or over another text: (scenario, exchange).
WRONG_ON_PURPOSE = {
    ("15", 31),
    ("15", 34),
    ("17", 8),
    ("17", 9),
    ("17", 10),
    ("17", 11),
    ("18", 18),
    ("18", 19),
    ("18", 24),
    ("18", 25),
    ("18", 34),
    ("22", 8),  # met by accident: the hash starts with a zero byte, all 32 bytes signed, 401
    ("26", 9),
    ("28", 1),
}
# The node was played with both forms; these two carry the text, all others the bytes.
TEXT_FORM = {("11", 2), ("28", 3)}


def known_answers() -> list[tuple[str, object, Signed, Form]]:
    """Every recorded good signature of a call that we make: id, prove function, what was sent, form."""
    found = []
    for number, exchange in exchanges():
        request = exchange["request"]
        prove = PROOFS.get((request["method"], request["path"]))
        fields = {**request["query"], **(request["body"] if isinstance(request["body"], dict) else {})}
        owner = fields.get("consumerAddress") or fields.get("address")
        key = (number, exchange["seq"])
        if prove is None or "signature" not in fields or owner not in accounts() or key in WRONG_ON_PURPOSE:
            continue
        sent = Signed(Address(owner), int(fields["nonce"]), fields["signature"])
        found.append((f"{number}-{exchange['seq']}", prove, sent, "text" if key in TEXT_FORM else "bytes"))
    return found


class TestSignatures:
    @pytest.mark.parametrize(("name", "prove", "sent", "form"), known_answers())
    def test_equal_the_recorded_ones(self, name, prove, sent, form):
        proof = prove(accounts()[sent.address], nonce=sent.nonce, form=form)

        assert proof == sent

    def test_are_many_and_of_every_command(self):
        answers = known_answers()

        assert len(answers) > 140
        assert {prove for _, prove, _, _ in answers} == set(PROOFS.values())

    def test_default_to_the_text_form(self):
        sent = recording("28")[3]["request"]["query"]

        proof = signing.prove_result(account(8), nonce=int(sent["nonce"]))

        assert proof.signature == sent["signature"]

    def test_over_all_32_bytes_would_be_refused_where_the_digest_starts_with_zero(self):
        sent = recording("28")[1]["request"]["query"]
        message = node_message(address=account(8).address, nonce=389, command="getComputeResult")

        assert message.startswith("0x00")
        assert signing.prove_result(account(8), nonce=389, form="bytes").signature != sent["signature"]
        assert recording("28")[1]["response"]["status"] == 401

    def test_recover_to_the_signer_in_both_forms(self):
        signer = account(1)
        message = node_message(address=signer.address, nonce=7, command="stopCompute")

        text = signing.prove_stop(signer, nonce=7).signature
        raw = signing.prove_stop(signer, nonce=7, form="bytes").signature

        assert Account.recover_message(encode_defunct(text=message), signature=text) == signer.address
        assert (
            Account.recover_message(encode_defunct(hexstr=message.replace("0x", "")), signature=raw)
            == signer.address
        )


def provider_answers() -> list[tuple[str, Signed, Signed]]:
    """Every good signature recorded at a Provider: where, what was sent, what we make of it."""
    found = []
    for name in v4.names():
        for n, exchange in v4.scenario(name).items():
            request = exchange["request"]
            body = request.get("body_json")
            fields = {**(request.get("query") or {}), **(body if isinstance(body, dict) else {})}
            signer = v4.accounts().get(fields.get("consumerAddress") or fields.get("address"))
            if signer is None or "signature" not in fields or (name, n) in WRONG_AT_A_PROVIDER:
                continue
            match request["method"], request["path"].rpartition("/")[2]:
                case "POST", "compute":
                    made = signing.prove_provider_start(
                        signer, nonce=int(fields["nonce"]), did=fields["dataset"]["documentId"]
                    )
                case (("PUT" | "DELETE"), "compute"):
                    made = signing.prove_provider_stop(
                        signer,
                        nonce=int(fields["nonce"]),
                        job_id=fields["jobId"],
                        did=fields.get("documentId", ""),
                    )
                case "GET", "computeResult":
                    made = signing.prove_provider_result(
                        signer, nonce=int(fields["nonce"]), job_id=fields["jobId"], index=int(fields["index"])
                    )
                case "GET", "createAuthToken":
                    made = signing.prove_provider_token(signer, nonce=int(fields["nonce"]))
                case "DELETE", "deleteAuthToken":
                    made = signing.prove_provider_delete(signer, nonce=int(fields["nonce"]))
                case _:
                    continue
            sent = Signed(signer.address, int(fields["nonce"]), fields["signature"])
            found.append((f"{name}-{n}", sent, made))
    return found


# Recorded because their signature is wrong, or goes with fields that cannot be signed for.
WRONG_AT_A_PROVIDER = {
    ("82-start-bad-signature", 2),
    ("82-start-garbage-signature", 2),
    ("82-start-nonce-not-a-number", 1),
    ("85-result-bad-signature", 2),
    ("85-result-index-not-a-number", 2),
    ("85-result-message-order-swapped", 3),
    ("85-result-missing-index", 2),
    ("85-result-personal-sign-of-text", 3),
    ("87-stop-bad-signature", 2),
    ("87-stop-missing-nonce", 1),
}


class TestSignaturesForAProvider:
    @pytest.mark.parametrize(("name", "sent", "made"), provider_answers())
    def test_equal_the_recorded_ones_but_for_the_spelling_of_the_last_byte(self, name, sent, made):
        # ocean.py ends in 00 or 01; wallets, and we, in 1b or 1c. A Provider takes both.
        end = {"00": "1b", "01": "1c"}.get(sent.signature[-2:], sent.signature[-2:])

        assert made == Signed(sent.address, sent.nonce, sent.signature[:-2] + end)
        assert made.signature[-2:] in ("1b", "1c")

    def test_are_many_and_of_both_spellings(self):
        ends = {sent.signature[-2:] for _, sent, _ in provider_answers()}

        assert len(provider_answers()) > 60
        assert ends == {"00", "01", "1b", "1c"}

    def test_cover_all_32_bytes_even_where_the_digest_begins_with_zero(self):
        signer = v4.account(4)
        nonce = next(n for n in range(5_000) if provider_digest(signer.address, n)[0] == 0)

        made = signing.prove_provider_token(signer, nonce=nonce).signature

        digest = provider_digest(signer.address, nonce)
        assert Account.recover_message(encode_defunct(primitive=digest), signature=made) == signer.address


class TestSigner:
    def test_hides_its_key(self):
        key = new_key()
        signer = Signer(key)

        assert key.hex() not in repr(signer)
        assert key.hex() not in f"{signer} {signer!r}"
        assert signer.address in repr(signer)
        assert not hasattr(signer, "__dict__")

    @pytest.mark.parametrize("write_down", [pickle.dumps, copy.copy, copy.deepcopy])
    def test_is_neither_copied_nor_pickled(self, write_down):
        with pytest.raises(TypeError, match="neither copied nor written down"):
            write_down(account(1))

    def test_takes_hex_and_bytes_alike(self):
        key = new_key()

        assert Signer(key).address == Signer(key.hex()).address == Signer("0x" + key.hex()).address

    def test_proofs_hide_signature_and_token(self):
        proof = signing.prove_stop(account(1), nonce=1)

        assert proof.signature not in repr(proof)
        assert "very-secret" not in repr(Token(address=account(1).address, token="very-secret"))


# Source: the Web3 Secret Storage Definition, its two test vectors; go-ethereum repeats them in
# accounts/keystore/testdata/v3_test_vector.json as "wikipage_test_vector_pbkdf2" and "wikipage_test_vector_scrypt".
KEYSTORE_KEY = "7a28b5ba57c53603b0b07b56bba752f7784bf506fa95edc395f5cf6c7514fe9d"
KEYSTORES = {
    "pbkdf2": {
        "crypto": {
            "cipher": "aes-128-ctr",
            "cipherparams": {"iv": "6087dab2f9fdbbfaddc31a909735c1e6"},
            "ciphertext": "5318b4d5bcd28de64ee5559e671353e16f075ecae9f99c7a79a38af5f869aa46",
            "kdf": "pbkdf2",
            "kdfparams": {
                "c": 262144,
                "dklen": 32,
                "prf": "hmac-sha256",
                "salt": "ae3cd4e7013836a3df6bd7241b12db061dbe2c6785853cce422d148a624ce0bd",
            },
            "mac": "517ead924a9d0dc3124507e3393d175ce3ff7c1e96529c6c555ce9e51205e9b2",
        },
        "id": "3198bc9c-6672-5ab3-d995-4942343ae5b6",
        "version": 3,
    },
    "scrypt": {
        "crypto": {
            "cipher": "aes-128-ctr",
            "cipherparams": {"iv": "83dbcc02d8ccb40e466191a123791e0e"},
            "ciphertext": "d172bf743a674da9cdad04534d56926ef8358534d458fffccd4e6ad2fbde479c",
            "kdf": "scrypt",
            "kdfparams": {
                "dklen": 32,
                "n": 262144,
                "p": 8,
                "r": 1,
                "salt": "ab0c7876052600dd703518d6fc3fe8984592145b591fc8fb5c6d43190334ba19",
            },
            "mac": "2103ac29920d71da29f15d75b4a16dbe95cfd7ff8faea1056c33131d846e3097",
        },
        "id": "3198bc9c-6672-5ab3-d995-4942343ae5b6",
        "version": 3,
    },
}


class TestKeys:
    @pytest.mark.parametrize(
        "text",
        [
            "",
            "0x",
            "12",
            "zz" * 32,
            "0x" + "00" * 32,
            "ff" * 32,
            "0x" + "12" * 31,
            "12" * 33,
            "a word that is no key",
        ],
    )
    def test_that_are_none_are_refused_without_repeating_them(self, text):
        with pytest.raises(ValueError) as caught:
            key_from_hex(text)

        assert len(text) < 3 or text not in str(caught.value)
        assert caught.value.__cause__ is None

    def test_come_from_seed_phrases(self):
        assert Signer(key_from_mnemonic(f"  {MNEMONIC}  ")).address == account(0).address

    @pytest.mark.parametrize(
        ("path", "number"),
        [
            ("m/44'/60'/0'/0/0", 0),
            ("m/44'/60'/0'/0/1", 1),
            ("m/44h/60h/0h/0/1", 1),
            (" m/44H/60’/0'/0/2 ", 2),
        ],
    )
    def test_come_from_a_phrase_at_a_path(self, path, number):
        assert Signer(key_from_mnemonic(MNEMONIC, path)).address == account(number).address

    @pytest.mark.parametrize(
        "path",
        [
            "",
            "m",
            "m/",
            "x/1",
            "44'/60'",
            "m/-1",
            "m/1/",
            "m/2147483648",
            "m/1''",
            "m" + "/1" * 11,
            "m/" + "1" * 5000,
        ],
    )
    def test_at_no_path_are_refused_with_an_example(self, path):
        with pytest.raises(ValueError, match="looks like m/44'/60'/0'/0/0"):
            key_from_mnemonic(MNEMONIC, path)

    @pytest.mark.parametrize(
        ("text", "path"),
        [
            ("", "m/44'/60'/0'/0/0"),
            ("test test", "m/44'/60'/0'/0/0"),
            (MNEMONIC + " zoo", "m/0"),
        ],
    )
    def test_from_bad_phrases_are_refused_without_repeating_them(self, text, path):
        with pytest.raises(ValueError, match="no valid seed phrase") as caught:
            key_from_mnemonic(text, path)

        assert "test" not in str(caught.value)
        assert caught.value.__suppress_context__

    def test_come_from_keystores(self):
        key = new_key()
        stored = json.dumps(Account.encrypt(key, "secret", kdf="pbkdf2", iterations=1_000))

        assert key_from_keystore(stored, "secret") == key
        with pytest.raises(ValueError, match="wrong password"):
            key_from_keystore(stored, "wrong")

    @pytest.mark.parametrize(
        "stored",
        [
            "",
            "[]",
            "{}",
            '{"crypto": 1}',
            "[" * 5_000,
            "x" * 30_000,
            '{"version": 3, "crypto": {"kdfparams": {"n": 2, "r": 1, "p": 1}}}',
        ],
        ids=range(7),
    )
    def test_from_hostile_keystores_are_refused_quickly(self, stored):
        with pytest.raises(ValueError, match=r"keystore"):
            key_from_keystore(stored, "secret")

    @pytest.mark.parametrize(
        "stored",
        [
            {"n": 1 << 30, "r": 8, "p": 1},
            {"n": 2, "r": 1, "p": 1 << 20},
            {"n": 2, "r": 1 << 20, "p": 1},
            {"c": 100_000_000_000},
            {"c": 1_000, "dklen": 1 << 40},
        ],
        ids=["memory", "lanes", "blocks", "rounds", "length"],
    )
    def test_from_keystores_that_would_take_all_memory_or_for_ever_are_not_tried(self, stored):
        kdf = "pbkdf2" if "c" in stored else "scrypt"
        asked = json.dumps({"version": 3, "crypto": {"kdf": kdf, "kdfparams": stored}})

        with pytest.raises(ValueError, match="more work than a real one"):
            key_from_keystore(asked, "secret")

    @pytest.mark.parametrize("name", ["pbkdf2", "scrypt"])
    def test_come_from_the_keystores_that_the_specification_gives(self, name):
        assert key_from_keystore(json.dumps(KEYSTORES[name]), "testpassword").hex() == KEYSTORE_KEY

    def test_come_from_keystores_in_any_capitals(self):
        shouted = {name.upper(): part for name, part in KEYSTORES["pbkdf2"].items()}

        assert key_from_keystore(json.dumps(shouted), "testpassword").hex() == KEYSTORE_KEY

    def test_are_new_every_time(self):
        assert new_key() != new_key()


class TestDevAddresses:
    @pytest.mark.parametrize(
        ("phrase", "count"),
        [
            (MNEMONIC, 20),
            ("myth like bonus scare over problem client lizard pioneer submit female collect", 10),
            ("taxi music thumb unique chat sand crew more leg another off lamp", 10),
        ],
    )
    def test_are_those_of_the_public_phrases(self, phrase, count):
        derived = {Signer(key_from_mnemonic(phrase, f"m/44'/60'/0'/0/{n}")).address for n in range(count)}

        assert derived <= DEV_ADDRESSES

    def test_hold_nobody_elses(self):
        assert len(DEV_ADDRESSES) == 40
        assert Signer(new_key()).address not in DEV_ADDRESSES


# Besu's known answers for EIP-1559, which the tests of other clients repeat.
# Source: ethereumjs-monorepo @ 052242c : packages/tx/test/json/eip1559.json, entries 0, 1 and 7.
_TYPE_2_KEY = "0x8f2a55949038a9610f50fb23b5883af3b4ecb3c3bb792cbcefbd1542c692be63"
TYPE_2_ANSWERS = [
    (
        Transaction(
            chain_id=7822,
            nonce=nonce,
            to=Address("0x000000000000000000000000000000000000aaaa"),
            data=b"",
            value_wei=Wei(value),
            gas=gas,
            max_fee_wei=Wei(max_fee),
            priority_fee_wei=Wei(tip),
        ),
        raw,
    )
    for nonce, value, gas, tip, max_fee, raw in (
        (
            819,
            43203529,
            35552,
            75853,
            121212,
            "02f870821e8e8203338301284d8301d97c828ae094000000000000000000000000000000000000aaaa8402933bc980c080a0"
            "d067f2167008c59219652f91cbf8788dbca5f771f6e91e2b7657e85b78b472e0a0"
            "1d305af9fe81fdba43f0dfcd400ed24dcace0a7e30d4e85701dcaaf484cd079e",
        ),
        (
            353,
            61901619,
            32593,
            38850,
            136295,
            "02f86f821e8e8201618297c283021467827f5194000000000000000000000000000000000000aaaa8403b08b3380c001a0"
            "04205678f13fc1d7b10feea6513dfa76e24418b6e08097d95c6f93a3b64e536da0"
            "1d45ad61bfece43862de2cce7d2575a8c1d08c26c87f3cb5f26d7b0be54a91b2",
        ),
        (
            709,
            6478043,
            28335,
            86252,
            94636,
            "02f86f821e8e8202c5830150ec830171ac826eaf94000000000000000000000000000000000000aaaa8362d8db80c001a0"
            "9880d133cd636f8c8dce32e2c43494b9f2dc000eee8dc61931e09f866ed04b46a0"
            "0e44d5c503c7f08b36c8b062c32a963f3dd20a71e95e3d903bfbe7f4da47cd47",
        ),
    )
]


class TestTransactions:
    @pytest.mark.parametrize(("tx", "raw"), TYPE_2_ANSWERS)
    def test_are_signed_as_others_sign_them(self, tx, raw):
        signed = Signer(_TYPE_2_KEY).sign_transaction(tx)

        assert signed.raw.hex() == raw

    def test_carry_the_hash_that_a_chain_gives_them(self):
        tx, _ = TYPE_2_ANSWERS[0]

        signed = Signer(_TYPE_2_KEY).sign_transaction(tx)

        assert signed.hash == "0x" + keccak(signed.raw).hex()
        assert signed.hash == "0xa3bf78ff247cad934aa5fb13e05f11e59c93511523ff8a622e59c3a34700e5c8"

    def test_with_data_are_read_back_as_they_were(self):
        tx = Transaction(
            chain_id=8996,
            nonce=3,
            to=account(1).address,
            data=bytes.fromhex("1d746d83") + bytes(range(96)),
            value_wei=Wei(0),
            gas=120_000,
            max_fee_wei=Wei(3 * 10**9),
            priority_fee_wei=Wei(10**9),
        )

        raw = account(0).sign_transaction(tx).raw

        read = TypedTransaction.from_bytes(HexBytes(raw)).as_dict()
        assert (read["chainId"], read["nonce"], read["gas"]) == (8996, 3, 120_000)
        assert (bytes(read["to"]).hex(), bytes(read["data"])) == (tx.to[2:].lower(), tx.data)
        assert Account.recover_transaction(raw) == account(0).address

    def test_do_not_show_their_bytes(self):
        signed = account(0).sign_transaction(TYPE_2_ANSWERS[0][0])

        assert signed.raw.hex() not in repr(signed)
        assert str(signed.raw) not in repr(signed)
