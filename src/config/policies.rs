//! What may be said, as it is written: compiled and tried while it is read, so that what is wrong stands beside all
//! other faults.

use std::sync::Arc;

use crate::domain::{Pattern, Permissions};
use crate::policy::{Action, Active, Fault, PatternSpec, Phase, Policy, Scope, Spec, detectors, try_text};

use super::findings::Placed;
use super::quantity::choice;
use super::reader::{Section, nearest, shown};

const POLICIES_MAX: usize = 100;
const NAME_CHARS_MAX: usize = 64;
/// The longest text of a replacement, in bytes.
const REPLACEMENT_BYTES_MAX: usize = 256;

/// What a test expects of a text.
struct Case {
    text: Placed<String>,
    expect: Option<Placed<&'static str>>,
    becomes: Option<Placed<String>>,
}

/// The policies of a file, in their order.
pub(super) fn policies(file: &Section<'_>) -> Arc<[Arc<Policy>]> {
    let mut names: Vec<String> = Vec::new();
    let read = file.items("policies", |section| {
        let (policy, name) = policy(section);
        if let Some(Placed { value: name, place }) = name {
            if names.contains(&name) {
                section.report().fault(&place, "another policy has this name already");
            }
            names.push(name);
        }
        policy
    });
    if read.len() > POLICIES_MAX {
        file.report().fault(file.place(), format!("at most {POLICIES_MAX} policies"));
    }
    read.into_iter().flatten().collect()
}

fn policy(section: &Section<'_>) -> (Option<Arc<Policy>>, Option<Placed<String>>) {
    let name = section.required("name", "the policy's name, as events, metrics and callers see it", name);
    let compact = section.optional("type", choice(&[("redaction", ())]));
    let phase = section.optional("phase", choice(&Phase::ALL.map(|phase| (phase.label(), phase))));
    let action = section.optional("action", choice(&Action::ALL.map(|action| (action.label(), action))));
    let reversible = section.optional("reversible", choice(&[("true", true), ("false", false)]));
    let replacement = section.optional("replacement", replacement).map(|text| text.value);
    let detect: Vec<_> = section.texts("detect", detector).unwrap_or_default();
    let mut patterns = section.items("patterns", pattern);
    patterns.extend(section.section("config", |config| config.items("patterns", pattern)));
    let texts = |name| section.texts(name, |text| Ok(text.to_owned())).unwrap_or_default();
    let values = |texts: Vec<Placed<String>>| texts.into_iter().map(|text| text.value).collect::<Vec<_>>();
    let (keywords, allow) = (values(texts("keywords")), values(texts("allow")));
    let scope = section.section("scope", scope);
    let cases = section.items("tests", case);
    let action = action.map_or(Action::Redact, |action| action.value);
    if let Some(reversible) = reversible.as_ref().filter(|reversible| reversible.value)
        && (action != Action::Redact || phase.as_ref().is_some_and(|phase| phase.value == Phase::Output))
    {
        section.report().fault(&reversible.place, "only what is redacted in requests can be put back in answers");
    }
    if let (Some(compact), true) = (&compact, action != Action::Redact) {
        section.report().fault(&compact.place, "a policy of this type redacts; leave out type for another action");
    }
    let mut detect: Vec<_> = detect.into_iter().flat_map(|found| found.value).collect();
    let mut seen = Vec::new();
    detect.retain(|detector| {
        !seen.contains(&detector.name) && {
            seen.push(detector.name);
            true
        }
    });
    let Some(policy_name) = &name else { return (None, name) };
    let (places, patterns): (Vec<_>, Vec<_>) =
        patterns.into_iter().flatten().map(|read| (read.place, read.value)).unzip();
    let spec = Spec {
        name: policy_name.value.as_str().into(),
        phase: phase.map_or(Phase::Both, |phase| phase.value),
        action,
        reversible: reversible.is_some_and(|reversible| reversible.value),
        replacement,
        detect,
        patterns,
        keywords,
        allow,
        scope,
    };
    match Policy::compile(spec) {
        Ok(policy) => (Some(tried(policy, cases.into_iter().flatten().collect(), section)), name),
        Err(fault) => {
            let place = match &fault {
                Fault::Pattern(number, _) => places.get(*number).unwrap_or(section.place()),
                _ => section.place(),
            };
            section.report().fault(place, fault.to_string());
            (None, name)
        }
    }
}

