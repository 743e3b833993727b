// Creates elements; text of a model or a server is never parsed as HTML.

const SVG = "http://www.w3.org/2000/svg";
const PROPERTIES = new Set([
  "value",
  "checked",
  "disabled",
  "hidden",
  "htmlFor",
  "selected",
  "open",
]);

/**
 * el("button", {class: "quiet", onclick: stop}, "Stop"): attributes that are null or false are
 * left out, `on...` are listeners, children are nodes or texts.
 */
export function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** The same for a piece of an SVG drawing. */
export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

/** An element that only a screen reader sees. */
export function unseen(text) {
  return el("span", { class: "unseen" }, text);
}

/** A button with a drawing and, unless `bare`, its name beside it. */
export function iconButton(name, label, attributes = {}, bare = false) {
  const { class: more = "", ...rest } = attributes;
  const named = bare ? { "aria-label": label, title: label } : {};
  const classes = `quiet ${bare ? "icon-only" : ""} ${more}`;
  return el(
    "button",
    { type: "button", ...named, ...rest, class: classes },
    icon(name),
    bare ? null : label,
  );
}

/** One of the drawings below, 18 pixels wide. */
export function icon(name) {
  const lines = ICONS[name].map((d) => svg("path", { d }));
  return svg("svg", { class: "icon", viewBox: "0 0 24 24", "aria-hidden": "true" }, ...lines);
}

/** Copies a text; the button says so for a moment. */
export async function copyWith(button, text) {
  const label = button.lastChild;
  const before = label.textContent;
  try {
    await navigator.clipboard.writeText(text);
    label.textContent = "Copied";
  } catch {
    // The clipboard needs https or localhost, and the user's permission.
    label.textContent = "Select the text to copy it";
  }
  setTimeout(() => {
    label.textContent = before;
  }, 1400);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (PROPERTIES.has(name)) node[name] = value;
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(
    ...children.flat(2).filter((child) => child !== null && child !== undefined && child !== false),
  );
  return node;
}

const ICONS = {
  attach: [
    "M21 11.5l-8.6 8.6a5.6 5.6 0 0 1-7.9-7.9l8.9-8.9a3.7 3.7 0 0 1 5.3 5.3l-8.7 8.7a1.9 1.9 0 0 1-2.7-2.7l7.9-7.9",
  ],
  send: ["M12 19V5", "M5.5 11.5L12 5l6.5 6.5"],
  stop: ["M7.5 7.5h9v9h-9z"],
  copy: ["M9 9h11v11H9z", "M5 15H4V4h11v1"],
  again: ["M20 11a8 8 0 1 0-1.2 5.2", "M20 5v6h-6"],
  settings: ["M4 7h9", "M17 7h3", "M4 17h3", "M11 17h9", "M15 4.8v4.4", "M9 14.8v4.4"],
  key: [
    "M14.5 9.5m-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0-9 0",
    "M11.2 12.8L4 20",
    "M6 18l2 2",
    "M8.5 15.5l2 2",
  ],
  close: ["M6 6l12 12", "M18 6L6 18"],
  fresh: ["M12 5v14", "M5 12h14"],
  run: ["M8 5.5v13l10-6.5z"],
  cloud: ["M12 3l8 4.5v9L12 21l-8-4.5v-9z", "M12 12l8-4.5", "M12 12v9", "M12 12L4 7.5"],
  picture: ["M4 5h16v14H4z", "M4 16l5-5 4 4 3-3 4 4", "M15.5 9.5h.01"],
  save: ["M12 4v11", "M7 11l5 5 5-5", "M5 20h14"],
  warn: ["M12 4l9 16H3z", "M12 10v4", "M12 17h.01"],
};
