//! However a request ends, nothing that it took stays taken, and its record has one beginning and one end.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use bytes::Bytes;

use crate::catalog::{Joined, KeyRecord, KeyState, Queue, SecretState, Turn, standings};
use crate::domain::Limits;
use crate::gateway::journey::{Facts, now};
use crate::gateway::relay::{Answer, Commitment};
use crate::journal::{self, KeySeries, Metrics, Records};
use crate::policy::Active;
use crate::protocol::Dialect;
use crate::providers::Capacity;

use super::*;

/// A key with one slot, one request's budget, a provider with one slot, and a journal with room for one request.
struct Bench {
    credential: Credential,
    payer: Arc<Organization>,
    provider: Arc<Queue>,
    journal: Journal,
    records: Records,
}

impl Bench {
    fn new() -> Self {
        let state = Arc::new(KeyState::new(Arc::new(KeySeries::detached("jane", "none"))));
        let limits = r#"{"tpm":5000,"concurrency":1,"budgets":[{"tokens":1500,"per":"total"}]}"#;
        let limits: Limits = serde_json::from_str(limits).unwrap();
        state.quota().define(&limits, Moment::now());
        let key = Arc::new(KeyRecord { id: "ak_1".into(), name: "jane".into(), team: None, state });
        let (journal, records) = Journal::new(2, Arc::new(Metrics::new("0", 9).unwrap()));
        let provider = Arc::new(Queue::default());
        provider.define(Capacity { concurrency: 1, ..Capacity::UNLIMITED });
        let credential = Credential { key, secret: Arc::new(SecretState::default()) };
        Self { credential, payer: Arc::default(), provider, journal, records }
    }

    fn entry(&self) -> Entry {
        let facts = Facts {
            request_id: "r-1".into(),
            started: Instant::now(),
            started_at: now(),
            client: "other",
            address: None,
            dialect: Dialect::OpenAi,
            endpoint: "chat/completions",
            credential: self.credential.clone(),
            organization: "acme".into(),
            kind: journal::Credential::AccessKey,
            fingerprint: None,
            provider: None,
            model: Some("m".into()),
            price: None,
            stream: true,
            request_bytes: 10,
            policies: Vec::new(),
            waited: Duration::ZERO,
        };
        Entry::new(facts, self.journal.reserve().unwrap())
    }

    /// Takes everything there is: another request would be refused.
    fn room(&self) -> (Room, Turn) {
        let bound = Spending { money: NanoUsd(0), tokens: 1400 };
        let demand = Demand { model: Some("m"), input_tokens: 1000, output_tokens: 400, bound };
        let scopes = Scopes::of(&self.credential, &self.payer);
        let hold = Hold::take(scopes, &demand, Moment::now()).unwrap();
        assert!(Hold::take(scopes, &demand, Moment::now()).is_err());
        let room =
            Room { slot: self.journal.reserve().unwrap(), taken: Some(Taken { hold, payer: self.payer.clone() }) };
        let Ok(Joined::Turn(turn)) = self.provider.join(&self.credential.key.id, 1) else { panic!("no turn is free") };
        (room, turn)
    }

    fn admission(&self) -> (Admission, Turn) {
        let entry = self.entry();
        let (room, turn) = self.room();
        (room.admit(entry, Arc::default()), turn)
    }

    fn commitment(&self) -> (Commitment, Turn) {
        let (admission, turn) = self.admission();
        let answer = Answer::awaited(Endpoint::ChatCompletions, Bytes::new(), false, Active::default());
        (Commitment::new(admission, answer, None), turn)
    }

    /// Nothing is held after `end`, which writes so many records.
    fn expect(&self, what: &str, records: usize, end: impl FnOnce(&Self)) {
        let broken = catch_unwind(AssertUnwindSafe(|| end(self))).is_err();
        assert_eq!(broken, what.contains("panic"), "{what}");
        for standing in standings(Scopes::of(&self.credential, &self.payer), Moment::now()) {
            // What is estimated of an answer that never came is a token or two.
            let is_free = standing.reserved == 0 && standing.remaining + 20 >= standing.room;
            assert!(is_free && (standing.remaining > 0), "{what}: {standing:?}");
        }
        assert_eq!(self.provider.utilization(), 0.0, "{what}");
        let mut written = Vec::new();
        self.records.take(&mut written, 9);
        assert_eq!(written.len(), records, "{what}");
        self.records.done(written.len());
        let places = [self.journal.reserve(), self.journal.reserve()];
        assert!(places.iter().all(Result::is_ok), "{what}: a place in the journal stays held");
    }
}

#[test]
fn nothing_stays_taken_whatever_ends_a_request() {
    let bench = Bench::new();
    bench.expect("dropped before it is admitted", 1, |bench| drop((bench.entry(), bench.room())));
    bench.expect("a panic before it is admitted", 1, |bench| {
        let _held = (bench.entry(), bench.room());
        panic!("while it is judged");
    });
    bench.expect("dropped before it is sent", 2, |bench| drop(bench.admission()));
    bench.expect("a panic before it is sent", 2, |bench| {
        let _held = bench.admission();
        panic!("while it is routed");
    });
    bench.expect("dropped while it runs", 2, |bench| drop(bench.commitment()));
    bench.expect("a panic while it runs", 2, |bench| {
        let _held = bench.commitment();
        panic!("in the middle of the answer");
    });
    for ended in [Ended::Complete, Ended::ClientClosed, Ended::UpstreamFailed, Ended::Revoked, Ended::Budget] {
        bench.expect(ended.label(), 2, |bench| {
            let (commitment, _turn) = bench.commitment();
            commitment.settle(ended);
        });
    }
}

#[tokio::test]
async fn nothing_stays_taken_when_its_task_panics_or_is_aborted() {
    let bench = Arc::new(Bench::new());
    for aborts in [false, true] {
        let (commitment, turn) = bench.commitment();
        let task = tokio::spawn(async move {
            let _held = (commitment, turn);
            tokio::task::yield_now().await;
            assert!(aborts, "in the middle of the answer");
            std::future::pending::<()>().await;
        });
        tokio::task::yield_now().await;
        if aborts {
            task.abort();
        }
        assert!(task.await.is_err());
        bench.expect("its task is gone", 2, |_| ());
    }
}
