// Requests to the server that this page came from.
import { settings } from "./settings.js";

// An error with a sentence for a person. `kind` is "key", "busy", "offline", "refused" or "broken".
export class ServerError extends Error {
  constructor(message, kind) {
    super(message);
    this.kind = kind;
  }
}

function headers(more = {}) {
  const key = settings().key;
  return key ? { ...more, Authorization: `Bearer ${key}` } : more;
}

async function ask(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { ...options, headers: headers(options.headers) });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServerError("The server cannot be reached. Check that r1 serve is running.", "offline");
  }
  if (!response.ok) throw await refusal(response);
  return response;
}

// Says in plain words why the server refused.
async function refusal(response) {
  let message = "";
  try {
    message = (await response.json()).error.message;
  } catch {
    message = `The server answered with status ${response.status}.`;
  }
  if (response.status === 401)
    return new ServerError("The server asks for an API key. Enter it in the settings.", "key");
  if (response.status === 429) {
    const seconds = Number(response.headers.get("Retry-After")) || 1;
    return new ServerError(
      `The server is busy. Try again in ${seconds} ${seconds === 1 ? "second" : "seconds"}.`, "busy");
  }
  if (response.status === 503) return new ServerError(`The server cannot answer now: ${message}`, "busy");
  return new ServerError(`The server refused the request: ${message}`, "refused");
}

export async function getJson(path) {
  const response = await ask(path, { cache: "no-cache" });
  try {
    return await response.json();
  } catch {
    throw new ServerError("The server's answer was cut off.", "broken");
  }
}

// Sends a request of chat completions and calls onChunk for each object of the stream. Resolves when the answer is
// complete; throws ServerError, or AbortError after `signal`.
export async function streamChat(body, signal, onChunk) {
  const response = await ask("/v1/chat/completions", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ ...body, stream: true, stream_options: { include_usage: true }, return_token_ids: true }),
    signal,
  });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let unread = "";
  for (;;) {
    let part;
    try {
      part = await reader.read();
    } catch (error) {
      if (signal.aborted) throw new DOMException("stopped", "AbortError");
      throw broken();
    }
    if (part.done) throw broken();
    unread += part.value;
    const events = unread.split("\n\n");
    unread = events.pop();
    for (const event of events) {
      if (event === "data: [DONE]") return;
      if (!event.startsWith("data: ")) continue;
      const chunk = JSON.parse(event.slice("data: ".length));
      if (chunk.error) throw new ServerError(`The server ended the answer: ${chunk.error.message}`, "broken");
      onChunk(chunk);
    }
  }
}

function broken() {
  return new ServerError("The connection ended before the answer was complete. What came is kept.", "broken");
}
