"""Opens documents that this Provider encrypted, for Aquarius.

Source: oceanprotocol/provider @ 4cd244b : routes/decrypt.py.
"""

import hashlib
import lzma
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ocean_portal.sandbox.provider import ecies

COMPRESSED, ENCRYPTED = 1, 2
GOOD_STATES = (0, 4, 5)  # active, temporarily disabled, unlisted
BAD_STATES = {1: "Asset end of life", 2: "Asset deprecated", 3: "Asset revoked"}
DOCUMENT_BYTES = 10 * 1024 * 1024


class Unreadable(Exception):
    """Says in Provider's words why a document cannot be opened."""


@dataclass(frozen=True)
class Published:
    """What a setMetaData left on the chain."""

    data: bytes
    flags: bytes
    digest: bytes


def open_document(*, published: Published, secret: bytes) -> bytes:
    """Return the plain document. Raises Unreadable."""
    content = published.data
    flags = published.flags[0] if published.flags else 0
    if flags & ENCRYPTED:
        try:
            content = ecies.decrypt(secret=secret, encrypted=content)
        except Exception as error:  # a stranger's bytes may break in any way
            raise Unreadable("Failed to decrypt.") from error
    if flags & COMPRESSED:
        try:
            content = lzma.LZMADecompressor().decompress(content, DOCUMENT_BYTES)
        except lzma.LZMAError as error:
            raise Unreadable("Failed to decompress") from error
    if hashlib.sha256(content).digest() != published.digest:
        raise Unreadable("Checksum doesn't match.")
    return content


@dataclass(frozen=True)
class Decryption:
    """Answers decrypt. find: what a transaction published for an NFT, or KeyError; state: the NFT's now."""

    secret: bytes
    chain_id: int
    comes_from_factory: Callable[[str], bool]
    find: Callable[[str, str], Published]
    state: Callable[[str], int]

    def answer(self, *, data: dict[str, Any]) -> tuple[int, bytes]:
        """Return status and content of the answer."""
        nft = data["dataNftAddress"]
        if str(data["chainId"]) != str(self.chain_id):
            return 400, f"Unsupported chain ID {data['chainId']}".encode()
        if not self.comes_from_factory(nft):
            return 400, b"Asset not deployed by the data NFT factory."
        try:
            published = self._published(data, nft)
        except Exception:  # the original has one answer for all that may be wrong
            by_transaction = bool(data.get("transactionId"))
            problem = "process transaction id" if by_transaction else "convert input args to bytes"
            return 400, f"Failed to {problem}.".encode()
        state = self.state(nft)
        if state not in GOOD_STATES:
            known = BAD_STATES.get(state)
            return (403, known.encode()) if known else (400, b"Invalid MetadataState")
        try:
            return 201, open_document(published=published, secret=self.secret)
        except Unreadable as problem_found:
            return 400, str(problem_found).encode()

    def _published(self, data: dict[str, Any], nft: str) -> Published:
        if data.get("transactionId"):
            return self.find(data["transactionId"], nft)
        return Published(
            data=bytes.fromhex(data["encryptedDocument"].removeprefix("0x")),
            flags=int(data["flags"]).to_bytes(1),
            digest=bytes.fromhex(data["documentHash"].removeprefix("0x")),
        )
