//! Types that cross the kernel/user boundary: maps (keys and values) and ring records.
//!
//! Only fixed-width integers, byte arrays and other ABI types; open enumerations (`struct X(u8)`
//! with constants), because a Rust `enum` must not be made from bytes somebody else wrote. Numbers
//! are explicit and never reused.

#![expect(
    missing_debug_implementations,
    unnameable_types,
    reason = "zerocopy's derives inside a macro make hidden helper types"
)]

pub mod address;
pub mod capture;
pub mod flow;
pub mod job;
pub mod record;
pub mod ruleset;
pub mod verdict;

/// Version of everything in this module, in each record and in the name of the pin directory. It
/// changes with the meaning of any field; sizes are in that name by themselves.
pub const ABI_VERSION: u32 = 5;

/// IP protocol number of TCP.
pub const TCP: u8 = 6;
/// IP protocol number of UDP.
pub const UDP: u8 = 17;

/// Declares an open enumeration: a transparent integer with named values and a `name()`.
macro_rules! open_enum {
    (
        $(#[$attr:meta])*
        pub struct $name:ident(pub $repr:ty) {
            $( $(#[$doc:meta])* $constant:ident = $value:literal, $text:literal; )+
        }
    ) => {
        $(#[$attr])*
        #[derive(
            Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd,
            zerocopy::FromBytes, zerocopy::Immutable, zerocopy::IntoBytes,
        )]
        #[repr(transparent)]
        pub struct $name(pub $repr);

        impl $name {
            $( $(#[$doc])* pub const $constant: Self = Self($value); )+

            /// Every named value, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$constant),+];

            /// The word for this value in reports; `"unknown"` for a number without a name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self.0 {
                    $($value => $text,)+
                    _ => "unknown",
                }
            }
        }
    };
}
pub(crate) use open_enum;
