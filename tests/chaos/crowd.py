"""The jobs that run in bad weather: both dialects, free and paid, with priced assets, from several wallets."""

import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from eth_abi.abi import encode
from eth_account import Account
from eth_utils.abi import function_signature_to_4byte_selector
from eth_utils.crypto import keccak

from tests.sandbox.journey.ledger import PAYMASTER, Ledger
from tests.sandbox.journey.portal import Portal

OCEAN_EACH, DOLLARS_EACH = 5_000 * 10**18, 1_000 * 10**6
LASTS_S = 60
WAITS_S = 1_800  # in the queue of a node, which runs two jobs at a time


@dataclass(frozen=True)
class Wallet:
    """A wallet that nobody has used before. pays_in: the contract's name of what its jobs at a node are paid in."""

    label: str
    pays_in: str = "Ocean"

    @property
    def key(self) -> str:
        return "0x" + keccak(text=f"chaos, {self.label}").hex()

    @property
    def address(self) -> str:
        return str(Account.from_key(self.key).address)


# So many that dialects, prices and kinds of work meet every wallet; one job at a time spends from each.
WALLETS = (
    Wallet("harbour"),
    Wallet("pier", pays_in="MockUSDC"),
    Wallet("quay"),
    Wallet("jetty", pays_in="MockUSDC"),
    Wallet("mole"),
)


@dataclass(frozen=True)
class Work:
    """What a job does. ends_well: whether its algorithm does."""

    algorithm: str
    datasets: tuple[str, ...]
    parameters: dict[str, Any] | None = None
    ends_well: bool = True


WORKS = (
    Work("Summary statistics", ("Iris flowers",)),
    Work("Word count", ("Iris flowers (priced)", "US Constitution"), {"seconds": 0}),
    Work("Summary statistics (priced)", ("Mauna Loa CO2", "Iris flowers (priced)")),
    Work("Failing example", ("Iris flowers",), ends_well=False),
    Work("Word count", ("US Constitution",), {"seconds": 1}),
)


@dataclass(frozen=True)
class Wish:
    """One job that is wanted."""

    algorithm: str
    datasets: tuple[str, ...]
    environment: str
    wallet: str
    token: str = ""
    parameters: dict[str, Any] | None = field(default=None)


def wishes(count: int, *, contracts: dict[str, Any]) -> Iterator[Wish]:
    """Yield so many jobs: of 20 no two are alike."""
    for number in range(count):
        provider, paid = number % 2 == 1, number // 2 % 2 == 1
        work, wallet = WORKS[number // 4 % len(WORKS)], WALLETS[number % len(WALLETS)]
        algorithm, *datasets = (
            _for_provider(name) if provider else name for name in (work.algorithm, *work.datasets)
        )
        yield Wish(
            algorithm=algorithm,
            datasets=tuple(datasets),
            environment="paid" if paid else "free",
            wallet=wallet.label,
            token=contracts[wallet.pays_in] if paid and not provider else "",
            parameters=work.parameters,
        )


def _for_provider(name: str) -> str:
    """Return what the same asset is called where a Provider serves it."""
    return f"{name[:-1]}, v4)" if name.endswith("(priced)") else f"{name} (v4)"


def fund(ledger: Ledger, *, info: dict[str, Any]) -> None:
    """Give every wallet gas money and tokens."""
    givers = {"Ocean": (PAYMASTER, OCEAN_EACH), "MockUSDC": (info["account"]["private_key"], DOLLARS_EACH)}
    for wallet in WALLETS:
        ledger.give_gas_money(wallet.address)
        for token, (key, amount) in givers.items():
            call = function_signature_to_4byte_selector("transfer(address,uint256)")
            data = call + encode(["address", "uint256"], [wallet.address, amount])
            ledger.send(ledger.signed(key, to=info["contracts"][token], data=data)[1])


def launch(portal: Portal, *, wanted: list[Wish]) -> list[uuid.UUID]:
    """Launch the jobs, each at the price that is told for it, and return their ids."""
    keys = {wallet.label: wallet.key for wallet in WALLETS}
    found = portal.call(
        "from dataclasses import replace\n"
        "from decimal import Decimal\n"
        "from jobs.services import limits, quoting\n"
        "from jobs.services.choosing import DatasetChoice, LaunchRequest\n"
        f"for label, key in {keys!r}.items():\n"
        "    made = wallets.import_key(actor=actor, label=label, secret_text=key, now=clock())\n"
        "    for token in Token.objects.all():\n"
        "        limits.set_limit(actor=actor, wallet_id=made, token_id=token.pk, amount=Decimal(100), now=clock())\n"
        "answer = []\n"
        f"for wish in {[asdict(wish) for wish in wanted]!r}:\n"
        "    wish['datasets'] = tuple(DatasetChoice(ref=name) for name in wish['datasets'])\n"
        f"    request = LaunchRequest(**wish, max_duration_s={LASTS_S}, queue_wait_s={WAITS_S})\n"
        "    quote = quoting.quote(actor=actor, request=request, clock=clock)\n"
        "    assert not quote.troubles, quote.troubles\n"
        "    request = replace(request, most=quote.most)\n"
        "    made = launching.launch(actor=actor, request=request, launch_key=uuid.uuid4(), now=clock())\n"
        "    answer.append(made)\n"
    )
    return [uuid.UUID(job_id) for job_id in found]
