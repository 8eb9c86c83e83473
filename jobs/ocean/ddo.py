"""DDOs from 4.1.0 to 5.0.0, read into one shape. Every text in them was written by a stranger.

Source of the fields: recording 30, exchange 10, for 4.1.0; oceanprotocol/docs, developers/ddo.js, for 5.0.0,
which wraps the same in `credentialSubject` and writes names and descriptions as language-tagged values.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator

from jobs.ocean.compute import Container
from jobs.ocean.errors import BadAnswer
from jobs.ocean.parsing import Wire, field_of, shown_text
from jobs.ocean.units import Address, is_did

_VERSIONS = ("4.1.", "4.3.", "4.5.", "4.7.", "5.0.")
_MAX_LISTED = 10_000
_SOFT_DELETED = (2, 3)


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
    """An asset as its publisher describes it.

    nft_state: 0 is active; None where the service does not say.
    allowed: who alone may use it; None where everybody may. denied: who may not.
    """

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
    allowed: frozenset[Address] | None = None
    denied: frozenset[Address] = frozenset()

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
    if found is None and _nft_state(raw, subject) in _SOFT_DELETED:
        # An Aquarius then takes everything out of the document, its id too (aquarius v5.1.8, soft_delete_ddo).
        raise BadAnswer("The publisher has withdrawn this asset.", code="ddo_withdrawn")
    if not is_did(found) or found != did:
        raise BadAnswer(
            "The service sent the DDO of another asset than the one asked for.", code="ddo_mismatch"
        )
    if version == "deprecated":
        raise BadAnswer("The publisher has withdrawn this asset.", code="ddo_withdrawn")
    if not isinstance(version, str) or not version.startswith(_VERSIONS):
        raise BadAnswer("The DDO has a version that this portal does not know.", code="ddo_version")
    allowed, denied = _credentials(subject.get("credentials"), version=version)
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
                "allowed": allowed,
                "denied": denied,
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


def _credentials(said: object, *, version: str) -> tuple[frozenset[Address] | None, frozenset[Address]]:
    """Read the lists of addresses. Other kinds of credentials are left to the service, as it alone can check them.

    An entry that is no address lets nobody in, but makes the list one: then not everybody may use the asset.
    Source: provider v2.1.6, utils/credentials.py; oceanprotocol/docs, developers/ddo-specification.md, for "*" and
    {"address": ...} in 5.0.0.
    """
    if said is None:
        return None, frozenset()
    if not isinstance(said, Mapping):
        raise BadAnswer("The DDO's credentials cannot be read.", code="ddo")
    allow, deny = (list(_listed(said.get(name))) for name in ("allow", "deny"))
    everybody = version.startswith("5.") and "*" in allow
    nobody = version.startswith("5.") and "*" in deny
    allowed = frozenset(_addresses(allow)) if (allow and not everybody) or nobody else None
    return (frozenset() if nobody else allowed), frozenset(_addresses(deny))


def _listed(entries: object) -> Iterator[str]:
    """Give what the entries for addresses list; "" for what is no text."""
    if entries is None:
        return
    if not isinstance(entries, list) or len(entries) > _MAX_LISTED:
        raise BadAnswer("The DDO's credentials cannot be read.", code="ddo")
    for entry in entries:
        if not isinstance(entry, Mapping) or entry.get("type") != "address":
            continue
        values = entry.get("values")
        if not isinstance(values, list) or len(values) > _MAX_LISTED:
            raise BadAnswer("The DDO's credentials cannot be read.", code="ddo")
        for value in values:
            plain = value.get("address") if isinstance(value, Mapping) else value
            yield plain if isinstance(plain, str) else ""


def _addresses(texts: list[str]) -> Iterator[Address]:
    for text in texts:
        try:
            # Compared without regard to capitals, so a wrong checksum is none here.
            yield Address.parse(text.lower())
        except ValueError:
            continue


@dataclass(frozen=True)
class Hindrance:
    """Why an asset cannot be used, or what to know before. code: as a service's own refusal would have it."""

    code: str
    sentence: str


# Source: oceanprotocol/docs, developers/ddo-specification.md, "NFT state"; provider v2.1.6, utils/asset.py,
# check_asset_consumable: 0 and 5 may be used, all others not.
_UNLISTED = 5
_STATES = {
    1: "Its publisher has ended this asset; it is not kept up any more.",
    2: "Its publisher has replaced this asset by another one.",
    3: "Its publisher has revoked this asset.",
    4: "Its publisher has paused the ordering of this asset. Try again later.",
}


def consumable(ddo: Ddo, *, address: Address) -> Hindrance | None:
    """Say why an address may not use an asset, as a service will; None where nothing is known against it.

    A Provider asks this twice: of the environment's address before the order, of the wallet's at the start. Where there
    is a list of the allowed, the one of the denied counts for nothing.
    Source: provider v2.1.6, utils/asset.py and utils/credentials.py, validate_access.
    """
    if ddo.nft_state not in (None, 0, _UNLISTED):
        sentence = _STATES.get(
            ddo.nft_state or 0, "Its publisher has put this asset into a state in which nobody may use it."
        )
        return Hindrance(code="asset_disabled", sentence=sentence)
    if ddo.allowed is not None:
        return (
            None
            if address in ddo.allowed
            else Hindrance(
                code="not_allowed",
                sentence=f"Its publisher lets certain addresses use this asset alone; {address} is not among them.",
            )
        )
    if address in ddo.denied:
        return Hindrance(code="denied", sentence=f"Its publisher does not let {address} use this asset.")
    return None


def caution(ddo: Ddo) -> Hindrance | None:
    """Say what to know of an asset that may be used: that its publisher shows it in no list."""
    if ddo.nft_state != _UNLISTED:
        return None
    return Hindrance(
        code="unlisted",
        sentence="Its publisher has taken this asset out of the lists. It can still be used by those who know it.",
    )
