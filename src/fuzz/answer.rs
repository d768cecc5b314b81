//! Answers as they pass: what is read of them does not depend on how they arrive, and they are not changed.

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::domain::Usage;
use crate::protocol::Endpoint;
use crate::protocol::coding::{Decoder, Undecodable};
use crate::protocol::error::{ErrorFacts, ErrorKind};
use crate::protocol::estimate;
use crate::protocol::meter::{AnswerForm, Manner, Meter, Metered, Notice};
use crate::protocol::sse::{Piece, Splitter, data};

use super::pieces::{pieces, seeded};

/// A compressed body becomes the same however it arrives, and what was compressed comes out as it was.
pub fn coding(bytes: &[u8]) {
    let [name, seed, body @ ..] = bytes else { return };
    let name = ["gzip", "br", "zstd"][usize::from(*name) % 3];
    match (decode(name, body, 0), decode(name, body, *seed)) {
        // A limit of each piece.
        (Err(Undecodable::TooLarge), _) => {}
        // The decoder finds some damage only where it is given little at a time.
        (Ok(_), Err(Undecodable::Malformed)) | (Err(_), Ok(_) | Err(_)) if name == "br" => {}
        (at_once, in_pieces) => assert_eq!(at_once, in_pieces),
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body).unwrap();
    assert_eq!(decode("gzip", &encoder.finish().unwrap(), *seed).as_deref(), Ok(body));
    let coded = zstd::stream::encode_all(body, 1).unwrap();
    assert_eq!(decode("zstd", &coded, *seed).as_deref(), Ok(body));
}

fn decode(name: &str, body: &[u8], seed: u8) -> Result<Vec<u8>, Undecodable> {
    let mut decoder = Decoder::of(name.as_bytes()).unwrap();
    let mut decoded = Vec::new();
    for piece in pieces(body, seed) {
        decoded.extend_from_slice(&decoder.decode(piece)?);
    }
    decoder.end().map(|()| decoded)
}

/// A stream is divided alike however it arrives, and is all there.
pub fn events(bytes: &[u8]) {
    let Some((seed, bytes)) = seeded(bytes) else { return };
    let (at_once, in_pieces) = (divide(bytes, 0), divide(bytes, seed));
    assert_eq!(at_once, in_pieces);
    assert_eq!(at_once.1, bytes);
}

/// The data of each event, and the stream put together again.
fn divide(bytes: &[u8], seed: u8) -> (Vec<Option<Vec<u8>>>, Vec<u8>) {
    let (mut splitter, mut events, mut whole) = (Splitter::default(), Vec::new(), Vec::new());
    for piece in pieces(bytes, seed) {
        splitter.feed(piece, |piece| match piece {
            Piece::Event(event) => {
                events.push(data(event, events.is_empty()).map(|data| data.into_owned()));
                whole.extend_from_slice(event);
            }
            Piece::Large(bytes) | Piece::LineFeed(bytes) => whole.extend_from_slice(bytes),
        });
    }
    whole.extend_from_slice(splitter.tail());
    (events, whole)
}

/// An answer of any endpoint is metered alike however it arrives, passes unchanged unless usage is hidden from its
/// client, and can be cut anywhere.
pub fn meter(bytes: &[u8]) {
    let [endpoint, form, seed, answer @ ..] = bytes else { return };
    let endpoint = Endpoint::ALL[usize::from(*endpoint) % Endpoint::ALL.len()];
    let (form, hides) = (usize::from(*form) % 3, *form & 0x80 != 0);
    let form = || [AnswerForm::Stream, AnswerForm::Array, AnswerForm::Plain].into_iter().nth(form).unwrap();
    let new = || Meter::new(endpoint, form(), hides);
    let at_once = pass(new(), answer, 0);
    let in_pieces = pass(new(), answer, *seed);
    assert_eq!(at_once, in_pieces);
    if !hides {
        assert_eq!(at_once.0, answer, "changed as it passed");
    }
    cut(new(), endpoint, answer, *seed);
}

fn pass(mut meter: Meter, answer: &[u8], seed: u8) -> (Vec<u8>, Metered) {
    let mut passed = Vec::new();
    for piece in pieces(answer, seed) {
        passed.extend_from_slice(&meter.take(Bytes::copy_from_slice(piece)));
    }
    passed.extend_from_slice(&meter.end());
    (passed, meter.usage().clone())
}

/// Ends the answer in its middle.
fn cut(mut meter: Meter, endpoint: Endpoint, answer: &[u8], seed: u8) {
    let middle = usize::from(seed) * answer.len() / 256;
    meter.take(Bytes::copy_from_slice(&answer[..middle]));
    let facts = ErrorFacts {
        status: 403,
        kind: ErrorKind::Permission,
        code: "key_revoked",
        message: "Ask for another key.",
        request_id: "one",
    };
    let notice = Notice { facts, model: "some-model", request: b"{}", unix_seconds: 1 };
    for manner in [Manner::Notice, Manner::Error] {
        let cut = meter.cut(manner, &notice);
        assert!(cut.bytes.len() < 16 * 1024 + middle, "its end is longer than itself");
    }
    let booked = meter.booked();
    let Usage { tokens, .. } = estimate::usage(endpoint, &booked, || 7);
    assert!(tokens.cache_read <= tokens.input && tokens.reasoning <= tokens.output, "{tokens:?}");
}
