"""What may befall an exchange between a client and a server, how often, and in which order."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from enum import StrEnum
from random import Random


class Trouble(StrEnum):
    """What was done to one exchange. The value is the name of its likelihood in Weather."""

    NONE = "none"
    LOST_REQUEST = "lost_request"
    LOST_ANSWER = "lost_answer"
    LATE = "late"
    TWICE = "twice"
    CUT_OFF = "cut_off"
    REFUSED = "refused"
    GIVEN_UP = "given_up"
    GARBAGE = "garbage"


TROUBLES = tuple(trouble for trouble in Trouble if trouble is not Trouble.NONE)


@dataclass(frozen=True)
class Weather:
    """How likely each trouble is, from 0 to 1, for one exchange. What is left to 1 passes undisturbed.

    lost_request: the connection is closed, and the server never hears of it.
    lost_answer: the server has done what was asked; the connection is closed without a word.
    late: the answer waits for a time within delay_s.
    twice: the server gets the request twice, one after the other; the client gets the first answer or the second.
        Every method is repeated, also the start of a job: what stands between client and server may send the same
        bytes again (a balancer that tries once more, a network that had them twice). That a node refuses the second
        start, because its nonce was used, is what protects its users. Whoever sends a token instead has no nonce and
        gets two jobs.
    cut_off: the answer ends too early, so that fewer bytes arrive than its head promises.
    refused: 502, 503 or 429, each with Retry-After, in the place of the server, which never hears of it.
    given_up: 504, after the server has done what was asked: a gateway without patience.
    garbage: something else in the place of JSON, after the server has done what was asked. Other bodies pass on: no
        client could tell whether a file is the right one.
    delay_s: the shortest and the longest wait of a late answer. retry_after_s: what refusals ask for.
    """

    lost_request: float = 0.0
    lost_answer: float = 0.0
    late: float = 0.0
    twice: float = 0.0
    cut_off: float = 0.0
    refused: float = 0.0
    given_up: float = 0.0
    garbage: float = 0.0
    delay_s: tuple[float, float] = (0.05, 1.5)
    retry_after_s: int = 1

    def __post_init__(self) -> None:
        chances = [self.chance(trouble) for trouble in TROUBLES]
        if min(chances) < 0 or sum(chances) > 1 + 1e-9:
            raise ValueError("likelihoods are from 0 to 1, and all of them together are no more than 1")

    def chance(self, trouble: Trouble) -> float:
        """Return how likely one trouble is."""
        return float(getattr(self, trouble.value))

    @classmethod
    def mixed(
        cls, share: float, *, delay_s: tuple[float, float] = (0.05, 1.5), retry_after_s: int = 1
    ) -> Weather:
        """Return a weather in which a share of all exchanges is in trouble, in every kind of it equally often."""
        each = {trouble.value: share / len(TROUBLES) for trouble in TROUBLES}
        return cls(**each, delay_s=delay_s, retry_after_s=retry_after_s)


CALM = Weather()


@dataclass(frozen=True)
class Fate:
    """What happens to one exchange. number: counted from 1; detail: from 0 to 1, how exactly (how late, where cut)."""

    number: int
    trouble: Trouble
    detail: float


class Fates:
    """Deals fates from one seeded generator, to many threads.

    The n-th fate of a seed is always the same. Which exchange is the n-th depends on the threads of the clients.
    """

    def __init__(self, *, seed: int, weather: Weather) -> None:
        self._random = Random(seed)
        self._weather = weather
        self._dealt = 0
        self._lock = threading.Lock()

    def calm(self) -> None:
        """Deal nothing but undisturbed exchanges from now on."""
        with self._lock:
            self._weather = CALM

    def deal(self) -> tuple[Fate, Weather]:
        """Return the next fate, and the weather that it comes from."""
        with self._lock:
            self._dealt += 1
            # Always two draws, so that what comes later does not depend on what came before.
            lot, detail = self._random.random(), self._random.random()
            return Fate(self._dealt, _drawn(lot, self._weather), detail), self._weather


def _drawn(lot: float, weather: Weather) -> Trouble:
    for trouble in TROUBLES:
        lot -= weather.chance(trouble)
        if lot < 0:
            return trouble
    return Trouble.NONE
