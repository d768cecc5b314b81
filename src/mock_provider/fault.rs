//! What can go wrong on purpose, and how it is written.

use std::fmt;
use std::str::FromStr;

/// A fault in an answer. `N` counts SSE events that are still sent properly; an answer that has no more than
/// `N` events comes through whole. A plain answer has no events: there the fault strikes after half of the body.
///
/// | written | what happens |
/// |---|---|
/// | `status:500` | that status (200–599) with an error body in the provider's shape; 429 with `retry-after: 1` |
/// | `html`, `html:502` | an HTML page, with status 200 unless another is given |
/// | `refuse` | the connection is accepted and closed before anything is read |
/// | `reset` | RST in place of an answer, the request having been read |
/// | `reset:N` | RST after N events |
/// | `cut:N` | the connection is closed after N events, the body unfinished |
/// | `eof:N` | the body ends properly after N events, without the protocol's terminator |
/// | `mid-event:N` | the connection is closed within the bytes of event N+1 |
/// | `stall` | no answer; the connection is closed after 10 minutes |
/// | `stall:N` | nothing more after N events; the connection is closed after 10 minutes |
/// | `error-event:N` | after N events an error event of the dialect, then the end; a plain answer becomes status 500 |
/// | `split` | whole, but each event in two TCP writes, cut within a character or a JSON string |
/// | `length` | `Content-Length` promises more than the body holds, then the connection is closed |
/// | `garbage` | bytes that are no HTTP, then the connection is closed |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Status(u16),
    Html(u16),
    Refuse,
    /// `None`: before the first byte of the answer.
    Reset(Option<u32>),
    Cut(u32),
    Eof(u32),
    MidEvent(u32),
    /// `None`: before the first byte of the answer.
    Stall(Option<u32>),
    ErrorEvent(u32),
    Split,
    Length,
    Garbage,
}

/// Why a text is no fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultError {
    written: String,
}

impl FromStr for Fault {
    type Err = FaultError;

    fn from_str(written: &str) -> Result<Self, Self::Err> {
        let (name, number) = match written.split_once(':') {
            Some((name, number)) => (name, Some(number)),
            None => (written, None),
        };
        read(name, number).ok_or_else(|| FaultError { written: written.chars().take(64).collect() })
    }
}

fn read(name: &str, number: Option<&str>) -> Option<Fault> {
    let events = || number?.parse::<u32>().ok();
    let events_or_none = || number.map_or(Some(None), |_| events().map(Some));
    let status = || number?.parse::<u16>().ok().filter(|status| (200..600).contains(status));
    match name {
        "status" => status().map(Fault::Status),
        "html" if number.is_none() => Some(Fault::Html(200)),
        "html" => status().map(Fault::Html),
        "reset" => events_or_none().map(Fault::Reset),
        "cut" => events().map(Fault::Cut),
        "eof" => events().map(Fault::Eof),
        "mid-event" => events().map(Fault::MidEvent),
        "stall" => events_or_none().map(Fault::Stall),
        "error-event" => events().map(Fault::ErrorEvent),
        _ if number.is_some() => None,
        "refuse" => Some(Fault::Refuse),
        "split" => Some(Fault::Split),
        "length" => Some(Fault::Length),
        "garbage" => Some(Fault::Garbage),
        _ => None,
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "status:{status}"),
            Self::Html(200) => f.write_str("html"),
            Self::Html(status) => write!(f, "html:{status}"),
            Self::Refuse => f.write_str("refuse"),
            Self::Reset(None) => f.write_str("reset"),
            Self::Reset(Some(events)) => write!(f, "reset:{events}"),
            Self::Cut(events) => write!(f, "cut:{events}"),
            Self::Eof(events) => write!(f, "eof:{events}"),
            Self::MidEvent(events) => write!(f, "mid-event:{events}"),
            Self::Stall(None) => f.write_str("stall"),
            Self::Stall(Some(events)) => write!(f, "stall:{events}"),
            Self::ErrorEvent(events) => write!(f, "error-event:{events}"),
            Self::Split => f.write_str("split"),
            Self::Length => f.write_str("length"),
            Self::Garbage => f.write_str("garbage"),
        }
    }
}

impl fmt::Display for FaultError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "unknown fault {:?}: expected one of status:CODE, html[:CODE], refuse, reset[:N], cut:N, eof:N, \
             mid-event:N, stall[:N], error-event:N, split, length, garbage",
            self.written
        )
    }
}

impl std::error::Error for FaultError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_read_as_it_is_written() {
        let written = "status:500 status:429 html html:502 refuse reset reset:3 cut:0 eof:4 mid-event:2 stall stall:1 \
                       error-event:5 split length garbage";
        for text in written.split_whitespace() {
            let fault: Fault = text.parse().unwrap();
            assert_eq!(fault.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_fault_is_refused_with_the_grammar() {
        for text in
            ["", "none", "status", "status:99", "status:600", "status:x", "cut", "cut:-1", "cut:", "split:1", "reset:"]
        {
            let error = text.parse::<Fault>().unwrap_err();
            assert!(error.to_string().contains("mid-event:N"), "{error}");
        }
    }
}
