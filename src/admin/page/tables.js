// Tables of floods and servers, gauges of budgets and tables. On a narrow screen a table is shown
// as cards; it stays a table for those who listen.

import { count, list, make, mark, millis, plural, rate, say, span, time } from "./words.js";
import { rooms } from "./judge.js";

const column = (label, text, kind = "") => ({ label, text, kind });

const clients = (flood) => `${flood.more_clients ? "more than " : ""}${count(flood.clients)}`;

// What was done, in the words of the log, most first.
const deeds = (flood) => {
  const all = [["recycled", flood.recycled], ["answered", flood.answered], ["challenged", flood.challenged], ["cookie removed", flood.removed], ...flood.reasons];
  const some = all.filter(([, n]) => n > 0).sort((one, other) => other[1] - one[1]);
  return some.map(([word, n]) => [word, count(n)]);
};

const top = (flood) =>
  flood.top.map(([prefix, least, most]) => [prefix, count(least) + (most > least ? "+" : "")]);

const records = (flood) =>
  count(flood.created) + (flood.uncertain > 0 ? ` and perhaps ${count(flood.uncertain)}` : "");

const RUNNING = [
  column("Route", (flood) => flood.route, "head"),
  column("Since", (flood) => `${time(flood.since)}`),
  column("Rate", (flood) => rate(flood.rate), "number"),
  column("Stopped", (flood) => count(flood.events - flood.observed) + (flood.observed > 0 ? ` (${count(flood.observed)} only observed)` : ""), "number"),
  column("Records written", records, "number"),
  column("Clients", clients, "number"),
  column("Most active clients", top, "pairs"),
  column("What was done", deeds, "pairs"),
];

const PAST = [
  column("Route", (flood) => flood.route, "head"),
  column("Began", (flood) => time(flood.since)),
  column("Lasted", (flood) => span(flood.seconds), "number"),
  column("Mean rate", (flood) => rate(flood.rate), "number"),
  column("Stopped", RUNNING[3].text, "number"),
  column("Records written", records, "number"),
  column("Clients", clients, "number"),
  column("Most active clients", top, "pairs"),
];

const SERVERS = [
  column("Server", (server) => server.name, "head"),
  column("State", (server) => (server.up ? "✓ up" : "✕ down"), "state"),
  column("Requests", (server) => count(server.exchanges), "number"),
  column("Connections", (server) => count(server.connections), "number"),
  column("Waiting", (server) => count(server.waiting), "number"),
];

const LEARNED = {
  creates: "creates sessions: budgets hold it",
  flushes: "flushes sessions: recycled",
  writes: "writes to its session: gated for a while",
};

class Table {
  constructor(parent, label, columns) {
    this.columns = columns;
    this.body = make("tbody", { role: "rowgroup" });
    const head = columns.map(({ label: text, kind }) => make("th", { scope: "col", role: "columnheader", class: kind }, text));
    this.table = make(
      "table", { role: "table", "aria-label": label, class: "cards" },
      make("thead", { role: "rowgroup" }, make("tr", { role: "row" }, ...head)),
      this.body,
    );
    parent.append(this.table);
  }

  show(items) {
    this.table.hidden = items.length === 0;
    list(this.body, items, () => this.row(), (row, item) => this.fill(row, item));
  }

  row() {
    const cells = this.columns.map(({ label, kind }) => {
      const tag = kind === "head" ? "th" : "td";
      const role = kind === "head" ? "rowheader" : "cell";
      const cell = make(tag, { role, class: kind, "data-label": label, scope: kind === "head" ? "row" : null });
      if (kind === "pairs") cell.append(make("ul"));
      return cell;
    });
    return make("tr", { role: "row" }, ...cells);
  }

  fill(row, item) {
    this.columns.forEach(({ text, kind }, index) => {
      const cell = row.children[index];
      const said = text(item);
      if (kind !== "pairs") {
        say(cell, said);
        return;
      }
      list(cell.firstElementChild, said, () => make("li", {}, make("span"), make("b")), (line, [word, n]) => {
        say(line.firstElementChild, word);
        say(line.lastElementChild, n);
      });
    });
    if ("up" in item) mark(row, "data-level", item.up ? "good" : "bad");
  }
}

