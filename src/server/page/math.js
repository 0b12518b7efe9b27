// Formulas, by KaTeX where the program was built with it, else as text.
import { hasKatex } from "./features.js";
import { el } from "./dom.js";

let loading = null;

// KaTeX is read when the first formula comes. It puts itself into the global object.
function load() {
  loading ??= (async () => {
    await new Promise((resolve) => {
      document.head.append(el("link", { rel: "stylesheet", href: "/page/katex.css", onload: resolve, onerror: resolve }));
    });
    await import("./katex.js");
    return globalThis.katex;
  })();
  return loading;
}

function draw(katex, node, tex, isDisplay) {
  try {
    // A model's text gets no links and no pictures, no macros without end and no sizes that cover the page.
    katex.render(tex, node, {
      displayMode: isDisplay, throwOnError: true, trust: false, strict: false, maxSize: 20, maxExpand: 300,
    });
    node.classList.add("drawn");
  } catch {
    node.textContent = tex;
    node.title = "This formula cannot be drawn.";
  }
}

// Returns an element that shows a formula of TeX's notation. `source` is how it was written, delimiters included.
export function mathNode(tex, isDisplay, source) {
  const node = el(isDisplay ? "div" : "span", { class: isDisplay ? "formula display" : "formula" }, source);
  if (!hasKatex) return node;
  if (globalThis.katex) {
    draw(globalThis.katex, node, tex, isDisplay);
  } else {
    load().then((katex) => draw(katex, node, tex, isDisplay), () => {});
  }
  return node;
}
