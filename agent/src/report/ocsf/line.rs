//! A line as OCSF has it: objects and classes of the schema, as far as used, field for field.

use serde::Serialize;

use crate::attribution::Chain;

/// One event. What is `None` or empty is not written.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Line<'l> {
    pub(super) class_uid: u32,
    pub(super) category_uid: u32,
    pub(super) activity_id: u16,
    pub(super) type_uid: u32,
    pub(super) severity_id: u8,
    /// Milliseconds since 1970.
    pub(super) time: i64,
    pub(super) metadata: Metadata<'l>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) action_id: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) disposition_id: Option<u8>,
    pub(super) device: Device<'l>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) actor: Option<Actor<'l>>,
    pub(super) policy: Named<'l>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) app: Option<Named<'l>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) process: Option<Process<'l>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) dst_endpoint: Option<Endpoint<'l>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) connection_info: Option<ConnectionInfo<'l>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) query: Option<Query<'l>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) answers: Vec<Answer<'l>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rcode_id: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) finding_info: Option<FindingInfo<'l>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) data_security: Option<DataSecurity<'l>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) status_detail: Option<&'l str>,
    pub(super) unmapped: Unmapped<'l>,
}

/// A class of events.
#[derive(Clone, Copy, Debug)]
pub(super) enum Class {
    Process,
    Detection,
    Secret,
    Network,
    Dns,
    Lifecycle,
}

impl Class {
    const fn uid(self) -> u32 {
        match self {
            Self::Process => 1007,
            Self::Detection => 2004,
            Self::Secret => 2006,
            Self::Network => 4001,
            Self::Dns => 4003,
            Self::Lifecycle => 6002,
        }
    }

    /// A line of this class; what its activities mean is the schema's.
    pub(super) fn line(self, blank: Line<'_>, activity: u16) -> Line<'_> {
        let uid = self.uid();
        Line {
            class_uid: uid,
            category_uid: uid / 1000,
            activity_id: activity,
            type_uid: uid.saturating_mul(100).saturating_add(activity.into()),
            // Informational.
            severity_id: 1,
            ..blank
        }
    }
}

/// What was done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Action {
    Allowed,
    Denied,
    Observed,
}

impl Action {
    pub(super) const fn id(self) -> u8 {
        match self {
            // What is observed only is let pass.
            Self::Allowed | Self::Observed => 1,
            Self::Denied => 2,
        }
    }

    /// Allowed, blocked, logged.
    pub(super) const fn disposition(self) -> u8 {
        match self {
            Self::Allowed => 1,
            Self::Denied => 2,
            Self::Observed => 17,
        }
    }
}

#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Metadata<'l> {
    pub(super) version: &'static str,
    pub(super) product: Named<'l>,
    pub(super) sequence: u64,
    pub(super) uid: &'l str,
    pub(super) correlation_uid: &'l str,
    pub(super) profiles: &'static [&'static str],
}

/// A product, an application or a policy.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Named<'l> {
    pub(super) name: &'l str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) uid: Option<&'l str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) vendor_name: Option<&'l str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) version: Option<&'l str>,
}

impl<'l> Named<'l> {
    pub(super) fn of(name: &'l str) -> Self {
        Self {
            name,
            ..Self::default()
        }
    }

    pub(super) fn product(version: &'l str) -> Self {
        Self {
            name: "cordon",
            vendor_name: Some("cordon"),
            version: Some(version),
            ..Self::default()
        }
    }
}

#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Device<'l> {
    pub(super) type_id: u8,
    pub(super) hostname: &'l str,
}

#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Actor<'l> {
    #[serde(skip_serializing_if = "Option::is_none")]
    process: Option<Process<'l>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    app_name: Option<&'l str>,
}

impl<'l> Actor<'l> {
    pub(super) fn of(chain: &'l Chain, user: Option<u32>) -> Self {
        Self {
            process: Some(Process::of(chain, user)),
            app_name: None,
        }
    }

    /// What started a process: its number is not kept.
    pub(super) fn parent_of(chain: &'l Chain) -> Self {
        let above = chain.executables.get(1..).unwrap_or_default();
        match above.split_first() {
            Some((parent, above)) => Self {
                process: Some(Process {
                    name: Some(file_name(parent)),
                    file: Some(File::of(parent)),
                    ancestry: ancestry(above),
                    ..Process::default()
                }),
                app_name: None,
            },
            None => Self {
                process: None,
                app_name: Some("cordon"),
            },
        }
    }
}

#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Process<'l> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'l str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<File<'l>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<User>,
    /// Programs above it, the nearest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ancestry: Vec<Entity<'l>>,
}

impl<'l> Process<'l> {
    pub(super) fn of(chain: &'l Chain, user: Option<u32>) -> Self {
        let (itself, above) = match chain.executables.split_first() {
            Some((itself, above)) => (Some(itself.as_str()), above),
            None => (None, [].as_slice()),
        };
        Self {
            pid: Some(chain.tgid),
            name: itself.map(file_name),
            // A name in parentheses is a thread's: no file is known.
            file: itself.filter(|path| path.starts_with('/')).map(File::of),
            user: user.filter(|user| *user != u32::MAX).map(|user| User {
                uid: user.to_string(),
            }),
            ancestry: ancestry(above),
        }
    }
}

fn ancestry(above: &[String]) -> Vec<Entity<'_>> {
    above.iter().map(|path| Entity { path }).collect()
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[derive(Clone, Debug, Serialize)]
struct Entity<'l> {
    path: &'l str,
}

#[derive(Clone, Debug, Serialize)]
struct File<'l> {
    name: &'l str,
    path: &'l str,
    /// A regular file.
    type_id: u8,
}

impl<'l> File<'l> {
    fn of(path: &'l str) -> Self {
        Self {
            name: file_name(path),
            path,
            type_id: 1,
        }
    }
}

#[derive(Clone, Debug, Serialize)]
struct User {
    uid: String,
}

#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Endpoint<'l> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ip: Option<&'l str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) hostname: Option<&'l str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) svc_name: Option<&'l str>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct ConnectionInfo<'l> {
    /// 2 is outbound.
    pub(super) direction_id: u8,
    pub(super) protocol_num: u8,
    pub(super) protocol_name: &'l str,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Query<'l> {
    pub(super) hostname: &'l str,
    #[serde(rename = "type")]
    pub(super) record: &'l str,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Answer<'l> {
    pub(super) rdata: &'l str,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct FindingInfo<'l> {
    pub(super) uid: &'l str,
    pub(super) title: &'l str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) desc: Option<&'l str>,
    pub(super) types: [&'l str; 1],
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct DataSecurity<'l> {
    pub(super) detection_pattern: &'l str,
}

/// What the schema has no place for, in the words of cordon's reports.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Unmapped<'l> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) hook: Option<&'l str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<&'l str>,
    /// Number of the rule in the report.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rule: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) shown_name: Option<&'l str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) variable: Option<&'l str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) source: Option<&'l str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) file: Option<&'l str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) expected: Option<&'l str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) found: Option<&'l str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mode: Option<&'l str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ruleset: Option<&'l str>,
    /// BLAKE3 (hex) of the line before.
    pub(super) previous: &'l str,
}
