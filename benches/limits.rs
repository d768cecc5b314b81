//! What limits cost a request: `cargo bench --bench limits`. What each measures, its budget and its figure stand in
//! `benches/README.md`.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot be set up has nothing to measure")]

use std::sync::Arc;

use divan::{Bencher, black_box};
use keeptrusts::catalog::{
    Demand, Hold, KeyRecord, KeyState, Moment, Organization, Scopes, Team, TeamState, Used, check,
};
use keeptrusts::domain::{Limits, NanoUsd, Permissions, Spending};
use keeptrusts::journal::KeySeries;

fn main() {
    divan::main();
}

/// A key, its team and its organization, each with these limits.
struct Bench {
    key: KeyRecord,
    organization: Organization,
}

const NOTHING: &str = "{}";
const TYPICAL: &str = r#"{"rpm":1000000000,"budgets":[{"usd":"1000000","per":"month"}]}"#;
const EVERYTHING: &str = r#"{"rpm":1000000000,"tpm":1000000000000,"concurrency":1000000,
    "budgets":[{"usd":"1000000","per":"month"}]}"#;
const EXHAUSTED: &str = r#"{"rpm":1,"budgets":[{"usd":"1000000","per":"month"}]}"#;

impl Bench {
    fn new([of_key, of_team, of_organization]: [&str; 3]) -> Self {
        let limits = |text: &str| serde_json::from_str::<Limits>(text).unwrap();
        let now = Moment::now();
        let state = Arc::new(KeyState::new(Arc::new(KeySeries::detached("jane", "none"))));
        state.quota().define(&limits(of_key), now);
        let team = Team { id: "team_1".into(), name: "frontend".into(), state: TeamState::new(Permissions::default()) };
        team.state.quota().define(&limits(of_team), now);
        let organization = Organization { name: "acme".into(), ..Organization::default() };
        organization.quota.define(&limits(of_organization), now);
        Self {
            key: KeyRecord { id: "ak_1".into(), name: "jane".into(), team: Some(Arc::new(team)), state },
            organization,
        }
    }

    fn scopes(&self) -> Scopes<'_> {
        Scopes { key: &self.key, organization: &self.organization }
    }
}

fn demand() -> Demand<'static> {
    let bound = Spending { money: NanoUsd(1000), tokens: 1000 };
    Demand { model: Some("gpt-4o-mini"), input_tokens: 500, output_tokens: 500, bound }
}

/// Everything a request does for its limits: it looks in, takes, and settles at its end, and reads the clocks for each.
fn request(bencher: Bencher, limits: [&str; 3]) {
    let bench = Bench::new(limits);
    let used = Used { input_tokens: 400, output_tokens: 90, spending: Spending { money: NanoUsd(100), tokens: 490 } };
    bencher.bench(|| {
        let scopes = black_box(&bench).scopes();
        assert!(check(scopes, &Demand::default(), Moment::now()).is_none());
        let hold = Hold::take(scopes, &demand(), Moment::now()).unwrap();
        hold.settle(scopes, Some("gpt-4o-mini"), used, Moment::now())
    });
}

#[divan::bench]
fn a_request_without_limits(bencher: Bencher) {
    request(bencher, [NOTHING; 3]);
}

#[divan::bench]
fn a_request_with_a_rate_and_a_budget_of_its_key(bencher: Bencher) {
    request(bencher, [TYPICAL, NOTHING, NOTHING]);
}

#[divan::bench]
fn a_request_with_everything_at_key_team_and_organization(bencher: Bencher) {
    request(bencher, [EVERYTHING; 3]);
}

#[divan::bench(threads = [2])]
fn a_request_with_everything_beside_another(bencher: Bencher) {
    request(bencher, [EVERYTHING; 3]);
}

/// The check alone, with the clocks: what stands between a request and its provider.
fn check_alone(bencher: Bencher, limits: [&str; 3]) {
    let bench = Bench::new(limits);
    bencher.bench(|| {
        // Taken and given back at once, which is more than the check.
        drop(Hold::take(black_box(&bench).scopes(), &demand(), Moment::now()));
    });
}

#[divan::bench]
fn taken_of_a_rate_and_a_budget(bencher: Bencher) {
    check_alone(bencher, [TYPICAL, NOTHING, NOTHING]);
}

#[divan::bench]
fn taken_of_everything_at_key_team_and_organization(bencher: Bencher) {
    check_alone(bencher, [EVERYTHING; 3]);
}

#[divan::bench]
fn looked_in_where_everything_is_limited(bencher: Bencher) {
    let bench = Bench::new([EVERYTHING; 3]);
    bencher.bench(|| check(black_box(&bench).scopes(), &Demand::default(), Moment::now()));
}

#[divan::bench]
fn refused(bencher: Bencher) {
    let bench = Bench::new([EXHAUSTED, EVERYTHING, EVERYTHING]);
    drop(Hold::take(bench.scopes(), &demand(), Moment::now()).map(std::mem::forget));
    bencher.bench(|| Hold::take(black_box(&bench).scopes(), &demand(), Moment::now()).unwrap_err());
}
