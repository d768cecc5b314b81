//! What an operator asks for → a compiled policy, or what is wrong with it.

use std::fmt;
use std::sync::Arc;

use regex_syntax::hir::Hir;
use wildmatch::WildMatch;

use super::detectors::{Detector, How, Scanners};
use super::patterns::{Faulty, Patterns, built_in, expression, keywords};
use super::reversible::Placeholders;
use super::scan::Finders;
use super::scope::Scope;

/// How many expressions or keywords one policy may have.
const RULES_MAX: usize = 1000;

/// What becomes of a request or an answer in which something was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// What was found is replaced.
    Redact,
    /// The request is refused, the answer ended.
    Block,
    /// It is only counted.
    Observe,
}

/// When a policy looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// At what goes to the provider.
    Input,
    /// At what comes back.
    Output,
    Both,
}

/// A policy as it is asked for.
#[derive(Clone, Debug)]
pub struct Spec {
    pub name: Arc<str>,
    pub phase: Phase,
    pub action: Action,
    pub reversible: bool,
    /// What stands in the place of a match, instead of the rule's own `[REDACTED:EMAIL]`.
    pub replacement: Option<String>,
    pub detect: Vec<&'static Detector>,
    pub patterns: Vec<PatternSpec>,
    pub keywords: Vec<String>,
    /// Matches that are none; `*` stands for any characters.
    pub allow: Vec<String>,
    pub scope: Scope,
}

impl Spec {
    /// A policy for both directions that looks for nothing yet.
    pub fn new(name: &str, action: Action) -> Self {
        let (phase, reversible, replacement) = (Phase::Both, false, None);
        let (detect, patterns, keywords, allow, scope) = Default::default();
        Self { name: name.into(), phase, action, reversible, replacement, detect, patterns, keywords, allow, scope }
    }
}

/// An expression of the operator's own.
#[derive(Clone, Debug)]
pub struct PatternSpec {
    pub name: String,
    pub regex: String,
    pub replacement: Option<String>,
}

/// A policy, ready to be used.
#[derive(Debug)]
pub struct Policy {
    pub name: Arc<str>,
    pub phase: Phase,
    pub action: Action,
    pub reversible: bool,
    pub scope: Scope,
    pub(super) rules: Vec<Rule>,
    pub(super) finders: Finders,
    pub(super) allow: Vec<WildMatch>,
}

/// One thing a policy looks for.
#[derive(Debug)]
pub(super) struct Rule {
    /// In capitals, as it stands in placeholders.
    pub(super) label: String,
    pub(super) replacement: String,
}

/// What is wrong with a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It looks for nothing.
    Nothing,
    TooMany,
    /// The expression of this number, counted from 0.
    Pattern(usize, Faulty),
    Keywords(Faulty),
    All(Faulty),
}

impl Action {
    pub const ALL: [Self; 3] = [Self::Redact, Self::Block, Self::Observe];

    pub fn label(self) -> &'static str {
        match self {
            Self::Redact => "redact",
            Self::Block => "block",
            Self::Observe => "observe",
        }
    }
}

impl Phase {
    pub const ALL: [Self; 3] = [Self::Input, Self::Output, Self::Both];

    pub fn label(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Output => "output",
            Self::Both => "both",
        }
    }

    /// Whether a policy of this phase looks in `phase`, which is input or output.
    pub fn includes(self, phase: Self) -> bool {
        self == Self::Both || self == phase
    }
}

impl Policy {
    /// Compiles what `spec` asks for.
    pub fn compile(spec: Spec) -> Result<Self, Fault> {
        let Spec { name, phase, action, reversible, replacement, detect, patterns, keywords: words, allow, scope } =
            spec;
        if detect.is_empty() && patterns.is_empty() && words.is_empty() {
            return Err(Fault::Nothing);
        }
        if patterns.len().max(words.len()).max(allow.len()) > RULES_MAX {
            return Err(Fault::TooMany);
        }
        let mut parts = Parts { replacement, ..Parts::default() };
        for detector in detect {
            let rule = parts.rule(detector.name, None);
            match detector.how {
                How::Scan(scanner) => parts.scanners.add(rule, scanner),
                How::Expression(text) => parts.expression(rule, built_in(text).map_err(Fault::All)?),
            }
        }
        for (number, pattern) in patterns.into_iter().enumerate() {
            let hir = expression(&pattern.regex).map_err(|faulty| Fault::Pattern(number, faulty))?;
            let rule = parts.rule(&pattern.name, pattern.replacement);
            parts.expression(rule, hir);
        }
        if !words.is_empty() {
            let rule = parts.rule("keyword", None);
            parts.expression(rule, keywords(words.iter().map(String::as_str)).map_err(Fault::Keywords)?);
        }
        let Parts { rules, scanners, expressions, pattern_rules, .. } = parts;
        let patterns =
            if expressions.is_empty() { None } else { Some(Patterns::new(&expressions).map_err(Fault::All)?) };
        let allow = allow.iter().map(|allowed| WildMatch::new_case_insensitive(allowed)).collect();
        let finders = Finders { scanners, patterns, pattern_rules };
        Ok(Self { name, phase, action, reversible, scope, rules, finders, allow })
    }

    /// What stands in the place of what a rule found.
    pub(super) fn replacement(
        &self,
        rule: usize,
        found: &str,
        placeholders: &mut Option<(&mut Placeholders, &[u8])>,
    ) -> String {
        let Some(rule) = self.rules.get(rule) else { return String::new() };
        let placeholder = match placeholders {
            Some((placeholders, body)) if self.is_reversible() => placeholders.of(&rule.label, found, body),
            _ => None,
        };
        placeholder.unwrap_or(&rule.replacement).to_owned()
    }

    /// How much it looks for, in a few words.
    pub fn summary(&self) -> String {
        let (rules, allowed) = (self.rules.len(), self.allow.len());
        let reversible = if self.is_reversible() { ", reversible" } else { "" };
        format!("{rules} rules, {allowed} allowed texts{reversible}")
    }

    /// What the policy replaces by placeholders that are put back in the answer.
    pub fn is_reversible(&self) -> bool {
        self.reversible && self.action == Action::Redact && self.phase.includes(Phase::Input)
    }
}

/// A policy while it is compiled.
#[derive(Default)]
struct Parts {
    replacement: Option<String>,
    rules: Vec<Rule>,
    scanners: Scanners,
    expressions: Vec<Hir>,
    pattern_rules: Vec<usize>,
}

impl Parts {
    /// Adds a rule and gives its number.
    fn rule(&mut self, name: &str, replacement: Option<String>) -> usize {
        let capital = |char: char| if char.is_ascii_alphanumeric() { char.to_ascii_uppercase() } else { '_' };
        let label: String = name.chars().map(capital).collect();
        let replacement = replacement.or_else(|| self.replacement.clone());
        let replacement = replacement.unwrap_or_else(|| format!("[REDACTED:{label}]"));
        self.rules.push(Rule { label, replacement });
        self.rules.len() - 1
    }

    fn expression(&mut self, rule: usize, hir: Hir) {
        self.expressions.push(hir);
        self.pattern_rules.push(rule);
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("looks for nothing; add detect, patterns or keywords"),
            Self::TooMany => {
                write!(f, "at most {RULES_MAX} patterns, keywords and allowed texts; write several policies")
            }
            Self::Pattern(_, faulty) | Self::Keywords(faulty) | Self::All(faulty) => faulty.fmt(f),
        }
    }
}
