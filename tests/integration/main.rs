//! Tests from outside: bytes in, bytes out.

mod proxying;
mod raw;
