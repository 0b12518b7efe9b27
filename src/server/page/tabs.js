// Other tabs of this page in the same browser: which answers they are writing, and what they have changed.
//
// A tab says which conversation it is writing an answer to, and every tab answers when it is asked. A tab that was closed
// does not answer; so its answers are known to be interrupted, and those of living tabs are not.

const kPatience = 400;  // ms that other tabs have to answer

const channel = "BroadcastChannel" in globalThis ? new BroadcastChannel("r1-conversations") : null;
let own = null;  // the conversation whose answer this tab is writing
let collecting = [];  // sets that gather the answers of other tabs
const listeners = { saved: [], deleted: [] };

function receive({ kind, id, isWriting }) {
  if (kind === "who") {
    if (own) channel.postMessage({ kind: "writing", id: own });
  } else if (kind === "writing") {
    for (const ids of collecting) ids.add(id);
  } else {
    for (const call of listeners[kind] ?? []) call(id, isWriting);
  }
}

if (channel) {
  channel.addEventListener("message", (event) => receive(event.data));
  addEventListener("pagehide", () => setWriting(null));
}

// Calls `call(id, isWriting)` when another tab has saved or deleted a conversation. `isWriting`: it is still writing an answer
// to it.
export const onSaved = (call) => listeners.saved.push(call);
export const onDeleted = (call) => listeners.deleted.push(call);

// This tab begins an answer in the conversation, or has saved its end (null).
export function setWriting(id) {
  const ended = id ? null : own;
  own = id;
  if (ended) tellSaved(ended);
}

export const tellSaved = (id) => channel?.postMessage({ kind: "saved", id, isWriting: id === own });
export const tellDeleted = (id) => channel?.postMessage({ kind: "deleted", id });

// Returns the ids of the conversations whose answers other tabs are writing now.
export async function writtenElsewhere() {
  const ids = new Set();
  if (!channel) return ids;
  collecting.push(ids);
  channel.postMessage({ kind: "who" });
  await new Promise((resolve) => setTimeout(resolve, kPatience));
  collecting = collecting.filter((other) => other !== ids);
  return ids;
}
