//! Debian's crowdsec with the parser and the scenario of `config/crowdsec`, and from its own hub what
//! every set-up has: `non-syslog`, `syslog-logs` and `dateparse-enrich`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use floodwall::proxy::clock::Clock;
use floodwall::telemetry::warmth::rfc3339;
use serde_json::Value;

use super::{FLOODER, PREFIX, application, configuration, lines, of, rounds};
use crate::support::address::own_address;
use crate::support::daemon::Daemon;
use crate::support::floodwall::Floodwall;
use crate::support::folder::Folder;

const HUB: &str = "/usr/share/crowdsec/hub";

/// As the journal shows them.
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// crowdsec in a folder of its own, whose local API listens at a free port. Nothing is asked of the
/// central one.
struct CrowdSec {
    place: PathBuf,
    url: String,
}

impl CrowdSec {
    fn new(folder: &Path) -> Self {
        let place = folder.join("crowdsec");
        for name in
            ["data", "hub", "notifications", "plugins", "etc/scenarios", "etc/postoverflows"]
        {
            fs::create_dir_all(place.join(name)).expect("a folder");
        }
        for kind in ["parsers", "scenarios", "collections", "postoverflows", ".index.json"] {
            symlink(Path::new(HUB).join(kind), place.join("hub").join(kind)).expect("a link");
        }
        let etc = place.join("etc");
        symlink("/etc/crowdsec/patterns", etc.join("patterns")).expect("a link");
        for (stage, parser) in [("s00-raw", "syslog-logs"), ("s02-enrich", "dateparse-enrich")] {
            let stage = Path::new("parsers").join(stage);
            fs::create_dir_all(etc.join(&stage)).expect("a folder");
            let parser = format!("{parser}.yaml");
            let of_hub = Path::new(HUB).join(&stage).join("crowdsecurity").join(&parser);
            symlink(of_hub, etc.join(stage).join(parser)).expect("a link");
        }
        fs::create_dir_all(etc.join("parsers/s01-parse")).expect("a folder");
        let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/crowdsec");
        for name in ["parsers/s01-parse/floodwall-logs.yaml", "scenarios/floodwall-refusals.yaml"] {
            fs::copy(own.join(name), etc.join(name)).expect("it can be copied");
        }
        // Debian's profile, and the one for prefixes that the scenario asks for.
        let profiles = fs::read_to_string("/etc/crowdsec/profiles.yaml").expect("crowdsec's");
        let ranges = profiles.replace("\"Ip\"", "\"Range\"").replace("default_ip", "of_ranges");
        let url = format!("http://{}/", own_address());
        let listen = url.trim_start_matches("http://").trim_end_matches('/');
        let shown = place.display();
        let configuration = format!(
            "common: {{daemonize: false, log_media: stdout, log_level: info}}\n\
             config_paths:\n  config_dir: {shown}/etc\n  data_dir: {shown}/data\n  \
             simulation_path: {shown}/etc/simulation.yaml\n  hub_dir: {shown}/hub\n  \
             index_path: {shown}/hub/.index.json\n  notification_dir: {shown}/notifications\n  \
             plugin_dir: {shown}/plugins\n\
             crowdsec_service: {{acquisition_path: {shown}/etc/acquis.yaml, \
             acquisition_dir: {shown}/etc/acquis.d, parser_routines: 1}}\n\
             db_config: {{type: sqlite, db_path: {shown}/data/crowdsec.db, use_wal: true}}\n\
             api:\n  client: {{credentials_path: {shown}/etc/lapi.yaml}}\n  \
             server: {{listen_uri: '{listen}', profiles_path: {shown}/etc/profiles.yaml, \
             console_path: {shown}/etc/console.yaml}}\n\
             prometheus: {{enabled: false}}\n"
        );
        for (name, text) in [
            ("etc/profiles.yaml", format!("{profiles}\n---\n{ranges}")),
            ("etc/simulation.yaml", "simulation: off\n".to_owned()),
            ("etc/acquis.yaml", String::new()),
            ("etc/lapi.yaml", format!("url: {url}\nlogin: test\npassword: test\n")),
            ("config.yaml", configuration),
        ] {
            fs::write(place.join(name), text).expect("it is ours");
        }
        let crowdsec = Self { place, url };
        crowdsec.cscli(&[
            "machines",
            "add",
            "test",
            "--password",
            "test",
            "--force",
            "-f",
            "/dev/null",
        ]);
        crowdsec
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.arg("-c").arg(self.place.join("config.yaml"));
        command
    }

    /// The local API, once it listens.
    fn api(&self) -> Daemon {
        let mut command = self.command("crowdsec");
        command.args(["-no-cs", "-no-capi"]);
        let address = self.url.trim_start_matches("http://").trim_end_matches('/');
        Daemon::start(command, &self.place, || std::net::TcpStream::connect(address).is_ok())
    }

    /// Reads a whole file, and tells the API what it finds.
    fn read(&self, file: &Path, kind: &str) {
        let mut command = self.command("crowdsec");
        command.args(["-no-api", "-no-capi", "-type", kind, "-dsn"]);
        let output = command.arg(format!("file://{}", file.display())).output().expect("it runs");
        assert!(output.status.success(), "{}", shown(&output));
    }

