// Calls functions of the library's ProviderInstance for a test. One line of JSON in is one call, one line out its answer:
//   {"call": "getNonce", "args": ["http://…", "0x…"]}  ->  {"value": 0}  or  {"error": "what was thrown"}
// The argument "$wallet" becomes the account whose key is in WALLET_KEY. What the library returns as a stream is read
// to its end: {"chunks": [[milliseconds since the call, base64], …]}.
import { createInterface } from 'node:readline'
import { ProviderInstance } from '@oceanprotocol/lib'
import { Wallet } from 'ethers'

console.log = console.error // the library prints there; standard output is for the answers alone

const wallet = new Wallet(process.env.WALLET_KEY)

async function answer({ call, args }) {
  const started = Date.now()
  const value = await ProviderInstance[call](...args.map((arg) => (arg === '$wallet' ? wallet : arg)))
  if (!value?.[Symbol.asyncIterator]) return { value: value ?? null }
  const chunks = []
  for await (const chunk of value) {
    chunks.push([Date.now() - started, Buffer.from(chunk).toString('base64')])
  }
  return { chunks }
}

for await (const line of createInterface({ input: process.stdin })) {
  const said = await answer(JSON.parse(line)).catch((error) => ({ error: error.message }))
  process.stdout.write(JSON.stringify(said) + '\n')
}
