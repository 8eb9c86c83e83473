"""The exact texts that Ocean services want signed, and the one place where a key exists in the clear.

An Ocean Node wants address + nonce + command, hashed with keccak-256, and a personal signature (EIP-191) over
either the TEXT "0x" + hex of that hash, which is what we send, or the hash's bytes without their leading zero
bytes, which is what most of the recorded calls carry. All 32 bytes fail for 1 hash in 256 (recording 28).
Source: README of the ocean-node 3.2.0 recordings, "Signing".

A Provider wants another concatenation for every call, and a personal signature over all 32 BYTES of its hash.
Source: README of the provider-v4 recordings, "Signing".
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, NoReturn, TypeVar

from eth_account import Account
from eth_account.hdaccount import ETHEREUM_DEFAULT_PATH, key_from_seed, seed_from_mnemonic
from eth_account.messages import SignableMessage, encode_defunct
from eth_utils.crypto import keccak

from jobs.ocean.parsing import load_json
from jobs.ocean.transactions import SignedTransaction, Transaction
from jobs.ocean.units import Address

T = TypeVar("T")

_HEX_KEY = re.compile(r"(?:0x)?([0-9a-fA-F]{64})")
_CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
_MAX_KEYSTORE = 20_000
# What wallets ask for: 256 MiB (geth's standard, and the specification's own example), or 262,144 rounds and some.
# A person waits for it, and a thread of the web server with them: both take about a second.
_MAX_KEYSTORE_MEMORY = 256 * 1024 * 1024
_MAX_KEYSTORE_ROUNDS = 1_000_000
# More of these is as much work in the end, but far slower: 2**20 lanes of next to nothing take minutes.
_MOST_OF = {"p": 16, "r": 64, "dklen": 64}
_PATH = re.compile(r"m(/[0-9]{1,10}['hH]?){1,10}")
_MAX_STEP = 2**31 - 1


@dataclass(frozen=True)
class Signed:
    """Proof by signature. It is good for one call: the nonce is used up even when the call fails."""

    address: Address
    nonce: int
    signature: str = field(repr=False)


@dataclass(frozen=True)
class Token:
    """Proof by a token that the service made out earlier. Anybody who has it can act for any address at a node.

    nonce: a Provider wants one beside its token (provider-v4 recording 90); a node does not.
    """

    address: Address
    token: str = field(repr=False)
    nonce: int | None = None


# "text" signs 0x + hex of the hash; "bytes" the hash without its leading zero bytes. Nodes take both.
Form = Literal["text", "bytes"]


class SignerFailed(Exception):
    """The libraries that sign have failed. What they said stays behind: they handle the key itself."""


class Signer:
    """Hold one key and sign with it; the key leaves this object in no way."""

    __slots__ = ("__key", "address")

    def __init__(self, private_key: bytes | str) -> None:
        self.__key = (
            key_from_hex(private_key) if isinstance(private_key, str) else _checked(bytes(private_key))
        )
        del private_key  # an error report shows what a function knows by name
        self.address = self.__keep_inside(lambda: Address(Account.from_key(self.__key).address))

    def sign_text(self, text: str) -> str:
        """Sign a text as wallets do (EIP-191); gives 0x and 130 digits."""
        return self._sign(encode_defunct(text=text))

    def sign_bytes(self, data: bytes) -> str:
        """Sign bytes as wallets do (EIP-191); gives 0x and 130 digits."""
        return self._sign(encode_defunct(primitive=data))

    def sign_transaction(self, tx: Transaction) -> SignedTransaction:
        """Sign a transaction of type 2. The same transaction gives the same bytes every time (RFC 6979)."""
        fields = {
            "type": 2,
            "chainId": tx.chain_id,
            "nonce": tx.nonce,
            "to": str(tx.to),
            "data": tx.data,
            "value": tx.value_wei,
            "gas": tx.gas,
            "maxFeePerGas": tx.max_fee_wei,
            "maxPriorityFeePerGas": tx.priority_fee_wei,
        }
        signed = self.__keep_inside(lambda: Account.sign_transaction(fields, self.__key))
        return SignedTransaction(raw=bytes(signed.raw_transaction), hash="0x" + bytes(signed.hash).hex())

    def _sign(self, message: SignableMessage) -> str:
        signed = self.__keep_inside(lambda: Account.sign_message(message, self.__key))
        return "0x" + bytes(signed.signature).hex()

    @staticmethod
    def __keep_inside(use: Callable[[], T]) -> T:
        """Use the key. Raises: SignerFailed, without the functions that knew the key by a name of their own."""
        try:
            return use()
        except Exception as error:
            kind = type(error).__name__
        # Not from within the handler: an error report shows the variables of every function on the way, of what came before
        # as well.
        raise SignerFailed(
            f"The libraries that sign have failed with {kind}; no more is said, as it could tell the key."
        )

    def __repr__(self) -> str:
        return f"Signer({self.address}, key hidden)"

    def __reduce_ex__(self, _: object) -> NoReturn:
        """Refuse; pickling and copying both come through here."""
        raise TypeError("A signer is neither copied nor written down.")


@dataclass(frozen=True)
class Pen:
    """A wallet's turn to sign one call. The nonce is used up even when the call fails.

    form: how a node's commands are signed; other dialects have one form only.
    """

    signer: Signer
    nonce: int
    form: Form = "text"

    @property
    def address(self) -> Address:
        """The address that signs."""
        return self.signer.address


# What a call is given to prove itself with: each dialect has its own text to sign, so it signs when it knows the call.
Proof = Pen | Token


def node_digest(*, address: Address, nonce: int, command: str) -> bytes:
    """Hash what a command of an Ocean Node is proven by; the node rebuilds it from the parsed nonce."""
    return bytes(keccak(text=f"{address}{nonce}{command}"))


def node_message(*, address: Address, nonce: int, command: str) -> str:
    """Give the text to sign for a command of an Ocean Node."""
    return "0x" + node_digest(address=address, nonce=nonce, command=command).hex()


def prove_start_free(signer: Signer, *, nonce: int, form: Form = "text") -> Signed:
    """Sign the start of a free job. Source: recording 33, exchange 42."""
    return _prove(signer, nonce=nonce, command="freeStartCompute", form=form)


def prove_start_paid(signer: Signer, *, nonce: int, form: Form = "text") -> Signed:
    """Sign the start of a paid job. Source: recording 31, exchange 7."""
    return _prove(signer, nonce=nonce, command="startCompute", form=form)


def prove_stop(signer: Signer, *, nonce: int, form: Form = "text") -> Signed:
    """Sign the stop of a job. Source: recording 14, exchange 6."""
    return _prove(signer, nonce=nonce, command="stopCompute", form=form)


def prove_result(signer: Signer, *, nonce: int, form: Form = "text") -> Signed:
    """Sign the fetching of one result. Source: recording 10, exchange 9."""
    return _prove(signer, nonce=nonce, command="getComputeResult", form=form)


def prove_logs(signer: Signer, *, nonce: int, form: Form = "text") -> Signed:
    """Sign the following of a live log. Source: recording 14, exchange 10."""
    return _prove(signer, nonce=nonce, command="getComputeStreamableLogs", form=form)


def prove_token(signer: Signer, *, nonce: int, form: Form = "text") -> Signed:
    """Sign the making of a token. Source: recording 15, exchange 1."""
    return _prove(signer, nonce=nonce, command="createAuthToken", form=form)


def prove_invalidate(signer: Signer, *, nonce: int, form: Form = "text") -> Signed:
    """Sign the giving back of a token. Source: recording 15, exchange 27."""
    return _prove(signer, nonce=nonce, command="invalidateAuthToken", form=form)


def _prove(signer: Signer, *, nonce: int, command: str, form: Form) -> Signed:
    if form == "text":
        signature = signer.sign_text(node_message(address=signer.address, nonce=nonce, command=command))
    else:
        digest = node_digest(address=signer.address, nonce=nonce, command=command)
        signature = signer.sign_bytes(digest.lstrip(b"\0"))
    return Signed(address=signer.address, nonce=nonce, signature=signature)


def provider_digest(*parts: object) -> bytes:
    """Hash what a call of a Provider is proven by: its parts, joined without anything between them."""
    return bytes(keccak(text="".join(str(part) for part in parts)))


def prove_provider_start(signer: Signer, *, nonce: int, did: str) -> Signed:
    """Sign the start of a job. did: of its first dataset. Source: provider-v4 recording 40, exchange 11."""
    return _prove_to_provider(signer, did, nonce=nonce)


def prove_provider_stop(signer: Signer, *, nonce: int, job_id: str, did: str = "") -> Signed:
    """Sign the stop of a job, or its deletion. did: only where the request names one.

    Source: provider-v4 recordings 52, 84 and 87.
    """
    return _prove_to_provider(signer, job_id, did, nonce=nonce)


def prove_provider_result(signer: Signer, *, nonce: int, job_id: str, index: int) -> Signed:
    """Sign the fetching of one result. Source: provider-v4 recordings 43 and 85."""
    return _prove_to_provider(signer, job_id, index, nonce=nonce)


def prove_provider_token(signer: Signer, *, nonce: int) -> Signed:
    """Sign the making of a token. Source: provider-v4 recording 90, exchange 2."""
    return _prove_to_provider(signer, nonce=nonce)


def prove_provider_delete(signer: Signer, *, nonce: int) -> Signed:
    """Sign the giving back of a token; it is the text of its making. Source: provider-v4 recording 90, exchange 8."""
    return _prove_to_provider(signer, nonce=nonce)


def _prove_to_provider(signer: Signer, *parts: object, nonce: int) -> Signed:
    signature = signer.sign_bytes(provider_digest(signer.address, *parts, nonce))
    return Signed(address=signer.address, nonce=nonce, signature=signature)


def new_key() -> bytes:
    """Make a new private key from the system's randomness."""
    return bytes(Account.create().key)


