// One call: its messages as a ladder, and how it sounds.

import { ask, get } from "/web/client.js";
import { digits, draw, length, line, make, party, say, table, when } from "/web/dom.js";
import { live } from "/web/live.js";
import { hangUp } from "/web/calls.js";

/** How often the quality is asked for. */
const EVERY = 2000;
const ROW = 26;

/** The ladder: this node in the middle, each peer a line. */
function ladder(items, open) {
  const peers = [...new Set(items.map((item) => item.peer))];
  const left = Math.ceil(peers.length / 2);
  const names = [...peers.slice(0, left), "tandem", ...peers.slice(left)];
  const width = 900;
  const start = 110;
  const step = (width - start) / names.length;
  const at = (name) => start + step * (names.indexOf(name) + 0.5);
  const height = 34 + items.length * ROW;
  const begin = items.length ? new Date(items[0].time).getTime() : 0;
  const heads = names.map((name) => draw("g", {},
    draw("text", { x: at(name), y: 14, "text-anchor": "middle" }, name),
    draw("line", { x1: at(name), y1: 20, x2: at(name), y2: height })));
  const messages = items.map((item, index) => {
    const y = 34 + index * ROW + ROW / 2;
    const [from, to] = item.received ? [at(item.peer), at("tandem")] : [at("tandem"), at(item.peer)];
    const side = Math.sign(to - from);
    const status = /^SIP\/2\.0 (\d)/.exec(item.line);
    const failed = status && Number(status[1]) >= 4;
    const words = status ? item.line.slice(8) : item.line.split(" ")[0];
    const show = () => open(item);
    return draw("g", {
      class: `message${failed ? " bad" : ""}`, tabindex: "0", role: "button",
      "aria-label": `${item.received ? "received from" : "sent to"} ${item.peer}: ${item.line}`,
      onclick: show, onkeydown: (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); show(); } },
    },
    draw("rect", { x: 0, y: y - ROW / 2, width, height: ROW }),
    draw("text", { class: "dim", x: 4, y: y + 4 }, `+${((new Date(item.time) - begin) / 1000).toFixed(3)} s`),
    draw("line", { x1: from, y1: y, x2: to - side * 7, y2: y }),
    draw("path", { d: `M${to} ${y}l${-side * 8} -4v8z` }),
    draw("text", { x: (from + to) / 2, y: y - 4, "text-anchor": "middle" }, `${words} (${item.cseq ?? ""})`));
  });
  return make("div", { class: "scroll" }, draw("svg", { class: "ladder", viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": "Messages" }, heads, messages));
}

function facts(entries) {
  return make("dl", { class: "facts" }, entries.flatMap(([name, value]) =>
    value === null || value === undefined || value === "" ? [] : [make("dt", {}, name), make("dd", {}, value)]));
}

function flows(rows) {
  const cells = rows.filter(([, flow]) => flow).map(([name, flow]) => [
    name, digits(flow.packets), digits(flow.lost), digits(`${flow.jitter_ms.toFixed(1)} ms`), digits(flow.mos?.toFixed(2)), flow.source ?? "–",
  ]);
  return cells.length ? table(["From", "Packets", "Lost", "Jitter", "MOS", "Source"], cells, "Media") : make("p", { class: "dim" }, "No media was seen.");
}

/** What happened to a call that is over, in words. */
function happened(event, began) {
  const { party: who, on, to, status } = event.data;
  const words = {
    muted: `${who} was ${on ? "muted" : "heard again"}`,
    held: on ? "put on hold" : "taken off hold",
    transfer: `${who} was transferred to ${party(to ?? "")}: ${status < 200 ? "the call ended before that was known" : status}`,
  }[event.kind] ?? `${event.kind} ${JSON.stringify(event.data)}`;
  return [digits(`+${((new Date(event.at) - new Date(began)) / 1000).toFixed(1)} s`), words];
}

/** Telephone keys for one of the two to hear. */
function keypad(call) {
  const keys = make("input", { size: 12, maxlength: 100, required: true, pattern: "[0-9A-Da-d*#wW]+", placeholder: "12#" });
  const hears = make("select", {}, ["callee", "caller"].map((side) => make("option", {}, side)));
  const press = async (event) => {
    event.preventDefault();
    try {
      await ask("POST", `/v1/calls/${call.id}/dtmf`, { party: hears.value, digits: keys.value });
      keys.value = "";
      say("The keys are being pressed.");
    } catch (error) {
      say(error.message, "bad");
    }
  };
  return make("form", { class: "bar", onsubmit: press },
    make("label", { class: "field" }, make("span", {}, "Telephone keys"), keys),
    make("label", { class: "field" }, make("span", {}, "for the"), hears), make("button", {}, "Press"));
}

/** How a call has sounded since its answer, as the node has kept it. */
function course(samples) {
  if (!samples.length) return make("p", { class: "dim" }, "How it sounds over time is shown from ten seconds after the answer on.");
  return make("div", {},
    make("p", { class: "dim" }, `MOS since ${when(samples[0].time)}, 1 to 4.5:`),
    ...["caller", "callee"].map((side) => make("div", {}, make("span", { class: "dim" }, `from the ${side}`),
      line(samples.map((sample) => sample[side].mos), { label: `MOS from the ${side}`, low: 1, high: 4.5 }))));
}

/** How a call sounds, drawn anew every so often. */
function watch(id, place) {
  const look = async () => {
    const now = await get(`/v1/calls/${id}/quality`).catch(() => null);
    const one = now?.sessions?.[0];
    if (!one) return;
    place.replaceChildren(
      flows(now.sessions.flatMap((session) => [["caller", session.caller], ["callee", session.callee]])),
      make("p", { class: "dim" }, `Datapath ${one.datapath}.`), course(now.samples));
  };
  look();
  return setInterval(look, EVERY);
}

/** What is kept of how a call that is over sounded, and of what happened to it. */
async function kept(record) {
  const { items: events } = await get(`/v1/cdrs/${record.id}/events`, { limit: 1000 }).catch(() => ({ items: [] }));
  const heard = events.find((event) => event.kind === "quality");
  const rest = events.filter((event) => event !== heard);
  return [
    flows([["caller", record.media.caller], ["callee", record.media.callee]]),
    ...(heard ? [course(heard.data.samples)] : []),
    ...(rest.length ? [table(["After", "What happened"], rest.map((event) => happened(event, record.started)), "What happened")] : []),
  ];
}

/** A call that is up, or the record of one that is over. */
async function find(id) {
  const up = await get(`/v1/calls/${id}`).catch((error) => {
    if (error.status !== 404) throw error;
    return null;
  });
  return { up, record: up ? null : await get(`/v1/cdrs/${id}`).catch(() => null) };
}

export async function call(main, [id]) {
  const place = make("div");
  const keys = make("div");
  const quality = make("div");
  const messages = make("div");
  const text = make("pre", { hidden: true, tabindex: "0", "aria-label": "The whole message" });
  main.append(place, keys, make("h2", {}, "Quality"), quality, make("h2", {}, "Messages"), messages, text);
  let timer = null;
  const show = async () => {
    const { up, record } = await find(id);
    const it = up ?? record;
    // The keypad is made once: what is half typed outlasts what happens to the call meanwhile.
    if (up?.state !== "answered") keys.replaceChildren();
    else if (!keys.hasChildNodes()) keys.append(keypad(up));
    if (!it) {
      place.replaceChildren(make("p", {}, "No call of this id is up or in the records. A record is there a second or two after its call."));
      return;
    }
    place.replaceChildren(
      make("div", { class: "bar" }, make("h2", {}, `${party(it.from)} to ${party(it.to)}`),
        up ? make("button", { class: "danger", onclick: () => hangUp(up) }, "End") : null),
      facts([
        ["State", up ? up.state : `${record.status} ${record.reason}`], ["Began", when(it.started)], ["Answered", it.answered ? when(it.answered) : null],
        ["Ended", record ? when(record.ended) : null], ["Talked", record ? length(record.talk_ms / 1000) : null],
        ["Ended by", record ? `${record.ended_by} (${record.cause})` : null],
        ["From", it.from], ["To", it.to], ["Source", it.source], ["Trunk", it.trunk], ["Call-ID", make("span", { class: "mono" }, it.call_id)],
        ["Datapath", record?.datapath],
      ]));
    clearInterval(timer);
    if (up) timer = watch(id, quality);
    else quality.replaceChildren(...await kept(record));
  };
  const items = [];
  let next = 0;
  const open = (item) => {
    text.hidden = false;
    text.textContent = item.text ?? item.line;
    text.focus();
  };
  const follow = async () => {
    try {
      const page = await get(`/v1/calls/${id}/messages`, { after: next, full: true });
      next = page.next;
      if (!page.items.length && items.length) return;
      items.push(...page.items);
      messages.replaceChildren(ladder(items, open));
    } catch (error) {
      if (!items.length) messages.replaceChildren(make("p", { class: "dim" }, error.message));
    }
  };
  const hear = (event) => {
    const about = event.detail.call?.id ?? event.detail.call_id;
    if (about !== id) return;
    follow();
    // A record is written a moment after its call.
    if (event.detail.type === "call.ended") setTimeout(() => show().catch((error) => say(error.message, "bad")), 2500);
    else show().catch(() => {});
  };
  live.addEventListener("event", hear);
  await show();
  await follow();
  return () => {
    live.removeEventListener("event", hear);
    clearInterval(timer);
  };
}
