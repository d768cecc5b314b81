//! What may be an expression here, and what is wrong with the others.
//!
//! Word boundaries are those of ASCII: others need more than an automaton. Anchors to the whole text are refused,
//! because text may come in pieces, and so is what matches nothing at all or would cost too much.

use std::collections::HashSet;
use std::fmt;

use regex_automata::Input;
use regex_automata::hybrid;
use regex_automata::hybrid::dfa::DFA;
use regex_automata::nfa::thompson::{self, WhichCaptures};
use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Capture, Class, Hir, HirKind, Look, Repetition};

use super::{ONE_BYTES_MAX, open};

/// The longest expression, in bytes.
const EXPRESSION_BYTES_MAX: usize = 2048;
/// The longest keyword, in bytes.
const KEYWORD_BYTES_MAX: usize = 256;
/// How much text each expression is tried on, and how often it may look at each byte of it. A linear one does so
/// once or twice, one that begins anew at every place thousands of times.
const PROBE_BYTES: usize = 8 << 10;
const LOOKS_MAX: usize = 64;
/// How many states ordinary text of that length may lead through. Most expressions have a few dozen; one that always
/// finds new ones is searched at a hundredth of the speed.
const STATES_MAX: usize = PROBE_BYTES / 4;

/// Why an expression is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Faulty {
    TooLong,
    Syntax(String),
    MatchesNothing,
    Anchored,
    TooLarge,
    TooSlow,
    TooManyStates,
    EmptyKeyword,
    LongKeyword,
}

/// Reads an expression that an operator wrote.
pub fn expression(text: &str) -> Result<Hir, Faulty> {
    if text.len() > EXPRESSION_BYTES_MAX {
        return Err(Faulty::TooLong);
    }
    let hir = ParserBuilder::new().nest_limit(64).build().parse(text).map_err(|error| Faulty::Syntax(told(&error)))?;
    let hir = checked(&hir)?;
    match cost(&hir) {
        Cost::Linear => Ok(hir),
        Cost::Anew => Err(Faulty::TooSlow),
        Cost::Unseen => Err(Faulty::TooManyStates),
    }
}

/// Reads an expression of our own: ASCII only, so that its automaton is small.
pub fn built_in(text: &str) -> Result<Hir, Faulty> {
    let parsed = ParserBuilder::new().unicode(false).utf8(true).build().parse(text);
    checked(&parsed.map_err(|error| Faulty::Syntax(told(&error)))?)
}

/// The expression that finds any of `words`: as whole words, in upper or lower case, with any blanks between the
/// words of a phrase.
pub fn keywords<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Hir, Faulty> {
    let mut words = words.into_iter().map(keyword).collect::<Result<Vec<_>, _>>()?;
    // The longest counts where several begin at one place.
    words.sort_by_key(|word| std::cmp::Reverse(word.len()));
    let text = format!(r"(?:{})", words.join("|"));
    let hir = ParserBuilder::new().nest_limit(64).build().parse(&text);
    Ok(with_ascii_words(&hir.map_err(|error| Faulty::Syntax(told(&error)))?))
}

fn keyword(word: &str) -> Result<String, Faulty> {
    if word.trim().is_empty() {
        return Err(Faulty::EmptyKeyword);
    }
    if word.len() > KEYWORD_BYTES_MAX {
        return Err(Faulty::LongKeyword);
    }
    let parts: Vec<String> = word.split_whitespace().map(regex_syntax::escape).collect();
    let is_word = |char: Option<char>| char.is_some_and(|char| char.is_alphanumeric() || char == '_');
    let word = word.trim();
    let start = if is_word(word.chars().next()) { r"\b{start-half}" } else { "" };
    let end = if is_word(word.chars().next_back()) { r"\b{end-half}" } else { "" };
    Ok(format!(r"{start}(?i:{}){end}", parts.join(r"\s{1,8}")))
}

fn checked(hir: &Hir) -> Result<Hir, Faulty> {
    let properties = hir.properties();
    if properties.look_set().contains_anchor_haystack() {
        return Err(Faulty::Anchored);
    }
    if properties.minimum_len().is_none_or(|length| length == 0) {
        return Err(Faulty::MatchesNothing);
    }
    let hir = with_ascii_words(hir);
    for automaton in [&hir, &open::unfinished(&hir)] {
        let config = thompson::Config::new().which_captures(WhichCaptures::None).nfa_size_limit(Some(ONE_BYTES_MAX));
        thompson::Compiler::new().configure(config).build_from_hir(automaton).map_err(|_| Faulty::TooLarge)?;
    }
    Ok(hir)
}

