"""Adding a node in the admin: the portal asks what is at the address, and says so."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse

from jobs.errors import InvalidInput
from jobs.models import Network, Node
from jobs.services import nodes
from jobs.services.nodes import Detected, NodeSilent
from tests import builders
from tests.conftest import Cast

ADD = "/admin/jobs/node/add/"
PROVIDER = Detected(
    dialect="provider-v4",
    software="Provider",
    version="2.1.6",
    address="0xe08A1dAe983BC701D05E492DB80e0144f8f4b909",
    chain_ids=(8996,),
    said={"software": "Provider", "endpoints": {"nonce": ["GET", "/api/services/nonce"]}},
)


@pytest.fixture
def operator(cast: Cast) -> Client:
    """The browser of a superuser."""
    cast.alice.is_staff = cast.alice.is_superuser = True
    cast.alice.save()
    client = Client()
    client.force_login(cast.alice)
    return client


@pytest.fixture
def network(db: None) -> Network:
    return builders.make_network()


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Answer with the last of this list; before it come the questions."""
    log: list[Any] = [PROVIDER]

    def detect(**given: Any) -> Detected:
        # A test's own transaction is one; the page must not have opened another.
        assert len(connection.savepoint_ids) == 0
        del given["clock"]
        log.insert(0, given)
        if isinstance(log[-1], Exception):
            raise log[-1]
        found: Detected = log[-1]
        return found

    # Patched by name: the far side behind the service is what its own tests are about.
    monkeypatch.setattr(nodes, "detect", detect)
    return log


def entered(network: Network, **changes: Any) -> dict[str, Any]:
    """Return what an operator enters for a Provider, changed; None leaves a field out."""
    values = {
        "name": "Quay",
        "base_url": "https://provider.example",
        "metadata_url": "https://aquarius.example",
        "network": network.pk,
        "requests_per_minute": "30",
        "dialect": "",
    } | changes
    return {name: value for name, value in values.items() if value is not None}


def errors(html: str) -> str:
    """Return the errors of an admin page as text."""
    return " ".join(re.findall(r'<ul class="errorlist"[^>]*>(.*?)</ul>', html, re.S)).replace("&#x27;", "'")


class TestAdding:
    def test_stores_what_the_node_says_it_is(
        self, operator: Client, network: Network, there: list[Any]
    ) -> None:
        html = operator.post(ADD, entered(network), follow=True).text

        node = Node.objects.get()
        assert there[0] == {
            "base_url": "https://provider.example",
            "metadata_url": "https://aquarius.example",
            "allow_private": False,
        }
        assert (node.dialect, node.provider_address, node.said) == (
            "provider-v4",
            PROVIDER.address,
            PROVIDER.said,
        )
        assert node.next_look_at is not None
        assert "Found at https://provider.example: Provider 2.1.6, for chain 8996." in html

    def test_asks_https_where_no_scheme_is_given(
        self, operator: Client, network: Network, there: list[Any]
    ) -> None:
        operator.post(ADD, entered(network, base_url="provider.example", allow_private="on"))

        assert (there[0]["base_url"], there[0]["allow_private"]) == ("https://provider.example", True)

    def test_is_not_led_astray_by_a_dialect_chosen_by_hand(
        self, operator: Client, network: Network, there: list[Any]
    ) -> None:
        operator.post(ADD, entered(network, dialect="ocean-node"))

        assert Node.objects.get().dialect == "provider-v4"

    def test_warns_when_the_node_serves_another_chain(
        self, operator: Client, there: list[Any], db: None
    ) -> None:
        other = builders.make_network(chain_id=137, name="Polygon")

        html = operator.post(ADD, entered(other), follow=True).text

        assert "It does not name the chain of Polygon (137) among its own." in html

    @pytest.mark.parametrize(
        ("error", "said"),
        [
            (
                InvalidInput("x.example: A web page is no compute service.", field="base_url"),
                "A web page is no",
            ),
            (
                InvalidInput("Enter the address of the Aquarius.", field="metadata_url"),
                "Enter the address of the",
            ),
            (InvalidInput("<script>x</script>", field="base_url"), "&lt;script&gt;"),
        ],
    )
    def test_refuses_what_is_neither_with_what_was_found(
        self, operator: Client, network: Network, there: list[Any], error: Exception, said: str
    ) -> None:
        there[-1] = error

        html = operator.post(ADD, entered(network)).text

        assert said in errors(html)
        assert "Save without asking”" not in errors(html)
        assert not Node.objects.exists()

    @pytest.mark.parametrize("field", ["base_url", "metadata_url"])
    def test_of_a_silent_node_says_how_to_save_it_all_the_same(
        self, operator: Client, network: Network, there: list[Any], field: str
    ) -> None:
        there[-1] = NodeSilent("provider.example does not answer.", field=field)

        html = operator.post(ADD, entered(network)).text

        assert "provider.example does not answer. If it is right all the same, tick" in errors(html)
        assert not Node.objects.exists()

    def test_without_asking_takes_the_dialect_chosen_by_hand(
        self, operator: Client, network: Network, there: list[Any]
    ) -> None:
        operator.post(ADD, entered(network, unasked="on", dialect="provider-v4"))

        assert len(there) == 1
        assert (Node.objects.get().dialect, Node.objects.get().said) == ("provider-v4", {})

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({}, "Choose which dialect it speaks"),
            ({"dialect": "provider-v4", "metadata_url": ""}, "A Provider needs an Aquarius"),
            ({"dialect": "provider-v5"}, "valid choice"),
        ],
    )
    def test_without_asking_wants_to_know_enough(
        self, operator: Client, network: Network, there: list[Any], changes: dict[str, str], said: str
    ) -> None:
        html = operator.post(ADD, entered(network, unasked="on", **changes)).text

        assert said in errors(html)
        assert not Node.objects.exists()

    def test_asks_nobody_about_an_address_that_is_none(
        self, operator: Client, network: Network, there: list[Any]
    ) -> None:
        html = operator.post(ADD, entered(network, base_url="https://")).text

        assert "Enter a valid URL" in errors(html)
        assert len(there) == 1

    def test_asks_nobody_for_those_who_may_not(self, cast: Cast, network: Network, there: list[Any]) -> None:
        cast.vera.is_staff = True
        cast.vera.save()
        looker = Client()
        looker.force_login(cast.vera)

        assert looker.post(ADD, entered(network)).status_code == 403
        assert len(there) == 1


