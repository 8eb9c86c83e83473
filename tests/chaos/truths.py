"""What must be true of jobs, orders and money when everything has settled, whatever the weather was.

Everything is taken from the chain and from the sandbox's own memory, and held against the portal's database.
"""

import json
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from eth_abi.abi import decode, encode
from eth_utils.abi import function_signature_to_4byte_selector
from eth_utils.address import to_checksum_address

from tests.chaos.crowd import WALLETS
from tests.sandbox.journey.ledger import Ledger
from tests.sandbox.journey.portal import Portal

TOKENS = ("Ocean", "MockUSDC")
FINISHED = 70
# What is never true here: the portal knows every kind of weather, and no service forgets a job.
FALSE_REASONS = ("internal_error", "node_forgot", "order_in_use")
IN_A_BLOCK = ("confirmed", "reverted", "cancelled")
# The exchange takes the price of an asset and one part in a thousand for the community.
PRICES_WEI = {"Iris flowers": 2_002 * 10**15, "Summary statistics": 5_005 * 10**14}


@dataclass(frozen=True)
class Purse:
    """What a wallet has, in wei: of the chain's own coin, and by token in the wallet and in the escrow."""

    coin: int
    held: dict[str, int]
    escrowed: dict[str, int]


def purses(ledger: Ledger, *, contracts: dict[str, Any]) -> dict[str, Purse]:
    """Return what every wallet has now, by its address."""
    return {
        wallet.address: Purse(
            coin=int(ledger.ask("eth_getBalance", wallet.address, "latest"), 16),
            held={contracts[name]: ledger.balance(contracts[name], wallet.address) for name in TOKENS},
            escrowed={
                contracts[name]: _escrowed(ledger, contracts["Escrow"], wallet.address, contracts[name])
                for name in TOKENS
            },
        )
        for wallet in WALLETS
    }


def _escrowed(ledger: Ledger, escrow: str, owner: str, token: str) -> int:
    data = function_signature_to_4byte_selector("getUserFunds(address,address)")
    data += encode(["address", "address"], [owner, token])
    said = ledger.ask("eth_call", {"to": escrow, "data": "0x" + data.hex()}, "latest")
    return sum(decode(["uint256", "uint256"], bytes.fromhex(said[2:])))


def lies(*, portal: Portal, ledger: Ledger, before: dict[str, Purse], began_at: int) -> list[str]:
    """Return everything that is not true, in sentences; began_at: the newest block before the first job."""
    return [
        *_jobs(portal),
        *_orders(portal),
        *_chain(portal, ledger, before=before, began_at=began_at),
        *_reconciliation(portal),
    ]


# jobs


def _jobs(portal: Portal) -> Iterator[str]:
    """Compare how the jobs ended with the lists of node and Provider."""
    theirs = {
        row[0]: dict(zip(("id", "owner", "status", "exit_code", "spec"), row, strict=True))
        for row in portal.box.rows("SELECT id, owner, status, exit_code, spec FROM jobs")
    }
    known: Counter[str] = Counter()
    for job in portal.rows("SELECT j.*, n.dialect FROM jobs_job j JOIN jobs_node n ON n.id = j.node_id"):
        tag = str(uuid.UUID(job["tag"]))
        if job["dialect"] == "ocean-node":
            mine = [one for one in theirs.values() if tag in one["spec"]]
        else:
            mine = [theirs[job["node_job_id"]]] if job["node_job_id"] in theirs else []
        known.update(one["id"] for one in mine)
        told = f"“{job['name']}” ({uuid.UUID(job['id'])}): {job['state']} {job['reason']}, {job['message']}"
        if len(mine) > 1:
            yield f"{told} It runs {len(mine)} times."
        ended = [one for one in mine if one["status"] == FINISHED]
        well = bool(ended) and (job["dialect"] == "provider-v4" or ended[0]["exit_code"] == 0)
        if (job["state"] == "SUCCEEDED") != well:
            yield f"{told} The service says: {[(one['status'], one['exit_code']) for one in mine]}"
        if job["state"] != "SUCCEEDED" and not (job["reason"] and job["message"]):
            yield f"{told} It does not say why."
        if job["reason"] == "exit_code" and not (ended and ended[0]["exit_code"]):
            yield f"{told} Its algorithm did not fail."
    marks = ", ".join("?" * len(FALSE_REASONS))
    for event in portal.rows(f"SELECT * FROM jobs_jobevent WHERE reason IN ({marks})", *FALSE_REASONS):
        yield f"{uuid.UUID(event['job_id'])}: {event['reason']}, {event['message']}"
    if "Traceback" in portal.worker_log():
        yield f"The worker has met what it does not know: {portal.worker_log()}"
    owners = {wallet.address.lower() for wallet in WALLETS}
    ours = {one["id"] for one in theirs.values() if one["owner"].lower() in owners}
    for stranger in ours - known.keys():
        yield f"A job of ours that the portal does not know: {theirs[stranger]}"
    for job_id, count in known.items():
        if count > 1:
            yield f"{count} jobs of the portal are the same job {job_id}."


# orders


