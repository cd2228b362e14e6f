//! Lists of addresses as a user writes them: single addresses, ranges `a-b` and blocks `a/n`. This module does no I/O.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Addresses in the order in which they were written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    ranges: Vec<AddressRange>,
}

/// All addresses from the first to the last, both included, of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct AddressRange {
    v4: bool,
    first: u128,
    last: u128,
}

/// Why a text is not a list of addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Not an address.
    #[error("{0:?} is no address: write 127.0.0.2, a range 127.0.0.2-127.0.0.51, or a block 127.0.1.0/24")]
    Address(String),
    /// A range whose ends are of different families.
    #[error("{0:?} begins with an IPv4 address and ends with an IPv6 one, or the other way round")]
    Families(String),
    /// A range that ends before it begins.
    #[error("{0:?} ends before it begins: write the smaller address first")]
    Backwards(String),
    /// A prefix that is not a number, or is too long.
    #[error("{0:?} has no prefix length: write /0 to /{1}")]
    Prefix(String, u32),
    /// A block whose address has bits set behind the prefix.
    #[error("{0:?} has bits set beyond its prefix: write {1}")]
    HostBits(String, String),
}

impl Addresses {
    /// Parses a list.
    ///
    /// # Errors
    /// The index of the first wrong entry, and the reason.
    pub fn parse<T: AsRef<str>>(texts: &[T]) -> Result<Addresses, (usize, AddressError)> {
        let read = |(index, text): (usize, &T)| range(text.as_ref()).map_err(|error| (index, error));
        Ok(Addresses { ranges: texts.iter().enumerate().map(read).collect::<Result<_, _>>()? })
    }

    /// Returns this machine's loopback addresses.
    pub fn loopback() -> Addresses {
        Addresses::parse(&["127.0.0.0/8", "::1"]).expect("both are addresses")
    }

    /// Whether the list is empty.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Returns the number of addresses of all families. An address that is listed twice counts twice.
    pub fn len(&self) -> u128 {
        self.ranges.iter().fold(0, |sum, range| sum.saturating_add(range.len()))
    }

    /// Returns the number of addresses of one family.
    pub fn len_of(&self, v4: bool) -> u128 {
        self.of(v4).fold(0, |sum, range| sum.saturating_add(range.len()))
    }

    /// Returns the address with the number `turn`, from 0, counted over all families; after the last address the first
    /// follows. `None` if the list is empty.
    pub fn in_turn(&self, turn: u64) -> Option<IpAddr> {
        nth(self.ranges.iter(), self.len(), turn)
    }

    /// Does the same as [`Addresses::in_turn`] among the addresses of one family; `None` if the list has no address of
    /// that family.
    pub fn in_turn_of(&self, v4: bool, turn: u64) -> Option<IpAddr> {
        nth(self.of(v4), self.len_of(v4), turn)
    }

    /// Whether the list contains the address. An IPv4-mapped IPv6 address counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        let (v4, bits) = bits(address.to_canonical());
        self.of(v4).any(|range| (range.first..=range.last).contains(&bits))
    }

    /// Returns all addresses, in order. There may be up to 2^128.
    pub fn iter(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.ranges.iter().flat_map(|range| (range.first..=range.last).map(|bits| address(range.v4, bits)))
    }

    fn of(&self, v4: bool) -> impl Iterator<Item = &AddressRange> {
        self.ranges.iter().filter(move |range| range.v4 == v4)
    }
}

impl fmt::Display for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, range) in self.ranges.iter().enumerate() {
            let between = if index == 0 { "" } else { ", " };
            write!(f, "{between}{}", address(range.v4, range.first))?;
            if range.last > range.first {
                write!(f, "-{}", address(range.v4, range.last))?;
            }
        }
        Ok(())
    }
}

impl AddressRange {
    fn len(&self) -> u128 {
        (self.last - self.first).saturating_add(1)
    }
}

fn nth<'a>(ranges: impl Iterator<Item = &'a AddressRange>, len: u128, turn: u64) -> Option<IpAddr> {
    let mut left = u128::from(turn).checked_rem(len)?;
    for range in ranges {
        if left < range.len() {
            return Some(address(range.v4, range.first + left));
        }
        left -= range.len();
    }
    None
}

