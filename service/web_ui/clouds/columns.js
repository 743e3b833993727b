// Columns of a point file by name, from text or from packed records; for `ply`, `pcd` and text.

/** Methods of DataView by the kind of a number. */
export const READS = {
  f8: "getFloat64",
  f4: "getFloat32",
  i1: "getInt8",
  u1: "getUint8",
  i2: "getInt16",
  u2: "getUint16",
  i4: "getInt32",
  u4: "getUint32",
  i8: "getBigInt64",
  u8: "getBigUint64",
};
// The names that the server knows.
const CHANNELS = [
  ["red", "green", "blue"],
  ["diffuse_red", "diffuse_green", "diffuse_blue"],
  ["r", "g", "b"],
  ["rf", "gf", "bf"],
];

/** {count, xyz(row, axis), rgb(row, channel) or null} of `columns(name) -> (row -> number) or null`. */
export function pointsOf(columns, count, kindOf = () => "f4") {
  const axes = ["x", "y", "z"].map((name) => columns(name));
  if (axes.some((axis) => !axis)) throw new Error("its points lack x, y or z");
  return { count, xyz: (row, axis) => axes[axis](row), rgb: coloursOf(columns, count, kindOf) };
}

function coloursOf(columns, count, kindOf) {
  for (const name of ["rgb", "rgba"]) {
    const column = columns(name);
    if (column) return unpacked(column, kindOf(name));
  }
  const names = CHANNELS.find((channels) => channels.every((name) => columns(name)));
  if (!names) return null;
  const channels = names.map((name) => columns(name));
  return kindOf(names[0]) === "u2" && largest(channels, count) > 255
    ? (row, channel) => channels[channel](row) / 257
    : (row, channel) => channels[channel](row);
}

function largest(channels, count) {
  let most = 0;
  for (const channel of channels) {
    for (let row = 0; row < count; row++) most = Math.max(most, channel(row));
  }
  return most;
}

/** 0x00RRGGBB in the bits of a float, or in an integer. */
function unpacked(column, kind) {
  const float = new Float32Array(1);
  const bits = new Uint32Array(float.buffer);
  return (row, channel) => {
    if (kind === "f4") float[0] = column(row);
    else bits[0] = column(row);
    return (bits[0] >> (16 - 8 * channel)) & 255;
  };
}

/** columns(name) -> (row -> number), or null: of records one after another. */
export function reader(buffer, body, count, fields, little) {
  const places = new Map();
  let record = 0;
  for (const { name, kind, times = 1 } of fields) {
    if (!READS[kind]) throw new Error(`it has a field of type ${kind}`);
    if (!places.has(name)) places.set(name, { kind, offset: record });
    record += Number(kind[1]) * times;
  }
  if (buffer.byteLength - body < count * record) throw new Error("it is truncated");
  const view = new DataView(buffer, body);
  return (name) => {
    const place = places.get(name);
    return place
      ? (row) => Number(view[READS[place.kind]](row * record + place.offset, little))
      : null;
  };
}

/** The same of lines of text. */
export function textColumns(buffer, body, count, names) {
  const text = new TextDecoder("latin1").decode(new Uint8Array(buffer, body));
  const values = text.trim().split(/\s+/);
  if (values.length < count * names.length) throw new Error("it is truncated");
  return (name) => {
    const column = names.indexOf(name);
    return column < 0 ? null : (row) => Number(values[row * names.length + column]);
  };
}
