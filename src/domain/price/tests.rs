use proptest::prelude::*;

use crate::domain::Timestamp;

use super::*;

fn usd(text: &str) -> PicoUsd {
    PicoUsd::parse_usd_per_million(text).unwrap()
}

fn sonnet() -> ModelPrice {
    let rates = Rates {
        cache_read: usd("0.2"),
        cache_write: usd("2.5"),
        cache_write_long: usd("4"),
        ..Rates::flat(usd("2"), usd("10"))
    };
    let dear = Rates { input: usd("4"), output: usd("15"), reasoning: usd("15"), ..rates };
    let tiers = vec![Tier { input_tokens_above: 200_000, rates: dear }];
    let factors = Factors { batch: Factor(500), fast: Factor(2000), ..Factors::default() };
    let web_search = PicoUsd(10_000_000_000);
    ModelPrice { name: "claude-sonnet-5".into(), vendor: "anthropic".into(), rates, tiers, factors, web_search }
}

/// A time in milliseconds, as fine as it is written.
fn at(millis: i64) -> Timestamp {
    Timestamp::from_micros(millis * 1000)
}

fn row(provider: Option<&str>, from: Option<i64>, price: ModelPrice) -> PriceRow {
    PriceRow { provider: provider.map(Into::into), from: from.map(at), price: Arc::new(price) }
}

#[test]
fn every_kind_is_charged_once() {
    // Claude Code prints $0.00182 for this usage of claude-sonnet-5 (25 in, 200 written for 5 m, 100 for
    // 1 h, 1500 read, 57 out).
    let tokens = Tokens {
        input: 1825,
        cache_read: 1500,
        cache_write: 300,
        cache_write_long: 100,
        output: 57,
        reasoning: 30,
        ..Tokens::default()
    };
    assert_eq!(sonnet().cost(&tokens), NanoUsd(1_820_000));
}

#[test]
fn a_long_input_moves_the_whole_request_to_the_next_tier() {
    let at = |input| sonnet().cost(&Tokens { input, output: 10, ..Tokens::default() });
    assert_eq!(at(200_000), NanoUsd(400_100_000));
    assert_eq!(at(200_001), NanoUsd(800_004_000 + 150_000));
}

#[test]
fn a_service_tier_changes_every_token_and_no_search() {
    let tokens = Tokens { input: 1000, output: 100, ..Tokens::default() };
    let cost = |tier, web_searches| sonnet().charge(&Usage { tokens, tier, web_searches, ..Usage::default() }).0;
    assert_eq!(cost(ServiceTier::Standard, 0), 3_000_000);
    assert_eq!(cost(ServiceTier::Fast, 0), 6_000_000);
    assert_eq!(cost(ServiceTier::Batch, 2), 1_500_000 + 20_000_000);
    assert_eq!(cost(ServiceTier::Flex, 0), 3_000_000, "no factor is known");
}

#[test]
fn sound_and_pictures_have_their_own_prices() {
    let rates = Rates { input_audio: usd("40"), output_audio: usd("80"), ..Rates::flat(usd("2"), usd("8")) };
    let price = ModelPrice { rates, tiers: Vec::new(), ..sonnet() };
    let tokens = Tokens { input: 100, input_audio: 60, output: 50, output_audio: 40, ..Tokens::default() };
    assert_eq!(price.cost(&tokens), NanoUsd(40 * 2_000 + 60 * 40_000 + 10 * 8_000 + 40 * 80_000));
    let cached = Tokens { cache_read: 90, ..tokens };
    assert_eq!(price.cost(&cached), NanoUsd(90 * 2_000 + 10 * 40_000 + 10 * 8_000 + 40 * 80_000));
}

#[test]
fn a_bound_is_what_the_dearest_kinds_and_tiers_would_cost() {
    let bound = |input, output, tier| sonnet().dearest(input, output, tier).0;
    assert_eq!(bound(1000, 100, ServiceTier::Standard), 1000 * 4_000 + 100 * 10_000, "all written for an hour");
    assert_eq!(bound(200_001, 100, ServiceTier::Standard), 200_001 * 4_000 + 100 * 15_000);
    assert_eq!(bound(1000, 100, ServiceTier::Fast), 2 * (1000 * 4_000 + 100 * 10_000));
    assert_eq!(bound(1000, 100, ServiceTier::Batch), 1000 * 4_000 + 100 * 10_000, "it may be served as usual");
    let rates = Rates { input_audio: usd("40"), output_image: usd("80"), reasoning: usd("9"), ..sonnet().rates };
    let sound = ModelPrice { rates, tiers: Vec::new(), ..sonnet() };
    assert_eq!(sound.dearest(10, 10, ServiceTier::Standard).0, 10 * 40_000 + 10 * 80_000);
}

proptest! {
    #[test]
    fn nothing_costs_more_than_its_bound(
        (input, output) in (0u64..500_000, 0u64..100_000),
        parts in prop::array::uniform8(0u64..500_000),
        tier in prop::sample::select(ServiceTier::ALL.to_vec()),
    ) {
        let rates = Rates { input_audio: usd("40"), input_image: usd("1"), output_audio: usd("80"), ..sonnet().rates };
        let price = ModelPrice { rates, ..sonnet() };
        let cache_read = parts[0] % (input + 1);
        let cache_write = parts[1] % (input - cache_read + 1);
        let tokens = Tokens {
            input,
            cache_read,
            cache_write,
            cache_write_long: parts[2] % (cache_write + 1),
            output,
            reasoning: parts[3] % (output + 1),
            input_audio: parts[4],
            input_image: parts[5],
            output_audio: parts[6],
            output_image: parts[7],
        };
        let cost = price.charge(&Usage { tokens, tier, ..Usage::default() });
        prop_assert!(cost <= price.dearest(input, output, tier));
    }
}

