"""Whatever a node writes reaches pages: markup in every text of it, shown to members and to the operator."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from typing import Any

import pytest
from django.apps import apps
from django.test import Client
from django.urls import reverse

from jobs.lifecycle import State
from jobs.models import Asset, Job, Membership
from jobs.models.teams import Role
from jobs.services import catalogue, teams
from tests import builders
from tests.builders import RAW_ENVIRONMENT
from tests.hostile.far_side import says
from tests.hostile.test_ddos import DID, MARKUP, RECORDED
from tests.hostile.world import World, entry, running_now, wire_job

pytestmark = pytest.mark.django_db

SVG = b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(3)"><script>alert(4)</script></svg>'
EVIL_PATHS = [
    MARKUP + ".csv",
    MARKUP + ".svg",
    "x' onerror='alert(5).txt",
    "{{ 7|add:7 }}.txt",
    "${alert(6)}.log",
]


class Seen(HTMLParser):
    """What a browser would make of a page: elements that run something, and links that do."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.harmful: list[str] = []
        self.images: list[str] = []
        self.elements = 0
        self._script = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what runs."""
        self.elements += 1
        given = {name: value or "" for name, value in attrs}
        self._script = tag == "script" and "src" not in given and given.get("type") != "application/json"
        handlers = [name for name in given if name.startswith("on")]
        targets = [given[name] for name in ("href", "src", "action") if name in given]
        if handlers or any(t.strip().lower().startswith(("javascript:", "data:text")) for t in targets):
            self.harmful.append(f"{tag} {given}")
        if tag == "img":
            self.images.append(given.get("src", ""))
        if tag in ("iframe", "object", "embed", "base"):
            self.harmful.append(tag)

    def handle_data(self, data: str) -> None:
        """Note scripts that say what ours never do."""
        if self._script and "alert(" in data:
            self.harmful.append(data)
        self._script = False


def browser(world: World, username: str, **rights: bool) -> Client:
    """Sign a member in."""
    user = builders.make_user(username, **rights)
    Membership.objects.create(team=world.team, user=user, role=Role.OWNER)
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def evil(world: World) -> World:
    """A job that ended, an asset and an environment, all with markup wherever a text may stand."""
    offer = {**RAW_ENVIRONMENT, "description": MARKUP, "platform": {"os": MARKUP, "architecture": MARKUP}}
    offer["resources"] = [{"id": MARKUP, "total": 1, "max": 1, "min": 1, "description": MARKUP, "inUse": 0}]
    offer["fees"] = {MARKUP: [{"feeToken": MARKUP, "prices": [{"id": MARKUP, "price": MARKUP}]}]}
    world.bad.answers["environments"] = says([offer])
    world.bad.answers["root"] = says(
        {"software": "Ocean-Node", "version": MARKUP, "providerAddress": "0x" + "11" * 20, "chainIds": [1]}
    )
    container = dict.fromkeys(builders.CONTAINER, MARKUP)
    described = dict.fromkeys(("name", "description", "author", "license"), MARKUP)
    metadata = {**RECORDED["metadata"], **described, "tags": [MARKUP], "type": "algorithm"}
    metadata["algorithm"] = {"container": container, "consumerParameters": []}
    world.bad.answers["ddo"] = says({**RECORDED, "metadata": metadata})
    catalogue.add(actor=teams.operator(team=world.team.slug), did=DID, clock=world.clock)
    names = [entry(n, name) for n, name in enumerate(EVIL_PATHS)]
    logs = [entry(9, MARKUP, "algorithmLog"), entry(10, MARKUP, "configurationLog"), entry(11, "absent")]
    said = {"statusText": MARKUP, "terminationDetails": {"exitCode": 3}, "metadata": {MARKUP: MARKUP}}
    world.bad.listed = [running_now(world.victim, statusText=MARKUP)]
    world.bad.files = {
        0: f"{MARKUP},b\n{MARKUP},2\n".encode(),
        1: SVG,
        2: MARKUP.encode(),
        3: b"{{ 7 }}",
        4: SVG,
    }
    world.bad.files |= {9: MARKUP.encode() * 20, 10: MARKUP.encode()}
    Job.objects.filter(pk=world.victim.pk).update(algorithm=Asset.objects.get(did=DID), name=MARKUP)
    world.node.__class__.objects.update(next_look_at=world.clock())
    world.run(beats=2)
    world.bad.listed = [wire_job(world.victim, results=[*names, *logs]) | said]
    world.run(beats=6)
    world.victim.refresh_from_db()
    assert world.victim.state == State.FAILED
    return world


class TestMarkupOfANode:
    def test_is_text_on_every_page_of_a_member(self, evil: World) -> None:
        client = browser(evil, "alice")
        job, team = f"jobs/{evil.victim.pk}/", evil.team.slug
        results = [f"{job}results/{pk}/" for pk in evil.victim.results.values_list("pk", flat=True)]
        asset = Asset.objects.get(did=DID)
        places = ["", "jobs/", job, f"{job}status/?v=0", f"{job}log/?after=0", f"{job}results/", *results]
        places += [
            "catalogue/",
            f"catalogue/{asset.pk}/",
            "environments/",
            "jobs/launch/",
            "wallets/",
            "escrow/",
        ]

        for place in places:
            page = client.get(f"/{team}/{place}")
            assert page.status_code in (200, 286), place
            assert Seen(page.text).harmful == [], place

    def test_is_text_on_every_page_of_the_operator(self, evil: World) -> None:
        client = browser(evil, "root", is_staff=True, is_superuser=True)
        opened = 0

        for model in apps.get_app_config("jobs").get_models():
            if model._meta.proxy:
                continue
            kind = f"admin:jobs_{model._meta.model_name}"
            pages = [reverse(f"{kind}_changelist")]
            pages += [reverse(f"{kind}_change", args=[row.pk]) for row in model._default_manager.all()[:20]]
            for page in pages:
                answer = client.get(page)
                assert answer.status_code == 200, page
                assert Seen(answer.text).harmful == [], page
                opened += 1

        assert opened > 20

    def test_is_there_to_be_read(self, evil: World) -> None:
        page = browser(evil, "alice").get(f"/{evil.team.slug}/jobs/{evil.victim.pk}/").text

        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page

    def test_in_an_image_is_shown_as_an_image_only_and_may_do_nothing(self, evil: World) -> None:
        client = browser(evil, "alice")
        page = f"/{evil.team.slug}/jobs/{evil.victim.pk}/"
        svg = evil.victim.results.get(index=1)

        shown = client.get(f"{page}results/{svg.pk}/")
        image = client.get(f"{page}results/{svg.pk}/inline/")
        download = client.get(f"{page}results/{svg.pk}/download/")

        images = [source for source in Seen(shown.text).images if not source.startswith("/static/")]
        assert images == [f"{page}results/{svg.pk}/inline/"]
        assert "onload" not in shown.text
        assert image.headers["Content-Type"] == "image/svg+xml"
        assert "sandbox" in image.headers["Content-Security-Policy"]
        assert "script-src" not in image.headers["Content-Security-Policy"]
        assert "default-src 'none'" in image.headers["Content-Security-Policy"]
        assert download.headers["Content-Type"] == "application/octet-stream"
        assert download.headers["Content-Disposition"].startswith("attachment")
        assert b"".join(download) == SVG

    @pytest.mark.parametrize("index", range(len(EVIL_PATHS)))
    def test_in_a_name_does_not_leave_the_header_of_a_download(self, evil: World, index: int) -> None:
        result = evil.victim.results.get(index=index)

        answer = browser(evil, "alice").get(
            f"/{evil.team.slug}/jobs/{evil.victim.pk}/results/{result.pk}/download/"
        )
        b"".join(answer)

        assert "\n" not in answer.headers["Content-Disposition"]
        assert "<script>" not in answer.headers["Content-Disposition"]


@pytest.mark.parametrize(
    "said",
    [
        f"Cannot find image {MARKUP.replace(' ', '/')} for amd64.",
        "Not enough available cpu" + MARKUP,
        MARKUP,
        "{0.__class__.__mro__}",
        "Cannot find image {0.__class__} for {1}.",
        "Rate limit exceeded. Try again in 999999 seconds. " + MARKUP,
        json.dumps({"error": MARKUP}),
    ],
)
def test_refusal_with_markup_is_text_on_the_jobs_page(world: World, said: str) -> None:
    Job.objects.filter(pk=world.victim.pk).update(
        state=State.REQUESTED, node_job_id="", node_status=None, accepted_at=None
    )
    world.bad.answers["start"] = lambda ask: ask.answer(said.encode(), status="400 No", kind="text/html")

    world.run(beats=1)
    page = browser(world, "alice").get(f"/{world.team.slug}/jobs/{world.victim.pk}/")

    world.assert_other_ended_well()
    assert page.status_code == 200
    assert Seen(page.text).harmful == []


@pytest.mark.parametrize(
    "image",
    [
        b"<!---->" * 500,
        b"<?xml" + b"a" * 4_000,
        b"<!DOCTYPE svg" * 300,
        b" " * 4_000 + b"<svg",
        b"\xef\xbb\xbf" * 900,
    ],
    ids=["comments", "declaration", "types", "blanks", "marks"],
)
def test_result_that_is_nearly_an_image_does_not_keep_the_page_busy(world: World, image: bytes) -> None:
    world.bad.listed = [wire_job(world.victim, results=[entry(1, "picture.svg")])]
    world.bad.files[1] = image
    world.run(beats=2)

    page: Any = browser(world, "alice").get(f"/{world.team.slug}/jobs/{world.victim.pk}/")

    assert page.status_code == 200  # without an end, the test's time limit says so
