//! The programs, one file per family of hooks.

pub(crate) mod capture;
pub(crate) mod connect;
pub(crate) mod lsm;
pub(crate) mod packet;
pub(crate) mod post_bind;
pub(crate) mod process;
pub(crate) mod reply;
pub(crate) mod shown;
pub(crate) mod sock_create;
pub(crate) mod sock_option;
