// Uses the sandbox's chain with ethers and the library's contracts, and prints what it saw as one line of JSON.
// Standard input: {"rpc_url", "key", "ocean", "nft_factory", "recipient"}.
import { text } from 'node:stream/consumers'
import { ConfigHelper, NftFactory, balance, getEventFromTx, minAbi, transfer } from '@oceanprotocol/lib'
import { Contract, JsonRpcProvider, Wallet } from 'ethers'

console.log = console.error // the library prints there; standard output is for the answer alone

const given = JSON.parse(await text(process.stdin))
const provider = new JsonRpcProvider(given.rpc_url)
provider.pollingInterval = 50
const wallet = new Wallet(given.key, provider)
const config = new ConfigHelper().getConfig(8996)
const seen = {}

seen.network = await provider.getNetwork()
seen.block = await provider.getBlock('latest')
seen.fees = await provider.getFeeData()

const ocean = new Contract(given.ocean, minAbi, wallet)
seen.symbol = await ocean.symbol()
seen.before = await balance(wallet, given.ocean, given.recipient)

const sent = await transfer(wallet, config, given.ocean, given.recipient, '1.5')
seen.sent = sent.hash
seen.receipt = await sent.wait()
seen.found = await provider.getTransaction(sent.hash)
seen.receipt_parent = (await provider.getBlock(seen.receipt.blockHash)).parentHash
seen.after = await balance(wallet, given.ocean, given.recipient)
seen.transfers = await ocean.queryFilter(ocean.filters.Transfer(wallet.address, given.recipient), seen.receipt.blockNumber)

seen.refusal = await ocean.transfer.estimateGas(given.recipient, 10n ** 30n).catch(({ code, reason }) => ({ code, reason }))

const factory = new NftFactory(given.nft_factory, wallet, 8996, config)
const published = await factory.createNftWithDatatoken(
  { name: 'Tides', symbol: 'TIDE', templateIndex: 1, tokenURI: '', transferable: true, owner: wallet.address },
  {
    templateIndex: 1, name: 'Tides token', symbol: 'TIDE-T', cap: '1000', minter: wallet.address,
    paymentCollector: wallet.address, mpFeeAddress: wallet.address, feeToken: given.ocean, feeAmount: '0',
  },
)
const receipt = await published.wait()
seen.nft = getEventFromTx(receipt, 'NFTCreated').args.newTokenAddress
seen.datatoken = getEventFromTx(receipt, 'TokenCreated').args.newTokenAddress
seen.made_here = await factory.checkDatatoken(seen.datatoken)

provider.destroy()
process.stdout.write(JSON.stringify(seen, (_, value) => (typeof value === 'bigint' ? String(value) : value)))
