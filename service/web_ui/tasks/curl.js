// The curl command that sends the form's values.

/** `medium` may be null; `inputs` and `fields` become form fields; `keyed` names the key's variable. */
export function curlLine(url, medium, inputs, fields, keyed) {
  const parts = [`curl -s ${quoted(url)}`];
  if (keyed) parts.push('-H "Authorization: Bearer $LAMM_API_KEY"');
  parts.push(`-F ${quoted(`file=@${fileName(medium?.name ?? "FILE")}`)}`);
  const cloud =
    medium && !medium.isPicture
      ? {
          format: medium.format,
          units: medium.units,
          up_axis: medium.upAxis,
          ...(medium.columns ? { columns: medium.columns } : {}),
        }
      : {};
  // --form-string takes every value literally; -F would read a file where one begins with @.
  for (const [name, value] of Object.entries({ ...cloud, ...inputs, ...fields })) {
    const plain =
      typeof value === "string"
        ? value
        : typeof value === "object"
          ? JSON.stringify(value)
          : String(value);
    parts.push(`--form-string ${quoted(`${name}=${plain}`)}`);
  }
  return parts.join(" \\\n  ");
}

/** Quotes for a POSIX shell, if necessary. */
function quoted(text) {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

/** A file name with a comma or semicolon needs curl's own quotes. */
function fileName(name) {
  return /^[\w.-]+$/.test(name)
    ? name
    : `"${name.replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"`;
}
