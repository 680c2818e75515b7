//! Tests from outside: bytes in, bytes out.

mod django_rig;
mod support;
