//! Tests from outside: bytes in, bytes out.

mod proxying;
mod raw;
mod stopping;
mod streaming;
mod support;
mod trouble;
