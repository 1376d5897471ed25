//! A table of bounded size that forgets what was not seen for long.
//!
//! For each identity it takes one line of the processor's cache to look it up and to put it in, whether
//! or not it is there: what is new costs no more than what is known. Three identities share a line; the
//! one that was not seen for longest makes room. Values are kept apart, in the order they came, since
//! few entries have one.
//!
//! The table takes memory as it fills: of a hundred jobs most have few processes.

use std::collections::VecDeque;

use crate::identity::Identity;

/// A bounded table from identities to values, or to the knowledge that there is none.
pub(crate) struct Cache<V> {
    /// None, or a power of two of them.
    lines: Vec<Line>,
    /// How many there may be.
    most_lines: usize,
    /// Identities in them.
    held: usize,
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

impl Line {
    const EMPTY: Self = Self {
        identities: [Identity::NONE; WAYS],
        numbers: [0; WAYS],
    };
}

const WAYS: usize = 3;
const _: () = assert!(size_of::<Line>() == 64);
/// Lines a table begins with: a page.
const FEWEST_LINES: usize = 64;

impl<V: Clone> Cache<V> {
    /// A table of at least so many identities, and values of so much weight.
    pub(crate) fn new(identities: usize, most: usize) -> Self {
        Self {
            lines: Vec::new(),
            most_lines: identities.div_ceil(WAYS).max(1).next_power_of_two(),
            held: 0,
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
        self.held = 0;
        self.values.clear();
        self.first = 1;
        self.weight = 0;
    }

    /// How many identities there is room for.
    #[cfg(test)]
    pub(crate) fn room(&self) -> usize {
        self.most_lines.saturating_mul(WAYS)
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
        while self.is_crowded(identity) {
            self.grow();
        }
        let Some(line) = self.line(identity) else {
            return;
        };
        if line.put(identity, number) {
            self.held = self.held.saturating_add(1);
        }
    }

    /// Whether to take more memory before an identity is put in: it has no place that is free, and the table is not
    /// just unlucky with it.
    fn is_crowded(&self, identity: Identity) -> bool {
        if self.lines.len() >= self.most_lines {
            return false;
        }
        let Some(line) = self.lines.get(self.at(identity)) else {
            return true;
        };
        let has = |wanted| line.identities.contains(&wanted);
        !has(identity) && !has(Identity::NONE) && self.held >= self.lines.len() / 4
    }

    /// Twice the lines. Each of them is shared by two; nothing is forgotten.
    fn grow(&mut self) {
        let lines = self.lines.len().saturating_mul(2).max(FEWEST_LINES);
        let lines = vec![Line::EMPTY; lines.min(self.most_lines)];
        for old in std::mem::replace(&mut self.lines, lines) {
            // The one seen last comes last, to be in front again.
            for (identity, number) in old.identities.into_iter().zip(old.numbers).rev() {
                if identity != Identity::NONE
                    && let Some(line) = self.line(identity)
                {
                    line.put(identity, number);
                }
            }
        }
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

    /// Where the line of an identity is.
    fn at(&self, identity: Identity) -> usize {
        let mask = self.lines.len().saturating_sub(1);
        usize::try_from(identity.low_bits()).map_or(0, |bits| bits & mask)
    }

    fn line(&mut self, identity: Identity) -> Option<&mut Line> {
        let at = self.at(identity);
        self.lines.get_mut(at)
    }
}

impl Line {
    /// Puts one in front, in the place of the one not seen for longest. Whether there is one more than before.
    fn put(&mut self, identity: Identity, number: u32) -> bool {
        let ([first, second, third], [one, two, three]) = (self.identities, self.numbers);
        (self.identities, self.numbers) = if first == identity {
            ([identity, second, third], [number, two, three])
        } else if second == identity {
            ([identity, first, third], [number, one, three])
        } else {
            ([identity, first, second], [number, one, two])
        };
        ![first, second, third].contains(&identity) && third == Identity::NONE
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
    fn a_table_takes_memory_as_it_fills_and_forgets_nothing_by_growing() {
        let mut cache = Cache::new(49_152, 100);
        assert_eq!(cache.lines.capacity(), 0);
        for number in 0..1_000 {
            cache.keep(identity(number), (number < 10).then_some((number, 1)));
        }
        let lines = cache.lines.len();
        assert!((512..=4_096).contains(&lines), "{lines}");
        assert_eq!(cache.held, 1_000);
        for number in 0..1_000 {
            let expected = if number < 10 {
                Answer::Value(number)
            } else {
                Answer::Empty
            };
            assert_eq!(cache.find(identity(number)), expected, "{number}");
        }
        for number in 0..200_000 {
            cache.keep(identity(number), None);
        }
        assert_eq!(cache.lines.len(), 16_384, "what it may have, and no more");
        assert!(cache.held <= cache.room());
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
