//! What a job is estimated to have cost in energy, carbon and money. Pure.
//!
//! **Invariants**: a model is never called a measurement; what no setting says is not guessed: without a
//! grid intensity there is no carbon, without a price no cost.
//!
//! Numbers are whole, in units small enough: reports are compared byte for byte.

use serde::{Deserialize, Serialize};

/// Where a number of joules comes from.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// The processor's own meters (RAPL), which count whole sockets, shared out by processor time.
    Rapl,
    /// Watts of a processor, idle and busy, times the time. No measurement.
    VcpuModel,
    /// The job's processor time is not known.
    None,
}

/// The host's part in it: settings.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rates {
    /// Microwatts of a processor that does nothing.
    pub idle: u64,
    /// Microwatts of one that is busy.
    pub busy: u64,
    /// Millionths: what the building takes for each watt of a machine.
    pub pue: u64,
    /// Grams of carbon (CO₂ equivalents) for each kWh, and who says so.
    pub grid: Option<(u32, String)>,
    /// Millionths of a currency for an hour of the host, and the currency.
    pub host_hour: Option<(u64, String)>,
}

/// Published by Cloud Carbon Footprint for processors of AWS, GCP and Azure: 0.74, 0.71 and 0.78 W idle,
/// 3.5, 4.26 and 3.76 W busy. These are the means.
const IDLE_MICROWATTS: u64 = 743_333;
const BUSY_MICROWATTS: u64 = 3_840_000;
/// One, in millionths.
pub const MILLION: u64 = 1_000_000;

impl Default for Rates {
    fn default() -> Self {
        Self {
            idle: IDLE_MICROWATTS,
            busy: BUSY_MICROWATTS,
            pue: MILLION,
            grid: None,
            host_hour: None,
        }
    }
}

/// What is known of the job.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Used {
    /// From release to end, microseconds.
    pub wall: u64,
    /// Processor time, microseconds.
    pub cpu: Option<u64>,
    /// Percent of a processor it could use at most, if that was limited.
    pub cpu_limit: Option<u64>,
    /// Processors of the host.
    pub processors: u64,
    /// What the meters say.
    pub metered: Option<Metered>,
}

/// What the processor's meters counted while the job ran.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Metered {
    /// Microjoules of all sockets.
    pub energy: u64,
    /// Microseconds the host's processors were busy.
    pub busy: u64,
}

/// The estimate.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Estimate {
    /// How the energy was found.
    pub method: Method,
    /// Energy of the job, its share of idle processors included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub energy_millijoules: Option<u64>,
    /// Of that, for processors the job kept to itself and did not use; absent where meters cannot tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub energy_idle_share_millijoules: Option<u64>,
    /// Carbon intensity of the grid, as configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grid_grams_per_kwh: Option<u32>,
    /// Who says so, as configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grid_source: Option<String>,
    /// Carbon (CO₂ equivalents) of that energy. What making the host took is not in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operational_micrograms_co2e: Option<u64>,
    /// Cost, in millionths of the currency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_millionths: Option<u64>,
    /// Of which currency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_currency: Option<String>,
    /// What was taken for granted, each in a sentence.
    pub assumptions: Vec<String>,
}

/// Microjoules of one kWh.
const KWH: u128 = 3_600_000_000_000;
const HOUR_MICROSECONDS: u128 = 3_600_000_000;

/// Makes the estimate.
#[must_use]
pub fn estimate(used: &Used, rates: &Rates) -> Estimate {
    let mut assumptions = Vec::new();
    let share = share(used, &mut assumptions);
    let found = energy(used, rates, share, &mut assumptions);
    let total = found.map(|(_, total, _)| with_overhead(total, rates.pue));
    if found.is_some() && rates.pue != MILLION {
        let pue = decimal(rates.pue);
        assumptions.push(format!(
            "The building takes {pue} W for each W of the host, as configured."
        ));
    }
    let carbon = total.zip(rates.grid.as_ref()).map(|(energy, (grams, _))| {
        let micrograms = u128::from(energy)
            .saturating_mul(u128::from(*grams))
            .saturating_mul(1_000_000);
        narrow(micrograms.checked_div(KWH).unwrap_or_default())
    });
    let cost = rates.host_hour.as_ref().map(|(price, _)| {
        let cost = u128::from(*price)
            .saturating_mul(u128::from(used.wall))
            .saturating_mul(u128::from(share));
        let cost = cost.checked_div(HOUR_MICROSECONDS).unwrap_or_default();
        narrow(cost.checked_div(u128::from(MILLION)).unwrap_or_default())
    });
    if cost.is_some() {
        let part = decimal(share);
        assumptions.push(format!(
            "The job is charged {part} of the host for the time it ran, at the configured price of a host-hour."
        ));
    }
    Estimate {
        method: found.map_or(Method::None, |(method, ..)| method),
        energy_millijoules: total.map(|energy| energy / 1000),
        energy_idle_share_millijoules: found
            .and_then(|(.., idle)| idle)
            .map(|idle| with_overhead(idle, rates.pue) / 1000),
        grid_grams_per_kwh: rates.grid.as_ref().map(|(grams, _)| *grams),
        grid_source: rates.grid.as_ref().map(|(_, source)| source.clone()),
        operational_micrograms_co2e: carbon,
        cost_millionths: cost,
        cost_currency: rates
            .host_hour
            .as_ref()
            .map(|(_, currency)| currency.clone()),
        assumptions,
    }
}

