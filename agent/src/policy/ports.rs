//! Ports: ranges, and sorted sets of them.

use std::fmt;

/// A range of ports with both ends, 1 to 65535, not empty.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    /// The range from `first` to `last`, both included.
    ///
    /// # Errors
    /// One end is not a port, or the last is before the first.
    pub fn new(first: i64, last: i64) -> Result<Self, PortError> {
        let port = |number: i64| match u16::try_from(number) {
            Ok(port) if port > 0 => Ok(port),
            _ => Err(PortError::OutOfRange(number)),
        };
        let (first, last) = (port(first)?, port(last)?);
        if last < first {
            return Err(PortError::Backwards { first, last });
        }
        Ok(Self { first, last })
    }

    /// Reads `"443"` or `"6000-6010"`.
    ///
    /// # Errors
    /// The text is neither.
    pub fn parse(text: &str) -> Result<Self, PortError> {
        let number = |digits: &str| {
            // `parse` would take a sign.
            let digits = digits.trim();
            if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(PortError::Syntax);
            }
            // A number of more digits is no port either.
            Ok(digits.parse().unwrap_or(i64::MAX))
        };
        match text.split_once('-') {
            Some((first, last)) => Self::new(number(first)?, number(last)?),
            None => Self::new(number(text)?, number(text)?),
        }
    }
}

impl From<PortRange> for (u16, u16) {
    fn from(PortRange { first, last }: PortRange) -> Self {
        (first, last)
    }
}

/// Why something is not a range of ports.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PortError {
    /// The last port is before the first.
    #[error("the range {first}-{last} runs backwards")]
    Backwards {
        /// First port as written.
        first: u16,
        /// Last port as written.
        last: u16,
    },
    /// Not between 1 and 65535.
    #[error("ports are 1 to 65535")]
    OutOfRange(i64),
    /// Not digits, nor digits, a hyphen and digits.
    #[error("this is not a port or a range of ports")]
    Syntax,
}

/// A set of ports: sorted ranges that neither overlap nor touch, and at least one of them.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PortSet(Vec<(u16, u16)>);

impl PortSet {
    /// The union of the ranges; `None` if there are none.
    #[must_use]
    pub fn new(ranges: impl IntoIterator<Item = PortRange>) -> Option<Self> {
        let mut sorted: Vec<(u16, u16)> = ranges.into_iter().map(Into::into).collect();
        sorted.sort_unstable();
        let mut merged: Vec<(u16, u16)> = Vec::with_capacity(sorted.len());
        for (first, last) in sorted {
            match merged.last_mut() {
                Some(before) if first <= before.1.saturating_add(1) => {
                    before.1 = before.1.max(last);
                }
                _ => merged.push((first, last)),
            }
        }
        (!merged.is_empty()).then_some(Self(merged))
    }

    /// One port; `None` for 0, which is none.
    #[must_use]
    pub fn single(port: u16) -> Option<Self> {
        (port > 0).then(|| Self(vec![(port, port)]))
    }

    /// The ports of both.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let ranges = self.ranges().chain(other.ranges());
        Self::new(ranges.map(|(first, last)| PortRange { first, last }))
            .unwrap_or_else(|| self.clone())
    }

    /// The ranges in order, both ends included.
    pub fn ranges(&self) -> impl Iterator<Item = (u16, u16)> + '_ {
        self.0.iter().copied()
    }

    /// Whether the port is in it.
    #[must_use]
    pub fn contains(&self, port: u16) -> bool {
        self.ranges()
            .any(|(first, last)| (first..=last).contains(&port))
    }

    /// Whether every port of the other one is in it.
    #[must_use]
    pub fn includes(&self, other: &Self) -> bool {
        // Ranges that touch are one range, so one of them holds all of another or none does.
        let held = |(first, last)| self.ranges().any(|(from, to)| from <= first && last <= to);
        other.ranges().all(held)
    }

    /// Whether the two have a port in common.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.ranges()
            .any(|(first, last)| other.ranges().any(|(from, to)| first <= to && from <= last))
    }

    /// The ports as the value of a profile's `ports` key: `[443, "6000-6010"]`.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let items: Vec<String> = self
            .ranges()
            .map(|(first, last)| {
                if first == last {
                    first.to_string()
                } else {
                    format!("\"{first}-{last}\"")
                }
            })
            .collect();
        format!("[{}]", items.join(", "))
    }
}

impl fmt::Display for PortSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (first, last)) in self.ranges().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{first}")?;
            if first != last {
                write!(f, "-{last}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ranges_are_read_and_bad_ones_refused() {
        assert_eq!(PortRange::parse("443"), PortRange::new(443, 443));
        assert_eq!(PortRange::parse("6000-6010"), PortRange::new(6000, 6010));
        assert_eq!(PortRange::parse("1-65535"), PortRange::new(1, 65535));
        for (text, error) in [
            ("0", PortError::OutOfRange(0)),
            ("65536", PortError::OutOfRange(65536)),
            ("1-70000", PortError::OutOfRange(70000)),
            ("99999999999999999999", PortError::OutOfRange(i64::MAX)),
            ("9-3", PortError::Backwards { first: 9, last: 3 }),
            ("", PortError::Syntax),
            ("-5", PortError::Syntax),
            ("+5", PortError::Syntax),
            ("5-", PortError::Syntax),
            ("https", PortError::Syntax),
            ("1-2-3", PortError::Syntax),
        ] {
            assert_eq!(PortRange::parse(text), Err(error), "{text}");
        }
    }

    fn ranges() -> impl Strategy<Value = Vec<(u16, u16)>> {
        proptest::collection::vec((1u16..40, 0u16..6), 1..8).prop_map(|list| {
            list.into_iter()
                .map(|(a, n)| (a, a.saturating_add(n)))
                .collect()
        })
    }

    fn set(list: &[(u16, u16)]) -> PortSet {
        PortSet::new(list.iter().map(|&(first, last)| PortRange { first, last })).unwrap()
    }

    proptest! {
        #[test]
        fn a_set_holds_exactly_the_ports_of_its_ranges(list in ranges(), other in ranges()) {
            let (set, other_set) = (set(&list), set(&other));
            let holds = |list: &[(u16, u16)], port| {
                list.iter().any(|&(first, last)| first <= port && port <= last)
            };
            for port in 0..60 {
                prop_assert_eq!(set.contains(port), holds(&list, port));
                prop_assert_eq!(
                    set.union(&other_set).contains(port),
                    holds(&list, port) || holds(&other, port)
                );
            }
            let shared = (0..60).any(|port| holds(&list, port) && holds(&other, port));
            prop_assert_eq!(set.overlaps(&other_set), shared);
        }

        #[test]
        fn ranges_are_sorted_and_apart(list in ranges()) {
            let ranges: Vec<_> = set(&list).ranges().collect();
            for pair in ranges.windows(2) {
                prop_assert!(pair[1].0.saturating_sub(pair[0].1) > 1);
            }
        }
    }
}
