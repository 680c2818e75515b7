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
use crate::guard::policy::{ClientPolicy, Terms};
use crate::telemetry::refusals::{Refused, Treated};

/// Tells of a client that was refused, where it is one to be told of.
pub fn tell(
    core: &Core,
    settings: &Settings,
    site: &Site,
    origin: &Origin,
    (treated, route): (Treated, RouteId),
) {
    let policy = &site.shield.guard.policy().client;
    let (client, now) = (Client::fold(origin.client, policy), core.clock.now());
    // In a flood that ends it: the rest of what is looked at is long lists.
    if !core.app.refusals.is_due(client, treated, now) || !is_to_blame(origin, settings, policy) {
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

/// Whether the address is that of the client itself, and of nobody whom the operator trusts.
fn is_to_blame(origin: &Origin, settings: &Settings, policy: &ClientPolicy) -> bool {
    let address = origin.client.to_canonical();
    !origin.stands_in
        && !address.is_loopback()
        && !address.is_unspecified()
        && !trusts(address, &settings.trusted_proxies)
        && policy.terms(address) != Terms::Exempt
}
