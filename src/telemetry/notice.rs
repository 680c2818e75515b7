//! Notices as lines: what each says, and how to remedy it. The same kind on the same route is
//! told once a minute at most.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::escape::{LIMIT, visible};
use super::repeat::Repeat;
use super::routes::Routes;
use super::warmth::Progress;
use crate::guard::fact::{Notice, RouteId, Warmth};
use crate::guard::moment::Moment;

/// The time between two notices of one kind on one route.
const SPAN: Duration = Duration::from_secs(60);

/// The notices of the latest minute, by kind and route. As many as there are kinds for each route
/// at most, each with at most one string of 128 bytes.
pub(super) struct Notices {
    site: Option<Arc<str>>,
    routes: Routes<Slots>,
}

/// For each kind in turn, of one route.
type Slots = Mutex<[Slot; Kind::ALL.len()]>;

#[derive(Default)]
struct Slot {
    repeat: Repeat,
    /// The latest that was not told. It is told when the minute is over, so that what was said
    /// last of a route is also what was true last.
    untold: Option<(Line, Moment)>,
}

impl Notices {
    /// Bytes of all of it, once each kind was kept for each route, with a path or a cookie.
    pub(super) fn bytes(rules: usize) -> usize {
        Kind::ALL.len() * (rules + 1) * (size_of::<Slot>() + LIMIT)
    }

    /// Of the routes of these names, which are fit for a line, as the site's is.
    pub(super) fn new(site: Option<Arc<str>>, names: &[String]) -> Self {
        Self { site, routes: Routes::new(names, Slots::default) }
    }

    /// Those of other rules: what was told is not told again before its time.
    pub(super) fn reconfigured(&self, names: &[String]) -> Self {
        let untold = |slots: &Slots| {
            let slots = slots.lock().unwrap_or_else(PoisonError::into_inner);
            slots.iter().any(|slot| slot.untold.is_some())
        };
        let routes = self.routes.followed_by(names, Slots::default, untold);
        Self { site: self.site.clone(), routes }
    }

    /// Writes the notice, or keeps it until the minute is over.
    pub(super) fn tell(&self, notice: &Notice, now: Moment) {
        let line = Line::of(notice);
        let (_, slots) = self.routes.of(line.route.unwrap_or(RouteId::Unnamed));
        let mut slots = slots.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = &mut slots[line.kind.counted_as() as usize];
        let Some(suppressed) = slot.repeat.admit(now, SPAN) else {
            slot.untold = Some((line, now));
            return;
        };
        slot.untold = None;
        drop(slots);
        let route = line.route.map(|route| self.routes.name(route));
        self.log(route, &line, suppressed, None);
    }

    /// Writes what was kept for a minute.
    pub(super) fn tick(&self, now: Moment) {
        self.tell_untold(now, SPAN);
    }

    /// Writes all that was kept.
    pub(super) fn finish(&self, now: Moment) {
        self.tell_untold(now, Duration::ZERO);
    }

    fn tell_untold(&self, now: Moment, span: Duration) {
        let mut due = Vec::new();
        for (route, slots) in self.routes.all() {
            for slot in slots.lock().unwrap_or_else(PoisonError::into_inner).iter_mut() {
                if let Some(suppressed) = slot.repeat.overdue(now, span)
                    && let Some((line, happened)) = slot.untold.take()
                {
                    // The line itself is one of those that were suppressed.
                    due.push((route, line, suppressed - 1, now.since(happened)));
                }
            }
        }
        for (route, line, suppressed, ago) in due {
            let route = line.route.map(|_| self.routes.name(route));
            self.log(route, &line, suppressed, Some(ago.as_secs()));
        }
    }

