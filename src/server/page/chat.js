// The conversation that is open: asking, stopping, regenerating, editing.
import { el, button, byId, announce } from "./dom.js";
import { ServerError, streamChat } from "./api.js";
import { requestFields, settings, costOf, openSettings, onSettings } from "./settings.js";
import { AnswerElement, userElement, duration, speedOf } from "./message.js";
import { Speaker } from "./announce.js";
import { saveConversation, newConversation } from "./store.js";

const kDrawEvery = 80;     // ms between two drawings of a growing answer
const kSaveEvery = 1000;   // ms between two savings of it
const kLongestTitle = 60;  // characters

let conversation = newConversation();
let running = null;  // {message, element, abort}
let modelName = "";
let onChange = () => {};  // the list of conversations

export const openConversation = () => conversation;
export const isRunning = () => running !== null;

export function startChat(changed) {
  onChange = changed;
  const form = byId("composer"), text = byId("message");
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    send();
  });
  text.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    send();
  });
  text.addEventListener("input", fitComposer);
  byId("stop").addEventListener("click", stop);
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && running && !event.defaultPrevented && !byId("settings").open) stop();
  });
  onSettings(showConversation);
}

export function setModel(name) {
  modelName = name;
}

// Shows another conversation. The answer that is being written is stopped.
export function show(next) {
  if (running) stop();
  conversation = next;
  showConversation();
}

export function stop() {
  running?.abort.abort();
}

function fitComposer() {
  const text = byId("message");
  text.style.height = "auto";
  text.style.height = `${text.scrollHeight + 2}px`;
}

function send() {
  const text = byId("message");
  const content = text.value.trim();
  if (!content || running) return;
  text.value = "";
  fitComposer();
  conversation.messages.push({ role: "user", content });
  if (!conversation.title) conversation.title = content.split("\n")[0].slice(0, kLongestTitle);
  ask();
}

// Replaces the message at `index`, and everything after it.
function edit(index, content) {
  conversation.messages.length = index;
  conversation.messages.push({ role: "user", content });
  ask();
  byId("message").focus();
}

function regenerate() {
  if (running) return;
  conversation.messages.pop();
  if (settings().seed !== "") announce("The seed is set, so the answer will be the same.");
  ask();
  byId("message").focus();
}

function requestMessages() {
  const messages = conversation.messages.map(({ role, content }) => ({ role, content }));
  return settings().system ? [{ role: "system", content: settings().system }, ...messages] : messages;
}

// Asks for the answer to the conversation as it is.
async function ask() {
  const body = { ...requestFields(), messages: requestMessages() };
  const message = {
    role: "assistant", content: "", reasoning: "", model: modelName, state: "running", finish: "", notice: "", stats: {},
  };
  conversation.messages.push(message);
  conversation.updated = Date.now();
  const asked = conversation;
  running = { message, abort: new AbortController() };
  showConversation();
  await save(asked);
  onChange();
  announce("The model is thinking.");
  const writer = new Writer(message, asked);
  try {
    await streamChat(body, running.abort.signal, (chunk) => writer.take(chunk));
    message.state = "done";
  } catch (error) {
    writer.fail(error);
  }
  writer.end();
  running = null;
  asked.updated = Date.now();
  await save(asked);
  if (asked === conversation) showConversation();
  onChange();
}

async function save(which) {
  await saveConversation(which);
}

// Takes the chunks of an answer.
class Writer {
  constructor(message, asked) {
    this.message = message;
    this.asked = asked;
    this.began = performance.now();
    this.speaker = new Speaker();
    this.drawn = this.saved = 0;
  }

