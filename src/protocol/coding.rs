//! A compressed body → what it was made of, piece by piece.
//!
//! Everything that can be had of a piece is given at once: an event that has come is never held until the next one.
//! What a decoder needs and what a piece can become is bounded, whatever the sender wrote.

use std::fmt;

use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};
use bytes::Bytes;
use flate2::{Decompress, FlushDecompress, Status};
use zstd::stream::raw::{DParameter, Decoder as Zstd, Operation};

/// The most that one piece may become; pieces come in tens of kilobytes.
const DECODED_BYTES_MAX: usize = 16 << 20;

/// So much is decoded at a time.
const STEP_BYTES: usize = 16 << 10;

/// 8 MiB, the largest window that RFC 9659 lets a server use.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// 15 bits of window, as RFC 1952 has it.
const GZIP_WINDOW_BITS: u8 = 15;

/// Undoes one content coding.
pub struct Decoder {
    engine: Engine,
    step: Vec<u8>,
    /// Something has come, and its end has not.
    is_open: bool,
}

enum Engine {
    Gzip(Decompress),
    Brotli(Box<Brotli>),
    Zstd(Zstd<'static>),
}

type Brotli = BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>;

/// Why a body cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undecodable {
    /// It is not what its coding says.
    Malformed,
    /// A piece of it becomes too much.
    TooLarge,
    /// It ends in the middle.
    Truncated,
}

/// What one step did.
struct Step {
    read: usize,
    written: usize,
    /// The end of the coded body was reached.
    is_end: bool,
}

impl Decoder {
    /// A decoder for what `content-encoding` names; `None` for a coding that is not known, and for several at once.
    pub fn of(content_encoding: &[u8]) -> Option<Self> {
        let engine = match content_encoding.to_ascii_lowercase().trim_ascii() {
            b"gzip" | b"x-gzip" => Engine::gzip(),
            // Strict: without the windows of up to 1 GiB that are no part of RFC 7932.
            b"br" => Engine::Brotli(Box::new(BrotliState::new_strict(
                StandardAlloc::default(),
                StandardAlloc::default(),
                StandardAlloc::default(),
            ))),
            b"zstd" => {
                let mut decoder = Zstd::new().ok()?;
                decoder.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX)).ok()?;
                Engine::Zstd(decoder)
            }
            _ => return None,
        };
        Some(Self { engine, step: vec![0; STEP_BYTES], is_open: false })
    }

    /// Whether there is a decoder for what `content-encoding` names.
    pub fn knows(content_encoding: &[u8]) -> bool {
        Self::of(content_encoding).is_some()
    }

    /// What a piece of the coded body becomes, together with what came before it.
    pub fn decode(&mut self, piece: &[u8]) -> Result<Bytes, Undecodable> {
        let (mut rest, mut decoded) = (piece, Vec::new());
        self.is_open |= !piece.is_empty();
        while self.is_open {
            let Step { read, written, is_end } = self.engine.step(rest, &mut self.step)?;
            decoded.extend_from_slice(self.step.get(..written).unwrap_or_default());
            rest = rest.get(read..).unwrap_or_default();
            if decoded.len() > DECODED_BYTES_MAX {
                return Err(Undecodable::TooLarge);
            }
            if is_end {
                // Another member may follow the end of one.
                self.is_open = !rest.is_empty();
                self.engine.restart(rest)?;
            } else if read == 0 && written == 0 {
                break;
            }
        }
        Ok(decoded.into())
    }

    /// The coded body has ended.
    pub fn end(&self) -> Result<(), Undecodable> {
        if self.is_open { Err(Undecodable::Truncated) } else { Ok(()) }
    }
}

