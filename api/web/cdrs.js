// The records of calls that are over.

import { get, save } from "/web/client.js";
import { badge, digits, length, make, party, say, table, when } from "/web/dom.js";

const FIELDS = [
  ["from", "From", "search"], ["to", "To", "search"], ["trunk", "Trunk", "text"], ["status", "Status", "number"],
  ["call_id", "Call-ID", "text"], ["since", "Not before", "datetime-local"], ["until", "Before", "datetime-local"],
];

function row(cdr) {
  const good = cdr.status < 300;
  return [
    when(cdr.started),
    make("a", { href: `#/call/${cdr.id}` }, party(cdr.from)),
    party(cdr.to),
    badge(`${cdr.status}`, good ? "good" : "bad"),
    digits(length(cdr.talk_ms / 1000)),
    cdr.trunk ?? "–",
    digits([cdr.media.caller?.mos, cdr.media.callee?.mos].map((mos) => mos?.toFixed(1) ?? "–").join(" / ")),
    `${cdr.ended_by} (${cdr.cause})`,
  ];
}

export async function cdrs(main) {
  const inputs = Object.fromEntries(FIELDS.map(([name, , type]) => [name, make("input", { type, name, size: 14, step: type === "datetime-local" ? 1 : undefined })]));
  const list = make("div");
  const more = make("button", { type: "button", hidden: true }, "More");
  const query = () => Object.fromEntries(Object.entries(inputs).map(([name, input]) =>
    [name, input.type === "datetime-local" && input.value ? new Date(input.value).toISOString() : input.value.trim()]));
  const rows = [];
  let cursor = null;
  const look = async (again) => {
    try {
      const page = await get("/v1/cdrs", { ...query(), limit: 100, cursor: again ? null : cursor });
      if (again) rows.length = 0;
      rows.push(...page.items.map(row));
      cursor = page.next;
      more.hidden = !cursor;
      list.replaceChildren(rows.length
        ? table(["Began", "From", "To", "Status", "Talked", "Trunk", "MOS", "Ended by"], rows, "Records")
        : make("p", { class: "dim" }, "No call is like that."));
    } catch (error) {
      say(error.message, "bad");
    }
  };
  const file = (format) => () => {
    const wanted = Object.entries({ ...query(), format }).filter(([, value]) => value !== "");
    save(`/v1/cdrs?${new URLSearchParams(wanted)}`, `cdrs.${format}`).catch((error) => say(error.message, "bad"));
  };
  more.addEventListener("click", () => look(false));
  const form = make("form", { class: "bar", onsubmit: (event) => { event.preventDefault(); look(true); } },
    FIELDS.map(([name, title]) => make("label", { class: "field" }, make("span", {}, title), inputs[name])),
    make("button", { class: "main" }, "Search"),
    make("button", { type: "button", onclick: file("csv") }, "CSV"),
    make("button", { type: "button", onclick: file("ndjson") }, "NDJSON"));
  main.append(form, list, more);
  await look(true);
}
