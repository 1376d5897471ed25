//! A table of bounded size that forgets what was not seen for long.
//!
//! For each identity it takes one line of the processor's cache to look it up and to put it in, whether
//! or not it is there: what is new costs no more than what is known. Three identities share a line; the
//! one that was not seen for longest makes room. Values are kept apart, in the order they came, since
//! few entries have one.

use std::collections::VecDeque;

use crate::identity::Identity;

/// A bounded table from identities to values, or to the knowledge that there is none.
pub(crate) struct Cache<V> {
    lines: Vec<Line>,
    /// The values, the oldest first, each with its identity and weight.
    values: VecDeque<(Identity, usize, V)>,
    /// The number of the oldest value, from 1.
    first: u32,
    /// The weight of all values, and what it may be.
    weight: usize,
    most: usize,
}

/// What a table knows of an identity.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Answer<V> {
    /// Nothing.
    Unknown,
    /// That it has no value.
    Empty,
    /// Its value.
    Value(V),
}

/// Three identities with the numbers of their values, the one seen last in front: 64 bytes.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line {
    identities: [Identity; WAYS],
    /// 0 where there is no value.
    numbers: [u32; WAYS],
}

const WAYS: usize = 3;
const _: () = assert!(size_of::<Line>() == 64);

impl<V: Clone> Cache<V> {
    /// A table of at least so many identities, and values of so much weight.
    pub(crate) fn new(identities: usize, most: usize) -> Self {
        let lines = identities.div_ceil(WAYS).max(1).next_power_of_two();
        let empty = Line {
            identities: [Identity::NONE; WAYS],
            numbers: [0; WAYS],
        };
        Self {
            lines: vec![empty; lines],
            values: VecDeque::new(),
            first: 1,
            weight: 0,
            most,
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        for line in &mut self.lines {
            line.identities = [Identity::NONE; WAYS];
        }
        self.values.clear();
        self.first = 1;
        self.weight = 0;
    }

    /// How many identities there is room for.
    #[cfg(test)]
    pub(crate) fn room(&self) -> usize {
        self.lines.len().saturating_mul(WAYS)
    }

    /// What is known of an identity.
    pub(crate) fn find(&mut self, identity: Identity) -> Answer<V> {
        match self.number(identity) {
            None => Answer::Unknown,
            Some(0) => Answer::Empty,
            Some(number) => self
                .value(identity, number)
                .map_or(Answer::Unknown, Answer::Value),
        }
    }

    /// The number of an identity's value, or 0 if it has none.
    fn number(&mut self, identity: Identity) -> Option<u32> {
        let Line {
            identities,
            numbers,
        } = self.line(identity)?;
        let ([first, second, third], [one, two, three]) = (*identities, *numbers);
        let number = if first == identity {
            one
        } else if second == identity {
            (*identities, *numbers) = ([second, first, third], [two, one, three]);
            two
        } else if third == identity {
            (*identities, *numbers) = ([third, first, second], [three, one, two]);
            three
        } else {
            return None;
        };
        Some(number)
    }

    /// The value with a number, if it is still there.
    fn value(&self, identity: Identity, number: u32) -> Option<V> {
        let at = usize::try_from(number.wrapping_sub(self.first)).ok()?;
        let (owner, _weight, value) = self.values.get(at)?;
        (*owner == identity).then(|| value.clone())
    }

    /// Keeps an identity, with a value of some weight or without one.
    pub(crate) fn keep(&mut self, identity: Identity, value: Option<(V, usize)>) {
        let number = value.map_or(0, |(value, weight)| {
            self.keep_value(identity, weight, value)
        });
        let Some(Line {
            identities,
            numbers,
        }) = self.line(identity)
        else {
            return;
        };
        let ([first, second, third], [one, two, three]) = (*identities, *numbers);
        (*identities, *numbers) = if first == identity {
            ([identity, second, third], [number, two, three])
        } else if second == identity {
            ([identity, first, third], [number, one, three])
        } else {
            ([identity, first, second], [number, one, two])
        };
    }

    /// Keeps a value; its number.
    fn keep_value(&mut self, identity: Identity, weight: usize, value: V) -> u32 {
        let count = u32::try_from(self.values.len()).unwrap_or(u32::MAX);
        let Some(number) = self.first.checked_add(count) else {
            // After four thousand million values the numbers begin anew.
            self.clear();
            return self.keep_value(identity, weight, value);
        };
        self.values.push_back((identity, weight, value));
        self.weight = self.weight.saturating_add(weight);
        while self.weight > self.most && self.values.len() > 1 {
            if let Some((_owner, weight, _value)) = self.values.pop_front() {
                self.weight = self.weight.saturating_sub(weight);
            }
            self.first = self.first.saturating_add(1);
        }
        number
    }

    fn line(&mut self, identity: Identity) -> Option<&mut Line> {
        let mask = self.lines.len().saturating_sub(1);
        let at = usize::try_from(identity.low_bits()).ok()? & mask;
        self.lines.get_mut(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Identities;

    fn identity(number: usize) -> Identity {
        Identities::new(&[1; 32]).of(0, &number.to_le_bytes())
    }

    #[test]
    fn what_is_kept_is_found_with_its_value() {
        let mut cache = Cache::new(1000, 1000);
        for number in 0..100 {
            assert_eq!(cache.find(identity(number)), Answer::Unknown);
            cache.keep(identity(number), (number % 3 == 0).then_some((number, 1)));
        }
        for number in 0..100 {
            let expected = if number % 3 == 0 {
                Answer::Value(number)
            } else {
                Answer::Empty
            };
            assert_eq!(cache.find(identity(number)), expected, "{number}");
        }
        cache.keep(identity(1), Some((7, 1)));
        assert_eq!(cache.find(identity(1)), Answer::Value(7));
        cache.clear();
        assert!((0..100).all(|number| cache.find(identity(number)) == Answer::Unknown));
    }

    #[test]
    fn what_is_looked_up_is_kept_and_the_rest_is_forgotten() {
        let mut cache = Cache::new(12, 100);
        cache.keep(identity(0), Some((0, 1)));
        for number in 1..50 {
            cache.keep(identity(number), None);
            assert_eq!(cache.find(identity(0)), Answer::Value(0), "{number}");
        }
        let known = (1..50)
            .filter(|number| cache.find(identity(*number)) != Answer::Unknown)
            .count();
        assert!((1..=cache.room()).contains(&known), "{known}");
    }

    #[test]
    fn values_that_weigh_too_much_are_forgotten_with_their_identities() {
        let mut cache = Cache::new(1000, 10);
        for number in 0..100 {
            cache.keep(identity(number), Some((number, 4)));
        }
        assert_eq!(cache.values.len(), 2);
        for number in 0..100 {
            let value = if number >= 98 {
                Answer::Value(number)
            } else {
                Answer::Unknown
            };
            assert_eq!(cache.find(identity(number)), value, "{number}");
        }
        cache.keep(identity(0), Some((0, 1000)));
        assert_eq!(
            cache.find(identity(0)),
            Answer::Value(0),
            "one is kept, however heavy"
        );
        assert_eq!(cache.values.len(), 1);
    }

    #[test]
    fn numbers_begin_anew() {
        let mut cache = Cache::new(1000, 10);
        cache.first = u32::MAX - 1;
        for number in 0..10 {
            cache.keep(identity(number), Some((number, 4)));
            assert_eq!(cache.find(identity(number)), Answer::Value(number));
        }
    }
}
