"""A node, or a publisher, lies in a DDO: it is read, stored, and shown on the catalogue's and the launch pages."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from django.test import Client

from jobs.errors import PortalError
from jobs.models import Asset, Environment, Membership
from jobs.models.teams import Role
from jobs.services import catalogue, teams
from tests import builders
from tests.hostile.far_side import FarSide, says, serving
from tests.hostile.world import World, assert_rows_fit_any_database
from tests.ocean.wire import recording

pytestmark = pytest.mark.django_db

RECORDED: dict[str, Any] = recording("30")[10]["response"]["body"]["json"]
DID = RECORDED["id"]
SERVICE: dict[str, Any] = RECORDED["services"][0]
MARKUP = '"><script>alert(1)</script><img src=x onerror=alert(2)>'


@dataclass(frozen=True)
class Document:
    """ddo: what the node sends for the DID; refused: what the person is told, "" when it is taken."""

    name: str
    ddo: Any
    refused: str = ""


def whole(name: str, ddo: Any, refused: str = "") -> Document:
    """Send something else altogether."""
    return Document(name, ddo, refused)


def top(name: str, refused: str = "", /, **change: Any) -> Document:
    """Change the document's outer fields."""
    return Document(name, {**RECORDED, **change}, refused)


def meta(name: str, refused: str = "", /, **change: Any) -> Document:
    """Change the document's metadata."""
    return Document(name, {**RECORDED, "metadata": {**RECORDED["metadata"], **change}}, refused)


def service(name: str, refused: str = "", /, **change: Any) -> Document:
    """Change the document's service."""
    return Document(name, {**RECORDED, "services": [{**SERVICE, **change}]}, refused)


def computed(name: str, refused: str = "", /, **change: Any) -> Document:
    """Change what may run on the dataset."""
    return service(name, refused, compute={**SERVICE["compute"], **change})


def container(name: str, refused: str = "", /, **change: Any) -> Document:
    """Make it an algorithm with another container."""
    algorithm = {"container": {**builders.CONTAINER, **change}, "consumerParameters": None}
    return meta(name, refused, type="algorithm", algorithm=algorithm)


def asking(name: str, refused: str = "", *parameters: Any) -> Document:
    """Let the dataset ask for parameters."""
    return service(name, refused, consumerParameters=list(parameters))


CHOICE = {
    "name": "a",
    "type": "select",
    "label": MARKUP,
    "description": MARKUP,
    "required": True,
    "default": MARKUP,
}
CASES = [
    whole("another asset's", {**RECORDED, "id": "did:op:" + "77" * 32}, "another asset"),
    whole("a list", [RECORDED], "no DDO"),
    whole("a text", "DDO", "no DDO"),
    whole("null", None, "no DDO"),
    whole("nothing but the id", {"id": DID}, "version"),
    whole("5 MB", {**RECORDED, "padding": "x" * 5 * 2**20}, "sends more than"),
    whole(
        "100 deep", json.dumps(RECORDED)[:-1].encode() + b', "x":' + b"[" * 100 + b"]" * 100 + b"}", "no JSON"
    ),
    whole("1e999 in a corner", json.dumps(RECORDED)[:-1].encode() + b', "x": 1e999}', "no JSON"),
    whole(
        "a wrapped one whose inside is another",
        {**RECORDED, "credentialSubject": {"id": "x"}},
        "another asset",
    ),
    whole("a wrapped text", {**RECORDED, "credentialSubject": "x"}, "cannot be read"),
    top("version of tomorrow", "does not know", version="9.0.0"),
    top("version as number", "does not know", version=4.1),
    top("withdrawn", "withdrawn", version="deprecated"),
    top("chain below zero", "cannot be read", chainId=-1),
    top("chain 10^30", "cannot be read", chainId=10**30),
    top("chain as text", "cannot be read", chainId="8996"),
    top("no NFT", "cannot be read", nftAddress=None),
    top("NFT with markup", "cannot be read", nftAddress=MARKUP),
    top("metadata is a list", "cannot be read", metadata=[1]),
    top("services are a text", "cannot be read", services="none"),
    top("no services", "cannot be read", services=[]),
    top("201 services", "cannot be read", services=[{**SERVICE, "id": str(n)} for n in range(201)]),
    top("a million services", "cannot be read", services=list(range(250_000))),
    top("two services with one id", "cannot be read", services=[SERVICE, SERVICE]),
    top("state of another world", "cannot be read", indexedMetadata={"nft": {"state": 10**9}}),
    meta("of an unknown kind", "cannot be read", type="virus"),
    meta("name is a number", "cannot be read", name=7),
    meta("no name but blanks", "cannot be read", name=" \u202e\0 "),
    meta("names with markup", "", name=MARKUP, author=MARKUP, description=MARKUP * 100, tags=[MARKUP] * 9),
    meta("names of 100,000 characters", "", name="n" * 100_000, author="a" * 100_000, license="l" * 100_000),
    meta("names with controls", "", name="a\0b\r\n\x1b[2Jc\u202ed\ud800", description="\0\u2066x"),
    meta("names in wrappings", "", name={"@value": MARKUP}, license={"name": MARKUP}),
    meta("600 tags", "cannot be read", tags=["t"] * 600),
    meta("tags are numbers", "cannot be read", tags=[1]),
    meta("licence that is a script", "", license="javascript:alert(1)"),
    service("endpoint with a script", "", serviceEndpoint="javascript:alert(1)"),
    service("endpoint that is no URL", "", serviceEndpoint="http://[::1" + MARKUP),
    service("endpoint of 100 kB", "cannot be read", serviceEndpoint="http://x/" + "a" * 100_000),
    service("id of 100 kB", "cannot be read", id="i" * 100_000),
    service("id with markup", "", id=MARKUP, name=MARKUP, description=MARKUP),
    service("type with markup", "", type=MARKUP[:50]),
    service("timeout below zero", "cannot be read", timeout=-1),
    service("timeout 10^30", "cannot be read", timeout=10**30),
    service("datatoken with markup", "cannot be read", datatokenAddress=MARKUP),
    computed("trusts numbers", "cannot be read", publisherTrustedAlgorithms=[1, 2]),
    computed("trusts a million", "cannot be read", publisherTrustedAlgorithms=list(range(250_000))),
    computed("trusts markup", "", publisherTrustedAlgorithms=[{"did": MARKUP}, {"did": "*" * 200}]),
    computed("network allowed in words", "cannot be read", allowNetworkAccess="yes"),
    container("image for a shell", "", image="x; rm -rf / #", tag="$(reboot)", entrypoint="`id` $ALGO | sh"),
    container("image with markup", "", image=MARKUP, tag=MARKUP, checksum=MARKUP, entrypoint=MARKUP),
    container("image of 100 kB", "cannot be read", image="i" * 100_000),
    container("image is a list", "cannot be read", image=["a"]),
    asking("a choice with markup", "", {**CHOICE, "options": [{MARKUP: MARKUP}, {"b": 1}, 7, None]}),
    asking("a choice of letters", "cannot be read", {**CHOICE, "options": "abc"}),
    asking("a default of 4,000 digits", "", {**CHOICE, "type": "number", "default": 10**4_000}),
    asking("a name with markup", "", {**CHOICE, "name": MARKUP, "type": "text"}),
    asking("an unknown type", "cannot be read", {**CHOICE, "type": "file"}),
    asking("201 parameters", "cannot be read", *[{**CHOICE, "name": str(n)} for n in range(201)]),
    asking("1,001 options", "cannot be read", {**CHOICE, "options": [{"a": "b"}] * 1_001}),
]


