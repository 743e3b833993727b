// A task's inputs as form fields, made from their JSON Schema: texts, lists of texts, numbers,
// switches, choices; anything else as JSON.

import { el } from "../shared/dom.js";

/** `element` has the fields; `example` are inputs shown as placeholders. */
export class SchemaFields {
  constructor(schema, example) {
    const required = new Set(schema.required ?? []);
    this.fields = Object.entries(schema.properties ?? {}).map(([name, property]) =>
      field(name, given(property), required.has(name), example[name]),
    );
    this.element = el(
      "div",
      { class: "schema-fields" },
      this.fields.map((one) => one.element),
    );
  }

  /** Puts values into the fields; those that it does not name are emptied. */
  fill(values) {
    for (const one of this.fields) one.input.value = one.write(values[one.name]);
  }

  /** {input, text} of the first field that is not right, or null. */
  problem() {
    for (const one of this.fields) {
      const text = one.check();
      if (text) return { input: one.input, text };
    }
    return null;
  }

  /** Inputs as the server takes them; fields left empty are left out. Null where one is not right. */
  values() {
    if (this.problem()) return null;
    return Object.fromEntries(
      this.fields
        .filter((one) => one.input.value.trim() !== "")
        .map((one) => [one.name, one.read()]),
    );
  }
}

/** A schema without its null: such a field may be left empty. */
function given(property) {
  const kinds = (property.anyOf ?? []).filter((kind) => kind.type !== "null");
  return kinds.length === 1 ? { ...property, ...kinds[0] } : property;
}

function field(name, schema, required, example) {
  const [kind, help] = KINDS.find(([fits]) => fits(schema)).slice(1);
  const made = kind(schema);
  const label = name.replaceAll("_", " ").replace(/^\w/, (first) => first.toUpperCase());
  made.input.name = name;
  if (example !== undefined && "placeholder" in made.input)
    made.input.placeholder = made.write(example);
  made.input.required = required;
  const check = () => {
    if (made.input.value.trim() === "") return required ? `${label} is required.` : "";
    return made.fault() ? `${label}: ${made.fault()}.` : "";
  };
  const hint = [required ? "" : "optional", help(schema)].filter(Boolean).join("; ");
  return {
    name,
    ...made,
    check,
    element: el(
      "label",
      { class: "field" },
      el("span", {}, label),
      made.input,
      hint ? el("span", { class: "hint" }, hint) : null,
    ),
  };
}

const text = (value) => (value === undefined || value === null ? "" : String(value));

function texts(schema) {
  const input = el("textarea", { rows: "3", spellcheck: "false" });
  const read = () =>
    input.value
      .split("\n")
      .map((line) => line.trim())
      .filter(Boolean);
  return {
    input,
    read,
    write: (value) => (value ?? []).join("\n"),
    fault: () => {
      const [count, least, most] = [
        read().length,
        schema.minItems ?? 0,
        schema.maxItems ?? Infinity,
      ];
      return count < least
        ? `at least ${least}, one per line`
        : count > most
          ? `at most ${most}`
          : "";
    },
  };
}

function line(schema) {
  const long = (schema.maxLength ?? 0) > 200;
  const input = el(long ? "textarea" : "input", {
    maxlength: schema.maxLength,
    ...(long ? { rows: "2" } : { type: "text", autocomplete: "off" }),
  });
  return { input, read: () => input.value.trim(), write: text, fault: () => "" };
}

function number(schema) {
  const input = el("input", {
    type: "number",
    min: schema.minimum,
    max: schema.maximum,
    step: schema.type === "integer" ? 1 : "any",
  });
  return {
    input,
    read: () => input.valueAsNumber,
    write: text,
    fault: () => (input.validity.valid ? "" : input.validationMessage),
  };
}

function choice(schema) {
  const options = schema.enum ?? [true, false];
  const input = el(
    "select",
    {},
    el("option", { value: "" }, ""),
    options.map((value) => el("option", { value: text(value) }, text(value))),
  );
  return {
    input,
    read: () => options.find((value) => text(value) === input.value),
    write: text,
    fault: () => "",
  };
}

function json() {
  const input = el("textarea", { rows: "3", spellcheck: "false", class: "code" });
  const fault = () => {
    try {
      JSON.parse(input.value);
      return "";
    } catch {
      return "this is not valid JSON";
    }
  };
  return {
    input,
    read: () => JSON.parse(input.value),
    write: (value) => (value === undefined ? "" : JSON.stringify(value)),
    fault,
  };
}

// [whether a schema is of the kind, the kind's field, the hint below it]; the first that fits.
const KINDS = [
  [(schema) => schema.enum || schema.type === "boolean", choice, () => ""],
  [
    (schema) => schema.type === "array" && schema.items?.type === "string",
    texts,
    () => "one per line",
  ],
  [(schema) => schema.type === "string", line, () => ""],
  [(schema) => schema.type === "integer" || schema.type === "number", number, () => ""],
  [() => true, json, () => "as JSON"],
];
