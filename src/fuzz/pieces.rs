//! Bytes as a network delivers them: in one piece, byte by byte, or anyhow.

/// Divides bytes by a seed: 0 is one piece, 1 is single bytes.
pub struct Pieces<'a> {
    rest: &'a [u8],
    seed: u8,
    state: u32,
}

pub fn pieces(bytes: &[u8], seed: u8) -> Pieces<'_> {
    Pieces { rest: bytes, seed, state: u32::from(seed) }
}

/// The first byte, and the rest in one piece and in those that the first byte says.
pub fn seeded(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let (&seed, bytes) = bytes.split_first()?;
    Some((seed, bytes))
}

impl<'a> Iterator for Pieces<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        self.state = self.state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let length = match self.seed {
            0 => self.rest.len(),
            1 => 1,
            _ => 1 + (self.state >> 24) as usize % (usize::from(self.seed) * 2),
        };
        let (piece, rest) = self.rest.split_at(length.min(self.rest.len()));
        self.rest = rest;
        Some(piece)
    }
}
