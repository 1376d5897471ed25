//! What the kernel tells: records become events, events become the ledger.

pub mod decode;
pub mod journal;
pub mod ledger;
pub mod ring;
