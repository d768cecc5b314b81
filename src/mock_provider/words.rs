//! The text of every answer: one word a token, some of them awkward to carry.

use std::fmt::Write;

const PLAIN: [&str; 24] = [
    " the", " gateway", " reads", " a", " stream", " and", " counts", " every", " token", " it", " passes", " on",
    " to", " whoever", " asked", " for", " an", " answer", ",", " which", " is", " never", " late", ".",
];

/// Texts that a careless reader of SSE, JSON or UTF-8 stumbles over.
const AWKWARD: [&str; 12] = [
    " naïve",
    " \"quoted\"",
    " 東京",
    " 🦀",
    " back\\slash",
    "\n",
    " Zürich",
    " data: [DONE]",
    " tab\tstop",
    " <b>&amp;</b>",
    " line\u{2028}separator",
    " 👩\u{200d}💻",
];

/// Every fourth word is an awkward one.
const AWKWARD_EVERY: usize = 4;

/// After so many tokens the text repeats.
const CYCLE: usize = 240;

/// The words of one seed, escaped beforehand.
#[derive(Debug)]
pub(super) struct Words(Vec<Word>);

#[derive(Debug)]
struct Word {
    text: &'static str,
    /// As it stands within a JSON string.
    json: String,
    /// As it stands within a JSON string that is itself a JSON document: the arguments of a tool call.
    argument: String,
}

/// What the deltas of a stream carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pieces {
    /// Plain text.
    Text,
    /// The arguments of a tool call, `{"text":"…"}`, one piece a token; cut short if the answer is.
    Arguments { cut_short: bool },
}

impl Words {
    /// `plain` leaves the awkward ones out; each of the others is one token of OpenAI's o200k vocabulary, too.
    pub(super) fn new(seed: u64, plain: bool) -> Self {
        let word = |index: usize| {
            let awkward = if plain { 0 } else { index / AWKWARD_EVERY };
            let text = if !plain && index % AWKWARD_EVERY == AWKWARD_EVERY - 1 {
                pick(&AWKWARD, seed.wrapping_add(awkward as u64))
            } else {
                pick(&PLAIN, seed.wrapping_add((index - awkward) as u64))
            };
            // Some providers escape whatever is not ASCII, others do not; here both occur.
            let json = escaped(text, scatter(seed, index as u64) % 2 == 1);
            Word { text, argument: escaped(&json, false), json }
        };
        Self((0..CYCLE).map(word).collect())
    }

    /// The text that an answer of `tokens` tokens carries.
    pub(super) fn text(&self, tokens: u32) -> String {
        self.0.iter().cycle().take(tokens as usize).map(|word| word.text).collect()
    }

    /// All `count` pieces in one, escaped.
    pub(super) fn joined(&self, pieces: Pieces, count: u32) -> String {
        let mut joined = String::new();
        for index in 0..count {
            self.push(pieces, index, count, &mut joined);
        }
        joined
    }

    /// Appends piece `index` of `count`, escaped.
    pub(super) fn push(&self, pieces: Pieces, index: u32, count: u32, out: &mut String) {
        let word = self.0.get(index as usize % CYCLE);
        match pieces {
            Pieces::Text => out.push_str(word.map_or("", |word| &word.json)),
            Pieces::Arguments { cut_short } => {
                let first = index == 0;
                let last = index + 1 == count && !cut_short;
                if first {
                    out.push_str(r#"{\"text\":\""#);
                }
                if last {
                    out.push_str(r#"\"}"#);
                }
                if !first && !last {
                    out.push_str(word.map_or("", |word| &word.argument));
                }
            }
        }
    }
}

/// A well-spread number for each pair (the finaliser of SplitMix64).
pub(super) fn scatter(seed: u64, index: u64) -> u64 {
    let mut mixed = seed.wrapping_add(index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn pick(texts: &[&'static str], number: u64) -> &'static str {
    texts.get((number % texts.len() as u64) as usize).copied().unwrap_or_default()
}

/// `text` as it stands between the quotes of a JSON string.
pub(super) fn escaped(text: &str, ascii_only: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            control if control.is_control() => push_units(control, &mut out),
            wide if ascii_only && !wide.is_ascii() => push_units(wide, &mut out),
            other => out.push(other),
        }
    }
    out
}

fn push_units(character: char, out: &mut String) {
    for unit in character.encode_utf16(&mut [0; 2]) {
        // Writing to a String cannot fail.
        let _ = write!(out, "\\u{unit:04x}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unescaped(json: &str) -> String {
        serde_json::from_str(&format!("\"{json}\"")).unwrap()
    }

    #[test]
    fn escaped_pieces_say_the_text() {
        for seed in 0..20 {
            let words = Words::new(seed, false);
            assert_eq!(unescaped(&words.joined(Pieces::Text, 500)), words.text(500));
        }
    }

    #[test]
    fn both_ways_of_escaping_occur() {
        let joined = Words::new(0, false).joined(Pieces::Text, 240);
        assert!(joined.contains("\\u") && joined.contains("ü") && joined.contains("\\\""), "{joined}");
    }

    #[test]
    fn arguments_are_a_document_unless_cut_short() {
        let words = Words::new(7, false);
        for count in [1, 2, 3, 50, 300] {
            let whole = unescaped(&words.joined(Pieces::Arguments { cut_short: false }, count));
            assert!(serde_json::from_str::<serde_json::Value>(&whole).unwrap()["text"].is_string(), "{whole}");
            let short = unescaped(&words.joined(Pieces::Arguments { cut_short: true }, count));
            assert!(serde_json::from_str::<serde_json::Value>(&short).is_err(), "{short}");
        }
    }

    #[test]
    fn a_seed_always_gives_the_same_text() {
        assert_eq!(Words::new(3, false).text(100), Words::new(3, false).text(100));
        assert_ne!(Words::new(3, false).text(100), Words::new(4, false).text(100));
    }
}
