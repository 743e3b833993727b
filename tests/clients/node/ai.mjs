// Vercel's AI SDK: `ai` with `@ai-sdk/openai-compatible`, and with `@ai-sdk/openai` for its chat.
import assert from "node:assert/strict";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import {
  Output, embed, generateObject, generateText, isStepCount, streamObject, streamText, tool,
} from "ai";
import { z } from "zod";
import { BASE_URL, CHAIR, COAT, MODEL, QUESTION, errorOf, main, refused, works } from "./cases.mjs";

globalThis.AI_SDK_LOG_WARNINGS = false;
const options = { name: "lamm", baseURL: BASE_URL, apiKey: "any" };
const provider = createOpenAICompatible({
  ...options, includeUsage: true, supportsStructuredOutputs: true,
});
const model = provider(MODEL);
const ITEMS = ["coat", "bag", "shirt"];
const Garment = z.object({ item: z.enum(ITEMS) });
const text = { type: "text", text: QUESTION };
const about = (...parts) => ({ messages: [{ role: "user", content: [...parts, text] }] });
const picture = { type: "image", image: COAT };
const report = tool({
  description: "Report the piece of clothing in a picture",
  inputSchema: Garment,
  execute: async ({ item }) => `reported ${item}`,
});

async function saysCoat(asked, model_ = model) {
  const answer = await generateText({ model: model_, maxRetries: 0, ...asked });
  assert.match(answer.text, /coat/);
  assert(answer.usage.inputTokens > 64);
  return answer.text;
}

works("`generateText`", async () => {
  const answer = await generateText({ model, prompt: "Hello!" });
  assert.match(answer.text, /picture/);
  return answer.text;
});
works("an image part", () => saysCoat(about(picture)));
works("a picture in a file part", () =>
  saysCoat(about({ type: "file", data: COAT, mediaType: "image/png" })));
works("`@ai-sdk/openai` `.chat`: an image part", () =>
  saysCoat(about(picture), createOpenAI(options).chat(MODEL)));
works("`@ai-sdk/openai` responses: an image part", () =>
  saysCoat(about(picture), createOpenAI(options)(MODEL)));
