// The main job as a client does it with the official Node SDK. usage: life.mjs BASE_URL KEY FOLDER
import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import OpenAI from "openai";

const [baseURL, apiKey, folder] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey });
const small = { size: "128x72", seconds: "1" };

async function done(id) {
  for (;;) {
    const video = await client.videos.retrieve(id);
    if (video.status === "completed" || video.status === "failed") return video;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function rejects(status, code, promise) {
  await assert.rejects(promise, (error) => {
    assert.equal(error.status, status);
    assert.equal(error.code, code);
    assert.ok(error.requestID);
    return true;
  });
}

const created = await client.videos.create({ model: "sora-2", prompt: "a paper plane “über” 窗", ...small });
const video = await done(created.id);
assert.equal(video.status, "completed");
const bytes = Buffer.from(await (await client.videos.downloadContent(video.id)).arrayBuffer());
assert.equal(bytes.subarray(4, 8).toString(), "ftyp");
fs.writeFileSync(path.join(folder, "node.mp4"), bytes);

const picture = path.join(folder, "picture.png");
const fromFile = await client.videos.create({ prompt: "x", input_reference: fs.createReadStream(picture), ...small });
const fromUri = await client.videos.create({
  prompt: "x",
  input_reference: { image_url: `data:image/png;base64,${fs.readFileSync(picture).toString("base64")}` },
  ...small,
});
for (const { id } of [fromFile, fromUri]) assert.equal((await done(id)).status, "completed");

const remix = await client.videos.remix(video.id, { prompt: "at night" });
assert.equal(remix.remixed_from_video_id, video.id);
const edit = await client.videos.edit({ prompt: "in blue", video: { id: video.id } });
const longer = await client.videos.extend({ prompt: "and on", seconds: "4", video: { id: video.id } });
assert.equal(longer.seconds, "5");
for (const { id } of [remix, edit]) assert.equal((await done(id)).status, "completed");

const ids = [];
for await (const one of client.videos.list({ limit: 2 })) ids.push(one.id);
assert.equal(ids.length, 6);
assert.equal(new Set(ids).size, 6);

const quick = client.withOptions({ maxRetries: 0 });
await rejects(404, "video_not_found", quick.videos.retrieve("a/b"));
await rejects(400, "invalid_value", quick.videos.create({ prompt: "x", seconds: "99" }));
await rejects(400, "invalid_value", quick.videos.create({ prompt: "x", input_reference: Buffer.from("not a picture, sixty bytes of something else entirely, really") }));
await rejects(
  400,
  "invalid_value",
  quick.videos.create({ prompt: "x" }, { headers: { "Content-Type": "application/json" } }),
);
const gone = await client.videos.delete(video.id);
assert.deepEqual(gone, { id: video.id, object: "video.deleted", deleted: true });
console.log("openai-node: all of it works");
