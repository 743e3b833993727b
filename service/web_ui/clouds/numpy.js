// NumPy's npy (versions 1 and 2) and npz (a zip of them), as far as point clouds use them.

import { READS } from "./columns.js";

const KINDS = { ...READS, i8: "getBigInt64", u8: "getBigUint64" };
// The names that the server knows, in its order of preference.
const XYZ = [
  "xyz",
  "points",
  "pc",
  "pcd",
  "coord",
  "coords",
  "pos",
  "positions",
  "vertices",
  "point_cloud",
  "pointcloud",
  "cloud",
  "arr_0",
];
const RGB = ["rgb", "color", "colors", "colour", "colours", "arr_1"];

/** {rows, columns, at(row, column)} of an array of numbers, [points, columns] or [H, W, columns]. */
export function readNpy(buffer) {
  const bytes = new Uint8Array(buffer);
  if (bytes[0] !== 0x93 || String.fromCharCode(...bytes.slice(1, 6)) !== "NUMPY")
    throw new Error("it is not an npy file");
  const view = new DataView(buffer);
  const [start, length] =
    bytes[6] === 1 ? [10, view.getUint16(8, true)] : [12, view.getUint32(8, true)];
  const header = new TextDecoder("latin1").decode(bytes.subarray(start, start + length));
  const [, order, kind] = /'descr':\s*'([<>|=])(\w\d+)'/.exec(header) ?? [];
  const [, first, plane, columns] = (
    /'shape':\s*\((\d+),\s*(?:(\d+),\s*)?(\d+)\)/.exec(header) ?? []
  ).map((text) => Number(text ?? 1));
  const rows = first * plane;
  const read = kind === "f2" ? null : KINDS[kind];
  if (!read || !columns)
    throw new Error("the preview supports only arrays [points, 3 to 6] of common number types");
  const size = Number(kind[1]);
  const offset = start + length;
  if (buffer.byteLength - offset < rows * columns * size) throw new Error("it is truncated");
  const byColumn = /'fortran_order':\s*True/.test(header);
  const at = (row, column) => {
    const index = byColumn
      ? column * rows + (row % plane) * first + Math.floor(row / plane)
      : row * columns + column;
    return Number(view[read](offset + index * size, order !== ">"));
  };
  return { rows, columns, at };
}

/** [coordinates, colours or null], each as from `readNpy`; found by the server's array names. */
export async function readNpz(buffer) {
  const members = directory(new DataView(buffer));
  const names = [...members.keys()];
  const xyz = XYZ.find((name) => members.has(name)) ?? (names.length === 1 ? names[0] : null);
  if (xyz === null) throw new Error(`it has no array ${XYZ.join(", ")}`);
  const rgb = RGB.find((name) => members.has(name) && name !== xyz);
  return Promise.all(
    [xyz, rgb].map(async (name) =>
      name ? readNpy(await unpack(buffer, members.get(name))) : null,
    ),
  );
}

/** Name -> where its bytes are, by the zip file's central directory (APPNOTE 4.3). */
function directory(view) {
  let end = view.byteLength - 22;
  while (end >= 0 && view.getUint32(end, true) !== 0x06054b50) end--;
  if (end < 0) throw new Error("it is not an npz file");
  const members = new Map();
  let at = view.getUint32(end + 16, true);
  for (let left = view.getUint16(end + 10, true); left > 0; left--) {
    const name = view.getUint16(at + 28, true);
    const text = new TextDecoder().decode(new Uint8Array(view.buffer, at + 46, name));
    members.set(text.replace(/\.npy$/, "").toLowerCase(), {
      method: view.getUint16(at + 10, true),
      packed: view.getUint32(at + 20, true),
      start: view.getUint32(at + 42, true),
    });
    at += 46 + name + view.getUint16(at + 30, true) + view.getUint16(at + 32, true);
  }
  return members;
}

async function unpack(buffer, { method, packed, start }) {
  const view = new DataView(buffer, start);
  const body = start + 30 + view.getUint16(26, true) + view.getUint16(28, true);
  const bytes = buffer.slice(body, body + packed);
  if (method === 0) return bytes;
  if (method !== 8) throw new Error("its compression is not supported by the preview");
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  return new Response(stream).arrayBuffer();
}