class TestChanging:
    @pytest.fixture
    def node(self, network: Network) -> Node:
        return builders.make_provider_node(
            network=network,
            base_url="https://provider.example",
            metadata_url="https://aquarius.example",
            allow_private=False,
            said={"old": True},
        )

    def change(self, client: Client, node: Node, **changes: Any) -> str:
        """Save the node with changes; return what the page says."""
        data = entered(node.network, name=node.name, dialect=None, **changes)
        return client.post(reverse("admin:jobs_node_change", args=[node.pk]), data, follow=True).text

    def test_asks_nobody_where_the_address_stays(
        self, operator: Client, node: Node, there: list[Any]
    ) -> None:
        self.change(operator, node, requests_per_minute="60")

        node.refresh_from_db()
        assert (len(there), node.requests_per_minute, node.said) == (1, 60, {"old": True})

    def test_asks_a_new_address(self, operator: Client, node: Node, there: list[Any]) -> None:
        self.change(operator, node, base_url="https://moved.example")

        node.refresh_from_db()
        assert there[0]["base_url"] == "https://moved.example"
        assert (node.base_url, node.said) == ("https://moved.example", PROVIDER.said)

    def test_forgets_what_was_said_elsewhere(self, operator: Client, node: Node, there: list[Any]) -> None:
        self.change(operator, node, base_url="https://moved.example", unasked="on")

        node.refresh_from_db()
        assert (len(there), node.dialect, node.said) == (1, "provider-v4", {})

    def test_does_not_make_it_another_dialect(self, operator: Client, node: Node, there: list[Any]) -> None:
        there[-1] = Detected(
            dialect="ocean-node",
            software="Ocean-Node",
            version="3.2.0",
            address=PROVIDER.address,
            chain_ids=(8996,),
            said={},
        )

        html = self.change(operator, node, base_url="https://moved.example")

        node.refresh_from_db()
        assert "This is Ocean-Node 3.2.0, and not of the kind Provider v4. Add it as a new node" in errors(
            html
        )
        assert (node.dialect, node.base_url) == ("provider-v4", "https://provider.example")

    def test_shows_the_dialect_without_a_choice(self, operator: Client, node: Node) -> None:
        html = operator.get(reverse("admin:jobs_node_change", args=[node.pk])).text

        assert '<div class="readonly">Provider v4</div>' in html
        assert 'name="dialect"' not in html
