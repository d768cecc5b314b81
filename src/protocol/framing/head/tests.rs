use super::*;

const LIMITS: HeadLimits = HeadLimits { bytes: 2048, fields: 20, target_bytes: 256 };

fn scan(bytes: impl AsRef<[u8]>) -> Result<Option<Head>, Fault> {
    HeadScan::default().advance(bytes.as_ref(), &LIMITS)
}

fn head(line: &str, fields: &str) -> String {
    format!("{line}\r\n{fields}\r\n")
}

fn post(fields: &str) -> String {
    head("POST /v1/messages HTTP/1.1", &format!("Host: kt\r\n{fields}"))
}

#[test]
fn a_head_ends_where_its_empty_line_does_however_it_arrives() {
    let text = post("Content-Length: 5\r\nanthropic-version: 1\r\n");
    let bytes = format!("{text}hello");
    let whole = Head { bytes: 0..text.len(), body: BodyFraming::Length(5) };
    assert_eq!(scan(&bytes), Ok(Some(whole.clone())));
    for step in 1..9 {
        let (mut scan, mut seen, mut ended) = (HeadScan::default(), 0, None);
        while ended.is_none() {
            seen = (seen + step).min(bytes.len());
            ended = scan.advance(&bytes.as_bytes()[..seen], &LIMITS).unwrap();
        }
        assert_eq!(ended, Some(whole.clone()), "by {step}");
        assert_eq!(scan.request(bytes.as_bytes()), Some((&b"POST"[..], &b"/v1/messages"[..])));
        assert!(scan.has_anthropic_version());
    }
    let skipped = scan(format!("\r\n{text}")).unwrap().unwrap();
    assert_eq!(skipped.bytes, 2..text.len() + 2);
}

#[test]
fn bodies_are_framed_in_one_way() {
    for (fields, body) in [
        ("", BodyFraming::Length(0)),
        ("Content-Length: 0\r\n", BodyFraming::Length(0)),
        ("content-length:18446744073709551615\r\n", BodyFraming::Length(u64::MAX)),
        ("Transfer-Encoding: Chunked \r\n", BodyFraming::Chunked),
    ] {
        assert_eq!(scan(post(fields)).unwrap().unwrap().body, body, "{fields}");
    }
    for fields in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Host: kt\r\n",
    ] {
        assert!(matches!(scan(post(fields)), Err(Fault::Ambiguous(_))), "{fields}");
    }
}

#[test]
fn hosts_are_hosts() {
    let with = |host: &str| scan(head("GET / HTTP/1.1", &format!("Host:{host}\r\n")));
    for host in ["kt", " kt:41002 ", "127.0.0.1:1", "[::1]", "[::1]:80", "a.b-c_d"] {
        assert!(with(host).is_ok(), "{host}");
    }
    for host in
        ["", " ", "a b", "a/b", "a@b", "a,b", "a:", "a:x", "a:99999", "a:123456", "[::1", "[x]", "::1", "a%41", "é"]
    {
        assert!(matches!(with(host), Err(Fault::Malformed(_))), "{host}");
    }
}

#[test]
fn targets_are_paths_that_nobody_would_rewrite() {
    let with = |target: &str| scan(head(&format!("GET {target} HTTP/1.1"), "Host: kt\r\n"));
    for target in [
        "/",
        "/v1/models/a%2Fb",
        "/v1beta/models/gemini:stream?alt=sse&x=%20",
        "//v1",
        "/.well-known",
        "/a..b/...",
        "/?a=/../",
    ] {
        assert!(with(target).is_ok(), "{target}");
    }
    for target in [
        "*",
        "v1",
        "http://kt/",
        "kt:80",
        "/#a",
        "/a\\b",
        "/a\"b",
        "/<a>",
        "/a|b",
        "/{a}",
        "/a^b",
        "/a`b",
        "/é",
        "/a\tb",
        "/a\0b",
        "/%",
        "/%4",
        "/%zz",
        "/%00",
        "/%0d%0a",
        "/%7F",
        "/..",
        "/a/../b",
        "/./a",
        "/%2e%2E/b",
        "/.%2e?x",
    ] {
        assert!(matches!(with(target), Err(Fault::Malformed(_))), "{target}");
    }
}

#[test]
fn methods_and_versions_are_those_there_are() {
    let with = |line: &str| scan(head(line, "Host: kt\r\n")).err();
    assert_eq!(with("OPTIONS / HTTP/1.0"), None);
    assert_eq!(with("BREW / HTTP/1.1"), Some(Fault::MethodUnknown));
    assert_eq!(with("get / HTTP/1.1"), Some(Fault::MethodUnknown));
    assert_eq!(with("TRACE / HTTP/1.1"), Some(Fault::MethodRefused));
    assert_eq!(with("CONNECT kt:80 HTTP/1.1"), Some(Fault::MethodRefused));
    for line in ["GET / HTTP/2.0", "GET / HTTP/0.9", "GET / HTTP/1.2"] {
        assert_eq!(with(line), Some(Fault::VersionUnsupported), "{line}");
    }
    for line in [
        "GET /",
        "GET",
        "GET  / HTTP/1.1",
        "GET / HTTP/1.1 ",
        "GET /  HTTP/1.1",
        "GET / http/1.1",
        "GET / HTTP/1.10",
        "G@T / HTTP/1.1",
        "GET / HTTP/1",
        " GET / HTTP/1.1",
    ] {
        assert!(matches!(with(line), Some(Fault::Malformed(_))), "{line}");
    }
}

#[test]
fn limits_hold_before_the_head_has_ended() {
    assert_eq!(scan(format!("GET /{}", "a".repeat(300))), Err(Fault::TargetTooLong));
    assert_eq!(scan(head(&format!("GET /{} HTTP/1.1", "a".repeat(256)), "Host: kt\r\n")), Err(Fault::TargetTooLong));
    assert_eq!(scan(post(&"a: b\r\n".repeat(20))), Err(Fault::TooLarge));
    assert!(scan(post(&"a: b\r\n".repeat(19))).is_ok());
    assert_eq!(scan(format!("GET / HTTP/1.1\r\na: {}", "a".repeat(2048))), Err(Fault::TooLarge));
    assert_eq!(scan(post(&format!("a: {}\r\n", "a".repeat(2048)))), Err(Fault::TooLarge));
}

#[test]
fn what_cannot_become_a_head_is_refused_before_it_ends() {
    for bytes in [
        "\x16\x03\x01",
        "\0",
        " ",
        "\n",
        "GET / HTTP/1.1\n",
        "\r\n\r\n",
        "\r\r\n",
        "GET / HTTP/1.1\r\nHost: kt\n",
        "GET / HTTP/1.1\r\n :",
    ] {
        assert!(scan(bytes).is_err() || bytes.ends_with(':'), "{bytes:?}");
    }
    for fields in
        ["a b: c", "a : b", ": b", " a: b", "\ta: b", "a", "a: b\0c", "a: b\rc", "a\x0b: b", "é: b", "a: \x7f"]
    {
        assert!(matches!(scan(post(&format!("{fields}\r\n"))), Err(Fault::Malformed(_))), "{fields:?}");
    }
    assert!(scan(head("GET / HTTP/1.1", "")).is_err(), "no Host");
    assert!(scan(head("GET / HTTP/1.0", "")).is_ok(), "HTTP/1.0 knew none");
    assert!(scan(head("GET / HTTP/1.1", "Host: kt\r\nContent-Length: 1\r\n")).is_err());
    assert!(scan(head("POST / HTTP/1.0", "Transfer-Encoding: chunked\r\n")).is_err());
}
