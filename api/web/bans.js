// The sources that are kept out.

import { ask, get } from "/web/client.js";
import { confirmed, digits, length, make, say, table } from "/web/dom.js";
import { live } from "/web/live.js";

export async function bans(main) {
  const list = make("div");
  const source = make("input", { name: "source", required: true, placeholder: "192.0.2.0/24", size: 20 });
  const hours = make("input", { name: "hours", type: "number", min: "0.1", step: "any", value: "1", size: 6 });
  const words = make("input", { name: "words", maxlength: 200, size: 28 });
  const look = async () => {
    const { items } = await get("/v1/bans");
    list.replaceChildren(items.length
      ? table(["Source", "Why", "Since", "For another", "Refused", ""], items.map((ban) => [
        make("span", { class: "mono" }, ban.source), ban.words ? `${ban.reason}: ${ban.words}` : ban.reason,
        digits(length(ban.age_s)), digits(length(ban.left_s)), digits(ban.hits),
        make("button", { onclick: () => lift(ban.source), "aria-label": `Lift the ban of ${ban.source}` }, "Lift"),
      ]), "Bans")
      : make("p", { class: "dim" }, "Nobody is kept out."));
  };
  const lift = async (banned) => {
    if (!await confirmed(`Let ${banned} in again?`, "Lift the ban")) return;
    try {
      await ask("DELETE", `/v1/bans/${encodeURIComponent(banned)}`);
      await look();
    } catch (error) {
      say(error.message, "bad");
    }
  };
  const add = async (event) => {
    event.preventDefault();
    try {
      await ask("POST", "/v1/bans", { source: source.value.trim(), seconds: Math.round(Number(hours.value) * 3600), words: words.value.trim() });
      source.value = "";
      await look();
    } catch (error) {
      say(error.message, "bad");
    }
  };
  const hear = (event) => {
    if (event.detail.type.startsWith("ban.")) look().catch(() => {});
  };
  live.addEventListener("event", hear);
  main.append(
    make("form", { class: "bar", onsubmit: add }, make("h2", {}, "Bans"),
      make("label", { class: "field" }, make("span", {}, "Source"), source),
      make("label", { class: "field" }, make("span", {}, "Hours"), hours),
      make("label", { class: "field" }, make("span", {}, "Why"), words),
      make("button", { class: "main" }, "Ban")),
    list);
  await look();
  return () => live.removeEventListener("event", hear);
}