/// The same expression with the word boundaries of ASCII.
fn with_ascii_words(hir: &Hir) -> Hir {
    match hir.kind() {
        HirKind::Look(look) => Hir::look(match look {
            Look::WordUnicode => Look::WordAscii,
            Look::WordUnicodeNegate => Look::WordAsciiNegate,
            Look::WordStartUnicode => Look::WordStartAscii,
            Look::WordEndUnicode => Look::WordEndAscii,
            Look::WordStartHalfUnicode => Look::WordStartHalfAscii,
            Look::WordEndHalfUnicode => Look::WordEndHalfAscii,
            look => *look,
        }),
        HirKind::Repetition(repetition) => {
            let sub = Box::new(with_ascii_words(&repetition.sub));
            Hir::repetition(Repetition { sub, ..repetition.clone() })
        }
        HirKind::Capture(capture) => {
            let sub = Box::new(with_ascii_words(&capture.sub));
            Hir::capture(Capture { sub, ..capture.clone() })
        }
        HirKind::Concat(parts) => Hir::concat(parts.iter().map(with_ascii_words).collect()),
        HirKind::Alternation(branches) => Hir::alternation(branches.iter().map(with_ascii_words).collect()),
        HirKind::Empty | HirKind::Literal(_) | HirKind::Class(_) => hir.clone(),
    }
}

/// What a search costs that was tried on ordinary text, and on texts which the expression itself names.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Cost {
    Linear,
    /// It begins anew at every place, as `a(.*b)?` makes it.
    Anew,
    /// Nearly every character leads where none has led before, as `[a-z].{100}x` makes it.
    Unseen,
}

fn cost(hir: &Hir) -> Cost {
    let Ok(nfa) = thompson::Compiler::new().build_from_hir(hir) else { return Cost::Unseen };
    let config = DFA::config().skip_cache_capacity_check(true);
    let Ok(dfa) = hybrid::dfa::Builder::new().configure(config).build_from_nfa(nfa) else { return Cost::Unseen };
    let shortest = example(hir);
    let shorter = shortest.char_indices().next_back().and_then(|(at, _)| shortest.get(..at)).unwrap_or_default();
    let first = shortest.chars().next().map(String::from).unwrap_or_default();
    let repeated = [shortest.as_str(), shorter, &first, "a", "1"].map(|probe| match probe {
        "" => String::new(),
        probe => probe.repeat(PROBE_BYTES / probe.len() + 1),
    });
    let mut costs = repeated.into_iter().chain([ordinary()]).map(|text| searched(&dfa, &text));
    costs.find(|cost| *cost != Cost::Linear).unwrap_or(Cost::Linear)
}

/// What a search for all matches costs.
fn searched(dfa: &DFA, text: &str) -> Cost {
    let (mut cache, mut states) = (dfa.create_cache(), HashSet::new());
    let (mut looks, mut at) = (0, 0);
    while let Ok(mut state) = dfa.start_state_forward(&mut cache, &Input::new(text).range(at..)) {
        let mut end = None;
        for (place, &byte) in text.as_bytes().iter().enumerate().skip(at) {
            looks += 1;
            if looks > text.len() * LOOKS_MAX {
                return Cost::Anew;
            }
            let Ok(next) = dfa.next_state(&mut cache, state, byte) else { return Cost::Unseen };
            states.insert(next);
            if cache.clear_count() > 0 || states.len() > STATES_MAX {
                return Cost::Unseen;
            }
            state = next;
            if state.is_match() {
                end = Some(place);
            }
            if state.is_dead() {
                break;
            }
        }
        match end {
            Some(end) if end > at => at = end,
            _ => break,
        }
    }
    Cost::Linear
}

/// Words, names, numbers and keys put together by chance; always the same.
fn ordinary() -> String {
    const LETTERS: &[u8] = b"etaoinshrdlucmfwypvbgkjqxz";
    const DIGITS: &[u8] = b"0123456789";
    const KEY: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const SIGNS: [&str; 8] = [" ", " ", ", ", ".\n", "_", "-", "/", "@"];
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut below = |bound: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 33) as usize % bound
    };
    let mut text = String::new();
    while text.len() < PROBE_BYTES {
        let (alphabet, length) = match below(8) {
            0..=4 => (LETTERS, 1 + below(9)),
            5 => (DIGITS, 1 + below(6)),
            6 => (KEY, 4 + below(8)),
            _ => (KEY, 20 + below(40)),
        };
        for _ in 0..length {
            text.extend(alphabet.get(below(alphabet.len())).map(|byte| char::from(*byte)));
        }
        text.push_str(SIGNS.get(below(SIGNS.len())).copied().unwrap_or_default());
    }
    text
}

