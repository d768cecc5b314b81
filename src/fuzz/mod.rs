//! What must hold whatever bytes come: one function a target, for libFuzzer (`fuzz/`, `scripts/fuzz`) and, over the
//! corpus with some mutations of it, for every `cargo test`.
//!
//! A target fails by panicking. It does not repeat what unit tests say of particular inputs; it holds the code against
//! another reading of the same bytes, or against itself with the bytes cut into other pieces.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a target fails by panicking")]

mod pieces; // bytes as a network delivers them
mod credentials; // headers → whose request it is; the text of keys
mod framing; // the head of a request, and chunks
mod ask; // the head of a body, and the edits it gets
mod answer; // compressed bodies, server-sent events, and the metering of every dialect's answers
mod policy; // policies: texts in pieces, and answers as they pass
mod settings; // the configuration
mod admin; // the bodies of the admin API

#[cfg(test)]
mod smoke; // every target for a moment
#[cfg(test)]
mod differential; // other languages' parsers

type Target = fn(&[u8]);

/// Every target; `fuzz/fuzz_targets` and `fuzz/corpus` have one of each name.
pub const TARGETS: [(&str, Target); 14] = [
    ("key_text", credentials::key_text),
    ("credentials", credentials::headers),
    ("head", framing::head),
    ("chunks", framing::chunks),
    ("ask", ask::ask),
    ("torn_json", ask::torn_json),
    ("coding", answer::coding),
    ("events", answer::events),
    ("meter", answer::meter),
    ("matcher", policy::matcher),
    ("guard", policy::guard),
    ("json_splice", policy::json_splice),
    ("configuration", settings::configuration),
    ("admin", admin::admin),
];

/// Runs the target of this name.
pub fn run(target: &str, bytes: &[u8]) {
    match TARGETS.iter().find(|(name, _)| *name == target) {
        Some((_, target)) => target(bytes),
        None => panic!("there is no target {target}"),
    }
}
