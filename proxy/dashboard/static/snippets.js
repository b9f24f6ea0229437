/* A request of the studio as code: `{base, path, fields, files: [{field, name, type}]}` -> text. Whatever the prompt or a
   file's name has in it stays text there: no shell and no interpreter takes it for more. */

const KEY = "YOUR_API_KEY";
const OWN = ["prompt", "model", "seconds", "size"];

export const snippets = { curl, python, node };

/** A word of a POSIX shell. */
export function quoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

function curl({ base, path, fields, files }) {
  const lines = [`curl ${quoted(base + path)}`, `-H ${quoted(`Authorization: Bearer ${KEY}`)}`];
  if (files.length === 0) {
    lines.push(`-H ${quoted("Content-Type: application/json")}`, `-d ${quoted(JSON.stringify(fields, null, 2))}`);
  } else {
    // --form-string takes no word for a file; in -F, a name between double quotes may have anything in it.
    for (const [name, value] of Object.entries(fields)) lines.push(`--form-string ${quoted(`${name}=${value}`)}`);
    for (const file of files) lines.push(`-F ${quoted(`${file.field}=@"${file.name.replace(/[\\"]/g, "\\$&")}";type=${file.type}`)}`);
  }
  return lines.join(" \\\n  ");
}

/** Where the SDKs have a method for `path`, its name, what goes before the fields, and the fields. */
function called({ path, fields }) {
  const remix = /^\/videos\/([\w-]+)\/remix$/.exec(path);
  if (remix) return { method: "remix", first: remix[1], fields };
  return { method: { "/videos": "create", "/videos/edits": "edit", "/videos/extensions": "extend" }[path], first: null, fields };
}

/** One picture goes as a file; more, and the last frame, as data that the SDKs have no parameter of their own for. */
function split(files) {
  const references = files.filter((file) => file.field !== "last_frame");
  return { single: references.length === 1 ? references[0] : null, many: references.length > 1 ? references : [], last: files.find((file) => file.field === "last_frame") };
}

function python(request) {
  const { method, first, fields } = called(request);
  const { single, many, last } = split(request.files);
  const literal = (value) => (value === true ? "True" : value === false ? "False" : JSON.stringify(value));
  const data = (file) => `data_uri(${literal(file.name)}, ${literal(file.type)})`;
  const given = Object.entries(fields).filter(([name]) => OWN.includes(name) || name === "video");
  const extra = Object.entries(fields).filter(([name]) => !OWN.includes(name) && name !== "video").map(([name, value]) => `${literal(name)}: ${literal(value)}`);
  if (many.length) extra.push(`"images": [${many.map(data).join(", ")}]`);
  if (last) extra.push(`"last_frame": ${data(last)}`);
  const lines = given.map(([name, value]) => `    ${name}=${literal(value)},`);
  if (first) lines.unshift(`    ${literal(first)},`);
  if (single) lines.push(`    input_reference=open(${literal(single.name)}, "rb"),`);
  if (extra.length) lines.push(`    extra_body={${extra.join(", ")}},`);
  const helper = many.length || last ? ["import base64", "from pathlib import Path", ""] : [];
  const define = many.length || last ? ["", "def data_uri(name, media_type):", '    return f"data:{media_type};base64,{base64.b64encode(Path(name).read_bytes()).decode()}"', ""] : [""];
  return [
    ...helper,
    "from openai import OpenAI",
    ...define,
    `client = OpenAI(base_url=${literal(request.base)}, api_key=${literal(KEY)})`,
    `video = client.videos.${method}(`,
    ...lines,
    ")",
    "video = client.videos.poll(video.id)",
    'if video.status == "completed":',
    '    client.videos.download_content(video.id).write_to_file("video.mp4")',
    "else:",
    "    print(video.error)",
    "",
  ].join("\n");
}

function node(request) {
  const { method, first, fields } = called(request);
  const { single, many, last } = split(request.files);
  const literal = (value) => JSON.stringify(value);
  const data = (file) => `dataUri(${literal(file.name)}, ${literal(file.type)})`;
  const lines = Object.entries(fields).map(([name, value]) => `  ${name}: ${literal(value)},`);
  if (single) lines.push(`  input_reference: fs.createReadStream(${literal(single.name)}),`);
  if (many.length) lines.push(`  images: [${many.map(data).join(", ")}],`);
  if (last) lines.push(`  last_frame: ${data(last)},`);
  const define = many.length || last ? ['const dataUri = (name, type) => `data:${type};base64,${fs.readFileSync(name, "base64")}`;'] : [];
  return [
    'import fs from "node:fs";',
    'import OpenAI from "openai";',
    "",
    ...define,
    `const client = new OpenAI({ baseURL: ${literal(request.base)}, apiKey: ${literal(KEY)} });`,
    `let video = await client.videos.${method}(${first ? `${literal(first)}, ` : ""}{`,
    ...lines,
    "});",
    'while (video.status === "queued" || video.status === "in_progress") {',
    "  await new Promise((resolve) => setTimeout(resolve, 2000));",
    "  video = await client.videos.retrieve(video.id);",
    "}",
    'if (video.status === "completed") {',
    "  const content = await client.videos.downloadContent(video.id);",
    '  fs.writeFileSync("video.mp4", Buffer.from(await content.arrayBuffer()));',
    "} else console.error(video.error);",
    "",
  ].join("\n");
}