def key_from_hex(text: str) -> bytes:
    """Read a private key written as 64 hexadecimal digits.

    Raises: ValueError, with a sentence that does not repeat the input.
    """
    match = _HEX_KEY.fullmatch(text.strip())
    if match is None:
        raise ValueError("A private key is 64 hexadecimal digits, with or without 0x in front.")
    return _checked(bytes.fromhex(match[1]))


def derivation_path(text: str) -> str:
    """Read a derivation path (BIP-44), such as m/44'/60'/0'/0/0; h and H mean the same as '.

    Raises: ValueError, with a sentence for a user.
    """
    path = re.sub("[hH’]", "'", text.strip())
    steps = [int(step.rstrip("'")) for step in path.split("/")[1:]] if _PATH.fullmatch(path) else []
    if not steps or max(steps) > _MAX_STEP:
        raise ValueError(
            f"A derivation path looks like {ETHEREUM_DEFAULT_PATH}: m, and 1 to 10 numbers below 2,147,483,648."
        )
    return path


def key_from_mnemonic(text: str, path: str = ETHEREUM_DEFAULT_PATH) -> bytes:
    """Derive the private key of a seed phrase (BIP-39, without a passphrase of its own) at a path.

    Raises: ValueError, with a sentence that does not repeat the input.
    """
    path = derivation_path(path)
    try:
        key = key_from_seed(seed_from_mnemonic(" ".join(text.split()), passphrase=""), path)
    except Exception:
        # eth-account raises errors of several kinds, some of which quote the phrase; it must not get out.
        raise ValueError("These words are no valid seed phrase.") from None
    return _checked(bytes(key))