#[test]
fn parts_larger_than_the_whole_do_not_wrap() {
    let tokens = Tokens { input: 10, cache_read: 50, ..Tokens::default() };
    assert_eq!(sonnet().cost(&tokens), NanoUsd(10_000));
}

#[test]
fn release_dates_are_ignored_when_looking_up() {
    let table = PriceTable::new("v1", [row(None, None, sonnet())]);
    let now = Timestamp::from_micros(0);
    for name in ["claude-sonnet-5", "claude-sonnet-5-20260101", "claude-sonnet-5-2026-01-01"] {
        assert!(table.find("anthropic", name, now).is_some(), "{name}");
    }
    for name in ["claude-sonnet", "claude-sonnet-5-2026", "é", "claude-sonnet-5-latest"] {
        assert!(table.find("anthropic", name, now).is_none(), "{name}");
    }
}

#[test]
fn the_price_of_the_time_and_of_the_provider_holds() {
    let price = |input| ModelPrice { rates: Rates::flat(PicoUsd(input), PicoUsd(input)), ..sonnet() };
    let any = ModelPrice { name: PriceTable::ANY.into(), tiers: Vec::new(), web_search: PicoUsd(0), ..price(0) };
    let table = PriceTable::new(
        "v1",
        [
            row(None, Some(200), price(3)),
            row(None, None, price(1)),
            row(None, Some(100), price(2)),
            row(Some("eu"), Some(100), price(7)),
            row(Some("local"), None, any),
        ],
    );
    let found = |provider, time| table.find(provider, "claude-sonnet-5", at(time)).map(|price| price.rates.input.0);
    assert_eq!([0, 99, 100, 199, 200].map(|at| found("x", at)), [1, 1, 2, 2, 3].map(Some));
    assert_eq!([99, 100].map(|at| found("eu", at)), [1, 7].map(Some), "before its own price there is the general one");
    assert_eq!(found("local", 0), Some(0));
    assert!(table.find("local", "llama", Timestamp::from_micros(0)).is_some_and(|price| price.is_free()));
    assert!(table.find("x", "llama", Timestamp::from_micros(0)).is_none());
    let again = PriceTable::new("v1", table.rows());
    assert_eq!(again.rows().collect::<Vec<_>>(), table.rows().collect::<Vec<_>>());
    let json = serde_json::to_string(&table.rows().collect::<Vec<_>>()).unwrap();
    assert_eq!(serde_json::from_str::<Vec<PriceRow>>(&json).unwrap(), table.rows().collect::<Vec<_>>());
}

/// As many tokens as no request has.
fn any_tokens() -> impl Strategy<Value = Tokens> {
    tokens(prop_oneof![0..5_000_000u64, any::<u64>()])
}

fn tokens(count: impl Strategy<Value = u64>) -> impl Strategy<Value = Tokens> {
    proptest::collection::vec(count, 10).prop_map(|counts| Tokens {
        input: counts[0],
        cache_read: counts[1],
        cache_write: counts[2],
        cache_write_long: counts[3],
        output: counts[4],
        reasoning: counts[5],
        input_audio: counts[6],
        input_image: counts[7],
        output_audio: counts[8],
        output_image: counts[9],
    })
}

proptest! {
    #[test]
    fn no_count_and_no_price_overflows(tokens in any_tokens(), rate in any::<u64>(), web_searches in any::<u64>()) {
        let rates = Rates::flat(PicoUsd(rate), PicoUsd(rate));
        let web_search = PicoUsd(rate);
        let price = ModelPrice { rates, tiers: Vec::new(), web_search, ..sonnet() };
        for tier in ServiceTier::ALL {
            let usage = Usage { tokens, tier, web_searches, ..Usage::default() };
            let without = Usage { web_searches: 0, ..usage };
            prop_assert!(price.charge(&usage) >= price.charge(&without));
        }
    }

    /// With one price for all there is nothing to tell apart: what the kinds cost is what the whole costs.
    #[test]
    fn the_kinds_cost_what_the_whole_costs(
        input in 0..1_000_000u64, output in 0..1_000_000u64, rate in 0..1_000_000_000u64,
        shares in proptest::collection::vec(0..1_000u64, 6),
    ) {
        let share = |of: u64, at: usize| of * shares[at] / 4_000;
        let tokens = Tokens {
            input,
            cache_read: share(input, 0),
            cache_write: share(input, 1),
            cache_write_long: share(share(input, 1), 2),
            input_audio: share(input, 3),
            output,
            reasoning: share(output, 4),
            output_audio: share(output, 5),
            ..Tokens::default()
        };
        let price = ModelPrice { rates: Rates::flat(PicoUsd(rate), PicoUsd(rate)), tiers: Vec::new(), ..sonnet() };
        let whole = u128::from(input + output) * u128::from(rate);
        prop_assert_eq!(price.cost(&tokens), NanoUsd(u64::try_from((whole + 500) / 1000).unwrap()));
    }

    /// Rounding happens once, at the end: a request is at most half a nano-dollar off.
    #[test]
    fn a_cost_is_rounded_once(tokens in tokens(0..5_000_000u64), rate in 0..1_000_000u64) {
        let price = ModelPrice { rates: Rates::flat(PicoUsd(rate), PicoUsd(rate)), tiers: Vec::new(), ..sonnet() };
        let exact = price.rates.pico(&tokens);
        let cost = price.cost(&tokens);
        prop_assert!((u128::from(cost.0) * 1000).abs_diff(exact) <= 500);
    }
}
