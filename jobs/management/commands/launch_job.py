"""python manage.py launch_job: the launch form, for the command line and for scripts."""

from __future__ import annotations

import json
import math
import sys
import time
import uuid
from argparse import ArgumentParser
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand
from django.utils.timezone import now as clock

from jobs.access import Actor
from jobs.errors import InvalidInput, PortalError
from jobs.lifecycle import TERMINAL, State
from jobs.ocean.units import is_did, plain, to_wei
from jobs.selectors import commands, portal
from jobs.services import catalogue, choosing, launching, quoting, refreshing, teams
from jobs.services.budget import Purpose
from jobs.services.choosing import CODE_MAX_BYTES, DatasetChoice, LaunchRequest, OwnAlgorithm
from jobs.services.quoting import Amount, Quote

GRACE_S = 600
POLL_S = 0.5
WATCH_EVERY_S = 5.0

# What the service calls these fields is another name than the option's.
OPTIONS = {
    "datasets": "dataset",
    "parameters": "params",
    "max_duration_s": "duration",
    "queue_wait_s": "queue-wait",
    "code_url": "code-url",
    "code_image": "image",
    "code_tag": "tag",
    "code_entrypoint": "entrypoint",
}
# What describes code of one's own, beside the code.
CONTAINER = ("image", "tag", "entrypoint", "checksum", "language")

EXIT_OK, EXIT_REFUSED, EXIT_NOT_SUCCEEDED, EXIT_TIMEOUT, EXIT_PRICE = 0, 2, 3, 4, 5


class TooExpensive(PortalError):
    """It costs more than --max-cost allows, or nothing was said of what it may cost. Nothing was written."""

    code = "above_max_cost"

    def __init__(self, message: str, *, quote: Quote, code: str = "") -> None:
        super().__init__(message, code=code)
        self.quote = quote


@dataclass(frozen=True)
class Limit:
    """What may be spent of a token. token: its symbol or address, "" for what the time is paid in."""

    amount: Decimal
    token: str


