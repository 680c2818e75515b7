//! The guard against a model of Django, and against itself: what an attacker can try, played
//! through in virtual time. Nothing here sleeps; every seed that failed can be run again.

pub(crate) mod support;

mod challenges;
mod directed;
mod django;
mod filled;
mod floods;
mod naive;
mod people;
mod rules;
mod turning;
mod world;
