// Shows /openapi.json, and lets one try each operation.

import { key } from "/web/client.js";
import { make } from "/web/dom.js";

/** The schema that a reference stands for. */
function resolve(document, schema) {
  let seen = 0;
  while (schema?.$ref && seen++ < 20) {
    schema = schema.$ref.slice(2).split("/").reduce((at, part) => at?.[part], document);
  }
  return schema ?? {};
}

/** A value as the schema wants it, for people to start from. */
function example(document, schema, depth = 0) {
  schema = resolve(document, schema);
  if (schema.example !== undefined) return schema.example;
  if (schema.examples?.length) return schema.examples[0];
  if (schema.enum) return schema.enum[0];
  if (schema.allOf) {
    return Object.assign({}, ...schema.allOf.map((part) => example(document, part, depth + 1)));
  }
  const one = (schema.oneOf ?? schema.anyOf)?.find((part) => part.type !== "null");
  if (one) return example(document, one, depth + 1);
  const type = [schema.type].flat().find((name) => name !== "null");
  if (depth > 6) return null;
  switch (type) {
    case "object":
      return Object.fromEntries(
        Object.entries(schema.properties ?? {}).map(([name, part]) => [name, example(document, part, depth + 1)]),
      );
    case "array":
      return [example(document, schema.items, depth + 1)];
    case "integer":
    case "number":
      return schema.minimum ?? 0;
    case "boolean":
      return false;
    case "string":
      return { "date-time": "2026-01-31T12:00:00Z", uuid: "01890a5d-ac96-774b-bcce-b302099a8057" }[schema.format] ?? "text";
    default:
      return null;
  }
}

/** The type of a schema in a few words. */
function kind(document, schema) {
  schema = resolve(document, schema);
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  const of = [schema.type].flat().filter(Boolean).join(" or ");
  const bounds = [
    schema.format,
    schema.minimum !== undefined ? `≥ ${schema.minimum}` : null,
    schema.maximum !== undefined ? `≤ ${schema.maximum}` : null,
    schema.pattern,
  ].filter(Boolean);
  return [of || "any", ...bounds].join(", ");
}

function members(document, schema) {
  schema = resolve(document, schema);
  const parts = [schema, ...(schema.allOf ?? []).map((part) => resolve(document, part))];
  const rows = parts.flatMap((part) =>
    Object.entries(part.properties ?? {}).map(([name, member]) =>
      make("tr", {},
        make("td", { class: "mono" }, name, part.required?.includes(name) ? "" : "?"),
        make("td", { class: "mono dim" }, kind(document, member)),
        make("td", {}, member.description ?? resolve(document, member).description ?? ""))));
  return rows.length ? make("table", {}, make("tbody", {}, ...rows)) : null;
}

function parameters(document, list, inputs) {
  if (!list?.length) return null;
  const rows = list.map((parameter) => {
    const input = make("input", { name: parameter.name, size: 22, "aria-label": parameter.name });
    inputs.push({ parameter, input });
    return make("tr", {},
      make("td", { class: "mono" }, parameter.name, parameter.required ? "" : "?"),
      make("td", { class: "mono dim" }, kind(document, parameter.schema)),
      make("td", {}, parameter.description ?? ""),
      make("td", {}, input));
  });
  return make("table", {}, make("tbody", {}, ...rows));
}

async function run(method, path, inputs, body, output) {
  const query = new URLSearchParams();
  for (const { parameter, input } of inputs) {
    if (parameter.in === "path") {
      const value = input.value.split("/").map(encodeURIComponent).join("/");
      path = path.replace(`{${parameter.name}}`, value).replace(`{*${parameter.name}}`, value);
    } else if (input.value) {
      query.set(parameter.name, input.value);
    }
  }
  const headers = {};
  const shown = document.getElementById("key").value;
  if (shown) headers.authorization = `Bearer ${shown}`;
  if (body) headers["content-type"] = "application/json";
  const address = query.size ? `${path}?${query}` : path;
  output.replaceChildren("…");
  try {
    const answer = await fetch(address, { method, headers, body: body?.value });
    const text = await answer.text();
    let shown = text;
    try {
      shown = JSON.stringify(JSON.parse(text), null, 2);
    } catch {
      // It is no JSON, and is shown as it is.
    }
    output.replaceChildren(`${method} ${address}\n${answer.status} ${answer.statusText}\n\n${shown}`);
  } catch (error) {
    output.replaceChildren(`${method} ${address}\n${error}`);
  }
}

