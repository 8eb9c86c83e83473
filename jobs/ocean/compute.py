"""What a job asks of a compute service, what the service reports, and what every dialect can do.

Times are seconds since the epoch, durations seconds, `ram` and `disk` gigabytes.
Source of the field names and of what they mean: ocean-node 3.2.0 and provider-v4 recordings.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol

from pydantic import AliasPath, Field, ValidationError, field_validator

from jobs.ocean.dues import Needs as Needs
from jobs.ocean.dues import OrderNeed as OrderNeed
from jobs.ocean.dues import PaymentNeed as PaymentNeed
from jobs.ocean.dues import ProviderFee as ProviderFee
from jobs.ocean.environments import Environment as Environment
from jobs.ocean.environments import FreeTier as FreeTier
from jobs.ocean.environments import Resource as Resource
from jobs.ocean.environments import Tariff as Tariff
from jobs.ocean.environments import parse_environments as parse_environments
from jobs.ocean.environments import parse_environments_by_chain as parse_environments_by_chain
from jobs.ocean.environments import stored_environment as stored_environment
from jobs.ocean.errors import BadAnswer
from jobs.ocean.files import FileInfo as FileInfo
from jobs.ocean.files import UrlFile as UrlFile
from jobs.ocean.files import parse_file_infos as parse_file_infos
from jobs.ocean.parsing import Count, Identifier, Moment, Wire, field_of, parse_list, shown_text
from jobs.ocean.parsing import Parsed as Parsed
from jobs.ocean.receipts import JobPayment as JobPayment
from jobs.ocean.starts import Algorithm as Algorithm
from jobs.ocean.starts import AlgorithmInput as AlgorithmInput
from jobs.ocean.starts import AssetInput as AssetInput
from jobs.ocean.starts import CodeAlgorithm as CodeAlgorithm
from jobs.ocean.starts import Container as Container
from jobs.ocean.starts import Dataset as Dataset
from jobs.ocean.starts import Payment as Payment
from jobs.ocean.starts import StartRequest as StartRequest
from jobs.ocean.starts import UrlAlgorithm as UrlAlgorithm
from jobs.ocean.starts import UrlInput as UrlInput
from jobs.ocean.units import Address

if TYPE_CHECKING:
    from jobs.ocean.signing import Pen, Proof

MAX_JOBS = 5_000
_MAX_RESULTS = 1_000


# What a service speaks; it also says how its status numbers are to be read.
Dialect = Literal["ocean-node", "provider-v4"]


class ResultEntry(Wire):
    """One file that a node keeps for a job; `index` is its position in the list as it was just now."""

    index: Annotated[int, Field(ge=0, le=100_000, strict=True)]
    name: Annotated[str, Field(max_length=1_000, validation_alias="filename"), shown_text(255)]
    kind: Annotated[str, Field(max_length=100, validation_alias="type"), shown_text(50)]
    size: Annotated[Count | None, Field(validation_alias="filesize")] = None


class JobReport(Wire):
    """What a service says about one job.

    job_id: the short id of status answers. long_id: with the engine before it, as every signed call wants it; a
        Provider's jobs have one id for both.
    environment_id: None where the service does not say, as a Provider.
    agreement_id: the order that a Provider files the job under; "" at a node.
    payment: what became of the money of a paid job at a node; None for every other job.
    ran_too_long: the service itself says that it ended the job for its duration.
    """

    dialect: Dialect = "ocean-node"
    job_id: Identifier
    long_id: Identifier
    owner: Address
    environment_id: Annotated[Identifier | None, Field(validation_alias="environment")] = None
    agreement_id: Annotated[str, Field(max_length=200)] = ""
    status: Annotated[int, Field(ge=0, le=9_999, strict=True)]
    status_text: Annotated[str, Field(validation_alias="statusText"), shown_text(200)] = ""
    created_at: Annotated[Moment, Field(validation_alias="dateCreated")] = None
    finished_at: Annotated[Moment, Field(validation_alias="dateFinished")] = None
    results: tuple[ResultEntry, ...] = Field(default=(), max_length=_MAX_RESULTS, fail_fast=True)
    stop_requested: Annotated[bool, Field(validation_alias="stopRequested", strict=True)] = False
    ran_too_long: bool = False
    exit_code: int | None = Field(
        default=None,
        validation_alias=AliasPath("terminationDetails", "exitCode"),
        strict=True,
        ge=-(2**31),
        lt=2**31,
    )
    oom_killed: bool | None = Field(
        default=None, validation_alias=AliasPath("terminationDetails", "OOMKilled"), strict=True
    )
    metadata: Any = None
    max_duration_s: Annotated[Count | None, Field(validation_alias="maxJobDuration")] = None
    algo_started_at: Annotated[Moment, Field(validation_alias="algoStartTimestamp")] = None
    algo_stopped_at: Annotated[Moment, Field(validation_alias="algoStopTimestamp")] = None
    payment: JobPayment | None = None
    lock_hash: Annotated[
        str | None, Field(validation_alias="jobIdHash", pattern=r"^0x[0-9a-fA-F]{1,64}$")
    ] = None
    raw: dict[str, Any] = Field(default_factory=dict, repr=False)

    @field_validator("results", mode="before")
    @classmethod
    def _no_results_yet(cls, value: object) -> object:
        # A stop and a list of many owners carry null here, whatever the job has: recording 14, exchange 6; 16, 21.
        return () if value is None else value

    @property
    def tells_results(self) -> bool:
        """Say whether `results` is what the job has; else this kind of answer never tells."""
        return "results" not in self.raw or self.raw["results"] is not None

    @property
    def lock_id(self) -> int | None:
        """The number of the job in the escrow. Source: recording 31, exchange 7, against the locks in its notes."""
        return None if self.lock_hash is None else int(self.lock_hash, 16)

    @property
    def tag(self) -> str | None:
        """The tag that our start put into the metadata, if any."""
        tag = self.metadata.get("tag") if isinstance(self.metadata, dict) else None
        return tag if isinstance(tag, str) else None

    @property
    def ended(self) -> bool:
        """Say whether the job is over: the end is `dateFinished`, not a number (71 comes before 70)."""
        return self.finished_at is not None


def parse_job(entry: object) -> JobReport:
    """Read one job of a start, status or stop answer.

    Raises: BadAnswer naming the first field that cannot be read.
    """
    if not isinstance(entry, dict):
        raise BadAnswer("The node described a job by something that is no object.", code="job")
    sent, environment_id = entry.get("jobId"), entry.get("environment")
    if not isinstance(sent, str) or not isinstance(environment_id, str):
        raise BadAnswer("The node described a job without its id or environment.", code="job")
    try:
        return JobReport.model_validate(
            {
                **entry,
                "job_id": sent.partition("-")[2] or sent,
                "long_id": long_job_id(sent, environment_id=environment_id),
                "raw": entry,
            }
        )
    except ValidationError as error:
        raise BadAnswer(
            f"The node described a job with an unreadable {field_of(error)}.", code="job"
        ) from None


def parse_jobs(
    answer: object,
    *,
    owners: Collection[Address] | None = None,
    read: Callable[[object], JobReport] = parse_job,
) -> Parsed[JobReport]:
    """Read a status answer. owners: jobs of anybody else are dropped, since a node may say what it likes.

    read: how the dialect describes a job.
    Raises: BadAnswer when it is no list, or has entries and none of them can be read.
    """
    if not isinstance(answer, list):
        raise BadAnswer("The node's list of jobs is no list.", code="jobs")
    parsed = parse_list(answer, limit=MAX_JOBS, read=read, what="job")
    mine = tuple(report for report in parsed if owners is None or report.owner in owners)
    return Parsed(items=mine, skipped=parsed.skipped)


def parse_one_job(answer: object, *, host: str, read: Callable[[object], JobReport] = parse_job) -> JobReport:
    """Read the answer to a write: a list with the one job.

    Raises: BadAnswer, whose write may have happened.
    """
    try:
        if not isinstance(answer, list) or len(answer) != 1:
            raise BadAnswer("The answer is not one job.", code="job")
        return read(answer[0])
    except BadAnswer as error:
        raise BadAnswer(f"{host}: {error.message}", code=error.code, maybe_happened=True) from None


def long_job_id(job_id: str, *, environment_id: str) -> str:
    """Give the id with its engine in front, as results, logs and stop want it.

    Start answers carry it, status answers do not; the engine is the first part of the environment's id too
    (recording 10, exchanges 2 and 3).
    """
    if "-" in job_id:
        return job_id
    engine, dash, _ = environment_id.partition("-")
    return f"{engine}-{job_id}" if dash else job_id


def same_job(long_id: str, short_id: str) -> bool:
    """Say whether two ids name one job, whichever of them carries its engine."""
    if "-" in long_id and "-" in short_id:
        return long_id == short_id
    return (long_id.partition("-")[2] or long_id) == (short_id.partition("-")[2] or short_id)


@dataclass(frozen=True)
class NodeIdentity:
    """What a compute service says it is.

    address: the account that fees go to and that signs them; addresses: the same by chain, where they differ.
    endpoints: method and path by the name of a call, where the service names them.
    """

    software: str
    version: str
    address: Address
    chain_ids: tuple[int, ...]
    dialect: Dialect = "ocean-node"
    addresses: Mapping[int, Address] = field(default_factory=dict)
    endpoints: Mapping[str, tuple[str, str]] = field(default_factory=dict)


class NodeStatus(Wire):
    """How a node is. version: of its software, unlike the one in its identity, which is that of its HTTP interface.

    Source: recording 16, exchange 23, against recording 01, exchange 1: "3.2.0" and "0.0.1".
    """

    version: Annotated[str, Field(max_length=1_000), shown_text(40)]
    address: Address
    name: Annotated[str, Field(max_length=1_000, validation_alias="friendlyName"), shown_text(100)] = ""
    uptime_s: Annotated[float | None, Field(ge=0, le=1e12, validation_alias="uptime")] = None


class AssetState(Wire):
    """How far an indexer got with an asset. error: a stranger's text, empty when there was none."""

    did: Annotated[str, Field(max_length=200)]
    valid: Annotated[bool, Field(strict=True)]
    error: Annotated[str, Field(max_length=100_000), shown_text(500)] = ""


