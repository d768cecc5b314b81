//! How limits stand, read when the metrics are.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwapOption;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{GaugeVec, Opts};

/// How one limit stands.
#[derive(Clone, Debug)]
pub struct LimitReading {
    /// key, team or organization.
    pub scope: &'static str,
    pub name: Arc<str>,
    pub limit: String,
    /// How much of it is used up, from 0 to 1.
    pub utilization: f64,
    /// What is left of it in dollars, if it is a budget in money.
    pub remaining_usd: Option<f64>,
    /// Which share of it running requests may still spend, if it is a budget.
    pub reserved: Option<f64>,
}

/// Tells how every limit stands, of at most so many keys.
type Read = Box<dyn Fn(usize) -> Vec<LimitReading> + Send + Sync>;

/// The gauges of all limits. They hold nothing: whoever knows the limits is asked.
#[derive(Clone)]
pub(super) struct LimitGauges {
    pub(super) read: Arc<ArcSwapOption<Read>>,
    keys_max: Arc<AtomicUsize>,
}

const LABELS: [&str; 3] = ["scope", "name", "limit"];

impl LimitGauges {
    pub(super) fn new(keys_max: Arc<AtomicUsize>) -> prometheus::Result<Self> {
        // Made to see that they can be.
        gauges().map(|_| Self { read: Arc::default(), keys_max })
    }
}

fn gauges() -> prometheus::Result<[GaugeVec; 3]> {
    let utilization =
        Opts::new("limit_utilization_ratio", "How much of a limit is used up at this moment, from 0 to 1.");
    let remaining = Opts::new("budget_remaining_usd", "What is left of a budget in its present window, in US dollars.");
    let reserved = Opts::new("budget_reserved_ratio", "Which share of a budget is held for requests that are running.");
    Ok([GaugeVec::new(utilization, &LABELS)?, GaugeVec::new(remaining, &LABELS)?, GaugeVec::new(reserved, &LABELS)?])
}

impl Collector for LimitGauges {
    fn desc(&self) -> Vec<&Desc> {
        static GAUGES: std::sync::LazyLock<Option<[GaugeVec; 3]>> = std::sync::LazyLock::new(|| gauges().ok());
        GAUGES.iter().flatten().flat_map(|gauge| gauge.desc()).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let (Some(read), Ok([utilization, remaining, reserved])) = (&*self.read.load(), gauges()) else {
            return Vec::new();
        };
        for reading in read(self.keys_max.load(Ordering::Relaxed)) {
            let labels = [reading.scope, &*reading.name, reading.limit.as_str()];
            utilization.with_label_values(&labels).set(reading.utilization);
            if let Some(dollars) = reading.remaining_usd {
                remaining.with_label_values(&labels).set(dollars);
            }
            if let Some(share) = reading.reserved {
                reserved.with_label_values(&labels).set(share);
            }
        }
        let families = [utilization, remaining, reserved].into_iter().flat_map(|gauge| gauge.collect());
        families.filter(|family| !family.get_metric().is_empty()).collect()
    }
}

impl fmt::Debug for LimitGauges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LimitGauges")
    }
}
