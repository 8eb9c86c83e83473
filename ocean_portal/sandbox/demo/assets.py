"""What the sandbox publishes: three small real data sets, four algorithms of our own, and two of them for money."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from eth_utils.address import to_checksum_address

CONTAINER = {"entrypoint": "python3 $ALGO", "image": "python", "tag": "3.11", "checksum": ""}
# Everything that is published may run on the demo data. Source: recording 30, exchange 6 ("Open readings").
TRUSTS_ALL = {
    "publisherTrustedAlgorithmPublishers": ["*"],
    "publisherTrustedAlgorithms": [{"did": "*", "filesChecksum": "*", "containerSectionChecksum": "*"}],
    "allowRawAlgorithm": True,
    "allowNetworkAccess": False,
}


@dataclass(frozen=True)
class Asset:
    """One thing to publish; file is its path below this folder."""

    name: str
    kind: Literal["dataset", "algorithm"]
    file: str
    description: str
    author: str
    license: str
    tags: tuple[str, ...]
    parameters: tuple[Mapping[str, Any], ...] = ()
    downloadable: bool = False
    price_wei: int | None = None  # of one access, in Ocean tokens; without one a dispenser gives it away

    @property
    def v4_name(self) -> str:
        """The name of its publication for the Provider."""
        if self.name.endswith(PRICED):
            return self.name.removesuffix(")") + ", v4)"
        return f"{self.name} (v4)"

    @property
    def symbol(self) -> str:
        """The datatoken's symbol."""
        return "DEMO-" + "".join(word[0] for word in self.name.upper().split())

    def metadata(self) -> dict[str, Any]:
        """Return the DDO's metadata, without what publishing adds (name, type, times)."""
        metadata: dict[str, Any] = {
            "description": self.description,
            "tags": list(self.tags),
            "author": self.author,
            "license": self.license,
            "additionalInformation": {"termsAndConditions": True},
        }
        if self.kind == "algorithm":
            metadata["algorithm"] = {"language": "python", "version": "1.0", "container": CONTAINER}
            if self.parameters:
                metadata["algorithm"]["consumerParameters"] = [
                    dict(parameter) for parameter in self.parameters
                ]
        return metadata

    def services(self, *, endpoint: str) -> list[dict[str, Any]]:
        """Return the services with their files unsealed, the one to be run on first."""
        types = ["access"] if self.kind == "algorithm" else ["compute", "access"][: 1 + self.downloadable]
        return [
            {
                "id": kind,
                "type": kind,
                "timeout": 0,
                **({"compute": TRUSTS_ALL} if kind == "compute" else {}),
                "files": [{"type": "sandbox", "name": self.file}],
                "serviceEndpoint": endpoint,
            }
            for kind in types
        ]


OURS = "Ocean Portal"
OUR_LICENSE = "https://www.apache.org/licenses/LICENSE-2.0"

PRICED = " (priced)"
OCEAN_WEI = 10**18

