//! What the recorded answers in `tests/vectors` cost, by the table beside them.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde_json::{Value, json};

use crate::domain::{NanoUsd, PriceTable, Timestamp, Usage};
use crate::protocol::meter::{AnswerForm, Meter};
use crate::protocol::{Endpoint, estimate};

/// What an estimate takes for the input where the answer does not tell.
const INPUT: u64 = 100;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors")
}

/// Every chunking of an answer gives the same figures; `protocol/meter/tests.rs` proves it.
fn cost(expected: &Path, told: &Value, table: &PriceTable) -> Option<NanoUsd> {
    let beside = |ending: &str| PathBuf::from(expected.to_string_lossy().replace(".expected.json", ending));
    let forms = [(".sse", AnswerForm::Stream), (".array", AnswerForm::Array), (".json", AnswerForm::Plain)];
    let (form, bytes) =
        forms.into_iter().find_map(|(ending, form)| Some((form, std::fs::read(beside(ending)).ok()?))).unwrap();
    let endpoint = Endpoint::ALL.into_iter().find(|endpoint| told["endpoint"] == endpoint.label()).unwrap();
    let mut meter = Meter::new(endpoint, form, false);
    meter.take(Bytes::from(bytes));
    meter.end();
    let metered = meter.booked();
    let mut usage: Usage = estimate::usage(endpoint, &metered, || INPUT);
    usage.tokens = metered.advisors.iter().fold(usage.tokens, |sum, advisor| sum.plus(advisor.tokens));
    let (of, models) =
        (("", Timestamp::from_micros(0)), [metered.model_served.as_deref(), told["model_requested"].as_str()]);
    let price = models.into_iter().flatten().find_map(|model| table.find("", model, Timestamp::from_micros(0)));
    let is_told = metered.tokens.is_some() || !endpoint.is_media();
    let cost = price.filter(|_| is_told).map(|price| table.charge(price, &usage, &metered.advisors, of));
    cost.or(usage.charged)
}

#[test]
fn every_recorded_answer_costs_what_it_should() {
    let table = super::read_file(&folder().join("prices/table.yaml")).unwrap();
    let files = |folder: PathBuf| std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let expected = files(folder()).flat_map(files).filter(|path| path.to_string_lossy().ends_with(".expected.json"));
    let mut count = 0;
    for path in expected {
        let mut told: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let cost = cost(&path, &told, &table).map(|cost| cost.0);
        if std::env::var_os("UPDATE_VECTORS").is_some() {
            told["cost_nano_usd"] = json!(cost);
            std::fs::write(&path, serde_json::to_string_pretty(&told).unwrap() + "\n").unwrap();
        }
        assert_eq!(told["cost_nano_usd"], json!(cost), "{}", path.display());
        count += 1;
    }
    assert!(count > 80, "{count}");
}
