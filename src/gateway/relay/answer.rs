//! The provider's answer as it passes: metered, and remembered for the books.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};

use crate::domain::{Advisor, Ended, Usage};
use crate::policy::{Active, Hit};
use crate::protocol::coding::{Decoder, Undecodable};
use crate::protocol::error::Torn;
use crate::protocol::meter::{AnswerForm, Manner, Meter, Metered, Notice};
use crate::protocol::{Endpoint, estimate};

use crate::gateway::cut::Cause;

use super::guarded::Guarded;

/// How events name the failure of a provider that answered, with a status of 5xx.
pub const UPSTREAM_STATUS: &str = "upstream_status";
/// How events name what became of an answer whose client did not take it.
pub const SLOW_READER: &str = "slow_reader";

/// What has been seen of an answer so far.
pub struct Answer {
    endpoint: Endpoint,
    /// What the provider was given, to be estimated where the provider does not get to say.
    request: Bytes,
    /// Whether usage was asked for on the caller's behalf, and is kept from it.
    hide_usage: bool,
    /// What that comes to; worked out when it is needed.
    input: OnceLock<u64>,
    status: Option<StatusCode>,
    form: AnswerForm,
    /// Undoes a compression that was not asked for.
    decoder: Option<Decoder>,
    /// Only answers that succeeded are metered.
    meter: Option<Meter>,
    first_byte: Option<Instant>,
    bytes: u64,
    failure: Option<&'static str>,
    cut: Option<Cause>,
    /// The caller was answered by the gateway, because the provider did not answer.
    is_own: bool,
    /// What looks at the answer, where policies concern it.
    guard: Option<Box<Guarded>>,
    /// Whether its caller was told that a policy ended it.
    is_told: bool,
}

impl Answer {
    pub fn awaited(endpoint: Endpoint, request: Bytes, hide_usage: bool, inspected: Active) -> Self {
        let guard = (!inspected.is_empty()).then(|| Box::new(Guarded::new(inspected, endpoint)));
        Self {
            guard,
            is_told: false,
            endpoint,
            request,
            hide_usage,
            input: OnceLock::new(),
            status: None,
            form: AnswerForm::Plain,
            decoder: None,
            meter: None,
            first_byte: None,
            bytes: 0,
            failure: None,
            cut: None,
            is_own: false,
        }
    }

    /// Takes note of the answer's head.
    pub fn begin(&mut self, status: StatusCode, headers: &HeaderMap) {
        let content_type = headers.get(header::CONTENT_TYPE).map(|value| value.as_bytes()).unwrap_or_default();
        self.decoder = headers.get(header::CONTENT_ENCODING).and_then(|coding| Decoder::of(coding.as_bytes()));
        // What cannot be decoded can be neither read nor added to; its bytes are counted.
        let readable = self.decoder.is_some() || !headers.contains_key(header::CONTENT_ENCODING);
        self.status = Some(status);
        self.form = if readable { AnswerForm::of(self.endpoint, content_type) } else { AnswerForm::Plain };
        self.meter = status.is_success().then(|| Meter::new(self.endpoint, self.form, self.hide_usage));
        if let Some(guarded) = &mut self.guard {
            // Only answers that succeeded have texts; and sounds and pictures have none.
            let media = [&b"audio/"[..], b"image/", b"video/", b"application/octet-stream"];
            let is_media = media.iter().any(|media| content_type.to_ascii_lowercase().starts_with(media));
            guarded.begin(self.form);
            if !status.is_success() || (self.form == AnswerForm::Plain && is_media) {
                self.guard = None;
            }
        }
        if status.is_server_error() {
            self.failure = Some(UPSTREAM_STATUS);
        }
    }

    /// Whether the body can differ in length from the provider's.
    pub fn edits(&self) -> bool {
        (self.hide_usage && self.meter.is_some()) || self.guard.is_some() || self.decodes()
    }

    /// Whether the body comes compressed, and goes on as what it was made of.
    pub fn decodes(&self) -> bool {
        self.decoder.is_some()
    }

    pub fn is_stream(&self) -> bool {
        self.form != AnswerForm::Plain
    }

    /// Takes a piece of the body and gives back what is to be sent on now.
    pub fn take(&mut self, piece: Bytes) -> Result<Bytes, Undecodable> {
        if self.first_byte.is_none() && !piece.is_empty() {
            self.first_byte = Some(Instant::now());
        }
        let piece = match &mut self.decoder {
            Some(decoder) => decoder.decode(&piece)?,
            None => piece,
        };
        let sent = match (&mut self.guard, &mut self.meter) {
            (Some(guarded), meter) => guarded.take(&piece, meter.as_mut()),
            (None, Some(meter)) => meter.take(piece),
            (None, None) => piece,
        };
        self.bytes += sent.len() as u64;
        Ok(sent)
    }

