//! The families: each metric's name, kind, labels and meaning, in one place.

use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

/// All series of one name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Family {
    /// Without unit and suffix.
    name: &'static str,
    unit: Option<&'static Unit>,
    kind: Kind,
    /// What its series are told apart by; of histograms besides `le`.
    pub(super) labels: &'static [&'static str],
    /// A sentence, without a full stop.
    pub(super) help: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
    Info,
}

// Nothing is told in other units.
static SECONDS: Unit = Unit::Seconds;
static BYTES: Unit = Unit::Bytes;

impl Family {
    const fn counter(
        name: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Self {
        Self { name, unit: None, kind: Kind::Counter, labels, help }
    }

    const fn gauge(
        name: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Self {
        Self { name, unit: None, kind: Kind::Gauge, labels, help }
    }

    const fn histogram(
        name: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Self {
        Self { name, unit: Some(&SECONDS), kind: Kind::Histogram, labels, help }
    }

    const fn info(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Self {
        Self { name, unit: None, kind: Kind::Info, labels, help }
    }

    const fn seconds(self) -> Self {
        Self { unit: Some(&SECONDS), ..self }
    }

    const fn bytes(self) -> Self {
        Self { unit: Some(&BYTES), ..self }
    }

    pub(super) const fn name(&self) -> &'static str {
        self.name
    }

    pub(super) const fn unit(&self) -> Option<&'static Unit> {
        self.unit
    }

    pub(super) const fn metric_type(&self) -> MetricType {
        match self.kind {
            Kind::Counter => MetricType::Counter,
            Kind::Gauge => MetricType::Gauge,
            Kind::Histogram => MetricType::Histogram,
            Kind::Info => MetricType::Info,
        }
    }

    /// As queries name it; of a histogram without `_bucket`, `_sum` and `_count`.
    #[cfg(test)]
    pub(super) fn full_name(&self) -> String {
        let unit = self.unit.map_or(String::new(), |unit| format!("_{}", unit.as_str()));
        let suffix = match self.kind {
            Kind::Counter => "_total",
            Kind::Gauge | Kind::Histogram => "",
            Kind::Info => "_info",
        };
        format!("{}{unit}{suffix}", self.name)
    }

    /// The word for its kind.
    #[cfg(test)]
    pub(super) const fn kind(&self) -> &'static str {
        match self.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
            Kind::Info => "info",
        }
    }
}

macro_rules! families {
    ($($name:ident = $family:expr;)*) => {
        $(pub(super) const $name: Family = $family;)*
        /// Every one of them, in the order in which they are told.
        #[cfg(test)]
        pub(super) const ALL: &[Family] = &[$($name),*];
    };
}

