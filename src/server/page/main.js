// The page of r1 serve: starts the views and switches between them.
import { byId, el, button } from "./dom.js";
import { getJson, ServerError } from "./api.js";
import { loadSettings, onSettings, openSettings } from "./settings.js";
import { setModel, show, startChat } from "./chat.js";
import { showList, startSidebar } from "./sidebar.js";
import { allConversations, endInterrupted, newConversation } from "./store.js";
import { leaveRuns, showRuns } from "./runs.js";

async function showModel() {
  const place = byId("model");
  try {
    const { data } = await getJson("/v1/models");
    setModel(data[0].id);
    place.textContent = data[0].id;
    place.title = `The model of this server; its context has ${data[0].context_length} tokens`;
  } catch (error) {
    if (!(error instanceof ServerError)) throw error;
    place.replaceChildren(error.message);
    if (error.kind === "key") place.append(" ", button("Enter the key", () => openSettings("key")));
  }
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;  // an address that this page did not make
  }
}

// The part after # names the view: #chat, #runs, or #runs/ID of a run.
function route() {
  const [view, ...rest] = location.hash.slice(1).split("/");
  const isRuns = view === "runs";
  byId("chat-view").hidden = isRuns;
  byId("runs-view").hidden = !isRuns;
  byId("sidebar").hidden = isRuns;
  byId("menu").hidden = isRuns;
  for (const link of document.querySelectorAll("header nav a")) {
    const isHere = (link.hash === "#runs") === isRuns;
    if (isHere) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = isRuns ? "Training runs: r1" : "r1";
  if (isRuns) void showRuns(rest.map(decoded).join("/"));
  else leaveRuns();
}

async function lastConversation() {
  const conversations = await allConversations();
  await endInterrupted(conversations);
  return conversations[0] ?? newConversation();
}

loadSettings();
startChat(() => void showList());
startSidebar();
byId("settings-button").addEventListener("click", () => openSettings());
onSettings(() => {
  void showModel();
  route();
});
addEventListener("hashchange", route);
show(await lastConversation());
await showList();
route();
await showModel();
document.body.append(el("span", { id: "ready", hidden: true }));
