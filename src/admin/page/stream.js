// The events of the server, and the last hour that they tell of: every second of five minutes, and
// every ten seconds of the rest.
//
// A connection that breaks is made again; what was missed comes with it. Counts come as
// differences, so a new process goes on where the old one ended, and leaves a gap between.

const FINE_MS = 305_000;
const COARSE_MS = 3_610_000;
// A connection on which nothing comes for so long is given up: a machine that slept, a hung tunnel.
const SILENCE_MS = 12_000;
const AGAIN_MS = 3_000;

// All that is known at a moment. It never changes: whoever keeps it has what was then.
export class Data {
  constructor(columns = [], fine = [], coarse = [], now = null) {
    Object.assign(this, { columns, fine, coarse, now });
  }

  // The rows of the last so many seconds.
  rows(seconds) {
    const rows = seconds <= 300 ? this.fine : this.coarse;
    const from = (this.now?.t ?? 0) - seconds * 1000;
    return rows.filter((row) => row[0] >= from);
  }
}

export class Stream {
  // `told` is called for each event, `state` whenever the connection changes.
  constructor(told, state) {
    this.told = told;
    this.state = state;
    this.site = null;
    this.data = new Data();
    this.boot = null;
    this.lastAt = null;
    this.source = null;
    this.timer = null;
    setInterval(() => this.watch(), 1000);
    window.addEventListener("online", () => this.again());
  }

  open(site) {
    if (site !== this.site) this.forget();
    this.site = site;
    this.connect();
  }

  connect() {
    clearTimeout(this.timer);
    this.timer = null;
    this.source?.close();
    const query = this.site === null ? "" : `?site=${encodeURIComponent(this.site)}`;
    const source = new EventSource(`events${query}`);
    this.source = source;
    this.openedAt = performance.now();
    source.addEventListener("backlog", (event) => this.backlog(JSON.parse(event.data)));
    source.addEventListener("news", (event) => this.news(JSON.parse(event.data)));
    // A connection is renewed now and then, so that one that is dead is not kept.
    source.addEventListener("again", () => this.connect());
    source.onerror = () => {
      if (source !== this.source) return;
      this.lost("connection lost");
      // A browser gives up where the answer is no stream; it is asked again all the same.
      if (source.readyState === EventSource.CLOSED) {
        this.why();
        this.timer = setTimeout(() => this.connect(), AGAIN_MS);
      }
    };
  }

  again() {
    if (this.lostSince !== null) this.connect();
  }

  // What an answer that is no stream says: a stream does not tell.
  async why() {
    const stop = new AbortController();
    try {
      const answer = await fetch("events", { signal: stop.signal, cache: "no-store" });
      if (!answer.ok) this.lost((await answer.text()).trim().slice(0, 200));
    } catch {
      // Nobody answers.
    }
    stop.abort();
  }

  lostSince = null;

  lost(reason) {
    this.lostSince ??= Date.now();
    this.state({ lost: reason, since: this.lostSince });
  }

  watch() {
    if (this.lostSince !== null) {
      this.state({ lost: null, since: this.lostSince });
    }
    const silent = performance.now() - Math.max(this.lastAt ?? 0, this.openedAt ?? 0);
    if (this.source && this.timer === null && silent > SILENCE_MS) {
      this.lost("nothing is heard");
      this.connect();
    }
  }

  heard() {
    this.lastAt = performance.now();
    this.lostSince = null;
    this.state({ lost: null, since: null });
  }

  forget() {
    this.data = new Data();
  }

  backlog(event) {
    const restarted = this.boot !== null && this.boot !== event.boot;
    const { columns, now } = this.data;
    const same = columns.join() === event.columns.join() && now?.site?.name === event.now.site?.name;
    if (!same) this.forget();
    this.boot = event.boot;
    this.page = event.page;
    this.take(event, event.columns, restarted);
  }

  news(event) {
    const { fine, columns } = this.data;
    // The clock on the wall was set: all times are others now.
    if (fine.length > 0 && event.fine[0]?.[0] <= fine.at(-1)[0]) {
      this.forget();
      this.connect();
      return;
    }
    this.take(event, columns, false);
  }

  take({ fine, coarse, now }, columns, restarted) {
    const old = this.data;
    // Floods that have ended are told only when there are others.
    if (now.site && now.site.past === null) now.site.past = old.now?.site?.past ?? [];
    this.data = new Data(
      columns, merged(old.fine, fine, now.t - FINE_MS), merged(old.coarse, coarse, now.t - COARSE_MS), now,
    );
    this.heard();
    this.told({ restarted });
  }
}

// Old rows, then those new ones that come after or instead of them, none older than `from`.
const merged = (old, fresh, from) => {
  if (fresh.length === 0) return old;
  const kept = old.filter((row) => row[0] >= from && row[0] < fresh[0][0] - 500);
  return kept.concat(fresh);
};