impl Engine {
    fn gzip() -> Self {
        Self::Gzip(Decompress::new_gzip(GZIP_WINDOW_BITS))
    }

    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, Undecodable> {
        match self {
            Self::Gzip(inflate) => {
                let (read, written) = (inflate.total_in(), inflate.total_out());
                let status = inflate.decompress(input, output, FlushDecompress::Sync);
                let is_end = status.map_err(|_| Undecodable::Malformed)? == Status::StreamEnd;
                let since = |now: u64, before: u64| usize::try_from(now - before).unwrap_or(usize::MAX);
                Ok(Step { read: since(inflate.total_in(), read), written: since(inflate.total_out(), written), is_end })
            }
            Self::Brotli(state) => {
                let (mut unread, mut read, mut unwritten, mut written) = (input.len(), 0, output.len(), 0);
                let mut total = 0;
                let result = BrotliDecompressStream(
                    &mut unread,
                    &mut read,
                    input,
                    &mut unwritten,
                    &mut written,
                    output,
                    &mut total,
                    state,
                );
                match result {
                    BrotliResult::ResultFailure => Err(Undecodable::Malformed),
                    result => Ok(Step { read, written, is_end: matches!(result, BrotliResult::ResultSuccess) }),
                }
            }
            Self::Zstd(decoder) => {
                let status = decoder.run_on_buffers(input, output).map_err(|_| Undecodable::Malformed)?;
                // At the end of a frame nothing remains of it.
                let is_end = status.remaining == 0 && status.bytes_read > 0;
                Ok(Step { read: status.bytes_read, written: status.bytes_written, is_end })
            }
        }
    }

    /// Makes ready for what may follow an end.
    fn restart(&mut self, rest: &[u8]) -> Result<(), Undecodable> {
        match self {
            Self::Gzip(_) => *self = Self::gzip(),
            Self::Brotli(_) if !rest.is_empty() => return Err(Undecodable::Malformed),
            // It knows by itself that frames follow one another.
            Self::Brotli(_) | Self::Zstd(_) => {}
        }
        Ok(())
    }
}

