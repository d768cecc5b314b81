//! An answer, as it passes → tokens, text seen, whether it ended well.
//!
//! Metering never delays a byte: every chunk is given back as it came and only looked at. The one exception
//! is a stream for which the gateway asked for usage and the client did not ([`Meter::new`], `hides_usage`).
//! Then the client gets what it would have got without the gateway's asking:
//! - the chunk whose `choices` are an empty array and that carries `usage` is left out;
//! - of the other chunks a `"usage":null` is cut, because providers add it only where usage was asked for. It
//!   is a splice of that member alone, and not done where the member's name is spelled with escapes or the
//!   event's data is spread over several lines;
//! - a chunk with figures *and* choices passes: some providers always send them;
//! - whole events pass at once; only the beginning of an event is held until the event is whole.

mod stream; // an answer as events
mod array; // an answer as one array of events
mod plain; // an answer as one document
mod open_calls; // which tool calls are half sent
mod cut; // how the gateway ends a running stream

use bytes::Bytes;

use crate::domain::{Advisor, NanoUsd, ServiceTier, Tokens};

use super::Endpoint;
use super::error::Torn;
use super::json::lenient::Text;

use array::Array;
use plain::Plain;
use stream::Stream;

pub(crate) use cut::Ending;
pub use cut::{Cut, Manner, Notice, Told};
pub(crate) use open_calls::OpenCalls;
pub(crate) use stream::Reading;

/// How an answer comes, as its content type says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerForm {
    Stream,
    /// A stream whose events are the elements of one array.
    Array,
    Plain,
}

/// Meters one successful answer. Answers with another status have no usage, and need no meter.
#[derive(Debug)]
pub struct Meter {
    endpoint: Endpoint,
    form: Form,
    metered: Metered,
}

/// What has been learned from an answer so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metered {
    /// The provider's figures, if it gave any that can be believed.
    pub tokens: Option<Tokens>,
    /// The tier at which the provider says it serves.
    pub tier: ServiceTier,
    /// Other models that were asked for the answer; what they used is no part of `tokens`.
    pub advisors: Vec<Advisor>,
    /// Searches of the web, billed one by one.
    pub web_searches: u64,
    /// What the provider itself says it charged.
    pub charged: Option<NanoUsd>,
    /// The figures are the provider's last word; otherwise they cover what had passed, or less.
    pub is_final: bool,
    /// The dialect's terminal event, or the whole document, was seen.
    pub complete: bool,
    /// The model that answered, as the provider names it.
    pub model_served: Option<Box<str>>,
    /// The text produced: content, reasoning, arguments of tool calls, in thousandths of an estimated token.
    /// Of a plain answer whose figures make measuring it needless, 0.
    pub text_weight: u64,
    /// How much of it had been seen when `tokens` last became known: those figures are about that much.
    pub reported_weight: u64,
    /// An error passed inside of the answer.
    pub has_error: bool,
    /// A tool call has begun and not ended: it must not be made to look whole.
    pub is_tool_call_open: bool,
}

#[derive(Debug)]
enum Form {
    Stream(Box<Stream>),
    Array(Box<Array>),
    Plain(Plain),
    /// Nothing inside is of interest.
    Opaque,
}

impl AnswerForm {
    /// The form of an answer of `endpoint` with this content type.
    pub fn of(endpoint: Endpoint, content_type: &[u8]) -> Self {
        let begins = |text: &str| {
            content_type.get(..text.len()).is_some_and(|start| start.eq_ignore_ascii_case(text.as_bytes()))
        };
        match endpoint {
            _ if begins("text/event-stream") => Self::Stream,
            Endpoint::StreamGenerateContent if begins("application/json") => Self::Array,
            _ => Self::Plain,
        }
    }
}

impl Meter {
    /// A meter for an answer of `endpoint`. `hides_usage` if the client did not ask for the usage it gets.
    pub fn new(endpoint: Endpoint, form: AnswerForm, hides_usage: bool) -> Self {
        let form = match form {
            AnswerForm::Stream => Stream::new(endpoint, hides_usage).map(|stream| Form::Stream(Box::new(stream))),
            AnswerForm::Array => Array::new(endpoint).map(|array| Form::Array(Box::new(array))),
            AnswerForm::Plain => Plain::new(endpoint).map(Form::Plain),
        };
        Self { endpoint, form: form.unwrap_or(Form::Opaque), metered: Metered::default() }
    }

    /// Takes a chunk of the answer and gives what is to be forwarded now, which may be nothing.
    pub fn take(&mut self, chunk: Bytes) -> Bytes {
        match &mut self.form {
            Form::Stream(stream) => stream.take(chunk, &mut self.metered),
            Form::Array(array) => array.take(chunk, &mut self.metered),
            Form::Plain(plain) => plain.take(chunk, &mut self.metered),
            Form::Opaque => chunk,
        }
    }

    /// The answer's bytes have ended: gives what was held back and must still be forwarded.
    pub fn end(&mut self) -> Bytes {
        match &mut self.form {
            Form::Stream(stream) => return stream.end(&mut self.metered),
            Form::Array(_) => {}
            Form::Plain(plain) => plain.end(&mut self.metered),
            Form::Opaque => self.metered.complete = true,
        }
        Bytes::new()
    }

    /// Whether the dialect's terminal event, or the whole document, was seen. A plain document is only
    /// looked at when it has ended.
    pub fn finished(&self) -> bool {
        self.metered.complete
    }

    /// What has been learned so far.
    pub fn usage(&self) -> &Metered {
        &self.metered
    }

    /// What has been learned of an answer that ends here, as it is booked. A plain answer that broke off is read as
    /// far as it came.
    pub fn booked(&self) -> Metered {
        let mut metered = self.metered.clone();
        if let Form::Plain(plain) = &self.form
            && !metered.complete
        {
            plain.read_torn(&mut metered);
        }
        metered
    }

    /// What of an unfinished event the client has, if it was sent all that this meter gave.
    pub fn torn(&self) -> Torn<'_> {
        match &self.form {
            Form::Stream(stream) => stream.torn(),
            Form::Array(array) => array.torn(),
            Form::Plain(_) | Form::Opaque => Torn::Nothing,
        }
    }

    /// How the stream ends for its client if nothing more of the provider's answer is sent, and all that this
    /// meter gave has been. Only a stream can be ended this way.
    pub fn cut(&self, manner: Manner, notice: &Notice<'_>) -> Cut {
        let reader = match &self.form {
            Form::Stream(stream) => stream.reader(),
            Form::Array(array) => array.reader(),
            Form::Plain(_) | Form::Opaque => return Cut { bytes: Vec::new(), told: Told::Nothing },
        };
        cut::cut(self.endpoint, self.torn(), reader, &self.metered, manner, notice)
    }
}

impl Metered {
    /// Learns from an event by `read`, and notes how much text the figures are about that it brings.
    pub(crate) fn learn<T>(&mut self, read: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.tokens;
        let read = read(self);
        if self.tokens != before {
            self.reported_weight = self.text_weight;
        }
        read
    }

    /// The answer has ended as its dialect wants it to.
    pub(crate) fn complete(&mut self) {
        self.complete = true;
        self.is_final |= self.tokens.is_some();
    }

    /// Takes over the model's name; the first one counts, as all others should be the same.
    pub(crate) fn model(&mut self, name: &Text) {
        if self.model_served.is_none() {
            self.model_served = name.0.clone().filter(|name| !name.is_empty());
        }
    }
}

#[cfg(test)]
mod tests;
