"""A node lies about what it offers; what is stored of it is shown on every team's page."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest
from django.test import Client

from jobs.models import Environment, Membership
from jobs.models.teams import Role
from jobs.services import nodes
from tests import builders
from tests.builders import RAW_ENVIRONMENT
from tests.hostile.far_side import says
from tests.hostile.world import World

pytestmark = pytest.mark.django_db

KNOWN = RAW_ENVIRONMENT["id"]


@dataclass(frozen=True)
class Offer:
    """answer: what computeEnvironments says; trouble: what is told of the node; ids: those that it has afterwards."""

    name: str
    answer: bytes
    trouble: str = ""
    ids: frozenset[str] | None = frozenset({KNOWN})


def whole(name: str, document: Any, **rest: Any) -> Offer:
    """Answer with something else altogether."""
    return Offer(name, document if isinstance(document, bytes) else json.dumps(document).encode(), **rest)


def beside(name: str, **change: Any) -> Offer:
    """List the known environment, and one that cannot be read."""
    return whole(
        name,
        [RAW_ENVIRONMENT, {**RAW_ENVIRONMENT, "id": "0x1-0x2", **change}],
        trouble="1 of its environments",
    )


def odd(name: str, **change: Any) -> Offer:
    """Say something odd of the known environment that may be kept, as long as pages bear it."""
    return whole(name, [{**RAW_ENVIRONMENT, **change}])


def free(**change: Any) -> dict[str, Any]:
    """Return another free tier."""
    return {"free": {**RAW_ENVIRONMENT["free"], **change}}


def cpu(**change: Any) -> list[dict[str, Any]]:
    """Return resources with an odd one."""
    return [{"id": "cpu", "total": 2, "max": 2, "min": 1, "inUse": 0} | change]


CASES = [
    whole("a million numbers", list(range(1_000_000)), trouble="no object"),
    whole("an object", RAW_ENVIRONMENT, trouble="is no list"),
    whole("nothing", [], ids=frozenset({KNOWN})),
    whole("10 MB of blanks", b" " * 10 * 2**20 + b" []", trouble="sends more than"),
    whole(
        "8,000 environments",
        [{**RAW_ENVIRONMENT, "id": f"0x1-{n}", "fees": {}, "free": None} for n in range(8_000)],
        trouble="7800 of its environments",
        ids=None,
    ),
    whole("one id twice", [RAW_ENVIRONMENT, {**RAW_ENVIRONMENT, "description": "second"}]),
    beside("no id", id=None),
    beside("an id of 1 MB", id="e" * 2**20),
    beside("an id with markup and blanks", id='x" onload="alert(1)'),
    beside("an id that turns the text", id="0x1\u202e-0x2"),
    beside("an id with a line end", id="0x1\n-0x2"),
    beside("no consumer address", consumerAddress=None),
    beside("a consumer address with markup", consumerAddress="<b>"),
    beside("no limit of time", maxJobDuration=None),
    beside("10^30 jobs", maxJobs=10**30),
    beside("minus one job", maxJobs=-1),
    beside("jobs as text", maxJobs="10"),
    beside("negative storageExpiry", storageExpiry=-1),
    beside("storageExpiry hidden behind another spelling", storageExpiry=-(10**30), storage_expiry_s=5),
    beside("free is a text", free="yes"),
    beside("free is a list", free=[1]),
    beside("free with 10^30 jobs", **free(maxJobs=10**30)),
    beside("a million free addresses", **free(access={"addresses": list(range(1_000_000))})),
    beside("101 resources", resources=cpu() * 101),
    beside("a resource that is none", resources=[1]),
    beside("a resource below zero", resources=cpu(total=-5)),
    beside("a resource of 10^300", resources=cpu(total=1e300)),
    beside("a description of 1 MB", description="<script>" * 130_000),
    beside("more jobs running free than fit a number", runningfreeJobs="many"),
    whole(
        "a resource of 1e999",
        json.dumps([RAW_ENVIRONMENT]).replace('"min": 1', '"min": 1e999').encode(),
        trouble="no JSON document",
    ),
    odd(
        "smallest part 1e-300",
        resources=cpu(min=1e-300, total=10**12),
        **free(resources=cpu(min=1e-300, total=10**12), maxJobs=10**12),
    ),
    odd("all of it for nothing", resources=cpu(min=0), **free(resources=[], maxJobs=10**12)),
    odd("more used than there is", resources=cpu(inUse=10**12)),
    whole(
        "fees are a text",
        [{**RAW_ENVIRONMENT, "fees": "free of charge <b>"}],
        trouble="unreadable fees",
    ),
    odd("fees are lists of lists", fees={"8996": [[1], "x", {"prices": 7, "feeToken": {"a": "<script>"}}]}),
    odd(
        "prices are texts",
        fees={"<script>": [{"feeToken": None, "prices": ["<b>", {"id": {}, "price": []}]}]},
    ),
    odd("platform of lists", platform={"os": ["<script>"], "architecture": {"a": 1}}),
    odd("description of controls", description="a\0b\x1b[2J\u202ec\ud800"),
]


@pytest.fixture
def page(world: World) -> Client:
    """The browser of a member."""
    client = Client()
    user = builders.make_user("vera")
    Membership.objects.create(team=world.team, user=user, role=Role.VIEWER)
    client.force_login(user)
    return client


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_lie_about_environments_is_told_or_shown_harmlessly(
    case: Offer, world: World, page: Client, caplog: pytest.LogCaptureFixture
) -> None:
    world.bad.answers["environments"] = says(case.answer)
    world.bad.answers["jobs"] = says([])
    world.node.__class__.objects.update(next_look_at=world.clock())

    world.run(beats=2)
    shown = page.get(f"/{world.team.slug}/environments/")

    world.assert_sound(caplog)
    world.assert_other_ended_well()
    world.node.refresh_from_db()
    known = set(Environment.objects.filter(node=world.node).values_list("env_id", flat=True))
    assert case.trouble in world.node.trouble
    assert bool(case.trouble) == bool(world.node.trouble)
    assert case.ids is None or known == case.ids
    assert shown.status_code == 200
    assert b"<script>" not in shown.content.replace(b"<script>\n", b"")
    assert 'onload="alert' not in shown.text


def test_new_environments_at_every_look_do_not_fill_the_database(world: World) -> None:
    for look in range(5):
        made_up = [{**RAW_ENVIRONMENT, "id": f"0x1-{look}-{n}"} for n in range(20)]
        world.bad.answers["environments"] = says(made_up)
        world.clock.tick(60)
        assert nodes.look(node_id=world.node.pk, clock=world.clock)

    left = set(Environment.objects.filter(node=world.node).values_list("env_id", flat=True))
    assert len(left) <= 2 * 20 + 1
    assert KNOWN in left  # a job points to it


def test_job_ends_though_its_environment_was_stored_with_an_absurd_expiry(world: World) -> None:
    raw = {**RAW_ENVIRONMENT, "storageExpiry": -(10**30)}
    Environment.objects.filter(node=world.node).update(raw=raw)

    world.run()

    world.victim.refresh_from_db()
    assert (world.victim.state, world.victim.node_expires_at) == ("SUCCEEDED", None)