/// The part of the host the job had to itself, in millionths.
fn share(used: &Used, assumptions: &mut Vec<String>) -> u64 {
    let all = used.processors.max(1).saturating_mul(100);
    let own = used.cpu_limit.map_or(all, |limit| limit.min(all));
    if used.cpu_limit.is_none() {
        assumptions.push("The job had the whole host: its processors were not limited.".to_owned());
    }
    let share = u128::from(own).saturating_mul(u128::from(MILLION));
    narrow(share.checked_div(u128::from(all)).unwrap_or_default())
}

/// Method, microjoules, and of those the idle share.
fn energy(
    used: &Used,
    rates: &Rates,
    share: u64,
    assumptions: &mut Vec<String>,
) -> Option<(Method, u64, Option<u64>)> {
    let cpu = u128::from(used.cpu?);
    if let Some(Metered { energy, busy }) = used.metered.filter(|metered| metered.busy > 0) {
        assumptions.push(
            "The meters count whole sockets; the job's part is its part of the time in which any processor \
             of the host was busy. What other programs and idle processors took is shared out the same way."
                .to_owned(),
        );
        let part = u128::from(energy).saturating_mul(cpu.min(u128::from(busy)));
        let part = part.checked_div(u128::from(busy)).unwrap_or_default();
        return Some((Method::Rapl, narrow(part), None));
    }
    let (idle, busy) = (decimal(rates.idle), decimal(rates.busy));
    assumptions.push(format!(
        "A model, no measurement: a processor takes {idle} W idle and {busy} W busy, and memory, disks and \
         network are not in it."
    ));
    // Microwatts times microseconds are picojoules.
    let picojoules = |microwatts: u64, microseconds: u128| {
        let energy = u128::from(microwatts).saturating_mul(microseconds);
        narrow(energy / 1_000_000)
    };
    let more = rates.busy.saturating_sub(rates.idle);
    let kept = u128::from(used.wall)
        .saturating_mul(u128::from(used.processors.max(1)))
        .saturating_mul(u128::from(share))
        .checked_div(u128::from(MILLION))
        .unwrap_or_default();
    let idle = picojoules(rates.idle, kept.saturating_sub(cpu));
    // Processors that are used take their idle watts too.
    let active = picojoules(rates.idle.saturating_add(more), cpu);
    Some((Method::VcpuModel, active.saturating_add(idle), Some(idle)))
}

fn with_overhead(energy: u64, pue: u64) -> u64 {
    let energy = u128::from(energy).saturating_mul(u128::from(pue));
    narrow(energy.checked_div(u128::from(MILLION)).unwrap_or_default())
}