fn range(text: &str) -> Result<AddressRange, AddressError> {
    let one = |part: &str| {
        let address: IpAddr = part.trim().parse().map_err(|_| AddressError::Address(text.to_owned()))?;
        Ok(bits(address))
    };
    if let Some((first, last)) = text.split_once('-') {
        let ((v4, first), (also_v4, last)) = (one(first)?, one(last)?);
        if v4 != also_v4 {
            return Err(AddressError::Families(text.to_owned()));
        }
        if last < first {
            return Err(AddressError::Backwards(text.to_owned()));
        }
        return Ok(AddressRange { v4, first, last });
    }
    let Some((first, prefix)) = text.split_once('/') else {
        let (v4, only) = one(text)?;
        return Ok(AddressRange { v4, first: only, last: only });
    };
    let (v4, first) = one(first)?;
    let width = if v4 { 32 } else { 128 };
    let prefix = prefix.trim().parse().ok().filter(|prefix: &u32| *prefix <= width);
    let prefix = prefix.ok_or_else(|| AddressError::Prefix(text.to_owned(), width))?;
    // In `::/0` all 128 bits belong to the host, and `1 << 128` would overflow.
    let hosts = if prefix == 0 && !v4 { u128::MAX } else { (1 << (width - prefix)) - 1 };
    if first & hosts != 0 {
        let right = format!("{}/{prefix}", address(v4, first & !hosts));
        return Err(AddressError::HostBits(text.to_owned(), right));
    }
    Ok(AddressRange { v4, first, last: first | hosts })
}

fn bits(address: IpAddr) -> (bool, u128) {
    match address {
        IpAddr::V4(address) => (true, u128::from(u32::from(address))),
        IpAddr::V6(address) => (false, u128::from(address)),
    }
}

fn address(v4: bool, bits: u128) -> IpAddr {
    if v4 {
        Ipv4Addr::from(u32::try_from(bits).expect("the bits are an IPv4 address's")).into()
    } else {
        Ipv6Addr::from(bits).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(texts: &[&str]) -> Addresses {
        Addresses::parse(texts).unwrap()
    }

    #[test]
    fn addresses_are_taken_in_turn_over_all_ranges() {
        let addresses = of(&["127.0.0.2-127.0.0.4", "::1", "127.0.1.0/30"]);
        assert_eq!((addresses.len(), addresses.len_of(true), addresses.len_of(false)), (8, 7, 1));
        let turns = |of: &dyn Fn(u64) -> Option<IpAddr>| -> Vec<String> {
            (0..9).map(|turn| of(turn).unwrap().to_string()).collect()
        };
        assert_eq!(
            turns(&|turn| addresses.in_turn(turn)).join(" "),
            "127.0.0.2 127.0.0.3 127.0.0.4 ::1 127.0.1.0 127.0.1.1 127.0.1.2 127.0.1.3 127.0.0.2"
        );
        assert_eq!(
            turns(&|turn| addresses.in_turn_of(true, turn)).join(" "),
            "127.0.0.2 127.0.0.3 127.0.0.4 127.0.1.0 127.0.1.1 127.0.1.2 127.0.1.3 127.0.0.2 127.0.0.3"
        );
        assert_eq!(addresses.in_turn_of(false, 5).unwrap().to_string(), "::1");
        assert_eq!(of(&["::1"]).in_turn_of(true, 0), None);
        assert_eq!(Addresses::default().in_turn(7), None);
        assert_eq!(addresses.iter().count(), 8);
        assert_eq!(addresses.to_string(), "127.0.0.2-127.0.0.4, ::1, 127.0.1.0-127.0.1.3");
    }

    #[test]
    fn whole_families_are_blocks_too() {
        assert_eq!(of(&["0.0.0.0/0"]).len(), 1 << 32);
        assert_eq!(of(&["::/0"]).len(), u128::MAX);
        assert_eq!(of(&["::/0", "0.0.0.0/0"]).len(), u128::MAX);
        assert!(of(&["::/0"]).in_turn(u64::MAX).is_some());
        assert_eq!(of(&["2001:db8::/64"]).in_turn(1).unwrap().to_string(), "2001:db8::1");
        assert_eq!(of(&["10.1.2.3/32"]).len(), 1);
    }

    #[test]
    fn an_address_is_found_in_its_family_only() {
        let addresses = of(&["127.0.0.0/8", "2001:db8::/32"]);
        let has = |text: &str| addresses.contains(text.parse().unwrap());
        assert!(has("127.255.255.255") && has("127.0.0.0") && has("::ffff:127.0.0.1") && has("2001:db8::1"));
        assert!(!has("128.0.0.0") && !has("126.255.255.255") && !has("::7f00:1"));
        assert!(Addresses::loopback().contains("::1".parse().unwrap()));
    }

    #[test]
    fn what_is_no_list_says_why() {
        let error = |text: &str| Addresses::parse(&["127.0.0.1", text]).unwrap_err();
        for (text, why) in [
            ("", "is no address"),
            ("localhost", "is no address"),
            ("127.0.0.2-", "is no address"),
            ("127.0.0.1-::1", "begins with an IPv4"),
            ("127.0.0.9-127.0.0.2", "ends before it begins"),
            ("127.0.0.0/33", "write /0 to /32"),
            ("::/129", "write /0 to /128"),
            ("127.0.0.0/x", "write /0 to /32"),
            ("127.0.1.7/24", "write 127.0.1.0/24"),
        ] {
            let (index, error) = error(text);
            assert_eq!(index, 1);
            assert!(error.to_string().contains(why), "{error}");
        }
    }
}
