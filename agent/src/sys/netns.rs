//! Network namespaces.

#![expect(unsafe_code, reason = "a socket option nix does not know")]

use std::io;
use std::os::fd::{AsFd, AsRawFd as _};

use nix::sched::{CloneFlags, setns};

const SO_NETNS_COOKIE: libc::c_int = 71;

/// The cookie of a socket's network namespace, as BPF programs see it.
///
/// # Errors
/// The kernel is older than 5.14.
pub fn cookie(socket: &impl AsFd) -> io::Result<u64> {
    let mut cookie = 0u64;
    // Bytes of a cookie.
    let mut len: libc::socklen_t = 8;
    // SAFETY: the kernel writes at most `len` bytes, which `cookie` has.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut len,
        )
    };
    if result == 0 {
        Ok(cookie)
    } else {
        Err(io::Error::last_os_error())
    }
}

/// The cookie of a network namespace.
///
/// # Errors
/// It cannot be entered, or the kernel is older than 5.14.
pub fn cookie_of(namespace: impl AsFd) -> io::Result<u64> {
    within(namespace, || {
        cookie(&std::net::UdpSocket::bind((
            std::net::Ipv4Addr::UNSPECIFIED,
            0,
        ))?)
    })
}

/// Does something inside a network namespace, on a thread of its own: the caller stays where it is.
/// Sockets made there belong to that namespace, whoever uses them.
///
/// # Errors
/// The namespace cannot be entered, or what was done failed.
pub fn within<T, E>(namespace: impl AsFd, act: impl FnOnce() -> Result<T, E> + Send) -> Result<T, E>
where
    T: Send,
    E: From<io::Error> + Send,
{
    let namespace = namespace.as_fd();
    let inside = || {
        setns(namespace, CloneFlags::CLONE_NEWNET).map_err(io::Error::from)?;
        act()
    };
    let done = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("netns".to_owned())
            .spawn_scoped(scope, inside)?;
        thread
            .join()
            .map_err(|_panic| io::Error::other("the thread ended"))
    });
    done?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_sockets_of_one_namespace_have_one_cookie() {
        let one = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert_eq!(cookie(&one).unwrap(), cookie(&other).unwrap());
    }
}
