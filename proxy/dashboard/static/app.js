/* The one script of the pages, which imports what only some of them need. Every page works without it as far as a form
   and a link can; it makes them quicker, and the studio live. Sections: words · calls · toasts · theme · times ·
   copying · dialogs · forms · menus · start.

   No text is ever put into a page as HTML: elements are made with `element`, whose text stays text. */

// ---------------------------------------------------------------- words

const WORDS = JSON.parse(document.getElementById("words")?.textContent ?? "{}");

export const language = document.documentElement.lang;

/** The text in the language of the page; `{name}` is replaced by the value of that name. */
export function say(text, values = {}) {
  return (WORDS[text] ?? text).replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));
}

/** A new element: `element("p", { class: "hint" }, "text", child, …)`. Attributes that are null or false are left out. */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === true) made.setAttribute(key, "");
    else if (value !== null && value !== undefined && value !== false) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

// ---------------------------------------------------------------- calls

/** What the API said no with: its sentence, its code and the field to blame. */
export class CallError extends Error {
  constructor(status, told) {
    super(told?.message ?? say("The server could not be reached. Check your connection and try again."));
    this.status = status;
    this.code = told?.code ?? null;
    this.param = told?.param ?? null;
  }
}

/** Call the API of this server, as who is logged in: `call("POST", "/dashboard/api/videos", {prompt})`. `body` is an
    object for JSON, or a FormData. Answers the decoded JSON; throws a CallError. */
export async function call(method, address, body = undefined, { signal } = {}) {
  const headers = { accept: "application/json", "x-csrf-token": document.body.dataset.csrf };
  const options = { method, headers, signal, credentials: "same-origin" };
  if (body instanceof FormData) options.body = body;
  else if (body !== undefined) {
    headers["content-type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  let response;
  try {
    response = await fetch(address, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new CallError(0, null);
  }
  const answer = response.headers.get("content-type")?.startsWith("application/json") ? await response.json() : null;
  if (response.ok) return answer;
  if (response.status === 401) toLogin();
  throw new CallError(response.status, answer?.error ?? { message: say("The server answered with an error ({status}).", { status: response.status }) });
}

function toLogin() {
  location.assign(`/login?next=${encodeURIComponent(location.pathname + location.search)}`);
}

// ---------------------------------------------------------------- toasts

const TOAST_STAYS = 6000;

/** Say something for a moment; `tone` "bad" is for what went wrong, and stays until it is clicked away. */
export function toast(text, tone = "good") {
  const shown = element("div", { class: "toast", "data-tone": tone, role: tone === "bad" ? "alert" : null }, element("p", {}, text));
  document.getElementById("toasts").append(shown);
  watchToast(shown, tone);
}

function watchToast(shown, tone) {
  const leave = () => {
    shown.classList.add("leaving");
    setTimeout(() => shown.remove(), 200);
  };
  shown.addEventListener("click", leave);
  if (tone !== "bad") setTimeout(leave, TOAST_STAYS);
}

/** Say `text` where an answer takes longer than people expect; what is answered here is called when it has come. */
export function patience(text, after = 4000) {
  const timer = setTimeout(() => toast(text), after);
  return () => clearTimeout(timer);
}

// ---------------------------------------------------------------- theme

const DARK = matchMedia("(prefers-color-scheme: dark)");

function shownTheme() {
  const chosen = document.documentElement.dataset.theme;
  return chosen === "system" ? (DARK.matches ? "dark" : "light") : chosen;
}

function showTheme() {
  document.documentElement.dataset.shownTheme = shownTheme();
}

function switchTheme() {
  const theme = shownTheme() === "dark" ? "light" : "dark";
  const secure = location.protocol === "https:" ? "; secure" : "";
  document.cookie = `reelgate_theme=${theme}; path=/; max-age=31536000; samesite=lax${secure}`;
  document.documentElement.dataset.theme = theme;
  showTheme();
}

// ---------------------------------------------------------------- times

const RELATIVE = new Intl.RelativeTimeFormat(language, { numeric: "auto" });
const CLOCK = new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "short" });
const STEPS = [["second", 60], ["minute", 60], ["hour", 24], ["day", 7]];

/** A moment for people: "3 minutes ago" within a week, else the date. */
export function ago(moment, now = Date.now()) {
  let length = (moment - now) / 1000;
  if (Math.abs(length) < 45) return say("just now");
  for (const [unit, size] of STEPS) {
    if (Math.abs(length) < size) return RELATIVE.format(Math.round(length), unit);
    length /= size;
  }
  return CLOCK.format(moment);
}

/** Show every `<time data-moment>` below `root` in the reader's own words and zone. */
export function showTimes(root = document) {
  for (const time of root.querySelectorAll("time[data-moment]")) {
    const moment = Date.parse(time.dateTime);
    time.textContent = ago(moment);
    time.title = CLOCK.format(moment);
  }
}

// ---------------------------------------------------------------- copying

async function copy(button) {
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
  } catch {
    // Over plain http there is no clipboard for scripts.
    const text = element("textarea", { readonly: true, class: "unseen" });
    text.value = button.dataset.copy;
    (button.closest("dialog") ?? document.body).append(text);
    text.select();
    const copied = document.execCommand("copy");
    text.remove();
    if (!copied) return toast(say("Copying is not allowed here: select the text and copy it."), "bad");
  }
  toast(say("Copied."));
}

