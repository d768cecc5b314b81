//! Where the digits of a text are. Most text has few, so it is looked at 64 bytes at a time.

/// How many digits of a run are counted: more than any match begins with.
const COUNT_MAX: usize = 32;
const BLOCK: usize = 64;

/// Digits that stand together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    pub start: usize,
    pub first: u8,
    /// How many there are, up to [`COUNT_MAX`].
    pub count: usize,
    /// What stands behind them, if they were all counted and the text goes on.
    pub next: Option<u8>,
}

/// The runs of digits in a text.
pub struct Runs<'a> {
    bytes: &'a [u8],
    /// Where the next block begins.
    at: usize,
    /// Where runs begin in the present block, a bit for each byte.
    starts: u64,
    /// The present block's last byte is a digit.
    is_inside: bool,
}

impl<'a> Runs<'a> {
    /// Those that begin at `from` or behind.
    pub fn of(bytes: &'a [u8], from: usize) -> Self {
        let is_inside = from.checked_sub(1).and_then(|before| bytes.get(before)).is_some_and(u8::is_ascii_digit);
        Self { bytes, at: from, starts: 0, is_inside }
    }

    fn run(&self, start: usize) -> Run {
        let rest = self.bytes.get(start..).unwrap_or_default();
        let count = rest.iter().take(COUNT_MAX).take_while(|byte| byte.is_ascii_digit()).count();
        Run { start, first: rest.first().copied().unwrap_or_default(), count, next: rest.get(count).copied() }
    }
}

impl Iterator for Runs<'_> {
    type Item = Run;

    fn next(&mut self) -> Option<Run> {
        while self.starts == 0 {
            let rest = self.bytes.get(self.at..).filter(|rest| !rest.is_empty())?;
            let digits = match rest.first_chunk::<BLOCK>() {
                Some(block) => digits(block),
                None => {
                    let mut block = [0; BLOCK];
                    block.iter_mut().zip(rest).for_each(|(byte, last)| *byte = *last);
                    digits(&block)
                }
            };
            self.starts = digits & !(digits << 1 | u64::from(self.is_inside));
            self.is_inside = digits >> (BLOCK - 1) == 1;
            self.at += BLOCK;
        }
        let bit = self.starts.trailing_zeros() as usize;
        self.starts &= self.starts - 1;
        Some(self.run(self.at - BLOCK + bit))
    }
}

/// Which bytes of a block are digits: the first is the lowest bit.
fn digits(block: &[u8; BLOCK]) -> u64 {
    let (words, _) = block.as_chunks::<8>();
    words.iter().rev().fold(0, |mask, word| mask << 8 | eight(u64::from_le_bytes(*word)))
}

/// The same for eight bytes, at once.
fn eight(word: u64) -> u64 {
    const EACH: u64 = 0x0101_0101_0101_0101;
    const TOP: u64 = 0x80 * EACH;
    // Digits become 0 to 9; adding 0x76 carries what is more into the top bit.
    let value = word ^ (u64::from(b'0') * EACH);
    let digits = !(((value & !TOP) + 0x76 * EACH) | value) & TOP;
    // The top bits come together in the top byte.
    (digits >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn runs_are_where_digits_begin(text in "[0-9a/:é\u{0}]{0,200}", from in 0_usize..200) {
            let bytes = text.as_bytes();
            let begins = |at: &usize| bytes[*at].is_ascii_digit() && (*at == 0 || !bytes[*at - 1].is_ascii_digit());
            let expected: Vec<_> = (from.min(bytes.len())..bytes.len()).filter(begins).collect();
            let runs: Vec<_> = Runs::of(bytes, from).collect();
            prop_assert_eq!(runs.iter().map(|run| run.start).collect::<Vec<_>>(), expected);
            for run in runs {
                let length = bytes[run.start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
                prop_assert_eq!((run.first, run.count), (bytes[run.start], length.min(COUNT_MAX)));
                prop_assert_eq!(run.next, bytes.get(run.start + run.count).copied());
            }
        }
    }
}
