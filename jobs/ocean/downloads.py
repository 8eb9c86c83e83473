"""Result files as they come: whether what comes is what was listed."""

from collections.abc import Iterator

from jobs.ocean.compute import ResultEntry
from jobs.ocean.errors import BadAnswer


def whole(body: Iterator[bytes], *, entry: ResultEntry, host: str) -> Iterator[bytes]:
    """Pass a result on, piece by piece, and make sure that there is as much of it as was listed.

    Raises: BadAnswer "result_missing" at once, where nothing comes of a file that is not empty; "result_incomplete"
    while reading, when less comes than was listed.
    """
    first = next(body, b"")
    if not first and entry.size != 0:
        raise BadAnswer(
            f"{host} lists {entry.name or 'a result'} but sends nothing of it.",
            code="result_missing",
            retryable=True,
        )
    return _counted(first, body, entry=entry, host=host)


def _counted(first: bytes, body: Iterator[bytes], *, entry: ResultEntry, host: str) -> Iterator[bytes]:
    received = len(first)
    yield first
    for data in body:
        received += len(data)
        yield data
    # A log may have grown since it was listed; less than was listed is a loss.
    if entry.size is not None and received < entry.size:
        raise BadAnswer(
            f"{host} sent {received:,} of {entry.size:,} bytes of {entry.name}.",
            code="result_incomplete",
            retryable=True,
        )
