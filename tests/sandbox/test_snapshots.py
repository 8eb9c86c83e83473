"""Snapshots of the sandbox chain: a revert brings everything back, and is a reorganisation to whoever watched."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import web3
from web3.exceptions import BlockNotFound, TransactionNotFound

from ocean_portal.sandbox import rpc
from ocean_portal.sandbox.chain import ETHER, Chain
from ocean_portal.sandbox.contracts import Contract, deploy, mint
from ocean_portal.sandbox.encoding import RpcError
from tests.sandbox.devchain import GENESIS_TIME, LOGGER, Clock, pay, signed


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def chain(tmp_path: Path, clock: Clock) -> Iterator[Chain]:
    opened = Chain(tmp_path, clock=clock)
    yield opened
    opened.close()


def everything(chain: Chain) -> dict[str, Any]:
    """Ask for all that a client can see."""
    head = int(chain.rpc("eth_blockNumber", []), 16)
    accounts = [account.address for account in chain.accounts]
    return {
        "blocks": [chain.rpc("eth_getBlockByNumber", [hex(number), True]) for number in range(head + 2)],
        "receipts": [chain.rpc("eth_getBlockReceipts", [hex(number)]) for number in range(head + 2)],
        "logs": chain.rpc("eth_getLogs", [{"fromBlock": "0x0", "toBlock": "0xffff"}]),
        "balances": [chain.rpc("eth_getBalance", [account, "latest"]) for account in accounts],
        "nonces": [
            chain.rpc("eth_getTransactionCount", [account, block])
            for account in accounts
            for block in ("latest", "pending")
        ],
        "pool": list(chain.waiting),
        "time": chain.rpc("evm_increaseTime", [0]),
        "gas price": chain.rpc("eth_gasPrice", []),
        "state": list(chain.store._db.execute("SELECT * FROM state ORDER BY key")),
    }


def ask(w3: web3.Web3, method: str, *params: Any) -> Any:
    """Call what web3 has no name for."""
    return w3.provider.make_request(web3.types.RPCEndpoint(method), params)["result"]


class TestIds:
    def test_count_up_and_are_used_up_with_all_later_ones(self, chain: Chain) -> None:
        ids = [chain.rpc("evm_snapshot", []) for _ in range(3)]
        assert ids == ["0x1", "0x2", "0x3"]

        assert chain.rpc("evm_revert", ["0x2"]) is True

        assert chain.rpc("evm_revert", ["0x2"]) is False
        assert chain.rpc("evm_revert", ["0x3"]) is False
        assert chain.rpc("evm_snapshot", []) == "0x4"
        assert chain.rpc("evm_revert", ["0x1"]) is True

    def test_unknown_one_changes_nothing(self, chain: Chain) -> None:
        pay(chain)
        before = everything(chain)

        assert chain.rpc("evm_revert", ["0x7"]) is False

        assert everything(chain) == before

    def test_nonsense_is_refused(self, chain: Chain) -> None:
        with pytest.raises(RpcError) as caught:
            chain.rpc("evm_revert", ["yesterday"])

        assert caught.value.code == -32602


class TestRevert:
    def test_brings_back_all_that_can_be_seen(self, chain: Chain) -> None:
        chain.send(chain.account(0), {"data": LOGGER})
        chain.rpc("evm_increaseTime", [50])
        chain.rpc("evm_setAutomine", [False])
        for nonce, price in ((1, 2), (2, 2), (4, 2), (1, 3)):
            chain.rpc("eth_sendRawTransaction", [signed(chain, nonce=nonce, gasPrice=price * 10**9)])
        before = everything(chain)
        snapshot = chain.rpc("evm_snapshot", [])
        chain.rpc("eth_sendRawTransaction", [signed(chain, nonce=2, gasPrice=9 * 10**9, value=ETHER)])
        chain.rpc("evm_mine", [{"timestamp": GENESIS_TIME + 10_000, "blocks": 3}])
        chain.rpc("evm_setAutomine", [True])
        chain.rpc("evm_increaseTime", [70])
        chain.send(chain.account(2), {"data": LOGGER})
        after = everything(chain)
        assert [name for name in before if after[name] == before[name]] == []

        assert chain.rpc("evm_revert", [snapshot]) is True

        assert everything(chain) == before
        assert chain.automine

    def test_goes_back_over_several_snapshots(self, chain: Chain) -> None:
        pay(chain, wei=ETHER)
        before = everything(chain)
        first = chain.rpc("evm_snapshot", [])
        for _ in range(3):
            chain.send(chain.account(0), {"data": LOGGER})
            chain.rpc("evm_snapshot", [])
        pay(chain)

        chain.rpc("evm_revert", [first])

        assert everything(chain) == before

    def test_brings_an_earlier_snapshot_back_after_a_later_one(self, chain: Chain) -> None:
        before = everything(chain)
        first = chain.rpc("evm_snapshot", [])
        pay(chain)
        between = everything(chain)
        second = chain.rpc("evm_snapshot", [])
        pay(chain)
        chain.rpc("evm_revert", [second])
        assert everything(chain) == between
        pay(chain)

        chain.rpc("evm_revert", [first])

        assert everything(chain) == before

    def test_takes_contracts_and_their_balances_back(self, chain: Chain) -> None:
        contracts = deploy(chain)
        ocean = Contract(chain, "OceanToken", contracts["Ocean"])
        bob = chain.account(5).address
        had = ocean.call("balanceOf", bob)
        snapshot = chain.rpc("evm_snapshot", [])
        mint(chain, contracts, "Ocean", bob, 7)
        created = chain.send(chain.account(0), {"data": "0x6001600c60003960016000f300"})["contractAddress"]
        assert chain.rpc("eth_getCode", [created, "latest"]) == "0x00"

        chain.rpc("evm_revert", [snapshot])

        assert ocean.call("balanceOf", bob) == had
        assert chain.rpc("eth_getCode", [created, "latest"]) == "0x"

    def test_chain_goes_on_from_there(self, chain: Chain) -> None:
        snapshot = chain.rpc("evm_snapshot", [])
        lost = pay(chain)
        chain.rpc("evm_revert", [snapshot])

        again = pay(chain)

        assert (again["blockNumber"], again["transactionHash"]) == ("0x1", lost["transactionHash"])
        assert chain.rpc("eth_getTransactionReceipt", [lost["transactionHash"]]) == again


class TestReorganisation:
    def test_same_transaction_at_the_same_time_gets_another_block(self, chain: Chain) -> None:
        seen = []
        for _ in range(3):
            snapshot = chain.rpc("evm_snapshot", [])
            seen.append(pay(chain))
            chain.rpc("evm_revert", [snapshot])

        assert {receipt["blockNumber"] for receipt in seen} == {"0x1"}
        assert len({receipt["transactionHash"] for receipt in seen}) == 1
        assert len({receipt["blockHash"] for receipt in seen}) == 3

    def test_forgotten_blocks_transactions_and_logs_are_gone(self, chain: Chain) -> None:
        snapshot = chain.rpc("evm_snapshot", [])
        lost = chain.send(chain.account(0), {"data": LOGGER})

        chain.rpc("evm_revert", [snapshot])

        assert chain.rpc("eth_getBlockByHash", [lost["blockHash"], False]) is None
        assert chain.rpc("eth_getBlockByNumber", [lost["blockNumber"], False]) is None
        assert chain.rpc("eth_getTransactionByHash", [lost["transactionHash"]]) is None
        assert chain.rpc("eth_getTransactionReceipt", [lost["transactionHash"]]) is None
        assert chain.rpc("eth_getLogs", [{"fromBlock": "0x0"}]) == []
        with pytest.raises(RpcError, match="unknown block"):
            chain.rpc("eth_getLogs", [{"blockHash": lost["blockHash"]}])

    def test_logs_are_those_of_the_new_blocks(self, chain: Chain) -> None:
        snapshot = chain.rpc("evm_snapshot", [])
        chain.send(chain.account(0), {"data": LOGGER})
        chain.send(chain.account(0), {"data": LOGGER})
        chain.rpc("evm_revert", [snapshot])

        new = chain.send(chain.account(1), {"data": LOGGER})

        assert chain.rpc("eth_getLogs", [{"fromBlock": "0x0"}]) == new["logs"]
        assert chain.rpc("eth_getLogs", [{"blockHash": new["blockHash"]}]) == new["logs"] != []

    def test_mined_transaction_is_pending_again_and_can_be_replaced(self, chain: Chain) -> None:
        chain.rpc("evm_setAutomine", [False])
        tx_hash = chain.rpc("eth_sendRawTransaction", [signed(chain)])
        snapshot = chain.rpc("evm_snapshot", [])
        chain.rpc("evm_mine", [])
        assert chain.rpc("eth_getTransactionReceipt", [tx_hash])["status"] == "0x1"
        chain.rpc("evm_revert", [snapshot])
        assert chain.rpc("eth_getTransactionByHash", [tx_hash])["blockHash"] is None

        new = chain.rpc("eth_sendRawTransaction", [signed(chain, value=9, gasPrice=3 * 10**9)])
        chain.rpc("evm_mine", [])

        assert chain.rpc("eth_getBlockByNumber", ["0x1", False])["transactions"] == [new]
        assert chain.rpc("eth_getTransactionReceipt", [tx_hash]) is None

    def test_web3_sees_the_block_vanish_and_sends_the_bytes_again(self, chain: Chain) -> None:
        server = rpc.serve(chain, port=0)
        w3 = web3.Web3(web3.HTTPProvider(server.url))
        raw = signed(chain, value=ETHER)
        snapshot = ask(w3, "evm_snapshot")
        tx_hash = w3.eth.send_raw_transaction(raw)  # type: ignore[arg-type]
        old = w3.eth.wait_for_transaction_receipt(tx_hash, 10)

        assert ask(w3, "evm_revert", snapshot) is True

        with pytest.raises(TransactionNotFound):
            w3.eth.get_transaction_receipt(tx_hash)
        with pytest.raises(BlockNotFound):
            w3.eth.get_block(old["blockHash"])
        assert w3.eth.send_raw_transaction(raw) == tx_hash  # type: ignore[arg-type]
        new = w3.eth.wait_for_transaction_receipt(tx_hash, 10)
        assert new["blockNumber"] == old["blockNumber"]
        assert new["blockHash"] != old["blockHash"]
        server.shutdown()


class TestAfterAKill:
    def test_snapshots_can_be_reverted_to(self, tmp_path: Path, clock: Clock) -> None:
        chain = Chain(tmp_path, clock=clock)
        pay(chain)
        before = everything(chain)
        chain.rpc("evm_snapshot", [])
        chain.close()
        program = (
            "import sys\nfrom pathlib import Path\nfrom ocean_portal.sandbox.chain import Chain\n"
            "from tests.sandbox.devchain import LOGGER\n"
            "chain = Chain(Path(sys.argv[1]))\n"
            "while True: print(chain.send(chain.account(0), {'data': LOGGER})['blockNumber'], flush=True)"
        )
        with subprocess.Popen(
            [sys.executable, "-c", program, tmp_path], stdout=subprocess.PIPE, text=True
        ) as sender:
            assert sender.stdout
            assert [sender.stdout.readline() for _ in range(5)][-1] == "0x6\n"
            sender.send_signal(signal.SIGKILL)
        reopened = Chain(tmp_path, clock=clock)

        assert reopened.rpc("evm_revert", ["0x1"]) is True

        assert everything(reopened) == before
        assert pay(reopened)["blockNumber"] == "0x2"
        reopened.close()

    def test_killed_in_a_revert_it_is_before_or_after_it(self, tmp_path: Path) -> None:
        program = (
            "import sys\nfrom pathlib import Path\nfrom ocean_portal.sandbox.chain import Chain\n"
            "from tests.sandbox.devchain import LOGGER\n"
            "chain = Chain(Path(sys.argv[1]))\n"
            "while True:\n"
            "    snapshot = chain.rpc('evm_snapshot', [])\n"
            "    for _ in range(3): chain.send(chain.account(0), {'data': LOGGER})\n"
            "    chain.rpc('evm_revert', [snapshot])\n"
            "    print(chain.send(chain.account(1), {'data': LOGGER})['blockNumber'], flush=True)"
        )
        for rounds in (1, 3, 6):
            with subprocess.Popen(
                [sys.executable, "-c", program, tmp_path], stdout=subprocess.PIPE, text=True
            ) as sender:
                assert sender.stdout
                numbers = [int(sender.stdout.readline(), 16) for _ in range(rounds)]
                sender.send_signal(signal.SIGKILL)

            chain = Chain(tmp_path)
            head = int(chain.rpc("eth_blockNumber", []), 16)
            assert numbers[-1] <= head <= numbers[-1] + 4
            sent = [int(chain.rpc("eth_getTransactionCount", [chain.account(i).address]), 16) for i in (0, 1)]
            assert sum(sent) == head == len(chain.rpc("eth_getLogs", [{"fromBlock": "0x0"}]))
            blocks = [chain.rpc("eth_getBlockByNumber", [hex(number), False]) for number in range(head + 1)]
            assert [block["parentHash"] for block in blocks[1:]] == [block["hash"] for block in blocks[:-1]]
            chain.close()
