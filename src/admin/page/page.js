// The page: puts together what comes, what it means and where it is shown, and obeys the keys.

import { Stream } from "./stream.js";
import { Plots } from "./plots.js";
import { Tables } from "./tables.js";
import { judge, notes, requests } from "./judge.js";
import { byId, list, make, mark, say, span, time } from "./words.js";

const RANGES = [300, 900, 3600];
// So many of the latest announcements stay, for who reads back.
const SAID = 8;
const MARKS = { good: "✓", warn: "!", bad: "✕", wait: "…", info: "i" };

const tables = new Tables(byId);
const plots = new Plots(byId("plots"));
const dark = matchMedia("(prefers-color-scheme: dark)");

let range = RANGES[0];
// What is shown while it stands still; null while it is live.
let frozen = null;
let before = null;

const stream = new Stream(told, connection);

function told({ restarted }) {
  const { data } = stream;
  if (!data.now.site) return;
  const view = judge(data);
  announce(view, restarted);
  title(view);
  if (frozen === null) show(data, view);
  else writePaused(view);
}

function show(data, view) {
  mark(byId("band"), "data-level", view.level);
  say(byId("mark"), view.mark);
  say(byId("headline"), view.headline);
  say(byId("gist"), view.gist);
  for (const name of ["attack", "store", "users"]) answer(byId(name), view[name]);
  showSites(data.now);
  const all = notes(data);
  if (document.body.dataset.folder !== `assets/${stream.page}`) all.push(["info", "Floodwall was upgraded: reload this page."]);
  byId("notes").hidden = all.length === 0;
  list(byId("notes"), all, () => make("li", {}, make("span", { "aria-hidden": "true" }), make("span")), (line, [level, text]) => {
    mark(line, "data-level", level);
    say(line.firstElementChild, MARKS[level]);
    say(line.lastElementChild, text);
  });
  tables.show(data.now, view, requests);
  showPlots();
}

function showPlots() {
  const data = frozen ?? stream.data;
  const { now } = data;
  if (!now?.site) return;
  const running = now.site.floods.map(({ since }) => ({ since, until: now.t }));
  const past = now.site.past.map(({ since, seconds }) => ({ since, until: since + Math.max(1, seconds) * 1000 }));
  plots.show(data.columns, data.rows(range), now.t - range * 1000, now.t, [...running, ...past]);
}

function answer(card, { level, text, why }) {
  mark(card, "data-level", level);
  const [line, reason] = card.querySelectorAll("p");
  say(line, `${MARKS[level]} ${text}`);
  say(reason, why);
}

function showSites(now) {
  const nav = byId("sites");
  nav.hidden = now.sites.length < 2;
  if (nav.hidden) return;
  const create = () => {
    const button = make("button", { type: "button" }, make("span"), make("small"));
    button.addEventListener("click", () => choose(button.dataset.site));
    return button;
  };
  list(nav, now.sites, create, (button, { name, mode, floods }) => {
    button.dataset.site = name;
    mark(button, "aria-pressed", name === now.site.name);
    mark(button, "data-level", floods.length > 0 ? "bad" : "good");
    say(button.firstElementChild, name);
    const observes = mode === "observe" ? ", observe" : "";
    say(button.lastElementChild, floods.length > 0 ? `✕ flood on ${floods.join(", ")}${observes}` : `✓ no flood${observes}`);
  });
}

function choose(site) {
  resume();
  history.replaceState(null, "", `?${new URLSearchParams({ site })}`);
  stream.open(site);
}

// Only changes are said aloud.
function announce(view, restarted) {
  const now = { routes: view.site.floods.map(({ route }) => route), store: view.store.text, users: view.users.text };
  const news = [];
  if (restarted) news.push("Floodwall was started anew.");
  if (before && before.site === view.site.name) {
    for (const route of now.routes.filter((route) => !before.routes.includes(route))) news.push(`A flood on ${route} has begun.`);
    for (const route of before.routes.filter((route) => !now.routes.includes(route))) news.push(`The flood on ${route} has ended.`);
    if (now.store !== before.store) news.push(`Session store: ${now.store}.`);
    if (now.users !== before.users) news.push(`Logged-in users: ${now.users}.`);
  }
  before = { site: view.site.name, ...now };
  if (news.length > 0) tell(news.join(" "));
}

