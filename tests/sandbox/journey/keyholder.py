"""Runs inside a portal's own process: brings keys by its pages, and writes down everything that can be got out of it."""

import copy
import json
import logging
import pickle
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest import mock

from django.conf import settings
from django.contrib import admin
from django.contrib.sessions.models import Session
from django.core import mail
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command
from django.core.signals import got_request_exception
from django.db import OperationalError
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse
from django.urls.exceptions import NoReverseMatch
from django.views.debug import ExceptionReporter
from django_q.models import OrmQ, Success
from eth_account import Account
from eth_keys.backends import CoinCurveECCBackend

from jobs import queue
from jobs.models import Asset, EscrowAccount, Job, NodeToken, Result, Team, Transaction, User, Wallet
from jobs.ocean import signing
from jobs.ocean.transactions import Transaction as Unsigned
from jobs.ocean.units import Address, Wei
from jobs.services import vault

ROWS = 4  # of each record, on the admin's pages
BROKEN = "the curve is broken"


def owner() -> User:
    """Return the demo's owner, who may use the admin as well."""
    person = User.objects.get(memberships__team__slug="demo", memberships__role="owner")
    person.is_staff = person.is_superuser = True
    person.save()
    return person


def browser(person: User) -> Client:
    """Return a browser in which a person is signed in."""
    client = Client(SERVER_NAME="localhost", raise_request_exception=False)
    client.force_login(person)
    return client


def bring(out: Path, entered: dict[str, dict[str, str]]) -> None:
    """Bring keys by the page, by label; what the page answers is kept. A label that begins with "not" is refused."""
    client = browser(owner())
    for label, fields in entered.items():
        answer = client.post(reverse("wallets-import", args=["demo"]), form_of(label, fields), follow=True)
        keep(out, f"import of {label}", answer.content)
        refused = label.startswith("not")
        assert Wallet.objects.filter(label=label).exists() != refused, (label, answer.content[-3000:])


def form_of(label: str, fields: dict[str, str]) -> dict[str, Any]:
    """Return what the browser sends for a way to write a key down. fields: with "how" the way, and perhaps a file."""
    how = fields["how"]
    form: dict[str, Any] = {"how": how, f"{how}-label": label}
    for name, text in fields.items():
        if name == "file":
            form[f"{how}-file"] = SimpleUploadedFile("UTC--keystore.json", text.encode(), "application/json")
        elif name != "how":
            form[f"{how}-{name}"] = text
    return form


def keep(out: Path, name: str, content: bytes | str) -> None:
    """Write something down under a name that may be an address."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / (re.sub(r"[^\w.-]+", "_", name)[:180] or "_")
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def gather(out: Path) -> None:
    """Write down every page and fragment, the dump, the queue, the sessions, and what is said of a signer."""
    person = owner()
    client = browser(person)
    seen = [pages(out / "pages", client), admin_pages(out / "admin", client)]
    (out / "seen.json").write_text(json.dumps(sorted({name for names in seen for name in names})))
    call_command("dumpdata", output=str(out / "dump.json"), verbosity=0)
    keep(out, "sessions", "\n".join(repr(session.get_decoded()) for session in Session.objects.all()))
    rows = [repr(row.task) + repr(row.payload) for row in OrmQ.objects.all()]
    rows += [repr((row.func, row.args, row.kwargs, row.result)) for row in Success.objects.all()]
    keep(out, "queue", "\n".join(rows) or "empty")
    keep(out, "mail", "\n".join(message.message().as_string() for message in getattr(mail, "outbox", [])))
    signers(out / "signers")


# pages


def pages(out: Path, client: Client) -> set[str]:
    """Ask for every address of the portal, as a page and as a fragment; return their names."""
    names: set[str] = set()
    for pattern in _patterns(get_resolver().url_patterns):
        if not pattern.name:
            continue
        names.add(pattern.name)
        for arguments in _arguments(pattern):
            with suppress(NoReverseMatch):
                url = reverse(pattern.name, kwargs=arguments)
                for note, headers in (("page", {}), ("fragment", {"HX-Request": "true"})):
                    answer = client.get(url, headers=headers)
                    body = answer.getvalue() if answer.streaming else answer.content
                    keep(out, f"{pattern.name} {url[-60:]} {note}", body + repr(answer.headers).encode())
    return names


def _patterns(patterns: list[Any]) -> Iterator[URLPattern]:
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            if pattern.app_name != "admin":
                yield from _patterns(pattern.url_patterns)
        elif "logout" not in str(pattern.name):
            yield pattern


def _arguments(pattern: URLPattern) -> Iterator[dict[str, Any]]:
    """Return arguments for an address: one set for each wallet where it is about one."""
    names = set(pattern.pattern.regex.groupindex)
    team = Team.objects.get(slug="demo")
    job = Job.objects.filter(team=team).order_by("requested_at").first()
    fixed: dict[str, Any] = {
        "team": "demo",
        "job_id": job.pk if job else None,
        "result_id": getattr(Result.objects.filter(job=job).first(), "pk", 1),
        "asset_id": getattr(Asset.objects.filter(team=team).first(), "pk", 1),
        "account_id": getattr(EscrowAccount.objects.first(), "pk", 1),
        "transaction_id": getattr(Transaction.objects.first(), "pk", 1),
        "token_id": getattr(NodeToken.objects.first(), "pk", 1),
    }
    given = {name: fixed.get(name, 1) for name in names}
    if "wallet_id" not in names:
        yield given
        return
    for pk in Wallet.objects.filter(team=team).values_list("pk", flat=True):
        yield given | {"wallet_id": pk}


def admin_pages(out: Path, client: Client) -> set[str]:
    """Ask for every page of the admin; return which records have some."""
    names: set[str] = set()
    keep(out, "index", client.get(reverse("admin:index")).content)
    for model in admin.site._registry:
        place = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        names.add(place)
        for page in ("changelist", "add"):
            keep(out, f"{place} {page}", client.get(reverse(f"{place}_{page}")).content)
        for row in model._default_manager.order_by("-pk")[:ROWS]:
            for page in ("change", "history", "delete"):
                keep(
                    out,
                    f"{place} {page} {row.pk}",
                    client.get(reverse(f"{place}_{page}", args=[row.pk])).content,
                )
    return names


# signers and errors


def signers(out: Path) -> None:
    """Write down what can be had of a signer, and every report of an error while a key is at hand."""
    wallet = Wallet.objects.exclude(encrypted_key=None).get(label="by hex")
    signer = vault.signer(wallet)
    shown = [repr(signer), str(signer), f"{signer}", repr(signing.Pen(signer, 1)), repr([signer])]
    for take in (pickle.dumps, copy.copy, copy.deepcopy, vars, json.dumps):
        try:
            shown.append(repr(take(signer)))
        except Exception as error:
            shown.append(repr(error))
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        try:
            shown.append(repr(pickle.dumps(signer, protocol)))
        except Exception as error:
            shown.append(repr(error))
    keep(out, "shown", "\n".join(shown))
    unsigned = Unsigned(
        chain_id=8996,
        nonce=0,
        to=Address(wallet.address),
        data=b"",
        value_wei=Wei(0),
        gas=21_000,
        max_fee_wei=Wei(1),
        priority_fee_wei=Wei(1),
    )
    ways: dict[str, Callable[[], object]] = {
        "text": lambda: signer.sign_text("a text"),
        "bytes": lambda: signer.sign_bytes(b"bytes"),
        "transaction": lambda: signer.sign_transaction(unsigned),
        "opening": lambda: vault.signer(wallet),
    }
    for name, way in ways.items():
        keep(out, f"error {name}", report_of(way))
    page_errors(out)


def report_of(act: Callable[[], object]) -> str:
    """Let the curve fail below an act, and return every report of that: Django's, and what a log gets."""
    broken = mock.Mock(side_effect=RuntimeError(BROKEN))
    with (
        mock.patch.object(CoinCurveECCBackend, "ecdsa_sign", broken),
        mock.patch.object(CoinCurveECCBackend, "private_key_to_public_key", broken),
    ):
        try:
            act()
        except Exception:
            reporter = ExceptionReporter(None, *sys.exc_info())
            logging.getLogger("jobs").exception("a report of an error")
            return reporter.get_traceback_html() + reporter.get_traceback_text()
    raise AssertionError("nothing failed")


