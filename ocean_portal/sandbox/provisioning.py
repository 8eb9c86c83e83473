"""Brings an algorithm and its data into a job's folder, and packs what it leaves behind."""

import json
import os
import re
import shutil
import stat
import tarfile
from pathlib import Path
from typing import Any

from ocean_portal.sandbox.files import Files, file_name

FOLDERS = ("inputs", "ddos", "outputs", "transformations", "logs")


class ProvisioningFailed(Exception):
    """Carries the status number that the job ends with."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def runs_python(*, entrypoint: str) -> bool:
    """Tell whether the entry point is a Python interpreter called on $ALGO."""
    return re.fullmatch(r"python(3(\.\d+)?)?( -u)? \$ALGO", entrypoint.strip()) is not None


def provide(*, folder: Path, shown_as: str, spec: dict[str, Any], files: Files) -> None:
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
        _provide_algorithm(data=data, shown_as=shown_as, algorithm=algorithm, lines=lines, files=files)
        for number, dataset in enumerate(spec["datasets"]):
            _provide_dataset(
                data=data,
                shown_as=shown_as,
                number=number,
                dataset=dataset,
                lines=lines,
                files=files,
            )
        lines.append("All good with data provisioning, will start uploading it...")
    finally:
        (folder / "logs" / "configuration.log").write_text("\n".join(lines) + "\n")
        for name in ("image.log", "configuration.log"):
            shutil.copyfile(folder / "logs" / name, data / "logs" / name)


def _provide_algorithm(
    *, data: Path, shown_as: str, algorithm: dict[str, Any], lines: list[str], files: Files
) -> None:
    target = data / "transformations" / "algorithm"
    code = (algorithm.get("meta") or {}).get("rawcode")
    if code:
        lines.append(f"Writing raw algo code to {shown_as}/data/transformations/algorithm")
        target.write_text(str(code))
        return
    try:
        target.write_bytes(files.fetch(file=files.of(asset=algorithm)[0]).content)
    except (OSError, KeyError, ValueError) as error:
        lines.append(f"Unable to write algorithm to path: {shown_as}/data/transformations/algorithm: {error}")
        raise ProvisioningFailed(32) from error


def _provide_dataset(
    *,
    data: Path,
    shown_as: str,
    number: int,
    dataset: dict[str, Any],
    lines: list[str],
    files: Files,
) -> None:
    lines.append(f"Downloading asset {number} to /data/inputs/")
    path = f"{shown_as}/data/inputs/"
    if not dataset.get("fileObject"):
        lines.append(
            f"Using {dataset.get('documentId')} and serviceId {dataset.get('serviceId')} for this asset."
        )
    try:
        for file in files.of(asset=dataset):
            name = file_name(file=file, number=number)
            path = f"{shown_as}/data/inputs/{name}"
            lines.append(f"Downloading asset to {path}")
            (data / "inputs" / name).write_bytes(files.fetch(file=file).content)
    except (OSError, KeyError, ValueError) as error:
        lines.append(f"Unable to write input data to path: {path}: {error}")
        raise ProvisioningFailed(31) from error


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
