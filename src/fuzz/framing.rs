//! Where a request begins and ends, held against httparse, which Pingora reads requests with.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::gateway::frame;
use crate::protocol::framing::{BodyFraming, ChunkFault, Chunks, Fault, Head, HeadLimits, HeadScan};

use super::pieces::{pieces, seeded};

const LIMITS: HeadLimits = HeadLimits { bytes: 2048, fields: 16, target_bytes: 512 };

/// A head is judged alike however it arrives, and what passes means the same to another parser.
pub fn head(bytes: &[u8]) {
    let Some((seed, bytes)) = seeded(bytes) else { return };
    let at_once = scan(bytes, 0);
    let in_pieces = scan(bytes, seed);
    assert_eq!(at_once.as_ref().ok(), in_pieces.as_ref().ok(), "{at_once:?} is not {in_pieces:?}");
    let Ok(Some(head)) = at_once else { return };
    let bytes = &bytes[head.bytes.clone()];
    let mut fields = [httparse::EMPTY_HEADER; LIMITS.fields];
    let mut other = httparse::Request::new(&mut fields);
    assert_eq!(other.parse(bytes), Ok(httparse::Status::Complete(bytes.len())), "it does not end where httparse ends");
    let named = |name: &str| -> Vec<&[u8]> {
        let fields = other.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
        fields.map(|field| field.value).collect()
    };
    match (&*named("content-length"), &*named("transfer-encoding")) {
        ([], []) => assert_eq!(head.body, BodyFraming::Length(0)),
        ([length], []) => {
            let length = std::str::from_utf8(length).unwrap().parse().unwrap();
            assert_eq!(head.body, BodyFraming::Length(length));
        }
        ([], [coding]) if coding.eq_ignore_ascii_case(b"chunked") => assert_eq!(head.body, BodyFraming::Chunked),
        odd => panic!("framed by {odd:?}"),
    }
    assert!(named("host").len() == 1 || other.version == Some(0), "it has no Host");
    let mut headers = HeaderMap::new();
    for field in &*other.headers {
        let name = HeaderName::from_bytes(field.name.as_bytes()).unwrap();
        headers.append(name, HeaderValue::from_bytes(field.value).unwrap());
    }
    let query = other.path.unwrap().split_once('?').map(|(_, query)| query);
    let _ = frame::check(query, &headers);
}

fn scan(bytes: &[u8], seed: u8) -> Result<Option<Head>, Fault> {
    let (mut scan, mut came) = (HeadScan::default(), 0);
    for piece in pieces(bytes, seed) {
        came += piece.len();
        if let Some(head) = scan.advance(&bytes[..came], &LIMITS)? {
            return Ok(Some(head));
        }
    }
    Ok(None)
}

/// Chunks are the same however they arrive, and what is handed on says the same with nothing but sizes and data.
pub fn chunks(bytes: &[u8]) {
    let Some((seed, bytes)) = seeded(bytes) else { return };
    let at_once = pass(bytes, 0);
    assert_eq!(at_once, pass(bytes, seed));
    let Ok((handed_on, Some(used))) = at_once else { return };
    assert!(used <= bytes.len() && handed_on.len() <= used);
    assert_eq!(pass(&handed_on, 0), Ok((handed_on.clone(), Some(handed_on.len()))), "it is plain now");
    let mut rest = &*handed_on;
    loop {
        let Ok(httparse::Status::Complete((line, size))) = httparse::parse_chunk_size(rest) else {
            panic!("httparse finds no size in {rest:?}")
        };
        let data = &rest[line..];
        let size = usize::try_from(size).unwrap();
        assert_eq!(data.get(size..size + 2), Some(&b"\r\n"[..]));
        rest = &data[size + 2..];
        if size == 0 {
            break;
        }
    }
    assert!(rest.is_empty(), "more is handed on than the body");
}

/// What is handed on, and how many bytes the body had if it has ended.
fn pass(bytes: &[u8], seed: u8) -> Result<(Vec<u8>, Option<usize>), ChunkFault> {
    let (mut chunks, mut handed_on, mut used) = (Chunks::default(), Vec::new(), 0);
    for piece in pieces(bytes, seed) {
        let mut piece = piece.to_vec();
        let passed = chunks.pass(&mut piece)?;
        handed_on.extend_from_slice(&piece[..passed.kept]);
        used += passed.used;
        if chunks.has_ended() {
            return Ok((handed_on, Some(used)));
        }
        assert_eq!(passed.used, piece.len());
    }
    Ok((handed_on, None))
}
