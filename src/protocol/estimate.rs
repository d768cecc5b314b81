//! Tokens, where the provider did not get to say.
//!
//! An estimate is an estimate: four bytes of text a token, which is near the truth for English prose, too
//! low for code and too high for scripts with long encodings. It is never below what the provider has
//! already reported.

use crate::domain::{Tokens, Usage, UsageSource};

use super::Endpoint;
use super::meter::Metered;

/// The tokens that this many bytes of text make.
pub fn tokens(text_bytes: u64) -> u64 {
    text_bytes.div_ceil(4)
}

/// What a request used. `request_bytes` is the size of the body that the provider was given; 0 if it was
/// given none.
pub fn usage(endpoint: Endpoint, metered: &Metered, request_bytes: u64) -> Usage {
    let complete = metered.complete || metered.is_final;
    if endpoint.is_free() {
        return Usage { complete, ..Usage::default() };
    }
    let Metered { tier, web_searches, charged, .. } = *metered;
    match metered.tokens {
        Some(tokens) if metered.is_final => {
            Usage { tokens, tier, web_searches, charged, source: UsageSource::Provider, complete }
        }
        None if endpoint.is_media() => Usage { complete, charged, ..Usage::default() },
        reported => {
            let tokens = at_least(reported.unwrap_or_default(), request_bytes, metered.text_bytes);
            let is_nothing = tokens == Tokens::default();
            let source = if is_nothing { UsageSource::None } else { UsageSource::Estimated };
            Usage { tokens, tier, web_searches, charged, source, complete }
        }
    }
}

/// `reported`, filled up by what was seen. An input that was reported is exact already.
fn at_least(reported: Tokens, request_bytes: u64, text_bytes: u64) -> Tokens {
    let input = if reported.input == 0 { tokens(request_bytes) } else { reported.input };
    Tokens { input, output: reported.output.max(tokens(text_bytes)), ..reported }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHAT: Endpoint = Endpoint::ChatCompletions;

    #[test]
    fn the_provider_s_last_word_stands() {
        let tokens = Tokens { input: 3, output: 1, ..Tokens::default() };
        let metered = Metered { tokens: Some(tokens), is_final: true, text_bytes: 4000, ..Metered::default() };
        assert_eq!(
            usage(CHAT, &metered, 4000),
            Usage { tokens, source: UsageSource::Provider, complete: true, ..Usage::default() }
        );
    }

    #[test]
    fn a_cut_answer_is_estimated_but_never_below_what_was_reported() {
        let reported = Tokens { input: 300, cache_read: 200, output: 7, ..Tokens::default() };
        let at = |text_bytes| {
            let metered = Metered { tokens: Some(reported), text_bytes, ..Metered::default() };
            usage(CHAT, &metered, 8000)
        };
        let expected = |output| Usage {
            tokens: Tokens { output, ..reported },
            source: UsageSource::Estimated,
            ..Usage::default()
        };
        assert_eq!((at(8), at(41)), (expected(7), expected(11)));
    }

    #[test]
    fn without_any_figure_both_sides_are_estimated() {
        let metered = Metered { text_bytes: 5, complete: true, ..Metered::default() };
        let tokens = Tokens { input: 25, output: 2, ..Tokens::default() };
        assert_eq!(
            usage(CHAT, &metered, 100),
            Usage { tokens, source: UsageSource::Estimated, complete: true, ..Usage::default() }
        );
    }

    #[test]
    fn what_never_left_or_is_free_used_nothing() {
        assert_eq!(usage(CHAT, &Metered::default(), 0), Usage::default());
        let metered = Metered { complete: true, ..Metered::default() };
        assert_eq!(usage(Endpoint::CountTokens, &metered, 100), Usage { complete: true, ..Usage::default() });
    }
}
