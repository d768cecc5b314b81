//! An answer that policies look at: what of it goes on, and when.
//!
//! The meter gets the provider's bytes no earlier than the caller gets what became of them, event by event, so that it
//! stands where the caller stands. What it does not do: look at texts; that is `policy`.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::policy::{Active, Guard, Hit};
use crate::protocol::Endpoint;
use crate::protocol::elements::{Elements, Part};
use crate::protocol::meter::{AnswerForm, Meter};
use crate::protocol::sse::{self, Piece, Splitter};

/// The largest answer that is held to be looked at as a whole; nothing of a larger one is sent.
const DOCUMENT_BYTES_MAX: usize = 64 << 20;
/// What a plain answer says that a policy blocks: it has a status already.
const BLOCKED: &str = "[keeptrusts: policy_blocked: A policy does not let this answer pass.]";

pub struct Guarded {
    guard: Guard,
    form: Form,
}

/// The answer as it comes.
enum Form {
    /// Held until it is whole.
    Plain(BytesMut),
    Stream(Splitter),
    Array(Elements),
}

impl Guarded {
    pub fn new(inspected: Active, endpoint: Endpoint) -> Self {
        Self { guard: Guard::new(inspected, endpoint), form: Form::Plain(BytesMut::new()) }
    }

    /// Takes note of how the answer comes.
    pub fn begin(&mut self, form: AnswerForm) {
        self.form = match form {
            AnswerForm::Plain => Form::Plain(BytesMut::new()),
            AnswerForm::Stream => Form::Stream(Splitter::default()),
            AnswerForm::Array => Form::Array(Elements::default()),
        };
    }

    pub fn hits(&self) -> Vec<Hit> {
        self.guard.hits()
    }

    pub fn is_blocked(&self) -> bool {
        self.guard.is_blocked()
    }

    /// The policy that blocks it, or what else does.
    pub fn blocked_by(&self) -> Arc<str> {
        self.guard.blocked_by().unwrap_or_else(|| "unreadable".into())
    }

    /// Takes a piece of the answer and gives what is to be sent on now.
    pub fn take(&mut self, piece: &Bytes, meter: Option<&mut Meter>) -> Bytes {
        let Self { guard, form } = self;
        if guard.is_blocked() {
            return Bytes::new();
        }
        let mut meter = Metering(meter);
        match form {
            Form::Plain(document) => {
                let piece = meter.take(piece);
                match document.len() + piece.len() <= DOCUMENT_BYTES_MAX {
                    true => document.extend_from_slice(&piece),
                    false => guard.block(),
                }
                Bytes::new()
            }
            Form::Stream(splitter) => {
                let mut out = Vec::new();
                splitter.feed(piece, |part| take_event(guard, &mut meter, part, &mut out));
                out.into()
            }
            Form::Array(elements) => {
                let mut out = Vec::new();
                elements.feed(piece, |part| take_element(guard, &mut meter, part, &mut out));
                out.into()
            }
        }
    }

    /// The provider's bytes have ended: gives what is still to be sent.
    pub fn end(&mut self, meter: Option<&mut Meter>) -> Bytes {
        let Self { guard, form } = self;
        let mut meter = Metering(meter);
        if guard.is_blocked() {
            meter.end();
            return Bytes::new();
        }
        match form {
            Form::Plain(document) => {
                document.extend_from_slice(&meter.end());
                guard.document(&std::mem::take(document).freeze(), BLOCKED)
            }
            Form::Stream(splitter) => {
                let tail = Bytes::from(splitter.take_tail());
                // A torn event has no reader, and could not be looked at.
                let shown = if is_readable(&tail) { meter.take(&tail) } else { Bytes::new() };
                let shown = [shown, meter.end()].concat();
                let (mut out, mut held) = (Vec::new(), Vec::new());
                if !shown.is_empty() {
                    guard.event(&shown, &mut out);
                }
                guard.finish(&mut held);
                if !held.is_empty() && !out.is_empty() {
                    let blank = Bytes::from_static(b"\n\n");
                    out.extend_from_slice(&meter.take(&blank));
                }
                [out, held].concat().into()
            }
            // It was finished before its bracket; without that it is torn, and ended by whoever notices.
            Form::Array(_) => Bytes::new(),
        }
    }
}

/// The meter, if the answer has one.
struct Metering<'m>(Option<&'m mut Meter>);

impl Metering<'_> {
    fn take(&mut self, bytes: &Bytes) -> Bytes {
        self.0.as_mut().map_or_else(|| bytes.clone(), |meter| meter.take(bytes.clone()))
    }

    fn end(&mut self) -> Bytes {
        self.0.as_mut().map(|meter| meter.end()).unwrap_or_default()
    }
}

fn take_event(guard: &mut Guard, meter: &mut Metering<'_>, part: Piece<'_>, out: &mut Vec<u8>) {
    if guard.is_blocked() {
        return;
    }
    match part {
        Piece::Event(event) => {
            let shown = meter.take(&Bytes::copy_from_slice(event));
            if !shown.is_empty() {
                guard.event(&shown, out);
            }
        }
        Piece::LineFeed(lf) => {
            meter.take(&Bytes::copy_from_slice(lf));
            out.extend_from_slice(lf);
        }
        // What is too large to be looked at must not pass unseen.
        Piece::Large(_) => guard.block(),
    }
}

fn take_element(guard: &mut Guard, meter: &mut Metering<'_>, part: Part<'_>, out: &mut Vec<u8>) {
    if guard.is_blocked() {
        return;
    }
    match part {
        Part::Element(element) => {
            meter.take(&Bytes::copy_from_slice(element));
            guard.element(element, out);
        }
        Part::Between(bytes) => {
            meter.take(&Bytes::copy_from_slice(bytes));
            out.extend_from_slice(bytes);
        }
        Part::End(bracket) => {
            guard.finish_array(out);
            if !guard.is_blocked() {
                meter.take(&Bytes::copy_from_slice(bracket));
                out.extend_from_slice(bracket);
            }
        }
        Part::Lost(_) => guard.block(),
    }
}

/// Whether the end of a stream is an event that lacks nothing but its blank line.
fn is_readable(tail: &[u8]) -> bool {
    let data = sse::data(tail, true);
    data.is_some_and(|data| {
        data.trim_ascii() == b"[DONE]" || serde_json::from_slice::<serde::de::IgnoredAny>(&data).is_ok()
    })
}
