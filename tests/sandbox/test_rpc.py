"""JSON-RPC over HTTP as strict clients want it: web3's own provider, batches, nonsense, no waiting."""

import http.client
import json
import socket
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import web3
from eth_abi import encode
from web3.exceptions import ContractLogicError, TransactionNotFound, Web3RPCError

from ocean_portal.sandbox import rpc
from ocean_portal.sandbox.chain import ETHER, Chain
from ocean_portal.sandbox.contracts import Contract, deploy
from ocean_portal.sandbox.publish import publish_asset
from tests.sandbox.devchain import LOGGER, REVERTER, Clock, pay


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[Chain]:
    opened = Chain(tmp_path, clock=Clock())
    yield opened
    opened.close()


@pytest.fixture
def server(chain: Chain) -> Iterator[rpc.RpcServer]:
    running = rpc.serve(chain, port=0)
    yield running
    running.shutdown()


@pytest.fixture
def w3(server: rpc.RpcServer) -> web3.Web3:
    return web3.Web3(web3.HTTPProvider(server.url))


class TestOverHttp:
    def test_genesis_and_newest_block_can_be_read(self, chain: Chain, w3: web3.Web3) -> None:
        receipt = pay(chain)

        assert w3.eth.get_block(0)["transactions"] == []
        newest = w3.eth.get_block("latest", full_transactions=True)
        assert newest["parentHash"] == w3.eth.get_block(0)["hash"]
        assert newest["transactions"][0]["hash"].to_0x_hex() == receipt["transactionHash"]
        assert w3.eth.get_block(newest["hash"])["number"] == 1

    def test_pending_block_follows_the_head(self, w3: web3.Web3) -> None:
        assert w3.eth.get_block("pending")["number"] == 1

    def test_receipt_of_a_creation_has_no_recipient_and_a_full_bloom(
        self, chain: Chain, w3: web3.Web3
    ) -> None:
        tx_hash = w3.eth.send_transaction({"from": chain.account(2).address, "data": LOGGER})

        receipt = w3.eth.wait_for_transaction_receipt(tx_hash)

        assert receipt["to"] is None
        assert receipt["contractAddress"] is not None
        assert len(receipt["logsBloom"]) == 256
        assert receipt["logsBloom"] != bytes(256)
        assert w3.eth.get_transaction(tx_hash).get("to") is None

    def test_unknown_transaction_is_null(self, w3: web3.Web3) -> None:
        with pytest.raises(TransactionNotFound):
            w3.eth.get_transaction_receipt("0x" + "12" * 32)

    @pytest.mark.parametrize(
        ("fees", "kind"),
        [
            ({"gasPrice": 2 * 10**9}, 0),
            ({"gasPrice": 2 * 10**9, "accessList": [], "type": 1}, 1),
            ({"maxFeePerGas": 2 * 10**9, "maxPriorityFeePerGas": 1, "type": 2}, 2),
        ],
    )
    def test_every_type_of_transaction_is_mined(
        self, chain: Chain, w3: web3.Web3, fees: dict[str, Any], kind: int
    ) -> None:
        account = chain.account(3)
        tx = {"chainId": 8996, "nonce": 0, "gas": 30_000, "to": chain.account(4).address, "value": 7}
        raw = account.sign_transaction(tx | fees).raw_transaction

        receipt = w3.eth.wait_for_transaction_receipt(w3.eth.send_raw_transaction(raw))

        assert (receipt["status"], receipt["type"]) == (1, kind)
        assert receipt["from"] == account.address
        found = w3.eth.get_transaction(receipt["transactionHash"])
        assert (found["type"], found["value"], found["gasPrice"]) == (kind, 7, receipt["effectiveGasPrice"])

    def test_fee_history_reaches_block_zero(self, chain: Chain, w3: web3.Web3) -> None:
        pay(chain)

        history = w3.eth.fee_history(10, "latest", [50])

        assert history["oldestBlock"] == 0
        assert len(history["baseFeePerGas"]) == 3
        assert len(history["gasUsedRatio"]) == 2
        assert history["reward"] == [[0], [10**9]]

    def test_identity_is_the_sandboxs_own(self, w3: web3.Web3) -> None:
        assert w3.eth.chain_id == 8996
        assert w3.net.version == "8996"
        assert w3.eth.accounts[0] == "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"

    def test_revert_reaches_web3_with_its_reason(self, chain: Chain, w3: web3.Web3) -> None:
        contract = chain.send(chain.account(0), {"data": REVERTER})["contractAddress"]
        reason = "0x08c379a0" + encode(["string"], ["Not enough"]).hex()

        with pytest.raises(ContractLogicError, match="Not enough"):
            w3.eth.call({"to": contract, "data": reason})

    def test_dispensed_datatoken_is_found_by_its_event(self, chain: Chain, w3: web3.Web3) -> None:
        contracts = deploy(chain)
        published = publish_asset(
            chain,
            contracts,
            publisher_key_or_index=0,
            name="Readings",
            symbol="READ",
            kind="dataset",
            metadata={},
            service={
                "id": "a",
                "type": "access",
                "timeout": 0,
                "files": [],
                "serviceEndpoint": "http://node",
            },
            seal_files=lambda plain: "0x00",
        )
        bob = chain.account(5)
        dispenser = Contract(chain, "Dispenser", contracts["Dispenser"])

        receipt = dispenser.send(bob, "dispense", published.datatoken_address, ETHER, bob.address)

        token = Contract(chain, "ERC20Template", published.datatoken_address)
        assert token.call("balanceOf", bob.address) == ETHER
        transfer = w3.keccak(text="Transfer(address,address,uint256)")
        to_bob = "0x" + bob.address[2:].rjust(64, "0").lower()
        wanted: Any = {
            "address": published.datatoken_address,
            "topics": [transfer, None, to_bob],
            "fromBlock": 0,
        }
        found = w3.eth.get_logs(wanted)
        assert [log["transactionHash"].to_0x_hex() for log in found] == [receipt["transactionHash"]]
        assert int.from_bytes(found[0]["data"], "big") == ETHER
        assert w3.eth.get_logs(wanted | {"toBlock": int(receipt["blockNumber"], 16) - 1}) == []
        assert w3.eth.get_logs(wanted | {"topics": [transfer, to_bob]}) == []
        assert w3.eth.get_logs(wanted | {"topics": [[transfer, to_bob], None, [to_bob]]}) == found
        assert w3.eth.get_logs(wanted | {"topics": [[to_bob, "0x" + "00" * 32], None, to_bob]}) == []
        with pytest.raises(ContractLogicError, match="Amount too high"):
            dispense = receipt_input(w3, receipt).replace(f"{ETHER:064x}", f"{ETHER * 10**6:064x}")
            w3.eth.call({"from": bob.address, "to": dispenser.address, "data": dispense})

    def test_unknown_method_is_named(self, w3: web3.Web3) -> None:
        with pytest.raises(Web3RPCError) as caught:
            w3.manager.request_blocking(web3.types.RPCEndpoint("eth_mystery"), [])

        assert caught.value.rpc_response["error"]["code"] == -32601

    def test_many_calls_share_a_connection_without_waiting(self, server: rpc.RpcServer) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "eth_chainId", "params": []})
        connection.connect()
        first_socket, took = connection.sock, []
        for _ in range(15):
            started = time.perf_counter()
            connection.request("POST", "/", body)
            assert json.loads(connection.getresponse().read())["result"] == hex(8996)
            took.append(time.perf_counter() - started)

        assert connection.sock is first_socket
        assert statistics.median(took) < 0.035
        connection.close()

    def test_body_over_the_cap_is_refused_unread(self, server: rpc.RpcServer) -> None:
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
            connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5000001\r\n\r\n")
            answer = connection.recv(65536)

        assert answer.startswith(b"HTTP/1.1 413 ")

    def test_browser_may_ask(self, server: rpc.RpcServer) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        connection.request("OPTIONS", "/")
        answer = connection.getresponse()

        assert answer.status == 204
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        connection.close()