class Command(BaseCommand):
    """Launch a job through the same service as the page."""

    help = "Launch a compute job; with --wait, until its results are archived."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Describe the options."""
        parser.add_argument("--team", required=True, help="the team's part of the address")
        parser.add_argument(
            "--wallet", default="", help="a wallet's label; default: the team's default wallet"
        )
        parser.add_argument(
            "--dataset",
            required=True,
            action="append",
            metavar="DID[:SERVICE]",
            help="a DID, or a name that only one asset of the team bears; repeatable",
        )
        parser.add_argument(
            "--userdata",
            action="append",
            default=[],
            metavar="DATASET=JSON",
            help="what a dataset's publisher asks for: its DID or name, and a JSON object; repeatable",
        )
        what = parser.add_mutually_exclusive_group(required=True)
        what.add_argument("--algorithm", metavar="DID", help="a published algorithm: a DID or a name")
        what.add_argument(
            "--code",
            metavar="FILE",
            help="code of your own, at most 60 kB; needs --image, --tag, --entrypoint",
        )
        what.add_argument(
            "--code-url", metavar="URL", help="where the node fetches code of your own; needs the same"
        )
        parser.add_argument("--image", default="", help="the container image that the code runs in")
        parser.add_argument("--tag", default="", help="the image's tag")
        parser.add_argument(
            "--entrypoint",
            default="",
            metavar="COMMAND",
            help="how the code is run; $ALGO stands for its file: 'python3 $ALGO'",
        )
        parser.add_argument(
            "--checksum",
            default="",
            metavar="SHA256",
            help="of the image; a Provider refuses code without it",
        )
        parser.add_argument("--language", default="", help="what the code is written in, for people")
        parser.add_argument(
            "--environment",
            required=True,
            metavar="ID|free|paid",
            help="free: the free tier with the most room; paid: the cheapest paid place that fits",
        )
        parser.add_argument(
            "--paid",
            action="store_true",
            help="run in the paid part of an environment that has a free tier too",
        )
        parser.add_argument(
            "--max-cost",
            action="append",
            default=[],
            metavar="AMOUNT[:TOKEN]",
            help="what it may cost, in tokens of what the time is paid in or of the one that is named; a launch that costs "
            "money needs it; repeatable",
        )
        parser.add_argument(
            "--token", default="", metavar="SYMBOL|ADDRESS", help="what a paid place is to be paid in"
        )
        parser.add_argument(
            "--resources",
            nargs="+",
            default=[],
            metavar="NAME=AMOUNT",
            help="how much of a paid place's resources: cpu=2 ram=4; default: the least",
        )
        parser.add_argument(
            "--params", metavar="JSON", help="what the algorithm reads as custom data: a JSON object"
        )
        parser.add_argument("--name", default="", help="what the job is called on the pages")
        parser.add_argument(
            "--duration", type=int, metavar="S", help="the node stops the job after so many seconds"
        )
        parser.add_argument(
            "--queue-wait", type=int, metavar="S", help="how long it may wait for a free place"
        )
        parser.add_argument(
            "--wait", action="store_true", help="until the job has ended; exit code 0 only for SUCCEEDED"
        )
        parser.add_argument(
            "--timeout",
            type=float,
            metavar="S",
            help="of --wait; default: the job's longest duration plus 10 minutes",
        )
        parser.add_argument("--json", action="store_true", help="print one object and nothing else on stdout")

    def handle(self, **options: Any) -> None:
        """Launch, wait if asked to, and leave with the exit code that says how it went."""
        try:
            actor = teams.operator(team=options["team"])
            request, quote = _priced(
                actor=actor, request=_request(actor=actor, options=options), given=options["max_cost"]
            )
            job_id = launching.launch(actor=actor, request=request, launch_key=uuid.uuid4(), now=clock())
        except TooExpensive as error:
            self._refuse_price(error, as_json=options["json"])
        except PortalError as error:
            self._refuse(error)
        self._warn_without_worker(actor)
        if not options["json"]:
            self.stdout.write(f"Recorded as job {job_id}.")
        code = self._wait(actor=actor, job_id=job_id, options=options) if options["wait"] else EXIT_OK
        summary = commands.job_summary(team_id=actor.team_id, job_id=job_id) | {
            "quote": _told(quote) if quote else None
        }
        if options["json"]:
            self.stdout.write(json.dumps(summary, indent=2))
        elif options["wait"]:
            self.stdout.write(f"{summary['state']} {summary['message']}".strip())
            if summary["charged"]:
                self.stdout.write(
                    "Charged: " + ", ".join(f"{x['amount']} {x['symbol']}" for x in summary["charged"])
                )
        sys.exit(code)

    def _wait(self, *, actor: Actor, job_id: uuid.UUID, options: dict[str, Any]) -> int:
        limit_s = options["timeout"]
        if limit_s is None:
            limit_s = commands.longest_s(team_id=actor.team_id, job_id=job_id) + GRACE_S
        end = time.monotonic() + limit_s
        watch_at = 0.0
        shown = ""
        while True:
            if time.monotonic() >= watch_at:
                refreshing.watch(job_id=job_id, now=clock())
                watch_at = time.monotonic() + WATCH_EVERY_S
            state, told = commands.job_progress(team_id=actor.team_id, job_id=job_id)
            if told != shown and not options["json"]:
                self.stdout.write(told)
                shown = told
            if state in TERMINAL or state == State.NEEDS_ATTENTION:
                return EXIT_OK if state == State.SUCCEEDED else EXIT_NOT_SUCCEEDED
            if time.monotonic() >= end:
                self.stderr.write(f"The job had not ended after {limit_s:.0f} s; it goes on.")
                return EXIT_TIMEOUT
            time.sleep(POLL_S)

    def _refuse(self, error: PortalError) -> None:
        field = error.field if isinstance(error, InvalidInput) else ""
        self.stderr.write(f"--{OPTIONS.get(field, field)}: {error.message}" if field else error.message)
        for candidate in getattr(error, "candidates", ()):
            self.stderr.write(f"  {candidate}")
        sys.exit(EXIT_REFUSED)

    def _refuse_price(self, error: TooExpensive, *, as_json: bool) -> None:
        self.stderr.write(f"--max-cost: {error.message}")
        if as_json:
            told = {"refused": error.message, "code": error.code, "quote": _told(error.quote)}
            self.stdout.write(json.dumps(told, indent=2))
        sys.exit(EXIT_PRICE)

    def _warn_without_worker(self, actor: Actor) -> None:
        if not portal.chrome(team_id=actor.team_id, now=clock()).worker_alive:
            self.stderr.write(
                "No worker has been alive for 30 s: the job is recorded, and starts when one runs. "
                "Start it with: python manage.py worker"
            )


def _request(*, actor: Actor, options: dict[str, Any]) -> LaunchRequest:
    parameters = _json(options["params"], field="params") if options["params"] else None
    datasets = tuple(_dataset(actor=actor, text=text) for text in options["dataset"])
    for dataset in datasets:
        _know(actor=actor, ref=dataset.ref, field="datasets")
    return LaunchRequest(
        datasets=_with_userdata(actor=actor, datasets=datasets, given=options["userdata"]),
        algorithm=_algorithm(actor=actor, options=options),
        environment=options["environment"],
        wallet=options["wallet"] or commands.default_wallet(team_id=actor.team_id),
        parameters=parameters,
        max_duration_s=options["duration"],
        queue_wait_s=options["queue_wait"],
        name=options["name"],
        paid=options["paid"],
        token=commands.token_named(options["token"]),
        resources=_resources(options["resources"]),
    )


def _resources(given: list[str]) -> dict[str, float] | None:
    found: dict[str, float] = {}
    for text in given:
        name, _, amount = text.partition("=")
        try:
            number = float(Decimal(amount))
        except InvalidOperation:
            number = math.nan
        if not math.isfinite(number):
            raise InvalidInput("Write it as NAME=AMOUNT, such as cpu=2.", field="resources")
        found[name.strip()] = number
    return found or None


def _limits(given: list[str]) -> list[Limit]:
    found = []
    for text in given:
        amount, _, token = text.partition(":")
        try:
            number = Decimal(amount)
        except InvalidOperation:
            number = Decimal(-1)
        if not number.is_finite() or number < 0:
            raise InvalidInput("Write it as AMOUNT or AMOUNT:TOKEN, such as 2.5:OCEAN.", field="max-cost")
        found.append(Limit(amount=number, token=token.strip()))
    return found


def _priced(*, actor: Actor, request: LaunchRequest, given: list[str]) -> tuple[LaunchRequest, Quote | None]:
    """Look at the price of what costs money, and agree to as much as was said.

    What is free is not asked about; should one of its assets have a price, the job says so, and nothing is paid.

    Raises:
        TooExpensive: nothing was said of what it may cost, or it costs more.
    """
    limits = _limits(given)
    if choosing.plan(actor=actor, request=request).free and not limits:
        return request, None
    quote = quoting.quote(actor=actor, request=request, clock=clock, purpose=Purpose.ACT)
    sums = [item.total for item in quote.sums]
    price = " and ".join(_amount(total) for total in sums) or "nothing but gas"
    where = f"This costs at most {price} in “{quote.environment}” at {quote.node}"
    allowed = {total.token: _allowed(total, limits=limits, quote=quote) for total in sums}
    missing = [total for total in sums if allowed[total.token] is None]
    if missing:
        add = " ".join(
            f"--max-cost {plain(total.exact)}" + (f":{total.symbol}" if len(sums) > 1 else "")
            for total in sums
        )
        raise TooExpensive(
            f"{where}. Nothing was launched; to launch it, add {add}", quote=quote, code="not_agreed"
        )
    if any(total.exact > (allowed[total.token] or 0) for total in sums):
        raise TooExpensive(f"{where}, which is more than may be spent. Nothing was launched.", quote=quote)
    if quote.troubles:
        raise InvalidInput(" ".join(quote.troubles), field="wallet")
    most = {total.token: _in_wei(total, allowed[total.token] or Decimal(0)) for total in sums}
    return replace(request, most={**quote.most, **most}), quote


def _allowed(total: Amount, *, limits: list[Limit], quote: Quote) -> Decimal | None:
    """Return what may be spent of a token; None where nothing was said of it."""
    for limit in limits:
        named = limit.token.lower() in (total.symbol.lower(), total.token.lower())
        unnamed = not limit.token and (total.token == quote.plan.payment_token or len(quote.sums) == 1)
        if named or unnamed:
            return limit.amount
    return None


def _in_wei(total: Amount, allowed: Decimal) -> int:
    try:
        return to_wei(allowed, decimals=total.decimals)
    except ValueError as error:
        raise InvalidInput(str(error), field="max-cost") from None


def _amount(amount: Amount) -> str:
    return f"{plain(amount.exact)} {amount.symbol}"


def _told(quote: Quote) -> dict[str, Any]:
    """Return a price as plain data; amounts are text, as they are exact."""

    def data(amount: Amount) -> dict[str, str]:
        return {"token": amount.token, "symbol": amount.symbol, "amount": plain(amount.exact)}

    return {
        "environment": quote.environment,
        "node": quote.node,
        "free": quote.free,
        "lines": [
            {"what": line.what, **(data(line.amount) if line.amount else {"amount": "0"})}
            for line in quote.lines
        ],
        "totals": [
            data(x.total) | {"wallet_has": data(x.has)["amount"], "missing": data(x.missing)["amount"]}
            for x in quote.sums
        ],
        "transactions": quote.transactions,
        "gas": plain(quote.gas),
        "troubles": list(quote.troubles),
    }


def _json(text: str, *, field: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"This is no JSON: {error}.", field=field) from None
    if not isinstance(value, dict):
        raise InvalidInput('The parameters must be a JSON object, such as {"seconds": 5}.', field=field)
    return value


def _algorithm(*, actor: Actor, options: dict[str, Any]) -> str | OwnAlgorithm:
    described = {name: str(options[name]) for name in CONTAINER}
    ref: str | None = options["algorithm"]
    if ref is None:
        code = _read(options["code"]) if options["code"] else ""
        return OwnAlgorithm(code=code, url=options["code_url"] or "", **described)
    given = next((name for name, text in described.items() if text), None)
    if given is not None:
        raise InvalidInput(
            "This goes with --code and --code-url only: a published algorithm says itself how it runs.",
            field=given,
        )
    _know(actor=actor, ref=ref, field="algorithm")
    return ref


def _read(path: str) -> str:
    try:
        with Path(path).open("rb") as stream:
            return stream.read(CODE_MAX_BYTES + 1).decode()
    except OSError as error:
        raise InvalidInput(f"The file cannot be read: {error.strerror}.", field="code") from None
    except UnicodeDecodeError:
        raise InvalidInput("The file is no text in UTF-8, or is larger than 60 kB.", field="code") from None


def _with_userdata(
    *, actor: Actor, datasets: tuple[DatasetChoice, ...], given: list[str]
) -> tuple[DatasetChoice, ...]:
    """Hand each dataset what is meant for it; DIDs and names may be mixed."""
    if not given:
        return datasets

    def did(ref: str, field: str) -> str:
        return catalogue.find(team_id=actor.team_id, ref=ref, kind="dataset", field=field).did

    places = {did(choice.ref, "datasets"): place for place, choice in enumerate(datasets)}
    chosen = list(datasets)
    for text in given:
        ref, found, values = text.partition("={")
        if not found:
            raise InvalidInput('Write it as DATASET={"name": value}.', field="userdata")
        place = places.get(did(ref, "userdata"))
        if place is None:
            raise InvalidInput(f"“{ref[:80]}” is not among the datasets of this launch.", field="userdata")
        chosen[place] = replace(chosen[place], userdata=_json("{" + values, field="userdata"))
    return tuple(chosen)


def _dataset(*, actor: Actor, text: str) -> DatasetChoice:
    """Split DID:SERVICE or NAME:SERVICE. A DID has two colons of its own; a name may have any."""
    if text.startswith("did:"):
        parts = text.split(":", 3)
        return DatasetChoice(ref=":".join(parts[:3]), service_id=parts[3] if len(parts) == 4 else "")
    name, _, service = text.rpartition(":")
    if name and not commands.name_known(team_id=actor.team_id, name=text):
        return DatasetChoice(ref=name.strip(), service_id=service.strip())
    return DatasetChoice(ref=text)


def _know(*, actor: Actor, ref: str, field: str) -> None:
    """Read a DID that the team's catalogue does not have yet: the command line needs no visit to a page first."""
    if is_did(ref) and not commands.asset_known(team_id=actor.team_id, did=ref):
        try:
            catalogue.add(actor=actor, did=ref, clock=clock)
        except InvalidInput as error:
            error.field = field
            raise
