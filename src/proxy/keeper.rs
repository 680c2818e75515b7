//! What is done beside the exchanges, on threads of its own: states are saved, certificates that
//! have changed are read, what has become due is told; a watchdog is fed.

use std::collections::HashMap;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use sd_notify::NotifyState;

use super::core::App;
use super::shield::Shield;
use super::supervisor;
use crate::guard::fact::{Notice, Warmth};
use crate::guard::moment::Moment;
use crate::guard::policy::Unknown;
use crate::guard::warmth::WarmUp;

/// Between two looks at what has become due.
const TICK: Duration = Duration::from_secs(1);

/// Between two signs of life in the state; a small part of the absence that matters.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);

/// Between two lines that tell how far the ledger is from being warm.
const BETWEEN_EIGHTHS: Duration = Duration::from_secs(86_400);

/// Between two warnings of certificates that expire.
const BETWEEN_WARNINGS: Duration = Duration::from_secs(86_400);

/// Feeds a watchdog that wants it each `time`, while every core runs, until told to stop. On a thread
/// of its own: a disk that hangs must not end in a restart, as requests go on meanwhile.
pub fn feed(app: &App, time: Duration, stopped: &mpsc::Receiver<()>) {
    while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(time / 4) {
        // Half of the time for a core that is busy, half for this thread.
        if app.pulses.all_since(app.clock.now().before(time / 2)) {
            supervisor::tell(&[NotifyState::Watchdog]);
        }
    }
}

/// Saves the states once each interval, leaves signs of life in them, and looks at certificates and
/// says what has become due once a second, until told to stop. On a thread of its own: disks block.
/// Who sleeps here for longer than asked was stopped, and all of the process with it.
pub fn keep(app: &App, stopped: &mpsc::Receiver<()>) {
    let mut tellers: HashMap<String, Teller> = HashMap::new();
    let clock = app.clock;
    let (mut ticked, mut saved) = (clock.now(), clock.now());
    let mut lived = saved;
    let mut told_expiry = saved;
    loop {
        let interval = app.in_force.load().settings.save_interval;
        let asleep = clock.now();
        match stopped.recv_timeout(interval.min(TICK)) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
        }
        let now = clock.now();
        let missed = WarmUp::absence(asleep.as_nanos(), now.as_nanos());
        let (save, live) = (now.since(saved) >= interval, now.since(lived) >= SIGN_OF_LIFE);
        let tick = now.since(ticked) >= TICK;
        let in_force = app.in_force.load_full();
        if tick {
            app.access.tick(now);
            app.alerts.tick(now);
            app.refusals.tick(now);
        }
        if tick && let Some(tls) = &in_force.tls {
            tls.certificates.look(clock.unix(now));
            if now.since(told_expiry) >= BETWEEN_WARNINGS {
                tls.certificates.tell_expiry(clock.unix(now));
                told_expiry = now;
            }
        }
        for site in in_force.sites.all() {
            let shield = &site.shield;
            if let Some(missed) = missed {
                shield.guard.missed(missed, now);
                shield.state.iter().for_each(|state| state.missed());
            }
            if let Some(state) = &shield.state {
                if save {
                    state.save(&shield.guard);
                }
                if live {
                    state.live();
                }
            }
            if tick {
                shield.telemetry.tick(now);
                if shield.guard.policy().session.unknown == Unknown::Auto {
                    tellers.entry(site.name.clone()).or_default().tell(shield, now);
                }
            }
        }
        saved = if save { now } else { saved };
        lived = if live { now } else { lived };
        ticked = if tick { now } else { ticked };
    }
}

/// Tells whether the ledger is warm: when that changes, and how far it is at each eighth of the
/// way, once a day at most.
#[derive(Default)]
struct Teller {
    told: Option<(std::mem::Discriminant<Warmth>, u128, Moment)>,
}

impl Teller {
    fn tell(&mut self, shield: &Shield, now: Moment) {
        let warmth = shield.guard.warmth(now);
        if self.is_worth_telling(warmth, now) {
            let warm_at = shield.warm_at(warmth);
            shield.telemetry.notice(&Notice::Warmth { warmth, warm_at }, now);
        }
    }

    fn is_worth_telling(&mut self, warmth: Warmth, now: Moment) -> bool {
        let (remaining, whole) = warmth.span();
        let seen = whole.saturating_sub(remaining).as_nanos();
        let eighths = seen.saturating_mul(8).checked_div(whole.as_nanos()).unwrap_or(0);
        let kind = std::mem::discriminant(&warmth);
        let worth = self.told.is_none_or(|(told, before, at)| {
            told != kind || (eighths != before && now.since(at) >= BETWEEN_EIGHTHS)
        });
        if worth {
            self.told = Some((kind, eighths, now));
        }
        worth
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::fact::Missed;
    use crate::proxy::clock::Clock;

    #[test]
    fn progress_is_told_at_each_eighth_and_once_a_day_at_most() {
        const HOUR: Duration = Duration::from_secs(3_600);
        for (days, expected) in [(14, 8), (80, 8), (4, 4), (1, 1)] {
            let whole = HOUR * 24 * days;
            let start = Clock::start().now();
            let mut teller = Teller::default();
            let mut told = 0;
            for hour in 0..24 * days {
                let remaining = whole.saturating_sub(HOUR * hour);
                let warmth = Warmth::Cold { missed: Missed::Everything, remaining, whole };
                told += usize::from(teller.is_worth_telling(warmth, start.after(HOUR * hour)));
            }
            assert_eq!(told, expected, "{days} days");
            assert!(teller.is_worth_telling(Warmth::Warm, start.after(whole)));
            assert!(!teller.is_worth_telling(Warmth::Warm, start.after(whole * 9)));
        }
    }
}
