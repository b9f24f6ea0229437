/* Cards of videos that show how they come along: by server-sent events as far as connections go, else by asking. */

import { CallError, ask, call, element, say, showTimes, toast } from "./app.js";

const VIDEOS = "/dashboard/api/videos";
const NAMES = ["queued", "in_progress", "completed", "failed", "deleted"];
/** Over HTTP/1.1 a browser has six connections to us, for all windows: films, clicks and other windows need some too. */
const MOST_STREAMS = 2;
const ASK_EVERY = 4000;
const ASK_AT_MOST_EVERY = 30_000;
/** Failures in a row after which a stream is given up for asking. */
const MOST_BREAKS = 3;

const lives = new Map();

/** Make the cards below `root` live. */
export function start(root = document) {
  for (const card of root.querySelectorAll("[data-video]")) take(card);
  document.addEventListener("click", clicked);
  document.addEventListener("play", pauseOthers, true);
  // Who looks elsewhere leaves the connections to other tabs.
  document.addEventListener("visibilitychange", () => (document.hidden ? pause() : resume()));
  addEventListener("pagehide", pause);
  addEventListener("pageshow", (event) => event.persisted && resume());
}

/** Part of a page, from the server, whose templates escape every text. Throws a CallError. */
export async function fragment(address, selector) {
  const response = await fetch(address, { credentials: "same-origin" }).catch(() => null);
  if (response?.status === 401) location.assign(`/login?next=${encodeURIComponent(location.pathname)}`);
  if (!response?.ok) throw new CallError(response?.status ?? 0, response ? (await response.json().catch(() => null))?.error : null);
  const found = new DOMParser().parseFromString(await response.text(), "text/html").querySelector(selector);
  return document.adoptNode(found);
}

/** The card of a video as it is now. */
export function cardOf(id) {
  return fragment(`/dashboard/cards/${id}`, "[data-video]");
}

/** Have `card` told of what becomes of its video. */
export function take(card) {
  showTimes(card);
  // Where there is no picture of the film, its own first frame is one; the picture is asked for when it comes into sight.
  const ground = card.querySelector(".shot-ground");
  ground?.addEventListener("error", () => (card.querySelector("video").preload = "metadata"), { once: true });
  if (card.hasAttribute("data-live")) listen({ id: card.dataset.video, breaks: 0 });
}

function shown(id) {
  return document.querySelector(`[data-video="${CSS.escape(id)}"]`);
}

function pauseOthers(event) {
  for (const film of document.querySelectorAll("video")) if (film !== event.target) film.pause();
}

// ---------------------------------------------------------------- listening

function listen(life) {
  lives.set(life.id, life);
  if (document.hidden) return;
  const streams = [...lives.values()].filter((other) => other.source).length;
  if (streams < MOST_STREAMS && life.breaks < MOST_BREAKS) stream(life);
  else askLater(life, ASK_EVERY);
}

function stream(life) {
  // It comes back by itself, with the id of the last event that it has had.
  const source = (life.source = new EventSource(`${VIDEOS}/${life.id}/events`));
  for (const name of NAMES) {
    source.addEventListener(`video.${name}`, (event) => {
      life.breaks = 0;
      told(life, JSON.parse(event.data));
    });
  }
  source.addEventListener("error", () => {
    life.breaks += 1;
    if (source.readyState !== EventSource.CLOSED && life.breaks < MOST_BREAKS) return;
    quiet(life);
    askLater(life, ASK_EVERY);
  });
}

function askLater(life, after) {
  life.timer = setTimeout(async () => {
    try {
      told(life, await call("GET", `${VIDEOS}/${life.id}`));
      life.breaks = 0;
      // Where a stream has ended since, this one may have its place.
      if (lives.has(life.id)) listen(life);
    } catch (error) {
      if (error.status === 404) told(life, { id: life.id, deleted: true });
      else if (error.status !== 401) askLater(life, Math.min(after * 2, ASK_AT_MOST_EVERY));
    }
  }, after);
}

function quiet(life) {
  life.source?.close();
  life.source = null;
  clearTimeout(life.timer);
}

function leave(life) {
  quiet(life);
  lives.delete(life.id);
}

function pause() {
  for (const life of lives.values()) quiet(life);
}

