//! A chunked body (RFC 9112 §7.1) as it passes: what is handed on is sizes and data. Extensions and trailers, which
//! nobody here has a use for and which have been used to hide requests, are checked and taken out.

use super::bytes::{is_control, is_token_byte};

/// Hexadecimal digits of a size; 8 are 4 GiB.
const SIZE_DIGITS_MAX: u32 = 8;
/// Extensions, over the whole body: a few bytes with each chunk would make a body of a gigabyte that holds nothing
/// (RFC 9112 §7.1.1 asks for this limit).
const EXTENSION_BYTES_MAX: usize = 4096;
/// The trailer section.
const TRAILER_BYTES_MAX: usize = 8192;

/// How far a body has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chunks {
    at: At,
    digits: u32,
    /// The size that is being read, then what is left of the chunk.
    left: u64,
    extension_bytes: usize,
    trailer_bytes: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    #[default]
    Size,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// Where a trailer's name begins, or the empty line that ends the body.
    Trailer,
    TrailerName,
    TrailerValue,
    TrailerLf,
    LastLf,
    End,
}

/// What became of a piece of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passed {
    /// How many bytes, now at the beginning of the piece, are handed on.
    pub kept: usize,
    /// How many bytes of the piece were the body's; what follows them belongs to whatever comes next.
    pub used: usize,
}

/// The body is not framed as RFC 9112 §7.1 says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkFault;

impl Chunks {
    /// Whether the body has ended.
    pub fn has_ended(&self) -> bool {
        self.at == At::End
    }

    /// Reads on through `piece`, in which what is handed on moves to the beginning.
    pub fn pass(&mut self, piece: &mut [u8]) -> Result<Passed, ChunkFault> {
        let (mut kept, mut used) = (0, 0);
        while used < piece.len() && self.at != At::End {
            if self.at == At::Data {
                let length = usize::try_from(self.left).unwrap_or(usize::MAX).min(piece.len() - used);
                if kept != used {
                    piece.copy_within(used..used + length, kept);
                }
                (kept, used) = (kept + length, used + length);
                self.left -= length as u64;
                if self.left == 0 {
                    self.at = At::DataCr;
                }
                continue;
            }
            let byte = piece[used];
            used += 1;
            if self.step(byte)? {
                piece[kept] = byte;
                kept += 1;
            }
        }
        Ok(Passed { kept, used })
    }

    /// One byte outside of a chunk's data; whether it is handed on.
    fn step(&mut self, byte: u8) -> Result<bool, ChunkFault> {
        let (next, keep) = match (self.at, byte) {
            (At::Size, b'\r') if self.digits > 0 => (At::SizeLf, true),
            (At::Size, b';') if self.digits > 0 => (self.extension()?, false),
            (At::Size, digit) => (self.size(digit)?, true),
            (At::Extension, b'\r') => (At::SizeLf, true),
            (At::Extension, byte) if !is_control(byte) => (self.extension()?, false),
            (At::SizeLf, b'\n') if self.left > 0 => (At::Data, true),
            (At::SizeLf, b'\n') => (At::Trailer, true),
            (At::DataCr, b'\r') => (At::DataLf, true),
            (At::DataLf, b'\n') => {
                self.digits = 0;
                (At::Size, true)
            }
            (At::Trailer, b'\r') => (At::LastLf, true),
            (At::Trailer | At::TrailerName, byte) if is_token_byte(byte) => (self.trailer(At::TrailerName)?, false),
            (At::TrailerName, b':') => (self.trailer(At::TrailerValue)?, false),
            (At::TrailerValue, b'\r') => (self.trailer(At::TrailerLf)?, false),
            (At::TrailerValue, byte) if !is_control(byte) => (self.trailer(At::TrailerValue)?, false),
            (At::TrailerLf, b'\n') => (self.trailer(At::Trailer)?, false),
            (At::LastLf, b'\n') => (At::End, true),
            _ => return Err(ChunkFault),
        };
        self.at = next;
        Ok(keep)
    }

    fn size(&mut self, digit: u8) -> Result<At, ChunkFault> {
        let value = char::from(digit).to_digit(16).ok_or(ChunkFault)?;
        self.digits += 1;
        if self.digits > SIZE_DIGITS_MAX {
            return Err(ChunkFault);
        }
        self.left = self.left * 16 + u64::from(value);
        Ok(At::Size)
    }

    fn extension(&mut self) -> Result<At, ChunkFault> {
        self.extension_bytes += 1;
        if self.extension_bytes > EXTENSION_BYTES_MAX { Err(ChunkFault) } else { Ok(At::Extension) }
    }

