// @ai-sdk/xai as a peer of the xAI simulator: one order in JSON per line comes in, what the SDK makes of it goes out.
// URL KEY

import { createInterface } from "node:readline";
import { createXai } from "@ai-sdk/xai";

const [url, key] = process.argv.slice(2);
const xai = createXai({ baseURL: `${url}/v1`, apiKey: key });

const doing = {
  start: ({ model, ...options }) => xai.video(model).doStart({ n: 1, providerOptions: {}, ...options }),
  status: ({ model, id }) => xai.video(model).doStatus({ operation: { requestId: id } }),
};

for await (const line of createInterface({ input: process.stdin })) {
  const { do: what, ...order } = JSON.parse(line);
  let said;
  try {
    said = await doing[what](order);
  } catch (error) {
    said = { raised: error.name, message: error.message, status: error.statusCode ?? null };
  }
  process.stdout.write(`${JSON.stringify(said)}\n`);
}
