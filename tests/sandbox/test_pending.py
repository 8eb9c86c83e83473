"""The sandbox chain with automine off: transactions that wait, are replaced, are dropped, survive a kill."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import web3
from web3.exceptions import TimeExhausted, TransactionNotFound, Web3RPCError

from ocean_portal.sandbox import rpc
from ocean_portal.sandbox.chain import ETHER, Chain
from ocean_portal.sandbox.encoding import RpcError
from tests.sandbox.devchain import GENESIS_TIME, LOGGER, REVERTER, Clock, pay, signed

GWEI = 10**9


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def chain(tmp_path: Path, clock: Clock) -> Iterator[Chain]:
    """A chain with automine off."""
    opened = Chain(tmp_path, clock=clock)
    assert opened.rpc("evm_setAutomine", [False]) is True
    yield opened
    opened.close()


def send(chain: Chain, **fields: Any) -> str:
    tx_hash: str = chain.rpc("eth_sendRawTransaction", [signed(chain, **fields)])
    return tx_hash


def receipt(chain: Chain, tx_hash: str) -> dict[str, Any] | None:
    found: dict[str, Any] | None = chain.rpc("eth_getTransactionReceipt", [tx_hash])
    return found


def mined(chain: Chain, number: int) -> list[str]:
    """Return the hashes of a block's transactions."""
    hashes: list[str] = chain.rpc("eth_getBlockByNumber", [hex(number), False])["transactions"]
    return hashes


def nonces(chain: Chain, sender: int = 0) -> tuple[int, int]:
    """Return an account's nonces in the newest and in the pending block."""
    address = chain.account(sender).address
    latest, pending = (
        chain.rpc("eth_getTransactionCount", [address, block]) for block in ("latest", "pending")
    )
    return int(latest, 16), int(pending, 16)