/// A name that can stand in a header.
fn name(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if text.is_empty() || text.len() > NAME_CHARS_MAX || !text.bytes().all(plain) {
        return Err(format!("a policy's name has 1 to {NAME_CHARS_MAX} ASCII letters, digits and . _ -"));
    }
    Ok(text.to_owned())
}

fn replacement(text: &str) -> Result<String, String> {
    match text.len() <= REPLACEMENT_BYTES_MAX {
        true => Ok(text.to_owned()),
        false => Err(format!("at most {REPLACEMENT_BYTES_MAX} bytes")),
    }
}

/// A detector by its name, or `all` of them.
fn detector(text: &str) -> Result<Vec<&'static detectors::Detector>, String> {
    if text == "all" {
        return Ok(detectors::all().collect());
    }
    if let Some(detector) = detectors::named(text) {
        return Ok(vec![detector]);
    }
    let names = || detectors::all().map(|detector| detector.name);
    Err(match nearest(text, names()) {
        Some(near) => format!("no such detector; did you mean {near}?"),
        None => format!("no such detector: {}; known: all, {}", shown(text), names().collect::<Vec<_>>().join(", ")),
    })
}

fn pattern(section: &Section<'_>) -> Option<Placed<PatternSpec>> {
    let name = section.required("name", "what the pattern finds, in a word", name);
    let regex = section.required("regex", "a regular expression", |text| Ok(text.to_owned()));
    let replacement = section.optional("replacement", replacement).map(|text| text.value);
    let (name, regex) = (name?.value, regex?);
    Some(Placed { value: PatternSpec { name, regex: regex.value, replacement }, place: regex.place })
}

fn scope(section: &Section<'_>) -> Scope {
    let list = |name| {
        let parse = |text: &str| Pattern::parse(text).map_err(|error| error.to_string());
        let written: Vec<_> = section.texts(name, parse)?;
        if written.len() > Permissions::ENTRIES_MAX {
            section.report().fault(section.place(), format!("at most {} entries", Permissions::ENTRIES_MAX));
        }
        Some(written.into_iter().map(|entry| entry.value).collect())
    };
    Scope { teams: list("teams"), keys: list("keys"), models: list("models"), endpoints: list("endpoints") }
}

fn case(section: &Section<'_>) -> Option<Case> {
    let text = section.required("text", "what the policy is tried on", |text| Ok(text.to_owned()));
    let expect = section.optional("expect", choice(&["pass", "redact", "block", "observe"].map(|word| (word, word))));
    let becomes = section.optional("becomes", |text| Ok(text.to_owned()));
    Some(Case { text: text?, expect, becomes })
}

/// Tries a policy on its tests. What they say is not repeated: they may hold what must not be said.
fn tried(policy: Policy, cases: Vec<Case>, section: &Section<'_>) -> Arc<Policy> {
    let policy = Arc::new(policy);
    let active = Active::new(vec![policy.clone()], None);
    for case in cases {
        let (became, inspected) = try_text(&active, &case.text.value);
        let found = inspected.hits.first().map_or("pass", |hit| hit.action.label());
        if let Some(expect) = case.expect.filter(|expect| expect.value != found) {
            section.report().fault(&expect.place, format!("the test fails: expected {}, found {found}", expect.value));
        }
        if let Some(becomes) = case.becomes.filter(|becomes| becomes.value != became) {
            section
                .report()
                .fault(&becomes.place, "the test fails: the text becomes something else; see kt policy test");
        }
    }
    policy
}
