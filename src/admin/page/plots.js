// The four plots, each with a legend that is its table of values, and a table of the latest.

import { make, mark, millis, rate, say, short, time } from "./words.js";

/* global uPlot */

const perSecond = (name) => (row) => (row[name] * 1000) / row.span;

// One without `always` is in the legend only where it is seen.
const series = (name, label, colour, value = perSecond(name), dash = null) => ({ label, colour, value, dash, always: false });
const always = (one) => ({ ...one, always: true });

const PLOTS = [
  {
    id: "verdicts",
    title: "Requests by verdict",
    unit: "a second",
    stacked: true,
    format: rate,
    series: [
      always(series("forwarded", "Forwarded", "blue", (row) => ((row.forwarded + row.tunnelled) * 1000) / row.span)),
      series("recycled", "Recycled", "teal"),
      series("answered", "Answered", "violet"),
      series("challenged", "Challenged", "amber"),
      series("refused", "Refused", "red"),
      series("rejected", "Rejected", "grey", (row) => ((row.rejected + row.unjudged) * 1000) / row.span),
    ],
  },
  {
    id: "store",
    title: "Session store: records written, requests stopped",
    unit: "a second",
    format: rate,
    series: [
      always(series("prevented", "Stopped", "teal")),
      series("would_prevent", "Would be stopped", "amber", perSecond("would_prevent"), [6, 4]),
      always(series("created", "Records written", "red")),
      series("uncertain", "Perhaps written", "violet", perSecond("uncertain"), [2, 3]),
    ],
    filled: 0,
  },
  {
    id: "latency",
    title: "Time of requests",
    unit: "milliseconds",
    format: millis,
    axis: millis,
    series: [
      always(series("p50", "Logged in, half within", "blue", (row) => row.p50)),
      always(series("p99", "Logged in, 99 % within", "red", (row) => row.p99)),
      series("others_p99", "Others, 99 % within", "grey", (row) => row.others_p99, [4, 4]),
    ],
  },
  {
    id: "reasons",
    title: "Refusals by reason",
    unit: "a second",
    stacked: true,
    format: rate,
    series: [
      series("client-budget", "client-budget", "red"),
      series("wide-budget", "wide-budget", "amber"),
      series("ceiling", "ceiling", "violet"),
      series("site-short", "site-short", "teal"),
      series("site-budget", "site-budget", "blue"),
      series("table-full", "table-full", "grey"),
      series("no-spare", "no-spare", "pink"),
    ],
  },
];

const HEIGHT = 210;
// Rows in the table of a plot.
const TABLE_ROWS = 10;

const styles = () => getComputedStyle(document.documentElement);
const colour = (name) => styles().getPropertyValue(`--${name}`).trim();

export class Plots {
  constructor(parent) {
    this.floods = [];
    this.all = PLOTS.map((plot) => new Plot(plot, this));
    parent.append(...this.all.map((plot) => plot.figure));
    const width = new ResizeObserver(() => this.all.forEach((plot) => plot.resize()));
    this.all.forEach((plot) => width.observe(plot.box));
  }

  // `rows` are of the server, the first of which are as old as `from`.
  show(columns, rows, from, until, floods) {
    this.floods = joined(floods);
    const objects = rows.map((row) => Object.fromEntries(columns.map((name, index) => [name, row[index]])));
    this.all.forEach((plot) => plot.show(objects, from, until));
  }

  redraw() {
    this.all.forEach((plot) => plot.chart.redraw(false, true));
  }
}

class Plot {
  constructor(plot, plots) {
    this.plot = plot;
    this.plots = plots;
    this.values = plot.series.map(() => []);
    this.times = [];
    this.range = [0, 1];
    const id = `plot-${plot.id}`;
    this.box = make("div", { class: "plot", role: "img", "aria-labelledby": `${id}-title`, "aria-describedby": `${id}-now` });
    this.now = make("p", { id: `${id}-now`, class: "unseen" });
    this.legend = make("ul", { class: "legend" });
    this.none = make("p", { class: "none legend" }, "None in this time.");
    this.at = make("span", { class: "at" });
    this.table = make("div", { class: "scroll", id: `${id}-table`, hidden: "", tabindex: "0", role: "region", "aria-label": `${plot.title}, the latest values` });
    this.toggle = make("button", { type: "button", class: "small", "aria-expanded": "false", "aria-controls": `${id}-table` }, "Show as table");
    this.toggle.addEventListener("click", () => this.showTable(this.table.hidden));
    const title = make("h3", { id: `${id}-title` }, plot.title, make("small", {}, ` ${plot.unit}`));
    this.figure = make(
      "figure", {},
      make("figcaption", {}, title, this.at, this.toggle),
      this.legend, this.none, this.box, this.now, this.table,
    );
    for (const { label, colour: name, dash } of plot.series) {
      const swatch = make("span", { class: `swatch ${name}${dash ? " dashed" : ""}`, "aria-hidden": "true" });
      this.legend.append(make("li", {}, swatch, make("span", {}, label), make("b")));
    }
    this.chart = new uPlot(this.options(), [[], ...plot.series.map(() => [])], this.box);
  }

