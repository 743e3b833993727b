// Reads a cloud's file for the preview. The server reads it again by its own rules and decides; what
// this cannot read can still be sent.

import { readNpy, readNpz } from "./numpy.js";
import { readPcd } from "./pcd.js";
import { readPly } from "./ply.js";

export const CLOUD_FORMATS = ["npy", "npz", "ply", "pcd", "xyz", "bin"];
const MAX_DRAWN = 150000;

/**
 * {count, xyz: Float32Array(3n), rgb: Uint8Array(3n) or null, low, high}: at most MAX_DRAWN points,
 * evenly taken; `count` is the file's. Throws an Error in a reader's words.
 */
export async function readCloud(buffer, format, columns = null) {
  const table = await TABLES[format](buffer, columns);
  return thinned(table);
}

/** Rows as far as readers have them: `get(row, column)`, with the columns of x y z and r g b. */
const TABLES = {
  npy: (buffer) => table(readNpy(buffer)),
  npz: async (buffer) => table(...(await readNpz(buffer))),
  ply: readPly,
  pcd: readPcd,
  xyz: (buffer) => readText(buffer),
  bin: (buffer, columns) => readBin(buffer, columns),
};

function table(array, colours = null) {
  const { rows, columns, at } = array;
  if (columns < 3) throw new Error(`it has ${columns} columns; a point has at least 3`);
  const own = columns === 6 ? (row, c) => at(row, 3 + c) : null;
  return { count: rows, xyz: at, rgb: colours ? colours.at : own };
}

function readText(buffer) {
  const rows = [];
  for (const line of new TextDecoder().decode(buffer).split("\n")) {
    const text = line
      .split(/#|\/\//)[0]
      .replaceAll(",", " ")
      .trim();
    if (text) rows.push(text.split(/\s+/).map(Number));
  }
  if (!rows.length) throw new Error("it has no points");
  return table({
    rows: rows.length,
    columns: rows[0].length,
    at: (row, column) => rows[row][column],
  });
}

function readBin(buffer, given) {
  const columns = given ?? (buffer.byteLength % 24 === 0 ? null : 3);
  if (columns === null) throw new Error("set the number of columns per point");
  if (buffer.byteLength % (columns * 4))
    throw new Error(`its size is not a multiple of ${columns} columns per point`);
  const values = new Float32Array(buffer.slice(0));
  return table({
    rows: values.length / columns,
    columns,
    at: (row, column) => values[row * columns + column],
  });
}

function thinned({ count, xyz, rgb }) {
  if (!count) throw new Error("it has no points");
  const kept = Math.min(count, MAX_DRAWN);
  const points = new Float32Array(kept * 3);
  const colours = rgb ? new Float32Array(kept * 3) : null;
  const low = [Infinity, Infinity, Infinity];
  const high = [-Infinity, -Infinity, -Infinity];
  for (let index = 0; index < kept; index++) {
    const row = Math.floor((index * count) / kept);
    for (let axis = 0; axis < 3; axis++) {
      const value = xyz(row, axis);
      if (!Number.isFinite(value)) throw new Error(`point ${row} is not finite`);
      points[3 * index + axis] = value;
      low[axis] = Math.min(low[axis], value);
      high[axis] = Math.max(high[axis], value);
      if (colours) colours[3 * index + axis] = rgb(row, axis);
    }
  }
  return { count, xyz: points, rgb: colours && bytes(colours), low, high };
}

/** Colours from 0 to 1, or from 0 to 255, as bytes. */
function bytes(colours) {
  const scale = colours.every((value) => value <= 1) ? 255 : 1;
  return Uint8ClampedArray.from(colours, (value) => value * scale);
}