fn narrow(number: u128) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// Millionths as people write them: `1.2`, `0.743333`.
#[must_use]
pub fn decimal(millionths: u64) -> String {
    let (whole, rest) = (millionths / MILLION, millionths % MILLION);
    let text = format!("{whole}.{rest:06}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Reads what [`decimal`] writes: digits, and after a point at most six more.
#[must_use]
pub fn parse_decimal(text: &str) -> Option<u64> {
    let (whole, rest) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(rest) || rest.len() > 6 {
        return None;
    }
    let rest: u64 = format!("{rest:0<6}").parse().ok()?;
    whole
        .parse::<u64>()
        .ok()?
        .checked_mul(MILLION)?
        .checked_add(rest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An hour on a host of four processors, one of them busy all the time.
    const HOUR: Used = Used {
        wall: 3_600_000_000,
        cpu: Some(3_600_000_000),
        cpu_limit: None,
        processors: 4,
        metered: None,
    };

    fn rates() -> Rates {
        Rates {
            idle: 1_000_000,
            busy: 4_000_000,
            ..Rates::default()
        }
    }

    #[test]
    fn the_model_adds_busy_and_idle_processors() {
        let model = estimate(&HOUR, &rates());
        assert_eq!(model.method, Method::VcpuModel);
        // 1 processor at 4 W and 3 at 1 W, for 3600 s.
        assert_eq!(model.energy_millijoules, Some(7 * 3600 * 1000));
        assert_eq!(model.energy_idle_share_millijoules, Some(3 * 3600 * 1000));
        assert!(
            model
                .assumptions
                .iter()
                .any(|text| text.contains("no measurement"))
        );
        // A limit of two processors leaves one idle.
        let limited = Used {
            cpu_limit: Some(200),
            ..HOUR
        };
        let model = estimate(&limited, &rates());
        assert_eq!(model.energy_millijoules, Some(5 * 3600 * 1000));
    }

    #[test]
    fn meters_come_first_and_give_the_job_its_part() {
        let metered = Used {
            metered: Some(Metered {
                energy: 10_000_000,
                busy: 7_200_000_000,
            }),
            ..HOUR
        };
        let found = estimate(&metered, &rates());
        assert_eq!(found.method, Method::Rapl);
        assert_eq!(found.energy_millijoules, Some(5000));
        assert_eq!(found.energy_idle_share_millijoules, None);
        assert!(!found.assumptions.iter().any(|text| text.contains("model")));
    }

    #[test]
    fn what_no_setting_says_is_not_guessed() {
        let bare = estimate(&HOUR, &Rates::default());
        assert_eq!(bare.operational_micrograms_co2e, None);
        assert_eq!((bare.cost_millionths, bare.cost_currency), (None, None));
        let unknown = Used { cpu: None, ..HOUR };
        let unknown = estimate(&unknown, &Rates::default());
        assert_eq!(
            (unknown.method, unknown.energy_millijoules),
            (Method::None, None)
        );
    }

    #[test]
    fn carbon_and_cost_are_of_the_configured_rates() {
        let rates = Rates {
            pue: 1_500_000,
            grid: Some((400, "operator".to_owned())),
            host_hour: Some((500_000, "EUR".to_owned())),
            ..rates()
        };
        let found = estimate(&HOUR, &rates);
        // 25.2 kJ and half as much for the building: 0.0105 kWh, 4.2 g.
        assert_eq!(found.energy_millijoules, Some(37_800_000));
        assert_eq!(found.operational_micrograms_co2e, Some(4_200_000));
        assert_eq!(found.cost_millionths, Some(500_000));
        let quarter = Used {
            cpu_limit: Some(100),
            ..HOUR
        };
        assert_eq!(estimate(&quarter, &rates).cost_millionths, Some(125_000));
    }

    proptest! {
        #[test]
        fn decimals_are_read_as_they_are_shown(number in any::<u64>()) {
            let shown = decimal(number);
            prop_assert_eq!(parse_decimal(&shown), Some(number), "{}", shown);
        }

        #[test]
        fn reading_is_total(text in any::<String>()) {
            let _number = parse_decimal(&text);
        }

        #[test]
        fn estimates_are_total_and_grow_with_use(
            wall in any::<u64>(), cpu in 0u64..1 << 60, more in 0u64..1 << 40, processors in any::<u64>(),
        ) {
            let used = Used { wall, cpu: Some(cpu), cpu_limit: None, processors, metered: None };
            let rates = Rates { grid: Some((u32::MAX, String::new())), ..Rates::default() };
            let less = estimate(&used, &rates).energy_millijoules;
            let used = Used { cpu: Some(cpu.saturating_add(more)), ..used };
            prop_assert!(estimate(&used, &rates).energy_millijoules >= less);
        }
    }

    #[test]
    fn decimals_have_at_most_six_places() {
        assert_eq!(parse_decimal("0.12"), Some(120_000));
        assert_eq!(parse_decimal("3"), Some(3_000_000));
        for text in ["", ".5", "5.", "1.0000001", "-1", "+1", "1,5", "1e3", " 1"] {
            assert_eq!(parse_decimal(text), None, "{text}");
        }
    }
}
