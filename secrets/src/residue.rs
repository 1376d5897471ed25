//! Keeps what is left of secrets on the stack from getting anywhere.
//!
//! A function that reads a secret leaves parts of it in its stack frame. The next function that builds a value there,
//! say an enum without its largest variant, leaves the bytes that it does not set as they were, and a move takes them
//! to the heap with the rest. `tests/heap.rs` has seen it. So what is kept while secrets are read is made of parts
//! that are always set, and before values are built that are kept for longer, the stack is overwritten.

use std::sync::Arc;

use crate::credential::Life;
use crate::detection::Variable;

/// Words of the stack that are overwritten: 16 KiB. Hashing takes the most, some four.
const WORDS: usize = 2048;

/// Overwrites what functions that have returned left on the stack.
#[inline(never)]
pub(crate) fn wipe_stack() {
    let words = [0_u64; WORDS];
    // They must be written, since somebody might look.
    std::hint::black_box(&words);
}

/// A [`Life`] of which every part is set.
#[derive(Clone, Copy)]
pub(crate) struct Lifetime {
    kind: Kind,
    issued: i64,
    expires: i64,
}

/// As wide as what stands beside it, so that nothing is between them.
#[derive(Clone, Copy)]
#[repr(u64)]
enum Kind {
    Unknown,
    Short,
    Long,
    Until,
    Between,
}

impl Lifetime {
    pub(crate) const UNKNOWN: Self = Self {
        kind: Kind::Unknown,
        issued: 0,
        expires: 0,
    };

    pub(crate) fn of(life: Life) -> Self {
        let (kind, issued, expires) = match life {
            Life::Unknown => (Kind::Unknown, 0, 0),
            Life::Short => (Kind::Short, 0, 0),
            Life::Long => (Kind::Long, 0, 0),
            Life::Until {
                issued: None,
                expires,
            } => (Kind::Until, 0, expires),
            Life::Until {
                issued: Some(issued),
                expires,
            } => (Kind::Between, issued, expires),
        };
        Self {
            kind,
            issued,
            expires,
        }
    }

    pub(crate) fn get(self) -> Life {
        let Self {
            kind,
            issued,
            expires,
        } = self;
        match kind {
            Kind::Unknown => Life::Unknown,
            Kind::Short => Life::Short,
            Kind::Long => Life::Long,
            Kind::Until => Life::Until {
                issued: None,
                expires,
            },
            Kind::Between => Life::Until {
                issued: Some(issued),
                expires,
            },
        }
    }
}

/// A [`Variable`] of which every part is set.
#[derive(Clone)]
pub(crate) struct Label {
    shown: Shown,
    text: Arc<str>,
}

/// As wide as what stands beside it.
#[derive(Clone, Copy, Eq, PartialEq)]
#[repr(u64)]
enum Shown {
    Nothing,
    Text,
    Unprintable,
    Withheld,
}

impl Label {
    /// No name.
    pub(crate) fn none() -> Self {
        Self::without(Shown::Nothing)
    }

    /// A name, if it is fit to be shown.
    pub(crate) fn of(name: &[u8]) -> Self {
        match std::str::from_utf8(name) {
            Ok("") => Self::none(),
            Ok(name) if Self::is_fit(name.as_bytes()) => Self {
                shown: Shown::Text,
                text: Arc::from(name),
            },
            _ => Self::without(Shown::Unprintable),
        }
    }

    /// A name that holds a secret.
    pub(crate) fn withheld() -> Self {
        Self::without(Shown::Withheld)
    }

    /// Whether a text is printable ASCII, and not too long.
    pub(crate) fn is_fit(text: &[u8]) -> bool {
        (1..=Variable::LONGEST).contains(&text.len())
            && text
                .iter()
                .all(|byte| byte.is_ascii_graphic() || *byte == b' ')
    }

    pub(crate) fn get(&self) -> Variable {
        match self.shown {
            Shown::Nothing => Variable::None,
            Shown::Text => Variable::Named(Arc::clone(&self.text)),
            Shown::Unprintable => Variable::Unprintable,
            Shown::Withheld => Variable::Withheld,
        }
    }

    fn without(shown: Shown) -> Self {
        Self {
            shown,
            text: Arc::default(),
        }
    }
}