/// A text that `hir` matches, looks aside, and none much longer than it has to be.
fn example(hir: &Hir) -> String {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => String::new(),
        HirKind::Literal(literal) => String::from_utf8_lossy(&literal.0).into_owned(),
        HirKind::Class(class) => match class {
            Class::Unicode(class) => class.iter().next().map(|range| range.end().to_string()),
            Class::Bytes(class) => class.iter().next().map(|range| char::from(range.end()).to_string()),
        }
        .unwrap_or_default(),
        HirKind::Repetition(repetition) => example(&repetition.sub).repeat((repetition.min as usize).min(64)),
        HirKind::Capture(capture) => example(&capture.sub),
        HirKind::Concat(parts) => parts.iter().map(example).collect(),
        HirKind::Alternation(branches) => branches.first().map(example).unwrap_or_default(),
    }
}

/// What is wrong and where, in one line.
fn told(error: &regex_syntax::Error) -> String {
    let (what, at) = match error {
        regex_syntax::Error::Parse(error) => (error.kind().to_string(), error.span().start.column),
        regex_syntax::Error::Translate(error) => (error.kind().to_string(), error.span().start.column),
        _ => return "no regular expression".into(),
    };
    format!("{what}, at character {at}")
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(f, "an expression has at most {EXPRESSION_BYTES_MAX} bytes; write several"),
            Self::Syntax(what) => write!(f, "no regular expression: {what}"),
            Self::MatchesNothing => f.write_str("the expression also matches no text at all; require one character"),
            Self::Anchored => f.write_str(
                "the expression is anchored to the whole text, but text may come in pieces; use \\b, or (?m) for lines",
            ),
            Self::TooLarge => f.write_str(
                "the expression would need too much memory; use smaller counts, or ASCII classes such as [A-Za-z0-9_] \
                 instead of \\w",
            ),
            Self::TooSlow => f.write_str(
                "the expression would begin its search anew at every character; leave out the optional open end, such \
                 as (.*x)?",
            ),
            Self::TooManyStates => f.write_str(
                "the expression would need another state for nearly every character; leave out the long count behind \
                 what may occur inside of it, such as [a-z].{100}x",
            ),
            Self::EmptyKeyword => f.write_str("a keyword must not be empty"),
            Self::LongKeyword => write!(f, "a keyword has at most {KEYWORD_BYTES_MAX} bytes"),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::policy::detectors::{self, How};

    use super::*;

    #[test]
    fn what_would_explode_is_refused() {
        assert!(expression(r"\bACME-\d{6}\b").is_ok());
        assert!(expression(r"[a-z0-9._]+@corp\.example").is_ok());
        assert!(expression(r"secret.*").is_ok());
        assert!(matches!(expression("a(b"), Err(Faulty::Syntax(_))));
        assert_eq!(expression("a*").err(), Some(Faulty::MatchesNothing));
        assert_eq!(expression("^a").err(), Some(Faulty::Anchored));
        assert_eq!(expression(r"(?:\w{100}){100}").err(), Some(Faulty::TooLarge));
        assert_eq!(expression(&"a".repeat(3000)).err(), Some(Faulty::TooLong));
        assert_eq!(expression("a(.*b)?").err(), Some(Faulty::TooSlow));
        assert_eq!(expression(r"[a-z].{100}x").err(), Some(Faulty::TooManyStates));
        assert_eq!(expression(r"(?s)e.{100}t").err(), Some(Faulty::TooManyStates));
    }

    #[test]
    fn what_operators_write_is_taken() {
        for text in [
            r"(?i)password\s*[:=]\s*\S{1,64}",
            r"(?i)\b(?:secret|token|api[_-]?key)\b.{0,40}[0-9a-f]{32}",
            r"[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.corp\.example",
            r"https?://[^\s/]+\.internal\.example(?:/\S*)?",
            r"\b[A-Z]{2}\d{6}[A-Z]\b",
            r"(?m)^Confidential:.*$",
            r"(?s)BEGIN CASE.*?END CASE",
            r"\b(?:\d[ -]?){13,16}\b",
            r"Kundennummer:?\s*\d{5,10}",
        ] {
            assert!(expression(text).is_ok(), "{text}: {:?}", expression(text).err());
        }
    }

    /// Ours are held to the same.
    #[test]
    fn built_in_expressions_are_quick() {
        for detector in detectors::all() {
            if let How::Expression(text) = detector.how {
                assert_eq!(cost(&built_in(text).unwrap()), Cost::Linear, "{}", detector.name);
            }
        }
    }
}
