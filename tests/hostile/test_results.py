"""A node lies about what a job left: its list of results, and the bytes that it sends for them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from jobs.lifecycle import State
from jobs.models import Result
from jobs.ocean.compute import Environment as EnvironmentOffer
from jobs.ocean.compute import JobReport
from jobs.ocean.ddo import ComputeSettings, Ddo
from tests.hostile.cases import Case, named
from tests.hostile.far_side import Script, repeats, says, sends
from tests.hostile.world import OUTPUTS, World, entry, wire_job

pytestmark = pytest.mark.django_db

DONE: dict[str, Any] = {"state": State.SUCCEEDED}
UNREADABLE: dict[str, Any] = {"says": "unreadable results"}


def listed(name: str, *results: Any, files: dict[int, bytes] | None = None, **rest: Any) -> Case:
    """List other results than there are."""

    def lie(world: World) -> None:
        world.bad.listed = [wire_job(world.victim, results=list(results))]
        world.bad.files.update(files or {})

    return Case(f"results: {name}", lie, **rest)


def called(name: str, shown: str, **rest: Any) -> Case:
    """Give a result a name."""
    return listed(
        f"called {name[:30]!a}",
        entry(1, name, "output"),
        kept=frozenset({shown, "answer"}),
        **({**DONE, **rest}),
    )


def sent(name: str, script: Script, *, says: str = "", **rest: Any) -> Case:
    """Send something else than the outputs; what fails is tried four times."""

    def lie(world: World) -> None:
        world.bad.answers["result"] = script

    rest = {"beats": 6, "kept": frozenset(), **DONE} | rest
    return Case(f"outputs: {name}", lie, says=says, **rest)


def raw(name: str, text: str) -> Case:
    """Say something that json.dumps would not write."""

    def lie(world: World) -> None:
        marked = json.dumps([wire_job(world.victim, results=[entry(1, "a", size="HERE")])])
        world.bad.answers["jobs"] = says(marked.replace('"HERE"', text).encode())

    return Case(f"results: {name}", lie, says="no JSON document")


NAME = "outputs.tar"
CASES = [
    listed("a million", *range(1_000_000), **UNREADABLE),
    listed("one too many", *(entry(n, "a") for n in range(1_001)), **UNREADABLE),
    listed("a number among them", entry(0, "a"), 7, **UNREADABLE),
    listed("negative index", entry(-1, NAME), **UNREADABLE),
    listed("index as text", entry("1", NAME), **UNREADABLE),  # type: ignore[arg-type]  # the lie
    listed("index 10^30", entry(10**30, NAME), **UNREADABLE),
    listed("no index", {"filename": NAME, "type": "output"}, **UNREADABLE),
    listed("no name", {"index": 1, "type": "output"}, **UNREADABLE),
    listed("name is a list", entry(1, ["a"]), **UNREADABLE),  # type: ignore[arg-type]  # the lie
    listed("kind of 4,000 characters", entry(1, "a", "k" * 4_000), kept=frozenset({"a"}), **DONE),
    listed("negative size", entry(1, NAME, size=-1), **UNREADABLE),
    listed("size as text", entry(1, NAME, size="10"), **UNREADABLE),
    listed("size 10^30", entry(1, NAME, size=10**30), **UNREADABLE),
    listed("size 0.5", entry(1, NAME, size=0.5), **UNREADABLE),
    raw("size NaN", "NaN"),
    raw("size 1e999", "1e999"),
    listed("one index twice", entry(1, "a"), entry(1, "b"), kept=frozenset({"a", "answer"}), **DONE),
    listed(
        "one name twice",
        entry(0, "same"),
        entry(1, "same"),
        files={0: b"first", 1: b"second"},
        kept=frozenset({"same"}),
        **DONE,
    ),
    listed("of an unknown kind", entry(1, "a", "<b>kind</b>"), kept=frozenset({"a"}), **DONE),
    listed("size too small", entry(1, "a", size=1), kept=frozenset({"a", "answer"}), **DONE),
    listed("size 0 for something", entry(1, "a", size=0), kept=frozenset({"a", "answer"}), **DONE),
    listed(
        "size too large",
        entry(1, "a", size=10**6),
        says="of 1,000,000 bytes",
        kept=frozenset(),
        beats=6,
        **DONE,
    ),
    listed("size 10^12", entry(1, "a", size=10**12), says="this portal keeps", kept=frozenset(), **DONE),
    listed(
        "one that is not there",
        entry(9, "a", size=5),
        says="sends nothing",
        kept=frozenset(),
        beats=6,
        **DONE,
    ),
    called("../../../../etc/cron.d/evil", "../../../../etc/cron.d/evil"),
    called("/etc/passwd", "/etc/passwd"),
    called("..\\..\\boot.ini", "..\\..\\boot.ini"),
    called("..", ".."),
    called("", ""),
    called("a\0b\r\nSet-Cookie: x=y\x1b[2J", "ab\nSet-Cookie: x=y[2J"),
    called("invoice\u202efdp.exe", "invoicefdp.exe"),
    called("half \ud800 a character", "half ? a character"),
    called("n" * 4_000, "n" * 255),
    called("a.tar/../../../../../tmp/x.sh", "a.tar/../../../../../tmp/x.sh"),
    called("x.\u0441\u0455\u0475", "x.\u0441\u0455\u0475"),
    sent("nothing", says(b""), says="sends nothing"),
    sent("404", lambda ask: ask.answer(b"gone", status="404 Not Found"), says="did not accept"),
    sent(
        "500",
        lambda ask: ask.answer(b"<html>", status="500 Oops", kind="text/html"),
        says="without saying why",
    ),
    sent(
        "somebody else's",
        lambda ask: ask.answer(b"x is not authorized to get results", status="500 Oops"),
        says="somebody else only",
    ),
    sent(
        "cut off", sends(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nabc"), says="broke the connection"
    ),
    sent(
        "chunks that are none",
        sends(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc"),
        says="broke the connection",
    ),
    sent(
        "packed",
        sends(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n\x1f\x8b"),
        says="packs its answers",
    ),
    sent(
        "a redirect to a file",
        sends(b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\n\r\n"),
        says="sends us on",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=named)
def test_lie_about_results_is_told_or_ignored_and_harms_nobody(
    case: Case, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    case.play(world, caplog)


class TestEndlessResult:
    @pytest.fixture
    def small(self, settings: Any) -> int:
        settings.MAX_RESULT_BYTES = 100_000
        return 100_000

    @pytest.mark.parametrize("kind", ["output", "algorithmLog"])
    def test_is_cut_at_the_cap_and_not_asked_for_again(
        self, world: World, caplog: pytest.LogCaptureFixture, small: int, kind: str
    ) -> None:
        world.bad.listed = [wire_job(world.victim, results=[entry(1, "endless", kind)])]
        world.bad.answers["result"] = repeats(b"\x01\0\0\0\0\0\0\x0e0123456789012\n" * 2_000)

        world.run(beats=6)

        world.assert_sound(caplog)
        world.assert_other_ended_well()
        assert "sends more than 100,000 bytes" in world.said()
        assert world.bad.asked.count("result") == 1
        assert world.bad.sent < small + 10 * 2**20  # what sockets buffer
        assert world.archived(world.victim) == {}

    def test_in_many_parts_is_cut_at_the_cap_for_the_whole_job(self, world: World, small: int) -> None:
        world.bad.listed = [wire_job(world.victim, results=[entry(n, f"part {n}") for n in range(10)])]
        world.bad.answers["result"] = says(b"x" * 40_000)

        world.run(beats=2)

        assert sum(len(data) for data in world.archived(world.victim).values()) <= small
        assert "this portal keeps up to 100000 bytes of a job" in world.said() or "sends more" in world.said()


def test_two_results_with_one_name_are_two_files(world: World) -> None:
    world.bad.listed = [wire_job(world.victim, results=[entry(0, "same"), entry(1, "same")])]
    world.bad.files = {0: b"first", 1: b"second"}

    world.run()

    kept = Result.objects.filter(job=world.victim).order_by("index")
    assert [result.size for result in kept] == [5, 6]
    assert len({result.file.name for result in kept}) == 2


def test_results_are_fetched_while_another_is_refused(world: World) -> None:
    def answer(ask: Any) -> None:
        if ask.query["index"] == "0":
            ask.answer(b"no", status="500 Oops")
        else:
            ask.answer(OUTPUTS)

    world.bad.answers["result"] = answer

    world.run(beats=6)

    assert set(world.archived(world.victim)) == {"outputs.tar", "answer"}
    assert world.victim.results.get(index=0).status == Result.Status.FAILED


@pytest.mark.parametrize(
    ("record", "field"),
    [
        (JobReport, "results"),
        (EnvironmentOffer, "resources"),
        (ComputeSettings, "publisherTrustedAlgorithms"),
        (ComputeSettings, "publisherTrustedAlgorithmPublishers"),
        (Ddo, "services"),
        (Ddo, "tags"),
    ],
)
def test_a_million_wrong_things_are_not_judged_one_by_one(record: type[BaseModel], field: str) -> None:
    with pytest.raises(ValidationError) as caught:
        record.model_validate({field: list(range(1_000_000))})

    assert caught.value.error_count() < 20
