/* The studio: the form whose fields follow the model, what it costs, and what is made from a card. Sections: fields ·
   price · draft · sending · cards · code · start. */

import { CallError, blame, busy, element, forgive, patience, say, toast } from "./app.js";
import { cardOf, refresh, start as startCards, take } from "./cards.js";
import { perSecond, price } from "./money.js";
import { Zone } from "./pictures.js";
import { snippets } from "./snippets.js";

const MODELS = new Map(JSON.parse(document.getElementById("models").textContent).map((model) => [model.name, model]));
const CALLS = "/dashboard/api";
const FIELDS = ["prompt", "negative_prompt", "seed", "seconds", "size"];
/** As many lengths in a row are a number to be typed; fewer are a list. */
const MOST_LENGTHS = 8;
const USUAL_SIZES = ["1280x720", "720x1280", "1024x1024", "1920x1080", "1080x1920"];
/** Milliseconds for which a second click is taken for half of a double one. */
const COOLS = 800;

const composer = document.getElementById("composer");
const followForm = document.getElementById("follow-form");
const zones = {};
let following = null;

// ---------------------------------------------------------------- fields

function model() {
  return MODELS.get(composer.elements.model.value);
}

function field(form, name) {
  return form.querySelector(`[data-field="${name}"]`);
}

/** Put `control` in the place of the one that the field `name` of `form` has. */
function put(form, name, control) {
  const place = field(form, name);
  const label = place.querySelector("label");
  control.id = label.htmlFor;
  control.name = name;
  place.querySelector("datalist")?.remove();
  place.querySelector("select, input")?.remove();
  label.after(control);
}

function lengths(legal, chosen) {
  const inRow = legal.length > MOST_LENGTHS && legal.at(-1) - legal[0] === legal.length - 1;
  if (legal.length === 0 || inRow) {
    return element("input", { type: "number", inputmode: "numeric", step: 1, min: legal[0] ?? 1, max: legal.at(-1) ?? 3600, value: chosen, required: true });
  }
  return element("select", {}, ...legal.map((seconds) => element("option", { value: seconds, selected: seconds === chosen }, seconds)));
}

function sizes(legal, chosen) {
  const groups = new Map();
  for (const size of legal) {
    const name = shape(size);
    groups.set(name, [...(groups.get(name) ?? []), element("option", { value: size, selected: size === chosen }, size.replace("x", " × "))]);
  }
  return element("select", {}, ...[...groups].map(([label, options]) => element("optgroup", { label }, ...options)));
}

const RATIOS = [[16, 9], [9, 16], [1, 1], [4, 3], [3, 4], [21, 9], [9, 21], [3, 2], [2, 3], [5, 4], [4, 5]];

function shape(size) {
  const [width, height] = size.split(/[x:]/).map(Number);
  const near = RATIOS.find(([across, down]) => Math.abs(Math.log((width * down) / (height * across))) < 0.025);
  const ratio = near ? near.join(":") : "";
  const words = width === height ? say("Square") : width > height ? say("Wide") : say("Tall");
  return ratio ? `${words} ${ratio}` : words;
}

/** Make the fields those of the chosen model; what was chosen before stays where it can. */
function follow(wanted = {}) {
  const { seconds: legal, sizes: shapes, ...chosen } = model();
  const before = Number(wanted.seconds ?? composer.elements.seconds?.value);
  const isLegal = Number.isInteger(before) && before > 0 && (legal.length === 0 || legal.includes(before));
  put(composer, "seconds", lengths(legal, isLegal ? before : chosen.default_seconds));
  const size = wanted.size ?? composer.elements.size?.value;
  if (shapes.length > 0) put(composer, "size", sizes(shapes, shapes.includes(size) ? size : chosen.default_size));
  else {
    put(composer, "size", element("input", { type: "text", list: "usual-sizes", value: size || chosen.default_size, required: true, spellcheck: "false", pattern: "[1-9][0-9]{1,4}x[1-9][0-9]{1,4}|[1-9][0-9]?:[1-9][0-9]?" }));
    field(composer, "size").append(element("datalist", { id: "usual-sizes" }, ...USUAL_SIZES.map((one) => element("option", { value: one }))));
  }
  field(composer, "audio").hidden = chosen.audio !== true;
  zones.input_reference.allow(Math.min(chosen.max_images ?? Infinity, Number(composer.dataset.maxPictures)));
  zones.last_frame.allow(chosen.last_frame ? 1 : 0);
  composer.querySelector("[data-drop-words]").textContent = chosen.max_images === 1 ? say("Add a picture to start from") : say("Add pictures to start from");
  changed();
}

