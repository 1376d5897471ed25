//! Sockets of daemons that would act for a job: container engines, the system bus, resolvers.
//!
//! **Not here**: which sockets a job may use. That is judged by BPF LSM or refused by the filter;
//! this is the second layer, which also holds where the operator allows Unix sockets, and which
//! makes libc fall back from a resolver's daemon to DNS.

#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

/// Directories that hold nothing a job needs beside sockets: covered whole, so that a socket made
/// anew is hidden as well. `*` is any one name.
const DIRECTORIES: [&str; 24] = [
    "/run/avahi-daemon",
    "/run/buildkit",
    "/run/containerd",
    "/run/crio",
    "/run/cups",
    "/run/dbus",
    "/run/docker",
    "/run/incus",
    "/run/libvirt",
    "/run/lxd",
    "/run/nscd",
    "/run/podman",
    "/run/snapd",
    "/run/systemd/io.systemd.Home",
    "/run/systemd/userdb",
    "/run/user/*/buildkit",
    "/run/user/*/containerd",
    "/run/user/*/libvirt",
    "/run/user/*/podman",
    "/run/user/*/systemd",
    "/var/lib/incus",
    "/var/lib/lxd",
    "/var/lib/sss/pipes",
    "/var/snap/lxd/common/lxd",
];

/// Sockets in directories that hold other things too.
const SOCKETS: [&str; 23] = [
    "/run/cri-dockerd.sock",
    "/run/docker.sock",
    "/run/snapd-snap.socket",
    "/run/snapd.socket",
    "/run/systemd/io.system.ManagedOOM",
    "/run/systemd/io.systemd.Manager",
    "/run/systemd/io.systemd.Credentials",
    "/run/systemd/io.systemd.Hostname",
    "/run/systemd/io.systemd.Login",
    "/run/systemd/io.systemd.Machine",
    "/run/systemd/machine/io.systemd.Machine",
    "/run/systemd/notify",
    "/run/systemd/oom/io.systemd.ManagedOOM",
    "/run/systemd/private",
    "/run/systemd/resolve/io.systemd.Resolve",
    "/run/systemd/resolve/io.systemd.Resolve.Monitor",
    "/run/udev/control",
    "/run/user/*/bus",
    "/run/user/*/docker.sock",
    "/run/user/*/gnupg/S.gpg-agent",
    "/run/user/*/pulse/native",
    "/run/user/*/wayland-0",
    "/tmp/.X11-unix/X0",
];

/// Names by which an engine's socket is known wherever it lies.
const NAMES: [&str; 9] = [
    "buildkitd.sock",
    "containerd.sock",
    "crio.sock",
    "docker.sock",
    "libvirt-sock",
    "podman.sock",
    "snapd.socket",
    "system_bus_socket",
    "unix.socket",
];

/// Paths worth looking at on any host. They may not exist, or be links.
pub fn usual() -> impl Iterator<Item = &'static str> {
    DIRECTORIES.into_iter().chain(SOCKETS)
}

/// Sockets of the network namespace that carry an engine's name, from the text of
/// `/proc/net/unix`. Daemons listen wherever they are configured to.
#[must_use]
pub fn named(unix: &str) -> Vec<PathBuf> {
    unix.lines()
        .skip(1)
        .filter_map(|line| {
            let path = (0..7).try_fold(line, |rest, _| {
                rest.trim_start().split_once(' ').map(|(_, rest)| rest)
            });
            // Abstract names begin with `@`: no mount hides those.
            path.filter(|path| path.starts_with('/')).map(PathBuf::from)
        })
        .filter(|path| {
            path.file_name()
                .and_then(|name| name.to_str())
                .is_some_and(|name| NAMES.contains(&name))
        })
        .collect()
}

/// Splits a pattern at its `*`: the directory to list, and what follows each name.
///
/// # Errors
/// It has none: the whole of it is the path.
pub fn split(pattern: &'static str) -> Result<(&'static Path, &'static Path), &'static Path> {
    match pattern.split_once("/*/") {
        Some((directory, rest)) => Ok((Path::new(directory), Path::new(rest))),
        None => Err(Path::new(pattern)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_is_found_by_its_sockets_name() {
        let unix = "\
Num       RefCount Protocol Flags    Type St Inode Path
ffff8881: 00000002 00000000 00010000 0001 01 12345 /srv/engine/docker.sock
ffff8882: 00000002 00000000 00010000 0001 01 12346 /run/postgresql/.s.PGSQL.5432
ffff8883: 00000003 00000000 00000000 0001 03 12347
ffff8884: 00000002 00000000 00010000 0001 01 12348 @/containerd-shim/docker.sock
ffff8885: 00000002 00000000 00010000 0001 01  1234 /srv/with space/podman.sock
";
        assert_eq!(
            named(unix),
            [
                Path::new("/srv/engine/docker.sock"),
                Path::new("/srv/with space/podman.sock")
            ]
        );
    }

    #[test]
    fn patterns_are_absolute_and_have_one_star_at_most() {
        for pattern in usual() {
            assert!(pattern.starts_with('/'), "{pattern}");
            assert!(pattern.matches('*').count() <= 1, "{pattern}");
            if let Err(path) = split(pattern) {
                assert!(!path.to_string_lossy().contains('*'), "{pattern}");
            }
        }
    }
}
