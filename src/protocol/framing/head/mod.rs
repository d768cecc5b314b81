//! The head of a request, line by line as it arrives.

use std::ops::Range;

use memchr::{memchr, memchr_iter};

use super::bytes::{is_field_value, is_host, is_target, is_token};

/// What a head may be at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// The whole of it, with the empty line at its end.
    pub bytes: usize,
    /// Header fields.
    pub fields: usize,
    /// The request's target.
    pub target_bytes: usize,
}

/// How the body behind a head is delimited (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFraming {
    Length(u64),
    Chunked,
}

/// A head that means one thing to every parser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its bytes. What stands before them is an empty line, to be skipped.
    pub bytes: Range<usize>,
    pub body: BodyFraming,
}

/// Why a head goes no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Something that no request may be; the text completes “the request is malformed: …”.
    Malformed(&'static str),
    /// Something that could be read in two ways.
    Ambiguous(&'static str),
    MethodUnknown,
    MethodRefused,
    VersionUnsupported,
    TargetTooLong,
    TooLarge,
}

use Fault::{Ambiguous, Malformed};

/// A head of which more bytes may come. Each byte is looked at once, however slowly they arrive.
#[derive(Debug, Default)]
pub struct HeadScan {
    /// Where the line begins that is not complete yet, and how far its end was looked for.
    line: usize,
    searched: usize,
    start: usize,
    request: Option<RequestLine>,
    fields: usize,
    hosts: usize,
    length: Option<u64>,
    chunked: bool,
    has_anthropic_version: bool,
    has_goog_api_key: bool,
}

#[derive(Debug)]
struct RequestLine {
    method: Range<usize>,
    target: Range<usize>,
    takes_body: bool,
    is_1_0: bool,
}

impl HeadScan {
    /// Looks at what has arrived so far; `None` if the head has not ended yet.
    pub fn advance(&mut self, bytes: &[u8], limits: &HeadLimits) -> Result<Option<Head>, Fault> {
        // Whatever does not begin like a method, such as a TLS handshake, is answered at once.
        if let Some(first) = bytes.first()
            && !first.is_ascii_alphabetic()
            && *first != b'\r'
        {
            return Err(Malformed("it does not begin with a method"));
        }
        let from = self.searched;
        for end in memchr_iter(b'\n', &bytes[from..]).map(|at| from + at) {
            // RFC 9112 §2.2: a recipient may take a bare LF for a line's end, and then reads other lines than one
            // that does not.
            let Some(line) = bytes[self.line..end].strip_suffix(b"\r") else {
                return Err(Malformed("a line ends with a bare LF"));
            };
            let begins = std::mem::replace(&mut self.line, end + 1);
            if end + 1 > limits.bytes {
                return Err(Fault::TooLarge);
            }
            if !line.is_empty() {
                self.take(line, begins, limits)?;
            } else if self.request.is_some() {
                return self.end(end + 1).map(Some);
            } else if begins == 0 {
                // RFC 9112 §2.2: one empty line before a request is skipped, for clients that end a body with one.
                self.start = end + 1;
            } else {
                return Err(Malformed("empty lines stand before it"));
            }
        }
        self.searched = bytes.len();
        if self.request.is_none() && bytes.len() - self.line > limits.target_bytes + "OPTIONS  HTTP/1.1\r".len() {
            return Err(Fault::TargetTooLong);
        }
        if bytes.len() >= limits.bytes {
            return Err(Fault::TooLarge);
        }
        Ok(None)
    }

    /// Method and target, once their line has come.
    pub fn request<'a>(&self, bytes: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
        let RequestLine { method, target, .. } = self.request.as_ref()?;
        Some((bytes.get(method.clone())?, bytes.get(target.clone())?))
    }

    pub fn has_anthropic_version(&self) -> bool {
        self.has_anthropic_version
    }

    pub fn has_goog_api_key(&self) -> bool {
        self.has_goog_api_key
    }

    fn take(&mut self, line: &[u8], begins: usize, limits: &HeadLimits) -> Result<(), Fault> {
        match self.request {
            None => {
                self.request = Some(request_line(line, begins, limits)?);
                Ok(())
            }
            Some(_) => {
                self.fields += 1;
                if self.fields > limits.fields {
                    return Err(Fault::TooLarge);
                }
                self.field(line)
            }
        }
    }

    fn field(&mut self, line: &[u8]) -> Result<(), Fault> {
        // RFC 9112 §5.2: folded lines are obsolete, and a field whose value goes on is easily read as two.
        if matches!(line.first(), Some(b' ' | b'\t')) {
            return Err(Malformed("a header line begins with a space (obsolete line folding)"));
        }
        let Some(colon) = memchr(b':', line) else {
            return Err(Malformed("a header line has no colon"));
        };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if !is_token(name) {
            // RFC 9112 §5.1: no space between a name and its colon.
            return Err(Malformed("a header's name is empty or holds a space or another character no name has"));
        }
        if !is_field_value(&line[colon + 1..]) {
            return Err(Malformed("a header's value holds a control character"));
        }
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => self.host(value),
            14 if name.eq_ignore_ascii_case(b"x-goog-api-key") => {
                self.has_goog_api_key = true;
                Ok(())
            }
            14 if is_named(name, b"content-length") => self.content_length(name, value),
            17 if is_named(name, b"transfer-encoding") => self.transfer_encoding(name, value),
            17 if name.eq_ignore_ascii_case(b"anthropic-version") => {
                self.has_anthropic_version = true;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// RFC 9112 §3.2: one Host, and a valid one.
    fn host(&mut self, value: &[u8]) -> Result<(), Fault> {
        self.hosts += 1;
        match self.hosts {
            1 if is_authority(value) => Ok(()),
            1 => Err(Malformed("its Host is no host with an optional port")),
            _ => Err(Ambiguous("It has more than one Host.")),
        }
    }

    /// RFC 9110 §8.6, RFC 9112 §6.3: one length in plain digits. A recipient may take a list of equal ones for one;
    /// whoever sends that has been through something that meddles with framing.
    fn content_length(&mut self, name: &[u8], value: &[u8]) -> Result<(), Fault> {
        let plain = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
        if name.contains(&b'_') || !plain || (value.len() > 1 && value[0] == b'0') {
            return Err(Malformed("its Content-Length is not written in plain digits"));
        }
        let digits = std::str::from_utf8(value).ok();
        let Some(length) = digits.and_then(|digits| digits.parse().ok()) else {
            return Err(Malformed("its Content-Length is beyond all measure"));
        };
        match self.length.replace(length) {
            None => Ok(()),
            Some(_) => Err(Ambiguous("It has more than one Content-Length.")),
        }
    }

    /// RFC 9112 §6.1, §7: `chunked`, once, and nothing besides.
    fn transfer_encoding(&mut self, name: &[u8], value: &[u8]) -> Result<(), Fault> {
        if name.contains(&b'_') || !value.eq_ignore_ascii_case(b"chunked") {
            return Err(Malformed("its transfer-encoding is something other than chunked"));
        }
        match std::mem::replace(&mut self.chunked, true) {
            false => Ok(()),
            true => Err(Ambiguous("It has more than one Transfer-Encoding.")),
        }
    }

    fn end(&mut self, end: usize) -> Result<Head, Fault> {
        let Some(request) = &self.request else { return Err(Malformed("it has no request line")) };
        if self.hosts == 0 && !request.is_1_0 {
            return Err(Malformed("it has no Host"));
        }
        let body = match (self.length, self.chunked) {
            // RFC 9112 §6.1: a sign of request smuggling.
            (Some(_), true) => return Err(Ambiguous("It has both a Content-Length and a Transfer-Encoding.")),
            // RFC 9112 §6.1: HTTP/1.0 knows no transfer codings; its framing is faulty then.
            (None, true) if request.is_1_0 => {
                return Err(Malformed("it is HTTP/1.0 and has a Transfer-Encoding"));
            }
            (None, true) => BodyFraming::Chunked,
            (length, false) => BodyFraming::Length(length.unwrap_or(0)),
        };
        // RFC 9110 §9.3.1: content in a GET or HEAD has no meaning and may be the beginning of another request.
        if !request.takes_body && body != BodyFraming::Length(0) {
            return Err(Malformed("it is a GET or HEAD with a body"));
        }
        Ok(Head { bytes: self.start..end, body })
    }
}

/// Whether a field has this name, also for a recipient that takes `_` for `-`, as CGI-like interfaces do.
fn is_named(name: &[u8], lower: &[u8]) -> bool {
    name.len() == lower.len()
        && name
            .iter()
            .zip(lower)
            .all(|(&is, &should)| is.eq_ignore_ascii_case(&should) || (is == b'_' && should == b'-'))
}

/// RFC 9112 §3: method, target and version, each after one space and nothing else.
fn request_line(line: &[u8], begins: usize, limits: &HeadLimits) -> Result<RequestLine, Fault> {
    let (method, rest) = split_at_space(line).ok_or(Malformed("its first line has no target"))?;
    let takes_body = takes_body(method)?;
    let (target, version) = split_at_space(rest).ok_or(Malformed("its first line has no version"))?;
    check_target(target, limits)?;
    let is_1_0 = match version {
        b"HTTP/1.1" => false,
        b"HTTP/1.0" => true,
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit() => {
            return Err(Fault::VersionUnsupported);
        }
        _ => return Err(Malformed("its first line does not end with HTTP/1.1")),
    };
    let at = begins + method.len() + 1;
    Ok(RequestLine { method: begins..begins + method.len(), target: at..at + target.len(), takes_body, is_1_0 })
}

fn split_at_space(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = memchr(b' ', line)?;
    Some((&line[..space], &line[space + 1..]))
}

/// RFC 9110 §9.1: methods are known or not, in upper case. Whether one fits its path is for the route to say.
pub fn takes_body(method: &[u8]) -> Result<bool, Fault> {
    match method {
        b"POST" | b"PUT" | b"PATCH" | b"DELETE" | b"OPTIONS" => Ok(true),
        b"GET" | b"HEAD" => Ok(false),
        // RFC 9110 §9.3.6, §9.3.8: a tunnel, and an echo of the credentials that were sent.
        b"CONNECT" | b"TRACE" => Err(Fault::MethodRefused),
        other if is_token(other) => Err(Fault::MethodUnknown),
        _ => Err(Malformed("its method is no word")),
    }
}

/// RFC 9112 §3.2.1: a path, and perhaps a query.
pub fn check_target(target: &[u8], limits: &HeadLimits) -> Result<(), Fault> {
    if target.len() > limits.target_bytes {
        return Err(Fault::TargetTooLong);
    }
    match target {
        [b'/', ..] => {}
        // RFC 9112 §3.2.2 has servers accept it; nothing but a proxy's client sends it, and it contradicts Host.
        _ if memchr(b':', target).is_some() => return Err(Malformed("its target is a whole URL; send path and query")),
        _ => return Err(Malformed("its target is no path")),
    }
    if memchr(b'#', target).is_some() {
        // RFC 9110 §7.1: a fragment is never sent.
        return Err(Malformed("its target has a fragment"));
    }
    if !is_target(target) {
        return Err(Malformed("its target holds a character that must be percent-encoded"));
    }
    let path = &target[..memchr(b'?', target).unwrap_or(target.len())];
    if memchr(b'%', target).is_some() && !escapes_are_sound(target) {
        return Err(Malformed("its target has a broken or a control character percent-encoded"));
    }
    if path.split(|&byte| byte == b'/').any(is_dots) {
        return Err(Malformed("its path has . or .. segments"));
    }
    Ok(())
}

/// RFC 3986 §2.1: two hexadecimal digits. What they hide must be no control character, NUL above all.
fn escapes_are_sound(target: &[u8]) -> bool {
    memchr_iter(b'%', target).all(|at| match (hex(target.get(at + 1)), hex(target.get(at + 2))) {
        (Some(high), Some(low)) => high * 16 + low >= 0x20 && high * 16 + low != 0x7f,
        _ => false,
    })
}

fn hex(digit: Option<&u8>) -> Option<u8> {
    char::from(*digit?).to_digit(16).map(|digit| digit as u8)
}

/// RFC 3986 §5.2.4: `.` and `..` are taken out by some and passed on by others, percent-encoded or not.
fn is_dots(segment: &[u8]) -> bool {
    let (mut rest, mut dots) = (segment, 0);
    while !rest.is_empty() {
        rest = match rest {
            [b'.', rest @ ..] | [b'%', b'2', b'e' | b'E', rest @ ..] => rest,
            _ => return false,
        };
        dots += 1;
    }
    matches!(dots, 1 | 2)
}

/// RFC 9110 §7.2, RFC 3986 §3.2: a name or address, and perhaps a port; no user, no list.
fn is_authority(value: &[u8]) -> bool {
    let (host, port) = match value {
        [b'[', rest @ ..] => {
            let Some(end) = memchr(b']', rest) else { return false };
            let address = std::str::from_utf8(&rest[..end]).unwrap_or_default();
            if address.parse::<std::net::Ipv6Addr>().is_err() {
                return false;
            }
            (&b"v6"[..], &rest[end + 1..])
        }
        _ => value.split_at(memchr(b':', value).unwrap_or(value.len())),
    };
    let port_is_sound = match port {
        [] => true,
        [b':', digits @ ..] => {
            (1..=5).contains(&digits.len())
                && digits.iter().all(u8::is_ascii_digit)
                && std::str::from_utf8(digits).is_ok_and(|digits| digits.parse::<u16>().is_ok())
        }
        _ => false,
    };
    !host.is_empty() && is_host(host) && port_is_sound
}

#[cfg(test)]
mod tests;