    /// `ago_s`: how long ago it happened, where it is told late; another line may say meanwhile
    /// what became of it.
    fn log(&self, route: Option<&str>, line: &Line, suppressed: u64, ago_s: Option<u64>) {
        let site = self.site.as_deref();
        let Line { method, standing, path, cookie, gated_s, progress, .. } = line;
        let progress = progress.as_ref();
        let seen = progress.map(|progress| &*progress.seen);
        let of = progress.map(|progress| &*progress.of);
        let warm_at = progress.map(|progress| &*progress.warm_at);
        let why = progress.map(|progress| &*progress.why);
        let message = line.kind.message();
        let remedy = line.kind.remedy();
        let suppressed = (suppressed > 0).then_some(suppressed);
        // The level of a line of `tracing` is part of its code.
        match line.kind.gravity() {
            Gravity::Trouble => tracing::warn!(
                site,
                route,
                method,
                standing,
                path,
                cookie,
                gated_s,
                seen,
                of,
                warm_at,
                why,
                remedy,
                suppressed,
                ago_s,
                "{message}"
            ),
            Gravity::News => tracing::info!(
                site,
                route,
                method,
                standing,
                path,
                cookie,
                gated_s,
                seen,
                of,
                warm_at,
                why,
                remedy,
                suppressed,
                ago_s,
                "{message}"
            ),
        }
    }
}

/// A notice, fit for a line.
struct Line {
    kind: Kind,
    route: Option<RouteId>,
    method: Option<&'static str>,
    standing: Option<&'static str>,
    path: Option<String>,
    cookie: Option<String>,
    gated_s: Option<u64>,
    progress: Option<Progress>,
}

impl Line {
    fn of(notice: &Notice) -> Self {
        let bare = |kind| Self {
            kind,
            route: None,
            method: None,
            standing: None,
            path: None,
            cookie: None,
            gated_s: None,
            progress: None,
        };
        let on_path = |kind, route: &RouteId, path: &String, gated: Option<&Duration>| Self {
            route: Some(*route),
            path: Some(visible(path)),
            gated_s: gated.map(Duration::as_secs),
            ..bare(kind)
        };
        match notice {
            Notice::PathFlushes { route, path } => on_path(Kind::PathFlushes, route, path, None),
            Notice::PathWrites { route, path, gated } => {
                on_path(Kind::PathWrites, route, path, Some(gated))
            }
            Notice::WritesAfterLogout { route, path, gated } => {
                on_path(Kind::WritesAfterLogout, route, path, Some(gated))
            }
            Notice::PathCreates { method, standing, path } => Self {
                method: Some(method),
                standing: Some(standing.word()),
                ..on_path(Kind::PathCreates, &RouteId::Unnamed, path, None)
            },
            Notice::ClassesFull => bare(Kind::ClassesFull),
            Notice::OtherCookieLooksLikeKey { route, cookie } => Self {
                route: Some(*route),
                cookie: Some(visible(cookie)),
                ..bare(Kind::OtherCookieLooksLikeKey)
            },
            Notice::KeyOfOtherShape { route } => {
                Self { route: Some(*route), ..bare(Kind::KeyOfOtherShape) }
            }
            Notice::LedgerOverflowed => bare(Kind::LedgerOverflowed),
            Notice::ClientTableFull => bare(Kind::ClientTableFull),
            Notice::Warmth { warmth, warm_at } => {
                let kind = match warmth {
                    Warmth::Warm => Kind::Warm,
                    Warmth::Cold { .. } => Kind::Cold,
                    Warmth::Overflowed { .. } => Kind::Overflowed,
                    Warmth::IssuedElsewhere { .. } => Kind::IssuedElsewhere,
                };
                Self { progress: Progress::of(*warmth, *warm_at), ..bare(kind) }
            }
        }
    }
}

/// How a notice concerns the operator.
enum Gravity {
    /// There is something to be done.
    Trouble,
    /// Good to know.
    News,
}

/// The kinds of notices that are counted apart.
#[derive(Clone, Copy)]
enum Kind {
    PathFlushes,
    PathWrites,
    WritesAfterLogout,
    PathCreates,
    ClassesFull,
    OtherCookieLooksLikeKey,
    KeyOfOtherShape,
    LedgerOverflowed,
    ClientTableFull,
    Warm,
    Cold,
    Overflowed,
    IssuedElsewhere,
}