    fn trailer(&mut self, next: At) -> Result<At, ChunkFault> {
        self.trailer_bytes += 1;
        if self.trailer_bytes > TRAILER_BYTES_MAX { Err(ChunkFault) } else { Ok(next) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is handed on of a body that arrives in pieces of `size` bytes, and what was left over.
    fn passed(body: &str, size: usize) -> Result<(String, String), ChunkFault> {
        let (mut chunks, mut kept) = (Chunks::default(), Vec::new());
        let mut rest = body.as_bytes().to_vec();
        while !rest.is_empty() && !chunks.has_ended() {
            let mut piece: Vec<u8> = rest.drain(..size.min(rest.len())).collect();
            let passed = chunks.pass(&mut piece)?;
            kept.extend_from_slice(&piece[..passed.kept]);
            rest.splice(..0, piece[passed.used..].iter().copied());
        }
        assert!(chunks.has_ended(), "{body:?}");
        Ok((String::from_utf8(kept).unwrap(), String::from_utf8(rest).unwrap()))
    }

    #[test]
    fn sizes_and_data_are_handed_on_and_nothing_else_however_they_arrive() {
        for (body, kept, left) in [
            ("0\r\n\r\n", "0\r\n\r\n", ""),
            ("5\r\nhello\r\n0\r\n\r\n", "5\r\nhello\r\n0\r\n\r\n", ""),
            ("5;a=b;c=\"d e\"\r\nhello\r\n0;x\r\n\r\nGET", "5\r\nhello\r\n0\r\n\r\n", "GET"),
            (
                "5\r\n0\r\n\r\n\r\n1\r\nx\r\n0\r\nA: b\r\nC:\r\n\r\n\r\n",
                "5\r\n0\r\n\r\n\r\n1\r\nx\r\n0\r\n\r\n",
                "\r\n",
            ),
            ("0000000A\r\n0123456789\r\n00\r\n\r\n", "0000000A\r\n0123456789\r\n00\r\n\r\n", ""),
        ] {
            for size in 1..=body.len() {
                assert_eq!(passed(body, size), Ok((kept.into(), left.into())), "{body:?} by {size}");
            }
        }
    }

    #[test]
    fn what_parsers_disagree_on_is_refused() {
        for body in [
            "\r\n\r\n", // an empty size, which some take for 0
            ";a\r\n\r\n",
            "5\nhello\r\n0\r\n\r\n", // bare LF
            "5\r\nhello\n0\r\n\r\n",
            "5\r\nhello0\r\n\r\n",
            "5 \r\nhello\r\n0\r\n\r\n", // a space that some skip
            " 5\r\nhello\r\n0\r\n\r\n",
            "+5\r\nhello\r\n0\r\n\r\n",
            "-1\r\nhello\r\n0\r\n\r\n",
            "0x5\r\nhello\r\n0\r\n\r\n",
            "5,5\r\nhello\r\n0\r\n\r\n",
            "5_\r\nhello\r\n0\r\n\r\n",
            "000000005\r\nhello\r\n0\r\n\r\n",
            "fffffffff\r\nx",
            "5;a\nb\r\nhello\r\n0\r\n\r\n", // a line's end within an extension
            "5;a\0\r\nhello\r\n0\r\n\r\n",
            "5;a\rb\r\nhello\r\n0\r\n\r\n",
            "4\r\nhello\r\n0\r\n\r\n",
            "6\r\nhello\r\n0\r\n\r\n",
            "0\r\nbad name: x\r\n\r\n",
            "0\r\n folded\r\n\r\n",
            "0\r\nno colon\r\n\r\n",
            "0\r\na: b\nc: d\r\n\r\n",
            "0\r\na: \0\r\n\r\n",
            "0\r\n\rx",
        ] {
            for size in [1, body.len()] {
                assert_eq!(passed(body, size), Err(ChunkFault), "{body:?}");
            }
        }
    }

    #[test]
    fn extensions_and_trailers_have_an_end() {
        let extension = format!("1;{}\r\nx\r\n0\r\n\r\n", "e".repeat(EXTENSION_BYTES_MAX + 1));
        let trailer = format!("0\r\nt: {}\r\n\r\n", "t".repeat(TRAILER_BYTES_MAX));
        let many = "1;ee\r\nx\r\n".repeat(EXTENSION_BYTES_MAX);
        let empty = "1;\r\nx\r\n".repeat(EXTENSION_BYTES_MAX + 1);
        let short = format!("0\r\n{}\r\n", "a: b\r\n".repeat(TRAILER_BYTES_MAX / 6 + 1));
        for body in [extension, trailer, many, empty, short] {
            assert_eq!(passed(&body, 1000), Err(ChunkFault));
        }
    }
}
