//! Every target for a moment: the corpus, and mutations of it that are the same in each run unless `FUZZ_SEED` says
//! otherwise.

use std::fs;
use std::panic::catch_unwind;
use std::path::Path;
use std::sync::Mutex;
use std::thread;

use super::TARGETS;

/// For each target; `FUZZ_RUNS` says otherwise.
const RUNS: usize = 4000;
const BYTES_MAX: usize = 8 * 1024;
/// What mutations are made with, besides bytes: what means something somewhere.
const WORDS: [&str; 32] = [
    "\r\n",
    "\n\n",
    "\r\n\r\n",
    "\0",
    "\u{feff}",
    "\"",
    "\\",
    "\\u0022",
    "\\ud800",
    "\\u006d",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "null",
    "true",
    "-1",
    "1e400",
    "18446744073709551616",
    "\"model\":\"b\"",
    "\"stream\":true",
    "\"usage\":",
    "data: ",
    "data: [DONE]\n\n",
    "event: message_stop\n",
    ": ",
    "Content-Length: 5",
    "Transfer-Encoding: chunked",
    "Host: b",
    "HTTP/1.1",
];

pub(super) struct Corpus {
    entries: Vec<Vec<u8>>,
    state: u64,
}

impl Corpus {
    pub(super) fn of(target: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
        let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        let seed: u64 = std::env::var("FUZZ_SEED").map_or(0, |seed| seed.parse().unwrap());
        // Odd, because this kind of generator stands still at 0.
        let state = seed.wrapping_mul(0xd134_2543_de82_ef95).wrapping_add(0x9e37_79b9_7f4a_7c15) | 1;
        Self { entries: files.iter().map(|file| fs::read(file).unwrap()).collect(), state }
    }

    fn below(&mut self, bound: usize) -> usize {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        (self.state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound.max(1)
    }

    /// One of the entries, changed in up to four places.
    pub(super) fn mutation(&mut self) -> Vec<u8> {
        let entry = self.below(self.entries.len());
        let mut bytes = self.entries[entry].clone();
        for _ in 0..=self.below(4) {
            let (from, to) = (self.below(bytes.len() + 1), self.below(bytes.len() + 1));
            let (from, to) = (from.min(to), from.max(to));
            match self.below(6) {
                0 if from < bytes.len() => bytes[from] = self.below(256) as u8,
                1 => drop(bytes.splice(from..from, [self.below(256) as u8])),
                2 => drop(bytes.drain(from..to.min(from + 16))),
                3 => {
                    let word = WORDS[self.below(WORDS.len())];
                    bytes.splice(from..from, word.bytes());
                }
                4 => {
                    let again = bytes[from..to].to_vec();
                    bytes.splice(from..from, again);
                }
                _ => {
                    let other = self.below(self.entries.len());
                    let other = self.entries[other].clone();
                    let at = self.below(other.len());
                    bytes.truncate(from);
                    bytes.extend_from_slice(&other[at..]);
                }
            }
            bytes.truncate(BYTES_MAX);
        }
        bytes
    }
}

#[test]
fn every_target_holds_for_a_moment() {
    let runs = std::env::var("FUZZ_RUNS").map_or(RUNS, |runs| runs.parse().unwrap());
    let failures = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for (name, target) in TARGETS {
            let failures = &failures;
            scope.spawn(move || {
                let mut corpus = Corpus::of(name);
                let corpus_first = corpus.entries.clone().into_iter();
                for bytes in corpus_first.chain(std::iter::repeat_with(|| corpus.mutation()).take(runs)) {
                    if catch_unwind(|| target(&bytes)).is_err() {
                        failures.lock().unwrap().push(format!("{name} does not hold for {}", bytes.escape_ascii()));
                        return;
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "\n{}\n", failures.join("\n"));
}
