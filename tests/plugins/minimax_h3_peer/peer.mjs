// @ai-sdk/minimax as a peer of the MiniMax simulator: one order in JSON per line comes in, what the SDK makes of it goes
// out. URL KEY

import { createInterface } from "node:readline";
import { createMiniMax } from "@ai-sdk/minimax";

const [url, key] = process.argv.slice(2);
const minimax = createMiniMax({ videoBaseURL: url, apiKey: key });

const doing = {
  start: ({ model, ...options }) => minimax.video(model).doStart({ n: 1, providerOptions: {}, ...options }),
  status: ({ model, id }) => minimax.video(model).doStatus({ operation: { taskId: id } }),
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