// Says something aloud, after what is being said.
function tell(text) {
  const said = byId("said");
  said.append(make("p", {}, text));
  while (said.children.length > SAID) said.firstElementChild.remove();
}

function title(view) {
  const flooded = stream.data.now.sites.filter(({ floods }) => floods.length > 0);
  const text = flooded.length > 0 ? `✕ Flood on ${flooded.map(({ floods }) => floods.join(", ")).join(", ")}` : `${MARKS[view.level] ?? "✓"} ${view.headline}`;
  if (document.title !== `${text} · Floodwall`) document.title = `${text} · Floodwall`;
}

function connection({ lost, since }) {
  const notice = byId("stale");
  const chip = byId("link");
  if (since === null) {
    notice.hidden = true;
    mark(chip, "data-level", frozen === null ? "good" : "warn");
    say(byId("link-text"), frozen === null ? "Live" : "Paused");
    return;
  }
  connection.reason = lost ?? connection.reason;
  const seconds = Math.round((Date.now() - since) / 1000);
  const { now } = frozen ?? stream.data;
  const old = now ? ` What you see is of ${time(now.t)}.` : "";
  const reason = connection.reason[0].toUpperCase() + connection.reason.slice(1);
  say(notice, `${reason}; trying again, since ${span(seconds)}.${old}`);
  if (notice.hidden) tell(`${reason}; trying again.`);
  notice.hidden = false;
  mark(chip, "data-level", "bad");
  say(byId("link-text"), "No connection");
}

function pause() {
  if (frozen !== null) {
    resume();
    return;
  }
  if (!stream.data.now?.site) return;
  frozen = stream.data;
  mark(byId("pause"), "aria-pressed", true);
  tell("Paused.");
  writePaused(judge(frozen));
  connection({ since: stream.lostSince });
}

function writePaused(view) {
  const notice = byId("paused");
  notice.hidden = false;
  const missed = view.site.floods.filter(({ since }) => since > frozen.now.t).map(({ route }) => route);
  const news = missed.length > 0 ? ` A flood on ${missed.join(", ")} has begun meanwhile.` : "";
  say(notice, `Paused at ${time(frozen.now.t)}; what has come since is kept.${news}`);
}

function resume() {
  if (frozen === null) return;
  frozen = null;
  mark(byId("pause"), "aria-pressed", false);
  byId("paused").hidden = true;
  tell("Live again.");
  connection({ since: stream.lostSince });
  if (stream.data.now?.site) show(stream.data, judge(stream.data));
}

function chooseRange(seconds) {
  range = seconds;
  for (const button of document.querySelectorAll("[data-range]")) mark(button, "aria-pressed", Number(button.dataset.range) === seconds);
  showPlots();
}

function writeTheme() {
  say(byId("theme"), `Theme: ${window.floodwallTheme.now()}`);
}

function theme() {
  window.floodwallTheme.next();
  writeTheme();
  plots.redraw();
}

byId("pause").addEventListener("click", pause);
byId("theme").addEventListener("click", theme);
for (const button of document.querySelectorAll("[data-range]")) button.addEventListener("click", () => chooseRange(Number(button.dataset.range)));
dark.addEventListener("change", () => plots.redraw());

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  if (event.key === "p") pause();
  else if (event.key === "t") theme();
  else if (["1", "2", "3"].includes(event.key)) chooseRange(RANGES[Number(event.key) - 1]);
  else return;
  event.preventDefault();
});

writeTheme();
stream.open(new URLSearchParams(location.search).get("site"));
