//! The running gateway's admin API, by its socket or by URL.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{env, io};

use bytes::Bytes;
use clap::Args;
use http::{Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{sleep, timeout};

use crate::config::{ProcessEnvironment, usual_data_dir};
use crate::control::admin::{ProblemDocument, SOCKET_FILE};
use crate::control::is_handed_over;
use crate::domain::{KeyKind, KeyText};

use super::Error;
use super::trust::{Greeter, Trust};

const HEADING: &str = "Where the gateway is";
const TOKEN_VARIABLE: &str = "KEEPTRUSTS_ADMIN_TOKEN";
/// The largest answer that is read: a full page of events is a few megabytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);
const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);
/// How long a new process may take to open its socket, for a command that waits for it, and how often it is looked.
const HANDOVER_PATIENCE: Duration = Duration::from_secs(4);
const HANDOVER_LOOK: Duration = Duration::from_millis(20);

/// Where the gateway is that a command talks to.
#[derive(Clone, Debug, Args)]
pub(super) struct Gateway {
    /// The data directory of a gateway on this machine [default: $STATE_DIRECTORY or ~/.local/share/keeptrusts]
    #[arg(long, global = true, env = "KEEPTRUSTS_DATA_DIR", value_name = "DIR", help_heading = HEADING)]
    data_dir: Option<PathBuf>,
    /// The admin API's URL instead, such as https://gateway:41003; needs KEEPTRUSTS_ADMIN_TOKEN
    #[arg(long, global = true, help_heading = HEADING)]
    url: Option<String>,
    #[command(flatten)]
    trust: Trust,
}

/// A gateway's admin API.
#[derive(Clone)]
pub(super) struct Client {
    place: Place,
}

#[derive(Clone)]
enum Place {
    Socket(PathBuf),
    Url { authority: String, address: String, token: KeyText, greeter: Option<Greeter> },
}

/// Why a call has no answer. [`From`] makes a command's error of it.
#[derive(Debug)]
pub(super) enum CallError {
    /// Nobody is there, or the connection broke off: another attempt may succeed.
    Unreachable(String),
    /// The gateway said no.
    Refused { status: StatusCode, detail: String, code: String },
    /// The answer makes no sense.
    Garbled(String),
}

impl Gateway {
    pub(super) fn client(&self) -> Result<Client, Error> {
        match &self.url {
            Some(url) => Client::of_url(url, env::var(TOKEN_VARIABLE).ok(), &self.trust),
            None => Ok(Client::of_socket(self.data_dir()?.join(SOCKET_FILE))),
        }
    }

    /// The data directory, for what is done without a running gateway.
    pub(super) fn data_dir(&self) -> Result<PathBuf, Error> {
        let data_dir = self.data_dir.clone().or_else(|| usual_data_dir(&ProcessEnvironment));
        let unset = || Error::Usage("HOME is not set: say --data-dir or set KEEPTRUSTS_DATA_DIR".into());
        data_dir.ok_or_else(unset)
    }
}

fn place_of(url: &str, token: Option<String>, trust: &Trust) -> Result<Place, Error> {
    let usage = |text: &str| Error::Usage(text.into());
    let uri: Uri = url.parse().map_err(|_| usage("--url is not a URL: write it like http://127.0.0.1:41003"))?;
    let (encrypted, usual_port) = match uri.scheme_str() {
        Some("http") => (false, 80),
        Some("https") => (true, 443),
        _ => return Err(usage("--url begins with https:// or http://")),
    };
    let (Some(authority), "" | "/", None) = (uri.authority(), uri.path(), uri.query()) else {
        return Err(usage("--url has a host and a port and nothing else: http://127.0.0.1:41003"));
    };
    let token = token.ok_or_else(|| Error::Usage(format!("--url needs an admin token in {TOKEN_VARIABLE}")))?;
    let token = KeyText::parse(&token).map_err(|error| Error::Usage(format!("{TOKEN_VARIABLE}: {error}")))?;
    if token.kind() != KeyKind::Admin {
        return Err(Error::Usage(format!("{TOKEN_VARIABLE} holds no admin token: those begin with kt_admin_")));
    }
    let greeter = encrypted.then(|| trust.greeter(authority.host())).transpose()?;
    let address = format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(usual_port));
    Ok(Place::Url { authority: authority.as_str().into(), address, token, greeter })
}

