// What phones have registered.

import { ask, get } from "/web/client.js";
import { confirmed, digits, length, make, say, table } from "/web/dom.js";
import { live } from "/web/live.js";

export async function registrations(main) {
  const list = make("div");
  const more = make("button", { type: "button", hidden: true }, "More");
  const field = make("input", { type: "search", placeholder: "user, contact or phone", size: 28 });
  const items = [];
  let cursor = null;
  const remove = async (one) => {
    if (!await confirmed(`Take ${one.contact} of ${one.user} away? The phone may register anew.`, "Take it away")) return;
    try {
      const query = new URLSearchParams({ contact: one.contact });
      await ask("DELETE", `/v1/registrations/${encodeURIComponent(one.user)}?${query}`);
      await look(true);
    } catch (error) {
      say(error.message, "bad");
    }
  };
  const show = () => {
    const wanted = field.value.trim().toLowerCase();
    const found = items.filter((one) => `${one.user} ${one.contact} ${one.user_agent} ${one.source}`.toLowerCase().includes(wanted));
    list.replaceChildren(found.length
      ? table(["User", "Contact", "From", "Phone", "For another", ""], found.map((one) => [
        make("a", { href: `#/users/${encodeURIComponent(one.user)}` }, one.user), make("span", { class: "mono" }, one.contact),
        make("span", { class: "mono" }, one.source), one.user_agent, digits(length(one.expires_s)),
        make("button", { class: "danger", onclick: () => remove(one), "aria-label": `Take ${one.contact} away` }, "Remove"),
      ]), "Registrations")
      : make("p", { class: "dim" }, "No phone is like that."));
  };
  const look = async (again) => {
    const page = await get("/v1/registrations", { limit: 500, cursor: again ? null : cursor });
    if (again) items.length = 0;
    items.push(...page.items);
    cursor = page.next;
    more.hidden = !cursor;
    show();
  };
  let pending = null;
  const hear = (event) => {
    if (!event.detail.type.startsWith("registration.") || pending) return;
    pending = setTimeout(() => {
      pending = null;
      look(true).catch(() => {});
    }, 1000);
  };
  field.addEventListener("input", show);
  more.addEventListener("click", () => look(false).catch((error) => say(error.message, "bad")));
  live.addEventListener("event", hear);
  main.append(make("div", { class: "bar" }, make("h2", {}, "Phones"), make("label", { class: "field" }, make("span", {}, "Only"), field)), list, more);
  await look(true);
  return () => {
    clearTimeout(pending);
    live.removeEventListener("event", hear);
  };
}
