//! One client: requests in, answers out, one after the other.

use std::sync::Arc;

use tokio::net::TcpStream;

use super::Shared;
use super::answer::reason;
use super::delivery::{After, Delivery, Meter};
use super::dialect::{self, Question};
use super::fault::Fault;
use super::request::{ReadError, Request};
use super::wire::{Gone, Wire};

pub(super) async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    // A socket that takes no options has been closed already.
    let Ok(mut wire) = Wire::new(stream) else { return };
    loop {
        match Request::read(&mut wire).await {
            Ok(request) => match answer(&mut wire, &shared, request).await {
                After::NextRequest => {}
                After::Close => return,
            },
            Err(ReadError::Gone) => return,
            Err(ReadError::Bad(status, why)) => {
                let reason = reason(status);
                let head = format!("HTTP/1.1 {status} {reason}\r\ncontent-type: text/plain\r\nconnection: close\r\n");
                let bytes = format!("{head}content-length: {}\r\n\r\n{why}", why.len());
                // The connection is closed either way.
                let _ = wire.write(bytes.as_bytes()).await;
                return;
            }
        }
    }
}

async fn answer(wire: &mut Wire, shared: &Shared, request: Request) -> After {
    let (mood, asked) = match request.headers.mock_fault.as_deref() {
        None => {
            let mood = shared.take_mood();
            (mood, Ok(mood.fault))
        }
        Some("none") => (shared.mood(), Ok(None)),
        Some(written) => (shared.mood(), written.parse::<Fault>().map(Some)),
    };
    let fault = asked.as_ref().ok().copied().flatten();
    let entry = shared.books.enter(&request, fault);
    let question = Question::new(&request, shared, mood.tokens);
    let answer = match asked {
        Ok(fault) => dialect::answer(&question, fault),
        Err(error) => dialect::refuse(&question, 400, error.to_string()),
    };
    let delivery = Delivery {
        wire,
        books: &shared.books,
        entry: &entry,
        first: mood.first,
        interval: mood.interval,
        bodiless: request.method == "HEAD",
        closing: request.headers.close,
        meter: Meter::new(shared.books.recording()),
    };
    delivery.run(answer, fault).await.unwrap_or_else(|Gone| {
        shared.books.client_gone(&entry);
        After::Close
    })
}
