//! Every fault, as a client meets it.

use super::*;

const STREAM: &str = r#""model":"gpt-4o","stream":true,"stream_options":{"include_usage":true}"#;
/// Events of a whole stream: role, 16 deltas, finish, usage, `[DONE]`.
const EVENTS: usize = 20;

fn with(fault: &str, request: &str) -> String {
    request.replacen("host: mock", &format!("host: mock\r\nx-mock-fault: {fault}"), 1)
}

async fn stream(mock: &MockProvider, fault: &str) -> Reply {
    ask(mock, &with(fault, &chat(STREAM))).await
}

async fn plain(mock: &MockProvider, fault: &str) -> Reply {
    ask(mock, &with(fault, &chat(r#""model":"gpt-4o""#))).await
}

#[tokio::test]
async fn a_status_has_the_providers_error() {
    let mock = mock().await;
    for status in [400, 404, 500, 503] {
        let reply = stream(&mock, &format!("status:{status}")).await;
        assert_eq!(reply.status, status);
        assert!(reply.json()["error"]["message"].is_string());
    }
    let limited = plain(&mock, "status:429").await;
    assert!(limited.head.contains("\r\nretry-after: 1\r\n"));
    assert_eq!(limited.json()["error"]["code"], "rate_limit_exceeded");
    assert_eq!((plain(&mock, "status:204").await.end, plain(&mock, "status:204").await.body.len()), (End::Whole, 0));

    let overloaded = ask(&mock, &with("status:529", &post("/v1/messages", "", "{}"))).await;
    assert_eq!(overloaded.json()["error"]["type"], "overloaded_error");
    assert!(overloaded.head.starts_with("http/1.1 529 overloaded"));
}

#[tokio::test]
async fn html_and_garbage() {
    let mock = mock().await;
    let page = stream(&mock, "html:502").await;
    assert_eq!(page.status, 502);
    assert!(page.head.contains("text/html") && page.body.starts_with(b"<html>"));
    assert_eq!(stream(&mock, "html").await.status, 200);
    let garbage = plain(&mock, "garbage").await;
    assert_eq!((garbage.end, garbage.head.starts_with("http")), (End::Closed, false));
}

#[tokio::test]
async fn connections_end_before_the_answer() {
    let mock = mock().await;
    assert_eq!(plain(&mock, "reset").await.end, End::Reset);
    assert_eq!(plain(&mock, "refuse").await.end, End::Closed);
    assert_eq!(plain(&mock, "stall").await.end, End::Silent);
    seen_when(&mock, |seen| seen.client_gone && seen.status.is_none()).await;

    let before = mock.totals().requests;
    mock.script(Some(Fault::Refuse));
    let mut client = Client::connect(&mock).await;
    assert!(matches!(client.more().await, Some(End::Closed | End::Reset)));
    assert_eq!(mock.totals().requests, before);
}

#[tokio::test]
async fn streams_end_early() {
    let mock = mock().await;
    let cases = [("cut:3", End::Closed), ("eof:3", End::Whole), ("reset:3", End::Reset), ("stall:3", End::Silent)];
    for (fault, end) in cases {
        let reply = stream(&mock, fault).await;
        assert_eq!((reply.status, reply.end, reply.events().len()), (200, end, 3), "{fault}");
        let seen = mock.requests().pop().unwrap();
        assert_eq!((seen.sent_at.len(), seen.finished, seen.reported), (3, false, None), "{fault}");
        assert_eq!(seen.answered.unwrap().length, reply.body.len() as u64, "{fault}");
        assert_eq!(seen.fault, fault.parse().ok());
    }
    assert_eq!(stream(&mock, "cut:0").await.body.len(), 0);
    assert_eq!(mock.totals().finished, 0);
}

#[tokio::test]
async fn an_event_is_cut_within() {
    let mock = mock().await;
    let reply = stream(&mock, "mid-event:4").await;
    assert_eq!(reply.end, End::Closed);
    // The fifth event carries the first awkward word, which is cut within a character.
    assert!(std::str::from_utf8(&reply.body).is_err());
    assert_eq!(String::from_utf8_lossy(&reply.body).matches("data: ").count(), 5);
}

#[tokio::test]
async fn a_short_answer_is_not_broken() {
    let mock = mock().await;
    for fault in ["cut", "eof", "mid-event", "stall", "reset", "error-event"] {
        let reply = stream(&mock, &format!("{fault}:{EVENTS}")).await;
        assert_eq!((reply.end, reply.events().len()), (End::Whole, EVENTS), "{fault}");
    }
    assert_eq!(mock.totals().reported, 6);
}

#[tokio::test]
async fn plain_answers_break_in_the_middle() {
    let mock = mock().await;
    let cases = [
        ("cut:0", End::Closed),
        ("mid-event:0", End::Closed),
        ("eof:9", End::Whole),
        ("reset:1", End::Reset),
        ("stall:1", End::Silent),
        ("length", End::Closed),
    ];
    for (fault, end) in cases {
        let reply = plain(&mock, fault).await;
        assert_eq!((reply.status, reply.end), (200, end), "{fault}");
        let whole = serde_json::from_slice::<Value>(&reply.body).is_ok();
        assert_eq!(whole, fault == "length", "{fault}");
    }
    let failed = plain(&mock, "error-event:1").await;
    assert_eq!((failed.status, failed.end), (500, End::Whole));
}

#[tokio::test]
async fn errors_within_a_stream_are_the_dialects() {
    let mock = mock().await;
    let (_, last) = stream(&mock, "error-event:2").await.events().pop().unwrap();
    assert_eq!(last["error"]["type"], "server_error");

    let body = r#"{"model":"m","stream":true,"max_tokens":99,"messages":"x","input":"x"}"#;
    let messages = ask(&mock, &with("error-event:2", &post("/v1/messages", KEY, body))).await;
    let (name, last) = messages.events().pop().unwrap();
    assert_eq!((name.as_str(), &last["error"]["type"]), ("error", &Value::from("overloaded_error")));

    let responses = ask(&mock, &with("error-event:2", &post("/v1/responses", KEY, body))).await;
    let (name, last) = responses.events().pop().unwrap();
    assert_eq!((name.as_str(), &last["code"]), ("error", &Value::from("server_error")));
    assert_eq!((responses.end, responses.events().len()), (End::Whole, 3));
}

#[tokio::test]
async fn split_events_arrive_whole_in_pieces() {
    let mock = mock().await;
    let split = stream(&mock, "split").await;
    assert_eq!((split.end, split.events().len()), (End::Whole, EVENTS));
    assert!(split.reads > EVENTS, "{} reads", split.reads);
    assert!(plain(&mock, "split").await.json()["usage"].is_object());
    assert_eq!(mock.totals().reported, 2);
}

#[tokio::test]
async fn the_length_of_a_stream_can_lie_too() {
    let mock = mock().await;
    let reply = stream(&mock, "length").await;
    assert_eq!((reply.end, reply.events().len()), (End::Closed, EVENTS));
    assert!(!mock.requests()[0].finished);
}

#[tokio::test]
async fn the_header_wins_over_the_script() {
    let mock = mock().await;
    mock.script(Some(Fault::Status(503)));
    assert_eq!(ask(&mock, &chat(STREAM)).await.status, 503);
    assert_eq!(stream(&mock, "status:418").await.status, 418);
    assert_eq!(stream(&mock, "none").await.status, 200);
    assert_eq!(stream(&mock, "nonsense").await.status, 400);
    mock.script(None);
    assert_eq!(ask(&mock, &chat(STREAM)).await.status, 200);
}

#[tokio::test]
async fn a_fault_can_be_for_the_next_requests_only() {
    let mock = mock().await;
    mock.script_next(Fault::Status(500), 2);
    let mut client = Client::connect(&mock).await;
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(client.ask(&chat(STREAM)).await.status);
    }
    assert_eq!(statuses, [500, 500, 200]);

    mock.script_next(Fault::Refuse, 1);
    assert!(matches!(Client::connect(&mock).await.more().await, Some(End::Closed | End::Reset)));
    assert_eq!(ask(&mock, &chat(STREAM)).await.status, 200);
}
