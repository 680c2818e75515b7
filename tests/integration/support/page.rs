//! The page of the admin listener, open in a browser.

use std::fs;
use std::path::{Path, PathBuf};

use base64ct::{Base64, Encoding};
use serde_json::{Value, json};

use super::chromium::Chromium;
use super::inside::await_that;

pub struct Page {
    pub browser: Chromium,
    url: String,
}

impl Page {
    pub fn open(url: &str) -> Self {
        let browser = Chromium::start(&[]);
        browser.resize(1440, 900, false);
        let page = Self { browser, url: url.to_owned() };
        page.load();
        page
    }

    pub fn load(&self) {
        self.browser.go(&self.url);
    }

    pub fn text(&self, selector: &str) -> String {
        let script = format!("return document.querySelector({}).textContent", json!(selector));
        self.browser.run(&script).as_str().expect("text").to_owned()
    }

    pub fn is(&self, expression: &str) -> bool {
        self.browser.run(&format!("return Boolean({expression})")) == true
    }

    pub fn await_is(&self, expression: &str) {
        await_that(&format!("never {expression}"), || self.is(expression));
    }

    pub fn await_text(&self, selector: &str, part: &str) {
        await_that(&format!("{selector} never says {part}"), || self.text(selector).contains(part));
    }

    /// The number of a tile.
    pub fn tile(&self, name: &str) -> String {
        let script = format!(
            "return [...document.querySelectorAll('#tiles div')]\
             .find((tile) => tile.firstElementChild.textContent === {})\
             .lastElementChild.textContent",
            json!(name)
        );
        self.browser.run(&script).as_str().expect("a tile").to_owned()
    }

    /// A cell of the first row of a table, by its column.
    pub fn cell(&self, table: &str, column: &str) -> String {
        self.text(&format!("#{table} tbody tr:first-child [data-label='{column}']"))
    }

    /// How wide the page is, in CSS pixels. A window of a phone shows as much as there is, so this
    /// is not to be compared with the window's own width.
    pub fn width(&self) -> u64 {
        let width = self.browser.run("return document.documentElement.scrollWidth");
        width.as_u64().expect("pixels")
    }

    /// What axe-core finds wrong, by rule and place.
    pub fn faults(&self) -> Vec<String> {
        let axe = fs::read_to_string(cache().join("page/axe.min.js"))
            .expect("axe-core; remedy: tests/page/provision");
        let run = "const done = arguments[arguments.length - 1];\
                   axe.run().then((found) => done(found.violations), (error) => done(`${error}`));";
        let found = self.browser.run_async(&format!("{axe};{run}"));
        let found = found.as_array().unwrap_or_else(|| panic!("axe-core failed: {found}"));
        let told = |fault: &Value| format!("{}: {}", fault["id"], fault["nodes"]);
        found.iter().map(told).collect()
    }

    /// Leaves a picture for people to look at in `target/page`.
    pub fn picture(&self, name: &str) {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../page");
        fs::create_dir_all(&folder).expect("a folder");
        let picture = Base64::decode_vec(&self.browser.picture()).expect("Base64");
        fs::write(folder.join(format!("{name}.png")), picture).expect("it can be written");
    }

    /// Nothing went wrong in it, and nothing but its own listener was asked for anything.
    pub fn assert_clean(&self) {
        assert_eq!(self.browser.console(), Vec::<String>::new());
        let script = "return performance.getEntriesByType('resource').map(({ name }) => name)\
                      .filter((name) => new URL(name).origin !== location.origin)";
        assert_eq!(self.browser.run(script), json!([]));
    }
}

fn cache() -> PathBuf {
    let cache = std::env::var_os("FLOODWALL_CACHE").map(PathBuf::from);
    cache.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/.cache"))
}