impl Client {
    pub(super) fn of_socket(socket: PathBuf) -> Self {
        Self { place: Place::Socket(socket) }
    }

    /// `token` is what the environment holds.
    pub(super) fn of_url(url: &str, token: Option<String>, trust: &Trust) -> Result<Self, Error> {
        Ok(Self { place: place_of(url, token, trust)? })
    }

    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, CallError> {
        self.call(Method::GET, path, Bytes::new()).await
    }

    pub(super) async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, CallError> {
        let body = serde_json::to_vec(body).map_err(|error| CallError::Garbled(error.to_string()))?;
        self.call(Method::POST, path, body.into()).await
    }

    pub(super) async fn patch<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, CallError> {
        let body = serde_json::to_vec(body).map_err(|error| CallError::Garbled(error.to_string()))?;
        self.call(Method::PATCH, path, body.into()).await
    }

    pub(super) async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, CallError> {
        self.call(Method::DELETE, path, Bytes::new()).await
    }

    /// Begins to read an answer that does not end.
    pub(super) async fn open(&self, path: &str) -> Result<Incoming, CallError> {
        self.send(Method::GET, path, Bytes::new()).await.map(Response::into_body)
    }

    async fn call<T: DeserializeOwned>(&self, method: Method, path: &str, body: Bytes) -> Result<T, CallError> {
        let answer = self.send(method, path, body).await?;
        let body = read(answer.into_body()).await?;
        serde_json::from_slice(&body)
            .map_err(|error| CallError::Garbled(format!("the gateway's answer makes no sense: {error}")))
    }

    async fn send(&self, method: Method, path: &str, body: Bytes) -> Result<Response<Incoming>, CallError> {
        let begun = Instant::now();
        match self.send_once(method.clone(), path, body.clone()).await {
            // Perhaps it had come to a process that was handing over. Nothing but a question may be asked twice.
            Err(CallError::Unreachable(_)) if method == Method::GET && begun.elapsed() < HANDOVER_PATIENCE => {
                sleep(HANDOVER_LOOK).await;
                self.send_once(method, path, body).await
            }
            sent => sent,
        }
    }

    async fn send_once(&self, method: Method, path: &str, body: Bytes) -> Result<Response<Incoming>, CallError> {
        let answer = match &self.place {
            Place::Socket(socket) => {
                let connected = connect(reach(socket)).await;
                let stream = connected.map_err(|error| CallError::Unreachable(no_gateway(socket, &error)))?;
                let request = Request::builder().header(header::HOST, "localhost");
                exchange(stream, request, method, path, body).await
            }
            Place::Url { authority, address, token, greeter } => {
                let connected = connect(TcpStream::connect(address)).await;
                let stream = connected
                    .map_err(|error| CallError::Unreachable(format!("no gateway answers at {authority}: {error}")))?;
                let request = Request::builder().header(header::HOST, authority);
                let request = request.header(header::AUTHORIZATION, format!("Bearer {}", token.expose()));
                match greeter {
                    None => exchange(stream, request, method, path, body).await,
                    Some(greeter) => {
                        let greeted = connect(greeter.greet(stream)).await;
                        let stream = greeted.map_err(|error| {
                            CallError::Unreachable(format!("no gateway to be trusted answers at {authority}: {error}"))
                        })?;
                        exchange(stream, request, method, path, body).await
                    }
                }
            }
        }?;
        if answer.status().is_success() { Ok(answer) } else { Err(refusal(answer).await) }
    }
}

async fn connect<S>(connecting: impl Future<Output = io::Result<S>>) -> io::Result<S> {
    timeout(CONNECT_TIME_MAX, connecting).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: http::request::Builder,
    method: Method,
    path: &str,
    body: Bytes,
) -> Result<Response<Incoming>, CallError> {
    let broke_off = |error: hyper::Error| CallError::Unreachable(format!("the gateway did not answer: {error}"));
    let request = request.method(method).uri(path).header(header::CONTENT_TYPE, "application/json");
    let request = request.body(Full::new(body)).map_err(|error| CallError::Garbled(error.to_string()))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broke_off)?;
    // It ends with the answer's body; its errors are the body's.
    tokio::spawn(connection);
    match timeout(ANSWER_TIME_MAX, sender.send_request(request)).await {
        Ok(answer) => answer.map_err(broke_off),
        Err(_) => Err(CallError::Unreachable("the gateway did not answer in time".into())),
    }
}

