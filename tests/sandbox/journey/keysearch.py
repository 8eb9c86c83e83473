"""Finds a secret in bytes, in every form in which one might get out."""

import base64
import html
import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

# Publicly known development keys: the eighth of "test … junk", which has money in the sandbox, and three of ganache -d.
HEX_KEY = "0x4bbbf85ce3377467afe5d46f804f221813b2bb87f24d81f60f1fcdbf7cbf4356"
PHRASE = "myth like bonus scare over problem client lizard pioneer submit female collect"
PHRASE_KEY = "0x4f3edf983ac636a65a842ce7c78d9aa706d3b113bce9c46f30d7d21715b23b1d"
TEXT_KEY = "0xa453611d9419d0e56f499079478fd72c37b251a94bfde4d19872c44cf65386e3"
FILE_KEY = "0x829e924fdf021ba3dbbc4225edfece9aca04b929d6e75613329ca6f1d31c0bb4"
WORDS_IN_A_ROW = 3
_BETWEEN = (
    rb"(?:&#?\w{1,6};|\\\\[nrt]|[^a-z]){1,12}"  # also what quotes are to HTML, and ends of lines to Python
)


@dataclass(frozen=True)
class Secret:
    """A key, the words that it comes from if it does, and texts that open it. key: empty for a text alone."""

    name: str
    key: bytes = b""
    words: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()


def raw(key: str) -> bytes:
    """Return a key's bytes."""
    return bytes.fromhex(key.removeprefix("0x"))


def base64_cores(key: bytes) -> list[bytes]:
    """Return what stays the same of a key within base64, whatever stands before and behind it: one for each alignment."""
    cores = []
    for before in range(3):
        whole = base64.b64encode(b"\0" * before + key + b"\0" * 3)
        first = -(-before * 8 // 6)  # characters that hold a bit of what stands before are left out
        last = (before + len(key)) * 8 // 6
        cores.append(whole[first:last])
    return cores


def forms(secret: Secret) -> dict[str, list[bytes]]:
    """Return what to look for, by the name of the form; what is written in letters of one size is compared so."""
    found: dict[str, list[bytes]] = {"text": [text.encode() for text in secret.texts]}
    if secret.key:
        standard = base64_cores(secret.key)
        found |= {
            "raw": [secret.key],
            "base64": standard,
            "base64 for URLs": [core.translate(bytes.maketrans(b"+/", b"-_")) for core in standard],
            "decimal": [str(int.from_bytes(secret.key)).encode()],
            "list of numbers": [separator.join(map(str, secret.key)).encode() for separator in (",", ", ")],
        }
    return found


def find(content: bytes, secret: Secret) -> set[str]:
    """Return the names of the forms in which a secret is in some bytes."""
    found = {name for name, needles in forms(secret).items() if any(needle in content for needle in needles)}
    if secret.key and secret.key in _unescaped(content):
        found.add("escaped")
    lower = content.lower()
    if secret.key and secret.key.hex().encode() in lower:
        found.add("hex")
    for window in _windows(secret.words):
        if re.search(_BETWEEN.join(re.escape(word.encode()) for word in window), lower):
            found.add("words")
            break
    return found


def find_all(content: bytes, secrets: Iterable[Secret]) -> set[tuple[str, str]]:
    """Return which secrets are in some bytes, with the forms."""
    return {(secret.name, form) for secret in secrets for form in find(content, secret)}


def _unescaped(content: bytes) -> bytes:
    """Return bytes that Python, JSON or HTML have written with escapes as they are; pieces of long ones are joined."""
    text = html.unescape(content.decode("latin-1"))
    whole = re.sub(r"""['"]\s+b?['"]""", "", text)
    return re.sub(r"\\(?:x|u00)([0-9a-fA-F]{2})|\\(.)", _meant, whole).encode("latin-1", "replace")


def _meant(escape: re.Match[str]) -> str:
    number, letter = escape.groups()
    if number:
        return chr(int(number, 16))
    return {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}.get(letter, letter)


def _windows(words: tuple[str, ...]) -> list[tuple[str, ...]]:
    count = len(words) - WORDS_IN_A_ROW + 1
    windows = [words[start : start + WORDS_IN_A_ROW] for start in range(max(0, count))]
    # A phrase of one word over and over says nothing.
    return [window for window in windows if any(one != other for one, other in pairwise(window))]
