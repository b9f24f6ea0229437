// kling-api, an independent client, as a peer of the Kling simulator: one order in JSON per line comes in, what the
// client makes of it goes out. `do` is one of its methods, `with` its arguments. URL ACCESS-KEY SECRET-KEY

import { createInterface } from "node:readline";
import { KlingAPI } from "kling-api";

const [url, accessKey, secretKey] = process.argv.slice(2);

function opened(secret) {
  const api = new KlingAPI({ accessKey, secretKey: secret });
  // It takes no base URL but one of https.
  api.client.defaults.baseURL = url;
  return api;
}

const kling = opened(secretKey);
const quick = { interval: 1, showSpinner: false };

for await (const line of createInterface({ input: process.stdin })) {
  const { do: method, with: given, secret } = JSON.parse(line);
  const api = secret ? opened(secret) : kling;
  let said;
  try {
    said = await (method === "wait" ? api.waitForVideoResult(given[0], undefined, quick) : api[method](...given));
  } catch (error) {
    said = { raised: error.name, message: error.message, code: error.code ?? null, status: error.httpStatus ?? null };
  }
  process.stdout.write(`${JSON.stringify(said)}\n`);
}
