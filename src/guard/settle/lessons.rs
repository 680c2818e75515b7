//! What answers teach, whosever exchange it was: of the application's cookies and of its pages.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::super::Guard;
use super::super::exchange::{Facts, Ticket};
use super::super::fact::{Event, Fact, Notice, Write};
use super::super::learned::{Lesson, Noted, Page};
use super::super::moment::Moment;
use super::super::route::Effect;
use super::super::set_cookie::{Evidence, SetSession};

impl Guard {
    /// Where the login page itself begins a session, as on Django 1.4 and wherever every request
    /// saves, nobody honest logs in without one.
    pub(super) fn learn_login(&self, ticket: &Ticket, evidence: &Evidence) {
        let page = ticket.effect == Effect::Rotate && !ticket.body && !ticket.carried;
        if page && evidence.status == 200 {
            self.habits
                .bare_logins
                .store(evidence.session == SetSession::Nothing, Ordering::Relaxed);
        }
    }

    /// Whether the class of a request creates. Errors and pages that are not there teach nothing:
    /// made-up paths would fill the table with them.
    pub(super) fn learn_class(
        &self,
        page: &Page<'_>,
        evidence: &Evidence,
        facts: &Facts,
        now: Moment,
    ) -> Option<Notice> {
        let created = |fact: &Fact| fact.event == Event::Wrote(Write::Created);
        let noted = if facts.as_slice().iter().any(created) || evidence.lookalike.is_some() {
            self.learned.note(page, Lesson::Created, now)
        } else if evidence.status < 400 {
            self.learned.note(page, Lesson::Clean, now)
        } else {
            return None;
        };
        match noted {
            Noted::Silent => None,
            Noted::TurnedCreating => Some(Notice::PathCreates {
                method: page.method(),
                standing: page.standing(),
                path: page.text(),
            }),
            Noted::NoPlace => Some(Notice::ClassesFull),
        }
    }

    /// What every answer teaches, whosever exchange it was. Where the client sent a session cookie
    /// the value may be an echo of it: `clear()` adopts whatever name a client makes up.
    pub(super) fn learn(&self, evidence: &Evidence, carried: bool) {
        if let Some(dress) = &evidence.dress {
            let mut known = self.dress.lock();
            if *known != *dress {
                *known = dress.clone();
            }
        }
        match &evidence.session {
            SetSession::Signed { .. } if !carried => self.set_issues_signed(true),
            SetSession::Key { max_age, .. } => {
                self.set_issues_signed(false);
                // Half a minute of slack: ages are counted down by applications that compute them.
                let mut warm_up = self.warm_up.lock();
                let age = max_age.unwrap_or_default();
                if age > warm_up.longest + Duration::from_secs(30) {
                    warm_up.longest = age.min(Self::LONGEST_AGE);
                }
            }
            SetSession::Nothing
            | SetSession::Deletion
            | SetSession::Signed { .. }
            | SetSession::OtherShape => {}
        }
    }
}
