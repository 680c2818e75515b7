// The theme that was chosen here before, set before anything is drawn. Owns the choice.
"use strict";
(() => {
  const KEY = "floodwall-theme";
  const ALL = ["auto", "light", "dark"];
  const root = document.documentElement;
  const stored = () => {
    try {
      return localStorage.getItem(KEY);
    } catch {
      return null;
    }
  };
  const set = (theme) => {
    if (theme === "auto") delete root.dataset.theme;
    else root.dataset.theme = theme;
  };
  let theme = ALL.includes(stored()) ? stored() : "auto";
  set(theme);
  window.floodwallTheme = {
    now: () => theme,
    next() {
      theme = ALL[(ALL.indexOf(theme) + 1) % ALL.length];
      set(theme);
      try {
        localStorage.setItem(KEY, theme);
      } catch {
        // It holds for this visit, then.
      }
      return theme;
    },
  };
})();
