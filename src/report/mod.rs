//! The report: what a history says of a span, for people, for programs, and for whoever pays them.
//!
//! [`model`] reads the history and works out everything that is told; [`text`], [`json`] and [`html`]
//! only write it down. All times are UTC. It promises to claim no more than was counted: what is not
//! certain is called so, wherever it is shown.

pub mod figures;
pub mod html;
pub mod json;
pub mod model;
mod plot;
pub mod text;
mod words;

pub use self::model::Report;
