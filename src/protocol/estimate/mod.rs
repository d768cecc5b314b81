//! Tokens, where the provider did not get to say.
//!
//! An estimate is an estimate; `docs/METERING.md` says how far off it is. It is never below what the provider has
//! already reported, and beyond that it covers only the text that came after the report.

mod request; // the tokens of a request's body
mod text; // the tokens of a text, by what its characters are

use crate::domain::{Tokens, Usage, UsageSource};

use super::Endpoint;
use super::meter::Metered;

pub(crate) use text::weight;

/// The tokens that a request to `endpoint` with this body gives the model; nothing is known of pictures and sound.
pub fn input(endpoint: Endpoint, body: &[u8]) -> u64 {
    if endpoint.is_free() || endpoint.is_media() { 0 } else { request::input(body) }
}

/// What a request used. `input` estimates what the provider was given, and is asked only where that is not known.
pub fn usage(endpoint: Endpoint, metered: &Metered, input: impl FnOnce() -> u64) -> Usage {
    let complete = metered.complete || metered.is_final;
    if endpoint.is_free() {
        return Usage { complete, ..Usage::default() };
    }
    let Metered { tier, web_searches, charged, .. } = *metered;
    match metered.tokens {
        Some(tokens) if metered.is_final => {
            let tokens = tokens.bounded();
            Usage { tokens, tier, web_searches, charged, source: UsageSource::Provider, complete }
        }
        None if endpoint.is_media() => Usage { complete, charged, ..Usage::default() },
        reported => {
            let tokens = filled_up(reported.unwrap_or_default(), input, metered).bounded();
            let is_nothing = tokens == Tokens::default();
            let source = if is_nothing { UsageSource::None } else { UsageSource::Estimated };
            Usage { tokens, tier, web_searches, charged, source, complete }
        }
    }
}

/// `reported`, filled up by what was seen since. An input that was reported is exact already.
fn filled_up(reported: Tokens, input: impl FnOnce() -> u64, metered: &Metered) -> Tokens {
    let input = if reported.input == 0 { input() } else { reported.input };
    let unreported = metered.text_weight.saturating_sub(metered.reported_weight);
    Tokens { input, output: reported.output.saturating_add(text::tokens(unreported)), ..reported }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHAT: Endpoint = Endpoint::ChatCompletions;

    fn estimated(tokens: Tokens) -> Usage {
        Usage { tokens, source: UsageSource::Estimated, ..Usage::default() }
    }

    #[test]
    fn no_part_is_larger_than_its_whole_whatever_a_provider_says() {
        let tokens = Tokens { input: 3, cache_read: 4, output: 57, reasoning: 60, ..Tokens::default() };
        let metered = Metered { tokens: Some(tokens), is_final: true, ..Metered::default() };
        let Usage { tokens, .. } = usage(CHAT, &metered, || 1000);
        assert_eq!(tokens, Tokens { input: 3, cache_read: 3, output: 57, reasoning: 57, ..Tokens::default() });
    }

    #[test]
    fn the_provider_s_last_word_stands() {
        let tokens = Tokens { input: 3, output: 1, ..Tokens::default() };
        let metered = Metered { tokens: Some(tokens), is_final: true, text_weight: 4000, ..Metered::default() };
        let expected = Usage { tokens, source: UsageSource::Provider, complete: true, ..Usage::default() };
        assert_eq!(usage(CHAT, &metered, || 1000), expected);
    }

    #[test]
    fn a_cut_answer_is_what_was_reported_and_the_text_since() {
        let reported = Tokens { input: 300, cache_read: 200, output: 7, ..Tokens::default() };
        let at = |text_weight| {
            let metered = Metered { tokens: Some(reported), text_weight, reported_weight: 6_500, ..Metered::default() };
            usage(CHAT, &metered, || 2000)
        };
        let expected = |output| estimated(Tokens { output, ..reported });
        assert_eq!((at(6_500), at(10_400)), (expected(7), expected(11)));
    }

    #[test]
    fn without_any_figure_both_sides_are_estimated() {
        let metered = Metered { text_weight: 1_500, complete: true, ..Metered::default() };
        let tokens = Tokens { input: 25, output: 2, ..Tokens::default() };
        assert_eq!(usage(CHAT, &metered, || 25), Usage { complete: true, ..estimated(tokens) });
    }

    #[test]
    fn what_never_left_or_is_free_used_nothing() {
        assert_eq!(usage(CHAT, &Metered::default(), || 0), Usage::default());
        let metered = Metered { complete: true, text_weight: 9_000, ..Metered::default() };
        for endpoint in [Endpoint::CountTokens, Endpoint::Speech] {
            assert_eq!(usage(endpoint, &metered, || 100), Usage { complete: true, ..Usage::default() });
        }
        assert_eq!((input(Endpoint::Speech, b"{\"input\":\"x\"}"), input(CHAT, b"{\"prompt\":\"x\"}")), (0, 1));
    }
}