class TestHandleBody:
    def test_batch_is_answered_in_its_order(self, chain: Chain) -> None:
        calls = [
            {"jsonrpc": "2.0", "id": "b", "method": "eth_chainId", "params": []},
            {"jsonrpc": "2.0", "method": "eth_chainId"},
            {"jsonrpc": "2.0", "id": "a", "method": "eth_nope"},
            7,
        ]

        answers = json.loads(rpc.handle_body(chain, json.dumps(calls).encode()))

        assert [(answer["id"], answer.get("result") or answer["error"]["code"]) for answer in answers] == [
            ("b", "0x2324"),
            ("a", -32601),
            (None, -32600),
        ]

    @pytest.mark.parametrize(
        ("body", "code"),
        [
            (b"{", -32700),
            (b"\xff", -32700),
            (b"[]", -32600),
            (b'"x"', -32600),
            (b'{"id":1,"method":"eth_getBalance","params":[]}', -32602),
            (b'{"id":1,"method":"eth_getBalance","params":["0x12"]}', -32602),
            (b'{"id":1,"method":"web3_sha3","params":{"0x":1}}', -32602),
            (b'{"id":1,"method":"eth_call","params":["0x"]}', -32602),
            (b'{"id":1,"method":"eth_sendRawTransaction","params":["0xc0"]}', -32000),
            (b'{"id":1,"method":"eth_sendRawTransaction","params":["0x03aa"]}', -32000),
            (b'{"id":1,"method":"eth_blockNumber","params":[1,2,3]}', -32602),
        ],
    )
    def test_nonsense_gets_its_error(self, chain: Chain, body: bytes, code: int) -> None:
        assert json.loads(rpc.handle_body(chain, body))["error"]["code"] == code


def receipt_input(w3: web3.Web3, receipt: dict[str, Any]) -> str:
    """Return what a mined transaction was called with."""
    return w3.eth.get_transaction(receipt["transactionHash"])["input"].to_0x_hex()
