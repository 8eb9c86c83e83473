"""launch_job without a far side: what its options become, and how it refuses."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from jobs.models import Job, Team, Wallet
from jobs.services.choosing import CODE_MAX_BYTES
from tests import builders
from tests.conftest import Cast
from tests.services.conftest import Place

RUN = ("--image", "python", "--tag", "3.11-slim", "--entrypoint", "python3 $ALGO")
ASKED = [{"name": "year", "label": "Which year", "type": "number", "required": True}]


def launch_job(*options: str, dataset: str = "Buoys 2025", wallet: str = "demo") -> tuple[int, str]:
    """Run the command; return its exit code and what it said of refusals."""
    out, err = io.StringIO(), io.StringIO()
    always = (
        "--team",
        "coastal",
        *(("--wallet", wallet) if wallet else ()),
        "--environment",
        "free",
        "--dataset",
        dataset,
        "--json",
    )
    with pytest.raises(SystemExit) as end:
        call_command("launch_job", *always, *options, stdout=out, stderr=err)
    assert isinstance(end.value.code, int)
    return end.value.code, err.getvalue()


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """A file with code."""
    path = tmp_path / "mean.py"
    path.write_text("print('é')\n", encoding="utf-8")
    return path


def ask(place: Place) -> None:
    """Let the dataset's publisher ask for a value."""
    place.dataset.services[0]["consumer_parameters"] = ASKED
    place.dataset.save()


class TestWallet:
    def test_is_the_team_s_default_where_none_is_named(self, place: Place, team: Team) -> None:
        other = builders.make_wallet(team=team, label="second", address="0x" + "1" * 40)
        Team.objects.filter(pk=team.pk).update(default_wallet=other)

        code, said = launch_job("--algorithm", "Linear regression", wallet="")

        assert code == 0, said
        assert Job.objects.get().wallet == other

    def test_is_the_named_one_all_the_same(self, place: Place, team: Team) -> None:
        other = builders.make_wallet(team=team, label="second", address="0x" + "1" * 40)
        Team.objects.filter(pk=team.pk).update(default_wallet=other)

        launch_job("--algorithm", "Linear regression")

        assert Job.objects.get().wallet == place.wallet

    def test_has_to_be_named_where_the_default_is_another_team_s_now(
        self, place: Place, team: Team, cast: Cast
    ) -> None:
        Team.objects.filter(pk=team.pk).update(default_wallet=place.wallet)
        Wallet.objects.filter(pk=place.wallet.pk).update(team=cast.other_team)

        assert launch_job("--algorithm", "Linear regression", wallet="")[0] == 2

    @pytest.mark.parametrize("values", [{"disabled_at": builders.NOW}, {"encrypted_key": None}])
    def test_has_to_be_named_where_the_default_cannot_be_used(
        self, place: Place, team: Team, values: dict[str, Any]
    ) -> None:
        Team.objects.filter(pk=team.pk).update(default_wallet=place.wallet)
        Wallet.objects.filter(pk=place.wallet.pk).update(**values)

        code, said = launch_job("--algorithm", "Linear regression", wallet="")

        assert (code, Job.objects.count()) == (2, 0)
        assert said.startswith("--wallet: Name a wallet: the team has no default wallet")


