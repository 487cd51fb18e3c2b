// Users, and what calls are routed by: lists, and forms to edit them.

import { ask, get } from "/web/client.js";
import { badge, confirmed, make, say, table, when } from "/web/dom.js";
import { api, form } from "/web/schema.js";

const text = (value) => (value === undefined || value === null ? "–" : typeof value === "object" ? JSON.stringify(value) : String(value));
const names = (list) => (list ?? []).map((one) => (typeof one === "object" ? one.trunk ?? one.uri ?? one.host ?? JSON.stringify(one) : one)).join(", ");

/** Where a number leads. */
function leads(it) {
  const kind = ["user", "group", "trunk", "account", "forward"].find((name) => it[name] !== undefined && it[name] !== null);
  return kind ? `${kind} ${text(it[kind])}` : "nowhere";
}

/** What can be edited. `columns` are heads, and what stands below them. */
export const KINDS = {
  users: {
    title: "Users", one: "user", id: (it) => it.user, create: "NewUser", change: "ChangedUser", method: "PATCH",
    columns: [["User", (it) => it.user], ["Display", (it) => it.display], ["Tenant", (it) => it.tenant],
      ["State", (it) => badge(it.enabled ? "enabled" : "off", it.enabled ? "good" : "bad")]],
  },
  numbers: {
    title: "Numbers", one: "number", create: "Number",
    columns: [["Number", (it) => it.number], ["To", leads], ["Tenant", (it) => it.tenant]],
  },
  groups: {
    title: "Groups", one: "group", create: "Group",
    columns: [["Group", (it) => it.name], ["Members", (it) => names(it.members)], ["Tenant", (it) => it.tenant]],
  },
  routes: {
    title: "Routes", one: "route", create: "Route",
    columns: [["Prefix", (it) => it.prefix || "any"], ["Trunks", (it) => names(it.trunks)], ["Times", (it) => names(it.times)]],
  },
  trunks: {
    title: "Trunks", one: "trunk", create: "Trunk",
    columns: [["Trunk", (it) => it.name], ["Hosts", (it) => names(it.hosts)], ["Calls from", (it) => names(it.allow)]],
  },
  blocks: {
    title: "Blocks", one: "block", create: "Block",
    columns: [["Block", (it) => it.id], ["What", (it) => text(without(it))]],
  },
  limits: {
    title: "Limits", one: "limit", create: "Limit",
    columns: [["Limit", (it) => it.id], ["What", (it) => text(without(it))]],
  },
};

const READ_ONLY = ["id", "source", "updated", "created", "secrets"];

/** A document without what is only read. */
function without(it) {
  return Object.fromEntries(Object.entries(it).filter(([name, value]) => !READ_ONLY.includes(name) && value !== null));
}

function errors(place, error, shown) {
  const reasons = error.reasons?.length ? error.reasons : [error.message];
  place.replaceChildren(...reasons.map((reason) => make("p", { class: "bad" }, reason)));
  shown.blame(reasons);
}

/** A dialog with a form; `send` stores what was written. */
function dialog(title, shown, send) {
  return new Promise((resolve) => {
    const place = make("div", { role: "alert" });
    const close = (done) => {
      it.close();
      it.remove();
      resolve(done);
    };
    const submit = async (event) => {
      event.preventDefault();
      place.replaceChildren();
      try {
        close(await send() ?? true);
      } catch (error) {
        errors(place, error, shown);
      }
    };
    const it = make("dialog", { "aria-label": title, oncancel: () => close(false) },
      make("form", { class: "form", onsubmit: submit }, make("h2", {}, title), shown.element, place,
        make("div", { class: "row" }, make("button", { class: "main" }, "Save"),
          make("button", { type: "button", onclick: () => close(false) }, "Cancel"))));
    document.body.append(it);
    it.showModal();
  });
}

async function create(path, kind) {
  await api();
  const shown = form(kind.create, {}, READ_ONLY);
  return dialog(`New ${kind.one}`, shown, async () => {
    await ask("POST", `/v1/${path}`, shown.read());
    say("It is in force.", "good");
  });
}

/** Shows what cannot be edited here. */
function told(title, why, shown) {
  return new Promise((resolve) => {
    const close = () => {
      it.close();
      it.remove();
      resolve();
    };
    const it = make("dialog", { "aria-label": title, oncancel: close }, make("h2", {}, title),
      make("p", {}, why), make("pre", { tabindex: "0" }, JSON.stringify(without(shown), null, 2)), make("button", { class: "main", onclick: close }, "Done"));
    document.body.append(it);
    it.showModal();
  });
}

async function change(path, kind, id) {
  await api();
  const address = `/v1/${path}/${encodeURIComponent(id)}`;
  const { body, tag } = await ask("GET", address);
  if (body.source === "file") {
    await told(`${kind.title}: ${id}`, "The configuration file has it: it is changed there.", body);
    return false;
  }
  const shown = form(kind.change ?? kind.create, body, READ_ONLY);
  return dialog(id, shown, async () => {
    if (kind.method === "PATCH") await ask("PATCH", address, shown.changed(), tag);
    else await ask("PUT", address, shown.read(), tag);
    say("It is in force.", "good");
  });
}

async function remove(path, kind, id) {
  if (!await confirmed(`Remove the ${kind.one} ${id}? Calls that are up go on.`, "Remove it")) return false;
  try {
    await ask("DELETE", `/v1/${path}/${encodeURIComponent(id)}`);
    return true;
  } catch (error) {
    say(error.message, "bad");
    return false;
  }
}

export async function edit(main, [chosen], path) {
  const kind = KINDS[path];
  const idOf = kind.id ?? ((it) => it.id);
  const list = make("div");
  const more = make("button", { type: "button", hidden: true }, "More");
  const field = make("input", { type: "search", size: 28 });
  const items = [];
  let cursor = null;
  const after = async (action) => {
    try {
      if (await action) await look(true);
    } catch (error) {
      say(error.message, "bad");
    }
  };
  const show = () => {
    const wanted = field.value.trim().toLowerCase();
    const found = items.filter((it) => JSON.stringify(it).toLowerCase().includes(wanted));
    const rows = found.map((it) => {
      const id = idOf(it);
      const open = () => after(change(path, kind, id));
      const [first, ...rest] = kind.columns.map(([, cell]) => cell(it) ?? "–");
      return [
        make("button", { class: "link", onclick: open }, first), ...rest,
        it.source === "file" ? badge("file") : when(it.updated),
        it.source === "file" ? "" : make("button", { class: "danger", onclick: () => after(remove(path, kind, id)), "aria-label": `Remove ${id}` }, "Remove"),
      ];
    });
    list.replaceChildren(rows.length
      ? table([...kind.columns.map(([head]) => head), "Changed", ""], rows, kind.title)
      : make("p", { class: "dim" }, items.length ? "Nothing is like that." : `There is no ${kind.one} yet.`));
  };
  const look = async (again) => {
    const page = await get(`/v1/${path}`, { limit: 500, cursor: again ? null : cursor });
    if (again) items.length = 0;
    items.push(...page.items);
    cursor = page.next;
    more.hidden = !cursor;
    show();
  };
  field.addEventListener("input", show);
  more.addEventListener("click", () => after(look(false)));
  main.append(
    make("div", { class: "bar" }, make("h2", {}, kind.title),
      make("label", { class: "field" }, make("span", {}, "Only"), field),
      make("button", { class: "main", onclick: () => after(create(path, kind)) }, `New ${kind.one}`)),
    list, more);
  await look(true);
  if (chosen) after(change(path, kind, chosen));
}