class TestWaiting:
    def test_shows_the_transaction_without_a_block(self, chain: Chain) -> None:
        tx_hash = send(chain)

        body = chain.rpc("eth_getTransactionByHash", [tx_hash])

        assert (body["hash"], body["nonce"]) == (tx_hash, "0x0")
        assert (body["blockHash"], body["blockNumber"], body["transactionIndex"]) == (None, None, None)
        assert receipt(chain, tx_hash) is None
        assert chain.rpc("eth_blockNumber", []) == "0x0"

    def test_counts_pending_nonces_up_to_the_first_gap(self, chain: Chain) -> None:
        for nonce in (0, 1, 3):
            send(chain, nonce=nonce)

        assert nonces(chain) == (0, 2)
        send(chain, nonce=2)
        assert nonces(chain) == (0, 4)

    def test_ends_with_a_block_of_all_that_are_executable(self, chain: Chain) -> None:
        waiting = [send(chain, nonce=nonce) for nonce in (1, 0, 3)]

        assert chain.rpc("evm_mine", []) == "0x0"

        assert mined(chain, 1) == [waiting[1], waiting[0]]
        assert list(chain.waiting) == [bytes.fromhex(waiting[2][2:])]
        assert nonces(chain) == (2, 2)

    def test_gap_that_is_filled_lets_the_rest_be_mined(self, chain: Chain) -> None:
        later = send(chain, nonce=1)
        chain.rpc("evm_mine", [])
        assert receipt(chain, later) is None
        first = send(chain, nonce=0)

        chain.rpc("evm_mine", [])

        assert mined(chain, 2) == [first, later]

    def test_same_bytes_are_already_known(self, chain: Chain) -> None:
        send(chain)

        with pytest.raises(RpcError, match=r"^already known$"):
            send(chain)

    def test_used_nonce_is_too_low(self, chain: Chain) -> None:
        send(chain)
        chain.rpc("evm_mine", [])

        with pytest.raises(RpcError, match=r"^nonce too low: next nonce 1, tx nonce 0$"):
            send(chain, value=2)

    def test_counts_what_waits_before_against_the_balance(self, chain: Chain) -> None:
        send(chain, nonce=0, value=6_000 * ETHER)
        too_much = {"nonce": 1, "value": 6_000 * ETHER}

        with pytest.raises(RpcError, match=r"^insufficient funds for gas \* price \+ value: .*queued cost"):
            send(chain, **too_much)
        with pytest.raises(RpcError, match=r"^insufficient funds for gas \* price \+ value: address"):
            send(chain, nonce=1, value=10_000 * ETHER)

        assert nonces(chain) == (0, 1)

    def test_offer_below_the_base_fee_waits_until_that_has_fallen(self, chain: Chain) -> None:
        cheap = send(chain, maxFeePerGas=8 * GWEI // 10, maxPriorityFeePerGas=1)
        chain.rpc("evm_mine", [])
        assert mined(chain, 1) == []

        chain.rpc("evm_mine", [{"blocks": 3}])

        found = receipt(chain, cheap)
        assert found is not None
        header = chain.rpc("eth_getBlockByHash", [found["blockHash"], False])
        assert int(header["baseFeePerGas"], 16) <= 8 * GWEI // 10

    def test_pending_block_has_what_would_be_mined(self, chain: Chain) -> None:
        waiting = [send(chain, nonce=nonce, value=ETHER) for nonce in (0, 1, 3)]
        account = chain.account(1).address

        block = chain.rpc("eth_getBlockByNumber", ["pending", False])
        balances = [chain.rpc("eth_getBalance", [account, tag]) for tag in ("latest", "pending")]

        assert (block["number"], block["hash"], block["transactions"]) == ("0x1", None, waiting[:2])
        assert int(block["gasUsed"], 16) == 42_000
        (first, _) = chain.rpc("eth_getBlockByNumber", ["pending", True])["transactions"]
        assert (first["hash"], first["blockHash"]) == (waiting[0], None)
        assert [int(balance, 16) // ETHER for balance in balances] == [10_000, 10_002]
        assert chain.rpc("eth_blockNumber", []) == "0x0"
        assert len(chain.waiting) == 3

    def test_account_of_the_chain_signs_with_the_pending_nonce(self, chain: Chain) -> None:
        call = {"from": chain.account(0).address, "to": chain.account(1).address, "value": "0x1"}

        sent = [chain.rpc("eth_sendTransaction", [call]) for _ in "ab"]

        assert [chain.rpc("eth_getTransactionByHash", [tx_hash])["nonce"] for tx_hash in sent] == [
            "0x0",
            "0x1",
        ]


class TestReplacing:
    OLD = {"maxFeePerGas": 20 * GWEI, "maxPriorityFeePerGas": 2 * GWEI}

    def test_needs_a_tenth_more_of_both_fees(self, chain: Chain) -> None:
        old = send(chain, **self.OLD)

        new = send(chain, maxFeePerGas=22 * GWEI, maxPriorityFeePerGas=22 * GWEI // 10)

        assert chain.rpc("eth_getTransactionByHash", [old]) is None
        chain.rpc("evm_mine", [])
        assert mined(chain, 1) == [new]
        assert receipt(chain, old) is None

    @pytest.mark.parametrize(
        ("fee", "priority"),
        [
            (22 * GWEI - 1, 3 * GWEI),
            (30 * GWEI, 22 * GWEI // 10 - 1),
            (30 * GWEI, 2 * GWEI),
            (20 * GWEI, 2 * GWEI),
        ],
    )
    def test_refuses_less_as_underpriced(self, chain: Chain, fee: int, priority: int) -> None:
        old = send(chain, **self.OLD)

        with pytest.raises(RpcError, match=r"^replacement transaction underpriced$") as caught:
            send(chain, value=2, maxFeePerGas=fee, maxPriorityFeePerGas=priority)

        assert caught.value.code == -32000
        assert chain.rpc("eth_getTransactionByHash", [old]) is not None

    def test_of_nothing_offered_needs_a_wei(self, chain: Chain) -> None:
        send(chain, maxFeePerGas=2 * GWEI, maxPriorityFeePerGas=0)

        with pytest.raises(RpcError, match="underpriced"):
            send(chain, maxFeePerGas=3 * GWEI, maxPriorityFeePerGas=0)
        send(chain, maxFeePerGas=3 * GWEI, maxPriorityFeePerGas=1)

    def test_works_behind_a_gap(self, chain: Chain) -> None:
        send(chain, nonce=1)

        new = send(chain, nonce=1, gasPrice=3 * GWEI)

        assert list(chain.waiting) == [bytes.fromhex(new[2:])]

    def test_keeps_the_place_in_the_line(self, chain: Chain) -> None:
        send(chain, nonce=0)
        second = send(chain, nonce=1)

        new = send(chain, nonce=0, gasPrice=3 * GWEI)
        chain.rpc("evm_mine", [])

        assert mined(chain, 1) == [new, second]

    def test_counts_only_the_new_price_against_the_balance(self, chain: Chain) -> None:
        send(chain, value=6_000 * ETHER)

        new = send(chain, value=6_000 * ETHER, gasPrice=3 * GWEI)

        assert list(chain.waiting) == [bytes.fromhex(new[2:])]


class TestOrder:
    def test_best_paying_come_first_and_older_of_equals(self, chain: Chain) -> None:
        fees = {1: 2, 2: 5, 3: 2, 4: 9}
        sent = {
            sender: send(chain, sender=sender, maxFeePerGas=20 * GWEI, maxPriorityFeePerGas=tip * GWEI)
            for sender, tip in fees.items()
        }

        chain.rpc("evm_mine", [])

        assert mined(chain, 1) == [sent[4], sent[2], sent[1], sent[3]]

    def test_later_nonce_that_pays_more_still_waits_for_the_earlier(self, chain: Chain) -> None:
        poor, rich = (
            send(chain, sender=1, nonce=nonce, gasPrice=price * GWEI) for nonce, price in ((0, 2), (1, 9))
        )
        between = send(chain, sender=2, gasPrice=5 * GWEI)

        chain.rpc("evm_mine", [])

        assert mined(chain, 1) == [between, poor, rich]

    def test_block_takes_only_what_its_gas_allows(self, chain: Chain) -> None:
        big = [send(chain, sender=sender, gas=29_990_000, gasPrice=(9 - sender) * GWEI) for sender in (1, 2)]
        small = send(chain, sender=3)

        chain.rpc("evm_mine", [{"blocks": 2}])

        # The gas of a transaction counts until it is executed; what it leaves over is there for the next.
        assert mined(chain, 1) == [big[0], small]
        assert mined(chain, 2) == [big[1]]

    def test_transactions_of_a_block_have_their_own_places_gas_and_logs(self, chain: Chain) -> None:
        fields = {"to": "", "value": 0, "data": LOGGER, "gas": 100_000}
        sent = [send(chain, sender=sender, **fields) for sender in (0, 1)] + [send(chain, sender=2)]

        chain.rpc("evm_mine", [])

        receipts = chain.rpc("eth_getBlockReceipts", ["0x1"])
        assert [item["transactionHash"] for item in receipts] == sent
        assert [item["transactionIndex"] for item in receipts] == ["0x0", "0x1", "0x2"]
        used = [int(item["gasUsed"], 16) for item in receipts]
        assert used[0] == used[1] > used[2] == 21_000
        assert [int(item["cumulativeGasUsed"], 16) for item in receipts] == [
            used[0],
            2 * used[0],
            2 * used[0] + 21_000,
        ]
        logs = chain.rpc("eth_getLogs", [{"fromBlock": "0x1"}])
        assert [(log["transactionHash"], log["logIndex"]) for log in logs] == [
            (sent[0], "0x0"),
            (sent[1], "0x1"),
        ]
        assert chain.rpc("eth_getTransactionByBlockNumberAndIndex", ["0x1", "0x1"])["hash"] == sent[1]
        block = chain.rpc("eth_getBlockByNumber", ["0x1", True])
        assert int(block["gasUsed"], 16) == sum(used)
        assert [body["transactionIndex"] for body in block["transactions"]] == ["0x0", "0x1", "0x2"]

    def test_fee_history_weighs_tips_by_gas(self, chain: Chain) -> None:
        send(chain, sender=1, maxFeePerGas=9 * GWEI, maxPriorityFeePerGas=1)
        send(chain, sender=2, maxFeePerGas=9 * GWEI, maxPriorityFeePerGas=5, gas=100_000, to="", data=LOGGER)
        chain.rpc("evm_mine", [])

        history = chain.rpc("eth_feeHistory", ["0x1", "latest", [0, 20, 50, 100]])

        assert history["reward"] == [["0x1", "0x1", "0x5", "0x5"]]


class TestMine:
    def test_makes_empty_blocks(self, chain: Chain) -> None:
        assert chain.rpc("evm_mine", [{"blocks": 5}]) == "0x0"

        assert chain.rpc("eth_blockNumber", []) == "0x5"
        assert mined(chain, 5) == []

    def test_time_goes_on_from_the_timestamp(self, chain: Chain, clock: Clock) -> None:
        chain.rpc("evm_mine", [GENESIS_TIME + 1000])
        clock.now += 10
        chain.rpc("evm_mine", [])
        chain.rpc("evm_mine", [{"timestamp": hex(GENESIS_TIME + 2000), "blocks": 2}])

        times = [
            int(chain.rpc("eth_getBlockByNumber", [hex(n), False])["timestamp"], 16) for n in range(1, 5)
        ]

        assert [time - GENESIS_TIME for time in times] == [1000, 1010, 2000, 2001]

    def test_time_increases_by_the_seconds_asked_for(self, chain: Chain) -> None:
        assert chain.rpc("evm_increaseTime", [3600]) == 3600
        assert chain.rpc("evm_increaseTime", ["0xa"]) == 3610
        called = chain.rpc("eth_call", [{"data": "0x4260005260206000f3"}, "latest"])

        chain.rpc("evm_mine", [])

        assert int(called, 16) == GENESIS_TIME + 3610
        assert chain.head.timestamp == GENESIS_TIME + 3610

    @pytest.mark.parametrize(
        ("method", "params"),
        [
            ("evm_mine", [GENESIS_TIME - 120]),
            ("evm_mine", ["soon"]),
            ("evm_mine", [{"blocks": -1}]),
            ("evm_mine", [{"blocks": 10_001}]),
            ("evm_mine", [{"block": 1}]),
            ("evm_increaseTime", []),
            ("evm_increaseTime", [-5]),
            ("evm_setAutomine", ["false"]),
        ],
    )
    def test_nonsense_is_refused_and_changes_nothing(
        self, chain: Chain, method: str, params: list[Any]
    ) -> None:
        with pytest.raises(RpcError) as caught:
            chain.rpc(method, params)

        assert caught.value.code == -32602
        assert chain.rpc("eth_blockNumber", []) == "0x0"
        assert not chain.automine


class TestReverts:
    @pytest.fixture
    def reverter(self, chain: Chain) -> str:
        address: str = chain.send(chain.account(0), {"data": REVERTER})["contractAddress"]
        return address

    @pytest.mark.parametrize("automine", [False, True])
    def test_with_its_own_gas_is_mined_with_status_0(
        self, chain: Chain, reverter: str, automine: bool
    ) -> None:
        chain.rpc("evm_setAutomine", [automine])
        before = chain.rpc("eth_getBalance", [chain.account(2).address, "latest"])

        tx_hash = send(chain, sender=2, to=reverter, value=5, data="0x01", gas=100_000)
        if not automine:
            assert receipt(chain, tx_hash) is None
            chain.rpc("evm_mine", [])

        found = receipt(chain, tx_hash)
        assert found is not None
        assert (found["status"], found["logs"]) == ("0x0", [])
        paid = int(found["gasUsed"], 16) * int(found["effectiveGasPrice"], 16)
        after = chain.rpc("eth_getBalance", [chain.account(2).address, "latest"])
        assert int(before, 16) - int(after, 16) == paid > 0
        assert nonces(chain, 2) == (1, 1)

    def test_does_not_stop_the_others_of_its_block(self, chain: Chain, reverter: str) -> None:
        failing = send(chain, sender=2, to=reverter, data="0x01", value=0, gas=100_000, gasPrice=9 * GWEI)
        good = send(chain, sender=3)

        chain.rpc("evm_mine", [])

        assert [item["status"] for item in chain.rpc("eth_getBlockReceipts", ["latest"])] == ["0x0", "0x1"]
        assert mined(chain, 2) == [failing, good]


class TestDropping:
    def test_one_that_cannot_be_paid_after_the_others(self, chain: Chain) -> None:
        later = send(chain, nonce=1, value=6_000 * ETHER)
        first = send(chain, nonce=0, value=6_000 * ETHER)

        chain.rpc("evm_mine", [])

        assert mined(chain, 1) == [first]
        assert chain.rpc("eth_getTransactionByHash", [later]) is None
        assert nonces(chain) == (1, 1)

    def test_one_whose_nonce_another_program_used(self, chain: Chain) -> None:
        waiting = send(chain, nonce=0)

        other = pay(chain)

        assert mined(chain, 1) == [other["transactionHash"]]
        assert chain.rpc("eth_getTransactionByHash", [waiting]) is None
        assert receipt(chain, waiting) is None

    def test_own_payments_of_the_sandbox_are_mined_while_others_wait(self, chain: Chain) -> None:
        waiting = send(chain, sender=2)

        assert pay(chain)["blockNumber"] == "0x1"

        assert receipt(chain, waiting) is None
        assert len(chain.waiting) == 1


class TestAutomine:
    def test_leaves_the_pool_until_the_next_transaction(self, chain: Chain) -> None:
        waiting = send(chain)

        chain.rpc("evm_setAutomine", [True])
        assert receipt(chain, waiting) is None
        sent = send(chain, sender=2)

        assert mined(chain, 1) == [sent]
        assert mined(chain, 2) == [waiting]

    def test_mines_a_line_that_the_transaction_ends(self, chain: Chain) -> None:
        waiting = send(chain)
        chain.rpc("evm_setAutomine", [True])

        sent = send(chain, nonce=1)

        assert mined(chain, 1) == [waiting, sent]
        assert chain.waiting == {}

    def test_mines_a_replacement_and_drops_the_replaced(self, chain: Chain) -> None:
        old = send(chain)
        chain.rpc("evm_setAutomine", [True])
        with pytest.raises(RpcError, match="underpriced"):
            send(chain, value=2)

        new = send(chain, gasPrice=3 * GWEI)

        assert mined(chain, 1) == [new]
        assert chain.rpc("eth_getTransactionByHash", [old]) is None


class TestAfterAKill:
    def test_pool_automine_and_time_are_as_they_were(self, tmp_path: Path) -> None:
        program = (
            "import sys, time\nfrom pathlib import Path\nfrom ocean_portal.sandbox.chain import Chain\n"
            "from tests.sandbox.devchain import signed\n"
            "chain = Chain(Path(sys.argv[1]))\n"
            "chain.rpc('evm_setAutomine', [False])\n"
            "chain.rpc('evm_increaseTime', [5000])\n"
            "for nonce in (0, 1, 3):\n"
            "    print(chain.rpc('eth_sendRawTransaction', [signed(chain, nonce=nonce)]), flush=True)\n"
            "print(chain.rpc('eth_sendRawTransaction', [signed(chain, gasPrice=3 * 10**9)]), flush=True)\n"
            "time.sleep(60)"
        )
        with subprocess.Popen(
            [sys.executable, "-c", program, tmp_path], stdout=subprocess.PIPE, text=True
        ) as sender:
            assert sender.stdout
            _, second, gap, replacement = [sender.stdout.readline().strip() for _ in range(4)]
            sender.send_signal(signal.SIGKILL)

        chain = Chain(tmp_path)

        assert not chain.automine
        assert chain.rpc("evm_increaseTime", [0]) == 5000
        assert ["0x" + tx_hash.hex() for tx_hash in chain.waiting] == [second, gap, replacement]
        assert nonces(chain) == (0, 2)
        chain.rpc("evm_mine", [])
        assert mined(chain, 1) == [replacement, second]
        chain.close()

    def test_blocks_of_several_are_whole(self, tmp_path: Path) -> None:
        program = (
            "import sys\nfrom pathlib import Path\nfrom ocean_portal.sandbox.chain import Chain\n"
            "from tests.sandbox.devchain import LOGGER, signed\n"
            "chain = Chain(Path(sys.argv[1]))\n"
            "chain.rpc('evm_setAutomine', [False])\n"
            "more = {'to': '', 'data': LOGGER, 'value': 0, 'gas': 100_000}\n"
            "while True:\n"
            "    for sender in (0, 1, 2):\n"
            "        address = chain.account(sender).address\n"
            "        nonce = int(chain.rpc('eth_getTransactionCount', [address, 'pending']), 16)\n"
            "        raw = signed(chain, sender=sender, nonce=nonce, **more)\n"
            "        chain.rpc('eth_sendRawTransaction', [raw])\n"
            "    chain.rpc('evm_mine', [])\n"
            "    print(chain.rpc('eth_blockNumber', []), flush=True)"
        )
        for blocks in (1, 2, 4):
            with subprocess.Popen(
                [sys.executable, "-c", program, tmp_path], stdout=subprocess.PIPE, text=True
            ) as sender:
                assert sender.stdout
                numbers = [int(sender.stdout.readline(), 16) for _ in range(blocks)]
                sender.send_signal(signal.SIGKILL)

            chain = Chain(tmp_path)
            head = int(chain.rpc("eth_blockNumber", []), 16)
            assert head >= numbers[-1]
            listed = [tx_hash for number in range(1, head + 1) for tx_hash in mined(chain, number)]
            logs = chain.rpc("eth_getLogs", [{"fromBlock": "0x0"}])
            assert [log["transactionHash"] for log in logs] == listed
            assert all((receipt(chain, tx_hash) or {})["status"] == "0x1" for tx_hash in listed)
            assert sum(nonces(chain, sender)[0] for sender in (0, 1, 2)) == len(listed)
            assert not {"0x" + tx_hash.hex() for tx_hash in chain.waiting} & set(listed)
            chain.close()


class TestThreads:
    def test_put_every_transaction_into_the_pool_once(self, chain: Chain) -> None:
        raws = [signed(chain, sender=sender, nonce=nonce) for sender in range(4) for nonce in range(5)]

        with ThreadPoolExecutor(5) as threads:
            sent = list(threads.map(lambda raw: chain.rpc("eth_sendRawTransaction", [raw]), raws))

        chain.rpc("evm_mine", [])
        assert sorted(mined(chain, 1)) == sorted(sent)


class TestWeb3:
    """A client that the sandbox shares nothing with, over HTTP."""

    @pytest.fixture
    def w3(self, chain: Chain) -> Iterator[web3.Web3]:
        running = rpc.serve(chain, port=0)
        yield web3.Web3(web3.HTTPProvider(running.url))
        running.shutdown()

    def test_sends_replaces_and_waits(self, chain: Chain, w3: web3.Web3) -> None:
        account = chain.account(3)
        tx: dict[str, Any] = {
            "type": 2,
            "chainId": 8996,
            "nonce": w3.eth.get_transaction_count(account.address, "pending"),
            "gas": 21_000,
            "to": chain.account(4).address,
            "value": 7,
            "maxFeePerGas": 10 * GWEI,
            "maxPriorityFeePerGas": GWEI,
        }
        stuck = w3.eth.send_raw_transaction(account.sign_transaction(tx).raw_transaction)
        assert w3.eth.get_transaction(stuck).get("blockHash") is None
        assert w3.eth.get_transaction_count(account.address, "pending") == 1
        with pytest.raises(TimeExhausted):
            w3.eth.wait_for_transaction_receipt(stuck, timeout=0.05, poll_latency=0.02)
        with pytest.raises(Web3RPCError, match="already known"):
            w3.eth.send_raw_transaction(account.sign_transaction(tx).raw_transaction)
        little_more = tx | {"maxFeePerGas": 10 * GWEI + 1}
        with pytest.raises(Web3RPCError, match="replacement transaction underpriced"):
            w3.eth.send_raw_transaction(account.sign_transaction(little_more).raw_transaction)
        faster = tx | {"maxFeePerGas": 11 * GWEI, "maxPriorityFeePerGas": 11 * GWEI // 10}

        sped_up = w3.eth.send_raw_transaction(account.sign_transaction(faster).raw_transaction)
        with ThreadPoolExecutor(1) as threads:
            found = threads.submit(w3.eth.wait_for_transaction_receipt, sped_up, 10, 0.02)
            mine = w3.provider.make_request(web3.types.RPCEndpoint("evm_mine"), [])

        assert mine["result"] == "0x0"
        assert (found.result()["status"], found.result()["blockNumber"]) == (1, 1)
        assert w3.eth.get_balance(chain.account(4).address) == 10_000 * ETHER + 7
        with pytest.raises(TransactionNotFound):
            w3.eth.get_transaction(stuck)

    def test_replaces_with_its_own_method(self, chain: Chain, w3: web3.Web3) -> None:
        call: Any = {"from": chain.account(0).address, "to": chain.account(1).address, "value": 1}
        stuck = w3.eth.send_transaction(call | {"maxFeePerGas": 10 * GWEI, "maxPriorityFeePerGas": GWEI})

        sped_up = w3.eth.modify_transaction(
            stuck, maxFeePerGas=web3.types.Wei(12 * GWEI), maxPriorityFeePerGas=web3.types.Wei(2 * GWEI)
        )
        w3.provider.make_request(web3.types.RPCEndpoint("evm_mine"), [])

        assert w3.eth.wait_for_transaction_receipt(sped_up, 10)["transactionHash"] == sped_up
        assert w3.eth.get_block("latest")["transactions"] == [sped_up]