    fn cscli(&self, arguments: &[&str]) -> String {
        let output = self.command("cscli").args(arguments).output();
        let output = output.expect("cscli runs; remedy: tests/tools/provision");
        assert!(output.status.success(), "{}", shown(&output));
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// The decisions that stand: scope and value.
    fn decisions(&self) -> Vec<(String, String)> {
        let alerts: Value =
            serde_json::from_str(&self.cscli(&["decisions", "list", "-o", "json"])).expect("JSON");
        let alerts = alerts.as_array().cloned().unwrap_or_default();
        let all = alerts.iter().flat_map(|alert| alert["decisions"].as_array().cloned());
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        let mut all: Vec<_> = all
            .flatten()
            .map(|decision| (text(&decision["scope"]), text(&decision["value"])))
            .collect();
        all.sort_unstable();
        all
    }
}

fn shown(output: &Output) -> String {
    String::from_utf8_lossy(&[&*output.stdout, &*output.stderr].concat()).into_owned()
}

#[test]
fn crowdsec_decides_against_a_flooder_and_nobody_else() {
    let (folder, application) = (Folder::new("crowdsec"), application());
    let file = folder.path().join("refused.log");
    let sample = format!("file = '{}'", file.display());
    let floodwall = Floodwall::start(&folder, application.upstream(), &configuration(&sample));
    rounds(&floodwall, || of(&lines(&file), FLOODER) >= 5 && of(&lines(&file), PREFIX) >= 5);
    assert!(floodwall.stop().success());
    let crowdsec = CrowdSec::new(folder.path());
    let _api = crowdsec.api();
    assert_eq!(crowdsec.decisions(), []);
    crowdsec.read(&file, "floodwall");
    let decided = [("Ip", FLOODER), ("Range", PREFIX)];
    assert_eq!(
        crowdsec.decisions(),
        decided.map(|(one, other)| (one.to_owned(), other.to_owned()))
    );
    // Each line is parsed, and the address is the one that was seen.
    let text = fs::read_to_string(&file).expect("it is there");
    let two = [text.lines().next(), text.lines().find(|line| line.contains(PREFIX))];
    let two = two.map(|line| line.expect("a line"));
    let some = folder.path().join("two.log");
    fs::write(&some, two.join("\n") + "\n").expect("it is ours");
    let some = some.display().to_string();
    let said = crowdsec.cscli(&["explain", "--verbose", "--type", "floodwall", "--file", &some]);
    assert_eq!(said.matches("parser success").count(), 2, "{said}");
    for line in two {
        let address = line.split("address=").nth(1).and_then(|rest| rest.split(' ').next());
        let found = format!("source_ip : {}", address.expect("an address"));
        assert!(said.contains(&found), "{found}: {said}");
    }
}

/// Both of its forms: from the file, and from the journal.
#[test]
fn what_crowdsec_is_to_read_is_named_as_it_wants() {
    let folder = Folder::new("crowdsec-acquis");
    let crowdsec = CrowdSec::new(folder.path());
    let example = include_str!("../../../config/crowdsec/acquis.d/floodwall.yaml");
    let (from_file, from_journal) = example.split_once("# Without").expect("two forms");
    let from_journal: String = from_journal
        .lines()
        .skip(1)
        .map(|line| format!("{}\n", line.strip_prefix("# ").expect("a comment")))
        .collect();
    let acquis = crowdsec.place.join("etc/acquis.d");
    fs::create_dir_all(&acquis).expect("a folder");
    for form in [from_file, &from_journal] {
        fs::write(acquis.join("floodwall.yaml"), form).expect("it is ours");
        let output = crowdsec.command("crowdsec").arg("-t").output().expect("it runs");
        let said = shown(&output);
        assert!(output.status.success() && said.contains("test done"), "{said}");
        assert!(said.contains("acquis.d/floodwall.yaml"), "it was not read: {said}");
    }
}

/// As journalctl shows them: CrowdSec's `source: journalctl` reads these as syslog.
#[test]
fn lines_of_the_journal_are_understood_too() {
    let folder = Folder::new("crowdsec-journal");
    let crowdsec = CrowdSec::new(folder.path());
    let _api = crowdsec.api();
    // Of a minute ago: a ban counts from then, and is over some hours later.
    let began = Clock::start().unix_ms() / 1_000 - 60;
    let line = |second: u64, message: &str| {
        let at = rfc3339(began + second);
        let (date, clock) = at.split_once('T').expect("a date and a time");
        let (month, day) = date[5..].split_once('-').expect("a month and a day");
        let month = MONTHS[month.parse::<usize>().expect("a number") - 1];
        let (day, clock) = (day.trim_start_matches('0'), clock.trim_end_matches('Z'));
        format!(
            "{month} {day:>2} {clock} host floodwall[7]: {{\"timestamp\":\"{date}T{clock}.000000Z\",\
             \"level\":\"INFO\",\"message\":\"{message}\"}}\n"
        )
    };
    let refused = format!(
        "refused client={FLOODER} address={FLOODER} reason=client-budget site=default route=cart"
    );
    let mut text: String = (0..5).map(|second| line(second, &refused)).collect();
    // What is no message of its own.
    let innocent = refused.replace(FLOODER, "192.0.2.66");
    text.extend((0..9).map(|second| line(second, &format!("x {innocent}"))));
    text.extend((0..9).map(|second| line(second, &format!("x\",\"path\":\"{innocent}"))));
    let file = folder.path().join("journal");
    fs::write(&file, text).expect("it is ours");
    crowdsec.read(&file, "syslog");
    assert_eq!(crowdsec.decisions(), [("Ip".to_owned(), FLOODER.to_owned())]);
}