@pytest.fixture
def visit(world: World) -> Callable[[str], Any]:
    """Open a page of the team as a member who may launch and edit."""
    client = Client()
    user = builders.make_user("alice")
    Membership.objects.create(team=world.team, user=user, role=Role.OWNER)
    client.force_login(user)
    Environment.objects.update(seen_at=world.clock())
    return lambda path: client.get(f"/{world.team.slug}/{path}")


def add(world: World) -> int:
    """Put the asset into the catalogue; only the bad node is asked for it."""
    world.good.answers["ddo"] = lambda ask: ask.answer(
        f"DDO {DID} not found".encode(), status="404 Not Found"
    )
    return catalogue.add(actor=teams.operator(team=world.team.slug), did=DID, clock=world.clock)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_ddo_that_lies_is_refused_with_a_sentence_or_shown_harmlessly(
    case: Document, world: World, visit: Callable[[str], Any], caplog: pytest.LogCaptureFixture
) -> None:
    world.bad.answers["ddo"] = says(case.ddo)
    before = Asset.objects.count()

    if case.refused:
        with pytest.raises(PortalError) as caught:
            add(world)
        assert case.refused in caught.value.message
        assert Asset.objects.count() == before
    else:
        add(world)
        added = Asset.objects.get(did=DID)
        for page in ("catalogue/", f"catalogue/{added.pk}/", "jobs/launch/", f"jobs/launch/?algorithm={DID}"):
            shown = visit(page)
            assert shown.status_code == 200
            assert "<script>alert" not in shown.text
            assert "<img src=x" not in shown.text
            assert 'href="javascript:' not in shown.text

    assert [r.getMessage() for r in caplog.records if r.exc_info] == []
    assert_rows_fit_any_database()
    world.run(beats=2)
    world.assert_other_ended_well()


class TestServiceEndpoint:
    """Where a DDO says that its service lives is looked up among the portal's nodes and never called."""

    @pytest.fixture
    def inside(self) -> Iterator[FarSide]:
        with serving() as side:
            yield side

    @pytest.mark.parametrize("path", ["", "/", "/api/services/compute", "?x=1", "#x"])
    def test_inside_the_network_is_never_called(
        self, world: World, inside: FarSide, visit: Callable[[str], Any], path: str
    ) -> None:
        ddo = {**RECORDED, "services": [{**SERVICE, "serviceEndpoint": inside.url + path}]}
        world.bad.answers["ddo"] = says(ddo)

        added = add(world)
        shown = visit(f"catalogue/{added}/")
        visit("jobs/launch/")
        world.run(beats=2)

        assert "not among this portal" in shown.text
        assert inside.asked == []

    @pytest.mark.parametrize(
        "endpoint",
        [
            "http://169.254.169.254/latest/meta-data",
            "http://localhost/",
            "http://[::1]/",
            "file:///etc/passwd",
            "gopher://x",
        ],
    )
    def test_that_nobody_should_call_is_shown_as_foreign(
        self, world: World, visit: Callable[[str], Any], endpoint: str
    ) -> None:
        world.bad.answers["ddo"] = says({**RECORDED, "services": [{**SERVICE, "serviceEndpoint": endpoint}]})

        shown = visit(f"catalogue/{add(world)}/")

        assert "not among this portal" in shown.text
        assert f'href="{endpoint}' not in shown.text
