//! How many tokens a text makes, by what its characters are.
//!
//! Tokenizers cut a text at words, runs of digits and of punctuation before they look anything up, so that counting
//! those comes near the truth in one pass. The weights were fitted to OpenAI's o200k vocabulary over prose, code, data
//! and some thirty languages; `docs/METERING.md` has the method and the errors.

/// The weights, in thousandths of a token.
const WORD: u64 = 978;
/// Each letter of a word beyond the sixth.
const LETTER_BEYOND: u64 = 124;
/// A capital behind a small letter begins another word.
const CAPITAL_INSIDE: u64 = 1362;
/// Each group of up to three digits.
const DIGITS: u64 = 1158;
/// A run of two spaces or more; a single one belongs to what follows.
const SPACES: u64 = 868;
const LINE_ENDS: u64 = 448;
const PUNCTUATION: u64 = 771;
/// Each character of a run of punctuation beyond the first.
const PUNCTUATION_BEYOND: u64 = 211;

const WORD_LETTERS: u32 = 6;
const DIGITS_GROUP: u32 = 3;

/// What a byte is; of a character of several bytes, the first one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Small,
    Capital,
    Digit,
    Space,
    LineEnd,
    Punctuation,
    /// A letter with an accent: part of its word, and of this weight.
    Accented(u16),
    /// A character of another script or a symbol, of this weight.
    Other(u16),
    /// A further byte of a character.
    Rest,
}

const CLASSES: [Class; 256] = {
    let mut classes = [Class::Punctuation; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = class(byte as u8);
        byte += 1;
    }
    classes
};

const fn class(byte: u8) -> Class {
    match byte {
        b'a'..=b'z' => Class::Small,
        b'A'..=b'Z' => Class::Capital,
        b'0'..=b'9' => Class::Digit,
        b' ' | b'\t' => Class::Space,
        b'\n' | b'\r' => Class::LineEnd,
        0..=0x7f => Class::Punctuation,
        0x80..=0xbf => Class::Rest,
        0xc0..=0xcd => Class::Accented(1492),
        // Greek, Cyrillic, Armenian.
        0xce..=0xd5 => Class::Other(389),
        // Hebrew, Arabic.
        0xd6..=0xdf => Class::Other(370),
        // The scripts of India, Thai.
        0xe0 => Class::Other(407),
        // Symbols and typographic marks.
        0xe2 => Class::Other(818),
        // Kana and the marks beside it.
        0xe3 => Class::Other(646),
        // Han.
        0xe4..=0xe9 => Class::Other(880),
        // Hangul.
        0xea..=0xed => Class::Other(663),
        0xe1 | 0xee | 0xef => Class::Accented(250),
        0xf0..=0xff => Class::Other(2000),
    }
}

/// The tokens that `text` makes, in thousandths; 0 only if it is empty.
pub(crate) fn weight(text: &str) -> u64 {
    let mut sum = u64::from(!text.is_empty());
    let mut last = Class::LineEnd;
    // Of what it counts, `last` says: the letters of a word, the digits of a group, the spaces of a run.
    let mut run = 0_u32;
    let mut is_first = true;
    for byte in text.bytes() {
        let class = CLASSES.get(usize::from(byte)).copied().unwrap_or(Class::Rest);
        let (added, length) = match (class, last) {
            (Class::Rest, _) => continue,
            (Class::Capital, Class::Small) => (CAPITAL_INSIDE, 1),
            (Class::Small | Class::Capital, Class::Small | Class::Capital | Class::Accented(_)) => {
                (if run >= WORD_LETTERS { LETTER_BEYOND } else { 0 }, run + 1)
            }
            (Class::Small | Class::Capital, _) => (WORD, 1),
            (Class::Digit, Class::Digit) => (if run.is_multiple_of(DIGITS_GROUP) { DIGITS } else { 0 }, run + 1),
            (Class::Digit, _) => (DIGITS, 1),
            (Class::Space, Class::Space) => (if run == 1 { SPACES } else { 0 }, run + 1),
            (Class::Space, _) => (0, 1),
            (Class::LineEnd, Class::LineEnd) if !is_first => (0, run),
            (Class::LineEnd, _) => (LINE_ENDS, 1),
            (Class::Punctuation, Class::Punctuation) => (PUNCTUATION_BEYOND, run),
            (Class::Punctuation, _) => (PUNCTUATION, 1),
            (Class::Accented(weight) | Class::Other(weight), _) => (u64::from(weight), run),
        };
        (sum, run, last, is_first) = (sum + added, length, class, false);
    }
    sum
}

/// Whole tokens, rounded up.
pub(crate) fn tokens(weight: u64) -> u64 {
    weight.div_ceil(1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Texts, and the tokens that OpenAI's o200k vocabulary makes of them.
    const COUNTED: [(&str, u64); 8] = [
        ("The gateway reads a stream and counts every token as it passes on to whoever asked for an answer.", 20),
        ("fn main() { let total: u64 = items.iter().map(|item| item.count).sum(); println!(\"{total}\"); }", 28),
        (
            r#"{"id":"chatcmpl-1","object":"chat.completion","created":1764000000,"choices":[{"index":0,"message":{"role":"assistant"}}]}"#,
            36,
        ),
        ("Der Himmel ist blau, weil das Licht der Sonne in der Luft gestreut wird.", 18),
        ("Небо голубое, потому что солнечный свет рассеивается в воздухе.", 18),
        ("1234567 89 0.12345 2026-11-23", 17),
        ("# Heading\n\n- first item\n- second item\n\n    indented code\n", 16),
        ("天空之所以是蓝色的，是因为阳光在空气中散射。", 17),
    ];

    #[test]
    fn common_texts_are_near_the_truth() {
        for (text, truth) in COUNTED {
            let (found, truth) = (weight(text) as f64 / 1000.0, truth as f64);
            assert!((found - truth).abs() / truth < 0.25, "{found} for {truth}: {text}");
        }
    }

    #[test]
    fn nothing_weighs_nothing_and_a_space_next_to_nothing() {
        assert_eq!((weight(""), tokens(weight("")), tokens(weight(" "))), (0, 0, 1));
    }
}
