//! Drawings: when things happened, and how much went where. Numbers only; tables beside them say the
//! same.

use jiff::Timestamp;

use super::egress::{named, port, span};
use crate::report::text::quantity::bytes;
use crate::report::{Destination, Report};

/// Width of a drawing, in its own units; browsers scale it.
const WIDTH: u64 = 720;
/// Where lanes begin; before it is room for their names.
const LEFT: u64 = 230;
/// Height of a lane.
const LANE: u64 = 22;
/// Lanes of each kind.
const LANES: usize = 8;
/// Characters of a name that fit before the lane.
const NAME: usize = 34;

/// When things happened.
#[derive(Debug)]
pub(super) struct Timeline {
    pub(super) height: u64,
    pub(super) from: String,
    pub(super) to: String,
    pub(super) bottom: u64,
    pub(super) lanes: Vec<Lane>,
    pub(super) gaps: Vec<Gap>,
    pub(super) omitted: usize,
}

/// One destination.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) name: String,
    pub(super) full: String,
    pub(super) verdict: &'static str,
    pub(super) denied: bool,
    pub(super) seen: String,
    pub(super) text_y: u64,
    pub(super) y: u64,
    pub(super) middle: u64,
    pub(super) x: u64,
    pub(super) width: u64,
    /// Corners of the cross that marks a denial.
    pub(super) left: u64,
    pub(super) right: u64,
    pub(super) top: u64,
    pub(super) low: u64,
}

/// A time in which nobody recorded.
#[derive(Debug)]
pub(super) struct Gap {
    pub(super) x: u64,
    pub(super) width: u64,
    pub(super) words: String,
}

/// How much went where.
#[derive(Debug)]
pub(super) struct Volumes {
    pub(super) height: u64,
    pub(super) bars: Vec<Bar>,
}

/// One destination's bytes.
#[derive(Debug)]
pub(super) struct Bar {
    pub(super) name: String,
    pub(super) full: String,
    pub(super) sent: String,
    pub(super) received: String,
    pub(super) text_y: u64,
    pub(super) out_y: u64,
    pub(super) out_width: u64,
    pub(super) out_end: u64,
    pub(super) in_y: u64,
    pub(super) in_width: u64,
    pub(super) in_end: u64,
}

struct Scale {
    from: Timestamp,
    length: u128,
}

impl Scale {
    fn at(&self, time: Timestamp) -> u64 {
        let room = u128::from(WIDTH.saturating_sub(LEFT).saturating_sub(8));
        let since = time.duration_since(self.from).as_millis();
        let since = u128::try_from(since).unwrap_or(0).min(self.length);
        let place = since.saturating_mul(room).checked_div(self.length);
        LEFT.saturating_add(
            place
                .and_then(|place| u64::try_from(place).ok())
                .unwrap_or(0),
        )
    }
}

impl Timeline {
    pub(super) fn new(report: &Report) -> Option<Self> {
        let (from, to) = (report.job.started, report.job.finished);
        let length = to.duration_since(from).as_millis();
        let scale = Scale {
            from,
            length: u128::try_from(length).unwrap_or(0).max(1),
        };
        let denials = report.denials.iter().take(LANES);
        let denials = denials.map(|one| (&one.destination, true, one.first_seen, one.last_seen));
        let flows = report.flows.iter().take(LANES);
        let flows = flows.map(|one| (&one.destination, false, one.first_seen, one.last_seen));
        let lanes: Vec<_> = denials
            .chain(flows)
            .zip(0_u64..)
            .map(|((to, denied, first, last), index)| {
                Lane::new(&scale, index, (to, denied), (first, last))
            })
            .collect();
        if lanes.is_empty() {
            return None;
        }
        let bottom = LANE.saturating_mul(lanes.len() as u64).saturating_add(4);
        let all = report.denials.len().saturating_add(report.flows.len());
        let gaps = report.interruptions.iter().map(|gap| {
            let x = gap.from.map_or(LEFT, |from| scale.at(from));
            Gap {
                x,
                width: scale.at(gap.to).saturating_sub(x).max(2),
                words: crate::report::text::interrupted(gap),
            }
        });
        Some(Self {
            height: bottom.saturating_add(22),
            from: clock(from),
            to: clock(to),
            bottom,
            omitted: all.saturating_sub(lanes.len()),
            lanes,
            gaps: gaps.collect(),
        })
    }

