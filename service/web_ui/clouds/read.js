// Reads a cloud's file for the preview. The server reads it again by its own rules and decides; what
// this cannot read can still be sent.

import { pointsOf } from "./columns.js";
import { readLas } from "./las.js";
import { readNpy, readNpz } from "./numpy.js";
import { readPcd } from "./pcd.js";
import { readPly } from "./ply.js";
import { readText } from "./text.js";

const MAX_DRAWN = 150000;
// Farther from the origin, float32 is too coarse for a scan.
const FAR = 1000;

/** Rows as far as readers have them: `get(row, column)`, with the columns of x y z and r g b. */
const TABLES = {
  ...Object.fromEntries(
    ["asc", "csv", "pts", "txt", "xyz", "xyzn", "xyzrgb"].map((format) => [
      format,
      (buffer) => table(readText(buffer, format)),
    ]),
  ),
  bin: (buffer, columns) => readBin(buffer, columns),
  las: readLas,
  laz: readLas,
  npy: (buffer) => table(readNpy(buffer)),
  npz: async (buffer) => table(...(await readNpz(buffer))),
  pcd: readPcd,
  ply: readPly,
};

// The server reads them; the preview does not.
const UNSEEN = ["e57", "glb", "gltf", "obj", "off", "stl"];
// By definition, the y axis points up in these.
const Y_UP = ["glb", "gltf"];

export const CLOUD_FORMATS = [...Object.keys(TABLES), ...UNSEEN].sort();

/** The axis that points up unless somebody says otherwise. */
export const upAxisOf = (format) => (Y_UP.includes(format) ? "y" : "z");

/**
 * {count, xyz: Float32Array(3n), rgb: Uint8Array(3n) or null, origin, low, high}: at most MAX_DRAWN
 * points, evenly taken; `count` is the file's. `xyz` + `origin`, `low` and `high` are the file's
 * coordinates. Throws an Error in a reader's words.
 */
export async function readCloud(buffer, format, columns = null) {
  if (UNSEEN.includes(format)) throw new Error(`the preview does not read ${format} files`);
  const table = await TABLES[format](buffer, columns);
  return thinned(table);
}

function table(array, colours = null) {
  const { rows, columns, names, at } = array;
  if (columns < 3) throw new Error(`it has ${columns} columns; a point has at least 3`);
  if (names) {
    const column = (name) => names.indexOf(name);
    return pointsOf(
      (name) => (column(name) < 0 ? null : (row) => at(row, column(name))),
      rows,
    );
  }
  if (colours) return { count: rows, xyz: at, rgb: colours.at };
  const first = columns >= 6 && areNormals(array) ? 6 : 3;
  const own = columns >= first + 3 ? (row, c) => at(row, first + c) : null;
  return { count: rows, xyz: at, rgb: own };
}

/** Whether columns 4 to 6 are vectors of length 1, as ModelNet40 has them. */
function areNormals({ rows, at }) {
  let units = 0;
  for (let row = 0; row < rows; row++) {
    const length = Math.hypot(at(row, 3), at(row, 4), at(row, 5));
    if (Math.abs(length - 1) <= 0.02) units++;
    else if (length !== 0 && Number.isFinite(length)) return false;
  }
  return units > 0;
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
  const rows = drawnRows(count, xyz);
  if (!rows.length) throw new Error("none of its points is finite");
  const first = [0, 1, 2].map((axis) => xyz(rows[0], axis));
  const origin = first.some((value) => Math.abs(value) > FAR) ? first : [0, 0, 0];
  const points = new Float32Array(rows.length * 3);
  const colours = rgb ? new Float32Array(rows.length * 3) : null;
  const low = [Infinity, Infinity, Infinity];
  const high = [-Infinity, -Infinity, -Infinity];
  rows.forEach((row, index) => {
    for (let axis = 0; axis < 3; axis++) {
      const value = xyz(row, axis);
      points[3 * index + axis] = value - origin[axis];
      low[axis] = Math.min(low[axis], value);
      high[axis] = Math.max(high[axis], value);
      if (colours) colours[3 * index + axis] = rgb(row, axis);
    }
  });
  return { count, xyz: points, rgb: colours && bytes(colours), origin, low, high };
}

/** At most MAX_DRAWN rows, evenly taken; those that are not finite are left out, as by the server. */
function drawnRows(count, xyz) {
  const kept = Math.min(count, MAX_DRAWN);
  const rows = [];
  for (let index = 0; index < kept; index++) {
    const row = Math.floor((index * count) / kept);
    if ([0, 1, 2].every((axis) => Number.isFinite(xyz(row, axis)))) rows.push(row);
  }
  return rows;
}

/** Colours from 0 to 1, or from 0 to 255, as bytes. */
function bytes(colours) {
  const scale = colours.every((value) => value <= 1) ? 255 : 1;
  return Uint8ClampedArray.from(colours, (value) => value * scale);
}
