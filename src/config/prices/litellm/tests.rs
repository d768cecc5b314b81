use crate::config::prices::{read_text, write};

use super::*;

/// Written by us in the file's form.
const FILE: &str = r#"{
  "sample_spec": {"litellm_provider": "one of …", "mode": "one of …", "input_cost_per_token": 0.0},
  "acme-large": {"litellm_provider": "acme", "mode": "chat", "max_input_tokens": 1000000,
    "input_cost_per_token": 2.5e-06, "output_cost_per_token": 1e-05, "cache_read_input_token_cost": 2.5e-07,
    "cache_creation_input_token_cost": 3.125e-06, "cache_creation_input_token_cost_above_1hr": 5e-06,
    "input_cost_per_token_above_200k_tokens": 5e-06, "output_cost_per_token_above_200k_tokens": 1.5e-05,
    "cache_read_input_token_cost_above_200k_tokens": 5e-07,
    "input_cost_per_token_batches": 1.25e-06, "output_cost_per_token_batches": 5e-06,
    "input_cost_per_token_priority": 4e-06, "output_cost_per_token_priority": 1.75e-05,
    "search_context_cost_per_query": {"search_context_size_low": 0.01, "search_context_size_medium": 0.01}},
  "acme/acme-small": {"litellm_provider": "acme", "mode": "responses",
    "input_cost_per_token": 2.9999999999999997e-07, "output_cost_per_token": 0.0000012,
    "input_cost_per_audio_token": 4e-05, "output_cost_per_reasoning_token": 3e-06},
  "acme-free": {"litellm_provider": "acme", "mode": "chat", "input_cost_per_token": 0.0, "output_cost_per_token": 0},
  "acme-embed": {"litellm_provider": "acme", "mode": "embedding", "input_cost_per_token": 1.3e-07},
  "acme-draw": {"litellm_provider": "acme", "mode": "image_generation", "input_cost_per_token": 1e-06},
  "acme-half": {"litellm_provider": "acme", "mode": "chat", "input_cost_per_token": 1e-06},
  "acme-fine": {"litellm_provider": "acme", "mode": "chat", "input_cost_per_token": 1.5e-12, "output_cost_per_token": 1},
  "acme-odd": {"litellm_provider": "acme", "mode": "chat", "input_cost_per_token": "1", "output_cost_per_token": 1e-06},
  "other-model": {"litellm_provider": "other", "mode": "chat", "input_cost_per_token": 7e-06, "output_cost_per_token": 7e-06},
  "other/acme-large": {"litellm_provider": "other", "mode": "chat", "input_cost_per_token": 3e-06, "output_cost_per_token": 1.1e-05},
  "cloud/acme-large": {"litellm_provider": "cloud", "mode": "chat", "input_cost_per_token": 2.75e-06, "output_cost_per_token": 1.1e-05}
}"#;

fn table() -> PriceTable {
    let text = "version: v1\nvendors: {acme: {flex: 0.5}}\nmodels:\n  acme:\n    acme-large: {input: 2, output: 10}\n    \
                acme-own: {input: 1, output: 2, changes: [{from: 2026-12-01, input: 1, output: 1}]}\n    \
                acme-free: {input: 0, output: 0}\nproviders:\n  local:\n    \"*\": {input: 0, output: 0}\n";
    read_text("test", text).unwrap()
}

fn row(table: &PriceTable, provider: Option<&str>, name: &str) -> PriceRow {
    let is_meant = |row: &PriceRow| row.provider.as_deref() == provider && *row.price.name == *name;
    table.rows().filter(is_meant).last().unwrap()
}

#[test]
fn prices_are_taken_exactly_and_everything_is_accounted_for() {
    let mut table = table();
    let imported = import(FILE, &Choice::default(), &mut table).unwrap();
    assert_eq!(imported.new, ["acme-embed", "acme-small"]);
    let [(changed, what)] = &imported.changed[..] else { panic!("{:?}", imported.changed) };
    assert_eq!(changed, "acme-large");
    assert!(what.starts_with("input 2 → 2.5, cache_read 2 → 0.25") && what.contains("long-context"), "{what}");
    assert_eq!(imported.same, 1, "the free one");
    let skipped: Vec<_> = imported.skipped.iter().map(|(why, names)| format!("{why}: {}", names.join(" "))).collect();
    assert_eq!(
        skipped,
        [
            "input_cost_per_token is no price in whole pico-dollars: acme-fine acme-odd",
            "mode \"image_generation\" is not paid by the token: acme-draw",
            "no price for output tokens: acme-half",
            "service tier priority is no one factor, and stays as it was: acme-large",
        ]
    );
    let others = [("cloud".to_owned(), 1), ("other".to_owned(), 2)];
    assert_eq!(imported.others, others.into());
    assert_eq!(imported.rounded, ["acme/acme-small: input_cost_per_token 2.9999999999999997e-07 as 0.3 per million"]);

    let large = row(&table, None, "acme-large").price;
    let told = |rates: &Rates| [rates.input, rates.cache_read, rates.cache_write, rates.cache_write_long, rates.output];
    assert_eq!(told(&large.rates).map(|rate| rate.0), [2_500_000, 250_000, 3_125_000, 5_000_000, 10_000_000]);
    assert_eq!(told(&large.tiers[0].rates).map(|rate| rate.0), [5_000_000, 500_000, 6_250_000, 10_000_000, 15_000_000]);
    assert_eq!((large.factors.batch, large.factors.flex), (Factor(500), Factor(500)), "flex was known before");
    assert_eq!(large.web_search.0, 10_000_000_000, "pico-USD for a search");
    let small = row(&table, None, "acme-small").price;
    assert_eq!((small.rates.input.0, small.rates.output.0), (300_000, 1_200_000));
    assert_eq!((small.rates.input_audio.0, small.rates.reasoning.0), (40_000_000, 3_000_000));
}