/** The request that the form stands for. */
function composed() {
  const { prompt, model: name, seconds, size, audio, seed, negative_prompt: without } = composer.elements;
  const fields = { model: name.value, prompt: prompt.value, seconds: seconds.value, size: size.value };
  if (model().audio === true) fields.audio = audio.checked;
  if (without.value.trim()) fields.negative_prompt = without.value;
  if (seed.value.trim()) fields.seed = Number(seed.value);
  const pictures = zones.input_reference.used;
  const references = pictures.map((file) => ({ field: pictures.length > 1 ? "images" : "input_reference", file }));
  return { path: "/videos", fields, files: [...references, ...zones.last_frame.used.map((file) => ({ field: "last_frame", file }))] };
}

// ---------------------------------------------------------------- price

function showPrice() {
  const { seconds, size, audio } = composer.elements;
  const silent = model().audio === true && !audio.checked;
  const text = price(perSecond(model(), size.value, silent), Number(seconds.value));
  const shown = document.getElementById("price");
  if (shown.textContent !== text) shown.textContent = text;
}

// ---------------------------------------------------------------- draft

const OWNER = `studio.${composer?.dataset.user ?? ""}.`;

/** Of whoever else was logged in in this tab, nothing stays. */
function forgetOthers() {
  for (const name of Object.keys(sessionStorage)) if (name.startsWith("studio.") && !name.startsWith(OWNER)) sessionStorage.removeItem(name);
}

function keep(name, value) {
  try {
    if (value === null) sessionStorage.removeItem(OWNER + name);
    else sessionStorage.setItem(OWNER + name, JSON.stringify(value));
  } catch {
    // Full or forbidden: then it does not survive.
  }
}

function kept(name) {
  return JSON.parse(sessionStorage.getItem(OWNER + name) ?? "null");
}

function changed() {
  showPrice();
  const draft = { model: composer.elements.model.value, audio: composer.elements.audio.checked };
  for (const name of FIELDS) draft[name] = composer.elements[name].value;
  keep("draft", draft);
}

function fill({ model: name, audio, ...others }) {
  const { elements } = composer;
  if (MODELS.has(name)) elements.model.value = name;
  for (const one of ["prompt", "negative_prompt", "seed"]) if (others[one] !== undefined) elements[one].value = others[one] ?? "";
  if (audio !== undefined && audio !== null) elements.audio.checked = audio;
  if (elements.negative_prompt.value || elements.seed.value) composer.querySelector("[data-more]").open = true;
  follow(others);
}

// ---------------------------------------------------------------- sending

/** The Idempotency-Key of a request: the same one until it was answered, so that a click after a lost connection or a
    reload finds the video of the first one. */
