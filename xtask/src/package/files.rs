//! What is in a package, and where. This is the list to extend.

/// A program that is shipped.
#[derive(Clone, Copy, Debug)]
pub(super) struct Program {
    /// The cargo package it is built from.
    pub(super) package: &'static str,
    /// Its binary target.
    pub(super) name: &'static str,
    /// The folder it goes to.
    pub(super) folder: &'static str,
}

/// The programs. What people type is in `usr/bin`; what only cordon starts goes to `usr/lib/cordon`.
pub(super) const PROGRAMS: [Program; 4] = [
    Program {
        package: "cordon",
        name: "cordon",
        folder: "usr/bin",
    },
    Program {
        package: "cordon-engine",
        name: "cordon-engine",
        folder: "usr/lib/cordon",
    },
    Program {
        package: "cordon-engine",
        name: "cordon-runtime",
        folder: "usr/lib/cordon",
    },
    Program {
        package: "cordon-oci",
        name: "cordon-oci",
        folder: "usr/lib/cordon",
    },
];

/// A package for the BPF target, whose crates are in a program too.
pub(super) const KERNEL_PACKAGE: &str = "cordon-ebpf";

/// Files of the source tree as they are: from, to. Mode 0644.
pub(super) const FILES: [(&str, &str); 23] = [
    (
        "packaging/systemd/cordon.service",
        "usr/lib/systemd/system/cordon.service",
    ),
    (
        "packaging/systemd/cordon.slice",
        "usr/lib/systemd/system/cordon.slice",
    ),
    (
        "packaging/systemd/cordon-keep.slice",
        "usr/lib/systemd/system/cordon-keep.slice",
    ),
    (
        "packaging/sysusers.d/cordon.conf",
        "usr/lib/sysusers.d/cordon.conf",
    ),
    (
        "packaging/tmpfiles.d/cordon.conf",
        "usr/lib/tmpfiles.d/cordon.conf",
    ),
    (
        "packaging/examples/runner.service.d-cordon.conf",
        "usr/share/doc/cordon/examples/runner.service.d-cordon.conf",
    ),
    (
        "packaging/examples/cordon.service.d-tpm.conf",
        "usr/share/doc/cordon/examples/cordon.service.d-tpm.conf",
    ),
    (
        "packaging/examples/cordon.service.d-credential.conf",
        "usr/share/doc/cordon/examples/cordon.service.d-credential.conf",
    ),
    (
        "packaging/examples/cordon.service.d-hardened.conf",
        "usr/share/doc/cordon/examples/cordon.service.d-hardened.conf",
    ),
    ("README.md", "usr/share/doc/cordon/README.md"),
    ("SECURITY.md", "usr/share/doc/cordon/SECURITY.md"),
    ("docs/install.md", "usr/share/doc/cordon/docs/install.md"),
    (
        "docs/containers.md",
        "usr/share/doc/cordon/docs/containers.md",
    ),
    ("docs/daemon.md", "usr/share/doc/cordon/docs/daemon.md"),
    ("docs/events.md", "usr/share/doc/cordon/docs/events.md"),
    ("docs/metrics.md", "usr/share/doc/cordon/docs/metrics.md"),
    ("docs/keys.md", "usr/share/doc/cordon/docs/keys.md"),
    ("docs/run.md", "usr/share/doc/cordon/docs/run.md"),
    (
        "docs/sweep-report.md",
        "usr/share/doc/cordon/docs/sweep-report.md",
    ),
    ("docs/verify.md", "usr/share/doc/cordon/docs/verify.md"),
    ("docs/gate.md", "usr/share/doc/cordon/docs/gate.md"),
    (
        "docs/threat-model.md",
        "usr/share/doc/cordon/docs/threat-model.md",
    ),
    (
        "profiles/README.md",
        "usr/share/doc/cordon/examples/profiles/README.md",
    ),
];

/// Folders of the source tree of which all files are shipped: from, to.
pub(super) const TREES: [(&str, &str); 4] = [
    ("packaging/hooks", HOOKS),
    ("packaging/prometheus", "usr/share/cordon/prometheus"),
    ("docs/runners", "usr/share/doc/cordon/docs/runners"),
    ("docs/schemas", "usr/share/doc/cordon/docs/schemas"),
];

/// Where hooks of runners are; they are started.
pub(super) const HOOKS: &str = "usr/share/cordon/hooks";

/// Where the profiles go: they are part of the program, and here to read and to copy from.
pub(super) const PROFILES: &str = "usr/share/doc/cordon/examples/profiles";

/// The settings: the one file that is the administrator's own.
pub(super) const SETTINGS: &str = "etc/cordon/config.toml";

/// Folders that are there empty.
pub(super) const FOLDERS: [&str; 1] = ["etc/cordon/profiles.d"];

/// Completions as `cordon-manual` names them: from, to.
pub(super) const COMPLETIONS: [(&str, &str); 3] = [
    (
        "cordon.bash",
        "usr/share/bash-completion/completions/cordon",
    ),
    ("_cordon", "usr/share/zsh/vendor-completions/_cordon"),
    (
        "cordon.fish",
        "usr/share/fish/vendor_completions.d/cordon.fish",
    ),
];

/// Where zsh looks outside of Debian, in place of the folder above.
pub(super) const ZSH_ELSEWHERE: (&str, &str) = (
    "usr/share/zsh/vendor-completions",
    "usr/share/zsh/site-functions",
);

/// The documents of the package itself.
pub(super) const DOC: &str = "usr/share/doc/cordon";