impl Kind {
    const ALL: [Self; 13] = [
        Self::PathFlushes,
        Self::PathWrites,
        Self::WritesAfterLogout,
        Self::PathCreates,
        Self::ClassesFull,
        Self::OtherCookieLooksLikeKey,
        Self::KeyOfOtherShape,
        Self::LedgerOverflowed,
        Self::ClientTableFull,
        Self::Warm,
        Self::Cold,
        Self::Overflowed,
        Self::IssuedElsewhere,
    ];

    /// What it is a repeat of. A state of the ledger replaces any other, so that none that has
    /// passed is told last.
    const fn counted_as(self) -> Self {
        match self {
            Self::Warm | Self::Cold | Self::Overflowed | Self::IssuedElsewhere => Self::Warm,
            Self::PathFlushes
            | Self::PathWrites
            | Self::WritesAfterLogout
            | Self::PathCreates
            | Self::ClassesFull
            | Self::OtherCookieLooksLikeKey
            | Self::KeyOfOtherShape
            | Self::LedgerOverflowed
            | Self::ClientTableFull => self,
        }
    }

    const fn gravity(self) -> Gravity {
        match self {
            Self::PathFlushes | Self::PathCreates | Self::Warm | Self::Cold => Gravity::News,
            Self::PathWrites
            | Self::WritesAfterLogout
            | Self::ClassesFull
            | Self::OtherCookieLooksLikeKey
            | Self::KeyOfOtherShape
            | Self::LedgerOverflowed
            | Self::ClientTableFull
            | Self::Overflowed
            | Self::IssuedElsewhere => Gravity::Trouble,
        }
    }

    const fn message(self) -> &'static str {
        match self {
            Self::PathFlushes => "path ends sessions: anonymous requests to it recycle from now on",
            Self::PathWrites => "path under a recycling rule writes to the session: gated",
            Self::WritesAfterLogout => "the site writes to the session after a logout: path gated",
            Self::PathCreates => "path creates sessions: only clients with budget reach it",
            Self::ClassesFull => "no room to learn of a path: only clients with budget reach it",
            Self::OtherCookieLooksLikeKey => "a cookie of another name looks like a session key",
            Self::KeyOfOtherShape => "the session cookie holds no key of this profile",
            Self::LedgerOverflowed => "the ledger was full: a live session was forgotten",
            Self::ClientTableFull => "the client table was full: a client found no place in it",
            Self::Warm => "ledger warm: unknown session cookies are removed from now on",
            Self::Cold => "ledger cold: unknown session cookies are forwarded",
            Self::Overflowed => {
                "ledger no longer warm, a live session was forgotten: \
                 unknown session cookies are forwarded"
            }
            Self::IssuedElsewhere => {
                "ledger not warm, a session that was not issued through Floodwall was alive: \
                 unknown session cookies are forwarded"
            }
        }
    }

    /// What to do about it. Free of double quotes, which both formats would escape.
    const fn remedy(self) -> Option<&'static str> {
        match self {
            Self::PathFlushes | Self::PathCreates | Self::Warm | Self::Cold => None,
            Self::ClassesFull => Some("raise learned.capacity"),
            Self::PathWrites => {
                Some("if its view is meant to write, give it a rule with action = 'gate'")
            }
            Self::WritesAfterLogout => Some("set session.after_logout = 'relay'"),
            Self::OtherCookieLooksLikeKey => {
                Some("if it is the session cookie (SESSION_COOKIE_NAME), set session.cookie to it")
            }
            Self::KeyOfOtherShape => {
                Some("check that session.cookie is the site's SESSION_COOKIE_NAME, and its profile")
            }
            Self::LedgerOverflowed | Self::Overflowed => Some("raise session.capacity"),
            Self::ClientTableFull => Some("raise client.capacity"),
            Self::IssuedElsewhere => Some(
                "let every way to the site lead through Floodwall, \
                 or set session.unknown = 'forward'",
            ),
        }
    }
}
