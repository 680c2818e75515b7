// What the numbers mean: whether an attack runs, whether the store is safe, whether users suffer.
// Levels are good, warn, bad, and wait where nothing is known.

import { count, millis, plural, rate, span, time } from "./words.js";

// A page that takes so long makes users complain.
const SLOW_MS = 1000;
// The rates that are said are over the last seconds.
const RATE_SECONDS = 5;
// A flood of which nothing was seen for longer is said to be quiet.
const QUIET_SECONDS = 5;

// The sums of the rows of the last seconds, and how many seconds they are.
export const sums = (data, seconds) => {
  const rows = data.rows(seconds);
  const sum = Object.fromEntries(data.columns.map((name) => [name, 0]));
  for (const row of rows) data.columns.forEach((name, index) => (sum[name] += row[index] ?? 0));
  return { ...sum, seconds: Math.max(1, sum.span / 1000) };
};

export const named = (data, row) =>
  Object.fromEntries(data.columns.map((name, index) => [name, row?.[index] ?? null]));

export const requests = (row) =>
  row.forwarded + row.recycled + row.refused + row.challenged + row.answered + row.tunnelled
  + row.rejected + row.unjudged;

export const judge = (data) => {
  const { site } = data.now;
  const lately = sums(data, RATE_SECONDS);
  const minute = named(data, data.now.site.minute);
  const observes = site.mode === "observe";
  const stopped = (observes ? lately.would_prevent : lately.prevented) / lately.seconds;
  // How long nothing was an event of a flood that still counts as running.
  const quiet = Math.min(...site.floods.map((flood) => (data.now.t - flood.since) / 1000 - flood.seconds));
  const facts = { site, lately, minute, observes, stopped, quiet };
  const answers = { attack: attack(facts), store: store(facts), users: users(facts) };
  return { ...facts, ...answers, ...headline(facts, answers) };
};

const written = (minute) => minute.created + minute.uncertain;

const overAMinute = (minute) => {
  const seconds = Math.round(minute.span / 1000);
  return seconds >= 55 ? "in the last minute" : `in the last ${seconds} s`;
};

const attack = ({ site, stopped, observes, quiet }) => {
  const { floods } = site;
  if (floods.length === 0) {
    const last = site.past[0];
    const why = last
      ? `The last one, on ${last.route}, ended at ${time(last.since + last.seconds * 1000)}.`
      : "None since Floodwall was started.";
    return { level: "good", text: "No flood", why };
  }
  const clients = floods.reduce((sum, flood) => sum + flood.clients, 0);
  const more = floods.some((flood) => flood.more_clients) ? "more than " : "";
  const text = floods.length === 1 ? `Flood on ${floods[0].route}` : `${floods.length} floods`;
  const verb = observes ? "would be stopped" : "stopped";
  if (quiet > QUIET_SECONDS) {
    return { level: "warn", text, why: `Quiet for ${span(quiet)}; it may be over.` };
  }
  return {
    level: "bad",
    text,
    why: `${rate(stopped)} ${verb}, from ${more}${plural(clients, "client", "clients")}.`,
  };
};

const store = ({ site, minute, observes }) => {
  if (minute.t === null) return { level: "wait", text: "Not known yet", why: "" };
  const records = written(minute);
  const when = overAMinute(minute);
  const said = records === 0 ? `No record written ${when}` : `${plural(records, "record", "records")} written ${when}`;
  if (observes) {
    const would = minute.would_prevent;
    const why = `Observe mode: everything is forwarded. ${said}; ${count(would)} requests would have been stopped.`;
    return { level: would > 0 ? "bad" : "warn", text: "Not protected", why };
  }
  const allowed = allowance(site, minute);
  if (records > allowed) {
    return { level: "warn", text: "Growing", why: `${said}, more than the ${count(allowed)} that the budgets allow.` };
  }
  const kept = minute.prevented > 0 ? `${count(minute.prevented)} requests were kept from writing.` : "";
  const within = records > 0 ? ", within the budgets" : "";
  return { level: "good", text: "Safe", why: `${said}${within}. ${kept}` };
};

// How many records the budgets pay for within that time, at most, and what spares cost.
const allowance = (site, minute) =>
  Math.round(site.budgets.reduce(
    (sum, { burst, period_s: period }) => sum + burst + (period > 0 ? minute.span / 1000 / period : 0), site.spares[1],
  ));

