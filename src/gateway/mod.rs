//! The journey of a request, room by room.
//!
//! | step | room | Pingora phase | takes → gives | refuses with |
//! |---|---|---|---|---|
//! | | `door` | before Pingora | bytes → one request, delimited in one way only; limits, deadline, caps on connections | 400, 405, 408, 414, 431, 501, 503, 505 |
//! | 1 | `authenticate` | `request_filter` | headers → `Caller`; no body read yet, nothing asked of a store | 400, 401, 403, 429 |
//! | 2 | `attribute` | ” | `Caller` → `Account` | |
//! | | `frame` | ” | headers that leave it uncertain what the request is go no further | 400 |
//! | | `admit` | ” | looks in whether limits leave any room at all, before memory is spent on the body | 402, 429 |
//! | | `body` | ” | reads the whole body, once | 400, 408, 413 |
//! | 3 | `authorize` | ” | `Account`, head of the body → `Grant`; endpoint and address before the body is read | 403, 404, 503 |
//! | 4 | `admit` | ” | `Grant` → `Admission`: a place in the journal is held, and what the limits count | 400, 402, 413, 429, 503 |
//! | 5 | `inspect` | ”, `response_filter`, `response_body_filter` | body → what may be said of it; the answer likewise, as it passes | 403, or the stream's end |
//! | | `wait` | ” | where a provider is asked only so many requests at once: a `Turn`, fairly among keys | 401, 403, 503 |
//! | 6 | `route` | ”, `upstream_peer`, `fail_to_connect` | choice → `Plan` → address | 502, 504 |
//! | 7 | `relay` | `upstream_request_filter`, `request_body_filter`, `response_filter`, `response_body_filter` | `Admission` → `Commitment`; the answer passes and is metered | 502, 504, or the stream's error event |
//! | | `cut` | `response_filter`, `response_body_filter`, `fail_to_proxy` | a key that may not go on ends its running answer | 401, 403, or the stream's end |
//! | 8 | `settle` | `logging` (or a drop) | `Commitment` → `Receipt` | never |
//! | 9 | `report` | ” | `Receipt` → one `Record` → events and metrics | never |
//!
//! The numbers are those of `docs/ARCHITECTURE.md`.
//!
//! The gateway does no I/O but HTTP: no files, no environment, no SQL, no tasks of its own. What it knows
//! comes from the catalog, what it has to say goes into the journal.

mod phases; // the only `impl ProxyHttp`: one call a phase
mod door; // connections come in: heads within limits and time, requests delimited in one way only
mod receive; // everything before a provider is asked, in the order of the table
mod journey; // what a request carries from room to room: an enum of stages
pub mod authenticate; // 1 who is calling? → Caller
mod attribute; // 2 on whose account? → Account
pub(crate) mod frame; // headers that leave it uncertain what the request is
mod body; // reads the body once and hands it upstream
mod authorize; // 3 may they use this? → Grant
mod admit; // 4 is there room? → Admission
mod inspect; // 5 may this be said? → what is left of it
mod wait; // a turn at a provider that is asked only so many requests at once
mod route; // 6 where does it go, and where next? → Plan
mod relay; // 7 send it, stream the answer, meter it → Commitment
mod settle; // 8 what did it cost? → Receipt
mod report; // 9 write it down: one record, whatever ended it
mod me; // what a key is and may use, told to its holder
mod pressure; // whether there is room for one more request
mod heat; // how often authentication fails from each address
mod refusal; // every reason to say no: one table
mod cut; // ends a running answer whose key may not go on
mod failure; // what is said and booked when a request does not end as it should
mod headers; // what the gateway adds to an answer's head
mod respond; // answers of the gateway's own

pub use door::{Connections, Door};
pub use journey::UnderWay;
pub use phases::Gateway;
pub use pressure::Pressure;
pub use refusal::{Refusal, Row};
use route::CONNECTS_MAX;
