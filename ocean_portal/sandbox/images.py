"""Images: which ones this "registry" knows, and the words of a pull and of a build. Nothing of a build is run."""

import re
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

# Images with their tags. All of them are this machine's Python here.
IMAGES = {
    "python": re.compile(r"3(\.\d+)?(-slim|-alpine)?|latest"),
    "oceanprotocol/algo_dockers": re.compile(r"python-.+"),
    "oceanprotocol/c2d_examples": re.compile(r"py-.+"),
    "localhost:5000/c2d-python": re.compile(r"3\.11"),
}
FAILING = re.compile(r"false|exit [1-9]\d*")


def image_exists(*, image: str, tag: str) -> bool:
    """Tell whether the sandbox plays this image."""
    pattern = IMAGES.get(image)
    return bool(pattern and pattern.fullmatch(tag))


def pull_image(*, logs: Path, image: str, tag: str) -> None:
    """Write image.log in the words of a pull. Source: recording 10, exchange 9."""
    name = image.rpartition("/")[2] if "/" in image else f"library/{image}"
    digest = sha256(f"{image}:{tag}".encode()).hexdigest()
    (logs / "image.log").write_text(
        f"{tag} : Pulling from {name}\nDigest: sha256:{digest}\n"
        f"Status: Image is up to date for {image}:{tag}\nSuccessfully pulled image: {image}:{tag}\n"
    )


def build_image(*, logs: Path, name: str, dockerfile: str, pause: Callable[[float], None]) -> bool:
    """Write image.log as a build would, line by line, and return whether the image came to be.

    name: of the image with its tag. pause: waits for so many steps of the node; a RUN takes one.
    Fails are: no FROM, or one of an unknown image, and a RUN of `false` or of `exit` with a number.
    Source: recording 21, exchanges 9 and 16.
    """
    steps = _steps(dockerfile)
    with (logs / "image.log").open("w", buffering=1) as log:
        for place, step in enumerate(steps, 1):
            word, _, rest = step.partition(" ")
            layer = sha256(f"{name}\n{steps[:place]}".encode()).hexdigest()[:12]
            log.write(f"Step {place}/{len(steps)} : {step}\n")
            if (word.upper() == "FROM") != (place == 1) or (place == 1 and not _is_known(rest)):
                break
            if word.upper() not in ("FROM", "COPY", "ADD"):
                container = sha256(f"container of {layer}".encode()).hexdigest()[:12]
                log.write(f" ---> Running in {container}\n")
                if word.upper() == "RUN" and any(
                    FAILING.fullmatch(part.strip()) for part in rest.split("&&")
                ):
                    break
                pause(1 if word.upper() == "RUN" else 0)
                log.write(f"Removing intermediate container {container}\n")
            log.write(f" ---> {layer}\n")
        else:
            if steps:
                log.write(f"Successfully built {layer}\nSuccessfully tagged {name}\n")
                return True
        log.write(
            f"Cannot find image '{name}' after building. Most likely it failed:"
            f" (HTTP code 404) no such image - no such image: {name}: No such image: {name} "
        )
    return False


def _steps(dockerfile: str) -> list[str]:
    joined = re.sub(r"\\[ \t]*\r?\n", " ", dockerfile)
    lines = [" ".join(line.split()) for line in joined.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def _is_known(source: str) -> bool:
    words = [word for word in source.split() if not word.startswith("--")]
    if not words:
        return False
    image, colon, tag = words[0].rpartition(":")
    if not colon or "/" in tag:
        image, tag = words[0], "latest"
    return image_exists(image=image, tag=tag)
