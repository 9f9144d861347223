// Submit a job from Node.js (18 or newer) and wait for its answer. It needs no packages.
//
//     GATEWAY=http://127.0.0.1:8080 GATEWAY_KEY=fb_… node submit.mjs "The invoice is wrong."

const gateway = process.env.GATEWAY ?? "http://127.0.0.1:8080";
const headers = { "content-type": "application/json" };
if (process.env.GATEWAY_KEY) headers.authorization = `Bearer ${process.env.GATEWAY_KEY}`;

const FINAL = new Set(["done", "failed", "cancelled", "expired"]);

async function call(method, path, body) {
  const response = await fetch(gateway + path, { method, headers, body: body && JSON.stringify(body) });
  const found = await response.json();
  if (!response.ok) throw new Error(`${found.error.code}: ${found.error.message}`);
  return found;
}

// Repeat a call that failed on the way. The idempotency key makes sure that it is one job.
async function patiently(call, tries = 5) {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await call();
    } catch (error) {
      if (attempt === tries || !(error instanceof TypeError)) throw error;
      await new Promise((resolve) => setTimeout(resolve, 200 * 2 ** attempt));
    }
  }
}

async function answerOf(job) {
  const { id } = await patiently(() => call("POST", "/jobs", job));
  for (;;) {
    const { status, answer, error } = await patiently(() => call("GET", `/jobs/${id}?wait=30`));
    if (!FINAL.has(status.state)) continue;
    if (!answer) throw new Error(`${error.code}: ${error.message}`);
    return answer;
  }
}

const text = process.argv[2] ?? "";
try {
  const answer = await answerOf({
    request: { kind: "classify", text, labels: ["billing", "login"] },
    idempotency_key: crypto.randomUUID(),
  });
  console.log(`${answer.content.label}, in the ${answer.lane} lane`);
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
