// Has a batch answered and is told of a response by a webhook, by OpenAI's client for Node.js; prints
// what came as one JSON document.
import { createServer } from "node:http";
import OpenAI, { toFile } from "openai";

const client = new OpenAI({ maxRetries: 0 });
const root = process.env.OPENAI_BASE_URL.replace(/\/v1$/, "");
const admin = { authorization: `Bearer ${process.env.OPENAI_API_KEY}` };
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function batch() {
  const lines = ["one", "two"].map((content) =>
    JSON.stringify({
      custom_id: content,
      method: "POST",
      url: "/v1/chat/completions",
      body: { model: "auto", messages: [{ role: "user", content }] },
    }),
  );
  const input = await toFile(Buffer.from(lines.join("\n")), "rows.jsonl");
  const file = await client.files.create({ file: input, purpose: "batch" });
  let made = await client.batches.create({
    input_file_id: file.id,
    endpoint: "/v1/chat/completions",
    completion_window: "24h",
  });
  while (!["completed", "failed", "expired", "cancelled"].includes(made.status)) {
    await pause(100);
    made = await client.batches.retrieve(made.id);
  }
  const output = await (await client.files.content(made.output_file_id)).text();
  const rows = output.trim().split("\n").map((line) => JSON.parse(line));
  const texts = rows.map((row) => [
    row.custom_id,
    row.response.body.choices[0].message.content,
  ]);
  return { status: made.status, texts: Object.fromEntries(texts) };
}

async function webhook() {
  let receive;
  const received = new Promise((resolve) => (receive = resolve));
  const server = createServer((request, response) => {
    let body = "";
    request.on("data", (data) => (body += data));
    request.on("end", () => {
      response.end();
      receive({ body, headers: request.headers });
    });
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const added = await fetch(`${root}/webhooks`, {
    method: "POST",
    headers: admin,
    body: JSON.stringify({
      url: `http://127.0.0.1:${server.address().port}/`,
      events: ["response.completed"],
    }),
  });
  const { id, secret } = await added.json();
  const begun = await client.responses.create({ model: "auto", input: "Hi.", background: true });
  const { body, headers } = await received;
  const event = await client.webhooks.unwrap(body, headers, secret);
  await fetch(`${root}/webhooks/${id}`, { method: "DELETE", headers: admin });
  server.closeAllConnections();
  server.close();
  const ended = await client.responses.retrieve(begun.id);
  return { type: event.type, same: event.data.id === begun.id, text: ended.output_text };
}

console.log(JSON.stringify({ batch: await batch(), webhook: await webhook() }));
