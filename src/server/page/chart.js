// A curve as SVG, with its figures as a table.
import { el, svg } from "./dom.js";

const kWidth = 360, kHeight = 170;
const kLeft = 46, kRight = 10, kTop = 10, kBottom = 24;
const kMostTableRows = 40;

export function numberText(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 1e6) return String(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(2);
  return String(Number(value.toPrecision(4)));
}

// Returns round numbers between low and high, both within reach.
function ticksBetween(low, high, count) {
  const raw = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw);
  const ticks = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; ++i) ticks.push(Number((i * step).toPrecision(12)));
  return ticks;
}

function rangeOf(values) {
  let low = Infinity, high = -Infinity;
  for (const value of values) {
    if (!Number.isFinite(value)) continue;
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  if (low > high) return null;
  if (low === high) {
    const room = Math.abs(low) / 10 || 1;
    return [low - room, high + room];
  }
  const room = (high - low) * 0.05;
  return [low - room, high + room];
}

// series: [{name, values}], the first of which is drawn thick; xs: one number per value. `note` explains the curve.
export function chart({ title, note, xs, xName, series }) {
  const points = series.flatMap((one) => one.values).filter((value) => value !== null);
  const yRange = rangeOf(points), xRange = xs.length > 1 ? [xs[0], xs.at(-1)] : rangeOf(xs);
  const readout = el("span", { class: "muted" });
  const figure = el("figure", { class: "chart" }, el("figcaption", {}, el("span", {}, title), readout));
  if (!yRange) {
    figure.append(el("p", { class: "muted small" }, "There is no figure yet."));
    return figure;
  }
  const x = (value) => kLeft + ((value - xRange[0]) / (xRange[1] - xRange[0] || 1)) * (kWidth - kLeft - kRight);
  const y = (value) => kHeight - kBottom - ((value - yRange[0]) / (yRange[1] - yRange[0])) * (kHeight - kTop - kBottom);
  const known = (values) => values.filter((value) => value !== null);
  const main = known(series[0].values);
  const summary = `${title}: ${numberText(main[0])} at first, ${numberText(main.at(-1))} now, ` +
    `between ${numberText(Math.min(...main))} and ${numberText(Math.max(...main))}.`;
  const cursor = svg("line", { class: "cursor", y1: kTop, y2: kHeight - kBottom, visibility: "hidden" });
  const drawing = svg("svg", { viewBox: `0 0 ${kWidth} ${kHeight}`, role: "img", "aria-label": summary },
    ...ticksBetween(...yRange, 4).map((tick) => [
      svg("line", { class: "grid", x1: kLeft, x2: kWidth - kRight, y1: y(tick), y2: y(tick) }),
      svg("text", { class: "tick", x: kLeft - 6, y: y(tick) + 3.5, "text-anchor": "end" }, numberText(tick))]),
    ...(xs.length > 1 ? ticksBetween(...xRange, 5) : xs).map((tick) =>
      svg("text", { class: "tick", x: x(tick), y: kHeight - 8, "text-anchor": "middle" }, numberText(tick))),
    ...series.map((one, i) => curve(one.values, xs, x, y, i)).reverse(), cursor);
  const showAt = (i) => {
    readout.textContent = `${numberText(series[0].values[i])} at ${xName} ${numberText(xs[i])}`;
  };
  const rest = () => {
    cursor.setAttribute("visibility", "hidden");
    readout.textContent = numberText(main.at(-1));
  };
  drawing.addEventListener("pointermove", (event) => {
    const box = drawing.getBoundingClientRect();
    const at = xRange[0] + (((event.clientX - box.left) / box.width) * kWidth - kLeft) /
      (kWidth - kLeft - kRight) * (xRange[1] - xRange[0]);
    let nearest = 0;
    for (let i = 1; i < xs.length; ++i) {
      if (Math.abs(xs[i] - at) < Math.abs(xs[nearest] - at)) nearest = i;
    }
    cursor.setAttribute("x1", x(xs[nearest]));
    cursor.setAttribute("x2", x(xs[nearest]));
    cursor.setAttribute("visibility", "visible");
    showAt(nearest);
  });
  drawing.addEventListener("pointerleave", rest);
  rest();
  figure.append(drawing, note ? el("p", { class: "muted small" }, note) : "", figures(title, xs, xName, series));
  return figure;
}

function curve(values, xs, x, y, index) {
  let path = "", isDown = false;
  const lone = [];
  values.forEach((value, i) => {
    if (value === null || !Number.isFinite(value)) {
      isDown = false;
      return;
    }
    path += `${isDown ? "L" : "M"}${x(xs[i]).toFixed(1)} ${y(value).toFixed(1)}`;
    isDown = true;
    // A value between two gaps, as evaluations have: a line alone would not show it.
    if (values[i - 1] === null || values[i - 1] === undefined) lone.push(i);
  });
  const few = values.filter((value) => value !== null).length <= kMostTableRows;
  const dots = few ? values.map((value, i) => i).filter((i) => values[i] !== null) : lone;
  return svg("g", { class: `series-${index}` }, svg("path", { d: path, fill: "none" }),
    ...(index === 0 && (few || lone.length > 1) ? dots.map((i) => svg("circle", { cx: x(xs[i]), cy: y(values[i]), r: 2 })) : []));
}

// The figures, at even distances if there are many; made when it is opened.
function figures(title, xs, xName, series) {
  const details = el("details", { class: "figures", "data-key": `figures of ${title}` }, el("summary", {}, `Figures of ${title}`));
  details.addEventListener("toggle", () => {
    if (!details.open || details.childElementCount > 1) return;
    const rows = xs.map((_, i) => i).filter((i) => series.some((one) => one.values[i] !== null));
    const every = Math.ceil(rows.length / kMostTableRows);
    const chosen = rows.filter((_, i) => (rows.length - 1 - i) % every === 0);
    details.append(el("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": `Figures of ${title}` },
      el("table", {},
        el("thead", {}, el("tr", {}, el("th", { scope: "col" }, xName),
          ...series.map((one) => el("th", { scope: "col" }, one.name)))),
        el("tbody", {}, ...chosen.map((i) => el("tr", {}, el("th", { scope: "row" }, numberText(xs[i])),
          ...series.map((one) => el("td", {}, numberText(one.values[i])))))))));
  });
  return details;
}
