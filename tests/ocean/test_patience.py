"""How long all requests of one transport may take together, where a person waits for them."""

import socket
import time

import pytest

from jobs.ocean.errors import Rejected, Unreachable
from jobs.ocean.transport import Transport
from tests.ocean.wire import Answer, Clock, FakeWire


def patient(wire: FakeWire, *, clock: Clock, seconds: float) -> Transport:
    end = clock() + seconds
    return Transport(
        "https://node.example",
        admit=lambda: None,
        allow_private=False,
        monotonic=clock,
        sleep=clock.sleep,
        patience=lambda: end - clock(),
        adapter=wire,
    )


class TestPatience:
    def test_ends_repeating(self):
        clock, wire = Clock(), FakeWire(Answer.text("down", 503))

        with patient(wire, clock=clock, seconds=3) as transport, pytest.raises(Rejected):
            transport.get_json(path="/x")

        assert clock.slept == [0.5, 1.5]

    def test_ends_asking(self):
        clock, wire = Clock(), FakeWire(Answer.json(1))

        with patient(wire, clock=clock, seconds=3) as transport:
            assert transport.get_json(path="/x") == 1
            clock.now += 3
            with pytest.raises(Unreachable) as caught:
                transport.get_json(path="/x")

        assert (caught.value.code, caught.value.retryable, caught.value.maybe_happened) == (
            "deadline",
            True,
            False,
        )
        assert len(wire.sent) == 1

    def test_ends_the_wait_for_an_answer(self):
        end = time.monotonic() + 0.3
        with socket.create_server(("127.0.0.1", 0)) as silent:
            url = f"http://127.0.0.1:{silent.getsockname()[1]}"
            with (
                Transport(
                    url,
                    admit=lambda: None,
                    allow_private=True,
                    monotonic=time.monotonic,
                    patience=lambda: end - time.monotonic(),
                ) as transport,
                pytest.raises(Unreachable) as caught,
            ):
                transport.get_json(path="/x")

        assert caught.value.code == "deadline"
        assert time.monotonic() - end < 1