def key_from_keystore(json_text: str, password: str) -> bytes:
    """Open an encrypted keystore file (version 3).

    Raises: ValueError, with a sentence that does not repeat the input.
    """
    if len(json_text) > _MAX_KEYSTORE:
        raise ValueError("This file is too large for a keystore.")
    try:
        keystore = load_json(json_text.encode())
        version = _lowered(keystore)["version"]
        crypto = _lowered(_lowered(keystore)["crypto"])
        parameters = _lowered(crypto["kdfparams"])
        numbers = {name: int(parameters.get(name, 1)) for name in ("n", "r", "p", "c", "dklen")}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError("This file is no keystore of version 3.") from None
    if version != 3 or min(numbers.values()) < 1:
        raise ValueError("This file is no keystore of version 3.")
    if (
        128 * numbers["n"] * numbers["r"] * numbers["p"] > _MAX_KEYSTORE_MEMORY
        or numbers["c"] > _MAX_KEYSTORE_ROUNDS
        or any(numbers[name] > most for name, most in _MOST_OF.items())
    ):
        raise ValueError("This keystore asks for more work than a real one; it is not opened.")
    # Put together anew: what opens it would take "N" for "n" in an order of its own.
    opened = {"version": 3, "crypto": crypto | {"kdfparams": parameters}}
    try:
        return _checked(bytes(Account.decrypt(opened, password)))
    except Exception:
        # The library raises many kinds for a malformed file; a wrong password is a ValueError among them.
        raise ValueError("The keystore does not open: wrong password, or a damaged file.") from None