  options() {
    const { stacked, filled, axis } = this.plot;
    const grid = { stroke: () => colour("grid"), width: 1 };
    const common = { stroke: () => colour("muted"), font: "12px system-ui, sans-serif", grid, ticks: { show: false } };
    const lines = this.plot.series.map(({ label, colour: name, dash }, index) => ({
      label,
      stroke: () => colour(name),
      // A line on top of a pile would be drawn where nothing is piled, too.
      width: stacked ? 0 : 1.75,
      dash,
      fill: stacked || index === filled ? () => `${colour(name)}${stacked ? "e0" : "30"}` : undefined,
      points: { show: true, filter: (chart, line) => alone(chart.data[line]), size: 4 },
    }));
    return {
      width: 320,
      height: HEIGHT,
      legend: { show: false },
      cursor: { sync: { key: "all" }, drag: { x: false, y: false }, y: false, points: { size: 6 } },
      scales: {
        x: { time: true, range: () => this.range },
        y: { range: (chart, low, high) => [0, ceiling(high)] },
      },
      series: [{}, ...lines],
      bands: stacked ? lines.slice(1).map((line, index) => ({ series: [index + 2, index + 1] })) : [],
      axes: [
        { ...common, size: 26, gap: 6, space: 70, values: (chart, splits) => splits.map(clockOf) },
        { ...common, size: 52, space: 34, values: (chart, splits) => splits.map((n) => (axis ? axis(n) : short(n))) },
      ],
      hooks: {
        drawClear: [(chart) => this.shade(chart)],
        setCursor: [() => this.write()],
      },
    };
  }

  // Behind the lines: when there was a flood.
  shade(chart) {
    const { ctx, bbox } = chart;
    ctx.save();
    ctx.fillStyle = colour("flood");
    for (const { since, until } of this.plots.floods) {
      const from = Math.max(chart.valToPos(since / 1000, "x", true), bbox.left);
      const to = Math.min(chart.valToPos(until / 1000, "x", true), bbox.left + bbox.width);
      if (to > from) ctx.fillRect(from, bbox.top, to - from, bbox.height);
    }
    ctx.restore();
  }

  show(rows, from, until) {
    const { stacked } = this.plot;
    this.range = [from / 1000, until / 1000];
    this.times = [];
    this.values = this.plot.series.map(() => []);
    rows.forEach((row, index) => {
      const before = rows[index - 1];
      // Nothing is drawn across a time of which nothing is known.
      if (before && row.t - before.t > row.span * 2 + 1500) this.push((before.t + row.t) / 2000, () => null);
      this.push(row.t / 1000, ({ value }) => value(row));
    });
    const drawn = stacked ? piled(this.values) : this.values;
    this.chart.setData([this.times, ...drawn], true);
    this.write();
    if (!this.table.hidden) this.fillTable();
  }

  push(at, value) {
    this.times.push(at);
    this.plot.series.forEach((one, index) => this.values[index].push(value(one)));
  }

  // The legend: the values under the cursor, else the latest.
  write() {
    const { format } = this.plot;
    const under = this.chart?.cursor.idx;
    const index = under ?? this.times.length - 1;
    const parts = [];
    this.plot.series.forEach((one, line) => {
      const value = this.values[line]?.[index] ?? null;
      const item = this.legend.children[line];
      const text = value === null ? "–" : format(value);
      say(item.lastElementChild, text);
      item.hidden = !one.always && !this.values[line].some((n) => n > 0);
      if (!item.hidden) parts.push(`${one.label} ${text}`);
    });
    say(this.at, under === null || under === undefined || this.times[under] === undefined ? "" : time(this.times[under] * 1000));
    this.none.hidden = parts.length > 0;
    say(this.now, parts.length > 0 ? `Now: ${parts.join(", ")}.` : "Nothing in this time.");
  }

  showTable(shown) {
    this.table.hidden = !shown;
    mark(this.toggle, "aria-expanded", shown);
    say(this.toggle, shown ? "Hide the table" : "Show as table");
    if (shown) this.fillTable();
  }

  fillTable() {
    const { title, unit, format, series: lines } = this.plot;
    const head = make("tr", {}, make("th", { scope: "col" }, "Time"), ...lines.map(({ label }) => make("th", { scope: "col" }, label)));
    const rows = [];
    for (let index = this.times.length - 1; index >= 0 && rows.length < TABLE_ROWS; index -= 1) {
      const cells = this.values.map((values) => make("td", {}, values[index] === null ? "–" : format(values[index])));
      rows.push(make("tr", {}, make("th", { scope: "row" }, time(this.times[index] * 1000)), ...cells));
    }
    const caption = make("caption", {}, `${title}, ${unit}, newest first`);
    this.table.replaceChildren(make("table", {}, caption, make("thead", {}, head), make("tbody", {}, ...rows)));
  }

  resize() {
    const width = Math.floor(this.box.clientWidth);
    if (width > 0 && width !== this.chart.width) this.chart.setSize({ width, height: HEIGHT });
  }
}

// Spans of time that overlap, as one.
const joined = (spans) => {
  const all = [];
  for (const { since, until } of [...spans].sort((one, other) => one.since - other.since)) {
    const last = all.at(-1);
    if (last && since <= last.until) last.until = Math.max(last.until, until);
    else all.push({ since, until });
  }
  return all;
};

// Each on top of those before.
const piled = (values) => {
  let below = null;
  return values.map((line) => {
    below = line.map((value, index) => (value === null ? null : value + (below?.[index] ?? 0)));
    return below;
  });
};

// Values between two gaps, which would not be seen without a point.
const alone = (line) => {
  const is = (at) => line[at] !== null && line[at] !== undefined;
  return [...line.keys()].filter((at) => is(at) && !is(at - 1) && !is(at + 1));
};

// A little above the highest value; an empty plot has an axis, too.
const ceiling = (high) => Math.max(1, (high ?? 0) * 1.08);

const hours = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const clockOf = (at) => hours.format(new Date(at * 1000));
