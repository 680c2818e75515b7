//! What systemd, or another supervisor, is told (sd_notify(3)).

use std::time::Duration;

use sd_notify::NotifyState;

/// Tells it, if there is one. One that cannot be told is none.
pub fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "the supervisor cannot be told");
    }
}

/// A reload has begun.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// Within which time it wants a sign of life again and again, if it does.
pub fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}