works("`@ai-sdk/openai` responses: a tool's call, an object", async () => {
  const responses = createOpenAI(options)(MODEL);
  const called = await generateText({
    model: responses, tools: { report }, toolChoice: "required", ...about(picture),
  });
  assert.equal(called.toolResults[0].output, "reported coat");
  const { output } = await generateText({
    model: responses, output: Output.object({ schema: Garment }), ...about(picture),
  });
  assert.deepEqual(output, { item: "coat" });
  return output;
});
refused("a cloud in a file part (the AI SDK itself)", async () => {
  const file = { data: CHAIR, mediaType: "application/octet-stream", filename: "chair.ply" };
  const error = await errorOf(() =>
    generateText({ model, maxRetries: 0, ...about({ type: "file", ...file }) }));
  assert.match(error.message, /octet-stream/);
  return error;
});
works("a cloud with `transformRequestBody`", async () => {
  const url = `data:application/octet-stream;base64,${CHAIR.toString("base64")}`;
  const cloud = { type: "point_cloud_url", point_cloud_url: { url, format: "ply" } };
  const transformRequestBody = (body) => ({
    ...body, messages: [{ role: "user", content: [cloud, text] }],
  });
  const { text: answer } = await generateText({
    model: createOpenAICompatible({ ...options, transformRequestBody })(MODEL), prompt: QUESTION,
  });
  assert.match(answer, /chair/);
  return answer;
});
works("`streamText`", async () => {
  const stream = streamText({ model, ...about(picture) });
  let answer = "";
  for await (const delta of stream.textStream) answer += delta;
  assert.match(answer, /coat/);
  assert((await stream.usage).outputTokens > 2);
  return answer;
});
works("`generateObject`", async () => {
  const { object } = await generateObject({ model, schema: Garment, ...about(picture) });
  assert.deepEqual(object, { item: "coat" });
  return object;
});
works("`generateObject` with a free string", async () => {
  const schema = z.object({ item: z.string() });
  const { object } = await generateObject({ model, schema, ...about(picture) });
  assert.equal(typeof object.item, "string");
  return object;
});
works("`generateObject` `output: \"array\"`", async () => {
  const { object } = await generateObject({
    model, output: "array", schema: Garment, ...about(picture),
  });
  assert(Array.isArray(object));
  assert(object.every(({ item }) => ITEMS.includes(item)));
  return object;
});
works("`generateObject` `output: \"enum\"`", async () => {
  const { object } = await generateObject({
    model, output: "enum", enum: ITEMS, ...about(picture),
  });
  assert.equal(object, "coat");
  return object;
});
works("`generateObject` `output: \"no-schema\"`", async () => {
  const { object } = await generateObject({ model, output: "no-schema", ...about(picture) });
  assert.equal(typeof object, "object");
  return object;
});
works("`streamObject`", async () => {
  const stream = streamObject({ model, schema: Garment, ...about(picture) });
  const parts = [];
  for await (const part of stream.partialObjectStream) parts.push(part);
  assert.deepEqual(await stream.object, { item: "coat" });
  assert.deepEqual(parts.at(-1), { item: "coat" });
  return parts.at(-1);
});
works("`generateText` with `Output.object`", async () => {
  const answer = await generateText({
    model, output: Output.object({ schema: Garment }), ...about(picture),
  });
  assert.deepEqual(answer.output, { item: "coat" });
  return answer.output;
});
works("`generateText` with `toolChoice: \"required\"`", async () => {
  const answer = await generateText({
    model, tools: { report }, toolChoice: "required", ...about(picture),
  });
  assert.equal(answer.finishReason, "tool-calls");
  assert.deepEqual(answer.toolCalls[0].input, { item: "coat" });
  assert.equal(answer.toolResults[0].output, "reported coat");
  return answer.toolCalls[0].input;
});
works("`generateText` in several steps", async () => {
  const answer = await generateText({
    model, tools: { report }, stopWhen: isStepCount(3), ...about(picture),
    prepareStep: ({ stepNumber }) => ({ toolChoice: stepNumber === 0 ? "required" : "none" }),
  });
  assert.equal(answer.steps[0].toolResults[0].output, "reported coat");
  assert.equal(answer.steps.length, 2);
  assert(answer.text);
  return answer.text;
});
works("`streamText` of a tool's call", async () => {
  const stream = streamText({
    model, tools: { report }, toolChoice: "required", ...about(picture),
  });
  assert.deepEqual((await stream.toolCalls)[0].input, { item: "coat" });
  return (await stream.toolCalls)[0].input;
});
works("system message, and an assistant's first", async () => {
  const messages = [{ role: "assistant", content: "Hello!" }, ...about(picture).messages];
  return saysCoat({ instructions: "Be brief.", messages });
});
works("a tool's call in the history", async () => {
  const call = { toolCallId: "1", toolName: "weather" };
  const result = { type: "tool-result", ...call, output: { type: "text", value: "sunny" } };
  const answer = await generateText({
    model,
    messages: [
      { role: "user", content: "What is the weather?" },
      { role: "assistant", content: [{ type: "tool-call", ...call, input: {} }] },
      { role: "tool", content: [result] },
    ],
  });
  assert(answer.text);
  return answer.text;
});
refused("an unknown model: `APICallError`", async () => {
  const error = await errorOf(() =>
    generateText({ model: provider("nope"), prompt: "Hello!", maxRetries: 0 }));
  assert.equal(error.statusCode, 404);
  assert.match(error.message, /'nope'/);
  return error;
});
refused("`embed`", async () => {
  const error = await errorOf(() =>
    embed({ model: provider.embeddingModel(MODEL), value: "hi", maxRetries: 0 }));
  assert.match(error.message, /POST \/v1\/embeddings/);
  return error;
});

await main();
