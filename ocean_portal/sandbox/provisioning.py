"""Brings an algorithm and its data into a job's folder, and packs what it leaves behind."""

import json
import os
import re
import shutil
import stat
import tarfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

FETCH_TIMEOUT_S = 20
FETCH_BYTES = 200 * 1024 * 1024
FOLDERS = ("inputs", "ddos", "outputs", "transformations", "logs")

# Images that this "registry" knows, with their tags. All of them are this machine's Python here.
IMAGES = {
    "python": re.compile(r"3(\.\d+)?(-slim|-alpine)?|latest"),
    "oceanprotocol/algo_dockers": re.compile(r"python-.+"),
    "oceanprotocol/c2d_examples": re.compile(r"py-.+"),
    "localhost:5000/c2d-python": re.compile(r"3\.11"),
}

# Gives the files of a published service by DID and service id; raises ValueError when there is none.
OpenAsset = Callable[[str, str], list[dict[str, Any]]]


class ProvisioningFailed(Exception):
    """Carries the status number that the job ends with."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def image_exists(*, image: str, tag: str) -> bool:
    """Tell whether the sandbox plays this image."""
    pattern = IMAGES.get(image)
    return bool(pattern and pattern.fullmatch(tag))


def runs_python(*, entrypoint: str) -> bool:
    """Tell whether the entry point is a Python interpreter called on $ALGO."""
    return re.fullmatch(r"python(3(\.\d+)?)?( -u)? \$ALGO", entrypoint.strip()) is not None


def pull_image(*, logs: Path, image: str, tag: str, digest: str) -> None:
    """Write image.log in the words of a pull. Source: recording 10, exchange 9."""
    name = image.rpartition("/")[2] if "/" in image else f"library/{image}"
    (logs / "image.log").write_text(
        f"{tag} : Pulling from {name}\nDigest: sha256:{digest}\n"
        f"Status: Image is up to date for {image}:{tag}\nSuccessfully pulled image: {image}:{tag}\n"
    )


def provide(*, folder: Path, shown_as: str, spec: dict[str, Any], open_asset: OpenAsset) -> None:
    """Fill data/ with the custom data, the algorithm and the inputs, writing configuration.log.

    shown_as: how logs call the job's folder. Raises ProvisioningFailed with 31 or 32.
    Source: recordings 10, 11, 22, 23, 33 (configuration.log of each).
    """
    data = folder / "data"
    for name in FOLDERS:
        (data / name).mkdir(parents=True, exist_ok=True)
    lines = ["Writing algocustom data to '/data/inputs/algoCustomData.json'"]
    algorithm = spec["algorithm"]
    custom = json.dumps(algorithm.get("algocustomdata") or {}, separators=(",", ":"), ensure_ascii=False)
    (data / "inputs" / "algoCustomData.json").write_text(custom)
    try:
        _provide_algorithm(
            data=data, shown_as=shown_as, algorithm=algorithm, lines=lines, open_asset=open_asset
        )
        for number, dataset in enumerate(spec["datasets"]):
            _provide_dataset(
                data=data,
                shown_as=shown_as,
                number=number,
                dataset=dataset,
                lines=lines,
                open_asset=open_asset,
            )
        lines.append("All good with data provisioning, will start uploading it...")
    finally:
        (folder / "logs" / "configuration.log").write_text("\n".join(lines) + "\n")
        for name in ("image.log", "configuration.log"):
            shutil.copyfile(folder / "logs" / name, data / "logs" / name)


def _provide_algorithm(
    *, data: Path, shown_as: str, algorithm: dict[str, Any], lines: list[str], open_asset: OpenAsset
) -> None:
    target = data / "transformations" / "algorithm"
    code = (algorithm.get("meta") or {}).get("rawcode")
    if code:
        lines.append(f"Writing raw algo code to {shown_as}/data/transformations/algorithm")
        target.write_text(str(code))
        return
    try:
        target.write_bytes(_fetch(_files(asset=algorithm, open_asset=open_asset)[0]))
    except (OSError, KeyError, ValueError) as error:
        lines.append(
            f"Unable to write algorithm to path: {shown_as}/data/transformations/algorithm: {_reason(error)}"
        )
        raise ProvisioningFailed(32) from error


def _provide_dataset(
    *,
    data: Path,
    shown_as: str,
    number: int,
    dataset: dict[str, Any],
    lines: list[str],
    open_asset: OpenAsset,
) -> None:
    lines.append(f"Downloading asset {number} to /data/inputs/")
    path = f"{shown_as}/data/inputs/"
    if not dataset.get("fileObject"):
        lines.append(
            f"Using {dataset.get('documentId')} and serviceId {dataset.get('serviceId')} for this asset."
        )
    try:
        for file in _files(asset=dataset, open_asset=open_asset):
            name = file_name(file=file, number=number)
            path = f"{shown_as}/data/inputs/{name}"
            lines.append(f"Downloading asset to {path}")
            (data / "inputs" / name).write_bytes(_fetch(file))
    except (OSError, KeyError, ValueError) as error:
        lines.append(f"Unable to write input data to path: {path}: {_reason(error)}")
        raise ProvisioningFailed(31) from error


def _files(*, asset: dict[str, Any], open_asset: OpenAsset) -> list[dict[str, Any]]:
    """Return the files of a published asset, or the one that the request itself names."""
    file = asset.get("fileObject")
    if not file:
        return open_asset(asset["documentId"], asset.get("serviceId", ""))
    if not isinstance(file, dict):
        raise ValueError("Unsupported file object")
    return [
        {key: value for key, value in file.items() if key != "local"}
    ]  # a stranger names no file of this machine


def file_name(*, file: dict[str, Any], number: int) -> str:
    """Return the name under which an input appears: the last part of its address, without any folder."""
    place = str(file.get("local") or urllib.parse.urlsplit(str(file.get("url", ""))).path)
    name = Path(urllib.parse.unquote(place)).name.replace("\0", "")
    return name if name not in ("", ".", "..") else f"file{number}"


def _fetch(file: dict[str, Any]) -> bytes:
    """Return the bytes of a file object; "local" is a path of the sandbox's own files."""
    if "local" in file:
        return Path(file["local"]).read_bytes()
    url = str(file.get("url", ""))
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise ValueError(f"Unsupported file object: {file.get('type')}")
    headers = {str(name): str(value) for name, value in (file.get("headers") or {}).items()}
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - the scheme is checked above
    with urllib.request.urlopen(request, timeout=FETCH_TIMEOUT_S) as answer:  # noqa: S310 - as above
        content: bytes = answer.read(FETCH_BYTES + 1)
    if len(content) > FETCH_BYTES:
        raise ValueError("the file is larger than the sandbox takes")
    return content


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"Request failed with status code {error.code}"
    return str(error.reason if isinstance(error, urllib.error.URLError) else error)


def pack_outputs(*, folder: Path) -> None:
    """Write outputs.tar: the folder itself first, then what is in it, links as links.

    Source: recording 10, exchange 12.

    Raises OSError when the outputs cannot be read.
    """
    draft = folder / "outputs.tar.new"
    outputs = folder / "data" / "outputs"
    with tarfile.open(draft, "w") as tar:
        entry = tar.gettarinfo(outputs, "outputs")
        entry.mode, entry.uname, entry.gname, entry.uid, entry.gid = 0o777, "root", "root", 0, 0
        tar.addfile(_whole_seconds(entry))
        for path in sorted(outputs.rglob("*")):
            if stat.S_ISSOCK(path.lstat().st_mode):
                continue
            tar.add(
                path,
                arcname="outputs/" + str(path.relative_to(outputs)),
                recursive=False,
                filter=_whole_seconds,
            )
        end = tar.offset + 2 * tarfile.BLOCKSIZE
    os.truncate(draft, end)  # a node's tar ends after two empty blocks, without Python's padding
    draft.replace(folder / "outputs.tar")


def _whole_seconds(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.mtime = int(entry.mtime)
    return entry