function resume() {
  for (const life of lives.values()) {
    quiet(life);
    life.breaks = 0;
    listen(life);
  }
}

// ---------------------------------------------------------------- showing

function told(life, video) {
  const card = shown(life.id);
  const ended = video.deleted || video.status === "completed" || video.status === "failed";
  if (ended || !card) leave(life);
  if (!card) return;
  if (video.deleted) return remove(card);
  if (video.status === card.dataset.status) return progressed(card, video.progress);
  renew(card, video);
}

/** Show the card of a video anew, for what was made from it; never while it is being watched. */
export async function refresh(id) {
  const card = shown(id);
  const film = card?.querySelector("video");
  if (!card || (film && (!film.paused || film.currentTime > 0))) return;
  const fresh = await cardOf(id).catch(() => null);
  if (fresh && card.isConnected) replace(card, fresh);
}

function progressed(card, progress) {
  const [number, bar] = [card.querySelector("[data-percent]"), card.querySelector("progress")];
  if (number) number.textContent = progress;
  if (bar) bar.value = progress;
}

async function renew(card, video) {
  card.dataset.status = video.status;
  let fresh;
  try {
    fresh = await cardOf(video.id);
  } catch (error) {
    if (!(error instanceof CallError)) throw error;
    return error.status === 404 ? remove(card) : toast(error.message, "bad");
  }
  replace(card, fresh);
  if (video.status === "completed") toast(say("Your video is ready."));
  if (video.status === "failed") toast(say("A video failed. Its card says why."));
}

function replace(card, fresh) {
  const focused = card.contains(document.activeElement);
  card.replaceWith(fresh);
  // Its life goes on: `take` begins one only for what has none.
  if (lives.has(fresh.dataset.video)) {
    showTimes(fresh);
    if (!fresh.hasAttribute("data-live")) leave(lives.get(fresh.dataset.video));
  }
  if (!lives.has(fresh.dataset.video)) take(fresh);
  if (focused) fresh.focus();
}

function remove(card) {
  const next = card.nextElementSibling ?? card.previousElementSibling;
  const focused = card.contains(document.activeElement);
  card.remove();
  if (focused) next?.focus();
  document.dispatchEvent(new CustomEvent("card-removed"));
}

// ---------------------------------------------------------------- deleting, and the family

function clicked(event) {
  const button = event.target instanceof Element ? event.target.closest("[data-delete], [data-family]") : null;
  if (!button) return;
  if (button.dataset.family) showFamily(button.dataset.family);
  else erase(button.closest("[data-video]"));
}

async function erase(card) {
  const unfinished = card.hasAttribute("data-live");
  const question = unfinished
    ? { title: say("Cancel this video?"), text: say("It is stopped where its provider can stop it, and removed from here."), label: say("Cancel the video"), kind: "danger" }
    : { title: say("Delete this video?"), text: say("It is removed from here and, where the provider can, from there. This cannot be undone."), label: say("Delete"), kind: "danger" };
  if (await ask(question)) await eraseNow(card, false);
}

async function eraseNow(card, force) {
  const id = card.dataset.video;
  try {
    await call("DELETE", `${VIDEOS}/${id}${force ? "?force=true" : ""}`);
  } catch (error) {
    if (!(error instanceof CallError)) throw error;
    if (error.code === "video_not_deletable" && !force) {
      const text = say("Its provider cannot stop it now. You can have it forgotten here, although it may be made and paid for.");
      if (await ask({ title: say("It cannot be cancelled"), text, label: say("Forget it"), kind: "danger" })) await eraseNow(card, true);
      return;
    }
    if (error.status !== 404) return toast(error.message, "bad");
  }
  if (lives.has(id)) leave(lives.get(id));
  if (card.isConnected) remove(card);
  toast(say("The video was removed."));
}

async function showFamily(id) {
  const dialog = document.getElementById("family");
  const body = dialog.querySelector("[data-body]");
  body.replaceChildren(element("p", { class: "hint" }, say("One moment …")));
  dialog.showModal();
  try {
    body.replaceChildren(await fragment(`/dashboard/cards/${id}/family`, ".family"));
    showTimes(body);
  } catch (error) {
    if (!(error instanceof CallError)) throw error;
    body.replaceChildren(element("p", { class: "error" }, error.message));
  }
}