class TestCode:
    def test_travels_from_a_file_with_its_container(self, place: Place, script: Path) -> None:
        code, said = launch_job(
            "--code", str(script), *RUN, "--checksum", "sha256:ab", "--language", "python"
        )

        job = Job.objects.get()
        assert code == 0, said
        assert job.own_algorithm == {"language": "python", "code": "print('é')\n", "url": ""}
        assert job.container["checksum"] == "sha256:ab"
        assert job.container["entrypoint"] == "python3 $ALGO"

    def test_may_stand_at_an_address(self, place: Place) -> None:
        code, said = launch_job("--code-url", "https://code.example/mean.py", *RUN)

        assert code == 0, said
        assert (Job.objects.get().own_algorithm or {})["url"] == "https://code.example/mean.py"

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            (
                ["--code-url", "https://code.example/a", *RUN[2:]],
                "--image: Code of your own needs a container",
            ),
            (["--code-url", "https://code.example/a", *RUN[:2], *RUN[4:]], "--tag: "),
            (["--code-url", "https://code.example/a", *RUN[:4]], "--entrypoint: "),
            (["--code-url", "file:///etc/passwd", *RUN], "--code-url: The address of the code begins"),
            (["--code", "nothing/there.py", *RUN], "--code: The file cannot be read: No such file"),
            (["--algorithm", "Linear regression", "--tag", "3"], "--tag: This goes with --code"),
        ],
    )
    def test_that_cannot_be_used_is_refused_by_the_option(
        self, place: Place, options: list[str], said: str
    ) -> None:
        code, told = launch_job(*options)

        assert (code, Job.objects.count()) == (2, 0)
        assert said in told

    @pytest.mark.parametrize(
        ("content", "said"), [(b"\xff\xfe", "no text in UTF-8"), (b"x" * (CODE_MAX_BYTES + 9), "60,000")]
    )
    def test_in_a_file_that_is_no_code_is_refused(
        self, place: Place, script: Path, content: bytes, said: str
    ) -> None:
        script.write_bytes(content)

        code, told = launch_job("--code", str(script), *RUN)

        assert code == 2
        assert said in told

    @pytest.mark.parametrize(
        "options", [(), ("--algorithm", "x", "--code", "y"), ("--code", "x", "--code-url", "y")]
    )
    def test_is_one_of_three_choices(self, place: Place, options: tuple[str, ...]) -> None:
        with pytest.raises(CommandError):
            call_command("launch_job", "--team", "coastal", "--wallet", "demo", "--dataset", "x", *options)


class TestUserdata:
    @pytest.mark.parametrize("by_name", [True, False], ids=["name", "DID"])
    def test_goes_to_its_dataset(self, place: Place, by_name: bool) -> None:
        ask(place)
        other = builders.make_asset(team=place.dataset.team, node=place.node, name="Other")
        ref = "buoys 2025" if by_name else place.dataset.did

        code, said = launch_job(
            *("--algorithm", "Linear regression", "--dataset", other.did),
            *("--userdata", f'{ref}={{"year": 1987, "note": "a={{b"}}'),
        )

        assert code == 0, said
        assert [x.userdata for x in Job.objects.get().inputs.order_by("position")] == [
            {"year": 1987, "note": "a={b"},
            None,
        ]

    @pytest.mark.parametrize(
        ("given", "said"),
        [
            ([], "--dataset: “Buoys 2025” needs the parameter “year”"),
            (["Buoys 2025"], "--userdata: Write it as"),
            (["Buoys 2025=[1]"], "--userdata: Write it as"),
            (["Buoys 2025={1}"], "--userdata: This is no JSON"),
            (['Nothing={"year": 1}'], "--userdata: The team's catalogue has no dataset called “Nothing”"),
            (['Other={"year": 1}'], "--userdata: “Other” is not among the datasets"),
        ],
    )
    def test_that_cannot_be_used_is_refused(self, place: Place, given: list[str], said: str) -> None:
        ask(place)
        builders.make_asset(team=place.dataset.team, node=place.node, name="Other")
        options: list[Any] = [part for text in given for part in ("--userdata", text)]

        code, told = launch_job("--algorithm", "Linear regression", *options)

        assert (code, Job.objects.count()) == (2, 0)
        assert said in told


def test_what_was_launched_is_one_object(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        call_command(
            *("launch_job", "--team", "coastal", "--wallet", "demo", "--environment", "free", "--json"),
            *("--dataset", place.dataset.did, "--algorithm", place.algorithm.did),
        )

    assert json.loads(capsys.readouterr().out)["state"] == "REQUESTED"