async fn read(body: Incoming) -> Result<Bytes, CallError> {
    let reading = timeout(ANSWER_TIME_MAX, Limited::new(body, ANSWER_BYTES_MAX).collect()).await;
    let body = reading.map_err(|_| CallError::Unreachable("the gateway's answer did not end in time".into()))?;
    body.map(|body| body.to_bytes())
        .map_err(|error| CallError::Unreachable(format!("the gateway's answer broke off: {error}")))
}

async fn refusal(answer: Response<Incoming>) -> CallError {
    let status = answer.status();
    let body = match read(answer.into_body()).await {
        Ok(body) => body,
        Err(error) => return error,
    };
    match serde_json::from_slice::<ProblemDocument>(&body) {
        Ok(problem) => CallError::Refused { status, detail: problem.detail, code: problem.code },
        Err(_) => CallError::Garbled(format!("what answers there is no gateway's admin API (status {status})")),
    }
}

/// Connects to `socket`; while one process hands over to another, as soon as it is there again.
async fn reach(socket: &Path) -> io::Result<UnixStream> {
    let begun = Instant::now();
    let mut was_expected = true;
    loop {
        match UnixStream::connect(socket).await {
            Err(error) if is_nobody(&error) && begun.elapsed() < HANDOVER_PATIENCE => {
                // Asked afterwards, because it may have begun meanwhile; and if it has ended, the next attempt succeeds.
                let is_expected = socket.parent().is_some_and(is_handed_over);
                if !is_expected && !was_expected {
                    return Err(error);
                }
                was_expected = is_expected;
                sleep(HANDOVER_LOOK).await;
            }
            connected => return connected,
        }
    }
}

fn is_nobody(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, ConnectionReset, NotFound};
    matches!(error.kind(), NotFound | ConnectionRefused | ConnectionReset)
}

/// Why nobody answers on `socket`, and what to do about it.
fn no_gateway(socket: &std::path::Path, error: &io::Error) -> String {
    let socket = socket.display();
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => format!(
            "no gateway is running here (tried {socket}). Start one with `kt gateway run`, \
             or say where it is with --data-dir, KEEPTRUSTS_DATA_DIR or --url"
        ),
        io::ErrorKind::PermissionDenied => format!(
            "the admin socket {socket} belongs to another user: run this command as the user the gateway runs as, \
             or use --url with an admin token"
        ),
        _ => format!("failed to connect to {socket}: {error}"),
    }
}

/// `text` as one part of a path or as a value in a query.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for &byte in text.as_bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

/// A path with the query parameters that have a value.
pub(super) fn with_query<'a>(path: &str, query: impl IntoIterator<Item = (&'a str, Option<String>)>) -> String {
    let given = query.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", escaped(&value?))));
    let query = given.collect::<Vec<_>>().join("&");
    if query.is_empty() { path.into() } else { format!("{path}?{query}") }
}

impl From<CallError> for Error {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Unreachable(text) | CallError::Garbled(text) => Self::Failed(text),
            CallError::Refused { status, detail, code } => {
                Self::Failed(format!("{detail} ({code}, status {})", status.as_u16()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_needs_a_token_and_nothing_else() {
        let token = || KeyText::mint(KeyKind::Admin, getrandom::fill).ok().map(|token| token.expose().to_owned());
        assert!(place_of("http://127.0.0.1:41003/", token(), &Trust::default()).is_ok());
        assert!(place_of("https://gateway:41003", None, &Trust::default()).is_err());
        assert!(place_of("http://127.0.0.1:41003", Some("kt_admin_short".into()), &Trust::default()).is_err());
        for bad in ["127.0.0.1:41003", "ftp://host", "http://host/v1", "http://host/?q", "nonsense"] {
            assert!(matches!(place_of(bad, token(), &Trust::default()), Err(Error::Usage(_))), "{bad}");
        }
    }

    #[test]
    fn names_survive_the_way_through_a_path() {
        assert_eq!(escaped("é/a+b?c"), "%C3%A9%2Fa%2Bb%3Fc");
        let query = [("a", Some("1 2".into())), ("b", None), ("c", Some("x".into()))];
        assert_eq!(with_query("/p", query), "/p?a=1%202&c=x");
        assert_eq!(with_query("/p", [("a", None)]), "/p");
    }
}
