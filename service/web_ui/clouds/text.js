// Text clouds: the server's own rules (`lamm_model/formats/clouds/text.py`).

const NUMBER = /^[+-]?((\d+\.?\d*|\.\d+)(e[+-]?\d+)?|nan(\(\w*\))?|inf(inity)?)$/i;
const PTS = ["x", "y", "z", "intensity", "r", "g", "b"];

/** {rows, columns, names or null, at(row, column)}. */
export function readText(buffer, format) {
  const lines = new TextDecoder().decode(buffer).split(/\r\n|\n|\r/);
  const { start, names, count } = preamble(lines);
  const split = splitter(lines[start] ?? "", Boolean(names?.at(-1)));
  const rows = [];
  for (let number = start; number < lines.length; number++) {
    const values = split(lines[number]);
    if (!values.length) continue;
    if (values.length !== (rows[0] ?? values).length || !values.every((value) => NUMBER.test(value)))
      throw new Error(`line ${number + 1} is ${JSON.stringify(lines[number].slice(0, 80))}`);
    rows.push(values.map(Number));
  }
  if (!rows.length) throw new Error("it has no points");
  if (count !== null && count !== rows.length)
    throw new Error(`it declares ${count} points, but has ${rows.length}`);
  const columns = rows[0].length;
  const named = names?.at(-1) === "" ? names.slice(0, -1) : names;
  const usual = format === "pts" && columns === PTS.length ? PTS : null;
  return {
    rows: rows.length,
    columns,
    names: named?.length === columns ? named : usual,
    at: (row, column) => rows[row][column],
  };
}

function preamble(lines) {
  let names = null;
  let count = null;
  for (let start = 0; start < lines.length; start++) {
    const line = lines[start].trim();
    const words = line.split(/[\s,;]+/).filter(Boolean);
    if (!words.length) continue;
    const isComment = /^(#|\/\/)/.test(line);
    if (words.length === 1 && /^\d+$/.test(words[0]) && count === null) count = Number(words[0]);
    else if (!isComment && words.some((word) => NUMBER.test(word))) return { start, names, count };
    else {
      const named = namesOf(line.replace(/^[#/ \t]+/, ""));
      if (["x", "y", "z"].every((name) => named.includes(name))) names = named;
      else if (!isComment) throw new Error(`line ${start + 1} is ${JSON.stringify(line)}`);
    }
  }
  return { start: lines.length, names, count };
}

function namesOf(line) {
  const separator = [";", ",", "\t"].find((sign) => line.includes(sign)) ?? /\s+/;
  const names = line
    .split(separator)
    .map((name) => name.replace(/\[.*?\]|\(.*?\)|["'\s]/g, "").toLowerCase());
  return names;
}

/**
 * line -> words; the first point tells whether a comma separates or is a decimal sign. Values that
 * are left empty are not numbers; at the end of a line only where the columns have names.
 */
function splitter(first, named) {
  const plain = withoutComment(first);
  const spaced = plain.split(",").some((word) => /\s/.test(word.trim()));
  const decimal = !plain.includes(".") && (plain.includes(";") || spaced);
  return (line) => {
    let text = withoutComment(line).replace(/(?<=[,;]|^)[ \t]*(?=[,;])/g, " nan ");
    if (named) text = text.replace(/(?<=[,;])\s*$/, " nan");
    return (decimal ? text.replaceAll(",", ".") : text).split(/[\s,;]+/).filter(Boolean);
  };
}

function withoutComment(line) {
  return line.split(/#|\/\//)[0];
}
