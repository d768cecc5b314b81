//! `kt usage --reprice`: what the events' usage costs by another table. Writes nothing.

use std::collections::BTreeMap;
use std::path::Path;

use jiff::tz::TimeZone;
use serde::Serialize;

use crate::control::admin::v1::events::list::EventList;
use crate::control::admin::v1::prices::PriceList;
use crate::domain::{NanoUsd, PriceTable, Timestamp, undated};
use crate::journal::Event;

use super::super::client::{Client, with_query};
use super::super::requests::Requests;
use super::super::{Error, events, output, prices};
use super::By;

const PAGE: usize = 1000;

/// Which events, and how they are told apart.
pub(super) struct Asked<'a> {
    pub(super) by: &'a [By],
    pub(super) since: Timestamp,
    pub(super) until: Option<Timestamp>,
    pub(super) requests: Requests,
    pub(super) model: Option<String>,
    pub(super) zone: TimeZone,
    pub(super) json: bool,
}

/// The costs of some requests.
#[derive(Clone, Debug, Default, Serialize)]
struct Costs {
    requests: u64,
    old_nano_usd: u64,
    new_nano_usd: u64,
    /// Requests that used tokens and had no price, then and now.
    old_unpriced: u64,
    new_unpriced: u64,
}

#[derive(Serialize)]
struct Row<'a> {
    #[serde(flatten)]
    names: BTreeMap<&'static str, &'a str>,
    #[serde(flatten)]
    costs: &'a Costs,
}

/// Compares what events say they cost with what they would by the table in `file`, or by the gateway's.
pub(super) async fn run(asked: Asked<'_>, file: Option<&Path>, client: &Client) -> Result<(), Error> {
    let table = match file {
        Some(file) => prices::read(file)?,
        None => {
            let list: PriceList = client.get("/v1/prices").await?;
            PriceTable::new(&list.version, list.rows)
        }
    };
    let mut groups: BTreeMap<Vec<String>, Costs> = BTreeMap::new();
    let mut cursor = None;
    loop {
        let query = [
            ("phase", Some("OUTPUT".into())),
            ("since", Some(asked.since.to_string())),
            ("limit", Some(PAGE.to_string())),
            ("cursor", cursor),
        ];
        let page: EventList =
            client.get(&with_query("/v1/events", query.into_iter().chain(asked.requests.query()))).await?;
        for event in &page.events {
            let event = events::read(event)?;
            if asked.means(&event) {
                groups.entry(asked.group(&event)).or_default().add(&event, &table);
            }
        }
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    asked.print(&groups, &table)
}

impl Costs {
    fn add(&mut self, event: &Event, table: &PriceTable) {
        let Some(usage) = &event.usage else { return };
        let provider = event.provider.as_deref().unwrap_or_default();
        let models = [&event.model_served, &event.model_requested];
        let price = models.into_iter().flatten().find_map(|model| table.find(provider, model, event.started_at));
        // What the provider said it charged is in no table.
        let charged = event.cost_nano_usd.filter(|_| event.price_version.as_deref() == Some("provider"));
        let new = price
            .map(|price| table.charge(price, &usage.into(), &event.advisors, (provider, event.started_at)).0)
            .or(charged);
        let is_unpriced = |cost: Option<u64>| u64::from(cost.is_none() && usage.input.saturating_add(usage.output) > 0);
        self.requests += 1;
        self.old_nano_usd = self.old_nano_usd.saturating_add(event.cost_nano_usd.unwrap_or(0));
        self.new_nano_usd = self.new_nano_usd.saturating_add(new.unwrap_or(0));
        self.old_unpriced += is_unpriced(event.cost_nano_usd);
        self.new_unpriced += is_unpriced(new);
    }

    fn join(&mut self, more: &Self) {
        self.requests += more.requests;
        self.old_nano_usd = self.old_nano_usd.saturating_add(more.old_nano_usd);
        self.new_nano_usd = self.new_nano_usd.saturating_add(more.new_nano_usd);
        self.old_unpriced += more.old_unpriced;
        self.new_unpriced += more.new_unpriced;
    }

    fn difference(&self) -> String {
        let (old, new) = (self.old_nano_usd, self.new_nano_usd);
        let sign = if new >= old { "+" } else { "-" };
        format!("{sign}{}", NanoUsd(new.abs_diff(old)))
    }
}

impl Asked<'_> {
    fn means(&self, event: &Event) -> bool {
        self.until.is_none_or(|until| event.time < until)
            && self.model.as_deref().is_none_or(|model| model_of(event) == model)
    }

    fn group(&self, event: &Event) -> Vec<String> {
        let text = |text: &Option<String>| text.clone().unwrap_or_else(|| output::NOTHING.into());
        let name = |by: &By| match by {
            By::Day => self.day(event.time),
            By::Key => event.key.name.clone(),
            By::Team => text(&event.team),
            By::Organization => event.organization.clone(),
            By::Provider => text(&event.provider),
            By::Model => model_of(event).to_owned(),
        };
        self.by.iter().map(name).collect()
    }

    fn day(&self, time: Timestamp) -> String {
        let time = jiff::Timestamp::from_microsecond(time.as_micros()).unwrap_or(jiff::Timestamp::MAX);
        self.zone.to_datetime(time).date().to_string()
    }

    fn print(&self, groups: &BTreeMap<Vec<String>, Costs>, table: &PriceTable) -> Result<(), Error> {
        let mut total = Costs::default();
        groups.values().for_each(|costs| total.join(costs));
        if self.json {
            let names = |names: &'_ [String]| -> BTreeMap<&'static str, String> {
                self.by.iter().map(|by| by.word()).zip(names.iter().cloned()).collect()
            };
            let named: Vec<_> = groups.iter().map(|(group, costs)| (names(group), costs)).collect();
            let rows: Vec<_> = named
                .iter()
                .map(|(names, costs)| Row { names: names.iter().map(|(by, name)| (*by, &**name)).collect(), costs })
                .collect();
            let version = &**table.version();
            return output::json(&serde_json::json!({ "price_version": version, "rows": rows, "total": total }));
        }
        let figures = ["REQUESTS", "OLD", "NEW", "DIFFERENCE", "OLD UNPRICED", "NEW UNPRICED"];
        let headings = self.by.iter().map(|by| by.word().to_uppercase()).chain(figures.map(str::to_owned)).collect();
        let line = |names: Vec<String>, costs: &Costs| -> Vec<String> {
            let [old, new] = [costs.old_nano_usd, costs.new_nano_usd].map(|cost| NanoUsd(cost).to_string());
            let [was, is] = [costs.old_unpriced, costs.new_unpriced].map(|count| count.to_string());
            names.into_iter().chain([costs.requests.to_string(), old, new, costs.difference(), was, is]).collect()
        };
        let mut rows: Vec<_> = groups.iter().map(|(names, costs)| line(names.clone(), costs)).collect();
        let name = |at| if at == 0 { "total".to_owned() } else { String::new() };
        rows.push(line((0..self.by.len()).map(name).collect(), &total));
        output::columns(headings, &rows)?;
        output::hint(&format!("new: by the table of version {}; nothing was changed", table.version()));
        Ok(())
    }
}

/// The model that answered, without its release date.
fn model_of(event: &Event) -> &str {
    let model = event.model_served.as_deref().or(event.model_requested.as_deref()).unwrap_or(output::NOTHING);
    undated(model).unwrap_or(model)
}