AssetKind = Literal["dataset", "algorithm"]


@dataclass(frozen=True)
class LogPiece:
    """Some bytes of a live log. stream: 1 is what the algorithm printed, 2 what it printed as errors."""

    stream: int
    data: bytes


@dataclass(frozen=True)
class Capabilities:
    """What a dialect can do at all.

    orders: every start needs an order of each asset on the chain, free ones too.
    escrow: a start may be paid from an escrow (`StartRequest.payment`); such a start needs orders too.
    tags: our tag travels with a start and comes back; else a job is known by its order.
    token_nonces: a token stands in for the signature only, and wants a nonce beside it.
    trust_enforced: a free start too is refused where a publisher has not listed the algorithm.
    no_list_trusts_all: where a publisher lists neither algorithms nor publishers, any published algorithm may run; a node
    lets none run there. Source: provider v2.1.6, validation/algo.py; ocean-node 3.2.0, components/core/compute/utils.ts.
    packed_outputs: what an algorithm leaves comes as one archive, not file by file.
    """

    live_logs: bool
    exit_codes: bool
    queue: bool
    free_jobs: bool
    tokens: bool
    orders: bool = False
    tags: bool = True
    token_nonces: bool = False
    trust_enforced: bool = False
    no_list_trusts_all: bool = False
    packed_outputs: bool = False
    escrow: bool = False