const refill = ({ period_s: period, held }) => {
  const [many, unit] = period > 60 ? [3600 / period, "an hour"] : [60 / Math.max(period, 1e-9), "a minute"];
  return `${count(many)} more ${unit}${held > 0 ? `, ${count(held)} held` : ""}`;
};

// A bar with its numbers in words beside it. `low`: it is bad to be empty, not to be full.
const gauge = () => make("li", {}, make("span"), make("b"), make("meter", { min: 0 }), make("small"));

const fillGauge = (line, { name, value, most, text, low, hint }) => {
  const [label, number, meter, small] = line.children;
  say(label, name);
  say(number, text);
  say(small, hint ?? "");
  small.hidden = !hint;
  const full = Math.max(most, 1);
  const limits = low ? { low: full * 0.1, high: full * 0.4, optimum: full } : { low: full * 0.75, high: full * 0.9, optimum: 0 };
  for (const [key, limit] of Object.entries({ max: full, ...limits, value: Math.min(value, full) })) {
    if (meter[key] !== limit) meter[key] = limit;
  }
  mark(meter, "aria-label", name);
  mark(meter, "aria-valuetext", text);
};

export class Tables {
  constructor(element) {
    this.element = element;
    this.running = new Table(element("floods-table"), "Running floods", RUNNING);
    this.past = new Table(element("past-table"), "Last floods", PAST);
    this.servers = new Table(element("servers"), "Application servers", SERVERS);
  }

  show(now, { lately, minute, observes, stopped }, requests) {
    const { site } = now;
    const { element } = this;
    this.running.show(site.floods);
    element("floods-none").hidden = site.floods.length > 0;
    this.past.show(site.past);
    element("past-none").hidden = site.past.length > 0;
    this.servers.show(site.servers);
    list(element("room"), rooms(now), gauge, (line, [name, [used, capacity]]) => {
      const share = capacity > 0 ? ` (${Math.round((used / capacity) * 100)} %)` : "";
      // All spares in use is how it is meant to be.
      const low = name === "Spares";
      fillGauge(line, { name, value: used, most: capacity, text: `${count(used)} of ${count(capacity)}${low ? "" : share}`, low: false, hint: low ? "empty sessions kept for recycling; all in use is well" : "" });
    });
    list(element("budgets"), site.budgets, gauge, (line, budget) => {
      fillGauge(line, { name: budget.name, value: budget.left, most: budget.burst, text: `${count(budget.left)} of ${count(budget.burst)} left`, low: true, hint: refill(budget) });
    });
    const { creating, clean, unproven } = site.classes;
    facts(element("classes"), [["creating", count(creating)], ["clean", count(clean)], ["unproven", count(unproven)]]);
    list(element("lessons"), site.lessons.slice(0, 8), () => make("li", {}, make("span"), make("span"), make("small")), (line, lesson) => {
      say(line.children[0], lesson.path);
      say(line.children[1], `${LEARNED[lesson.what]}${lesson.of ? ` (${lesson.of[0]}, session ${lesson.of[1]})` : ""}`);
      say(line.children[2], time(lesson.at));
    });
    facts(element("tiles"), [
      ["Requests", rate(requests(lately) / lately.seconds)],
      [observes ? "Would be stopped" : "Stopped", rate(stopped)],
      ["Records written, last minute", minute.t === null ? "–" : count(minute.created + minute.uncertain)],
      ["Logged-in requests", rate(lately.known / lately.seconds)],
      ["Logged-in p99, last minute", millis(minute.p99)],
      ["Connections", count(now.connections[0])],
    ]);
    say(element("process"), `Floodwall ${now.version}, process ${now.process}, up ${span(now.uptime_s)}, ${plural(now.no_site, "request", "requests")} for no site.`);
  }
}

const facts = (parent, items) =>
  list(parent, items, () => make("div", {}, make("dt"), make("dd")), (line, [name, value]) => {
    say(line.firstElementChild, name);
    say(line.lastElementChild, value);
  });