// ---------------------------------------------------------------- dialogs

/** Ask before something is done; answers whether it was agreed to. */
export function ask({ title, text, label, kind = "" }) {
  return new Promise((resolve) => {
    const agree = element("button", { class: `button primary ${kind}`, value: "yes" }, label);
    const dialog = element(
      "dialog",
      { class: "dialog", "aria-labelledby": "question" },
      element("header", {}, element("h2", { id: "question" }, title)),
      element(
        "form",
        { method: "dialog", class: "stack" },
        element("p", {}, text),
        element("div", { class: "actions" }, element("button", { class: "button", value: "no", autofocus: kind === "danger" }, say("Cancel")), agree),
      ),
    );
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

// ---------------------------------------------------------------- forms

/** Show at `form` what a CallError blames: beside its field where it names one that is there, else as a toast. */
export function blame(form, error) {
  const field = error.param ? form.elements.namedItem(error.param.replace(/\[.*$/, "")) : null;
  if (!(field instanceof HTMLElement) || field.type === "hidden") return toast(error.message, "bad");
  const words = element("p", { class: "error", id: `error-${field.name}`, "data-blamed": true }, error.message);
  field.setAttribute("aria-invalid", "true");
  field.setAttribute("aria-describedby", words.id);
  field.closest(".field")?.append(words);
  field.focus();
}

export function forgive(form) {
  for (const old of document.querySelectorAll("#toasts [data-tone=bad]")) old.remove();
  for (const words of form.querySelectorAll("[data-blamed]")) words.remove();
  for (const field of form.querySelectorAll("[aria-invalid]")) field.removeAttribute("aria-invalid");
}

/** Mark the button of a form as at work, so that it is not pressed twice. */
export function busy(button, working) {
  if (!button) return;
  button.toggleAttribute("disabled", working);
  if (working) button.setAttribute("aria-busy", "true");
  else button.removeAttribute("aria-busy");
}

/* `<form data-call="POST /dashboard/api/webhook_endpoints" data-said="Saved.">` sends its fields as JSON instead of
   itself, and loads the page anew. A field with `data-as="number"` or `"list"` (of words between commas or lines) is
   sent as such, a check box as true or false; an empty field is left out. */
async function sendAsCall(form, button) {
  const [method, address] = form.dataset.call.split(" ");
  forgive(form);
  busy(button, true);
  try {
    await call(method, address, method === "DELETE" ? undefined : fieldsOf(form));
    if (form.dataset.said) sessionStorage.setItem("said", form.dataset.said);
    location.assign(form.dataset.next ?? location.href);
  } catch (error) {
    busy(button, false);
    if (!(error instanceof CallError)) throw error;
    blame(form, error);
  }
}

export function fieldsOf(form) {
  const fields = {};
  for (const field of form.elements) {
    if (!field.name || field.name === "csrf" || field.disabled || (field.type === "radio" && !field.checked)) continue;
    if (field.type === "checkbox" && field.hasAttribute("data-many")) {
      fields[field.name] ??= [];
      if (field.checked) fields[field.name].push(field.value);
    } else if (field.type === "checkbox") fields[field.name] = field.checked;
    else if (field.value.trim() === "") continue;
    else if (field.dataset.as === "number") fields[field.name] = Number(field.value);
    else if (field.dataset.as === "list") fields[field.name] = field.value.split(/[\n,]/).map((word) => word.trim()).filter(Boolean);
    else fields[field.name] = field.value;
  }
  return fields;
}

async function submitted(event) {
  const form = event.target;
  const button = event.submitter ?? form.querySelector("button:not([type=button])");
  if (form.dataset.confirm && !form.dataset.confirmed) {
    event.preventDefault();
    const { confirm: text, confirmTitle: title, confirmLabel: label, confirmKind: kind } = form.dataset;
    if (await ask({ title: title ?? say("Are you sure?"), text, label: label ?? say("Go on"), kind })) {
      form.dataset.confirmed = "yes";
      form.requestSubmit(event.submitter);
      delete form.dataset.confirmed;
    }
  } else if (form.dataset.call) {
    event.preventDefault();
    await sendAsCall(form, button);
  } else if (form.hasAttribute("data-busy")) {
    // After the browser has taken the fields.
    setTimeout(() => busy(button, true));
  }
}

// ---------------------------------------------------------------- menus

function closeMenus(but = null) {
  for (const menu of document.querySelectorAll("[data-menu][open]")) if (menu !== but) menu.open = false;
}

function clicked(event) {
  const target = event.target instanceof Element ? event.target : null;
  closeMenus(target?.closest("[data-menu]"));
  const button = target?.closest("button, summary");
  if (!button) return;
  if (button.dataset.copy !== undefined) copy(button);
  else if (button.dataset.opens) document.getElementById(button.dataset.opens)?.showModal();
  else if (button.hasAttribute("data-closes")) button.closest("dialog")?.close();
  else if (button.hasAttribute("data-theme-switch")) switchTheme();
}

function pressed(event) {
  if (event.key !== "Escape") return;
  const open = document.querySelector("[data-menu][open]");
  closeMenus();
  open?.querySelector("summary")?.focus();
}

// ---------------------------------------------------------------- asking and what is shown once

/* A form that asks before it changes something: here a dialog does, so the page that asks without a script is skipped.
   And what a form made and showed once must not be made again by a reload. */
function agreeing() {
  for (const field of document.querySelectorAll("[data-sure]")) field.disabled = false;
  const shown = document.querySelector("[data-shown-once]");
  if (shown) history.replaceState(null, "", shown.dataset.shownOnce);
}

// ---------------------------------------------------------------- start

document.addEventListener("click", clicked);
document.addEventListener("submit", submitted);
document.addEventListener("keydown", pressed);
// A page that the browser kept while another was looked at must not have its buttons at work for ever.
addEventListener("pageshow", () => document.querySelectorAll("[aria-busy]").forEach((button) => busy(button, false)));
DARK.addEventListener("change", showTheme);
showTheme();
for (const button of document.querySelectorAll("[data-theme-switch]")) button.hidden = false;
for (const shown of document.querySelectorAll("[data-toast]")) watchToast(shown, "good");
if (sessionStorage.getItem("said")) {
  toast(sessionStorage.getItem("said"));
  sessionStorage.removeItem("said");
}
agreeing();
showTimes();
setInterval(() => showTimes(), 30_000);
// What only some pages need.
if (document.body.dataset.script) import(document.body.dataset.script);
