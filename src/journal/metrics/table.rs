//! Making metrics and the rows of their documentation in one.

use std::cell::RefCell;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{self, MetricFamily};
use prometheus::{
    Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

use super::PREFIX;

/// One row of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub name: String,
    pub labels: Vec<String>,
    pub help: String,
}

/// Registers what it makes.
pub(super) struct Table<'a> {
    pub(super) registry: &'a Registry,
    pub(super) rows: RefCell<Vec<Row>>,
}

impl Table<'_> {
    pub(super) fn register<C: Collector + Clone + 'static>(&self, metric: C) -> prometheus::Result<C> {
        let row = |desc: &Desc| Row {
            name: format!("{PREFIX}_{}", desc.fq_name),
            labels: desc.variable_labels.clone(),
            help: desc.help.clone(),
        };
        self.rows.borrow_mut().extend(metric.desc().into_iter().map(row));
        self.registry.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    pub(super) fn counter(&self, name: &str, help: &str) -> prometheus::Result<IntCounter> {
        self.register(IntCounter::new(name, help)?)
    }

    pub(super) fn counters(&self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntCounterVec> {
        self.register(IntCounterVec::new(Opts::new(name, help), labels)?)
    }

    pub(super) fn gauge(&self, name: &str, help: &str) -> prometheus::Result<IntGauge> {
        self.register(IntGauge::new(name, help)?)
    }

    pub(super) fn float_gauge(&self, name: &str, help: &str) -> prometheus::Result<Gauge> {
        self.register(Gauge::new(name, help)?)
    }

    pub(super) fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntGaugeVec> {
        self.register(IntGaugeVec::new(Opts::new(name, help), labels)?)
    }

    pub(super) fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> prometheus::Result<Histogram> {
        self.register(Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec()))?)
    }

    pub(super) fn histograms(
        &self,
        name: &str,
        help: &str,
        buckets: &[f64],
        labels: &[&str],
    ) -> prometheus::Result<HistogramVec> {
        self.register(HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), labels)?)
    }
}

/// Exposes counters that hold nano-USD as dollars. Sums stay integers, so that the exposition can be compared
/// with the ledger to the nano-USD.
#[derive(Clone)]
pub(super) struct NanoUsdAsUsd(pub(super) IntCounterVec);

impl Collector for NanoUsdAsUsd {
    fn desc(&self) -> Vec<&Desc> {
        self.0.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut families = self.0.collect();
        for metric in families.iter_mut().flat_map(MetricFamily::mut_metric) {
            let mut dollars = proto::Counter::default();
            dollars.set_value(metric.get_counter().get_value() / 1e9);
            metric.set_counter(dollars);
        }
        families
    }
}
