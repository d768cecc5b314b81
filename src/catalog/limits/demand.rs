//! What a request may use, at worst and as a rule.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::domain::{ModelPrice, NanoUsd, ServiceTier, Spending};

/// How many tokens an answer is taken to have while nothing is known of its key.
const OUTPUT_TOKENS_UNKNOWN: u64 = 4096;
/// Tokens that a provider may add to what it is sent: its own instructions around tools, marks between messages.
const INPUT_TOKENS_ADDED: u64 = 1024;

/// What a request asks for, as limits see it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Demand<'a> {
    /// The model by the name the caller asks for; `None` while it is not known.
    pub model: Option<&'a str>,
    /// The tokens it will probably use; for rates.
    pub input_tokens: u64,
    pub output_tokens: u64,
    /// The most it can use; for budgets.
    pub bound: Spending,
}

/// What is known of a request's size before it is answered.
#[derive(Clone, Copy, Debug)]
pub struct Size<'a> {
    pub body_bytes: u64,
    /// Tokens the body stands for, as far as can be told.
    pub input_tokens: u64,
    /// The most tokens the caller lets the model produce, over all answers it wants.
    pub output_tokens_max: Option<u64>,
    pub price: Option<&'a ModelPrice>,
    /// The service tier the caller asks for.
    pub tier: ServiceTier,
}

/// How large a key's answers are. A mark that high ones raise at once and low ones lower slowly, so that it is
/// seldom too low.
#[derive(Debug, Default)]
pub struct Learned(AtomicU32);

impl<'a> Demand<'a> {
    /// For a request of `model` that a provider is asked to answer.
    ///
    /// The bound never underestimates where the caller limits the output: a token of the byte-level encodings in
    /// use stands for at least one byte, so that there are no more of them than bytes, and providers charge for no
    /// more output than they were allowed. What a body only refers to (an image's address, a file, an earlier
    /// response) is not in its bytes.
    pub fn new(model: &'a str, size: Size<'_>, learned: &Learned) -> Self {
        let usual = learned.get();
        let (input, output) = (size.body_bytes + INPUT_TOKENS_ADDED, size.output_tokens_max.unwrap_or(usual));
        Self {
            model: Some(model),
            input_tokens: size.input_tokens,
            output_tokens: output.min(usual),
            bound: Spending {
                money: size.price.map_or(NanoUsd(0), |price| price.dearest(input, output, size.tier)),
                tokens: input.saturating_add(output),
            },
        }
    }
}

impl Learned {
    pub fn get(&self) -> u64 {
        match self.0.load(Ordering::Relaxed) {
            0 => OUTPUT_TOKENS_UNKNOWN,
            known => known.into(),
        }
    }

    /// Takes note of an answer. Two at once may lose one of them, which matters little.
    pub fn note(&self, output_tokens: u64) {
        let tokens = u32::try_from(output_tokens).unwrap_or(u32::MAX).max(1);
        let known = self.0.load(Ordering::Relaxed);
        self.0.store(tokens.max(known - known / 16), Ordering::Relaxed);
    }
}
