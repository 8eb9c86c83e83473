"""Calls ocean.py for a test, in a Python of its own: nothing of this project is imported here.

One line of JSON in is one call, one line out its answer; the first line says where everything is:
    {"rpc_url": …, "provider_url": …, "aquarius_url": …, "publisher": private key, "consumer": private key}
        ->  {"ready": true}
    {"call": "status", "with": {"dataset": "did:op:…", "job": "…"}}
        ->  {"value": …, "seconds": 0.05}  or  {"error": what the library threw, "kind": its class}
Contents of files are base64. An asset is named by its DID once it was published or resolved here.
"""

import base64
import json
import sys
import tempfile
import time
from pathlib import Path

from eth_account import Account
from ocean_lib.example_config import get_config_dict
from ocean_lib.models.compute_input import ComputeInput
from ocean_lib.models.datatoken_base import DatatokenBase
from ocean_lib.models.dispenser import DispenserArguments
from ocean_lib.models.fixed_rate_exchange import ExchangeArguments
from ocean_lib.ocean.ocean import Ocean
from ocean_lib.structures.algorithm_metadata import AlgorithmMetadata

CHAIN_ID = 8996
WEI = 10**18
CONTAINER = {"entrypoint": "python $ALGO", "image": "python", "tag": "3.11", "checksum": "sha256:" + "8" * 64}


