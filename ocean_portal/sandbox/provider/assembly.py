"""Puts Provider, operator-service, engine and Aquarius together around one chain."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ocean_portal.sandbox.chain import Chain
from ocean_portal.sandbox.contracts import Contract
from ocean_portal.sandbox.demo.assets import ASSETS, located
from ocean_portal.sandbox.engine import Engine, Pace
from ocean_portal.sandbox.files import Files
from ocean_portal.sandbox.indexing.indexer import CREATED, UPDATED, Indexer, published_in
from ocean_portal.sandbox.indexing.routes import Aquarius
from ocean_portal.sandbox.provider import accounts
from ocean_portal.sandbox.provider.agreements import Clerk
from ocean_portal.sandbox.provider.catalogue import PUBLISHER, Catalogue
from ocean_portal.sandbox.provider.decryption import Decryption, Published
from ocean_portal.sandbox.provider.downloads import Downloads
from ocean_portal.sandbox.provider.fees import FeeDesk
from ocean_portal.sandbox.provider.ledger import ChainLedger, Ledger
from ocean_portal.sandbox.provider.memory import Memory
from ocean_portal.sandbox.provider.operator import OperatorService
from ocean_portal.sandbox.provider.routes import Provider
from ocean_portal.sandbox.provider.signatures import Gate
from ocean_portal.sandbox.provider.switches import Switches
from ocean_portal.sandbox.provider.work import ProviderWork
from ocean_portal.sandbox.store import Store

ENGINE = "provider-v4"


class ProviderNetwork:
    """The second dialect's part of the sandbox."""

    def __init__(
        self,
        *,
        chain: Chain,
        contracts: Mapping[str, Any],
        store: Store,
        folder: Path,
        files: Files,
        pace: Pace,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._chain = chain
        self._contracts = contracts
        self.account = accounts.account(accounts.PROVIDER)
        self._secret = bytes(self.account.key)
        switches = Switches(folder=folder)
        self.indexer = Indexer(chain=chain, factory=contracts["ERC721Factory"], secret=self._secret)
        self.aquarius = Aquarius(
            indexer=self.indexer,
            chain_id=chain.chain_id,
            account=accounts.account(accounts.AQUARIUS),
            switches=switches,
        )
        self.parts = ProviderParts(
            ledger=ChainLedger(chain=chain),
            resolve=self.aquarius.resolve,
            decryption=Decryption(
                secret=self._secret,
                chain_id=chain.chain_id,
                comes_from_factory=self._comes_from_factory,
                find=self._find_published,
                state=lambda nft: ChainLedger(chain=chain).state(nft=nft),
            ),
            fee_token=contracts["Ocean"],
            chain_id=chain.chain_id,
            store=store,
            folder=folder,
            files=files,
            pace=pace,
            switches=switches,
            now=now,
        )

    def _comes_from_factory(self, nft: str) -> bool:
        factory = Contract(self._chain, "ERC721Factory", self._contracts["ERC721Factory"])
        return bool(factory.call("erc721List", nft).lower() == nft.lower())

    def _find_published(self, tx_hash: str, nft: str) -> Published:
        """Return what a transaction published. Raises StopIteration, TypeError or RpcError where it did not."""
        receipt = self._chain.rpc("eth_getTransactionReceipt", [tx_hash])
        return next(
            published_in(log)
            for log in receipt["logs"]
            if log["topics"][0] in (CREATED, UPDATED) and log["address"].lower() == nft.lower()
        )

    def publish(self, *, endpoint: str) -> dict[str, dict[str, Any]]:
        """Publish the demo assets that are not there yet, move the others, and return the documents by name."""
        catalogue = Catalogue(
            chain=self._chain, contracts=self._contracts, endpoint=endpoint, secret=self._secret
        )
        self.indexer.catch_up()
        known = self._published()
        for asset in ASSETS:
            document = known.get(asset.v4_name)
            if document is None:
                catalogue.publish(asset=asset)
            else:
                catalogue.move(document=document)
        self.indexer.catch_up()
        return self._published()

    def _published(self) -> dict[str, dict[str, Any]]:
        """Find the demo assets by their names and their publisher, in the order of publication.

        The chain is the record: a sandbox that is killed on the way publishes none of them twice.
        """
        publisher = self._chain.account(PUBLISHER).address
        names = {asset.v4_name for asset in ASSETS}
        found: dict[str, dict[str, Any]] = {}
        for document in self.indexer.documents():
            name = document.get("metadata", {}).get("name")
            if name in names and document["nft"]["owner"] == publisher:
                found.setdefault(name, document)
        return found

    def open(self) -> None:
        """Follow the chain, and take up the jobs that the last process left."""
        self.indexer.open()
        self.parts.engine.open()

    def close(self) -> None:
        """End threads and algorithms."""
        self.indexer.close()
        self.parts.close()


class ProviderParts:
    """A Provider with its operator-service and its engine, over any ledger and any index."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        resolve: Callable[[str], dict[str, Any] | None],
        decryption: Decryption,
        fee_token: str,
        chain_id: int,
        store: Store,
        folder: Path,
        files: Files,
        pace: Pace,
        switches: Switches,
        now: Callable[[], float],
    ) -> None:
        account = accounts.account(accounts.PROVIDER)
        environments = accounts.environments()
        self.environments = environments
        self.memory = Memory(path=folder / "provider.sqlite3")
        clerk = Clerk(ledger=ledger, desk=FeeDesk(account=account, token=fee_token), now=now)
        downloads = Downloads(
            resolve=resolve,
            clerk=clerk,
            files=files,
            locate=located,
            secret=bytes(account.key),
            wallets=[item.consumer_address for item in environments],
        )
        self.store = store.of_engine(name=ENGINE)
        self.engine = Engine(
            store=self.store,
            folder=folder,
            work=ProviderWork(environments=environments, downloads=downloads),
            pace=pace,
            now=now,
        )
        self.provider = Provider(
            account=account,
            chain_id=chain_id,
            memory=self.memory,
            gate=Gate(memory=self.memory, account=account, now=now),
            clerk=clerk,
            downloads=downloads,
            operator=OperatorService(
                store=self.store,
                engine=self.engine,
                environments=environments,
                account=account,
                switches=switches,
                now=now,
            ),
            decryption=decryption,
            now=now,
        )

    def close(self) -> None:
        """End threads and algorithms."""
        self.engine.close()
        self.memory.close()
