// The dashboard: which page is shown, and who looks at it.

import { ask, key } from "/web/client.js";
import { make } from "/web/dom.js";
import { live } from "/web/live.js";
import { bans } from "/web/bans.js";
import { call } from "/web/call.js";
import { calls } from "/web/calls.js";
import { cdrs } from "/web/cdrs.js";
import { KINDS, edit } from "/web/edit.js";
import { overview } from "/web/overview.js";
import { registrations } from "/web/registrations.js";

const PAGES = [
  ["overview", "Overview", overview],
  ["calls", "Calls", calls],
  ["cdrs", "Records", cdrs],
  ["registrations", "Phones", registrations],
  ["bans", "Bans", bans],
  ...Object.entries(KINDS).map(([path, kind]) => [path, kind.title, edit]),
];

let leave = null;

/** Shows the page that the address names: `#/calls`, `#/call/ID`, `#/users/alice@example.test`. */
async function show() {
  const [name = "overview", ...rest] = location.hash.replace(/^#\/?/, "").split("/").filter(Boolean).map(decodeURIComponent);
  const page = name === "call" ? call : PAGES.find(([path]) => path === name)?.[2];
  leave?.();
  leave = null;
  for (const link of document.querySelectorAll("nav a")) {
    const current = link.hash === `#/${name === "call" ? "calls" : name}`;
    if (current) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const main = make("main", { id: "main", tabindex: "-1" });
  document.getElementById("main").replaceWith(main);
  document.title = `Tandem: ${name}`;
  if (!page) {
    main.append(make("p", {}, "There is no such page."));
    return;
  }
  try {
    leave = (await page(main, rest, name)) ?? null;
  } catch (error) {
    main.append(make("p", { class: "bad", role: "alert" }, error.message));
  }
}

function state() {
  const words = { live: ["live", "good"], away: ["the node is away, trying again", "bad"], refused: ["the key may not hear events", "warn"] };
  const [text, kind] = words[live.state];
  const place = document.getElementById("state");
  place.textContent = text;
  place.className = kind;
}

async function begin() {
  document.getElementById("login").hidden = true;
  for (const id of ["nav", "out"]) document.getElementById(id).hidden = false;
  live.addEventListener("state", state);
  live.start();
  window.addEventListener("hashchange", show);
  await show();
}

/** Whether the key that is kept opens anything. */
async function isGood() {
  if (!key.get()) return false;
  try {
    await ask("GET", "/v1/node");
    return true;
  } catch (error) {
    // A tenant's key is a good one, to which the node itself is not shown.
    if (error.status === 403) return true;
    if (error.status === 401) key.forget();
    document.getElementById("wrong").textContent = error.message;
    return false;
  }
}

/** Ends what was signed in for, and forgets the key. */
async function signOut() {
  // What cannot be ended now ends by itself.
  if (key.name()) await ask("POST", "/v1/logout").catch(() => {});
  key.forget();
}

/** Asks for a key by a name and a password, and keeps it. */
async function signIn(name, password) {
  try {
    key.set((await ask("POST", "/v1/login", { name, password })).body.key, name);
    return true;
  } catch (error) {
    document.getElementById("wrong").textContent = error.message;
    return false;
  }
}

function keys(event) {
  const typing = event.target.closest("input, select, textarea, dialog");
  if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
    const field = document.querySelector("main input[type=search], main input");
    if (field) {
      event.preventDefault();
      field.focus();
    }
  }
}

async function start() {
  document.getElementById("nav").append(...PAGES.map(([path, title]) => make("a", { href: `#/${path}` }, title)));
  document.getElementById("out").addEventListener("click", async () => {
    await signOut();
    location.reload();
  });
  document.addEventListener("keydown", keys);
  const form = document.getElementById("login");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const name = document.getElementById("name").value.trim();
    const secret = document.getElementById("key").value;
    if (!name) key.set(secret.trim());
    else if (!(await signIn(name, secret))) return;
    if (await isGood()) await begin();
    else await signOut();
  });
  if (await isGood()) await begin();
  else {
    form.hidden = false;
    document.getElementById("name").focus();
  }
}

start();
