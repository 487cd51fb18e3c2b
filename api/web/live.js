// What is known of the node now: loaded once, and kept by events.

import { all, get, listen } from "/web/client.js";

/** Seconds that rates are drawn for. */
const SPAN = 300;

class Live extends EventTarget {
  calls = new Map();
  registrations = 0;
  bans = 0;
  trunks = new Map();
  node = null;
  /** The key is a tenant's: the node itself is not shown to it. */
  isOfTenant = false;
  state = "away";
  /** A value a second, the newest last. */
  history = { calls: [], started: [], answered: [], ended: [] };
  #second = { started: 0, answered: 0, ended: 0 };
  #over = new Set();
  #dirty = false;

  start() {
    listen((event) => this.#hear(event), (state) => this.#tell(state));
    setInterval(() => this.#tick(), 1000);
    setInterval(() => this.#look(), 5000);
    this.#load();
  }

  /** A call or a count has changed; drawn four times a second at most, however many events come. */
  #changed() {
    if (this.#dirty) return;
    this.#dirty = true;
    setTimeout(() => {
      this.#dirty = false;
      this.dispatchEvent(new Event("change"));
    }, 250);
  }

  #tell(state) {
    // What came while the connection was away is told again; what came before the first one is loaded.
    this.state = state;
    this.dispatchEvent(new Event("state"));
  }

  async #load() {
    this.#over.clear();
    try {
      const calls = await all("/v1/calls", {}, 100_000);
      const known = new Set(calls.map((call) => call.id));
      for (const id of this.calls.keys()) if (!known.has(id)) this.calls.delete(id);
      for (const call of calls) if (!this.#over.has(call.id)) this.calls.set(call.id, call);
    } catch {
      // Events tell of those that change; the rest is loaded with the next look.
    }
    await this.#look();
  }

  /** What no event tells. */
  async #look() {
    const [node, trunks, bans] = await Promise.allSettled([
      get("/v1/node"),
      get("/v1/node/trunks"),
      get("/v1/bans"),
    ]);
    this.node = node.value ?? null;
    if (node.value || node.reason?.status === 403) this.isOfTenant = !node.value;
    if (trunks.value) this.trunks = new Map(trunks.value.items.map((trunk) => [trunk.name, trunk]));
    if (bans.value) this.bans = bans.value.items.length;
    this.#changed();
  }

  #hear(event) {
    switch (event.type) {
      case "call.updated": {
        const before = this.calls.get(event.call.id);
        if (!before && event.call.state !== "answered") this.#second.started += 1;
        if (event.call.state === "answered" && before?.state !== "answered") this.#second.answered += 1;
        this.calls.set(event.call.id, event.call);
        break;
      }
      case "call.ended":
        this.#over.add(event.call_id);
        this.#second.ended += 1;
        this.calls.delete(event.call_id);
        break;
      case "trunk.changed":
        this.trunks.set(event.trunk.name, { ...this.trunks.get(event.trunk.name), ...event.trunk });
        break;
      case "ban.added":
      case "ban.lifted":
        this.#look();
        break;
      case "missed":
        this.#load();
        break;
      default:
    }
    this.#changed();
    this.dispatchEvent(new CustomEvent("event", { detail: event }));
  }

  #tick() {
    const add = (name, value) => {
      this.history[name].push(value);
      if (this.history[name].length > SPAN) this.history[name].shift();
    };
    add("calls", this.calls.size);
    for (const name of ["started", "answered", "ended"]) add(name, this.#second[name]);
    this.#second = { started: 0, answered: 0, ended: 0 };
    this.#changed();
  }

  /** How many a second, over the last ten. */
  rate(name) {
    const last = this.history[name].slice(-10);
    return last.length ? last.reduce((sum, value) => sum + value, 0) / last.length : 0;
  }

  /** Answered calls to ended ones in the time that is drawn. */
  answerRate() {
    const sum = (name) => this.history[name].reduce((total, value) => total + value, 0);
    return sum("ended") ? Math.min(1, sum("answered") / sum("ended")) : null;
  }
}

export const live = new Live();
