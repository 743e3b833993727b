// npm's `openai`.
import assert from "node:assert/strict";
import { createReadStream } from "node:fs";
import OpenAI, { BadRequestError, NotFoundError, toFile } from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";
import {
  BASE_URL, CHAIR, COAT, COAT_PATH, MODEL, QUESTION, dataUrl, errorOf, main, refused, works,
} from "./cases.mjs";

const client = new OpenAI({ baseURL: BASE_URL, apiKey: "any", maxRetries: 0 });
const picture = { type: "image_url", image_url: { url: dataUrl(COAT) } };
const about = (part, text = QUESTION) => [{ role: "user", content: [part, { type: "text", text }] }];
const asked = (part = picture) => ({ model: MODEL, messages: about(part) });
const content = (answer) => answer.choices[0].message.content;
const Garment = z.object({ item: z.enum(["coat", "bag", "shirt"]) });
const tool = {
  type: "function",
  function: { name: "report", parameters: z.toJSONSchema(Garment) },
};

async function chat(part, expected) {
  const answer = content(await client.chat.completions.create(asked(part)));
  assert.match(answer, expected);
  return answer;
}

works("chat about a picture", () => chat(picture, /coat/));
works("chat about a cloud", () => {
  const url = dataUrl(CHAIR, "application/octet-stream");
  return chat({ type: "point_cloud_url", point_cloud_url: { url, format: "ply" } }, /chair/);
});
works("a picture in URL-safe base64", () => {
  const url = dataUrl(COAT, "image/png", "base64url");
  return chat({ type: "image_url", image_url: { url } }, /coat/);
});
works("a bare string as `image_url`", () =>
  chat({ type: "image_url", image_url: dataUrl(COAT) }, /coat/));
works("a base URL that ends with a slash", async () => {
  const slashed = new OpenAI({ baseURL: `${BASE_URL}/`, apiKey: "any" });
  const answer = content(await slashed.chat.completions.create(asked()));
  assert.match(answer, /coat/);
  return answer;
});
works("stream with usage", async () => {
  const stream = await client.chat.completions.create({
    ...asked(), stream: true, stream_options: { include_usage: true },
  });
  let text = "", usage;
  for await (const chunk of stream) {
    text += chunk.choices[0]?.delta?.content ?? "";
    usage = chunk.usage ?? usage;
  }
  assert.match(text, /coat/);
  assert(usage.prompt_tokens > 64);
  return text;
});
works("`chat.completions.stream`", async () => {
  const stream = client.chat.completions.stream(asked());
  const deltas = [];
  stream.on("content", (delta) => deltas.push(delta));
  const answer = content(await stream.finalChatCompletion());
  assert.match(answer, /coat/);
  assert.equal(deltas.join(""), answer);
  return answer;
});
works("a stream that is aborted", async () => {
  const stream = await client.chat.completions.create({ ...asked(), stream: true });
  for await (const _ of stream) {
    stream.controller.abort();
    break;
  }
  return chat(picture, /coat/);
});
works("files: upload, its id in a `file` part, delete", async () => {
  const file = await client.files.create({ file: createReadStream(COAT_PATH), purpose: "vision" });
  const answer = await chat({ type: "file", file: { file_id: file.id } }, /coat/);
  assert.equal((await client.files.delete(file.id)).deleted, true);
  return answer;
});
works("files: `toFile` of a cloud's bytes", async () => {
  const upload = await toFile(CHAIR, "chair.ply");
  const file = await client.files.create({ file: upload, purpose: "user_data" });
  return chat({ type: "file", file: { file_id: file.id } }, /chair/);
});
works("`chat.completions.parse` with zod", async () => {
  const answer = await client.chat.completions.parse({
    ...asked(), response_format: zodResponseFormat(Garment, "garment"),
  });
  assert.deepEqual(answer.choices[0].message.parsed, { item: "coat" });
  return answer.choices[0].message.parsed;
});
works("`tool_choice` required", async () => {
  const answer = await client.chat.completions.create({
    ...asked(), tools: [tool], tool_choice: "required",
  });
  const [call] = answer.choices[0].message.tool_calls;
  assert.deepEqual(JSON.parse(call.function.arguments), { item: "coat" });
  return call.function;
});
works("`chat.completions.runTools`", async () => {
  const calls = [];
  const report = { ...tool.function, parse: JSON.parse, function: (given) => calls.push(given) };
  const runner = client.chat.completions.runTools({
    ...asked(), tools: [{ type: "function", function: report }],
  });
  const answer = await runner.finalContent();
  assert(calls.length > 0 || /coat/.test(answer));
  return answer;
});
works("`responses.create`", async () => {
  const part = { type: "input_image", image_url: dataUrl(COAT), detail: "auto" };
  const text = { type: "input_text", text: QUESTION };
  const input = [{ role: "user", content: [part, text] }];
  const answer = await client.responses.create({ model: MODEL, input });
  assert.match(answer.output_text, /coat/);
  return answer.output_text;
});
works("`responses.stream` of a tool's call", async () => {
  const part = { type: "input_image", image_url: dataUrl(COAT), detail: "auto" };
  const input = [{ role: "user", content: [part, { type: "input_text", text: QUESTION }] }];
  const stream = client.responses.stream({
    model: MODEL, input, tools: [{ type: "function", ...tool.function }], tool_choice: "required",
  });
  const [call] = (await stream.finalResponse()).output;
  assert.deepEqual(JSON.parse(call.arguments), { item: "coat" });
  return call.arguments;
});
refused("an unknown model: `NotFoundError`", async () => {
  const error = await errorOf(() =>
    client.chat.completions.create({ ...asked(), model: "nope" }));
  assert(error instanceof NotFoundError);
  assert.equal(error.code, "model_not_found");
  return error;
});
refused("a value out of range: `BadRequestError`", async () => {
  const error = await errorOf(() =>
    client.chat.completions.create({ ...asked(), temperature: 5 }));
  assert(error instanceof BadRequestError);
  assert.equal(error.param, "temperature");
  return error;
});
refused("embeddings", async () => {
  const error = await errorOf(() => client.embeddings.create({ model: MODEL, input: "hi" }));
  assert(error instanceof NotFoundError);
  assert.match(error.message, /POST \/v1\/chat\/completions/);
  return error;
});

await main();
