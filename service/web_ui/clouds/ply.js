// PLY: text and binary. Vertices come first, as the server wants them.

import { reader, textColumns } from "./columns.js";

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
  const fields = [];
  let count = 0;
  let elements = 0;
  for (const words of lines) {
    if (words[0] === "element" && ++elements === 1) count = Number(words[2]);
    if (words[0] === "property" && elements === 1)
      fields.push({ name: words[2], kind: SIZES[words[1]] });
  }
  const body = ending.index + ending[0].length;
  const columns =
    encoding === "ascii"
      ? textColumns(
          buffer,
          body,
          count,
          fields.map((field) => field.name),
        )
      : reader(buffer, body, count, fields, encoding === "binary_little_endian");
  const axes = ["x", "y", "z"].map((name) => columns(name));
  if (axes.some((axis) => !axis)) throw new Error("its points lack x, y or z");
  const channels = ["red", "green", "blue"].map((name) => columns(name));
  return {
    count,
    xyz: (row, axis) => axes[axis](row),
    rgb: channels.every(Boolean) ? (row, c) => channels[c](row) : null,
  };
}
