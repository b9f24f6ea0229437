/* What is not finished is looked at again and again, less often while nothing changes, and never while nobody looks.
   The server renders it anew, with every text escaped as on the page itself. */

import { say, showTimes, toast } from "./app.js";

const SOON = 2000;
const SELDOM = 15_000;

async function pageOf(address) {
  const response = await fetch(address, { headers: { accept: "text/html" }, credentials: "same-origin" });
  if (!response.ok || new URL(response.url).pathname === "/login") return null;
  return new DOMParser().parseFromString(await response.text(), "text/html");
}

/** Call `look` again and again; it answers whether anything changed, or null where there is nothing more to see. */
function follow(look, first = SOON, longest = SELDOM) {
  let wait = first;
  const next = () => setTimeout(turn, wait);
  const turn = async () => {
    if (document.hidden) return document.addEventListener("visibilitychange", turn, { once: true });
    let changed = false;
    try {
      changed = await look();
    } catch {
      // The network comes back, or does not.
    }
    if (changed === null) return;
    wait = changed ? first : Math.min(wait * 1.3, longest);
    next();
  };
  next();
}

/** What was last shown in a place, as the server had sent it: what a script made of it since does not count. */
const SHOWN = new Map();

function replaced(part) {
  const current = document.getElementById(part.id);
  const html = part.outerHTML;
  if (!current || SHOWN.get(part.id) === html || current.contains(document.activeElement)) return false;
  const first = !SHOWN.has(part.id);
  SHOWN.set(part.id, html);
  const fresh = document.importNode(part, true);
  showTimes(fresh);
  current.replaceWith(fresh);
  return !first;
}

function followRows() {
  const unfinished = () => [...document.querySelectorAll("tr[data-unfinished]")].map((row) => row.dataset.unfinished);
  if (!unfinished().length) return;
  follow(async () => {
    const ids = unfinished();
    if (!ids.length) return null;
    const page = await pageOf(`/dashboard/videos/rows?ids=${ids.join(",")}`);
    if (page === null) return null;
    const rows = [...page.querySelectorAll("tr")];
    for (const id of ids) if (!rows.some((row) => row.id === `row-${id}`)) document.getElementById(`row-${id}`)?.remove();
    return rows.map(replaced).some(Boolean);
  });
}

function followPage() {
  const followed = document.querySelector("[data-refresh]");
  if (!followed) return;
  const first = Number(followed.dataset.every ?? SOON / 1000) * 1000;
  follow(async () => {
    const page = await pageOf(followed.dataset.refresh);
    if (page === null) return null;
    const changes = [...page.querySelectorAll("[data-part]")].map(replaced);
    if (page.querySelector("[data-refresh]")) return changes.some(Boolean);
    toast(page.querySelector("[data-part] [data-status=completed]") ? say("The video is finished.") : say("It has ended."));
    return null;
  }, first, Math.max(first, SELDOM));
}

followRows();
followPage();
