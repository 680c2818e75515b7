//! The defaults, all of them.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::{NonZeroU8, NonZeroU32};
use std::path::PathBuf;
use std::time::Duration;

use super::{
    AcceptHeader, AccessFormat, AccessLog, Admin, Alerts, Balance, Config, DownstreamLimits,
    Health, History, Http2, Listen, Log, LogFormat, LogLevel, Method, Profile, ProxyProtocol,
    RefusalSample, SendHeader, Server, Site, Tls, TlsVersion, UpgradeProtocols, Upgrades, Upstream,
    UpstreamClient, UpstreamLimits, UpstreamTls,
};
use crate::guard::policy::{
    AfterLogout, Budget, Challenge, ChallengePolicy, ClientPolicy, LearnedPolicy, Mode, Policy,
    Quota, RecyclePolicy, SessionPolicy, Tier, Unknown,
};

impl Default for Config {
    /// What an empty file says.
    fn default() -> Self {
        let profile = Profile::Django;
        Self {
            listen: vec![Listen::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)))],
            unix_mode: 0o660,
            tls: Tls {
                listen: Vec::new(),
                redirect: Vec::new(),
                redirect_port: 0,
                certificates: Vec::new(),
                min_version: TlsVersion::Tls12,
            },
            sites: vec![Site {
                name: Site::ONLY.to_owned(),
                hosts: Vec::new(),
                paths: Vec::new(),
                servers: vec![Server { upstream: Upstream::standard(), weight: 1 }],
                balance: Balance {
                    method: Method::RoundRobin,
                    slow_start: Duration::from_secs(10),
                    eject_after: 5,
                    eject_for: Duration::from_secs(10),
                },
                health: Health {
                    path: None,
                    host: None,
                    interval: Duration::from_secs(5),
                    timeout: Duration::from_secs(2),
                    healthy: 2,
                    unhealthy: 3,
                },
                state: Some(PathBuf::from("floodwall.state")),
                profile,
                policy: policy(profile),
                upstream_limits: UpstreamLimits {
                    connect_timeout: Duration::from_secs(5),
                    response_timeout: Duration::from_secs(60),
                    idle_timeout: Duration::from_secs(30),
                    idle_connections: 64,
                    connections: 0,
                    queue: 256,
                    queue_timeout: Duration::from_secs(5),
                },
                upstream_tls: UpstreamTls { ca: None, server_name: None, verify: true, own: None },
                send_header: SendHeader::Off,
                upstream_client: UpstreamClient::Own,
                own_rules: Vec::new(),
                profile_rules: true,
            }],
            control: Some(PathBuf::from("floodwall.state.control")),
            trusted_proxies: Vec::new(),
            proxy_protocol: ProxyProtocol { accept: AcceptHeader::Off, from: Vec::new() },
            cores: None,
            drain_timeout: Duration::from_secs(30),
            downstream_limits: DownstreamLimits {
                header_timeout: Duration::from_secs(10),
                idle_timeout: Duration::from_secs(75),
                body_timeout: Duration::from_secs(30),
                send_timeout: Duration::from_secs(60),
                body_rate: 500,
                refusal_pause: Duration::from_millis(100),
                head_bytes: 64 << 10,
                headers: 100,
                target_bytes: 8 << 10,
                body_bytes: 1 << 30,
                connections: 4_096,
                connections_per_client: 1_024,
            },
            upgrades: Upgrades {
                protocols: UpgradeProtocols::Named(vec!["websocket".to_owned()]),
                idle_timeout: Duration::from_secs(300),
                tunnels: 2_048,
                tunnels_per_client: 256,
            },
            access_log: AccessLog { format: AccessFormat::Off, file: None },
            admin: Admin {
                listen: vec![Listen::Unix(PathBuf::from("floodwall.state.admin"))],
                token_file: None,
            },
            history: History {
                file: Some(PathBuf::from("floodwall.state.history")),
                keep: Duration::from_secs(90 * 86_400),
            },
            http2: Http2 { enabled: true, streams: 100, header_list_bytes: 64 << 10, resets: 200 },
            log: Log {
                format: LogFormat::Auto,
                level: LogLevel::Info,
                flood_interval: Duration::from_secs(60),
                flood_quiet: Duration::from_secs(30),
                flood_events: count(20),
            },
            alerts: Alerts {
                webhook: None,
                webhook_secret_file: None,
                webhook_ca: None,
                syslog: None,
                journald: None,
                queue: 256,
                timeout: Duration::from_secs(10),
                retry_for: Duration::from_secs(900),
            },
            refusal_sample: RefusalSample {
                per_client: Duration::from_secs(60),
                per_second: 10,
                file: None,
                challenged: false,
            },
            save_interval: Duration::from_secs(1),
        }
    }
}

fn policy(profile: Profile) -> Policy {
    Policy {
        mode: Mode::Enforce,
        session: SessionPolicy {
            cookie: "sessionid".to_owned(),
            key_shape: profile.key_shape(),
            lifetime: Duration::from_secs(14 * 86_400),
            unknown: Unknown::Auto,
            after_logout: AfterLogout::Delete,
            cookie_path: "/".to_owned(),
            cookie_domain: None,
            cookie_secure: false,
            capacity: 2_000_000,
            in_flight_per_key: 16,
            in_flight_anonymous: 6,
            key_wait: Duration::from_millis(500),
        },
        recycle: RecyclePolicy {
            spares: 16,
            slot_wait: Duration::from_secs(2),
            spacing: 3,
            gate_for: Duration::from_secs(600),
        },
        client: ClientPolicy {
            ipv4_prefix: 32,
            ipv6_prefix: 64,
            ipv6_tiers: vec![
                Tier { prefix: 56, factor: count(4) },
                Tier { prefix: 48, factor: count(8) },
            ],
            capacity: 1_000_000,
            exempt: Vec::new(),
            networks: Vec::new(),
        },
        challenge: Challenge::None,
        challenge_cookie: ChallengePolicy {
            name: "floodwall".to_owned(),
            max_age: Duration::from_secs(3600),
            quota: per_minute(10, 10),
            ceiling: count(2),
        },
        learned: LearnedPolicy {
            capacity: 4096,
            clean_answers: NonZeroU8::new(8).expect("not zero"),
            quiet: Duration::from_secs(600),
            passes: 32,
        },
        // The order of `profile::budget`: rules refer to budgets by index.
        budgets: vec![
            budget("anonymous", per_minute(30, 60), per_minute(120, 600)),
            Budget {
                challenge: Some(Challenge::Cookie),
                ..budget("login", per_minute(120, 200), per_minute(300, 1000))
            },
            budget("admin", per_minute(30, 30), per_minute(60, 120)),
            budget("logout", per_minute(30, 60), per_minute(60, 300)),
        ],
        rules: profile.rules(),
    }
}

fn budget(name: &str, client: Quota, site: Quota) -> Budget {
    Budget { name: name.to_owned(), client, site, challenge: None }
}

/// `burst` at once, then `rate` a minute.
fn per_minute(rate: u32, burst: u32) -> Quota {
    let period = Duration::from_secs(60) / count(rate).get();
    Quota::new(count(burst), period).expect("the default quotas are within their bounds")
}

fn count(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).expect("no default count is zero")
}
