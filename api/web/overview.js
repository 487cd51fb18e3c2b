// The node at a glance.

import { get } from "/web/client.js";
import { badge, digits, length, line, make, percent, table } from "/web/dom.js";
import { live } from "/web/live.js";

function card(title, value, more, drawing) {
  return make("section", { class: "card" }, make("h2", {}, title), make("div", { class: "value" }, value),
    make("div", { class: "more" }, more ?? ""), drawing);
}

function cards() {
  const { node, history } = live;
  const media = node?.media;
  const ofNode = !live.isOfTenant;
  const hosts = [...live.trunks.values()].flatMap((trunk) => trunk.hosts ?? []);
  const up = hosts.filter((host) => host.up).length;
  return [
    card("Live calls", String(live.calls.size), node?.draining ? "draining: new calls are refused" : "",
      line(history.calls, { label: "Live calls in the last five minutes" })),
    card("Calls a second", live.rate("started").toFixed(1), "begun, over 10 s",
      line(history.started, { label: "Calls begun a second in the last five minutes" })),
    card("Answer rate", percent(live.answerRate()), "of calls that ended while this page was open",
      line(history.answered, { label: "Calls answered a second in the last five minutes" })),
    ofNode && card("Datapath", media?.datapath ?? "–",
      media ? media.stepped_down || `${media.sessions} sessions, ${media.ports_used} of ${media.ports} ports` : "the media engine is away"),
    ofNode && card("Trunks", hosts.length ? `${up} of ${hosts.length}` : "–", "hosts that are up"),
    ofNode && card("Phones", node ? String(node.registrations) : "–", "contacts that are registered"),
    ofNode && card("Bans", String(live.bans), "sources that are kept out"),
    ofNode && card("Node", node?.name ?? "–", node ? `${node.version}, up ${length(node.uptime_s)}` : "away"),
  ].filter(Boolean);
}

function warnings() {
  const { node } = live;
  const found = [];
  if (live.isOfTenant) found.push("This is what one tenant has: the node itself is shown to those of the whole node.");
  else if (!node) found.push("The node does not answer.");
  if (node && !node.media) found.push("The media engine cannot be reached: relayed calls are refused.");
  if (node?.media?.stepped_down) found.push(`The datapath is ${node.media.datapath}: ${node.media.stepped_down}`);
  if (node?.unwritten_s) found.push(`The database has taken nothing for ${length(node.unwritten_s)}: ${node.cdrs_queued} records wait.`);
  for (const trunk of live.trunks.values()) {
    for (const host of trunk.hosts ?? []) if (!host.up) found.push(`${trunk.name}: ${host.host} is down${host.error ? `, ${host.error}` : ""}`);
    if (trunk.registered === false) found.push(`${trunk.name}: not registered${trunk.registration_error ? `, ${trunk.registration_error}` : ""}`);
  }
  return found.map((text) => make("p", { class: "notice warn" }, text));
}

function figures(items) {
  const rows = items.map((one) => {
    const state = live.trunks.get(one.trunk);
    const up = state?.hosts?.every((host) => host.up);
    return [
      make("a", { href: `#/trunks/${encodeURIComponent(one.trunk)}` }, one.trunk),
      state ? badge(up ? "up" : "down", up ? "good" : "bad") : "–",
      digits(state?.calls), digits(one.offered), digits(percent(one.asr)), digits(percent(one.ner)),
      digits(one.acd_s === null ? null : length(one.acd_s)),
      digits(one.pdd_ms === null ? null : `${Math.round(one.pdd_ms)} ms`), digits(one.mos?.toFixed(2)),
    ];
  });
  return rows.length
    ? table(["Trunk", "State", "Live", "Offered", "ASR", "NER", "ACD", "PDD", "MOS"], rows, "Trunks in the last hour")
    : make("p", { class: "dim" }, "No call went out by a trunk in the last hour.");
}

export async function overview(main) {
  const notices = make("div", { "aria-live": "polite" });
  const grid = make("div", { class: "cards" });
  const trunks = make("div");
  main.append(notices, grid, make("h2", {}, "Trunks in the last hour"), trunks);
  let stats = null;
  const show = () => {
    grid.replaceChildren(...cards());
    notices.replaceChildren(...warnings());
    if (stats && !trunks.contains(document.activeElement)) trunks.replaceChildren(figures(stats.items));
  };
  const look = async () => {
    const since = new Date(Date.now() - 3_600_000).toISOString();
    stats = await get("/v1/stats/trunks", { since }).catch(() => stats);
    show();
  };
  live.addEventListener("change", show);
  const timer = setInterval(look, 15_000);
  await look();
  return () => {
    live.removeEventListener("change", show);
    clearInterval(timer);
  };
}