def _lowered(part: dict[str, Any]) -> dict[str, Any]:
    return {name.lower(): value for name, value in part.items()}


def _checked(key: bytes) -> bytes:
    if len(key) != 32 or not 0 < int.from_bytes(key, "big") < _CURVE_ORDER:
        raise ValueError("This number is no private key of the curve that Ethereum uses.")
    return key


# Accounts whose keys everybody knows; whatever they are sent on a real network is gone within seconds.
DEV_ADDRESSES = frozenset(
    Address(text)
    for text in (
        # "test test ... junk", 0 to 19. Source: the recordings, Hardhat, Anvil.
        "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
        "0x70997970C51812dc3A010C7d01b50e0d17dc79C8",
        "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC",
        "0x90F79bf6EB2c4f870365E785982E1f101E93b906",
        "0x15d34AAf54267DB7D7c367839AAf71A00a2C6A65",
        "0x9965507D1a55bcC2695C58ba16FB37d819B0A4dc",
        "0x976EA74026E726554dB657fA54763abd0C3a0aa9",
        "0x14dC79964da2C08b23698B3D3cc7Ca32193d9955",
        "0x23618e81E3f5cdF7f54C3d65f7FBc0aBf5B21E8f",
        "0xa0Ee7A142d267C1f36714E4a8F75612F20a79720",
        "0xBcd4042DE499D14e55001CcbB24a551F3b954096",
        "0x71bE63f3384f5fb98995898A86B02Fb2426c5788",
        "0xFABB0ac9d68B0B445fB7357272Ff202C5651694a",
        "0x1CBd3b2770909D4e10f157cABC84C7264073C9Ec",
        "0xdF3e18d64BC6A983f673Ab319CCaE4f1a57C7097",
        "0xcd3B766CCDd6AE721141F452C550Ca635964ce71",
        "0x2546BcD3c84621e976D8185a91A922aE77ECEc30",
        "0xbDA5747bFD65F08deb54cb465eB87D40e51B197E",
        "0xdD2FD4581271e230360230F9337D5c0430Bf44C0",
        "0x8626f6940E2eb28930eFb4CeF49B2d1F2C9C1199",
        # "myth like bonus scare ...", 0 to 9. Source: ganache -d.
        "0x90F8bf6A479f320ead074411a4B0e7944Ea8c9C1",
        "0xFFcf8FDEE72ac11b5c542428B35EEF5769C409f0",
        "0x22d491Bde2303f2f43325b2108D26f1eAbA1e32b",
        "0xE11BA2b4D45Eaed5996Cd0823791E0C93114882d",
        "0xd03ea8624C8C5987235048901fB614fDcA89b117",
        "0x95cED938F7991cd0dFcb48F0a06a40FA1aF46EBC",
        "0x3E5e9111Ae8eB78Fe1CC3bb8915d5D461F3Ef9A9",
        "0x28a8746e75304c0780E011BEd21C72cD78cd535E",
        "0xACa94ef8bD5ffEE41947b4585a84BdA5a3d3DA6E",
        "0x1dF62f291b2E969fB0849d99D9Ce41e2F137006e",
        # "taxi music thumb unique ...", 0 to 9. Source: barge; the test keys of ocean.py are among them.
        "0xe2DD09d719Da89e5a3D0F2549c7E24566e947260",
        "0xBE5449a6A97aD46c8558A3356267Ee5D2731ab5e",
        "0xA78deb2Fa79463945C247991075E2a0e98Ba7A09",
        "0x02354A1F160A3fd7ac8b02ee91F04104440B28E7",
        "0xe17D2A07EFD5b112F4d675ea2d122ddb145d117B",
        "0xA32C84D2B44C041F3a56afC07a33f8AC5BF1A071",
        "0xFF3fE9eb218EAe9ae1eF9cC6C4db238B770B65CC",
        "0x529043886F21D9bc1AE0feDb751e34265a246e47",
        "0xe08A1dAe983BC701D05E492DB80e0144f8f4b909",
        "0xbcE5A3468386C64507D30136685A99cFD5603135",
    )
)
