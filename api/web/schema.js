// Forms made of the schemas in /openapi.json, so that they never lack what the API has.

import { make } from "/web/dom.js";

let described = null;

/** The OpenAPI document, read once. */
export async function api() {
  described ??= await (await fetch("/openapi.json")).json();
  return described;
}

function resolve(schema) {
  let seen = 0;
  while (schema?.$ref && seen++ < 20) {
    schema = schema.$ref.slice(2).split("/").reduce((at, part) => at?.[part], described);
  }
  return schema ?? {};
}

/** A schema without the alternative that a value is null. */
function plain(schema) {
  schema = resolve(schema);
  const some = (schema.oneOf ?? schema.anyOf)?.filter((part) => part.type !== "null");
  return some?.length === 1 ? { ...resolve(some[0]), description: schema.description ?? resolve(some[0]).description } : schema;
}

function type(schema) {
  return [schema.type].flat().find((name) => name && name !== "null");
}

let count = 0;

/** A labelled input; `read` gives its value, `undefined` where there is none. */
function labelled(name, schema, required, input, read) {
  const id = `field-${++count}`;
  input.id = id;
  input.required = required;
  // Marks of code are for readers of source.
  const words = schema.description?.replaceAll("`", "");
  const help = words ? make("span", { class: "help", id: `${id}-help` }, words) : null;
  if (help) input.setAttribute("aria-describedby", help.id);
  const element = make("div", { class: "field" }, make("label", { for: id }, name, required ? " *" : ""), input, help);
  return { element, input, read };
}

function choice(name, schema, required, options, value) {
  const select = make("select", {}, required ? null : make("option", { value: "" }, "–"),
    options.map((option) => make("option", { value: JSON.stringify(option), selected: option === value }, String(option))));
  return labelled(name, schema, required, select, () => (select.value === "" ? undefined : JSON.parse(select.value)));
}

/** What has no input of its own is written as JSON. */
function json(name, schema, required, value) {
  const area = make("textarea", { spellcheck: "false", rows: 4 }, value === undefined ? "" : JSON.stringify(value, null, 2));
  const shown = { ...schema, description: [schema.description, "As JSON."].filter(Boolean).join(" ") };
  return labelled(name, shown, required, area, () => {
    if (!area.value.trim()) return undefined;
    try {
      return JSON.parse(area.value);
    } catch (error) {
      area.setAttribute("aria-invalid", "true");
      throw new Error(`${name}: ${error.message}`);
    }
  });
}

function lines(name, schema, required, value) {
  const area = make("textarea", { spellcheck: "false", rows: 3 }, (value ?? []).join("\n"));
  const shown = { ...schema, description: [schema.description, "One a line."].filter(Boolean).join(" ") };
  return labelled(name, shown, required, area, () => {
    const items = area.value.split("\n").map((one) => one.trim()).filter(Boolean);
    return items.length || required ? items : undefined;
  });
}

function group(name, schema, value) {
  const inner = members(schema, value ?? {});
  const is_open = value !== undefined;
  const element = make("details", { open: is_open }, make("summary", {}, name),
    make("fieldset", {}, schema.description ? make("span", { class: "help" }, schema.description) : null, inner.map((one) => one.element)));
  // A table of which nothing is said is not there.
  const read = () => {
    const found = gather(inner);
    return Object.keys(found).length ? found : undefined;
  };
  return { element, read, inner };
}

function member(name, given, required, value) {
  const schema = plain(given);
  if (schema.enum) return choice(name, schema, required, schema.enum, value);
  switch (type(schema)) {
    case "boolean":
      return choice(name, schema, required, [true, false], value);
    case "integer":
    case "number": {
      const input = make("input", { type: "number", min: schema.minimum, max: schema.maximum, step: type(schema) === "integer" ? 1 : "any", value });
      return labelled(name, schema, required, input, () => (input.value === "" ? undefined : Number(input.value)));
    }
    case "string": {
      const secret = /password|secret/i.test(name);
      const input = make("input", {
        type: secret ? "password" : "text", autocomplete: secret ? "new-password" : "off", value,
        pattern: schema.pattern, minlength: schema.minLength, maxlength: schema.maxLength,
        placeholder: typeof schema.example === "string" && !secret ? schema.example : undefined,
      });
      return labelled(name, schema, required, input, () => (input.value === "" ? undefined : input.value));
    }
    case "array":
      return type(plain(schema.items)) === "string" && (value ?? []).every((one) => typeof one === "string")
        ? lines(name, schema, required, value)
        : json(name, schema, required, value);
    case "object":
      return schema.properties ? group(name, schema, value) : json(name, schema, required, value);
    default:
      return json(name, schema, required, value);
  }
}

function members(schema, values) {
  const parts = [schema, ...(schema.allOf ?? []).map(resolve)];
  return parts.flatMap((part) => Object.entries(part.properties ?? {}).map(([name, given]) => {
    const required = part.required?.includes(name) ?? false;
    return { name, given: values[name], ...member(name, given, required && !resolve(given).properties, values[name] ?? undefined) };
  }));
}

function gather(fields) {
  const found = {};
  for (const field of fields) {
    field.input?.removeAttribute("aria-invalid");
    const value = field.read();
    if (value !== undefined) found[field.name] = value;
  }
  return found;
}

/**
 * A form for a schema of the API, filled with what there is. `read` gives the document; `changed` those members
 * alone that differ, with `null` for what was emptied.
 */
export function form(name, values = {}, hidden = []) {
  const schema = described.components.schemas[name];
  const shown = members(schema, values).filter((field) => !hidden.includes(field.name));
  // What has to be said comes first.
  const fields = [...shown.filter((field) => field.input?.required), ...shown.filter((field) => !field.input?.required)];
  return {
    element: make("div", { class: "form" }, fields.map((field) => field.element)),
    read: () => gather(fields),
    changed: () => Object.fromEntries(fields.flatMap((field) => {
      const value = field.read() ?? null;
      const before = field.given ?? null;
      return JSON.stringify(value) === JSON.stringify(before) ? [] : [[field.name, value]];
    })),
    /** Shows which member a reason is about, as far as it says. */
    blame: (reasons) => {
      for (const field of fields) {
        const about = reasons.some((reason) => new RegExp(`(^|[^a-z_])${field.name}([^a-z_]|$)`).test(reason));
        if (about) field.input?.setAttribute("aria-invalid", "true");
      }
    },
  };
}
