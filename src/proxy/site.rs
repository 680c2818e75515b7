//! One site: what is protected, by what rules, and the way to it.

use std::fmt;
use std::sync::Arc;

use http::HeaderValue;

use super::settings::SiteSettings;
use super::shield::Shield;
use super::upstream::Upstream;

/// A site as it is in force. A reload makes a new one, which shares what must not be forgotten;
/// exchanges that run keep theirs.
pub struct Site {
    pub name: String,
    pub shield: Arc<Shield>,
    pub settings: SiteSettings,
    pub upstream: Arc<Upstream>,
    /// The `Host` of a request that names none.
    pub nameless: HeaderValue,
}

impl Site {
    /// A site before `upstream`.
    pub fn new(
        name: &str,
        shield: Arc<Shield>,
        settings: SiteSettings,
        upstream: Arc<Upstream>,
    ) -> Self {
        let nameless = HeaderValue::from_str(&settings.upstream.host())
            .unwrap_or_else(|_| HeaderValue::from_static("localhost"));
        Self { name: name.to_owned(), shield, settings, upstream, nameless }
    }
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Site").field("name", &self.name).finish_non_exhaustive()
    }
}
