// LAS 1.0 to 1.4 (ASPRS); LAZ is compressed and has no preview.

import { pointsOf } from "./columns.js";

// Where colours are in a record, by its format.
const COLOURS = { 2: 20, 3: 28, 5: 28, 7: 30, 8: 30, 10: 30 };

/** {count, xyz(row, axis), rgb(row, channel) or null}. */
export function readLas(buffer) {
  const view = new DataView(buffer);
  if (buffer.byteLength < 227 || view.getUint32(0) !== 0x4c415346)
    throw new Error("it is no las file");
  const format = view.getUint8(104);
  if (format & 0x80) throw new Error("the preview does not read compressed las files");
  const [body, record] = [view.getUint32(96, true), view.getUint16(105, true)];
  const count = view.getUint32(107, true) || Number(view.getBigUint64(247, true));
  if (buffer.byteLength - body < count * record) throw new Error("it is cut off");
  const columns = (name) => {
    const axis = ["x", "y", "z"].indexOf(name);
    if (axis >= 0) {
      const scale = view.getFloat64(131 + 8 * axis, true);
      const offset = view.getFloat64(155 + 8 * axis, true);
      return (row) => view.getInt32(body + row * record + 4 * axis, true) * scale + offset;
    }
    const channel = ["red", "green", "blue"].indexOf(name);
    if (channel < 0 || !(format in COLOURS)) return null;
    return (row) => view.getUint16(body + row * record + COLOURS[format] + 2 * channel, true);
  };
  const points = pointsOf(columns, count, () => "u2");
  return { ...points, rgb: points.rgb && hasColour(points) ? points.rgb : null };
}

function hasColour({ count, rgb }) {
  for (let row = 0; row < count; row++) if (rgb(row, 0) || rgb(row, 1) || rgb(row, 2)) return true;
  return false;
}