# What each dialect can do, for whoever has a name of one and no client: pages.
CAPABILITIES: Mapping[str, Capabilities] = {
    "ocean-node": Capabilities(
        live_logs=True,
        exit_codes=True,
        queue=True,
        free_jobs=True,
        tokens=True,
        packed_outputs=True,
        escrow=True,
    ),
    "provider-v4": Capabilities(
        live_logs=False,
        exit_codes=False,
        queue=False,
        free_jobs=True,
        tokens=True,
        orders=True,
        tags=False,
        token_nonces=True,
        trust_enforced=True,
        no_list_trusts_all=True,
    ),
}


class ComputeBackend(Protocol):
    """A compute service, whatever its dialect: what the portal needs of it. Every method may raise OceanError."""

    capabilities: Capabilities

    def identify(self) -> NodeIdentity:
        """Ask the service what it is."""

    def nonce(self, *, address: Address) -> int:
        """Ask for the last nonce that the service took from the address."""

    def environments(self) -> Parsed[Environment]:
        """List the places where jobs may run."""

    def initialize(
        self, *, request: StartRequest, consumer: Address, payer: Address, valid_until: int
    ) -> Needs:
        """Ask what has to be on the chain before the start.

        consumer: the environment's address, which orders are for. payer: the wallet's. valid_until: seconds since the
        epoch, for fees that are paid for a time. Orders in the request are offered to be used again.
        """

    def start(self, *, request: StartRequest, proof: "Proof") -> JobReport:
        """Start a job. Not idempotent: look for it before repeating."""

    def jobs_of(self, *, owner: Address) -> Parsed[JobReport]:
        """List every job that the service still keeps for the owner."""

    def stop(self, *, job_id: str, proof: "Proof") -> JobReport:
        """Ask the service to stop a job; it ends some seconds later."""

    def open_result(
        self, *, job_id: str, entry: ResultEntry, proof: "Proof", max_bytes: int, total_s: float
    ) -> AbstractContextManager[Iterator[bytes]]:
        """Stream one result file."""

    def stream_log(
        self, *, job_id: str, proof: "Proof", max_bytes: int, total_s: float
    ) -> AbstractContextManager[Iterator[LogPiece]]:
        """Follow the log of a running container from its first line; only where there are live logs."""

    def create_token(self, *, proof: "Pen", valid_until_ms: int | None) -> str:
        """Get a token that stands in for signatures."""

    def invalidate_token(self, *, proof: "Pen", token: str) -> None:
        """Give a token back."""

    def get_ddo(self, *, did: str) -> dict[str, Any]:
        """Fetch the DDO of an asset, raw."""

    def file_info(self, *, file: AssetInput | UrlFile, checksum: bool = False) -> Parsed[FileInfo]:
        """Ask what the service finds at a file's place: whether it can fetch it, how large it is."""

    def search_assets(
        self, *, text: str = "", kind: AssetKind | None = None, limit: int = 20
    ) -> Parsed[dict[str, Any]]:
        """Search the DDOs that the service has indexed; they come raw."""