class Calls:
    """The library as one publisher and one consumer use it."""

    def __init__(self, *, rpc_url, provider_url, aquarius_url, publisher, consumer):
        config = get_config_dict(rpc_url)
        config["PROVIDER_URL"] = self._provider_url = provider_url
        config["METADATA_CACHE_URI"] = aquarius_url
        self._ocean = Ocean(config)
        self._publisher = Account.from_key(publisher)
        self._consumer = Account.from_key(consumer)
        self._known = {}
        self._tokens = {}

    # finding

    def address(self):
        return self._consumer.address

    def environments(self):
        return self._ocean.compute.get_c2d_environments(self._provider_url, CHAIN_ID)

    def free_environment(self):
        return self._ocean.compute.get_free_c2d_environment(self._provider_url, CHAIN_ID)

    def resolve(self, did):
        ddo = self._ocean.assets.resolve(did)
        return self._remember(ddo)["document"] if ddo else None

    def search(self, text):
        return [ddo.did for ddo in self._ocean.assets.search(text)]

    def query(self, query):
        return [ddo.did for ddo in self._ocean.assets.query(query)]

    # publishing

    def publish_dataset(self, name, url, price_wei=0):
        """Publish a data set that may be computed on, with datatokens for Ocean tokens, or for nothing."""
        _, token, ddo = self._ocean.assets.create_url_asset(
            name,
            url,
            self._from(self._publisher),
            with_compute=True,
            pricing_schema_args=self._fixed_rate(price_wei) if price_wei else self._free(),
        )
        return self._remember(ddo, token)

    def publish_open_dataset(self, name, url, compute):
        """Publish a data set with a compute service as given, whose datatokens the publisher mints."""
        publisher = self._from(self._publisher)
        _, token, ddo = self._ocean.assets.create_url_asset(name, url, publisher, compute_values=compute)
        return self._remember(ddo, token)

    def mint(self, asset, tokens):
        """Give the consumer datatokens."""
        self._datatoken(asset).mint(self._consumer.address, tokens * WEI, self._from(self._publisher))

    def publish_algorithm(self, name, url, price_wei=0):
        """Publish an algorithm with datatokens for Ocean tokens, or for nothing."""
        _, token, ddo = self._ocean.assets.create_algo_asset(
            name,
            url,
            self._from(self._publisher),
            image=CONTAINER["image"],
            tag=CONTAINER["tag"],
            checksum=CONTAINER["checksum"],
            pricing_schema_args=self._fixed_rate(price_wei) if price_wei else self._free(),
        )
        return self._remember(ddo, token)

    def trust(self, dataset, algorithm):
        """Let an algorithm run on a data set, and store the changed document."""
        ddo = self._known[dataset]
        _compute_service(ddo).add_publisher_trusted_algorithm(self._known[algorithm])
        return self._remember(self._ocean.assets.update(ddo, self._from(self._publisher)))

    # paying

    def dispense(self, asset, tokens):
        self._datatoken(asset).dispense(tokens * WEI, self._from(self._consumer))

    def buy(self, asset, tokens):
        (exchange,) = self._datatoken(asset).get_exchanges()
        needed = exchange.BT_needed(tokens * WEI, 0)
        self._ocean.OCEAN_token.approve(exchange.address, needed, self._from(self._consumer))
        exchange.buy_DT(tokens * WEI, self._from(self._consumer))

    def balance(self, asset=None):
        """Return the consumer's datatokens of an asset, or Ocean tokens, in Wei."""
        token = self._datatoken(asset) if asset else self._ocean.OCEAN_token
        return token.balanceOf(self._consumer.address)

    def fees(self, dataset, algorithm, environment, seconds, more=()):
        """Ask what a run would cost."""
        return self._ocean.retrieve_provider_fees_for_compute(
            [self._dataset(item) for item in (dataset, *more)],
            self._algorithm(algorithm),
            environment["consumerAddress"],
            environment["id"],
            int(time.time()) + seconds,
        )

    def approve_fee(self, asset, amount_wei):
        """Let an asset's datatoken take a provider fee in Ocean tokens."""
        token = self._datatoken(asset).address
        self._ocean.OCEAN_token.approve(token, amount_wei, self._from(self._consumer))

    def pay(self, dataset, algorithm, environment, seconds, more=()):
        """Order what is not ordered yet; return the transactions."""
        datasets, paid = self._ocean.assets.pay_for_compute_service(
            datasets=[self._dataset(item) for item in (dataset, *more)],
            algorithm_data=self._algorithm(algorithm),
            consume_market_order_fee_address=self._consumer.address,
            tx_dict=self._from(self._consumer),
            compute_environment=environment["id"],
            valid_until=int(time.time()) + seconds,
            consumer_address=environment["consumerAddress"],
        )
        orders = {"dataset": datasets[0].transfer_tx_id, "algorithm": paid.transfer_tx_id if paid else None}
        return orders | ({"more": [item.transfer_tx_id for item in datasets[1:]]} if more else {})

    # running

    def start(self, dataset, algorithm, environment, custom=None, more=()):
        """Start a job on what was paid for; return its id."""
        given = self._algorithm(algorithm)
        raw = isinstance(given, AlgorithmMetadata)
        return self._ocean.compute.start(
            consumer_wallet=self._consumer,
            dataset=self._dataset(dataset),
            compute_environment=environment["id"],
            algorithm=None if raw else given,
            algorithm_meta=given if raw else None,
            algorithm_algocustomdata=custom,
            additional_datasets=[self._dataset(item) for item in more],
        )

    def status(self, dataset, job):
        return self._ocean.compute.status(*self._place(dataset), job, self._consumer)

    def stop(self, dataset, job):
        return self._ocean.compute.stop(*self._place(dataset), job, self._consumer)

    def result(self, dataset, job, index):
        return _text(self._ocean.compute.result(*self._place(dataset), job, index, self._consumer))

    def logs(self, dataset, job, kind):
        """Fetch the results of one type; the library's default type is "output"."""
        place = self._place(dataset)
        found = self._ocean.compute.compute_job_result_logs(*place, job, self._consumer, log_type=kind)
        return [_text(content) for content in found]

    # downloading

    def order_access(self, asset):
        """Order the download of an asset for oneself."""
        receipt = self._ocean.assets.pay_for_access_service(self._known[asset], self._from(self._consumer))
        return receipt.hex()

    def download(self, asset, order):
        with tempfile.TemporaryDirectory() as folder:
            place = self._ocean.assets.download_asset(self._known[asset], self._consumer, folder, order)
            return {path.name: _text(path.read_bytes()) for path in Path(place).iterdir()}

    # inside

    def _remember(self, ddo, token=None):
        self._known[ddo.did] = ddo
        if token:
            self._tokens[ddo.did] = token
        return {"did": ddo.did, "document": ddo.as_dictionary()}

    def _free(self):
        return DispenserArguments(max_tokens=100 * WEI, max_balance=100 * WEI)

    def _fixed_rate(self, price_wei):
        return ExchangeArguments(rate=price_wei, base_token_addr=self._ocean.OCEAN_address, dt_decimals=18)

    def _from(self, account):
        return {"from": account}

    def _datatoken(self, asset):
        if asset not in self._tokens:
            address = self._known[asset].datatokens[0]["address"]
            self._tokens[asset] = DatatokenBase.get_typed(self._ocean.config, address)
        return self._tokens[asset]

    def _place(self, dataset):
        ddo = self._known[dataset]
        return ddo, _compute_service(ddo)

    def _dataset(self, given):
        """Read {"did": …, "order": …}."""
        ddo = self._known[given["did"]]
        return ComputeInput(ddo, _compute_service(ddo), **_order(given))

    def _algorithm(self, given):
        """Read {"did": …, "order": …}, or {"code": …} for what was never published."""
        if "code" in given:
            meta = {"rawcode": given["code"], "language": "python", "version": "0.1", "container": CONTAINER}
            return AlgorithmMetadata(meta)
        ddo = self._known[given["did"]]
        return ComputeInput(ddo, ddo.services[0], **_order(given))


def _compute_service(ddo):
    return next(service for service in ddo.services if service.type == "compute")


def _order(given):
    """Say nothing of an order that is not there: the library takes no None."""
    return {"transfer_tx_id": given["order"]} if given.get("order") else {}


def _text(content):
    return base64.b64encode(content).decode()


def main():
    answers, sys.stdout = sys.stdout, sys.stderr  # the library prints; standard output is for answers alone
    calls = Calls(**json.loads(sys.stdin.readline()))
    answers.write('{"ready": true}\n')
    answers.flush()
    for line in sys.stdin:
        asked = json.loads(line)
        began = time.monotonic()
        try:
            value = getattr(calls, asked["call"])(**asked["with"])
            said = {"value": value, "seconds": time.monotonic() - began}
        except Exception as error:
            said = {"error": str(error), "kind": type(error).__name__}
        answers.write(json.dumps(said) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