def _orders(portal: Portal) -> Iterator[str]:
    """Look for whatever was paid more than once for one job."""
    paid = portal.rows(
        "SELECT t.job_id, t.purpose, t.told, count(*) AS n FROM jobs_transaction t WHERE t.status = 'confirmed' "
        "AND t.purpose IN ('order', 'purchase', 'dispense') GROUP BY t.job_id, t.purpose, t.told HAVING n > 1"
    )
    for row in paid:
        yield f"{row['told']} ({row['purpose']}) was done {row['n']} times for {row['job_id']}."
    most = portal.rows(
        "SELECT j.id, j.most, t.token, t.amount_wei FROM jobs_transaction t JOIN jobs_job j ON j.id = t.job_id "
        "WHERE t.status = 'confirmed' AND t.token <> ''"
    )
    spent: dict[tuple[str, str], int] = defaultdict(int)
    agreed: dict[tuple[str, str], int] = {}
    for row in most:
        spent[row["id"], row["token"]] += int(row["amount_wei"])
        agreed[row["id"], row["token"]] = int(json.loads(row["most"]).get(row["token"], 0))
    for key, amount in spent.items():
        if amount > agreed[key]:
            yield f"{key[0]} has cost {amount} of {key[1]}, and {agreed[key]} were agreed to."


# the chain


def _chain(portal: Portal, ledger: Ledger, *, before: dict[str, Purse], began_at: int) -> Iterator[str]:
    """Compare every wallet's transactions and balances with the ledger."""
    mined, gas = _mined(ledger, began_at=began_at)
    after = purses(ledger, contracts=portal.box.info["contracts"])
    for wallet in WALLETS:
        rows = portal.rows(
            "SELECT t.* FROM jobs_transaction t JOIN jobs_wallet w ON w.id = t.wallet_id WHERE w.address = ?",
            wallet.address,
        )
        name = wallet.label
        kept = {row["tx_hash"]: row["nonce"] for row in rows if row["status"] in IN_A_BLOCK}
        if kept != mined[wallet.address]:
            yield f"{name}: the ledger has {kept}, the chain {mined[wallet.address]}."
        count = ledger.nonce(wallet.address)
        if not count == ledger.nonce(wallet.address, "pending") == len(kept):
            yield f"{name}: {count} transactions were mined, and the ledger has {len(kept)}."
        then, now = before[wallet.address], after[wallet.address]
        if then.coin - now.coin != gas[wallet.address]:
            yield f"{name}: {then.coin - now.coin} wei are gone, and gas was {gas[wallet.address]}."
        for token, held in then.held.items():
            yield from _token(portal, rows, name=name, token=token, moved=held - now.held[token])
            charged = _charged(portal, wallet.address, token)
            deposited = sum(
                int(row["amount_wei"]) for row in _done(rows, token) if row["purpose"] == "deposit"
            )
            if deposited != now.escrowed[token] + charged:
                yield (
                    f"{name}: {deposited} of {token} were deposited, {charged} charged, and "
                    f"{now.escrowed[token]} are in the escrow."
                )


def _done(rows: list[Any], token: str) -> list[Any]:
    return [row for row in rows if row["status"] == "confirmed" and row["token"] == token]


def _token(portal: Portal, rows: list[Any], *, name: str, token: str, moved: int) -> Iterator[str]:
    done = _done(rows, token)
    kept = sum(int(row["amount_wei"]) for row in done)
    if moved != kept:
        yield f"{name}: {moved} of {token} are gone, and the ledger has {kept}."
    fees = portal.rows(
        "SELECT o.* FROM jobs_order o JOIN jobs_transaction t ON t.id = o.transaction_id WHERE t.status = 'confirmed'"
    )
    ours = {row["id"] for row in rows}
    costs = sum(
        int(row["fee_wei"]) for row in fees if row["transaction_id"] in ours and row["fee_token"] == token
    )
    for row in done:
        if row["purpose"] == "purchase":
            costs += next(price for asset, price in PRICES_WEI.items() if asset in row["told"])
        elif row["purpose"] == "deposit":
            costs += int(row["amount_wei"])
    if moved != costs:
        yield f"{name}: {moved} of {token} are gone; prices, fees and deposits are {costs}."


def _charged(portal: Portal, address: str, token: str) -> int:
    jobs = portal.rows(
        "SELECT j.charged_wei, j.escrow_need FROM jobs_job j JOIN jobs_wallet w ON w.id = j.wallet_id "
        "WHERE w.address = ? AND j.charged_wei IS NOT NULL",
        address,
    )
    return sum(int(job["charged_wei"]) for job in jobs if json.loads(job["escrow_need"])["token"] == token)


def _mined(ledger: Ledger, *, began_at: int) -> tuple[dict[str, dict[str, int]], dict[str, int]]:
    """Return what every wallet has on the chain, hashes with their nonces, and what it has paid for gas."""
    mined: dict[str, dict[str, int]] = {wallet.address: {} for wallet in WALLETS}
    gas: dict[str, int] = {wallet.address: 0 for wallet in WALLETS}
    for number in range(began_at + 1, ledger.head() + 1):
        for tx in ledger.ask("eth_getBlockByNumber", hex(number), True)["transactions"]:
            sender = to_checksum_address(tx["from"])
            if sender in mined:
                receipt = ledger.ask("eth_getTransactionReceipt", tx["hash"])
                mined[sender][tx["hash"]] = int(tx["nonce"], 16)
                gas[sender] += int(receipt["gasUsed"], 16) * int(receipt["effectiveGasPrice"], 16)
    return mined, gas


# the portal's own comparison


def _reconciliation(portal: Portal) -> Iterator[str]:
    ended = portal.manage("reconcile", "--json")
    found = json.loads(ended.stdout) if ended.stdout else [{"kind": "none", "sentence": ended.stderr}]
    for difference in found:
        yield f"reconcile: {difference['kind']}: {difference['sentence']}"
    if (ended.code == 0) != (not found):
        yield f"reconcile ended with {ended.code} and told {len(found)} differences."
