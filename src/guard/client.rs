//! Who is held responsible for a request: an address folded to its prefix.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::policy::ClientPolicy;

/// A client: an IPv4 or IPv6 prefix. IPv4-mapped IPv6 addresses (RFC 4291, 2.5.5.2) are IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Client {
    /// The prefix, its other bits zero.
    network: IpAddr,
    bits: u8,
}

impl Client {
    /// Folds an address to the prefix that the policy calls one client.
    pub fn fold(address: IpAddr, policy: &ClientPolicy) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self::new(IpAddr::V4(v4), policy.ipv4_prefix),
            IpAddr::V6(v6) => Self::new(IpAddr::V6(v6), policy.ipv6_prefix),
        }
    }

    /// The wider prefixes around an IPv6 client, from narrow to wide; none for IPv4, which has no
    /// tiers.
    pub fn tiers(self, policy: &ClientPolicy) -> impl DoubleEndedIterator<Item = Self> {
        let tiers = if self.network.is_ipv6() { &policy.ipv6_tiers[..] } else { &[] };
        tiers.iter().map(move |tier| Self::new(self.network, tier.prefix))
    }

    /// The prefix of `bits` bits (no more than the address has) around `address`.
    pub fn new(address: IpAddr, bits: u8) -> Self {
        let network = match address {
            IpAddr::V4(v4) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(bits.min(32))).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & mask))
            }
            IpAddr::V6(v6) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(bits.min(128))).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask))
            }
        };
        let bits = bits.min(if address.is_ipv4() { 32 } else { 128 });
        Self { network, bits }
    }

    /// The length of the prefix.
    pub const fn bits(self) -> u8 {
        self.bits
    }

    /// The bytes that a keyed hash of this client is made of.
    pub fn bytes(self) -> [u8; 18] {
        let mut bytes = [0; 18];
        match self.network {
            IpAddr::V4(v4) => bytes[..4].copy_from_slice(&v4.octets()),
            IpAddr::V6(v6) => bytes[..16].copy_from_slice(&v6.octets()),
        }
        bytes[16] = self.bits;
        bytes[17] = u8::from(self.network.is_ipv6());
        bytes
    }
}

impl fmt::Display for Client {
    /// An address where the client is one address, else `network/bits`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = if self.network.is_ipv4() { 32 } else { 128 };
        if self.bits == whole {
            write!(f, "{}", self.network)
        } else {
            write!(f, "{}/{}", self.network, self.bits)
        }
    }
}
