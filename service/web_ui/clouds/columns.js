// Columns of a point file by name, from text or from packed records; for `ply` and `pcd`.

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
};

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
    return place ? (row) => view[READS[place.kind]](row * record + place.offset, little) : null;
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