    pub(super) const fn text_y(&self) -> u64 {
        self.bottom.saturating_add(16)
    }
}

impl Lane {
    fn new(
        scale: &Scale,
        index: u64,
        (destination, denied): (&Destination, bool),
        (first, last): (Timestamp, Timestamp),
    ) -> Self {
        let top = index.saturating_mul(LANE);
        let x = scale.at(first);
        let y = top.saturating_add(8);
        let middle = top.saturating_add(13);
        let full = label(destination);
        Self {
            name: short(&full),
            full,
            verdict: if denied { "denied" } else { "allowed" },
            denied,
            seen: span(first, last),
            text_y: top.saturating_add(17),
            y,
            middle,
            x,
            width: scale.at(last).saturating_sub(x).max(3),
            left: x.saturating_sub(4),
            right: x.saturating_add(4),
            top: middle.saturating_sub(4),
            low: middle.saturating_add(4),
        }
    }
}

impl Volumes {
    pub(super) fn new(report: &Report) -> Option<Self> {
        /// Room for the number behind a bar.
        const NUMBER: u64 = 120;
        const HEIGHT: u64 = 34;
        let flows: Vec<_> = report.flows.iter().take(LANES).collect();
        let most = flows.iter().map(|flow| flow.bytes_out.max(flow.bytes_in));
        let most = most.max().filter(|most| *most > 0)?;
        let room = WIDTH.saturating_sub(LEFT).saturating_sub(NUMBER);
        let scaled = |number: u64| {
            let wide = u128::from(number).saturating_mul(u128::from(room));
            let wide = wide.checked_div(u128::from(most)).unwrap_or(0);
            u64::try_from(wide).unwrap_or(room).max(1)
        };
        let bars = flows.iter().zip(0_u64..).map(|(flow, index)| {
            let top = index.saturating_mul(HEIGHT);
            let full = label(&flow.destination);
            let (out_width, in_width) = (scaled(flow.bytes_out), scaled(flow.bytes_in));
            let end = |width: u64| LEFT.saturating_add(width).saturating_add(6);
            Bar {
                name: short(&full),
                full,
                sent: bytes(flow.bytes_out),
                received: bytes(flow.bytes_in),
                text_y: top.saturating_add(20),
                out_y: top.saturating_add(5),
                out_width,
                out_end: end(out_width),
                in_y: top.saturating_add(18),
                in_width,
                in_end: end(in_width),
            }
        });
        let bars: Vec<_> = bars.collect();
        Some(Self {
            height: HEIGHT.saturating_mul(bars.len() as u64).saturating_add(4),
            bars,
        })
    }
}

impl Bar {
    pub(super) const fn out_text(&self) -> u64 {
        self.out_y.saturating_add(9)
    }

    pub(super) const fn in_text(&self) -> u64 {
        self.in_y.saturating_add(9)
    }
}

fn label(destination: &Destination) -> String {
    let what = named(&destination.names, destination.address);
    format!("{what} {}", port(destination))
}

/// What fits; the middle goes, since the end of a name says whose it is.
fn short(text: &str) -> String {
    let shown = crate::report::escape::escape(text);
    let length = shown.chars().count();
    if length <= NAME {
        return text.to_owned();
    }
    // An escaped text stays one when it is cut: it is escaped once more for the page.
    let half = NAME / 2;
    let head: String = text.chars().take(half.saturating_sub(1)).collect();
    let tail: Vec<char> = text.chars().rev().take(half).collect();
    let tail: String = tail.into_iter().rev().collect();
    format!("{head}…{tail}")
}

fn clock(time: Timestamp) -> String {
    time.strftime("%H:%M:%SZ").to_string()
}