  take(chunk) {
    const { message } = this;
    const stats = message.stats;
    const now = (performance.now() - this.began) / 1000;
    if (Number.isSafeInteger(chunk.seed)) message.seed = chunk.seed;
    if (chunk.usage) {
      stats.tokens = chunk.usage.completion_tokens;
      stats.prompt = chunk.usage.prompt_tokens;
      stats.cached = chunk.usage.prompt_tokens_details?.cached_tokens ?? 0;
      stats.reasoning = chunk.usage.completion_tokens_details?.reasoning_tokens ?? 0;
    }
    const choice = chunk.choices?.[0];
    if (!choice) return;
    const thought = choice.delta?.reasoning_content, content = choice.delta?.content;
    if (choice.token_ids?.length) {
      stats.tokens = (stats.tokens ?? 0) + choice.token_ids.length;
      stats.first ??= now;
    }
    stats.seconds = now;
    if (thought) {
      this.thoughtBegan ??= now;
      message.reasoning += thought;
      stats.thought = now - this.thoughtBegan;
    }
    if (content) {
      if (!message.content && message.reasoning) {
        stats.thought = now - this.thoughtBegan;
        announce(`Thought for ${duration(stats.thought)}. The answer begins.`);
      }
      message.content += content;
      this.speaker.add(content);
    }
    if (choice.finish_reason) message.finish = choice.finish_detail ?? choice.finish_reason;
    this.#show();
  }

  fail(error) {
    if (error.name === "AbortError") {
      this.message.state = "stopped";
    } else {
      this.message.state = "failed";
      this.message.notice = error instanceof ServerError ? error.message : `The page has an error: ${error.message}`;
      if (error.kind === "key") this.message.needsKey = true;
    }
  }

  end() {
    this.message.stats.seconds = (performance.now() - this.began) / 1000;
    this.speaker.end();
    if (this.message.state === "done") announce("The answer is complete.");
    if (this.message.state === "stopped") announce("The answer was stopped.");
    if (this.message.state === "failed") announce(this.message.notice);
  }

  #show() {
    const now = performance.now();
    if (now - this.drawn > kDrawEvery) {
      this.drawn = now;
      if (this.asked === conversation && running) drawLive();
    }
    if (now - this.saved > kSaveEvery) {
      this.saved = now;
      void save(this.asked);
    }
  }
}

// Draws what the answer has, and keeps the end in sight if it was.
function drawLive() {
  const page = document.scrollingElement;
  const follows = page.scrollHeight - page.scrollTop - page.clientHeight < 80;
  running.element.update(true, true);
  showTotals();
  if (follows) page.scrollTop = page.scrollHeight;
}

export function showConversation() {
  const { messages } = conversation;
  const name = conversation.title || "New conversation";
  byId("chat-title").textContent = name;
  byId("empty").hidden = messages.length > 0;
  const items = messages.map((message, index) => {
    if (message.role === "user")
      return el("li", {}, userElement(message, { mayEdit: () => !running, edit: (text) => edit(index, text) }));
    const isLast = index === messages.length - 1;
    const isLive = running?.message === message;
    const answer = new AnswerElement(message, { regenerate });
    if (isLive) running.element = answer;
    answer.update(isLive, isLast);
    if (message.needsKey && isLast) answer.notice.append(" ", button("Open the settings", () => openSettings("key")));
    return el("li", {}, answer.element);
  });
  byId("messages").replaceChildren(...items);
  byId("send").hidden = running !== null;
  byId("stop").hidden = running === null;
  showTotals();
  if (running) document.scrollingElement.scrollTop = document.scrollingElement.scrollHeight;
}

// What the conversation has used so far.
function showTotals() {
  let tokens = 0, prompt = 0, seconds = 0;
  for (const { stats } of conversation.messages) {
    tokens += stats?.tokens ?? 0;
    prompt += stats?.prompt ?? 0;
    seconds += stats?.seconds ?? 0;
  }
  const parts = [];
  const speed = running ? speedOf(running.message.stats) : 0;
  if (speed) parts.push(`${speed.toFixed(speed < 10 ? 1 : 0)} tokens/s`);
  if (tokens) parts.push(`This conversation: ${tokens} tokens generated, ${prompt} read`);
  if (tokens && costOf(seconds)) parts.push(costOf(seconds));
  byId("totals").textContent = parts.join(" · ");
}
