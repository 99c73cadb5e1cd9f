// The official OpenAI SDK for Node, used the way its users use it.
"use strict";

const assert = require("node:assert/strict");
const OpenAI = require("openai").default ?? require("openai");

const { BASE_URL, API_KEY, CHAT_MODEL, EMBEDDING_MODEL, FORBIDDEN_MODEL } = process.env;
const client = new OpenAI({ baseURL: BASE_URL, apiKey: API_KEY, maxRetries: 0 });

function say(content, more = {}, speaker = client) {
  return speaker.chat.completions.create({ model: CHAT_MODEL, messages: [{ role: "user", content }], ...more });
}

async function chat() {
  const answer = await say("Good day?", { temperature: 0.5 });
  assert.equal(answer.choices[0].message.content, "Good day!");
  assert.equal(answer.usage.total_tokens, 14);
  assert.ok(answer._request_id);
}

async function stream() {
  let text = "";
  for await (const chunk of await say("Good day?", { stream: true })) {
    text += chunk.choices[0]?.delta?.content ?? "";
  }
  assert.equal(text, "Good day!");
  let usage;
  for await (const chunk of await say("Good day?", { stream: true, stream_options: { include_usage: true } })) {
    usage = chunk.usage ?? usage;
  }
  assert.equal(usage.prompt_tokens, 11);
}

async function tools() {
  const tools = [{ type: "function", function: { name: "weather", parameters: { type: "object", properties: {} } } }];
  const answer = await say("use the tool", { tools });
  assert.equal(answer.choices[0].message.tool_calls[0].function.arguments, '{"city":"Lyon"}');
}

async function embeddings() {
  const answer = await client.embeddings.create({ model: EMBEDDING_MODEL, input: "one", encoding_format: "float" });
  assert.deepEqual(answer.data[0].embedding, [0.25, -0.5, 0.125]);
}

async function models() {
  const names = [];
  for await (const model of client.models.list()) {
    names.push(model.id);
  }
  assert.deepEqual(names.sort(), [CHAT_MODEL, EMBEDDING_MODEL].sort());
  assert.equal((await client.models.retrieve(CHAT_MODEL)).id, CHAT_MODEL);
}

async function errors() {
  const wrong = new OpenAI({ baseURL: BASE_URL, apiKey: "sk-wrong", maxRetries: 0 });
  await assert.rejects(say("x", {}, wrong), OpenAI.AuthenticationError);
  await assert.rejects(say("x", { model: "no-such-model" }), OpenAI.NotFoundError);
  await assert.rejects(say("x", { model: FORBIDDEN_MODEL }), OpenAI.PermissionDeniedError);
  await assert.rejects(say("status 400"), OpenAI.BadRequestError);
  await assert.rejects(say("status 429"), OpenAI.RateLimitError);
  await assert.rejects(say("status 500"), OpenAI.InternalServerError);
}

(async () => {
  for (const part of [chat, stream, tools, embeddings, models, errors]) {
    await part();
  }
  console.log("ok");
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
