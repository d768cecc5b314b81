//! The provider's answer as it passes: metered, and remembered for the books.

use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};

use crate::catalog::Lapse;
use crate::domain::{Ended, Usage};
use crate::protocol::error::Torn;
use crate::protocol::meter::{AnswerForm, Manner, Meter, Metered, Notice};
use crate::protocol::{Endpoint, estimate};

/// What has been seen of an answer so far.
pub struct Answer {
    endpoint: Endpoint,
    /// What the provider was given, to be estimated where the provider does not get to say.
    request: Bytes,
    /// Whether usage was asked for on the caller's behalf, and is kept from it.
    hide_usage: bool,
    status: Option<StatusCode>,
    form: AnswerForm,
    /// Only answers that succeeded are metered.
    meter: Option<Meter>,
    first_byte: Option<Instant>,
    bytes: u64,
    failure: Option<&'static str>,
    cut: Option<Lapse>,
    /// The caller was answered by the gateway, because the provider did not answer.
    is_own: bool,
}

impl Answer {
    pub fn awaited(endpoint: Endpoint, request: Bytes, hide_usage: bool) -> Self {
        Self {
            endpoint,
            request,
            hide_usage,
            status: None,
            form: AnswerForm::Plain,
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
        // What is still encoded here can be neither read nor added to; its bytes are counted.
        let readable = !headers.contains_key(header::CONTENT_ENCODING);
        self.status = Some(status);
        self.form = if readable { AnswerForm::of(self.endpoint, content_type) } else { AnswerForm::Plain };
        self.meter = status.is_success().then(|| Meter::new(self.endpoint, self.form, self.hide_usage));
        if status.is_server_error() {
            self.failure = Some("upstream_status");
        }
    }

    /// Whether the body can differ in length from the provider's.
    pub fn edits(&self) -> bool {
        self.hide_usage && self.meter.is_some()
    }

    pub fn is_stream(&self) -> bool {
        self.form != AnswerForm::Plain
    }

    /// Takes a piece of the body and gives back what is to be sent on now.
    pub fn take(&mut self, piece: Bytes) -> Bytes {
        if self.first_byte.is_none() && !piece.is_empty() {
            self.first_byte = Some(Instant::now());
        }
        let sent = match &mut self.meter {
            Some(meter) => meter.take(piece),
            None => piece,
        };
        self.bytes += sent.len() as u64;
        sent
    }

    /// Ends the body: what was held back and must still go out.
    pub fn end(&mut self) -> Bytes {
        let rest = self.meter.as_mut().map(Meter::end).unwrap_or_default();
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
    pub fn cut(&mut self, lapse: Lapse) {
        self.cut = Some(lapse);
    }

    pub fn cut_by(&self) -> Option<Lapse> {
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

    /// How a stream that is cut ends for its client; nothing where there is no stream to end.
    pub fn ending(&self, manner: Manner, notice: &Notice<'_>) -> Vec<u8> {
        self.meter.as_ref().map(|meter| meter.cut(manner, notice).bytes).unwrap_or_default()
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
        let input = || estimate::input(self.endpoint, &self.request);
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
        let mut answer = Answer::awaited(Endpoint::ChatCompletions, Bytes::new(), false);
        answer.begin(StatusCode::INTERNAL_SERVER_ERROR, &HeaderMap::new());
        assert_eq!(answer.take(Bytes::from_static(b"{}")), "{}");
        assert_eq!(answer.usage(Ended::Complete), Usage::default());
        assert_eq!(answer.failure(), Some("upstream_status"));
    }
}
