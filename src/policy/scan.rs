//! Text → findings, also of text that has not ended.
//!
//! Every rule of every policy looks at the original text by itself, and its own findings do not overlap. Text that
//! has not ended is searched as if it had; but only what begins before the first place that is still *open* counts.
//! A rule is open at a place if more text could begin a match there, or make one longer. That is the whole contract
//! between a detector and a stream: what begins before the first open place stays the same whatever follows. So a
//! stream finds what the whole text would, and holds nothing but what is open.

use std::sync::Arc;

use super::detectors::Scanners;
use super::patterns::Patterns;
use super::reversible::Placeholders;
use super::rules::{Action, Policy};

/// The policies that concern a request in one phase, in their order.
#[derive(Clone, Debug, Default)]
pub struct Active {
    policies: Vec<Arc<Policy>>,
    /// Placeholders in an answer that are put back to what they stand for.
    restored: Option<Arc<Placeholders>>,
}

/// How often each policy found something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally(Vec<u32>);

/// A policy that found something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    pub policy: Arc<str>,
    pub action: Action,
    pub matches: u32,
}

/// A place in a text that some rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) start: usize,
    pub(super) end: usize,
    /// Among the active ones; `None` for a placeholder.
    pub(super) policy: Option<usize>,
    pub(super) rule: usize,
}

/// What finds the matches of some rules of a policy.
#[derive(Debug)]
pub(super) struct Finders {
    pub(super) scanners: Scanners,
    pub(super) patterns: Option<Patterns>,
    /// The rule of each expression.
    pub(super) pattern_rules: Vec<usize>,
}

impl Active {
    pub fn new(policies: Vec<Arc<Policy>>, restored: Option<Arc<Placeholders>>) -> Self {
        Self { policies, restored: restored.filter(|placeholders| !placeholders.is_empty()) }
    }

    /// Whether nothing is looked for.
    pub fn is_empty(&self) -> bool {
        self.policies.is_empty() && self.restored.is_none()
    }

    pub fn policies(&self) -> &[Arc<Policy>] {
        &self.policies
    }

    pub(super) fn restored(&self) -> Option<&Placeholders> {
        self.restored.as_deref()
    }

    /// The policies that found something, up to and with the first that blocks.
    pub fn hits(&self, tally: &Tally) -> Vec<Hit> {
        let mut hits = Vec::new();
        for (policy, &matches) in self.policies.iter().zip(&tally.0).filter(|(_, matches)| **matches > 0) {
            hits.push(Hit { policy: policy.name.clone(), action: policy.action, matches });
            if policy.action == Action::Block {
                break;
            }
        }
        hits
    }

    /// How many rules there are in all: each has a place where it goes on looking.
    pub(super) fn rules(&self) -> usize {
        self.policies.iter().map(|policy| policy.rules.len()).sum()
    }

    /// Adds the findings in `text`, by their place. `from` says where each rule begins to look.
    pub(super) fn find(&self, text: &str, from: &[usize], findings: &mut Vec<Finding>) {
        let mut first_rule = 0;
        for (number, policy) in self.policies.iter().enumerate() {
            let from = |rule: usize| from.get(first_rule + rule).copied().unwrap_or(0);
            policy.finders.find(text, from, |rule, start, end| {
                let matched = text.get(start..end).unwrap_or_default();
                if !policy.allow.iter().any(|allowed| allowed.matches(matched)) {
                    findings.push(Finding { start, end, policy: Some(number), rule });
                }
            });
            first_rule += policy.rules.len();
        }
        if let Some(placeholders) = &self.restored {
            placeholders.find(text, |start, end| findings.push(Finding { start, end, policy: None, rule: 0 }));
        }
        findings.sort_by_key(|finding| (finding.start, finding.policy, finding.rule));
    }

    /// The first place, at `from` or behind, where something is open.
    pub(super) fn open(&self, text: &str, from: usize) -> usize {
        let policies = self.policies.iter().map(|policy| policy.finders.open(text, from));
        let restored = self.restored.as_ref().map(|placeholders| placeholders.open(text, from));
        policies.chain(restored).min().unwrap_or(text.len())
    }
}

impl Tally {
    pub(super) fn add(&mut self, policy: usize) {
        if self.0.len() <= policy {
            self.0.resize(policy + 1, 0);
        }
        if let Some(count) = self.0.get_mut(policy) {
            *count = count.saturating_add(1);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|count| *count == 0)
    }
}

impl Finders {
    fn find(&self, text: &str, from: impl Fn(usize) -> usize, mut each: impl FnMut(usize, usize, usize)) {
        self.scanners.find(text, &from, &mut each);
        if let Some(patterns) = &self.patterns {
            let rule = |expression: usize| self.pattern_rules.get(expression).copied().unwrap_or(0);
            patterns.find(
                text,
                |expression| from(rule(expression)),
                |expression, start, end| {
                    each(rule(expression), start, end);
                },
            );
        }
    }

    fn open(&self, text: &str, from: usize) -> usize {
        let scanners = self.scanners.open(text, from);
        let patterns = self.patterns.as_ref().map_or(text.len(), |patterns| patterns.open(text, from));
        scanners.min(patterns)
    }
}
