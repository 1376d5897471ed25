//! A job's limits and what it used, for a person.

use super::layout::{Column, Page, Row, Table, Tone};
use super::quantity::{bytes, count};
use super::tables::heading;
use crate::limits::estimate::{Estimate, Method, decimal};
use crate::limits::evidence::{
    Answer, Change, Holder, Kind, Limits, Met, Pinned, State, Usage, Victim,
};
use crate::report::escape::escape;

pub(super) fn write(page: &mut Page, limits: &Limits) {
    let Limits {
        resources,
        changes,
        events,
        usage,
        estimate,
    } = limits;
    table(page, resources);
    for change in changes {
        page.line(Tone::Bad, &changed(change));
    }
    for met in events {
        page.line(Tone::Bad, &happened(met));
        for victim in &met.processes {
            page.item(&process(victim));
        }
        if met.processes_unknown > 0 {
            let unknown = count(met.processes_unknown, "process");
            page.item(&format!("{unknown} whose names are not known"));
        }
    }
    page.gap();
    page.fact("Used", Tone::Plain, &used(usage));
    for unknown in &usage.unknown {
        page.item(&escape(unknown));
    }
    page.fact("Estimated", Tone::Plain, &estimated(estimate));
    for assumption in &estimate.assumptions {
        page.item(&escape(assumption));
    }
}

fn table(page: &mut Page, resources: &[Pinned]) {
    let asked = || {
        resources
            .iter()
            .filter(|one| one.state != State::NotLimited)
    };
    let free = resources
        .iter()
        .filter(|one| one.state == State::NotLimited);
    let free: Vec<_> = free.map(|one| one.resource.name()).collect();
    let free = if free.is_empty() {
        "nothing is without one".to_owned()
    } else {
        format!("not limited: {}", free.join(", "))
    };
    if !heading(page, "Limits", asked().count(), "resource", &free) {
        return;
    }
    page.table(&Table {
        columns: [
            Column::Text("RESOURCE"),
            Column::Text("LIMIT"),
            Column::Text("HELD"),
            Column::Text("BY"),
            Column::Text("FROM"),
        ],
        rows: asked().map(row).collect(),
    });
}

fn row(pinned: &Pinned) -> Row<5> {
    let (held, tone) = match pinned.state {
        State::NotLimited => ("not limited", Tone::Plain),
        State::Pinned if pinned.held_by == Some(Holder::ProcessLimit) => {
            ("set in the first process", Tone::Good)
        }
        State::Pinned => ("from start to end", Tone::Good),
        State::Changed => ("CHANGED", Tone::Bad),
        State::NotProved => ("NOT PROVED at the end", Tone::Bad),
    };
    let by = match pinned.held_by {
        Some(Holder::CgroupV1) => "cgroup v1",
        Some(Holder::CgroupV2) => "cgroup v2",
        Some(Holder::ProcessLimit) => "each process",
        Some(Holder::Cordon) => "cordon",
        None => "nobody",
    };
    let text = |text: &Option<String>| escape(text.as_deref().unwrap_or_default()).into_owned();
    Row {
        cells: [
            pinned.resource.to_string(),
            text(&pinned.configured),
            held.to_owned(),
            by.to_owned(),
            text(&pinned.origin),
        ],
        tone,
        notes: vec![],
    }
}

fn changed(change: &Change) -> String {
    let found = change
        .found
        .as_deref()
        .unwrap_or("nothing that can be read");
    let answer = match change.answer {
        Answer::Restored => "put back",
        Answer::JobEnded => "could not be put back: the job was ended",
        Answer::JobOver => "seen when the job was over",
    };
    format!(
        "changed from outside: {} {} had {} and not {}; {answer}",
        change.resource,
        escape(&change.file),
        escape(found),
        escape(&change.expected)
    )
}

pub(in crate::report) fn happened(met: &Met) -> String {
    match met.kind {
        Kind::OutOfMemory => format!(
            "no memory was left: the kernel killed {}",
            count(met.count, "process")
        ),
        Kind::ForkRefused => format!("{} refused: too many processes", count(met.count, "fork")),
        Kind::Throttled => format!(
            "waited for its next share of processors in {}",
            count(met.count, "period")
        ),
        Kind::TimeOver => "its time was over: cordon ended it".to_owned(),
    }
}

fn process(victim: &Victim) -> String {
    let names: Vec<_> = victim.executables.iter().map(|path| escape(path)).collect();
    format!("pid {}: {}", victim.pid, names.join(" < "))
}

fn used(usage: &Usage) -> String {
    let Usage {
        wall_milliseconds,
        cpu_microseconds,
        cpu_user_microseconds: _,
        cpu_system_microseconds: _,
        throttled_microseconds,
        memory_peak_bytes,
        memory_full: _,
        pids_peak,
        io_read_bytes,
        io_written_bytes,
        network_out_bytes,
        network_in_bytes,
        unknown: _,
    } = usage;
    let seconds = |microseconds: u64| {
        let tenths = microseconds / 100_000;
        format!("{}.{} s", tenths / 10, tenths % 10)
    };
    let mut parts = vec![format!(
        "{} of time",
        seconds(wall_milliseconds.saturating_mul(1000))
    )];
    parts.extend(cpu_microseconds.map(|time| format!("{} of processors", seconds(time))));
    parts.extend(
        throttled_microseconds
            .filter(|time| *time > 0)
            .map(|time| format!("{} of waiting for its share", seconds(time))),
    );
    parts.extend(memory_peak_bytes.map(|peak| format!("{} of memory at most", bytes(peak))));
    parts.extend(pids_peak.map(|peak| format!("{} at most", count(peak, "process"))));
    if let (Some(read), Some(written)) = (io_read_bytes, io_written_bytes) {
        let (read, written) = (bytes(*read), bytes(*written));
        parts.push(format!("{read} read, {written} written"));
    }
    let (sent, received) = (bytes(*network_out_bytes), bytes(*network_in_bytes));
    parts.push(format!("{sent} sent, {received} received"));
    parts.join("; ")
}

fn estimated(estimate: &Estimate) -> String {
    let Estimate {
        method,
        energy_millijoules,
        energy_idle_share_millijoules: _,
        grid_grams_per_kwh,
        grid_source,
        operational_micrograms_co2e,
        cost_millionths,
        cost_currency,
        assumptions: _,
    } = estimate;
    let how = match method {
        Method::Rapl => "from the processor's meters, shared out",
        Method::VcpuModel => "by a model, no measurement",
        Method::None => "the time of processors is not known",
    };
    let mut parts = match energy_millijoules {
        Some(energy) => vec![format!("{} J {how}", decimal(energy.saturating_mul(1000)))],
        None => vec![format!("no energy: {how}")],
    };
    parts.push(match (operational_micrograms_co2e, grid_grams_per_kwh) {
        (Some(carbon), Some(grams)) => format!(
            "{} g of CO2e at {grams} g/kWh ({})",
            decimal(*carbon),
            escape(grid_source.as_deref().unwrap_or_default())
        ),
        _ => "no carbon: no grid is configured".to_owned(),
    });
    parts.push(match (cost_millionths, cost_currency) {
        (Some(cost), Some(currency)) => format!("{} {}", decimal(*cost), escape(currency)),
        _ => "no cost: no price is configured".to_owned(),
    });
    parts.join("; ")
}
