"""A key goes in and never comes out: a portal is run with known keys, and all that it leaves is searched for them."""

import base64
import html
import json
import pprint
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from tests.repo.source import ROOT
from tests.sandbox.journey import keyholder
from tests.sandbox.journey.conftest import open_portal
from tests.sandbox.journey.keysearch import (
    FILE_KEY,
    HEX_KEY,
    PHRASE,
    PHRASE_KEY,
    TEXT_KEY,
    Secret,
    base64_cores,
    find,
    find_all,
    raw,
)
from tests.sandbox.journey.portal import Ended, Portal, wait_for

# The first of the tests waits for the portal of all of them.
pytestmark = [pytest.mark.long, pytest.mark.xdist_group("keys"), pytest.mark.timeout(900)]

PASSWORD = "only the keystore opens with this"
NEW_WALLET_KEY = base64.urlsafe_b64encode(b"the key after the change, 32 lon").decode()


SECRETS = (
    Secret("by hex", key=raw(HEX_KEY)),
    Secret("by words", key=raw(PHRASE_KEY), words=tuple(PHRASE.split())),
    Secret("by keystore", key=raw(TEXT_KEY), texts=(PASSWORD,)),
    Secret("by file", key=raw(FILE_KEY)),
)


class Holder:
    """A portal that keeps known keys, and the folder with everything that was got out of it."""

    def __init__(self, portal: Portal, out: Path) -> None:
        self.portal = portal
        self.out = out
        self.said: list[Ended] = []
        self.tokens: list[str] = []

    def run(self, code: str) -> Ended:
        """Run code of `keyholder` inside the portal's settings; what it logs is kept."""
        imports = "from pathlib import Path\nfrom tests.sandbox.journey import keyholder\n"
        script = f"{imports}out = Path({str(self.out)!r})\n{code}"
        ended = self.portal.manage("shell", "-v", "0", "--no-imports", "-c", script)
        assert ended.code == 0, ended.stderr[-4000:]
        self.said.append(ended)
        return ended

    def keep_database(self, name: str) -> None:
        """Copy the database's file with what stands beside it, and write down its dump."""
        for path in self.portal.folder.glob("portal.sqlite3*"):
            self.out.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, self.out / f"{name} {path.name}")
        with closing(sqlite3.connect(self.portal.folder / "portal.sqlite3", timeout=20)) as db:
            (self.out / f"{name} dump.sql").write_text("\n".join(db.iterdump()))

    def keep_logs(self) -> None:
        """Write down what every command has said."""
        for number, ended in enumerate(self.said):
            (self.out / f"said {number}").write_text(f"{ended.stdout}\n{ended.stderr}")

    def haystack(self, *folders: Path) -> Iterator[tuple[str, bytes]]:
        """Go through everything that was got out, and all that the portal itself has left in its folder."""
        for folder in folders or (self.out, self.portal.folder):
            for path in sorted(folder.rglob("*")):
                if path.is_file():
                    yield str(path.relative_to(folder.parent)), path.read_bytes()


@pytest.fixture(scope="module")
def holder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Holder]:
    """Keys brought in each form, used at a node and on the chain, changed, disabled; then everything written down."""
    with open_portal(tmp_path_factory.mktemp("keys")) as portal:
        portal.environment["PORTAL_LOG_LEVEL"] = "DEBUG"
        holder = Holder(portal, tmp_path_factory.mktemp("out") / "everything")
        entered = keyholder.entered_forms(
            hex_key=HEX_KEY, phrase=PHRASE, text_key=TEXT_KEY, file_key=FILE_KEY, password=PASSWORD
        )
        (holder.out.parent / "entered.json").write_text(json.dumps(entered))
        holder.run(
            "import json\n"
            "entered = json.loads((out.parent / 'entered.json').read_text())\n"
            "keyholder.bring(out / 'bringing', entered)"
        )
        holder.keep_database("brought")
        use(holder)
        holder.keep_database("used")
        portal.environment["PORTAL_WALLET_KEYS"] = f"{NEW_WALLET_KEY},{old_wallet_key()}"
        rotated = portal.manage("rotate_wallet_key", "-v", "2")
        assert rotated.code == 0, rotated.stderr
        holder.said.append(rotated)
        holder.keep_database("changed")
        holder.run("keyholder.gather(out / 'gathered')")
        disable(holder)
        holder.keep_database("disabled")
        holder.keep_logs()
        yield holder


def old_wallet_key() -> str:
    """Return the wallet key of all test runs."""
    lines = (ROOT / "tests" / "portal.env").read_text().splitlines()
    return next(line.partition("=")[2] for line in lines if line.startswith("PORTAL_WALLET_KEYS="))


