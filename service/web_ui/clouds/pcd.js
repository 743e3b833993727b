// PCD (Point Cloud Library) 0.7: text, binary, and binary_compressed.

import { pointsOf, reader, textColumns } from "./columns.js";

/** {count, xyz(row, axis), rgb(row, channel) or null}. */
export function readPcd(buffer) {
  const head = new TextDecoder("latin1").decode(
    new Uint8Array(buffer, 0, Math.min(buffer.byteLength, 65536)),
  );
  const ending = /^DATA\s+(\w+)[^\n]*\n/m.exec(head);
  if (!ending) throw new Error("it is not a pcd file");
  const words = Object.fromEntries(
    head
      .slice(0, ending.index)
      .split("\n")
      .map((line) => {
        const [name, ...values] = line.trim().split(/\s+/);
        return [name, values];
      }),
  );
  const count = Number(words.POINTS?.[0]);
  const fields = words.FIELDS.map((name, index) => ({
    name,
    kind: words.TYPE[index].toLowerCase() + words.SIZE[index],
    times: Number(words.COUNT?.[index] ?? 1),
  }));
  const columns = BODIES[ending[1]]?.(buffer, ending.index + ending[0].length, count, fields);
  if (!columns) throw new Error(`the preview does not support DATA ${ending[1]}`);
  return pointsOf(columns, count, (name) => fields.find((field) => field.name === name).kind);
}

const BODIES = {
  ascii: (buffer, body, count, fields) =>
    textColumns(
      buffer,
      body,
      count,
      fields.flatMap(({ name, times }) => Array(times).fill(name)),
    ),
  binary: (buffer, body, count, fields) => reader(buffer, body, count, fields, true),
  binary_compressed: (buffer, body, count, fields) => {
    const sizes = new DataView(buffer, body);
    const packed = new Uint8Array(buffer, body + 8, sizes.getUint32(0, true));
    const records = expand(packed, sizes.getUint32(4, true));
    // All values of the first field, then all of the second ...
    const starts = new Map();
    let at = 0;
    for (const { name, kind, times } of fields) {
      starts.set(name, reader(records, at, count, [{ name, kind, times }], true)(name));
      at += Number(kind[1]) * times * count;
    }
    return (name) => starts.get(name) ?? null;
  },
};

/** LZF (liblzf): runs of literal bytes, and back-references. */
function expand(packed, size) {
  const out = new Uint8Array(size);
  let from = 0;
  let to = 0;
  while (from < packed.length) {
    const control = packed[from++];
    if (control < 32) {
      out.set(packed.subarray(from, from + control + 1), to);
      from += control + 1;
      to += control + 1;
      continue;
    }
    let length = control >> 5;
    if (length === 7) length += packed[from++];
    let back = to - ((control & 31) << 8) - packed[from++] - 1;
    if (back < 0 || to + length + 2 > size) throw new Error("it is corrupt");
    for (let left = length + 2; left > 0; left--) out[to++] = out[back++];
  }
  return out.buffer;
}
