//! The guard against a model of Django, and against itself: what an attacker can try, played
//! through in virtual time. Nothing here sleeps; every seed that failed can be run again.

pub(crate) mod random;
pub(crate) mod support;

mod challenges;
mod crowd;
mod directed;
mod django;
mod explained;
mod filled;
mod floods;
mod handovers;
mod meter;
mod naive;
mod people;
mod reloads;
mod rules;
mod scale;
mod shrink;
mod turning;
mod world;

#[path = "../../../tests/integration/support/attack.rs"]
mod attack;