def use(holder: Holder) -> None:
    """Run a free job by signature, one by a node token, and one that signs transactions; one stays in the queue."""
    portal = holder.portal
    portal.start_worker()
    launch(holder, ("Summary statistics", "Iris flowers"), ("Summary statistics (v4)", "Iris flowers (v4)"))
    assert portal.rows("SELECT 1 FROM jobs_transaction WHERE status = 'confirmed'"), "nothing was signed"
    portal.call(
        "from jobs.services import nodetokens\n"
        "wallet = Wallet.objects.get(label='by hex')\n"
        "for node in Node.objects.all():\n"
        "    nodetokens.want(actor=actor, wallet_id=wallet.pk, node_id=node.pk, now=clock())"
    )
    sql = "SELECT count(*) FROM jobs_nodetoken WHERE encrypted_token IS NOT NULL"
    wait_for(lambda: portal.rows(sql)[0][0] == 2, "a token of each service")
    launch(holder, ("Word count", "US Constitution"), ("Word count (v4)", "US Constitution (v4)"))
    holder.tokens = [row[0] for row in portal.box.rows("SELECT token FROM tokens")]
    portal.kill_worker()
    launch(holder, ("Summary statistics", "Iris flowers"), wait=False)


def launch(holder: Holder, *jobs: tuple[str, str], wait: bool = True) -> None:
    """Launch jobs with the wallet that came by hex, each an algorithm and its dataset; they end well."""
    waiting = ("--wait", "--timeout", "80") if wait else ()
    place = ("--team", "demo", "--wallet", "by hex", "--environment", "free")
    begun = [
        holder.portal.begin(
            *("launch_job", "--json", *place, "--algorithm", algorithm, "--dataset", dataset, *waiting)
        )
        for algorithm, dataset in jobs
    ]
    for command in begun:
        ended = command.end()
        assert ended.code == 0, (ended.stdout, ended.stderr[-4000:])
        holder.said.append(ended)


def disable(holder: Holder) -> None:
    """Disable the wallets; the worker gives the tokens back."""
    portal = holder.portal
    portal.call(
        "for wallet in Wallet.objects.filter(label__startswith='by '):\n"
        "    wallets.disable(actor=actor, wallet_id=wallet.pk, now=clock())\n"
        "NodeToken.objects.update(next_try_at=clock())"
    )
    portal.start_worker()
    wait_for(lambda: not portal.rows("SELECT 1 FROM jobs_nodetoken"), "the giving back of the tokens")
    wait_for(lambda: portal.rows("SELECT 1 FROM jobs_balance"), "a look at the balances")
    portal.kill_worker()


class TestKeys:
    def test_are_in_nothing_that_comes_out_of_the_portal(self, holder: Holder) -> None:
        searched = 0
        found: dict[str, set[tuple[str, str]]] = {}
        for name, content in holder.haystack():
            searched += 1
            if there := find_all(content, SECRETS):
                found[name] = there

        assert searched > 300
        assert found == {}

    def test_are_looked_for_on_every_page(self, holder: Holder) -> None:
        seen = set(json.loads((holder.out / "gathered" / "seen.json").read_text()))

        from jobs.urls import urlpatterns

        named = {pattern.name for pattern in urlpatterns if getattr(pattern, "name", None)}
        assert {name for name in named - seen if "logout" not in name} == set()
        assert "admin:jobs_wallet" in seen

    def test_are_in_no_error_report_though_the_signing_itself_failed(self, holder: Holder) -> None:
        for name in ("text", "bytes", "transaction", "opening"):
            report = (holder.out / "gathered" / "signers" / f"error_{name}").read_text()

            assert "SignerFailed" in report, name
            assert find_all(report.encode(), SECRETS) == set()

    def test_are_encrypted_with_the_new_wallet_key_alone(self, holder: Holder) -> None:
        for row in holder.portal.rows("SELECT encrypted_key FROM jobs_wallet"):
            assert len(Fernet(NEW_WALLET_KEY).decrypt(row["encrypted_key"])) == 32

    def test_of_nodes_and_of_the_vault_are_as_well_kept(self, holder: Holder) -> None:
        texts = (*holder.tokens, NEW_WALLET_KEY, old_wallet_key())
        assert len(texts) >= 3
        others = [Secret("tokens and wallet keys", texts=texts)]

        found = {name for name, content in holder.haystack() if find_all(content, others)}

        assert found == set()


