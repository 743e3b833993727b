// PLY: text and binary. Elements before the vertices are skipped.

import { pointsOf, reader, textColumns } from "./columns.js";

const SIZES = {
  char: "i1",
  uchar: "u1",
  int8: "i1",
  uint8: "u1",
  short: "i2",
  ushort: "u2",
  int16: "i2",
  uint16: "u2",
  int: "i4",
  uint: "u4",
  int32: "i4",
  uint32: "u4",
  float: "f4",
  float32: "f4",
  double: "f8",
  float64: "f8",
};

/** {count, xyz(row, axis), rgb(row, channel) or null}. */
export function readPly(buffer) {
  const head = new TextDecoder("latin1").decode(
    new Uint8Array(buffer, 0, Math.min(buffer.byteLength, 65536)),
  );
  const ending = /end_header\r?\n/.exec(head);
  if (!head.startsWith("ply") || !ending) throw new Error("it is not a ply file");
  const lines = head
    .slice(0, ending.index)
    .split(/\r?\n/)
    .map((line) => line.trim().split(/\s+/));
  const encoding = lines.find((words) => words[0] === "format")?.[1];
  const elements = [];
  for (const [word, ...rest] of lines) {
    if (word === "element") elements.push({ name: rest[0], rows: Number(rest[1]), properties: [] });
    if (word === "property") elements.at(-1)?.properties.push(rest);
  }
  const at = elements.findIndex(({ name }) => name === "vertex");
  if (at < 0) throw new Error("it has no vertices");
  const little = encoding === "binary_little_endian";
  const skip = encoding === "ascii" ? skipLines : skipRecords;
  let body = ending.index + ending[0].length;
  for (const element of elements.slice(0, at)) body = skip(buffer, body, element, little);
  const { rows: count, properties } = elements[at];
  const fields = properties.map(([type, name]) => ({ name, kind: SIZES[type] }));
  const columns =
    encoding === "ascii"
      ? textColumns(
          buffer,
          body,
          count,
          fields.map((field) => field.name),
        )
      : reader(buffer, body, count, fields, little);
  return pointsOf(columns, count, (name) => fields.find((field) => field.name === name).kind);
}

function skipLines(buffer, body, { rows, properties }) {
  const bytes = new Uint8Array(buffer);
  for (let left = properties.length ? rows : 0; left > 0; ) {
    const end = bytes.indexOf(10, body);
    if (end < 0) throw new Error("it is cut off");
    if (bytes.subarray(body, end).some((byte) => byte > 32)) left--; // blank lines are not rows
    body = end + 1;
  }
  return body;
}

function skipRecords(buffer, body, { rows, properties }, little) {
  const view = new DataView(buffer);
  for (let row = 0; row < rows; row++) {
    for (const [type, length, item] of properties) {
      if (type !== "list") body += size(type);
      else {
        const count = { 1: "getUint8", 2: "getUint16", 4: "getUint32" }[size(length)];
        body += size(length) + view[count](body, little) * size(item);
      }
    }
  }
  return body;
}

function size(type) {
  return Number(SIZES[type][1]);
}
