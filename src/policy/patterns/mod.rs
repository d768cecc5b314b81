//! Regular expressions, many at once: the operator's own, keywords, and the built-in ones for credentials.
//!
//! One pass tells whether any of them matches at all, which nearly always is the last; only those that do are then
//! searched for one by one. No engine used here backtracks. Where text comes in pieces, `open` finds how much of
//! its end could still become a match, with one pass backwards from the end that stops as soon as nothing can.

mod open; // an expression → its unfinished matches
mod checked; // what may be an expression here

use std::collections::BTreeSet;
use std::sync::Arc;

use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::meta::Regex;
use regex_automata::nfa::thompson::{self, WhichCaptures};
use regex_automata::util::pool::Pool;
use regex_automata::{Anchored, Input, MatchKind, PatternSet, hybrid};
use regex_syntax::hir::literal::Extractor;
use regex_syntax::hir::{Hir, HirKind};

pub use checked::{Faulty, built_in, expression, keywords};

/// The most memory that one expression may need as an automaton.
const ONE_BYTES_MAX: usize = 256 << 10;
/// The most memory that all expressions of one policy may need.
const ALL_BYTES_MAX: usize = 16 << 20;

/// How many leaps through a text are quicker than to read it once.
const LEAPS_MAX: usize = 8;
/// How many beginnings are leapt to at once, and how much of each is looked at. With more, most places would look like
/// one of them.
const BEGINNINGS_MAX: usize = 32;
const BEGINNING_BYTES: std::ops::RangeInclusive<usize> = 3..=4;

/// Compiled expressions.
pub struct Patterns {
    /// Tell whether any matches: those with fixed beginnings, which are leapt to; and the others, at once, or each by
    /// itself if all have something fixed inside to be leapt to.
    any: Vec<Regex>,
    /// Tells which of them do.
    all: Regex,
    each: Vec<Regex>,
    open: Open,
}

type CachePool = Pool<Cache, Box<dyn Fn() -> Cache + Send + Sync + std::panic::UnwindSafe + std::panic::RefUnwindSafe>>;

/// Finds unfinished matches, backwards.
struct Open {
    dfa: Arc<DFA>,
    caches: CachePool,
}

impl Patterns {
    /// Compiles expressions that were checked.
    pub fn new(expressions: &[Hir]) -> Result<Self, Faulty> {
        let config = || {
            Regex::config()
                .utf8_empty(false)
                .nfa_size_limit(Some(ALL_BYTES_MAX))
                .which_captures(WhichCaptures::Implicit)
        };
        let many = |kind: MatchKind, expressions: &[Hir]| {
            let built = Regex::builder().configure(config().match_kind(kind)).build_many_from_hir(expressions);
            built.map_err(|_| Faulty::TooLarge)
        };
        let one = |hir: &Hir| Regex::builder().configure(config()).build_from_hir(hir).map_err(|_| Faulty::TooLarge);
        let any_of = |group: &[Hir]| many(MatchKind::LeftmostFirst, group);
        let (groups, others) = by_beginnings(expressions.iter().flat_map(branches).cloned());
        let mut any = groups.iter().map(|group| any_of(group)).collect::<Result<Vec<_>, _>>()?;
        let alone = others.iter().take(LEAPS_MAX + 1).map(one).collect::<Result<Vec<_>, _>>()?;
        match alone.len() <= LEAPS_MAX && alone.iter().all(Regex::is_accelerated) {
            true => any.extend(alone),
            false => any.push(any_of(&others)?),
        }
        Ok(Self {
            any,
            all: many(MatchKind::All, expressions)?,
            each: expressions.iter().map(one).collect::<Result<_, _>>()?,
            open: Open::new(expressions)?,
        })
    }

    /// Calls `each` for every match of every expression, with the expression's number. `from` is where each
    /// expression begins to look.
    pub fn find(&self, text: &str, from: impl Fn(usize) -> usize, mut each: impl FnMut(usize, usize, usize)) {
        let start = (0..self.each.len()).map(&from).min().unwrap_or(0).min(text.len());
        if !self.any.iter().any(|any| any.is_match(Input::new(text).range(start..))) {
            return;
        }
        let mut matching = PatternSet::new(self.each.len());
        self.all.which_overlapping_matches(&Input::new(text).range(start..), &mut matching);
        for number in matching.iter().map(|pattern| pattern.as_usize()) {
            let Some(regex) = self.each.get(number) else { continue };
            let input = Input::new(text).range(from(number).min(text.len())..);
            for found in regex.find_iter(input) {
                each(number, found.start(), found.end());
            }
        }
    }

    /// Where, at `from` or behind, the first match begins that `text` might only hold the beginning of.
    pub fn open(&self, text: &str, from: usize) -> usize {
        self.open.first(text, from)
    }
}

/// The alternatives that an expression consists of.
fn branches(hir: &Hir) -> &[Hir] {
    match hir.kind() {
        HirKind::Alternation(branches) => branches,
        _ => std::slice::from_ref(hir),
    }
}

