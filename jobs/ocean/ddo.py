"""DDOs from 4.1.0 to 5.0.0, read into one shape. Every text in them was written by a stranger.

Source of the fields: recording 30, exchange 10, for 4.1.0; oceanprotocol/docs, developers/ddo.js, for 5.0.0,
which wraps the same in `credentialSubject` and writes names and descriptions as language-tagged values.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator

from jobs.ocean.compute import Container
from jobs.ocean.errors import BadAnswer
from jobs.ocean.parsing import Wire, field_of, shown_text
from jobs.ocean.units import Address, is_did

_VERSIONS = ("4.1.", "4.3.", "4.5.", "4.7.", "5.0.")


def _plain(value: object) -> object:
    """Look through the wrappings of 5.0.0: {"@value": ...}, and a licence as {"name": ...}."""
    for key in ("@value", "name"):
        if isinstance(value, dict) and key in value:
            value = value[key]
    return value


def _none_is_empty(value: object) -> object:
    return () if value is None else value


_Unwrapped = BeforeValidator(_plain)
Name = Annotated[str, shown_text(200), _Unwrapped]
Short = Annotated[str, shown_text(500), _Unwrapped]
Text = Annotated[str, shown_text(10_000), _Unwrapped]
Sha256 = Annotated[str, Field(max_length=200)]


class TrustedAlgorithm(Wire):
    """An algorithm that a publisher lets run; "*" lets any. Checksums change when the algorithm is edited."""

    did: Annotated[str, Field(max_length=200)]
    files_checksum: Annotated[Sha256 | None, Field(validation_alias="filesChecksum")] = None
    container_checksum: Annotated[Sha256 | None, Field(validation_alias="containerSectionChecksum")] = None
    service_id: Annotated[str | None, Field(max_length=300, validation_alias="serviceId")] = None


class ComputeSettings(Wire):
    """What may run on a dataset. No list of algorithms, None, is another thing than an empty one."""

    trusted_algorithms: Annotated[
        Annotated[tuple[TrustedAlgorithm, ...], Field(max_length=5_000, fail_fast=True)] | None,
        Field(validation_alias="publisherTrustedAlgorithms"),
    ] = None
    trusted_publishers: Annotated[
        tuple[Annotated[str, Field(max_length=200)], ...],
        Field(max_length=5_000, fail_fast=True, validation_alias="publisherTrustedAlgorithmPublishers"),
        BeforeValidator(_none_is_empty),
    ] = ()
    allow_raw: Annotated[bool, Field(validation_alias="allowRawAlgorithm", strict=True)] = False
    allow_network: Annotated[bool, Field(validation_alias="allowNetworkAccess", strict=True)] = False


class ConsumerParameter(Wire):
    """A value that the consumer gives. options: (value, label) pairs, for a select."""

    name: Annotated[str, Field(min_length=1, max_length=200)]
    type: Literal["text", "number", "boolean", "select"]
    label: Name = ""
    required: bool = False
    default: str | int | float | bool | None = None
    description: Short = ""
    options: tuple[tuple[str, str], ...] = ()

    @field_validator("options", mode="before")
    @classmethod
    def _pairs(cls, value: object) -> object:
        # Written as [{"value": "label"}, ...]; null where there are none.
        if not isinstance(value, list):
            return () if value is None else value
        if len(value) > 1_000:
            raise ValueError("too many options")
        return tuple(
            (str(key)[:200], str(_plain(label))[:200])
            for option in value
            if isinstance(option, dict)
            for key, label in option.items()
        )


Parameters = Annotated[
    tuple[ConsumerParameter, ...],
    Field(max_length=200, fail_fast=True, validation_alias="consumerParameters"),
    BeforeValidator(_none_is_empty),
]


class Service(Wire):
    """One way to use an asset. timeout_s: how long an order lasts; 0 means for ever."""

    id: Annotated[str, Field(min_length=1, max_length=200)]
    type: Annotated[str, Field(min_length=1, max_length=50), shown_text(50)]
    timeout_s: Annotated[int, Field(ge=0, le=10**10, strict=True, validation_alias="timeout")] = 0
    datatoken: Annotated[Address, Field(validation_alias="datatokenAddress")]
    endpoint: Annotated[str, Field(max_length=2_000, validation_alias="serviceEndpoint")]
    name: Name = ""
    description: Text = ""
    compute: ComputeSettings | None = None
    consumer_parameters: Parameters = ()


class Ddo(Wire):
    """An asset as its publisher describes it. nft_state: 0 is active; None where the service does not say."""

    did: str
    version: str
    chain_id: Annotated[int, Field(ge=1, le=2**53, strict=True, validation_alias="chainId")]
    nft_address: Annotated[Address, Field(validation_alias="nftAddress")]
    kind: Literal["dataset", "algorithm"]
    name: Name
    description: Text = ""
    author: Name = ""
    licence: Annotated[str, shown_text(300), _Unwrapped, Field(validation_alias="license")] = ""
    tags: tuple[Name, ...] = Field(default=(), max_length=500, fail_fast=True)
    services: tuple[Service, ...] = Field(min_length=1, max_length=200, fail_fast=True)
    container: Container | None = None
    consumer_parameters: Parameters = ()
    nft_state: Annotated[int | None, Field(ge=0, le=255, strict=True)] = None

    @field_validator("tags", mode="before")
    @classmethod
    def _no_tags(cls, value: object) -> object:
        return _none_is_empty(value)

    @field_validator("name")
    @classmethod
    def _named(cls, value: str) -> str:
        if not value:
            raise ValueError("empty")
        return value

    @model_validator(mode="after")
    def _service_ids_differ(self) -> "Ddo":
        if len({service.id for service in self.services}) != len(self.services):
            raise ValueError("two services have the same id")
        return self

    def service(self, service_id: str) -> Service | None:
        """Find a service by its id."""
        return next((service for service in self.services if service.id == service_id), None)


class _WireContainer(Wire):
    entrypoint: Annotated[str, Field(min_length=1, max_length=1_000)]
    image: Annotated[str, Field(min_length=1, max_length=300)]
    tag: Annotated[str, Field(max_length=200)] = ""
    checksum: Annotated[str, Field(max_length=200)] = ""


def parse_ddo(raw: Mapping[str, Any], *, did: str) -> Ddo:
    """Read the DDO that was fetched for `did`. The caller keeps the raw document.

    Texts that people see are cleaned and cut: names to 200 characters, descriptions to 10,000.
    Raises: BadAnswer, naming the field, for a DDO of another asset, of an unknown version, or malformed.
    """
    subject = raw.get("credentialSubject", raw)
    if not isinstance(subject, Mapping):
        raise BadAnswer("The DDO's credentialSubject cannot be read.", code="ddo")
    version = raw.get("version") or subject.get("version")
    # In 5.0.0 the outer id may be that of the credential; the asset's own is inside.
    found = subject.get("id", raw.get("id"))
    if not is_did(found) or found != did:
        raise BadAnswer(
            "The service sent the DDO of another asset than the one asked for.", code="ddo_mismatch"
        )
    if version == "deprecated":
        raise BadAnswer("The publisher has withdrawn this asset.", code="ddo_withdrawn")
    if not isinstance(version, str) or not version.startswith(_VERSIONS):
        raise BadAnswer("The DDO has a version that this portal does not know.", code="ddo_version")
    metadata = subject.get("metadata")
    if not isinstance(metadata, Mapping):
        raise BadAnswer("The DDO's metadata cannot be read.", code="ddo")
    try:
        return Ddo.model_validate(
            {
                **{
                    key: metadata[key]
                    for key in ("name", "description", "author", "license", "tags")
                    if key in metadata
                },
                "did": found,
                "version": version,
                "chainId": subject.get("chainId"),
                "nftAddress": subject.get("nftAddress"),
                "kind": metadata.get("type"),
                "services": subject.get("services"),
                "nft_state": _nft_state(raw, subject),
                **_algorithm(metadata),
            }
        )
    except ValidationError as error:
        raise BadAnswer(f"The DDO's {field_of(error)} cannot be read.", code="ddo") from None


def _algorithm(metadata: Mapping[str, Any]) -> dict[str, Any]:
    algorithm = metadata.get("algorithm")
    if metadata.get("type") != "algorithm" or algorithm is None:
        return {}
    if not isinstance(algorithm, Mapping):
        raise BadAnswer("The DDO's metadata.algorithm cannot be read.", code="ddo")
    fields: dict[str, Any] = {"consumerParameters": algorithm.get("consumerParameters")}
    if algorithm.get("container") is not None:
        try:
            container = _WireContainer.model_validate(algorithm["container"])
        except ValidationError as error:
            raise BadAnswer(f"The DDO's container.{field_of(error)} cannot be read.", code="ddo") from None
        fields["container"] = Container(
            entrypoint=container.entrypoint,
            image=container.image,
            tag=container.tag,
            checksum=container.checksum,
        )
    return fields


def _nft_state(raw: Mapping[str, Any], subject: Mapping[str, Any]) -> object:
    """Find the state, which Aquarius puts into `nft` and a node into `indexedMetadata.nft`."""
    for holder in (raw, subject):
        indexed = holder.get("indexedMetadata")
        for nft in (indexed.get("nft") if isinstance(indexed, Mapping) else None, holder.get("nft")):
            if isinstance(nft, Mapping) and "state" in nft:
                return nft["state"]
    return None
