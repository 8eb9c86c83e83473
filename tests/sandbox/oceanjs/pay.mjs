// Orders assets and pays into the Escrow with the library's contracts, and prints what it did as one line of JSON.
// Standard input: {"rpc_url", "key", "contracts", "items": [what initializeCompute said of an asset, with "price" in
// whole tokens], "payment": what it said of the payment}.
import { text } from 'node:stream/consumers'
import {
  ConfigHelper, Datatoken, Dispenser, EscrowContract, FixedRateExchange, approveWei,
} from '@oceanprotocol/lib'
import { JsonRpcProvider, Wallet, formatUnits, parseUnits } from 'ethers'

console.log = console.error // the library prints there; standard output is for the answer alone

const given = JSON.parse(await text(process.stdin))
const { contracts, payment } = given
// Without a cache: the next transaction may follow within a quarter of a second, and needs the next nonce.
const provider = new JsonRpcProvider(given.rpc_url, undefined, { cacheTimeout: -1 })
provider.pollingInterval = 50
const wallet = new Wallet(given.key, provider)
const config = new ConfigHelper().getConfig(8996)

async function ordered({ datatoken, consumerAddress, providerFee, price }) {
  if (price === '0') {
    const dispenser = new Dispenser(contracts.Dispenser, wallet, 8996, config)
    await (await dispenser.dispense(datatoken, '1', wallet.address)).wait()
  } else {
    const exchange = new FixedRateExchange(contracts.FixedPrice, wallet, 8996, config)
    const id = await exchange.generateExchangeId(contracts.Ocean, datatoken)
    const most = String(Number(price) * 1.01)
    const allowed = parseUnits(most, 18).toString()
    await (await approveWei(wallet, config, wallet.address, contracts.Ocean, contracts.FixedPrice, allowed)).wait()
    await (await exchange.buyDatatokens(id, '1', most)).wait()
  }
  const sent = await new Datatoken(wallet, 8996, config).startOrder(datatoken, consumerAddress, 0, providerFee)
  await sent.wait()
  return sent.hash
}

const seen = { orders: [] }
for (const item of given.items) seen.orders.push(await ordered(item)) // one wallet, one nonce at a time

const escrow = new EscrowContract(contracts.Escrow, wallet, 8996, config)
const amount = formatUnits(payment.amount, 18)
await (await approveWei(wallet, config, wallet.address, payment.token, contracts.Escrow, payment.amount)).wait()
await (await escrow.deposit(payment.token, amount, 18)).wait()
const allowance = [payment.token, payment.payee, amount, String(payment.minLockSeconds), '1', 18]
// The newer one sends nothing where the wallet allows that already.
await (await escrow.authorize(...allowance))?.wait()
seen.available = (await escrow.getUserFunds(wallet.address, payment.token))[0].toString()

provider.destroy()
process.stdout.write(JSON.stringify(seen))
