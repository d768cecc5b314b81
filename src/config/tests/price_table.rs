use super::*;

fn prices() -> PriceTable {
    let report = Report::new("test");
    let table = prices::built_in(&report);
    report.close().unwrap_or_else(|faults| panic!("{faults}"));
    table
}

fn found<'a>(table: &'a PriceTable, model: &str) -> &'a ModelPrice {
    let now = Timestamp::parse("2026-11-23T12:00:00Z").unwrap();
    table.find("anyone", model, now).unwrap_or_else(|| panic!("no {model}"))
}

fn price(model: &str) -> ModelPrice {
    ModelPrice::clone(found(&prices(), model))
}

/// Input, cache read, cache write, long cache write, output, in pico-USD per token.
fn rates(rates: &crate::domain::Rates) -> [u64; 5] {
    [rates.input, rates.cache_read, rates.cache_write, rates.cache_write_long, rates.output].map(|price| price.0)
}

fn read_prices(models: &str) -> PriceTable {
    let report = Report::new("test");
    let table = prices::read(&format!("version: v1\nmodels: {{acme: {models}}}\n"), &report);
    report.close().unwrap_or_else(|faults| panic!("{faults}"));
    table
}

#[test]
fn the_built_in_prices_are_those_of_the_sources() {
    assert_eq!((prices().iter().count(), &**prices().version()), (76, "2026-11-23.2"));
    let ordinary = |model| rates(&price(model).rates);
    assert_eq!(ordinary("gpt-6.1-sol"), [2_000_000, 100_000, 2_500_000, 5_000_000, 10_000_000]);
    assert_eq!(ordinary("gpt-4o-mini"), [150_000, 75_000, 150_000, 150_000, 600_000]);
    assert_eq!(ordinary("gpt-5-nano"), [50_000, 5_000, 50_000, 50_000, 400_000]);
    assert_eq!(ordinary("claude-sonnet-4-5"), [3_000_000, 300_000, 3_750_000, 6_000_000, 15_000_000]);
    assert_eq!(ordinary("claude-haiku-5-5"), [100_000, 10_000, 125_000, 200_000, 500_000]);
    assert_eq!(ordinary("gemini-2.5-flash-lite"), [100_000, 10_000, 100_000, 100_000, 400_000]);
    assert_eq!(ordinary("mistral-large-4-0"), [1_360_000, 140_000, 1_360_000, 1_360_000, 4_180_000]);
    assert_eq!(ordinary("deepseek-v4-pro"), [1_320_000, 44_000, 0, 0, 3_960_000]);
    assert_eq!(ordinary("kimi-k3"), [3_000_000, 300_000, 3_000_000, 6_000_000, 15_000_000]);
    assert_eq!(ordinary("text-embedding-3-small"), [20_000, 20_000, 20_000, 20_000, 0]);
    let vendors: BTreeSet<_> = prices().iter().map(|price| price.vendor.to_string()).collect();
    let expected = ["anthropic", "deepseek", "gemini", "mistral", "moonshot", "openai", "xai", "zai"];
    assert_eq!(vendors, expected.map(str::to_owned).into());
    for kind in Kind::ALL {
        assert!(kind.vendor().is_none_or(|vendor| expected.contains(&vendor)), "{kind:?}");
    }
}

#[test]
fn tiers_replace_prices_and_scale_cache_writes() {
    let sol = price("gpt-6.1-sol");
    assert_eq!(sol.tiers.iter().map(|tier| tier.input_tokens_above).collect::<Vec<_>>(), [272_000]);
    assert_eq!(rates(&sol.tiers[0].rates), [4_000_000, 200_000, 5_000_000, 10_000_000, 15_000_000]);
    assert_eq!(rates(&price("gemini-2.5-pro").tiers[0].rates), [2_500_000, 250_000, 2_500_000, 2_500_000, 15_000_000]);
    assert_eq!(price("grok-4.7").tiers[0].input_tokens_above, 199_000);
    assert!(price("gpt-4o").tiers.is_empty());
}

#[test]
fn what_an_entry_leaves_out_follows_the_documented_rules() {
    let table = read_prices(
        "{m: {input: 1, cache_write: 3, output: 5, above: {input_tokens: 10, input: 2, cache_write_long: 0}}, n: {input: 0, cache_read: 2, cache_write: 1, output: 4, above: {input_tokens: 10, output: 8}}}",
    );
    let all = |name: &str| {
        let price = found(&table, name);
        [rates(&price.rates), rates(&price.tiers[0].rates)].map(|rates| rates.map(|rate| rate / 1_000_000))
    };
    assert_eq!(all("m"), [[1, 1, 3, 3, 5], [2, 2, 6, 0, 5]]);
    assert_eq!(all("n"), [[0, 2, 1, 1, 4], [0, 2, 1, 1, 8]]);
}

#[test]
fn costs_agree_with_what_claude_code_prints() {
    // 25 plain, 200 written for 5 minutes, 100 for an hour, 1500 read, 57 out: $0.00182.
    let tokens = Tokens {
        input: 1825,
        cache_read: 1500,
        cache_write: 300,
        cache_write_long: 100,
        output: 57,
        ..Tokens::default()
    };
    assert_eq!(price("claude-sonnet-5").cost(&tokens), NanoUsd(1_820_000));
}

#[test]
fn faults_in_prices_are_named_like_any_other() {
    let bench = Bench::new().file(
        "p.yaml",
        "version: v 1
models:
  acme:
    a: {input: 1e-3, output: -1}
    b: {input: 0.0000001, output: 1, above: {input: 2}}
    \"c d\": {input: 1, output: 1}
    e: 5
  other:
    b: {input: 1, output: 1}
    a: {input: 1, output: 1}
",
    );
    let found = bench.faults("version: 1\nprices: {file: p.yaml}\n");
    let begins = |fault: &String| fault.split("; ").next().unwrap().split(", ").next().unwrap().to_owned();
    assert_eq!(
        found.iter().map(begins).collect::<Vec<_>>(),
        [
            "p.yaml:1: version: a version has 1 to 64 letters",
            "p.yaml:4: models.acme.a.input: expected US dollars per million tokens like 0.15",
            "p.yaml:4: models.acme.a.output: expected US dollars per million tokens like 0.15",
            "p.yaml:5: models.acme.b.input: expected US dollars per million tokens like 0.15",
            "p.yaml:5: models.acme.b.above.input_tokens: missing",
            "p.yaml:6: models.acme.c d: a name has 1 to 128 characters and no spaces",
            "p.yaml:7: models.acme.e: expected settings",
        ]
    );
    let bench = Bench::new()
        .file("p.yaml", "version: v1\nmodels:\n  a: {m: {input: 1, output: 1}}\n  b: {m: {input: 1, output: 1}}\n");
    let found = bench.faults("version: 1\nprices: {file: p.yaml}\n");
    assert_eq!(found, ["p.yaml:4: models.b.m: a has a model of this name, too; one of them must go"]);
    let found = faults("version: 1\nprices: {file: absent.yaml}\n");
    assert!(found[0].contains("kt.yaml:2: prices.file: failed to read"), "{found:?}");
}