FREE_ASSETS = (
    Asset(
        name="Iris flowers",
        kind="dataset",
        file="data/iris.csv",
        description="Length and width of sepals and petals of 150 irises of three species, in centimetres.",
        author="R. A. Fisher (1936), as distributed with scikit-learn",
        license="https://spdx.org/licenses/BSD-3-Clause.html",
        tags=("flowers", "classification", "csv"),
        downloadable=True,
    ),
    Asset(
        name="Mauna Loa CO2",
        kind="dataset",
        file="data/co2.csv",
        description="Weekly carbon dioxide in the air on Mauna Loa, Hawaii, 1958 to 2001, in ppm.",
        author="C. D. Keeling and T. P. Whorf (2004), as distributed with statsmodels",
        license="https://creativecommons.org/publicdomain/mark/1.0/",
        tags=("climate", "time series", "csv"),
    ),
    Asset(
        name="US Constitution",
        kind="dataset",
        file="data/us-constitution.txt",
        description="The Constitution of the United States of America with its amendments, as plain text.",
        author="The Constitutional Convention (1787) and later amenders",
        license="https://creativecommons.org/publicdomain/mark/1.0/",
        tags=("text", "law", "public domain"),
    ),
    Asset(
        name="Summary statistics",
        kind="algorithm",
        file="algorithms/summary_statistics.py",
        description="Describes every column of every CSV file (count, mean, spread, quartiles), every text,"
        " as summary.csv and a chart.",
        author=OURS,
        license=OUR_LICENSE,
        tags=("statistics", "chart"),
    ),
    Asset(
        name="Linear regression",
        kind="algorithm",
        file="algorithms/regression.py",
        description="Fits a straight line or plane through numeric columns by least squares, checks it by"
        " cross-validation, and writes a report.",
        author=OURS,
        license=OUR_LICENSE,
        tags=("regression", "report"),
        parameters=(
            {
                "name": "target",
                "type": "text",
                "label": "Column to explain",
                "required": False,
                "default": "",
                "description": "Name of a numeric column; the last numeric one if empty.",
            },
            {
                "name": "folds",
                "type": "number",
                "label": "Folds",
                "required": False,
                "default": 5,
                "description": "How many parts the rows are split into for cross-validation (2 to 20).",
            },
        ),
    ),
    Asset(
        name="Word count",
        kind="algorithm",
        file="algorithms/word_count.py",
        description="Counts words, slowly enough to watch: prints its progress for about half a minute.",
        author=OURS,
        license=OUR_LICENSE,
        tags=("text", "live log"),
        parameters=(
            {
                "name": "seconds",
                "type": "number",
                "label": "Seconds",
                "required": False,
                "default": 30,
                "description": "About how long the count shall take (0 to 100).",
            },
        ),
    ),
    Asset(
        name="Failing example",
        kind="algorithm",
        file="algorithms/failing.py",
        description="Reads the data and then fails with a traceback, to show what a failed job looks like.",
        author=OURS,
        license=OUR_LICENSE,
        tags=("example", "error"),
    ),
)


def _priced(name: str, *, price_wei: int) -> Asset:
    """Publish one of the assets above a second time, for money, and say so."""
    (asset,) = [asset for asset in FREE_ASSETS if asset.name == name]
    return replace(
        asset,
        name=name + PRICED,
        description=f"{asset.description} The same file as the free one: here to try payments with.",
        tags=(*asset.tags, "priced"),
        downloadable=False,
        price_wei=price_wei,
    )


ASSETS = (
    *FREE_ASSETS,
    _priced("Iris flowers", price_wei=2 * OCEAN_WEI),
    _priced("Summary statistics", price_wei=OCEAN_WEI // 2),
)
FILES = frozenset(asset.file for asset in ASSETS)


def located(file: Mapping[str, Any]) -> dict[str, Any]:
    """Turn the name of a file that comes with the sandbox into its place; leave other file objects.

    Only these files, and no place that a stranger names: anybody can seal what he wants to be read.
    """
    if file.get("type") == "sandbox" and file.get("name") in FILES:
        return {"local": str(Path(__file__).parent / file["name"])}
    return {key: value for key, value in file.items() if key != "local"}


def offline_ddo(
    *, asset: Asset, service: Mapping[str, Any], seal: Callable[[dict[str, Any]], str], chain_id: int
) -> dict[str, Any]:
    """Make the document of an asset that is on no chain; its addresses follow from its name."""
    nft, datatoken = (_address(f"{kind} {asset.name}") for kind in ("nft", "datatoken"))
    files = {"nftAddress": nft, "datatokenAddress": datatoken, "files": service["files"]}
    moment = "2026-01-05T10:00:00Z"
    return {
        "@context": ["https://w3id.org/did/v1"],
        "id": "did:op:" + sha256(f"{nft}{chain_id}".encode()).hexdigest(),
        "version": "4.1.0",
        "chainId": chain_id,
        "nftAddress": nft,
        "metadata": {
            "created": moment,
            "updated": moment,
            "type": asset.kind,
            "name": asset.name,
            **asset.metadata(),
        },
        "services": [{**service, "files": seal(files), "datatokenAddress": datatoken}],
        "datatokens": [
            {"address": datatoken, "name": asset.name, "symbol": asset.symbol, "serviceId": service["id"]}
        ],
        "indexedMetadata": {
            "nft": {"state": 0, "address": nft, "name": asset.name},
            "purgatory": {"state": False},
        },
    }


def _address(seed: str) -> str:
    return to_checksum_address("0x" + sha256(seed.encode()).hexdigest()[:40])
