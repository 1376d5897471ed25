//! `POST /build`: what of a job's build reaches the engine.
//!
//! Nothing does as it came. The context is read and packed anew (`archive`); the Dockerfile in it is read by
//! a grammar that is smaller than the engine's, and written anew, with an image's id where it had a name
//! (`dockerfile`). So what was judged is what the engine reads, and an engine that is given ids fetches nothing.

pub mod archive;
mod arguments;
pub mod dockerfile;
mod lines;
mod options;
mod said;

pub use self::options::{Network, Options};
pub use self::said::Said;

/// Name of the Dockerfile that the engine reads: the last file of the context, made by the mediator.
pub const DOCKERFILE: &str = ".cordon-dockerfile";
