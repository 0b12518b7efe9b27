// Makes elements. Text becomes text nodes, never markup: nothing on this page makes HTML of a string.

// el("a", {class: "x", href: "...", onclick: f, hidden: true}, "text", node, ...)
export function el(tag, properties = {}, ...children) {
  return fill(document.createElement(tag), properties, children);
}

export function svg(tag, properties = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), properties, children);
}

function fill(node, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) {
      node.addEventListener(name.slice(2), value);
    } else if (name === "value") {
      node.value = value;
    } else {
      node.setAttribute(name, value === true ? "" : String(value));
    }
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== ""));
  return node;
}

export function button(label, onclick, properties = {}) {
  return el("button", { type: "button", onclick, ...properties }, label);
}

export const byId = (id) => document.getElementById(id);

// Says a sentence to a screen reader, after what it is saying now.
export function announce(sentence) {
  const status = byId("status");
  const line = el("p", {}, sentence);
  status.append(line);
  setTimeout(() => line.remove(), 10000);
}

// Copies a text, and says so on the button for a moment.
export async function copyText(text, pressed) {
  const label = pressed.textContent;
  let said = "Copied";
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    said = "The browser does not allow copying";
  }
  pressed.textContent = said;
  announce(said + ".");
  setTimeout(() => { pressed.textContent = label; }, 2000);
}
