"""The portal's client against the sandbox's node: two readings of the same recordings meet, call by call."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobs.ocean.compute import (
    AssetInput,
    CodeAlgorithm,
    Container,
    JobReport,
    StartRequest,
    UrlFile,
    UrlInput,
)
from jobs.ocean.errors import OceanError, Rejected
from jobs.ocean.node import OceanNode
from jobs.ocean.signing import Pen, Proof, Signer, Token, key_from_mnemonic
from jobs.ocean.transport import Transport
from jobs.ocean.verdicts import verdict
from tests.sandbox.conftest import Bench
from tests.sandbox.recordings import recorded_container, scenario

OWNER, VIEWER, STRANGER = (
    Signer(key_from_mnemonic("test " * 11 + "junk", f"m/44'/60'/0'/0/{place}")) for place in (1, 2, 3)
)
CODE = (
    "import os\nfrom pathlib import Path\ndata = Path(os.environ['DATA_ROOT'])\n"
    "print(os.environ['COLOUR'], (data / 'inputs' / 'algoCustomData.json').read_text())\n"
)


@pytest.fixture
def node(running: Bench) -> Iterator[OceanNode]:
    with Transport(
        running.url, admit=lambda: None, allow_private=True, monotonic=time.monotonic
    ) as transport:
        yield OceanNode(transport)


def start(**changes: Any) -> Callable[[OceanNode], StartRequest]:
    """Make a start of code of one's own in the node's environment."""
    algorithm = CodeAlgorithm(
        code=CODE, container=Container(**recorded_container()), custom_data={"threshold": 3}
    )

    def made(node: OceanNode) -> StartRequest:
        (environment,) = node.environments()
        request = StartRequest(
            environment_id=environment.id, datasets=(), algorithm=algorithm, envs={"COLOUR": "blue"}
        )
        return replace(request, **changes)

    return made


def proof(signer: Signer = OWNER) -> Proof:
    return Pen(signer, nonce=time.time_ns() // 1_000)


def run(node: OceanNode, request: StartRequest) -> JobReport:
    report = node.start(request=request, proof=proof())
    deadline = time.monotonic() + 30
    while not report.ended and time.monotonic() < deadline:
        time.sleep(0.02)
        report = node.job(job_id=report.long_id)
    assert report.ended
    return report


def fetch(node: OceanNode, report: JobReport, kind: str, by: Proof) -> bytes:
    (entry,) = [entry for entry in report.results if entry.kind == kind]
    with node.open_result(job_id=report.long_id, entry=entry, proof=by, max_bytes=10**6, total_s=10) as body:
        return b"".join(body)


class TestJobs:
    def test_of_own_code_get_variables_and_data_and_are_read_by_viewers(self, node: OceanNode) -> None:
        request = start(additional_viewers=(VIEWER.address,), metadata={"name": "mine"}, tag="t1")(node)

        report = run(node, request)

        assert verdict(report).state == "succeeded"
        assert report.tag == "t1"
        for signer in (OWNER, VIEWER):
            log = fetch(node, report, "algorithmLog", proof(signer))
            assert log == b'blue {"threshold":3}\n'
        with pytest.raises(Rejected) as caught:
            fetch(node, report, "algorithmLog", proof(STRANGER))
        assert caught.value.code == "not_authorized"

    def test_of_many_owners_come_in_one_answer(self, node: OceanNode) -> None:
        report = run(node, start()(node))
        assert report.finished_at is not None

        (listed,) = node.jobs_of_many(owners=[OWNER.address, VIEWER.address])

        assert (listed.long_id, listed.exit_code) == (report.long_id, 0)
        assert report.tells_results and not listed.tells_results
        assert len(node.jobs_of_many(owners=[VIEWER.address])) == 0
        assert len(node.jobs_of_many(owners=[OWNER.address], ended_since=report.finished_at - 1)) == 1
        assert len(node.jobs_of_many(owners=[OWNER.address], ended_since=report.finished_at + 1)) == 0

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"datasets": (UrlInput(UrlFile("http://127.0.0.1:9/x.csv")),)}, "data_provisioning"),
            (
                {
                    "algorithm": CodeAlgorithm(
                        code="pass",
                        container=Container("python3 $ALGO", "", "", "", "FROM python:3.11\nRUN false\n"),
                    )
                },
                "image_build",
            ),
        ],
    )
    def test_that_cannot_begin_say_why(self, node: OceanNode, changes: Any, reason: str) -> None:
        assert verdict(run(node, start(**changes)(node))).reason == reason

    def test_started_with_a_token_end_with_it(self, node: OceanNode) -> None:
        signed = Pen(OWNER, nonce=time.time_ns() // 1_000)
        token = Token(OWNER.address, node.create_token(proof=signed))

        report = node.start(request=start()(node), proof=token)
        assert node.stop(job_id=report.long_id, proof=token).stop_requested
        signed = Pen(OWNER, nonce=time.time_ns() // 1_000)
        node.invalidate_token(proof=signed, token=token.token)

        with pytest.raises(OceanError) as caught:
            node.start(request=start()(node), proof=token)
        assert caught.value.code == "token"


class TestQuestions:
    @pytest.fixture(autouse=True)
    def indexed(self, running: Bench, tmp_path: Path) -> str:
        ddo = scenario("30")[10].json
        running.store.put_ddo(name="readings", ddo=ddo)
        (tmp_path / "data.csv").write_text("a\n1\n")
        running.assets[ddo["id"]] = [{"local": str(tmp_path / "data.csv")}]
        return str(ddo["id"])

    def test_about_the_node_name_its_version(self, node: OceanNode) -> None:
        assert node.status().version == "3.2.0"
        assert node.status().address == node.identify().address

    def test_about_assets_find_them(self, node: OceanNode, indexed: str) -> None:
        (found,) = node.search_assets(text="READINGS nowhere", kind="dataset")

        assert found == node.get_ddo(did=indexed)
        assert len(node.search_assets(text="readings", kind="algorithm")) == 0
        assert node.asset_state(did=indexed).valid

    def test_about_files_describe_them(self, node: OceanNode, indexed: str) -> None:
        (info,) = node.file_info(file=AssetInput(indexed, "compute-1"), checksum=True)

        assert (info.name, info.size, info.content_type) == ("data.csv", 4, "text/csv")
        with pytest.raises(Rejected) as caught:
            node.file_info(file=UrlFile("http://127.0.0.1:9/x"))
        assert caught.value.code == "file"
