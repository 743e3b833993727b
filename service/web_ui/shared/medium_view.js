// How a chosen picture or cloud looks: small while it waits to be sent, larger where it was sent.

import { CloudViewer } from "../clouds/viewer.js";
import { el, icon, iconButton } from "./dom.js";
import { Medium, exampleUrl } from "./medium.js";

/** A tile with its name, a cloud's units and axis to set, and a button that takes it away. */
export function mediumTile(medium, onRemove, onChange = () => {}) {
  const facts = el("span", { class: "hint" }, size(medium.file.size));
  const picture = medium.isPicture
    ? pictureOr(medium, { class: "thumb", alt: "" }, () => {
        facts.append(", no preview");
        facts.title = medium.noPreview;
        return el("span", { class: "thumb no-thumb" }, icon("picture"));
      })
    : cloudThumb(Promise.resolve(medium));
  return el(
    "li",
    { class: "tile" },
    picture,
    el(
      "div",
      { class: "tile-text" },
      el("span", { class: "tile-name", title: medium.name }, medium.name),
      medium.isPicture ? facts : cloudFields(medium, onChange),
    ),
    onRemove ? iconButton("close", `Remove ${medium.name}`, { onclick: onRemove }, true) : null,
  );
}

/** The picture; what `instead()` makes takes its place if the browser cannot show the file. */
export function pictureOr(medium, attributes, instead) {
  const image = el("img", {
    ...attributes,
    src: medium.previewUrl,
    onerror: () => image.replaceWith(instead()),
  });
  return image;
}

/** A thumbnail of a promised cloud; an icon is shown until it is read, or if it cannot be read. */
export function cloudThumb(promised) {
  const box = el("span", { class: "thumb cloud-thumb" }, icon("cloud"));
  const draw = async () => {
    const medium = await promised;
    const { canvas } = new CloudViewer(await medium.cloud(), { upAxis: medium.upAxis });
    for (const name of ["tabindex", "role", "aria-label"]) canvas.removeAttribute(name);
    canvas.setAttribute("aria-hidden", "true");
    canvas.setAttribute("class", "thumb-canvas");
    box.replaceChildren(canvas);
  };
  draw().catch(() => box.replaceChildren(icon("cloud")));
  return box;
}

/** The small drawing of one of the page's own examples. */
export function exampleThumb(entry) {
  if (/\.(png|jpg)$/.test(entry.file))
    return el("img", { class: "thumb", src: exampleUrl(entry), alt: "" });
  return cloudThumb(Medium.ofExample(entry));
}

/** Selects for properties that a cloud's file does not contain. */
export function cloudFields(medium, onChange) {
  const choose = (label, key, options, change) =>
    el(
      "label",
      { class: "mini" },
      el("span", {}, label),
      el(
        "select",
        {
          onchange: (event) => {
            medium[key] = change(event.target.value);
            onChange();
          },
        },
        options.map(([value, text]) =>
          el("option", { value, selected: String(medium[key] ?? "") === value }, text),
        ),
      ),
    );
  const columns = (value) => {
    medium.forgetPoints();
    return value ? Number(value) : null;
  };
  return el(
    "div",
    { class: "cloud-fields" },
    choose(
      "units",
      "units",
      ["m", "cm", "mm"].map((unit) => [unit, unit]),
      String,
    ),
    choose(
      "up",
      "upAxis",
      ["z", "y"].map((axis) => [axis, axis]),
      String,
    ),
    medium.format === "bin"
      ? choose(
          "columns",
          "columns",
          [["", "auto"], ...[3, 4, 5, 6].map((n) => [String(n), String(n)])],
          columns,
        )
      : null,
  );
}

/** The medium where it was sent: a picture that opens large, a cloud that can be turned. */
export function sentMedium(medium) {
  if (medium.isPicture) {
    const button = el("button", {
      type: "button",
      class: "sent-picture",
      onclick: () => showLarge(medium),
      "aria-label": `Enlarge ${medium.name}`,
    });
    const image = pictureOr(medium, { alt: medium.name }, () => {
      button.replaceWith(el("p", { class: "hint no-picture" }, medium.noPreview));
      return "";
    });
    button.append(image);
    return button;
  }
  return cloudBox(medium);
}

/** A viewer, or the reason why there is none; the file is sent either way. */
export function cloudBox(medium, boxes = []) {
  const box = el(
    "div",
    { class: "cloud-box" },
    el("p", { class: "hint centred" }, "Reading the points"),
  );
  medium.cloud().then(
    (cloud) =>
      box.replaceChildren(
        new CloudViewer(cloud, {
          upAxis: medium.upAxis,
          units: medium.units,
          boxes,
          name: medium.name,
        }).element,
      ),
    (error) =>
      box.replaceChildren(
        el(
          "p",
          { class: "hint centred" },
          `No preview of ${medium.name}: ${error.message}. It can still be sent to the server.`,
        ),
      ),
  );
  return box;
}

function showLarge(medium) {
  const dialog = document.getElementById("lightbox");
  const close = () => dialog.close();
  dialog.replaceChildren(
    el("img", { src: medium.previewUrl, alt: medium.name, onclick: close }),
    el(
      "div",
      { class: "row between" },
      el("span", { class: "hint" }, `${medium.name}, ${size(medium.file.size)}`),
      el("button", { type: "button", class: "quiet", onclick: close }, "Close"),
    ),
  );
  dialog.showModal();
}

function size(bytes) {
  if (bytes < 1000) return `${bytes} bytes`;
  return bytes < 1e6 ? `${Math.round(bytes / 1000)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}
