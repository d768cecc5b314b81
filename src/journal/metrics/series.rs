//! What a record counts, by handles that hang on its key: a request finds its counters without a look-up by label.

use std::sync::Arc;

use arc_swap::ArcSwap;
use prometheus::{Histogram, HistogramVec, IntCounter};

use crate::domain::{Ended, Verdict};
use crate::journal::record::{Closing, Opening, Record, Refused};
use crate::policy::Hit;

use super::{Metrics, NONE, OTHER, TOKEN_KINDS};

/// One key's label values and the handles already looked up for it. It hangs on the key's own record in the
/// catalog, so that a request finds its counters without a look-up by label.
#[derive(Debug)]
pub struct KeySeries {
    pub(super) key: Arc<str>,
    pub(super) team: Arc<str>,
    routes: ArcSwap<Vec<Arc<RouteSeries>>>,
}

/// The handles for one key's use of one model at one provider.
struct RouteSeries {
    provider: Arc<str>,
    model: Arc<str>,
    requests: ArcSwap<Vec<(u16, IntCounter)>>,
    tokens: [IntCounter; TOKEN_KINDS.len()],
    cost: IntCounter,
    /// Indexed by whether the answer is a stream.
    duration: [Histogram; 2],
    first_token: [Histogram; 2],
}

impl KeySeries {
    /// A series that belongs to no table yet; [`Metrics::key_series`] is what the catalog uses.
    pub fn detached(key: &str, team: &str) -> Self {
        Self { key: key.into(), team: team.into(), routes: ArcSwap::default() }
    }
}

impl Metrics {
    /// Counts a record.
    pub(in crate::journal) fn observe(&self, record: &Record) {
        match record {
            Record::Opened(opening) => self.observe_opening(opening),
            Record::Closed(closing) => self.observe_closing(closing),
        }
    }

    fn observe_opening(&self, opening: &Opening) {
        self.count_hits(&opening.policies, "input");
        if let Some(Refused { code, status }) = opening.refusal {
            let series = &opening.key.series;
            self.refusals.with_label_values(&[&*series.key, &*series.team, code]).inc();
            self.count_request(series, &self.route(opening), status);
            return;
        }
        self.requests_active.inc();
        if opening.stream {
            self.streams_active.inc();
        }
        if let Some(overhead) = opening.overhead {
            self.overhead.observe(overhead.as_secs_f64());
        }
    }

    /// Counts a request as running that another process admitted and this one will record the end of.
    pub fn goes_on(&self, opening: &Opening) {
        self.requests_active.inc();
        if opening.stream {
            self.streams_active.inc();
        }
    }

    fn observe_closing(&self, closing: &Closing) {
        let opening = &*closing.opening;
        self.count_hits(&closing.policies, "output");
        let route = self.route(opening);
        let stream = usize::from(opening.stream);
        self.requests_active.dec();
        if opening.stream {
            self.streams_active.dec();
        }
        self.count_request(&opening.key.series, &route, closing.status);
        let tokens = &closing.usage.tokens;
        let counts = [tokens.input, tokens.cache_read, tokens.cache_write, tokens.output, tokens.reasoning];
        for (counter, count) in route.tokens.iter().zip(counts) {
            counter.inc_by(count);
        }
        match &closing.cost {
            Some(cost) => route.cost.inc_by(cost.amount.0),
            None if tokens.input + tokens.output > 0 => self.unpriced.with_label_values(&[&*route.provider]).inc(),
            None => {}
        }
        route.duration[stream].observe(closing.duration.as_secs_f64());
        if let Some(first_token) = closing.first_token {
            route.first_token[stream].observe(first_token.as_secs_f64());
        }
        self.usage_records.with_label_values(&[closing.usage.source.label()]).inc();
        let is_cut = match closing.ended {
            Ended::Revoked | Ended::Budget | Ended::Policy => true,
            // The gateway closed, because its client did not read.
            Ended::ClientClosed => closing.reason != Some(Ended::ClientClosed.label()),
            _ => false,
        };
        if let Some(reason) = closing.reason.filter(|_| is_cut) {
            self.streams_cut.with_label_values(&[reason]).inc();
        }
        if let (Verdict::Error, Some(kind)) = (closing.verdict, closing.reason) {
            self.upstream_errors.with_label_values(&[&*route.provider, kind]).inc();
        }
    }

    fn count_hits(&self, hits: &[Hit], phase: &str) {
        for Hit { policy, action, matches } in hits {
            let labels = [&**policy, action.label(), phase];
            self.policy_actions.with_label_values(&labels).inc_by(u64::from(*matches));
        }
    }

    fn count_request(&self, series: &KeySeries, route: &RouteSeries, status: u16) {
        if let Some((_, counter)) = route.requests.load().iter().find(|(known, _)| *known == status) {
            return counter.inc();
        }
        let labels = [&*series.key, &*series.team, &*route.provider, &*route.model, &*status.to_string()];
        let counter = self.requests.with_label_values(&labels);
        counter.inc();
        route.requests.rcu(|known| {
            let mut known = Vec::clone(known);
            known.push((status, counter.clone()));
            known
        });
    }

    /// The handles for the key, provider and model of `opening`; looked up by label the first time only.
    fn route(&self, opening: &Opening) -> Arc<RouteSeries> {
        let series = &*opening.key.series;
        let provider = opening.provider.as_deref().unwrap_or(NONE);
        let model = opening.price.as_ref().map_or(OTHER, |price| &price.name);
        let found = |known: &&Arc<RouteSeries>| *known.provider == *provider && *known.model == *model;
        if let Some(route) = series.routes.load().iter().find(found) {
            return route.clone();
        }
        let labels = [&*series.key, &*series.team, provider, model];
        let [key, team, ..] = labels;
        let by_stream = |histograms: &HistogramVec| {
            ["false", "true"].map(|stream| histograms.with_label_values(&[provider, stream]))
        };
        let route = Arc::new(RouteSeries {
            provider: provider.into(),
            model: model.into(),
            requests: ArcSwap::default(),
            tokens: TOKEN_KINDS.map(|kind| self.tokens.with_label_values(&[key, team, provider, model, kind])),
            cost: self.cost.with_label_values(&labels),
            duration: by_stream(&self.duration),
            first_token: by_stream(&self.first_token),
        });
        series.routes.rcu(|known| {
            let mut known = Vec::clone(known);
            if !known.iter().any(|known| found(&known)) {
                known.push(route.clone());
            }
            known
        });
        route
    }
}

impl std::fmt::Debug for RouteSeries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at {}", self.model, self.provider)
    }
}
