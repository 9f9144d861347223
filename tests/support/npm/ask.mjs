// Asks a gateway by OpenAI's client for Node.js, and prints what it answered as one JSON document.
import OpenAI from "openai";

const client = new OpenAI({ maxRetries: 0 });
const messages = [{ role: "user", content: "Hello there, forebay." }];
const weather = {
  name: "weather",
  parameters: {
    type: "object",
    properties: { city: { type: "string", minLength: 1 } },
    required: ["city"],
    additionalProperties: false,
  },
};

async function streamed() {
  const stream = await client.chat.completions.create({ model: "auto", messages, stream: true });
  let text = "";
  for await (const chunk of stream) text += chunk.choices[0]?.delta?.content ?? "";
  return text;
}

async function refused() {
  try {
    await client.chat.completions.create({ model: "gpt-9", messages });
  } catch (error) {
    return { status: error.status, param: error.param, code: error.code };
  }
}

const chat = await client.chat.completions.create({ model: "auto", messages });
const tools = await client.chat.completions.create({
  model: "auto",
  messages,
  tools: [{ type: "function", function: weather }],
  tool_choice: "required",
});
const vectors = await client.embeddings.create({ model: "auto", input: ["one", "two"] });
const response = await client.responses.create({ model: "auto", input: "Hello there, forebay." });
const decision = await client.decisions.create({
  model: "auto",
  input: "My parcels are late.",
  questions: [
    {
      type: "choice",
      instructions: "Which team?",
      choices: [{ value: "billing" }, { value: "parcels" }],
    },
  ],
});
const models = await client.models.list();
console.log(
  JSON.stringify({
    chat: chat.choices[0].message.content,
    lane: chat.forebay.lane,
    stream: await streamed(),
    call: tools.choices[0].message.tool_calls[0].function,
    vectors: vectors.data.map((one) => one.embedding.length),
    response: response.output_text,
    decision: decision.answers[0].choice,
    models: models.data.map((model) => model.id),
    refused: await refused(),
  }),
);