function keyOf(request) {
  const mark = JSON.stringify([request.path, request.fields, request.files.map(({ field: name, file }) => [name, file.name, file.size, file.lastModified])]);
  const before = kept("pending");
  const key = before?.mark === mark ? before.key : [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  keep("pending", { mark, key });
  return key;
}

/** Send a request, with its files where it has some; `progress` is told the percentage that is on its way. */
function post(request, progress) {
  const form = request.files.length > 0 ? new FormData() : null;
  for (const [name, value] of Object.entries(form ? request.fields : {})) form.append(name, String(value));
  for (const { field: name, file } of request.files) form.append(name, file, file.name);
  return new Promise((resolve, reject) => {
    const sending = new XMLHttpRequest();
    sending.open("POST", CALLS + request.path);
    sending.responseType = "json";
    sending.setRequestHeader("accept", "application/json");
    sending.setRequestHeader("x-csrf-token", document.body.dataset.csrf);
    sending.setRequestHeader("idempotency-key", keyOf(request));
    if (!form) sending.setRequestHeader("content-type", "application/json");
    sending.upload.addEventListener("progress", (event) => form && event.lengthComputable && progress((100 * event.loaded) / event.total));
    sending.addEventListener("error", () => reject(new CallError(0, null)));
    sending.addEventListener("load", () => {
      const { status, response } = sending;
      // After a 5xx the video may be there all the same: the next click asks for it by the same key.
      if (status < 500) keep("pending", null);
      if (status === 200) return resolve(response);
      if (status === 401) location.assign(`/login?next=${encodeURIComponent(location.pathname)}`);
      reject(new CallError(status, response?.error ?? { message: say("The server answered with an error ({status}).", { status }) }));
    });
    sending.send(form ?? JSON.stringify(request.fields));
  });
}

/** What an error means for who reads it; the server's own sentence says the rest. */
function plain(error) {
  const meanings = {
    insufficient_quota: say("There is not enough budget left for this video. Make it shorter or smaller, or ask an admin for more."),
    moderation_blocked: say("The provider refuses this content. Say it in other words, or take another picture."),
    channel_unavailable: say("No channel can make this now. Try again later, or take another model."),
    upstream_error: say("The provider has a problem. If the video was taken all the same, it shows up here."),
    upstream_timeout: say("The provider did not answer in time. If the video was taken all the same, it shows up here."),
    rate_limit_exceeded: say("There is too much going on right now. Wait a moment and try again."),
    model_not_found: say("This model is not there any more. Reload the page."),
  };
  if (error.status === 0) return new CallError(0, { message: say("The server could not be reached. Click again when you are online: nothing is paid for twice.") });
  const meaning = meanings[error.code];
  return meaning ? Object.assign(new CallError(error.status, { ...error, message: `${meaning} (${error.message})` })) : error;
}

/** Send what `form` stands for, once, and put the new card first. Answers whether it was taken. */
async function submit(form, request) {
  const button = form.querySelector("button:not([type=button])");
  if (button.disabled) return false;
  forgive(form);
  if (!request.fields.prompt.trim()) {
    blame(form, new CallError(400, { message: say("Say what the video shall show."), param: "prompt" }));
    return false;
  }
  busy(button, true);
  const cooled = new Promise((resolve) => setTimeout(resolve, COOLS));
  const bar = document.getElementById("sending");
  const answered = patience(say("Its provider takes its time to answer. The card appears as soon as it is known."));
  try {
    const video = await post(request, (percent) => {
      bar.hidden = false;
      bar.value = percent;
    });
    await add(video.id);
    return true;
  } catch (error) {
    if (!(error instanceof CallError)) throw error;
    const told = plain(error);
    if (/^(images|image)\b/.test(told.param ?? "")) told.param = "input_reference";
    blame(form, told);
    return false;
  } finally {
    answered();
    if (bar) bar.hidden = true;
    await cooled;
    busy(button, false);
  }
}

// ---------------------------------------------------------------- cards

async function add(id) {
  const card = await cardOf(id);
  document.querySelector(`[data-video="${CSS.escape(id)}"]`)?.remove();
  document.getElementById("shots").prepend(card);
  take(card);
  greet();
  card.scrollIntoView({ block: "nearest", behavior: "smooth" });
}

function greet() {
  const first = document.getElementById("first");
  if (first) first.hidden = document.querySelector("[data-video]") !== null;
}

function openFollow(card, button, prompt = "") {
  const { follow: kind, perSecond: each, seconds, further, choices } = button.dataset;
  const words = {
    remix: [say("Remix"), say("What shall be different?")],
    edit: [say("Edit"), say("What shall be changed in it?")],
    extend: [say("Extend"), say("How does it go on?")],
  }[kind];
  following = { kind, id: card.dataset.video, each, seconds: Number(seconds), further: Number(further) };
  const dialog = document.getElementById("follow");
  forgive(followForm);
  dialog.querySelector("h2").textContent = words[0];
  dialog.querySelector("[data-label]").textContent = words[1];
  dialog.querySelector("[data-source]").textContent = card.dataset.prompt;
  followForm.elements.prompt.value = prompt;
  const legal = choices ? choices.split(" ").map(Number) : [];
  field(followForm, "seconds").hidden = kind !== "extend";
  put(followForm, "seconds", lengths(legal, following.seconds));
  showFollowPrice();
  dialog.showModal();
  followForm.elements.prompt.focus();
}

function followSeconds() {
  return following.kind === "extend" ? Number(followForm.elements.seconds.value) : following.seconds;
}

function showFollowPrice() {
  followForm.querySelector("[data-price]").textContent = price(following.each, followSeconds() + following.further);
}

function followed() {
  const { kind, id } = following;
  const prompt = followForm.elements.prompt.value;
  if (kind === "remix") return { path: `/videos/${id}/remix`, fields: { prompt }, files: [] };
  if (kind === "edit") return { path: "/videos/edits", fields: { prompt, video: { id } }, files: [] };
  return { path: "/videos/extensions", fields: { prompt, video: { id }, seconds: String(followSeconds()) }, files: [] };
}

function refill({ prompt, settings }) {
  fill({ ...JSON.parse(settings), prompt });
  if (JSON.parse(settings).pictures) toast(say("Add the pictures again: they are not kept."));
}

/** Put what a card was made with into the form again. */
async function again(card) {
  const settings = JSON.parse(card.dataset.settings);
  if (settings.kind !== "create" && settings.source) {
    const source = document.querySelector(`[data-video="${CSS.escape(settings.source)}"]`) ?? (await cardOf(settings.source).catch(() => null));
    const button = source?.querySelector(`[data-follow="${settings.kind}"]`);
    if (button) return openFollow(source, button, card.dataset.prompt);
    return toast(say("The video that this one started from is not there any more."), "bad");
  }
  if (!composer) return;
  refill(card.dataset);
  composer.scrollIntoView({ block: "nearest", behavior: "smooth" });
  document.getElementById("create").focus({ preventScroll: true });
}

function clicked(event) {
  const button = event.target instanceof Element ? event.target.closest("button") : null;
  const card = button?.closest("[data-video]");
  if (button?.dataset.follow) openFollow(card, button);
  else if (button?.hasAttribute("data-again")) again(card);
  else if (button?.hasAttribute("data-example")) {
    fill({ prompt: button.textContent });
    composer.elements.prompt.focus();
  } else if (button?.hasAttribute("data-code")) openCode(button.form === composer ? composed() : followed());
}

// ---------------------------------------------------------------- code

function openCode(request) {
  const dialog = document.getElementById("code");
  const base = (composer?.dataset.base || location.origin).replace(/\/+$/, "") + "/v1";
  const files = request.files.map(({ field: name, file }) => ({ field: name, name: file.name, type: file.type }));
  const show = () => {
    const language = dialog.querySelector("[name=code-language]:checked").value;
    const text = snippets[language]({ ...request, base, files });
    dialog.querySelector("[data-text]").textContent = text;
    dialog.querySelector("[data-copy]").dataset.copy = text;
  };
  dialog.onchange = show;
  show();
  dialog.showModal();
}

// ---------------------------------------------------------------- start

function pasted(event) {
  const files = [...(event.clipboardData?.files ?? [])];
  const zone = Object.values(zones).find((one) => one.hasRoom) ?? zones.input_reference;
  if (files.length === 0 || zone.most === 0 || document.querySelector("dialog[open]")) return;
  event.preventDefault();
  zone.add(files);
}

function startComposer() {
  for (const place of composer.querySelectorAll("[data-zone]")) {
    zones[place.dataset.zone] = new Zone(place, { mostBytes: Number(composer.dataset.pictureBytes), changed });
  }
  forgetOthers();
  fill(kept("draft") ?? {});
  if (composer.dataset.settings) {
    refill(composer.dataset);
    history.replaceState(null, "", location.pathname); // A reload has what was typed since.
  }
  composer.elements.model.addEventListener("change", () => follow());
  composer.addEventListener("input", changed);
  composer.addEventListener("submit", (event) => {
    event.preventDefault();
    submit(composer, composed());
  });
  // Beside the zone, a dropped picture would be opened in the place of the page.
  for (const name of ["dragover", "drop"]) {
    document.addEventListener(name, (event) => {
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      if (name === "drop" && zones.input_reference.most > 0) zones.input_reference.add([...event.dataTransfer.files]);
    });
  }
  document.addEventListener("paste", pasted);
}

function pressed(event) {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
  const form = event.target instanceof Element ? event.target.closest("#composer, #follow-form") : null;
  if (!form) return;
  event.preventDefault();
  form.requestSubmit();
}

if (composer) startComposer();
followForm.addEventListener("input", showFollowPrice);
followForm.addEventListener("submit", async (event) => {
  event.preventDefault();
  const source = following.id;
  if (!(await submit(followForm, followed()))) return;
  document.getElementById("follow").close();
  refresh(source);
});
document.addEventListener("click", clicked);
document.addEventListener("keydown", pressed);
document.addEventListener("card-removed", greet);
startCards();
