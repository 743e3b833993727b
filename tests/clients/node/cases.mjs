// A file of cases registers each call by name; `node FILE --list` prints the names, `node FILE` runs
// all of them against $LAMM_URL and prints one JSON object per line: {name, outcome, answer}.
import { readFileSync } from "node:fs";

const ROOT = new URL("../../../", import.meta.url);
export const MODEL = "lamm-mini";
export const BASE_URL = `${process.env.LAMM_URL ?? "http://127.0.0.1:8000"}/v1`;
export const COAT_PATH = new URL("examples/coat.png", ROOT);
export const COAT = readFileSync(COAT_PATH);
export const CHAIR = readFileSync(new URL("examples/chair.ply", ROOT));
export const QUESTION = "What is this?";

export const dataUrl = (bytes, kind = "image/png", encoding = "base64") =>
  `data:${kind};base64,${bytes.toString(encoding)}`;

const cases = [];

/** A call that works: `run` asserts what it expects and returns the answer. */
export const works = (name, run) => cases.push({ name, run, outcome: "works" });

/** A call that is refused: `run` returns the error, after asserting what it says. */
export const refused = (name, run) => cases.push({ name, run, outcome: "refused" });

/** The error that `run` rejects with. */
export async function errorOf(run) {
  try {
    await run();
  } catch (error) {
    return error;
  }
  throw new Error("it was not refused");
}

export async function main() {
  if (process.argv[2] === "--list") {
    console.log(JSON.stringify(cases.map(({ name }) => name)));
    return;
  }
  for (const { name, run, outcome } of cases) {
    let row;
    try {
      const answer = await run();
      const text = answer instanceof Error ? answer.message : JSON.stringify(answer);
      row = { name, outcome, answer: text };
    } catch (error) {
      row = { name, outcome: "failed", answer: `${error.stack}\n${error.responseBody ?? ""}` };
    }
    console.log(JSON.stringify(row));
  }
}
