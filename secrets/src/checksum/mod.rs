//! Checksums inside tokens, computed offline.
//!
//! Pure: each says of the bytes of one token whether they agree with the checksum that is among
//! them. A wrong one drops nothing; most strings that people make up have one.

pub(crate) mod bech32;
pub(crate) mod crc;
pub(crate) mod marvin;
