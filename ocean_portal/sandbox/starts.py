"""What free and paid starts have in common: fields that must be there, and what an algorithm needs to run."""

from collections.abc import Mapping
from typing import Any

from ocean_portal.sandbox.answers import spelt
from ocean_portal.sandbox.images import image_exists

METADATA_CHARACTERS = 1024


def missing_field(fields: Mapping[str, Any], command: str, *names: str) -> str | None:
    """Return the node's complaint about the first missing field, or None. Source: recordings 17 and 18."""
    for name in names:
        if fields.get(name) is None or fields[name] == "":
            return (
                f'Missing one ( "{name}" ) or more required field(s) for command: "{command}".'
                f" Required fields: {','.join(names)}"
            )
    return None


def positive(value: object) -> int:
    """Return a positive number as an integer, 0 for everything else."""
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) and value > 0 else 0


def check_start(*, algorithm: Mapping[str, Any], metadata: object) -> None:
    """Check what a node checks last. Raises ValueError with its text. Source: recordings 17; 33, exchange 41."""
    # Counted as JavaScript does, in units of UTF-16.
    if metadata and len(spelt(metadata).encode("utf-16-le", "surrogatepass")) > 2 * METADATA_CHARACTERS:
        raise ValueError("Metadata size is too large")
    meta = algorithm.get("meta")
    container = meta.get("container") if isinstance(meta, dict) else None
    builds = isinstance(container, dict) and isinstance(container.get("dockerfile"), str)
    if not isinstance(container, dict) or not (container.get("image") or builds):
        raise ValueError(f"Unable to extract docker image null from algoritm: {spelt(algorithm)}")
    image, tag = str(container.get("image")), str(container.get("tag"))
    if not builds and not image_exists(image=image, tag=tag):
        raise ValueError(
            f"Cannot find image {image}:{tag} for x86_64."
            " Maybe it does not exist or it's build for other arhitectures."
        )
