//! Everything that a reload replaces, and that an exchange keeps while it runs.

use super::settings::Settings;
use super::sites::Sites;
use super::tls::Tls;

/// One configuration in force, as a whole.
#[derive(Debug)]
pub struct InForce {
    pub settings: Settings,
    pub sites: Sites,
    /// Where a door speaks TLS.
    pub tls: Option<Tls>,
}
