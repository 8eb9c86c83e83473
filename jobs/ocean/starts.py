"""What a job is started with: data, an algorithm, and limits. A DID names what is published; the rest is one's own."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jobs.ocean.files import UrlFile
from jobs.ocean.units import Address


@dataclass(frozen=True)
class Container:
    """The image that an algorithm runs in, as its DDO names it.

    dockerfile: for services that build images; `image` and `tag` are then empty.
    """

    entrypoint: str
    image: str
    tag: str
    checksum: str
    dockerfile: str | None = None


@dataclass(frozen=True)
class AssetInput:
    """A published dataset as a job asks for it.

    userdata: the consumer parameters of its service.
    order: hash of the transaction that paid for it, where the service wants orders.
    """

    did: str
    service_id: str
    userdata: Mapping[str, Any] | None = None
    order: str = ""


@dataclass(frozen=True)
class UrlInput:
    """A dataset that is published nowhere: the service fetches it from its address."""

    file: UrlFile


@dataclass(frozen=True)
class AlgorithmInput:
    """The published algorithm of a job. custom_data: becomes /data/inputs/algoCustomData.json.

    container: a free job on a node cannot do without (recording 33, exchanges 41 and 42).
    order: hash of the transaction that paid for it, where the service wants orders.
    """

    did: str
    service_id: str
    container: Container | None = None
    custom_data: Mapping[str, Any] | None = None
    order: str = ""


@dataclass(frozen=True)
class CodeAlgorithm:
    """Code of one's own, sent with the start; all of a start fits into 100 kB.

    language: what a Provider is told that it is written in.
    """

    code: str
    container: Container
    custom_data: Mapping[str, Any] | None = None
    language: str = ""


@dataclass(frozen=True)
class UrlAlgorithm:
    """An algorithm that is published nowhere: the service fetches it from its address."""

    file: UrlFile
    container: Container
    custom_data: Mapping[str, Any] | None = None
    language: str = ""


Dataset = AssetInput | UrlInput
Algorithm = AlgorithmInput | CodeAlgorithm | UrlAlgorithm


@dataclass(frozen=True)
class Payment:
    """What a paid job at a node is paid in, from the escrow of the wallet. token: one that the environment takes."""

    chain_id: int
    token: Address


@dataclass(frozen=True)
class StartRequest:
    """A job as it is asked for.

    datasets: two that have the same file name overwrite each other (recording 23, exchange 20).
    queue_wait_s: how long it may wait where the environment is busy; None means be refused at once.
    metadata: a note that comes back in status answers, for everybody to read; at most 1,024 characters of JSON.
    tag: a part of the metadata, by which a start whose answer was lost is found again.
    resources: (id, amount) pairs; None takes the smallest that the environment allows.
    envs: environment variables of the container.
    additional_viewers: who else may fetch results, with a signature of his own (recording 15, exchange 19).
    payment: at a node, what a paid job is paid in; without it the job is a free one. A Provider's are paid with orders.

    Raises: ValueError for a tag beside metadata that is a text.
    """

    environment_id: str
    datasets: tuple[Dataset, ...]
    algorithm: Algorithm
    max_duration_s: int | None = None
    queue_wait_s: int | None = None
    tag: str | None = None
    metadata: Mapping[str, Any] | str | None = None
    resources: tuple[tuple[str, float], ...] | None = None
    envs: Mapping[str, str] | None = None
    additional_viewers: tuple[Address, ...] = ()
    payment: Payment | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be said in one note."""
        if self.tag is not None and isinstance(self.metadata, str):
            raise ValueError("Metadata that is a text has no place for a tag.")

    @property
    def agreement_id(self) -> str:
        """The order that a Provider files the job under: the algorithm's, else the first dataset's; "" without orders.

        This is so for one dataset where nothing is paid. To find a job again, look for any of `orders`.
        Source: provider-v4 recordings 40 and 51.
        """
        paid = [self.algorithm, *self.datasets]
        orders = (part.order for part in paid if isinstance(part, AlgorithmInput | AssetInput) and part.order)
        return next(orders, "")

    @property
    def orders(self) -> frozenset[str]:
        """Every order of the start; a Provider files the job under the last one whose fee covers the environment's.

        Source: provider v2.1.6, validation/algo.py, validate_input; provider-v4 recordings 40, 51 and 63.
        """
        parts = [*self.datasets, self.algorithm]
        return frozenset(
            part.order for part in parts if isinstance(part, AlgorithmInput | AssetInput) and part.order
        )

    @property
    def note(self) -> dict[str, Any] | str | None:
        """The metadata with the tag in it."""
        if isinstance(self.metadata, str) or (self.metadata is None and self.tag is None):
            return self.metadata
        tag = {} if self.tag is None else {"tag": self.tag}
        return {**(self.metadata or {}), **tag}
