// A picture or a cloud that somebody chose: its bytes, how a cloud is to be read, and its preview.

import { CLOUD_FORMATS, readCloud, upAxisOf } from "../clouds/read.js";

// Suffixes of the pictures that the server reads. Not every browser can show all of them.
const PICTURES = [
  ...["jpg", "jpeg", "jpe", "jfif", "png", "webp", "bmp", "dib", "gif"],
  ...["tif", "tiff", "heic", "heif", "hif", "avif"],
];
// Some systems know no type for HEIC and TIFF files, which image/* would leave out.
export const ACCEPT = [
  "image/*",
  ...[...PICTURES, ...CLOUD_FORMATS].map((suffix) => `.${suffix}`),
].join(",");

/** `kind` is "image" or "point_cloud"; `units`, `upAxis` and `columns` are a cloud's, and may change. */
export class Medium {
  constructor(file, kind, format) {
    this.file = file;
    this.kind = kind;
    this.format = format;
    this.units = "m";
    this.upAxis = upAxisOf(format);
    this.columns = null;
    this.previewUrl = kind === "image" ? URL.createObjectURL(file) : null;
  }

  /** Throws an Error that says what is taken, for a file that is neither. */
  static of(file) {
    const kind = kindOf(file.name, file.type);
    if (kind) return new Medium(file, kind, suffixOf(file.name));
    throw new Error(
      `${file.name || "This file"} is not supported; expected a picture (${PICTURES.join(", ")}) or a point cloud (${CLOUD_FORMATS.join(", ")}).`,
    );
  }

  /** One of the page's own examples, by its entry in examples/index.json. */
  static async ofExample(entry) {
    const response = await fetch(exampleUrl(entry));
    if (!response.ok) throw new Error(`The example ${entry.file} cannot be read.`);
    const blob = await response.blob();
    const medium = Medium.of(new File([blob], entry.file, { type: blob.type }));
    medium.units = entry.units ?? "m";
    medium.upAxis = entry.up_axis ?? medium.upAxis;
    return medium;
  }

  get name() {
    return this.file.name || "pasted picture";
  }

  /** What to say where the browser cannot show the picture. */
  get noPreview() {
    return `No preview of ${this.name}: this browser cannot show it. The server does not need the preview.`;
  }

  get isPicture() {
    return this.kind === "image";
  }

  /** The field that holds it in a message's part and in a task's body. */
  get field() {
    return this.isPicture ? "image_url" : "point_cloud_url";
  }

  /** {url, format, ...}: the value of that field. */
  async reference() {
    this.dataUrl ??= readDataUrl(this.file);
    const url = await this.dataUrl;
    if (this.isPicture) return { url };
    const columns = this.format === "bin" && this.columns ? { columns: this.columns } : {};
    return { url, format: this.format, units: this.units, up_axis: this.upAxis, ...columns };
  }

  /** A content part of a chat message. */
  async part() {
    return { type: this.field, [this.field]: await this.reference() };
  }

  /** Its points, as `readCloud` gives them; rejects where the preview cannot read the file. */
  cloud() {
    this.points ??= this.file
      .arrayBuffer()
      .then((buffer) => readCloud(buffer, this.format, this.columns));
    return this.points;
  }

  /** To be called when `columns` changed. */
  forgetPoints() {
    this.points = undefined;
  }

  /** Lets go of what the browser holds for the preview. */
  release() {
    if (this.previewUrl) URL.revokeObjectURL(this.previewUrl);
  }
}

/** "image", "point_cloud" or null, by a file's name and type. */
export function kindOf(name, type = "") {
  const suffix = suffixOf(name);
  if (CLOUD_FORMATS.includes(suffix)) return "point_cloud";
  return type.startsWith("image/") || PICTURES.includes(suffix) ? "image" : null;
}

function suffixOf(name) {
  return /\.(\w+)$/.exec(name)?.[1].toLowerCase() ?? "";
}

/** Where an example's file is. */
export function exampleUrl(entry) {
  return new URL(`ui/examples/${entry.file}`, document.baseURI).href;
}

/** The page's own examples. */
export async function loadExamples() {
  const response = await fetch(new URL("ui/examples/index.json", document.baseURI));
  return response.ok ? response.json() : [];
}

function readDataUrl(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(asData(reader.result));
    reader.onerror = () =>
      reject(new Error(`${file.name} cannot be read; it may have been moved or changed.`));
    reader.readAsDataURL(file);
  });
}

/** Files without a type are "application/octet-stream". */
function asData(url) {
  return url.replace(/^data:[^;,]*;base64,/, (head) =>
    head === "data:;base64," ? "data:application/octet-stream;base64," : head,
  );
}
