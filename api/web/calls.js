// The calls that are up.

import { ask } from "/web/client.js";
import { badge, confirmed, digits, length, make, party, say, table } from "/web/dom.js";
import { live } from "/web/live.js";

/** Rows that are drawn: who looks for one among more narrows the list. */
const MOST = 200;
const KINDS = { trying: "dim", ringing: "warn", answered: "good", ending: "dim" };

export async function hangUp(call) {
  const yes = await confirmed(`End the call from ${party(call.from)} to ${party(call.to)}?`, "End it");
  if (!yes) return;
  try {
    await ask("DELETE", `/v1/calls/${call.id}`);
    say("The call is being ended.");
  } catch (error) {
    say(error.message, "bad");
  }
}

function row(call) {
  const since = (Date.now() - new Date(call.answered ?? call.started)) / 1000;
  return [
    make("a", { href: `#/call/${call.id}` }, party(call.from)),
    party(call.to),
    badge(call.state, KINDS[call.state]),
    digits(length(since)),
    call.trunk ?? "–",
    make("td", { class: "wide mono" }, call.source),
    make("button", { class: "danger", onclick: () => hangUp(call), "aria-label": `End the call from ${party(call.from)}` }, "End"),
  ];
}

export async function calls(main) {
  const field = make("input", { type: "search", placeholder: "party, trunk or source", size: 28 });
  const count = make("h2", {});
  const list = make("div");
  main.append(make("div", { class: "bar" }, count, make("label", { class: "field" }, make("span", {}, "Only"), field)), list);
  const show = () => {
    // A row that somebody is at must not go away under the finger.
    if (list.contains(document.activeElement) && document.activeElement.tagName === "BUTTON") return;
    const wanted = field.value.trim().toLowerCase();
    const found = [];
    let hits = 0;
    for (const call of [...live.calls.values()].reverse()) {
      const text = `${call.from} ${call.to} ${call.trunk ?? ""} ${call.source} ${call.call_id} ${call.state}`;
      if (wanted && !text.toLowerCase().includes(wanted)) continue;
      hits += 1;
      if (found.length < MOST) found.push(call);
    }
    count.textContent = wanted ? `${hits} of ${live.calls.size} calls` : `${hits} calls`;
    list.replaceChildren(
      table(["From", "To", "State", "For", "Trunk", "Source", ""], found.map(row), "Calls"),
      hits > MOST ? make("p", { class: "dim" }, `The newest ${MOST} are shown.`) : "");
    list.querySelectorAll("th")[5]?.classList.add("wide");
  };
  field.addEventListener("input", show);
  live.addEventListener("change", show);
  show();
  return () => live.removeEventListener("change", show);
}
