//! The headers that the gateway adds to answers.

use std::fmt::Write;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use pingora::{ErrorType, OrErr, Result};

use crate::catalog::Binding;

pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub const VERDICT: HeaderName = HeaderName::from_static("x-keeptrusts-verdict");
pub const POLICIES: HeaderName = HeaderName::from_static("x-keeptrusts-policies");
/// What the gateway took (W3C Server Timing); each server on the way adds its own.
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

const REQUESTS_LIMIT: [HeaderName; 3] = [
    HeaderName::from_static("x-ratelimit-limit-requests"),
    HeaderName::from_static("x-ratelimit-remaining-requests"),
    HeaderName::from_static("x-ratelimit-reset-requests"),
];
const TOKENS_LIMIT: [HeaderName; 3] = [
    HeaderName::from_static("x-ratelimit-limit-tokens"),
    HeaderName::from_static("x-ratelimit-remaining-tokens"),
    HeaderName::from_static("x-ratelimit-reset-tokens"),
];

/// As many as an answer usually gets, and room for their values.
const USUAL: usize = 9;
const USUAL_BYTES: usize = 128;

/// Headers for one answer. Their values share one piece of memory: each by itself would take two, and two more
/// wherever Pingora copies the head.
pub struct Added {
    names: Vec<(HeaderName, usize)>,
    values: String,
}

impl Added {
    pub fn new() -> Self {
        Self { names: Vec::with_capacity(USUAL), values: String::with_capacity(USUAL_BYTES) }
    }

    pub fn text(&mut self, name: HeaderName, value: &str) {
        self.values.push_str(value);
        self.names.push((name, self.values.len()));
    }

    fn figure(&mut self, name: HeaderName, value: u64) {
        self.text(name, itoa::Buffer::new().format(value));
    }

    /// How the tightest limits on requests and tokens stand, in the form OpenAI's clients know.
    pub fn limits(&mut self, binding: &Binding) {
        for (bucket, names) in [(binding.requests, REQUESTS_LIMIT), (binding.tokens, TOKENS_LIMIT)] {
            let Some(bucket) = bucket else { continue };
            let [limit, remaining, reset] = names;
            self.figure(limit, bucket.limit);
            self.figure(remaining, bucket.remaining);
            write_span(&mut self.values, bucket.reset);
            self.names.push((reset, self.values.len()));
        }
    }

    /// What the gateway took until the provider was asked.
    pub fn overhead(&mut self, overhead: Duration) {
        let micros = overhead.as_micros() as u64;
        // Writing to a text cannot fail.
        let _ = write!(self.values, "kt;dur={}.{:03}", micros / 1000, micros % 1000);
        self.names.push((SERVER_TIMING, self.values.len()));
    }

    /// Puts them into `headers`, in the place of what stands there under their names.
    pub fn insert_into(self, headers: &mut HeaderMap) -> Result<()> {
        let values = Bytes::from(self.values);
        headers.reserve(self.names.len());
        let mut start = 0;
        for (name, end) in self.names {
            let value = HeaderValue::from_maybe_shared(values.slice(start..end));
            let value = value.or_err(ErrorType::InvalidHTTPHeader, "a header of the gateway's own")?;
            if name == SERVER_TIMING {
                headers.append(name, value);
            } else {
                headers.insert(name, value);
            }
            start = end;
        }
        Ok(())
    }
}

/// A span of time as OpenAI writes it: `120ms`, `1.5s`, `6m0s`.
fn write_span(text: &mut String, time: Duration) {
    let millis = time.as_micros().div_ceil(1000) as u64;
    let (minutes, rest) = (millis / 60_000, millis % 60_000);
    let seconds = rest as f64 / 1000.0;
    // Writing to a text cannot fail.
    let _ = match (minutes, rest) {
        (0, 0..1000) => write!(text, "{rest}ms"),
        (0, _) => write!(text, "{seconds}s"),
        _ => write!(text, "{minutes}m{seconds}s"),
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Bucket;

    #[test]
    fn spans_are_written_as_openai_writes_them() {
        let spans = [0, 1, 120, 1000, 1500, 59_999, 60_000, 366_000].map(|ms| {
            let mut text = String::new();
            write_span(&mut text, Duration::from_millis(ms));
            text
        });
        assert_eq!(spans, ["0ms", "1ms", "120ms", "1s", "1.5s", "59.999s", "1m0s", "6m6s"]);
    }

    #[test]
    fn each_header_has_its_own_part_of_the_memory() {
        let mut headers = HeaderMap::new();
        headers.insert(VERDICT, HeaderValue::from_static("the provider's"));
        headers.insert(SERVER_TIMING, HeaderValue::from_static("model;dur=7"));
        let mut added = Added::new();
        added.text(REQUEST_ID, "an id");
        added.text(VERDICT, "");
        let bucket = Bucket { limit: 60, remaining: 7, reset: Duration::from_millis(1500) };
        added.limits(&Binding { requests: None, tokens: Some(bucket) });
        added.overhead(Duration::from_micros(1020));
        added.insert_into(&mut headers).unwrap();
        let seen: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        let expected = [
            ("x-keeptrusts-verdict", ""),
            ("server-timing", "model;dur=7"),
            ("server-timing", "kt;dur=1.020"),
            ("x-request-id", "an id"),
            ("x-ratelimit-limit-tokens", "60"),
            ("x-ratelimit-remaining-tokens", "7"),
            ("x-ratelimit-reset-tokens", "1.5s"),
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn what_cannot_be_a_header_is_none() {
        let mut added = Added::new();
        added.text(POLICIES, "two\r\nlines");
        assert!(added.insert_into(&mut HeaderMap::new()).is_err());
    }
}