    /// Whether the body ends as its compression has it.
    pub fn check_end(&self) -> Result<(), Undecodable> {
        self.decoder.as_ref().map_or(Ok(()), Decoder::end)
    }

    /// Whether a policy ends the answer, and its caller has not been told. Asked once.
    pub fn blocked(&mut self) -> Option<Arc<str>> {
        let guarded = self.guard.as_ref().filter(|guarded| guarded.is_blocked() && self.form != AnswerForm::Plain)?;
        if std::mem::replace(&mut self.is_told, true) {
            return None;
        }
        Some(guarded.blocked_by())
    }

    /// Whether a policy ended the answer.
    pub fn is_blocked(&self) -> bool {
        self.guard.as_ref().is_some_and(|guarded| guarded.is_blocked())
    }

    /// Ends the body: what was held back and must still go out.
    pub fn end(&mut self) -> Bytes {
        let rest = match (&mut self.guard, &mut self.meter) {
            (Some(guarded), meter) => guarded.end(meter.as_mut()),
            (None, meter) => meter.as_mut().map(Meter::end).unwrap_or_default(),
        };
        self.bytes += rest.len() as u64;
        rest
    }

    /// Whether everything that belongs to the answer has passed, by the dialect's own sign.
    pub fn finished(&self) -> bool {
        self.meter.as_ref().is_none_or(Meter::finished)
    }

    /// Whether an answer has begun and everything of it has passed.
    pub fn has_ended(&self) -> bool {
        self.status.is_some() && self.finished()
    }

    /// Whether the provider told of an error inside its answer.
    pub fn told_error(&self) -> bool {
        self.meter.as_ref().is_some_and(|meter| meter.usage().has_error)
    }

    /// Takes note of why the provider failed.
    pub fn fail(&mut self, kind: &'static str) {
        self.failure = Some(kind);
    }

    /// Takes note of why the gateway ends the answer.
    pub fn cut(&mut self, cause: Cause) {
        self.cut = Some(cause);
    }

    pub fn cut_by(&self) -> Option<Cause> {
        self.cut
    }

    /// Takes note of the status of an answer of our own.
    pub fn answered(&mut self, status: StatusCode) {
        self.is_own = self.status.is_none();
        self.status = Some(status);
    }

    pub fn status(&self) -> Option<u16> {
        self.status.map(|status| status.as_u16())
    }

    pub fn failure(&self) -> Option<&'static str> {
        self.failure
    }

    pub fn first_byte(&self) -> Option<Instant> {
        self.first_byte
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether the answer used something that nobody told.
    pub fn is_unreported(&self) -> bool {
        self.endpoint.is_media() && self.meter.is_some()
    }

    pub fn model_served(&self) -> Option<&str> {
        self.meter.as_ref()?.usage().model_served.as_deref()
    }

    /// The other models that were asked for it; what they used is no part of [`Answer::usage`].
    pub fn advisors(&self) -> Vec<Advisor> {
        self.meter.as_ref().map(|meter| meter.usage().advisors.clone()).unwrap_or_default()
    }

    /// How a stream that is cut ends for its client; nothing where there is no stream to end.
    pub fn ending(&self, manner: Manner, notice: &Notice<'_>) -> Vec<u8> {
        self.meter.as_ref().map(|meter| meter.cut(manner, notice).bytes).unwrap_or_default()
    }

    /// The policies that found something in it.
    pub fn hits(&self) -> Vec<Hit> {
        self.guard.as_ref().map(|guarded| guarded.hits()).unwrap_or_default()
    }

    /// What of an unfinished event the client already has.
    pub fn torn(&self) -> Torn<'_> {
        self.meter.as_ref().map_or(Torn::Nothing, Meter::torn)
    }

    /// The use this answer stands for.
    ///
    /// A provider that was given the request and never answered may have worked on it, and may charge for that: its
    /// input counts as estimated. An answer with an error's status used nothing.
    pub fn usage(&self, ended: Ended) -> Usage {
        let input = || *self.input.get_or_init(|| estimate::input(self.endpoint, &self.request));
        let usage = match &self.meter {
            Some(meter) => estimate::usage(self.endpoint, &meter.booked(), input),
            None if self.status.is_none() || self.is_own => estimate::usage(self.endpoint, &Metered::default(), input),
            None => return Usage::default(),
        };
        Usage { complete: usage.complete && ended == Ended::Complete, ..usage }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_answer_uses_nothing() {
        let mut answer = Answer::awaited(Endpoint::ChatCompletions, Bytes::new(), false, Active::default());
        answer.begin(StatusCode::INTERNAL_SERVER_ERROR, &HeaderMap::new());
        assert_eq!(answer.take(Bytes::from_static(b"{}")), Ok("{}".into()));
        assert_eq!(answer.usage(Ended::Complete), Usage::default());
        assert_eq!(answer.failure(), Some(UPSTREAM_STATUS));
    }
}
