//! How much of the host the job might use, what it used, and what that is estimated to come to.

use crate::limits::estimate::{Estimate, Method, decimal};
use crate::limits::evidence::{Answer, Change, Holder, Limits, Pinned, State, Usage};
use crate::policy::limits::Resource;
use crate::report::text::limits::happened;
use crate::report::text::quantity::{bytes, time};

/// Width of a full bar.
pub(super) const BAR: u64 = 120;

/// Limits, use and estimate.
#[derive(Debug)]
pub(super) struct Resources {
    pub(super) rows: Vec<Row>,
    pub(super) free: String,
    pub(super) events: Vec<String>,
    pub(super) used: Vec<(&'static str, String)>,
    pub(super) unknown: Vec<String>,
    pub(super) method: &'static str,
    pub(super) energy: String,
    pub(super) carbon: String,
    pub(super) cost: String,
    pub(super) assumptions: Vec<String>,
    /// Limits that were met, for the tile.
    pub(super) met: u64,
}

/// A limit that was asked for.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) resource: String,
    pub(super) configured: String,
    pub(super) held: &'static str,
    pub(super) tone: &'static str,
    pub(super) by: &'static str,
    pub(super) peak: String,
    /// Width of the bar of [`BAR`], where both numbers are known.
    pub(super) bar: Option<u64>,
    pub(super) origin: String,
}

impl Resources {
    pub(super) fn new(limits: &Limits) -> Self {
        let Limits {
            resources,
            changes,
            events,
            usage,
            estimate,
        } = limits;
        let free = resources
            .iter()
            .filter(|one| one.state == State::NotLimited);
        let free: Vec<_> = free.map(|one| one.resource.name()).collect();
        let asked = resources
            .iter()
            .filter(|one| one.state != State::NotLimited);
        let mut happenings: Vec<_> = changes.iter().map(changed).collect();
        happenings.extend(events.iter().map(happened));
        Self {
            rows: asked.map(|one| row(one, usage)).collect(),
            free: free.join(", "),
            met: events
                .iter()
                .map(|met| met.count)
                .fold(0, u64::saturating_add),
            events: happenings,
            used: used(usage),
            unknown: usage.unknown.clone(),
            method: match estimate.method {
                Method::Rapl => "from the processor's own meters, shared out by processor time",
                Method::VcpuModel => "a model of processor time and watts: no measurement",
                Method::None => "none: the time of processors is not known",
            },
            energy: energy(estimate),
            carbon: carbon(estimate),
            cost: match (estimate.cost_millionths, &estimate.cost_currency) {
                (Some(cost), Some(currency)) => format!("{} {currency}", decimal(cost)),
                _ => "not estimated: no price is configured".to_owned(),
            },
            assumptions: estimate.assumptions.clone(),
        }
    }
}

fn row(pinned: &Pinned, usage: &Usage) -> Row {
    let (held, tone) = match pinned.state {
        State::NotLimited => ("not limited", "plain"),
        State::Pinned if pinned.held_by == Some(Holder::ProcessLimit) => {
            ("set in the first process", "good")
        }
        State::Pinned => ("from start to end", "good"),
        State::Changed => ("CHANGED from outside", "bad"),
        State::NotProved => ("NOT PROVED at the end", "bad"),
    };
    let by = match pinned.held_by {
        Some(Holder::CgroupV1) => "cgroup v1",
        Some(Holder::CgroupV2) => "cgroup v2",
        Some(Holder::ProcessLimit) => "each process",
        Some(Holder::Cordon) => "cordon",
        None => "nobody",
    };
    let (peak, text) = match pinned.resource {
        Resource::Memory => (usage.memory_peak_bytes, usage.memory_peak_bytes.map(bytes)),
        Resource::Pids => (
            usage.pids_peak,
            usage.pids_peak.map(|peak| peak.to_string()),
        ),
        Resource::Wall => (
            Some(usage.wall_milliseconds),
            Some(seconds(usage.wall_milliseconds.saturating_mul(1000))),
        ),
        _ => (None, None),
    };
    let written = pinned.proofs.first().map(|proof| proof.written.as_str());
    let limit = written.and_then(|written| written.parse::<u64>().ok());
    let bar = peak.zip(limit).and_then(|(peak, limit)| {
        let wide = u128::from(peak).saturating_mul(u128::from(BAR));
        let wide = wide.checked_div(u128::from(limit))?;
        Some(u64::try_from(wide).unwrap_or(BAR).min(BAR))
    });
    Row {
        resource: pinned.resource.to_string(),
        configured: pinned.configured.clone().unwrap_or_default(),
        held,
        tone,
        by,
        peak: text.unwrap_or_else(|| "not counted".to_owned()),
        bar,
        origin: pinned.origin.clone().unwrap_or_default(),
    }
}

fn changed(change: &Change) -> String {
    let found = change.found.as_deref().unwrap_or("nothing readable");
    let answer = match change.answer {
        Answer::Restored => "put back",
        Answer::JobEnded => "could not be put back: the job was ended",
        Answer::JobOver => "seen when the job was over",
    };
    format!(
        "changed from outside at {}: {} had {found} and not {}; {answer}",
        time(change.seen),
        change.file,
        change.expected
    )
}

fn used(usage: &Usage) -> Vec<(&'static str, String)> {
    let read = usage.io_read_bytes.map(bytes);
    let written = usage.io_written_bytes.map(bytes);
    let throttled = usage.throttled_microseconds.filter(|time| *time > 0);
    let parts = [
        (
            "Time",
            Some(seconds(usage.wall_milliseconds.saturating_mul(1000))),
        ),
        ("Processor time", usage.cpu_microseconds.map(seconds)),
        ("Waited for its share", throttled.map(seconds)),
        ("Memory at most", usage.memory_peak_bytes.map(bytes)),
        (
            "Processes at most",
            usage.pids_peak.map(|peak| peak.to_string()),
        ),
        ("Read from disks", read),
        ("Written to disks", written),
        ("Sent", Some(bytes(usage.network_out_bytes))),
        ("Received", Some(bytes(usage.network_in_bytes))),
    ];
    parts
        .into_iter()
        .filter_map(|(what, value)| Some((what, value?)))
        .collect()
}

fn seconds(microseconds: u64) -> String {
    let tenths = microseconds / 100_000;
    format!("{}.{} s", tenths / 10, tenths % 10)
}

fn energy(estimate: &Estimate) -> String {
    let Some(energy) = estimate.energy_millijoules else {
        return "not estimated".to_owned();
    };
    let joules = |energy: u64| decimal(energy.saturating_mul(1000));
    let idle = estimate.energy_idle_share_millijoules;
    let idle = idle.map_or_else(String::new, |idle| {
        format!(", of which {} J for processors it left idle", joules(idle))
    });
    format!("{} J{idle}", joules(energy))
}

fn carbon(estimate: &Estimate) -> String {
    match (
        estimate.operational_micrograms_co2e,
        estimate.grid_grams_per_kwh,
    ) {
        (Some(carbon), Some(grams)) => format!(
            "{} g CO2e at {grams} g/kWh ({})",
            decimal(carbon),
            estimate
                .grid_source
                .as_deref()
                .unwrap_or("source not named")
        ),
        _ => "not estimated: no grid is configured".to_owned(),
    }
}