#[test]
fn of_two_entries_for_one_model_the_one_with_its_provider_counts() {
    let mut table = table();
    let entry = |input| {
        format!(
            r#"{{"litellm_provider":"acme","mode":"chat","input_cost_per_token":{input},"output_cost_per_token":1}}"#
        )
    };
    let file = format!(r#"{{"acme-twice":{},"acme/acme-twice":{}}}"#, entry("1e-06"), entry("2e-06"));
    let imported = import(&file, &Choice::default(), &mut table).unwrap();
    assert_eq!((imported.new.len(), imported.changed.len()), (1, 0));
    assert_eq!(imported.skipped["another entry has the same name"], ["acme-twice"]);
    assert_eq!(row(&table, None, "acme-twice").price.rates.input.0, 2_000_000);
}

#[test]
fn pictures_and_sound_are_taken_where_they_are_paid_by_the_token() {
    let mut table = table();
    let file = r#"{
      "draw": {"litellm_provider": "acme", "mode": "image_generation", "input_cost_per_token": 5e-06,
        "input_cost_per_image_token": 1e-05, "output_cost_per_image_token": 4e-05},
      "hear": {"litellm_provider": "acme", "mode": "audio_transcription", "input_cost_per_token": 2.5e-06,
        "input_cost_per_audio_token": 6e-06, "output_cost_per_token": 1e-05, "input_cost_per_second": 0.0001},
      "speak": {"litellm_provider": "acme", "mode": "audio_speech", "input_cost_per_character": 1.5e-05},
      "paint": {"litellm_provider": "acme", "mode": "image_generation", "input_cost_per_token": 0,
        "output_cost_per_token": 0, "output_cost_per_image": 0.04}
    }"#;
    let imported = import(file, &Choice::default(), &mut table).unwrap();
    assert_eq!(imported.new, ["draw", "hear"]);
    let draw = row(&table, None, "draw").price.rates;
    assert_eq!((draw.input_image.0, draw.output.0, draw.output_image.0), (10_000_000, 40_000_000, 40_000_000));
    assert_eq!(row(&table, None, "hear").price.rates.input_audio.0, 6_000_000);
}

#[test]
fn a_second_import_changes_nothing() {
    let mut table = table();
    import(FILE, &Choice::default(), &mut table).unwrap();
    let once: Vec<_> = table.rows().collect();
    let again = import(FILE, &Choice::default(), &mut table).unwrap();
    assert_eq!((again.new.len(), again.changed.len(), again.same), (0, 0, 4));
    assert_eq!(table.rows().collect::<Vec<_>>(), once);
}

#[test]
fn another_provider_has_its_own_prices() {
    let mut table = table();
    let choice = Choice { providers: vec![("cloud".into(), "cloud-eu".into())], ..Choice::default() };
    let imported = import(FILE, &choice, &mut table).unwrap();
    assert!(imported.new.contains(&"cloud-eu: acme-large".to_owned()), "{:?}", imported.new);
    assert_eq!(row(&table, Some("cloud-eu"), "acme-large").price.rates.input.0, 2_750_000);
    let choice = Choice { vendors: vec!["other".into()], ..Choice::default() };
    let imported = import(FILE, &choice, &mut table).unwrap();
    assert_eq!(imported.new, ["other-model"]);
    assert_eq!(imported.skipped["acme has a model of this name"], ["other/acme-large"]);
}

#[test]
fn a_change_can_begin_some_day() {
    let mut table = table();
    let from = Timestamp::parse("2027-01-01T00:00:00Z").unwrap();
    let models = vec![Pattern::parse("acme-large").unwrap()];
    import(FILE, &Choice { from: Some(from), models, ..Choice::default() }, &mut table).unwrap();
    let input = |time| table.find("x", "acme-large", Timestamp::parse(time).unwrap()).unwrap().rates.input.0;
    assert_eq!((input("2026-12-31T23:59:59Z"), input("2027-01-01T00:00:00Z")), (2_000_000, 2_500_000));
}

#[test]
fn what_is_written_reads_as_the_same_table() {
    let mut all = table();
    let choice = Choice { providers: vec![("cloud".into(), "cloud-eu".into())], ..Choice::default() };
    import(FILE, &choice, &mut all).unwrap();
    let built_in = crate::config::prices::built_in_table().unwrap();
    for table in [all, built_in, PriceTable::new("v1", [])] {
        let text = write(&table);
        let again = read_text("written", &text).unwrap_or_else(|faults| panic!("{faults}\n{text}"));
        assert_eq!(again.rows().collect::<Vec<_>>(), table.rows().collect::<Vec<_>>(), "{text}");
        assert_eq!(again.version(), table.version());
    }
}

#[test]
fn figures_are_read_from_their_text() {
    let read = |text: &str| exact(text).map(|(price, is_exact)| (price.0, is_exact));
    for (text, pico) in [("1e-06", 1_000_000), ("0.0000015", 1_500_000), ("2.5E-7", 250_000), ("0", 0), ("0.0e9", 0)] {
        assert_eq!(read(text), Some((pico, true)), "{text}");
    }
    for (text, pico) in [("4.9999999999999996e-07", 500_000), ("3.0000000000000004e-07", 300_000)] {
        assert_eq!(read(text), Some((pico, false)), "{text}");
    }
    for text in ["-1e-6", "1e-13", "1.5e-12", "2", "1e99999999999", "1e30", "\"1\"", "true", "", "1e-06x", "NaN"] {
        assert_eq!(read(text), None, "{text}");
    }
}