def page_errors(out: Path) -> None:
    """Let the database fail while a key is brought or made by the page, and write down the reports."""
    reports: list[str] = []

    def note(request: Any, **_: Any) -> None:
        reporter = ExceptionReporter(request, *sys.exc_info())
        reports.append(reporter.get_traceback_html() + reporter.get_traceback_text())

    client = browser(owner())
    known = json.loads((out.parents[2] / "entered.json").read_text())
    got_request_exception.connect(note)
    failing = mock.Mock(side_effect=OperationalError("database is locked"))
    made = bytes.fromhex(known["by hex"]["secret"].removeprefix("0x"))
    debug, settings.DEBUG = settings.DEBUG, False
    try:
        with (
            mock.patch("jobs.services.wallets.add_row", failing),
            mock.patch("jobs.services.wallets.new_key", lambda: made),
        ):
            for label, fields in known.items():
                if label.startswith("not"):
                    continue
                form = form_of(f"again {label}", fields)
                answer = client.post(reverse("wallets-import", args=["demo"]), form)
                keep(out, f"500 {label}", answer.content)
            answer = client.post(reverse("wallets-generate", args=["demo"]), {"new-label": "anew"})
            keep(out, "500 made", answer.content)
    finally:
        settings.DEBUG = debug
        got_request_exception.disconnect(note)
    assert len(reports) == 5, len(reports)
    keep(out, "reports", "\n".join(reports))


# what a test of the search plants


def plant(text: str) -> None:
    """Put a text wherever something is looked for: the search has to find it in each of these places."""
    Wallet.objects.filter(label="demo").update(label=text)
    queue.enqueue(queue.Task.LOOK_AT_NODE, text)
    session = Client(SERVER_NAME="localhost").session
    session["planted"] = text
    session.save()
    default_storage.save("planted.bin", ContentFile(text.encode()))
    logging.getLogger("jobs").debug("planted %s", text)


def entered_forms(
    *, hex_key: str, phrase: str, text_key: str, file_key: str, password: str
) -> dict[str, dict[str, str]]:
    """Return what is typed into the forms, for each way to write a key down; with what they refuse."""
    text, file = (
        json.dumps(Account.encrypt(key, password, kdf="pbkdf2", iterations=1000))
        for key in (text_key, file_key)
    )
    path = "m/44'/60'/0'/0/0"
    return {
        "by hex": {"how": "key", "secret": hex_key},
        "by words": {"how": "phrase", "secret": phrase, "path": path},
        "by keystore": {"how": "keystore", "secret": text, "password": password},
        "by file": {"how": "keystore", "file": file, "password": password},
        "not hex": {"how": "key", "secret": hex_key[:-1]},
        "not words": {"how": "phrase", "secret": f"{phrase} {phrase.split()[0]}", "path": path},
        "not a path": {"how": "phrase", "secret": phrase, "path": "m/x"},
        "not keystore": {"how": "keystore", "secret": text, "password": f"{password}!"},
        "not both": {"how": "keystore", "secret": text, "file": file, "password": password},
    }
