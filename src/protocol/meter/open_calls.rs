//! Which tool calls are half sent.

use crate::protocol::json::lenient::Count;

/// A set of choices, blocks or items, by index. All beyond the 63rd share a bit, which stays set once it is:
/// it is safer to take a whole call for a torn one than the reverse.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct OpenCalls(u64);

const SHARED: u64 = 1 << 63;

impl OpenCalls {
    /// The set with the one at `index`; without a figure it is the first.
    pub(crate) fn bit(index: Count) -> u64 {
        1 << index.0.unwrap_or(0).min(63)
    }

    pub(crate) fn open(&mut self, bits: u64) {
        self.0 |= bits;
    }

    pub(crate) fn close(&mut self, bits: u64) {
        self.0 &= !bits | SHARED;
    }

    pub(crate) fn any(self) -> bool {
        self.0 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_open_until_they_are_closed() {
        let mut calls = OpenCalls::default();
        let [first, third, far] = [0, 2, 100].map(|index| OpenCalls::bit(Count(Some(index))));
        calls.open(first | third);
        calls.close(first);
        assert!(calls.any());
        calls.close(third);
        assert!(!calls.any());
        calls.open(far);
        calls.close(far);
        assert!(calls.any());
    }
}
