// Elements, and how things are written for people.

/** An element with attributes and children; texts are never taken for markup. */
export function make(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

/** The same for a part of a drawing. */
export function draw(name, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

function fill(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) {
      element.addEventListener(key.slice(2), value);
    } else if (value !== undefined && value !== null && value !== false) {
      element.setAttribute(key, value === true ? "" : value);
    }
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** A table with these heads, and rows of cells. */
export function table(heads, rows, label) {
  const is_digits = (cell) => cell instanceof HTMLTableCellElement && cell.classList.contains("number");
  const head = heads.map((text, at) => make("th", { scope: "col", class: is_digits(rows[0]?.[at]) ? "number" : undefined }, text));
  const lines = rows.map((cells) => make("tr", {}, cells.map((cell) =>
    cell instanceof HTMLTableCellElement ? cell : make("td", {}, cell ?? ""))));
  return make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label },
    make("table", {}, make("thead", {}, make("tr", {}, head)), make("tbody", {}, lines)));
}

/** A cell of digits. */
export function digits(value) {
  return make("td", { class: "number" }, value ?? "–");
}

export function badge(text, kind = "dim") {
  return make("span", { class: `badge ${kind}` }, text);
}

/** The user part of a SIP URI, or all of another one. */
export function party(uri) {
  const user = /^sips?:([^@;]+)@/.exec(uri ?? "");
  return user ? decodeURIComponent(user[1].replace(/%(?![0-9a-f]{2})/gi, "%25")) : uri ?? "";
}

/** Seconds as 1:02:03. */
export function length(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const two = (number) => String(number).padStart(2, "0");
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}

/** A time of today as such, another one with its day. */
export function when(text) {
  if (!text) return "–";
  const time = new Date(text);
  const today = time.toDateString() === new Date().toDateString();
  return make("time", { datetime: text, title: text },
    today ? time.toLocaleTimeString() : time.toLocaleString());
}

export function percent(ratio) {
  return ratio === null || ratio === undefined || Number.isNaN(ratio) ? "–" : `${(ratio * 100).toFixed(1)} %`;
}

/** A line over time, drawn into 300 by 48; gaps where there is no value. */
export function line(values, { label, low = 0, high } = {}) {
  const known = values.filter((value) => value !== null && value !== undefined);
  const top = high ?? Math.max(1, ...known);
  // One value alone is a line too.
  if (values.length === 1) values = [values[0], values[0]];
  const step = 300 / Math.max(1, values.length - 1);
  let path = "";
  let gap = true;
  values.forEach((value, index) => {
    if (value === null || value === undefined) {
      gap = true;
      return;
    }
    const y = 46 - ((Math.min(top, Math.max(low, value)) - low) / (top - low)) * 44;
    path += `${gap ? "M" : "L"}${(index * step).toFixed(1)} ${y.toFixed(1)}`;
    gap = false;
  });
  return draw("svg", { class: "line", viewBox: "0 0 300 48", preserveAspectRatio: "none", role: "img", "aria-label": label },
    draw("path", { d: path, fill: "none" }));
}

/** Asks before what cannot be undone. */
export function confirmed(question, action) {
  return new Promise((resolve) => {
    const answer = (yes) => () => {
      dialog.close();
      dialog.remove();
      resolve(yes);
    };
    const dialog = make("dialog", { oncancel: answer(false) },
      make("p", {}, question),
      make("div", { class: "row" },
        make("button", { class: "danger", onclick: answer(true) }, action),
        make("button", { onclick: answer(false), autofocus: true }, "Cancel")));
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** Says something for a while, to those too who cannot see it. */
export function say(text, kind = "") {
  const place = document.getElementById("notices");
  const notice = make("p", { class: `notice ${kind}` }, text);
  place.append(notice);
  setTimeout(() => notice.remove(), 6000);
}
