//! Most chunks of a stream differ from the one before in their text alone. Such a chunk is known without being parsed
//! again: before and behind its text it is, byte for byte, the chunk that was parsed.

use std::ops::Range;

use memchr::memmem;

use crate::protocol::estimate::weight;
use crate::protocol::meter::Reading;

/// A larger chunk is not remembered.
const CHUNK_BYTES_MAX: usize = 2048;

/// After so many chunks in a row that were not alike, no more are remembered: some servers put something random into
/// each.
const MISSES_MAX: u8 = 8;

/// The last chunk that was parsed, if it was an ordinary one with text.
#[derive(Clone, Debug, Default)]
pub(super) struct Alike {
    chunk: Vec<u8>,
    /// Where its text stands; empty while there is no chunk.
    text: Range<usize>,
    /// Where a `"usage":null` of its has the `null`.
    null: Option<Range<usize>>,
    misses: u8,
}

impl Alike {
    /// The weight of the text in `chunk`, and how it reads, if it is like the one before.
    pub(super) fn read(&self, chunk: &[u8]) -> Option<(u64, Reading)> {
        if self.text.is_empty() {
            return None;
        }
        let text = chunk.strip_prefix(self.chunk.get(..self.text.start)?)?;
        let text = text.strip_suffix(self.chunk.get(self.text.end..)?)?;
        let text = plain(text).filter(|text| !text.is_empty())?;
        let reading = match &self.null {
            None => Reading::Ordinary,
            Some(null) if null.end <= self.text.start => Reading::NullUsage(null.clone()),
            Some(null) => {
                let moved = |at: usize| at + text.len() - self.text.len();
                Reading::NullUsage(moved(null.start)..moved(null.end))
            }
        };
        Some((weight(text), reading))
    }

    /// Remembers a chunk of which nothing but content of this weight was learned.
    pub(super) fn remember(&mut self, chunk: &[u8], text_weight: u64, reading: &Reading) {
        self.forget();
        if self.misses >= MISSES_MAX || chunk.len() > CHUNK_BYTES_MAX {
            return;
        }
        let weighs = |text: &Range<usize>| chunk.get(text.clone()).and_then(plain).map(weight) == Some(text_weight);
        let Some(text) = content(chunk).filter(weighs) else { return };
        self.misses += 1;
        self.chunk.extend_from_slice(chunk);
        self.text = text;
        self.null = match reading {
            Reading::NullUsage(null) => Some(null.clone()),
            Reading::Ordinary | Reading::UsageAlone => None,
        };
    }

    /// The chunk was known.
    pub(super) fn hit(&mut self) {
        self.misses = 0;
    }

    pub(super) fn forget(&mut self) {
        self.chunk.clear();
        self.text = 0..0;
    }
}

/// Where the text of the only `content` stands, if it is plain.
fn content(chunk: &[u8]) -> Option<Range<usize>> {
    const NAME: &[u8] = b"\"content\":";
    let mut found = memmem::find_iter(chunk, NAME);
    let after = found.next()? + NAME.len();
    if found.next().is_some() {
        return None;
    }
    let value = chunk.get(after..)?.trim_ascii_start();
    let start = chunk.len() - value.strip_prefix(b"\"")?.len();
    let length = memchr::memchr(b'"', chunk.get(start..)?)?;
    Some(start..start + length)
}

/// The text that these bytes are inside of a JSON string, if they are it as they stand.
fn plain(text: &[u8]) -> Option<&str> {
    let is_special = |&byte: &u8| byte < b' ' || byte == b'"' || byte == b'\\';
    std::str::from_utf8(text).ok().filter(|text| !text.as_bytes().iter().any(is_special))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::meter::Metered;
    use crate::protocol::openai::chat::Reader;

    fn chunk(text: &str, rest: &str) -> String {
        format!(
            r#"{{"id":"c-1","model":"m","choices":[{{"index":0,"delta":{{"content":"{text}"}},"finish_reason":null}}]{rest}}}"#
        )
    }

    #[test]
    fn what_is_known_reads_as_if_it_were_parsed() {
        let rests =
            ["", r#","usage":null"#, r#","usage":{"prompt_tokens":1,"completion_tokens":2}"#, r#","error":{}"#, "}"];
        let texts = ["a", "b c", "", "é", "\\n", "x\\\"y", "\u{1}", "a\",\"b\":\"c"];
        let mut seen = 0;
        for first in rests {
            for second in rests {
                let mut following = Reader::default();
                let mut learned = Metered::default();
                for (text, rest) in texts.iter().flat_map(|text| [(text, first), (text, first), (text, second)]) {
                    let data = chunk(text, rest);
                    let (mut parsing, mut told) = (following.clone(), learned.clone());
                    seen += usize::from(following.alike.read(data.as_bytes()).is_some());
                    let known = following.event(data.as_bytes(), &mut learned);
                    assert_eq!(known, parsing.parse(data.as_bytes(), &mut told), "{data}");
                    assert_eq!(learned, told, "{data}");
                }
            }
        }
        assert!(seen > 20, "{seen} chunks were known");
    }

    #[test]
    fn a_stream_with_something_random_in_each_chunk_is_soon_left_alone() {
        let (mut reader, mut metered) = (Reader::default(), Metered::default());
        for number in 0..20 {
            reader.event(chunk("text", &format!(r#","obfuscation":"{number}""#)).as_bytes(), &mut metered);
        }
        assert!(reader.alike.text.is_empty());
        assert_eq!(metered.text_weight, 20 * weight("text"));
    }

    #[test]
    fn text_that_stands_elsewhere_is_not_taken_for_the_answers() {
        for data in [
            r#"{"choices":[{"delta":{"content":"ab","x":{"content":"cd"}}}]}"#,
            r#"{"choices":[{"delta":{"content":"a\nb"}}]}"#,
            r#"{"choices":[{"delta":{"reasoning":"abc"}}]}"#,
        ] {
            let mut alike = Alike::default();
            alike.remember(data.as_bytes(), weight("ab"), &Reading::Ordinary);
            assert!(alike.text.is_empty(), "{data}");
        }
    }
}