function operation(document, path, method, it) {
  const id = `${method}-${path}`;
  const inputs = [];
  const scopes = it.security?.flatMap((one) => Object.values(one).flat()) ?? [];
  const wanted = Object.values(it.requestBody?.content ?? {})[0]?.schema;
  const body = wanted
    ? make("textarea", { "aria-label": "Body", spellcheck: "false" }, JSON.stringify(example(document, wanted), null, 2))
    : null;
  const output = make("pre", { "aria-live": "polite", hidden: true });
  const answers = Object.entries(it.responses ?? {}).map(([status, response]) => {
    const schema = Object.values(response.content ?? {})[0]?.schema;
    return make("tr", {},
      make("td", { class: "mono" }, status),
      make("td", {}, response.description ?? "",
        schema ? make("details", {}, make("summary", {}, "Members"), members(document, schema) ?? kind(document, schema),
          make("pre", {}, JSON.stringify(example(document, schema), null, 2))) : null));
  });
  const go = () => {
    output.hidden = false;
    run(method.toUpperCase(), path, inputs, body, output);
  };
  return make("section", { class: "operation", id },
    make("h3", {}, make("span", { class: `method ${method}` }, method.toUpperCase()), make("code", {}, path), " ",
      ...scopes.map((scope) => make("span", { class: "badge dim" }, scope))),
    make("div", {}, it.summary ?? "", it.description ? make("p", {}, it.description) : null),
    parameters(document, it.parameters, inputs),
    wanted ? make("div", {}, members(document, wanted), body) : null,
    make("table", {}, make("tbody", {}, ...answers)),
    make("div", { class: "row" }, make("button", { type: "button", onclick: go }, "Try it")),
    output);
}

async function show() {
  const main = document.getElementById("operations");
  const contents = document.getElementById("contents");
  const field = document.getElementById("key");
  // Gone with the tab.
  field.value = key.get();
  field.addEventListener("change", () => key.set(field.value));
  document.getElementById("credentials").addEventListener("submit", (event) => event.preventDefault());
  const described = await (await fetch("/openapi.json")).json();
  document.getElementById("version").textContent = described.info.version;
  const tags = new Map((described.tags ?? []).map((tag) => [tag.name, { ...tag, operations: [] }]));
  for (const [path, item] of Object.entries(described.paths)) {
    for (const method of ["get", "post", "put", "patch", "delete"]) {
      const it = item[method];
      if (!it) continue;
      const name = it.tags?.[0] ?? "other";
      if (!tags.has(name)) tags.set(name, { name, operations: [] });
      tags.get(name).operations.push({ path, method, it });
    }
  }
  main.replaceChildren(make("p", {}, described.info.description ?? ""));
  for (const tag of tags.values()) {
    if (!tag.operations.length) continue;
    contents.append(make("h2", {}, tag.name));
    main.append(make("h2", {}, tag.name), make("p", { class: "dim" }, tag.description ?? ""));
    for (const { path, method, it } of tag.operations) {
      contents.append(make("a", { href: `#${method}-${path}` },
        make("span", { class: `method ${method}` }, method.toUpperCase()), path.replace("/v1", "")));
      main.append(operation(described, path, method, it));
    }
  }
  if (location.hash) document.getElementById(decodeURIComponent(location.hash.slice(1)))?.scrollIntoView();
}

show().catch((error) => {
  document.getElementById("operations").replaceChildren(`/openapi.json cannot be shown: ${error}`);
});