const users = ({ site, minute }) => {
  const up = site.servers.filter((server) => server.up).length;
  if (site.servers.length > 0 && up === 0) {
    return { level: "bad", text: "Cannot be served", why: "Every server of the application is down." };
  }
  if (!minute.known) {
    return { level: "wait", text: "Nobody is here", why: "No request of a logged-in user in the last minute." };
  }
  const when = overAMinute(minute);
  const all = plural(minute.known, "request", "requests");
  const p99 = `99 % within ${millis(minute.p99)}`;
  if (minute.known_refused > 0) {
    return { level: "bad", text: "Some are refused", why: `${count(minute.known_refused)} of ${all} refused ${when}; ${p99}.` };
  }
  if (minute.known_failed / minute.known > 0.01) {
    return { level: "bad", text: "They see errors", why: `${count(minute.known_failed)} of ${all} failed ${when}; ${p99}.` };
  }
  if (minute.p99 >= SLOW_MS) {
    return { level: "warn", text: "Slow", why: `${p99}, half within ${millis(minute.p50)}; ${all} ${when}, none refused.` };
  }
  return { level: "good", text: "Served well", why: `${p99}; ${all} ${when}, none refused.` };
};

const headline = ({ site, minute, observes, stopped, quiet }, answers) => {
  const worst = ["bad", "warn"].find((level) => answers.store.level === level || answers.users.level === level);
  const p99 = minute.p99 === null ? "" : `, logged-in p99 ${millis(minute.p99)}`;
  const records = minute.t === null ? "" : `, ${plural(written(minute), "record", "records")} written ${overAMinute(minute)}`;
  if (site.floods.length > 0) {
    const first = Math.min(...site.floods.map((flood) => flood.since));
    const routes = site.floods.map((flood) => flood.route).join(", ");
    const what = site.floods.length === 1 ? "Flood" : `${site.floods.length} floods`;
    const how = quiet > QUIET_SECONDS ? `, quiet for ${span(quiet)}` : worst === undefined ? ", held" : "";
    return {
      level: worst ?? "held",
      mark: worst === undefined ? "⚑" : "!",
      headline: `${what} on ${routes} since ${time(first)}${how}`,
      gist: `${rate(stopped)} ${observes ? "would be stopped" : "stopped"}${records}${p99}`,
    };
  }
  const names = { store: `the store is ${answers.store.text.toLowerCase()}`, users: `logged-in users: ${answers.users.text.toLowerCase()}` };
  const trouble = Object.keys(names).filter((key) => ["bad", "warn"].includes(answers[key].level)).map((key) => names[key]);
  return {
    level: worst ?? "good",
    mark: worst === undefined ? "✓" : "!",
    headline: trouble.length > 0 ? `No flood, but ${trouble.join("; ")}` : "No flood",
    gist: `${rate(stopped)} ${observes ? "would be stopped" : "stopped"}${records}${p99}`,
  };
};

// What an operator should hear of besides: each with a level.
export const notes = (data) => {
  const { now } = data;
  const { site } = now;
  const all = [];
  if (now.draining) all.push(["warn", "This process is ending: it takes no new connections."]);
  const down = site.servers.filter((server) => !server.up).map((server) => server.name);
  if (down.length > 0) all.push(["bad", `${down.length === 1 ? "Server" : "Servers"} down: ${down.join(", ")}.`]);
  for (const budget of site.budgets) {
    if (budget.left === 0) all.push(["warn", `The budget ${budget.name} is spent: visitors without a session are refused there.`]);
  }
  for (const [name, [used, capacity]] of rooms(now)) {
    if (capacity > 0 && used / capacity >= 0.9 && name !== "Spares") all.push(["warn", `${name}: ${count(used)} of ${count(capacity)}, nearly full.`]);
  }
  if (now.lines_dropped > 0) all.push(["warn", `${plural(now.lines_dropped, "line", "lines")} of the access log dropped since the start: the disk is slow or full.`]);
  if (!site.warm) {
    all.push(["info", `The ledger is not warm before ${new Date(site.warm_at * 1000).toLocaleString("en-GB")}: unknown session cookies are forwarded until then, within budgets.`]);
  }
  return all;
};

export const rooms = ({ connections, tunnels, site }) => {
  const { creating, clean, unproven, capacity } = site.classes;
  return [
    ["Connections", connections],
    ["Session keys", site.keys],
    ["Clients in debt", site.clients],
    ["Spares", site.spares],
    ["Path classes", [creating + clean + unproven, capacity]],
    ["Tunnels", tunnels],
  ];
};

export const ago = (now, unixMs) => `${span((now - unixMs) / 1000)} ago`;
