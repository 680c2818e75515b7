// Numbers, times and elements: how things are written. What comes from the server is only ever put
// into text, never into markup.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const tenth = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });

export const count = (n) => whole.format(n);
export const short = (n) => (Math.abs(n) < 10 ? tenth : compact).format(n);
// Below ten a second a tenth matters: 0.1/s is 360 an hour.
export const rate = (n) => `${(n > 0 && n < 9.95 ? tenth : whole).format(n > 0 && n < 0.1 ? 0.1 : n)}/s`;

export const millis = (ms) => {
  if (ms === null || ms === undefined) return "–";
  if (ms >= 10_000) return `${whole.format(ms / 1000)} s`;
  if (ms >= 1000) return `${tenth.format(ms / 1000)} s`;
  return ms < 10 ? `${tenth.format(ms)} ms` : `${whole.format(ms)} ms`;
};

export const time = (unixMs) => {
  const date = new Date(unixMs);
  const text = clock.format(date);
  return date.toDateString() === new Date().toDateString() ? text : `${day.format(date)} ${text}`;
};

// The two largest units, as everywhere in Floodwall: 3d12h, 3h12m, 45s.
export const span = (seconds) => {
  const units = [[86_400, "d"], [3600, "h"], [60, "m"], [1, "s"]];
  let rest = Math.max(0, Math.round(seconds));
  const first = units.findIndex(([unit]) => rest >= unit);
  if (first < 0) return "0s";
  let text = "";
  for (const [unit, letter] of units.slice(first, first + 2)) {
    const n = Math.floor(rest / unit);
    rest %= unit;
    if (n > 0) text += n + letter;
  }
  return text;
};

export const plural = (n, one, many) => `${count(n)} ${n === 1 ? one : many}`;

export const byId = (id) => document.getElementById(id);

// An element with attributes and children; strings become text.
export const make = (tag, attributes = {}, ...children) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
};

// Writes only what has changed, so that a selection and a screen reader's place stay.
export const say = (element, text) => {
  if (element.textContent !== text) element.textContent = text;
};

export const mark = (element, name, value) => {
  if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
};

// As many children as there are items: made once, then filled again and again.
export const list = (parent, items, create, fill) => {
  while (parent.children.length > items.length) parent.lastElementChild.remove();
  while (parent.children.length < items.length) parent.append(create());
  items.forEach((item, index) => fill(parent.children[index], item));
};