families! {
    BUILD = Family::info(
        "floodwall_build",
        &["version", "arch", "os"],
        "What runs; always 1",
    );
    READY = Family::gauge(
        "floodwall_ready",
        &[],
        "Whether requests are answered by the application: not while draining, nor where every \
         server of a site is down",
    );
    DRAINING = Family::gauge(
        "floodwall_draining",
        &[],
        "Whether it accepts no connections any more",
    );
    CORES = Family::gauge("floodwall_cores", &[], "Threads that carry exchanges");
    CONNECTIONS = Family::gauge("floodwall_connections", &[], "Connections of clients");
    CONNECTIONS_CAPACITY = Family::gauge(
        "floodwall_connections_capacity",
        &[],
        "Connections of clients at most",
    );
    TUNNELS = Family::gauge("floodwall_tunnels", &[], "WebSockets and other tunnels");
    TUNNELS_CAPACITY = Family::gauge("floodwall_tunnels_capacity", &[], "Tunnels at most");
    LINES_DROPPED = Family::counter(
        "floodwall_access_log_lines_dropped",
        &[],
        "Lines of the access log that could not be written",
    );
    SAMPLE_DROPPED = Family::counter(
        "floodwall_refusal_sample_lines_dropped",
        &[],
        "Lines of the refusal sample that could not be written",
    );
    ALERTS = Family::counter(
        "floodwall_alerts",
        &["destination", "outcome"],
        "Alerts: delivered, given up after all attempts, dropped because the queue was full",
    );
    ALERT_FAILURES = Family::counter(
        "floodwall_alert_attempts_failed",
        &["destination"],
        "Attempts to deliver an alert that failed",
    );
    ALERTS_WAITING = Family::gauge(
        "floodwall_alerts_waiting",
        &["destination"],
        "Alerts that wait, or are on their way",
    );
    HISTORY_TALLIES = Family::counter(
        "floodwall_history_tallies",
        &[],
        "Tallies of a minute that were written to the history, where one is kept",
    );
    HISTORY_LOST = Family::counter(
        "floodwall_history_tallies_lost",
        &[],
        "Tallies that waited for a file that cannot be written until there was no room for them",
    );
    HISTORY_FAILURES = Family::counter(
        "floodwall_history_failures",
        &[],
        "Writes to the history that failed; what they had is tried again",
    );
    HISTORY_WRITTEN = Family::gauge(
        "floodwall_history_written_timestamp",
        &[],
        "When the history was written last; 0 before the first time",
    ).seconds();
    RELOADS = Family::counter(
        "floodwall_reloads",
        &["result"],
        "How often the configuration was read again: success, failure",
    );
    RELOAD_SUCCEEDED = Family::gauge(
        "floodwall_reload_last_succeeded",
        &[],
        "Whether the last reload put a configuration in force; 1 where there was none",
    );
    CONFIGURED_AT = Family::gauge(
        "floodwall_configuration_timestamp",
        &[],
        "When the configuration in force was put there",
    ).seconds();
    CERTIFICATE_EXPIRES = Family::gauge(
        "floodwall_certificate_expiry_timestamp",
        &["certificate"],
        "The last second of a certificate, by its file",
    ).seconds();
    WITHOUT_SITE = Family::counter(
        "floodwall_exchanges_without_site",
        &["status"],
        "Exchanges that were for no site: they could not be read, or named a host that nobody serves",
    );
    ENFORCING = Family::gauge(
        "floodwall_enforcing",
        &["site"],
        "Whether requests are refused and absorbed; 0 in observe mode",
    );
    EXCHANGES = Family::counter(
        "floodwall_exchanges",
        &["site", "standing", "verdict", "status"],
        "Exchanges that have ended, by what was known of the session (unread: it ended before), \
         what was done (none: it ended before), and the class of the status",
    );
    DURATION = Family::histogram(
        "floodwall_exchange_duration",
        &["site", "session"],
        "From the head of a request that was sent on to the end of its response: of known \
         sessions, and of all others",
    );
    RESPONSE = Family::histogram(
        "floodwall_upstream_response",
        &["site"],
        "From sending a request on to the head of the response, or to the failure",
    );
    CONNECT = Family::histogram(
        "floodwall_upstream_connect",
        &["site"],
        "How long connections to the application took to be made",
    );
    WRITES = Family::counter(
        "floodwall_writes",
        &["site", "rule", "kind"],
        "Changes in the session store, as answers prove them",
    );
    PREVENTED = Family::counter(
        "floodwall_prevented",
        &["site"],
        "Exchanges that were kept from writing to the session store: refused, challenged, absorbed, \
         or rid of a session cookie that stands for no session; each counts once",
    );
    WOULD_PREVENT = Family::counter(
        "floodwall_would_prevent",
        &["site"],
        "The same in observe mode, where they were not",
    );
    REFUSED = Family::counter(
        "floodwall_refused",
        &["site", "rule", "reason"],
        "Requests that were not forwarded",
    );
    WOULD_REFUSE = Family::counter(
        "floodwall_would_refuse",
        &["site", "rule", "reason"],
        "Requests that were forwarded in observe mode, though they would have been refused",
    );
    ABSORBED = Family::counter(
        "floodwall_absorbed",
        &["site", "rule", "by"],
        "Requests that were recycled with a spare, or answered by Floodwall itself",
    );
    WOULD_ABSORB = Family::counter(
        "floodwall_would_absorb",
        &["site", "rule"],
        "Requests that were forwarded in observe mode, though they would have been absorbed",
    );
    CHALLENGED = Family::counter(
        "floodwall_challenged",
        &["site", "rule"],
        "Requests that were sent back with a challenge's cookie",
    );
    COOKIES = Family::counter(
        "floodwall_session_cookies",
        &["site", "rule", "action"],
        "Session cookies that were withheld from a client (stripped), turned into a deletion \
         (deleted), or taken out of a request because they stand for no live session (removed)",
    );
    TABLE_ENTRIES = Family::gauge(
        "floodwall_table_entries",
        &["site", "table"],
        "Entries: session keys, spares, clients that owe something, learned classes",
    );
    TABLE_CAPACITY = Family::gauge(
        "floodwall_table_capacity",
        &["site", "table"],
        "Entries at most",
    );
    SPARES_LEASED = Family::gauge(
        "floodwall_spares_leased",
        &["site"],
        "Spares that exchanges are using",
    );
    CLASSES = Family::gauge(
        "floodwall_classes",
        &["site", "kind"],
        "Learned path classes: creating, clean, unproven",
    );
    BUDGET_LEFT = Family::gauge(
        "floodwall_budget_sessions_left",
        &["site", "budget"],
        "Sessions that the whole site may still begin at once",
    );
    BUDGET_HELD = Family::gauge(
        "floodwall_budget_sessions_held",
        &["site", "budget"],
        "Sessions that are held for exchanges that have not been answered",
    );
    BUDGET_BURST = Family::gauge(
        "floodwall_budget_sessions_burst",
        &["site", "budget"],
        "What is left when nothing is spent",
    );
    BUDGET_RATE = Family::gauge(
        "floodwall_budget_sessions_per_second",
        &["site", "budget"],
        "How fast what was spent comes back",
    );
    SERVER_UP = Family::gauge(
        "floodwall_server_up",
        &["site", "server"],
        "Whether requests are sent to a server of the application",
    );
    SERVER_EXCHANGES = Family::gauge(
        "floodwall_server_exchanges",
        &["site", "server"],
        "Exchanges that a server has",
    );
    SERVER_CONNECTIONS = Family::gauge(
        "floodwall_server_connections",
        &["site", "server"],
        "Connections that are open to a server, idle ones included",
    );
    SERVER_WAITING = Family::gauge(
        "floodwall_server_waiting",
        &["site", "server"],
        "Exchanges that wait for a connection to a server",
    );
    UPSTREAM_FAILURES = Family::counter(
        "floodwall_upstream_failures",
        &["site", "kind"],
        "Requests that failed by the application",
    );
    LIMITS_MET = Family::counter(
        "floodwall_limits_met",
        &["site", "kind"],
        "How often clients were held to a limit; those that are for no site count at the first",
    );
    FLOOD_RUNNING = Family::gauge(
        "floodwall_flood_running",
        &["site", "rule"],
        "Whether a flood runs",
    );
    FLOOD_CLIENTS = Family::gauge(
        "floodwall_flood_clients",
        &["site", "rule"],
        "Clients of the flood that runs, at least; 0 without one",
    );
    FLOODS = Family::counter(
        "floodwall_floods",
        &["site", "rule"],
        "Floods that began",
    );
    FLOOD_EVENTS = Family::counter(
        "floodwall_flood_events",
        &["site", "rule"],
        "Requests of floods that were refused or absorbed, or would have been",
    );
    SAVES = Family::counter(
        "floodwall_state_saves",
        &["site", "result"],
        "How often the state was saved: success, failure",
    );
    SAVED_AT = Family::gauge(
        "floodwall_state_saved_timestamp",
        &["site"],
        "When the state was saved last",
    ).seconds();
    SAVE_DURATION = Family::gauge(
        "floodwall_state_save_duration",
        &["site"],
        "How long that took",
    ).seconds();
    STATE_SIZE = Family::gauge(
        "floodwall_state",
        &["site", "part"],
        "What the state takes on the disk: snapshot, journal",
    ).bytes();
    LEDGER_WARM = Family::gauge(
        "floodwall_ledger_warm",
        &["site"],
        "Whether every live session is known, so that unknown ones can be told",
    );
    LEDGER_WARM_AT = Family::gauge(
        "floodwall_ledger_warm_timestamp",
        &["site"],
        "When the ledger will be warm, if nothing happens before; now, where it is",
    ).seconds();
    PROCESS_START = Family::gauge(
        "process_start_time",
        &[],
        "Start time of the process since unix epoch in seconds",
    ).seconds();
    PROCESS_CPU = Family::counter(
        "process_cpu",
        &[],
        "Total user and system CPU time spent in seconds",
    ).seconds();
    PROCESS_RESIDENT = Family::gauge(
        "process_resident_memory",
        &[],
        "Resident memory size in bytes",
    ).bytes();
    PROCESS_VIRTUAL = Family::gauge(
        "process_virtual_memory",
        &[],
        "Virtual memory size in bytes",
    ).bytes();
    PROCESS_FILES = Family::gauge(
        "process_open_fds",
        &[],
        "Number of open file descriptors",
    );
    PROCESS_MOST_FILES = Family::gauge(
        "process_max_fds",
        &[],
        "Maximum number of open file descriptors",
    );
}
