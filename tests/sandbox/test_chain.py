"""The sandbox's chain: state on disk, mining rules and calls."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from eth_abi import encode

from ocean_portal.sandbox.chain import ETHER, Chain
from ocean_portal.sandbox.contracts import deploy
from ocean_portal.sandbox.encoding import RpcError
from tests.sandbox.devchain import GENESIS_TIME, LOGGER, REVERTER, Clock, pay, signed


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def chain(tmp_path: Path, clock: Clock) -> Iterator[Chain]:
    opened = Chain(tmp_path, clock=clock)
    yield opened
    opened.close()


class TestReopening:
    def test_keeps_head_balances_and_code(self, tmp_path: Path) -> None:
        chain = Chain(tmp_path)
        contract = chain.send(chain.account(0), {"data": REVERTER})["contractAddress"]
        pay(chain, wei=5 * ETHER)
        asked = [
            ("eth_getBlockByNumber", ["latest", True]),
            ("eth_getBalance", [chain.account(0).address, "latest"]),
            ("eth_getBalance", [chain.account(1).address, "latest"]),
            ("eth_getCode", [contract, "latest"]),
        ]
        before = [chain.rpc(method, params) for method, params in asked]
        chain.close()

        reopened = Chain(tmp_path)

        assert [reopened.rpc(method, params) for method, params in asked] == before
        assert int(before[2], 16) == 10_005 * ETHER
        reopened.close()

    def test_keeps_receipts_and_logs(self, tmp_path: Path) -> None:
        chain = Chain(tmp_path)
        receipt = chain.send(chain.account(0), {"data": LOGGER})
        chain.close()

        reopened = Chain(tmp_path)

        assert reopened.rpc("eth_getTransactionReceipt", [receipt["transactionHash"]]) == receipt
        assert reopened.rpc("eth_getLogs", [{"fromBlock": "0x0"}]) == receipt["logs"] != []
        reopened.close()

    def test_accepts_the_next_transaction(self, tmp_path: Path) -> None:
        chain = Chain(tmp_path)
        first = pay(chain)
        chain.close()

        reopened = Chain(tmp_path)
        second = pay(reopened)

        assert (first["blockNumber"], second["blockNumber"]) == ("0x1", "0x2")
        reopened.close()

    def test_is_refused_while_another_one_holds_the_folder(self, chain: Chain, tmp_path: Path) -> None:
        program = (
            "import sys\nfrom pathlib import Path\nfrom ocean_portal.sandbox.chain import Chain\n"
            "Chain(Path(sys.argv[1]))"
        )

        done = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True, text=True)

        assert "is in use by another sandbox" in done.stderr

    def test_finds_whole_blocks_after_a_kill(self, tmp_path: Path) -> None:
        program = (
            "import sys\nfrom pathlib import Path\nfrom ocean_portal.sandbox.chain import Chain\n"
            "chain = Chain(Path(sys.argv[1]))\n"
            f"tx = {{'data': {LOGGER!r}}}\n"
            "while True: print(chain.send(chain.account(0), tx)['blockNumber'], flush=True)"
        )
        seen = 0
        for blocks in (1, 3, 8):
            with subprocess.Popen(
                [sys.executable, "-c", program, tmp_path], stdout=subprocess.PIPE, text=True
            ) as sender:
                assert sender.stdout
                numbers = [int(sender.stdout.readline(), 16) for _ in range(blocks)]
                sender.send_signal(signal.SIGKILL)

            chain = Chain(tmp_path)
            head = int(chain.rpc("eth_blockNumber", []), 16)
            assert numbers[0] == seen + 1
            assert head >= numbers[-1]
            assert int(chain.rpc("eth_getTransactionCount", [chain.account(0).address]), 16) == head
            for number in range(1, head + 1):
                block = chain.rpc("eth_getBlockByNumber", [hex(number), False])
                receipt = chain.rpc("eth_getTransactionReceipt", [block["transactions"][0]])
                assert receipt["blockHash"] == block["hash"]
                assert chain.rpc("eth_getLogs", [{"blockHash": block["hash"]}]) == receipt["logs"] != []
            following = chain.send(chain.account(0), {"data": LOGGER})
            assert int(following["blockNumber"], 16) == head + 1
            seen = head + 1
            chain.close()


class TestMining:
    def test_block_times_increase_while_the_clock_stands(self, chain: Chain) -> None:
        times = [
            int(chain.rpc("eth_getBlockByHash", [pay(chain)["blockHash"], False])["timestamp"], 16)
            for _ in "abc"
        ]

        assert times == [GENESIS_TIME, GENESIS_TIME + 1, GENESIS_TIME + 2]

    def test_block_times_follow_the_clock(self, chain: Chain, clock: Clock) -> None:
        pay(chain)
        clock.now += 1000.9

        block = chain.rpc("eth_getBlockByHash", [pay(chain)["blockHash"], False])

        assert int(block["timestamp"], 16) == GENESIS_TIME + 1000

    def test_deploying_does_not_run_ahead_of_the_clock(self, chain: Chain) -> None:
        deploy(chain)

        assert chain.head.block_number > 20
        assert chain.head.timestamp <= GENESIS_TIME

    def test_later_nonce_waits_for_the_earlier_one(self, chain: Chain) -> None:
        later = chain.rpc("eth_sendRawTransaction", [signed(chain, nonce=1)])
        assert chain.rpc("eth_getTransactionByHash", [later])["blockHash"] is None
        assert chain.rpc("eth_getTransactionReceipt", [later]) is None

        with pytest.raises(RpcError, match=r"^already known$"):
            chain.rpc("eth_sendRawTransaction", [signed(chain, nonce=1)])

        chain.rpc("eth_sendRawTransaction", [signed(chain, nonce=0)])

        assert chain.rpc("eth_getTransactionReceipt", [later])["blockNumber"] == "0x2"
        assert chain.waiting == {}

    def test_same_bytes_are_already_known_until_the_next_block(self, chain: Chain) -> None:
        raw = signed(chain, nonce=0)
        chain.rpc("eth_sendRawTransaction", [raw])

        with pytest.raises(RpcError, match=r"^already known$"):
            chain.rpc("eth_sendRawTransaction", [raw])
        pay(chain)
        with pytest.raises(RpcError, match=r"^nonce too low: next nonce 2, tx nonce 0$") as caught:
            chain.rpc("eth_sendRawTransaction", [raw])

        assert caught.value.code == -32000

    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            ({"value": 20_000 * ETHER}, "insufficient funds for gas * price + value"),
            ({"gas": 20_999}, "intrinsic gas too low"),
            ({"gas": 40_000_000}, "exceeds block gas limit"),
            ({"gasPrice": 1}, "max fee per gas less than block base fee"),
            ({"chainId": 1}, "invalid chain id for signer: have 1 want 8996"),
        ],
    )
    def test_bad_transaction_is_refused_in_geths_words(
        self, chain: Chain, fields: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(RpcError) as caught:
            chain.rpc("eth_sendRawTransaction", [signed(chain, **fields)])

        assert caught.value.message.startswith(message)
        assert caught.value.code == -32000
        assert chain.rpc("eth_blockNumber", []) == "0x0"

    def test_reverting_transaction_is_mined_as_failed(self, chain: Chain) -> None:
        contract = chain.send(chain.account(0), {"data": REVERTER})["contractAddress"]

        raw = signed(chain, nonce=1, to=contract, value=0, data="0x01", gas=100_000)
        receipt = chain.rpc("eth_getTransactionReceipt", [chain.rpc("eth_sendRawTransaction", [raw])])

        assert receipt["status"] == "0x0"
        assert receipt["blockNumber"] == "0x2"

    def test_waiting_transaction_is_not_replaced_silently(self, chain: Chain) -> None:
        chain.rpc("eth_sendRawTransaction", [signed(chain, nonce=1)])

        with pytest.raises(RpcError, match=r"^replacement transaction underpriced$"):
            chain.rpc("eth_sendRawTransaction", [signed(chain, nonce=1, value=2)])

    def test_waiting_transaction_that_cannot_be_paid_any_more_is_dropped(self, chain: Chain) -> None:
        later = chain.rpc("eth_sendRawTransaction", [signed(chain, nonce=1, value=6_000 * ETHER)])

        chain.rpc("eth_sendRawTransaction", [signed(chain, nonce=0, value=6_000 * ETHER)])

        assert chain.rpc("eth_getTransactionByHash", [later]) is None
        assert pay(chain)["blockNumber"] == "0x2"

    def test_threads_get_a_block_each(self, chain: Chain) -> None:
        def send(index: int) -> int:
            return int(chain.send(chain.account(index), {"to": chain.account(0).address})["blockNumber"], 16)

        with ThreadPoolExecutor(5) as threads:
            blocks = list(threads.map(send, [1, 2, 3, 4, 5] * 4))

        assert sorted(blocks) == list(range(1, 21))

    def test_block_that_cannot_be_indexed_is_not_there(
        self, chain: Chain, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(**_: Any) -> None:
            raise OSError("disk full")

        with monkeypatch.context() as patched:
            patched.setattr(chain.store, "add_transaction", fail)
            with pytest.raises(OSError, match="disk full"):
                pay(chain)

        assert chain.rpc("eth_blockNumber", []) == "0x0"
        assert pay(chain)["blockNumber"] == "0x1"


class TestCalls:
    @pytest.fixture
    def reverter(self, chain: Chain) -> str:
        address: str = chain.send(chain.account(0), {"data": REVERTER})["contractAddress"]
        return address

    @pytest.mark.parametrize(
        ("output", "message"),
        [
            ("0x08c379a0" + encode(["string"], ["Not enough"]).hex(), "execution reverted: Not enough"),
            (
                "0x4e487b71" + encode(["uint256"], [0x11]).hex(),
                "execution reverted: panic: arithmetic underflow or overflow (0x11)",
            ),
            ("0xdeadbeef", "execution reverted"),
            ("0x08c379a0ff", "execution reverted"),
            ("0x", "execution reverted"),
        ],
    )
    @pytest.mark.parametrize("method", ["eth_call", "eth_estimateGas"])
    def test_revert_carries_its_bytes_and_reason(
        self, chain: Chain, reverter: str, method: str, output: str, message: str
    ) -> None:
        with pytest.raises(RpcError) as caught:
            chain.rpc(method, [{"to": reverter, "data": output}, "latest"])

        assert (caught.value.code, caught.value.message, caught.value.data) == (3, message, output)

    @pytest.mark.parametrize("method", ["eth_call", "eth_estimateGas"])
    def test_nonce_is_ignored(self, chain: Chain, method: str) -> None:
        call = {"from": chain.account(0).address, "to": chain.account(1).address, "nonce": "0x63"}

        assert chain.rpc(method, [call, "latest"]) in ("0x", hex(21_000))

    def test_estimate_is_enough_and_close(self, chain: Chain) -> None:
        estimate = chain.estimate({"from": chain.account(0).address, "data": LOGGER})

        used = int(chain.send(chain.account(0), {"data": LOGGER, "gas": estimate})["gasUsed"], 16)

        assert used <= estimate <= used * 1.1

    def test_old_blocks_answer_with_their_own_state(self, chain: Chain) -> None:
        pay(chain, wei=ETHER)
        pay(chain, wei=ETHER)

        account = chain.account(1).address
        balances = [
            int(chain.rpc("eth_getBalance", [account, block]), 16) for block in ("earliest", "0x1", "latest")
        ]

        assert balances == [10_000 * ETHER, 10_001 * ETHER, 10_002 * ETHER]

    def test_unknown_block_is_an_error(self, chain: Chain) -> None:
        with pytest.raises(RpcError, match="header not found"):
            chain.rpc("eth_getBalance", [chain.account(1).address, "0x99"])

    def test_time_in_a_call_is_the_clocks(self, chain: Chain, clock: Clock) -> None:
        clock.now += 500

        # TIMESTAMP, MSTORE at 0, RETURN 32 bytes: run as the code of a creation.
        output = chain.rpc("eth_call", [{"data": "0x4260005260206000f3"}, "latest"])

        assert int(output, 16) == GENESIS_TIME + 500
