//! Who is told of in the refusal sample: whom it would help to keep out by address.
//!
//! A proxy in front is not, nor is this machine: keeping these out takes the site down. What else is
//! there to know, how often and in which words, is telemetry's.

use super::core::Core;
use super::forwarded::{Origin, trusts};
use super::settings::Settings;
use super::site::Site;
use crate::guard::client::Client;
use crate::guard::fact::RouteId;
use crate::guard::moment::Moment;
use crate::guard::policy::{ClientPolicy, Terms};
use crate::telemetry::refusals::{Refused, Treated};

/// Tells of a client that was refused just `now`, where it is one to be told of. As budgets see it, it
/// is this `client`.
pub fn tell(
    core: &Core,
    settings: &Settings,
    site: &Site,
    (origin, client): (&Origin, Client),
    (treated, route): (Treated, RouteId),
    now: Moment,
) {
    let policy = &site.shield.guard.policy().client;
    // In a flood the second ends it: the last looks at long lists.
    if !has_address(origin)
        || !core.app.refusals.is_due(client, treated, now)
        || !is_to_blame(origin, settings, policy)
    {
        return;
    }
    let refused = Refused {
        client,
        address: origin.client,
        treated,
        route: match route {
            RouteId::Rule(_) => Some(site.shield.telemetry.name(route)),
            RouteId::Unnamed => None,
        },
        site: &site.name,
    };
    core.app.refusals.tell(&refused, now, || core.clock.unix_ms());
}

/// Whether the address is that of the client itself.
fn has_address(origin: &Origin) -> bool {
    let address = origin.client.to_canonical();
    !origin.stands_in && !address.is_loopback() && !address.is_unspecified()
}

/// Whether it is that of nobody whom the operator trusts.
fn is_to_blame(origin: &Origin, settings: &Settings, policy: &ClientPolicy) -> bool {
    let address = origin.client.to_canonical();
    !trusts(address, &settings.trusted_proxies) && policy.terms(address) != Terms::Exempt
}