/// Expressions with fixed beginnings, in groups that can be leapt to at once; and the others.
fn by_beginnings(branches: impl Iterator<Item = Hir>) -> (Vec<Vec<Hir>>, Vec<Hir>) {
    let (mut groups, mut others) = (Vec::<(BTreeSet<Vec<u8>>, Vec<Hir>)>::new(), Vec::new());
    for branch in branches {
        let Some(beginnings) = beginnings(&branch) else {
            others.push(branch);
            continue;
        };
        match groups.iter_mut().find(|(all, _)| all.union(&beginnings).count() <= BEGINNINGS_MAX) {
            Some((all, group)) => {
                all.extend(beginnings);
                group.push(branch);
            }
            None => groups.push((beginnings, vec![branch])),
        }
    }
    let groups: Vec<_> = groups.into_iter().map(|(_, group)| group).collect();
    if groups.len() > LEAPS_MAX { (vec![groups.concat()], others) } else { (groups, others) }
}

/// What all that `hir` matches begins with, if that is one of a few literals.
fn beginnings(hir: &Hir) -> Option<BTreeSet<Vec<u8>>> {
    let mut literals = Extractor::new().extract(hir);
    literals.keep_first_bytes(*BEGINNING_BYTES.end());
    let beginnings: BTreeSet<_> = literals.literals()?.iter().map(|literal| literal.as_bytes().to_vec()).collect();
    let are_telling = beginnings.len() <= BEGINNINGS_MAX
        && beginnings.iter().all(|beginning| beginning.len() >= *BEGINNING_BYTES.start());
    are_telling.then_some(beginnings)
}

impl Open {
    fn new(expressions: &[Hir]) -> Result<Self, Faulty> {
        let unfinished = Hir::alternation(expressions.iter().map(open::unfinished).collect());
        let thompson = thompson::Config::new()
            .reverse(true)
            .utf8(false)
            .which_captures(WhichCaptures::None)
            .nfa_size_limit(Some(ALL_BYTES_MAX));
        let nfa = thompson::Compiler::new().configure(thompson).build_from_hir(&unfinished);
        let nfa = nfa.map_err(|_| Faulty::TooLarge)?;
        // A cache that is too small is cleared and filled anew: slower, but never a failure.
        let config =
            DFA::config().match_kind(MatchKind::All).skip_cache_capacity_check(true).minimum_cache_clear_count(None);
        let dfa = hybrid::dfa::Builder::new().configure(config).build_from_nfa(nfa);
        let dfa = Arc::new(dfa.map_err(|_| Faulty::TooLarge)?);
        let made_for = dfa.clone();
        Ok(Self { dfa, caches: Pool::new(Box::new(move || made_for.create_cache())) })
    }

    fn first(&self, text: &str, from: usize) -> usize {
        let input = Input::new(text).range(from..).anchored(Anchored::Yes);
        match self.dfa.try_search_rev(&mut self.caches.get(), &input) {
            Ok(found) => found.map_or(text.len(), |found| found.offset()),
            // It never gives up and has no bytes to quit at; were it otherwise, all would be held.
            Err(_) => from,
        }
    }
}

impl std::fmt::Debug for Patterns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} expressions", self.each.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(expressions: &[&str]) -> Patterns {
        let hirs: Vec<_> = expressions.iter().map(|text| expression(text).unwrap()).collect();
        Patterns::new(&hirs).unwrap()
    }

    #[test]
    fn only_what_could_become_a_match_is_open() {
        let open = |expression: &str, text: &str| text[patterns(&[expression]).open(text, 0)..].to_owned();
        assert_eq!(open(r"\bsk-[a-z]{4}\b", "the sk-ab"), "sk-ab");
        assert_eq!(open(r"\bsk-[a-z]{4}\b", "the s"), "s");
        assert_eq!(open(r"\bsk-[a-z]{4}\b", "the as"), "");
        // A word boundary needs one more character to be decided.
        assert_eq!(open(r"\bsk-[a-z]{4}\b", "the sk-abcd"), "sk-abcd");
        assert_eq!(open(r"\bsk-[a-z]{4}\b", "the sk-abcde"), "");
        // A match that cannot grow is not open.
        assert_eq!(open(r"sk-[a-z]{4}", "the sk-abcd"), "");
        assert_eq!(open(r"sk-[a-z]{4,6}", "the sk-abcd"), "sk-abcd");
        assert_eq!(open(r"a(?:b|cd)+e", "abcdabc"), "abc");
        assert_eq!(open(r"ACME-\d+", "prose about nothing"), "");
        assert_eq!(open(r"über\w+", "x üb"), "üb");
    }

    #[test]
    fn each_expression_is_found_by_itself() {
        let patterns = patterns(&["a.{3}b", "x{2}", "nothing"]);
        let mut found = Vec::new();
        patterns.find("axx1b xxx", |_| 0, |number, start, end| found.push((number, start, end)));
        assert_eq!(found, [(0, 0, 5), (1, 1, 3), (1, 6, 8)]);
    }
}