impl Undecodable {
    pub fn label(self) -> &'static str {
        match self {
            Self::Malformed => "its compression is broken",
            Self::TooLarge => "a piece of it decompresses to too much",
            Self::Truncated => "it ends in the middle of its compression",
        }
    }
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder").field("is_open", &self.is_open).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    const CODINGS: [&str; 3] = ["gzip", "br", "zstd"];

    fn encode(coding: &str, pieces: &[&[u8]]) -> Vec<Vec<u8>> {
        fn run<W: Write>(mut encoder: W, pieces: &[&[u8]], taken: impl Fn(&mut W) -> Vec<u8>) -> (W, Vec<Vec<u8>>) {
            let mut coded = Vec::new();
            for piece in pieces {
                encoder.write_all(piece).unwrap();
                encoder.flush().unwrap();
                coded.push(taken(&mut encoder));
            }
            (encoder, coded)
        }
        match coding {
            "gzip" => {
                let encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                let (encoder, mut coded) = run(encoder, pieces, |encoder| std::mem::take(encoder.get_mut()));
                coded.push(encoder.finish().unwrap());
                coded
            }
            "zstd" => {
                let encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
                let (encoder, mut coded) = run(encoder, pieces, |encoder| std::mem::take(encoder.get_mut()));
                coded.push(encoder.finish().unwrap());
                coded
            }
            _ => {
                let encoder = brotli::CompressorWriter::new(Vec::new(), 4096, 4, 18);
                let (encoder, mut coded) = run(encoder, pieces, |encoder| std::mem::take(encoder.get_mut()));
                coded.push(encoder.into_inner());
                coded
            }
        }
    }

    fn decode<'a>(coding: &str, pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<u8>, Undecodable> {
        let mut decoder = Decoder::of(coding.as_bytes()).unwrap();
        let mut decoded = Vec::new();
        for piece in pieces {
            decoded.extend_from_slice(&decoder.decode(piece)?);
        }
        decoder.end()?;
        Ok(decoded)
    }

    #[test]
    fn what_was_flushed_is_given_at_once() {
        for coding in CODINGS {
            let events: [&[u8]; 3] = [b"data: one\n\n", b"data: two\n\n", b"data: [DONE]\n\n"];
            let mut decoder = Decoder::of(coding.as_bytes()).unwrap();
            let coded = encode(coding, &events);
            for (piece, event) in coded.iter().zip(events) {
                assert_eq!(decoder.decode(piece).unwrap(), event, "{coding}");
            }
            assert_eq!(decoder.decode(&coded[3]).unwrap(), "", "{coding}");
            assert_eq!(decoder.end(), Ok(()), "{coding}");
        }
    }

    #[test]
    fn names_are_read_as_http_has_them() {
        for name in ["GZip", " br ", "x-gzip", "zstd"] {
            assert!(Decoder::of(name.as_bytes()).is_some(), "{name}");
        }
        for name in ["identity", "deflate", "gzip, br", "", "dcb"] {
            assert!(Decoder::of(name.as_bytes()).is_none(), "{name}");
        }
    }

    #[test]
    fn members_follow_one_another() {
        for coding in ["gzip", "zstd"] {
            let two = [encode(coding, &[b"one "]).concat(), encode(coding, &[b"two"]).concat()].concat();
            assert_eq!(decode(coding, [two.as_slice()]).unwrap(), b"one two");
            assert_eq!(decode(coding, two.chunks(1)).unwrap(), b"one two");
        }
        let two = [encode("br", &[b"one "]).concat(), b"two".to_vec()].concat();
        assert_eq!(decode("br", [two.as_slice()]), Err(Undecodable::Malformed));
    }

    #[test]
    fn nothing_becomes_nothing_and_half_is_noticed() {
        for coding in CODINGS {
            assert_eq!(decode(coding, []).unwrap(), b"");
            assert_eq!(decode(coding, [&b""[..]]).unwrap(), b"");
            let whole = encode(coding, &[b"some text that is cut"]).concat();
            assert_eq!(decode(coding, [&whole[..whole.len() - 3]]), Err(Undecodable::Truncated), "{coding}");
        }
    }

    #[test]
    fn a_little_cannot_become_very_much() {
        let zeros = vec![0; 64 << 20];
        for coding in CODINGS {
            let bomb = encode(coding, &[&zeros]).concat();
            assert!(bomb.len() < 1 << 20, "{coding}");
            assert_eq!(decode(coding, [bomb.as_slice()]), Err(Undecodable::TooLarge), "{coding}");
        }
    }

    #[test]
    fn windows_beyond_those_of_the_web_are_refused() {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(27).unwrap();
        encoder.write_all(b"text").unwrap();
        assert_eq!(decode("zstd", [encoder.finish().unwrap().as_slice()]), Err(Undecodable::Malformed));
        // The head of a large-window stream, which is no part of the standard.
        assert_eq!(decode("br", [&[0x11, 0x1e, 0, 0, 0, 0][..]]), Err(Undecodable::Malformed));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_cut_gives_the_same(text in "[a-f\n]{0,2000}", cuts in prop::collection::vec(0.0..1.0_f64, 0..12)) {
            for coding in CODINGS {
                let coded = encode(coding, &[text.as_bytes()]).concat();
                let mut cuts: Vec<_> = cuts.iter().map(|cut| (cut * coded.len() as f64) as usize).collect();
                cuts.extend([0, coded.len()]);
                cuts.sort_unstable();
                let decoded = decode(coding, cuts.windows(2).map(|cut| &coded[cut[0]..cut[1]]));
                prop_assert_eq!(decoded.as_deref(), Ok(text.as_bytes()));
            }
        }

        #[test]
        fn nonsense_is_an_error_or_text_and_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            for coding in CODINGS {
                let _ = decode(coding, bytes.chunks(7));
                let mut damaged = encode(coding, &[b"some text that is damaged on its way"]).concat();
                for (at, byte) in bytes.iter().enumerate().step_by(29) {
                    let length = damaged.len();
                    damaged[(at * 31 + usize::from(*byte)) % length] ^= byte;
                }
                let _ = decode(coding, [damaged.as_slice()]);
            }
        }
    }
}