FORMS: dict[str, Callable[[bytes], bytes]] = {
    "hex": lambda key: b"k=" + key.hex().encode(),
    "hex with 0x": lambda key: b"0x" + key.hex().encode(),
    "upper hex": lambda key: key.hex().upper().encode(),
    "upper hex with 0X": lambda key: b"0X" + key.hex().upper().encode(),
    "mixed hex": lambda key: key.hex().title().encode(),
    "raw": lambda key: b"\x00\xff" + key + b"\x01",
    "decimal": lambda key: str(int.from_bytes(key)).encode(),
    "repr": lambda key: repr({"key": key}).encode(),
    "repr in HTML": lambda key: html.escape(repr({"key": key})).encode(),
    "repr in pieces": lambda key: pprint.pformat({"key": key}, width=40).encode(),
    "repr in pieces in HTML": lambda key: html.escape(pprint.pformat(key, width=30)).encode(),
    "repr of a bytearray": lambda key: repr(bytearray(key)).encode(),
    "list": lambda key: json.dumps(list(key)).encode(),
    "tight list": lambda key: json.dumps(list(key), separators=(",", ":")).encode(),
    "JSON": lambda key: json.dumps({"key": key.decode("latin-1")}).encode(),
    "SQL": lambda key: f"INSERT INTO t VALUES(X'{key.hex().upper()}')".encode(),
} | {
    f"{name} after {before} and before {behind} bytes": lambda key, code=code, before=before, behind=behind: (
        code(b"\xa7" * before + key + b"\x5c" * behind)
    )
    for name, code in {"base64": base64.b64encode, "base64 for URLs": base64.urlsafe_b64encode}.items()
    for before in (0, 1, 2, 3, 31)
    for behind in (0, 1, 2)
}


class TestSearch:
    """The search itself can fail: it finds what is planted, in each form and in each place."""

    @pytest.mark.parametrize("form", FORMS)
    @pytest.mark.parametrize("secret", SECRETS, ids=lambda secret: secret.name)
    def test_finds_a_key_in_every_form(self, secret: Secret, form: str) -> None:
        written = FORMS[form](secret.key)

        assert find(b"before " + written + b" behind", secret)
        assert not find(b"before " + FORMS[form](bytes(reversed(secret.key))) + b" behind", secret)

    @pytest.mark.parametrize(
        "written",
        [
            PHRASE,
            PHRASE.upper(),
            PHRASE.replace(" ", "\n"),
            json.dumps(PHRASE.split()),
            html.escape(repr(PHRASE.split())),
            " ".join(PHRASE.split()[4:7]),
        ],
    )
    def test_finds_the_words_of_a_phrase(self, written: str) -> None:
        assert "words" in find(f"it was {written} there".encode(), SECRETS[1])

    def test_finds_no_words_that_are_apart(self) -> None:
        assert find(b"a myth that people like, a bonus", SECRETS[1]) == set()

    def test_finds_the_password_of_a_keystore(self) -> None:
        assert find(f"<input value={PASSWORD}>".encode(), SECRETS[2]) == {"text"}

    def test_knows_all_three_alignments_of_base64(self) -> None:
        cores = base64_cores(raw(HEX_KEY))

        assert len(set(cores)) == 3
        assert min(map(len, cores)) >= 41

    def test_finds_a_planted_key_in_every_place(self, holder: Holder, tmp_path: Path) -> None:
        planted = holder.portal.folder.parent / "planted"
        shutil.copytree(holder.portal.folder, planted)
        own = Holder(holder.portal, tmp_path / "planted")
        before, own.portal.environment["PORTAL_VAR"] = own.portal.environment["PORTAL_VAR"], str(planted)
        (tmp_path / "entered.json").write_text((holder.out.parent / "entered.json").read_text())
        try:
            own.run(f"keyholder.plant({raw(HEX_KEY).hex()!r})")
            own.run("keyholder.gather(out / 'gathered')")
        finally:
            own.portal.environment["PORTAL_VAR"] = before
        own.keep_logs()
        with closing(sqlite3.connect(planted / "portal.sqlite3", timeout=20)) as db:
            (own.out / "dump.sql").write_text("\n".join(db.iterdump()))

        secret = [SECRETS[0]]
        there = {name for name, content in own.haystack(own.out, planted) if find_all(content, secret)}

        for place in PLACES:
            assert any(place in name for name in there), (place, sorted(there))


# A part of the name of something in which the planted key has to be found.
PLACES = (
    "pages/wallets_",
    "admin/admin_jobs_wallet_changelist",
    "admin/admin_jobs_wallet_change",
    "gathered/dump.json",
    "gathered/queue",
    "gathered/sessions",
    "dump.sql",
    "portal.sqlite3",
    "said ",
    "storage/planted.bin",
)
