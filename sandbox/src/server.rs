//! The sockets of one simulated system: reads requests, lets transport faults strike, sends answers.
//!
//! What the system is, it says by being a [`Site`].
//!
//! A connection can be cut without an answer: its socket is wrapped, and once the cut is marked every read and write on
//! it fails, so that the HTTP machinery drops it.

use std::convert::Infallible;
use std::io;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body as HttpBody;
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, Request, State as Extract};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use axum::serve::{IncomingStream, Listener};
use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use futures::stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

use crate::faults::{CallKind, Fault};
use crate::rest::{Body, Call, Reply};

/// Largest body of a data call.
pub(crate) const MAX_BODY_BYTES: usize = 16 * 1024 * 1024;
/// Largest upload to a bulk job.
pub(crate) const MAX_UPLOAD_BYTES: usize = 100 * 1024 * 1024;
/// Bodies shorter than this are not compressed.
pub(crate) const MIN_GZIP_BYTES: usize = 1_024;
/// Bytes by which a truncated body falls short of its declared length.
const MISSING_BYTES: usize = 1_000;
/// Time for what was written to leave before a cut.
const FLUSH: Duration = Duration::from_millis(50);
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// A listener whose connections can be cut.
pub(crate) struct CutListener {
    inner: TcpListener,
    down: Arc<AtomicBool>,
}

impl CutListener {
    /// Wraps a bound listener; all its connections end once `down` is set.
    pub(crate) fn new(inner: TcpListener, down: Arc<AtomicBool>) -> CutListener {
        CutListener { inner, down }
    }
}

impl Listener for CutListener {
    type Io = CutStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (CutStream, SocketAddr) {
        loop {
            match self.inner.accept().await {
                Ok((inner, peer)) => {
                    let down = Arc::clone(&self.down);
                    return (
                        CutStream {
                            inner,
                            line: Line::default(),
                            down,
                        },
                        peer,
                    );
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }
}

/// The mark that cuts one connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Line(Arc<AtomicBool>);

impl Line {
    /// Ends the connection with its next read or write.
    pub(crate) fn cut(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Connected<IncomingStream<'_, CutListener>> for Line {
    fn connect_info(stream: IncomingStream<'_, CutListener>) -> Line {
        stream.io().line.clone()
    }
}

/// A socket that fails once it is cut.
pub(crate) struct CutStream {
    inner: TcpStream,
    line: Line,
    down: Arc<AtomicBool>,
}

impl CutStream {
    /// The mark that cuts this connection.
    pub(crate) fn line(&self) -> Line {
        self.line.clone()
    }

    fn check(&self) -> io::Result<()> {
        if self.line.0.load(Ordering::SeqCst) || self.down.load(Ordering::SeqCst) {
            return Err(io::Error::new(io::ErrorKind::ConnectionReset, "cut"));
        }
        Ok(())
    }
}

impl AsyncRead for CutStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl AsyncWrite for CutStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.inner).poll_write(cx, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// A simulated system that a port leads to.
pub(crate) trait Site: Send + Sync + 'static {
    /// What a request is about.
    fn classify(&self, method: &Method, path: &str, headers: &HeaderMap) -> CallKind;

    /// Largest body of such a call.
    fn longest_body(&self, _kind: CallKind) -> usize {
        MAX_BODY_BYTES
    }

    /// Counts a call that has arrived; the fault that strikes before it is processed.
    fn arrive(&self, kind: CallKind) -> Option<Before>;

    /// Processes a call to the end. Runs where it may block.
    fn answer(&self, call: &Call, kind: CallKind) -> Answer;

    /// The system's own time, for the `Date` header.
    fn date(&self) -> String;
}

/// The answer to a processed call, and what happens to it on the way.
pub(crate) struct Answer {
    pub(crate) reply: Reply,
    pub(crate) struck: Option<After>,
    pub(crate) date: String,
    /// JSON texts that stand where the answer has these marks as strings.
    pub(crate) raw: Vec<(String, String)>,
}

/// What strikes before a request is processed.
pub(crate) enum Before {
    Stall(u64),
    Cut,
    Answer(Reply),
}

/// What strikes the answer of a processed request.
#[derive(Clone, Copy)]
pub(crate) enum After {
    Cut,
    Drip { bytes: usize, pause: Duration },
    Truncate,
    Bomb(usize),
}

const HTML: &str = "text/html;charset=UTF-8";

/// How a fault of the wire strikes before processing; `None` for other faults.
pub(crate) fn before(fault: &Fault) -> Option<Before> {
    match fault {
        Fault::Stall { seconds } => Some(Before::Stall(*seconds)),
        Fault::CutBefore => Some(Before::Cut),
        Fault::UnavailableJson => Some(Before::Answer(
            crate::refusal::Refusal::new(
                503,
                "SERVER_UNAVAILABLE",
                "The server is temporarily unavailable",
            )
            .into(),
        )),
        Fault::UnavailableHtml => Some(Before::Answer(Reply::raw(
            503,
            HTML,
            "<html><head><title>Service Unavailable</title></head><body>Service Unavailable</body></html>",
        ))),
        Fault::HtmlSuccess => Some(Before::Answer(Reply::raw(
            200,
            HTML,
            "<html><head><title>Sign in</title></head><body>Please sign in to the network.</body></html>",
        ))),
        Fault::TooManyRequests { retry_after } => {
            let reply = Reply::raw(429, "text/plain", "Too Many Requests");
            Some(Before::Answer(match retry_after {
                Some(value) => reply.with("Retry-After", value.clone()),
                None => reply,
            }))
        }
        Fault::Unavailable { retry_after } => {
            let reply = Reply::empty(503);
            Some(Before::Answer(match retry_after {
                Some(value) => reply.with("Retry-After", value.clone()),
                None => reply,
            }))
        }
        Fault::Redirect { url } => Some(Before::Answer(
            Reply::empty(302).with("Location", url.clone()),
        )),
        _ => None,
    }
}

/// How a fault of the wire strikes an answer; `None` for other faults.
pub(crate) fn after(fault: &Fault) -> Option<After> {
    match fault {
        Fault::CutAfter => Some(After::Cut),
        Fault::SlowDrip {
            bytes,
            pause_millis,
        } => Some(After::Drip {
            bytes: (*bytes).max(1),
            pause: Duration::from_millis(*pause_millis),
        }),
        Fault::TruncatedBody => Some(After::Truncate),
        Fault::GzipBomb { megabytes } => Some(After::Bomb(*megabytes)),
        _ => None,
    }
}

/// An answer in bytes.
struct Rendered {
    reply: Reply,
    bytes: Vec<u8>,
    kind: Option<&'static str>,
    date: String,
}

/// Serves one HTTP request.
pub(crate) async fn serve<S: Site>(
    Extract(site): Extract<Arc<S>>,
    ConnectInfo(line): ConnectInfo<Line>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    let kind = site.classify(&parts.method, &path, &parts.headers);
    let longest = site.longest_body(kind);
    let Ok(body) = axum::body::to_bytes(body, longest).await else {
        return plain(Reply::empty(413), site.date());
    };
    match site.arrive(kind) {
        Some(Before::Stall(seconds)) => {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            line.cut();
            return plain(Reply::empty(500), site.date());
        }
        Some(Before::Cut) => {
            line.cut();
            return plain(Reply::empty(500), site.date());
        }
        Some(Before::Answer(reply)) => return plain(reply, site.date()),
        None => {}
    }
    let zipped = parts
        .headers
        .get(header::CONTENT_ENCODING)
        .is_some_and(|value| value.as_bytes() == b"gzip");
    let body = if zipped {
        unzip(&body, longest)
    } else {
        Some(body)
    };
    let Some(body) = body else {
        return plain(Reply::empty(400), site.date());
    };
    let accepts_gzip = parts
        .headers
        .get(header::ACCEPT_ENCODING)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.contains("gzip"));
    let call = Call {
        query: parts.uri.query().map(str::to_owned),
        method: parts.method,
        path,
        headers: parts.headers,
        body,
    };
    let worked = tokio::task::spawn_blocking(move || work(site.as_ref(), &call, kind)).await;
    let Ok((rendered, struck)) = worked else {
        line.cut();
        return Response::new(HttpBody::empty());
    };
    respond(rendered, struck, accepts_gzip, &line)
}

/// Processes a request to the end and renders the answer.
fn work(site: &impl Site, call: &Call, kind: CallKind) -> (Rendered, Option<After>) {
    let Answer {
        reply,
        struck,
        date,
        raw,
    } = site.answer(call, kind);
    let pretty = call.header("x-prettyprint") == Some("1");
    let (bytes, kind) = bytes_of(&reply, pretty, &raw);
    (
        Rendered {
            reply,
            bytes,
            kind,
            date,
        },
        struck,
    )
}

fn bytes_of(
    reply: &Reply,
    pretty: bool,
    raw: &[(String, String)],
) -> (Vec<u8>, Option<&'static str>) {
    match &reply.body {
        Body::Empty => (Vec::new(), None),
        Body::Raw(kind, bytes) => (bytes.clone(), Some(*kind)),
        Body::Json(value) => {
            let mut text = if pretty {
                format!("{value:#}")
            } else {
                value.to_string()
            };
            for (mark, json) in raw {
                text = text.replace(&format!("\"{mark}\""), json);
            }
            (text.into_bytes(), Some("application/json;charset=UTF-8"))
        }
    }
}

fn plain(reply: Reply, date: String) -> Response {
    let (bytes, kind) = bytes_of(&reply, false, &[]);
    respond(
        Rendered {
            reply,
            bytes,
            kind,
            date,
        },
        None,
        false,
        &Line::default(),
    )
}

fn respond(rendered: Rendered, struck: Option<After>, accepts_gzip: bool, line: &Line) -> Response {
    let Rendered {
        reply,
        mut bytes,
        kind,
        date,
    } = rendered;
    let mut response = Response::new(HttpBody::empty());
    *response.status_mut() =
        StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    for (name, value) in reply.headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
    if let Ok(date) = HeaderValue::from_str(&date) {
        headers.insert(header::DATE, date);
    }
    if let Some(kind) = kind {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    let bomb = match struck {
        Some(After::Bomb(megabytes)) => Some(megabytes),
        _ => None,
    };
    if let Some(megabytes) = bomb {
        bytes = zip_spaces(megabytes);
    }
    let zip = bomb.is_none() && accepts_gzip && bytes.len() >= MIN_GZIP_BYTES;
    if zip && let Some(zipped) = gzip(&bytes) {
        bytes = zipped;
    }
    if zip || bomb.is_some() {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    let body = match struck {
        None | Some(After::Bomb(_)) => HttpBody::from(bytes),
        Some(After::Cut) => {
            line.cut();
            HttpBody::empty()
        }
        Some(After::Drip {
            bytes: piece,
            pause,
        }) => drip(bytes, piece, pause),
        Some(After::Truncate) => {
            headers.insert(
                header::CONTENT_LENGTH,
                HeaderValue::from(bytes.len() + MISSING_BYTES),
            );
            truncated(bytes, line.clone())
        }
    };
    *response.body_mut() = body;
    response
}

fn drip(bytes: Vec<u8>, piece: usize, pause: Duration) -> HttpBody {
    let bytes = Bytes::from(bytes);
    HttpBody::from_stream(stream::unfold(bytes, move |mut rest| async move {
        if rest.is_empty() {
            return None;
        }
        tokio::time::sleep(pause).await;
        let next = rest.split_to(piece.min(rest.len()));
        Some((Ok::<_, Infallible>(next), rest))
    }))
}

fn truncated(bytes: Vec<u8>, line: Line) -> HttpBody {
    HttpBody::from_stream(stream::unfold(Some(bytes), move |rest| {
        let line = line.clone();
        async move {
            if let Some(bytes) = rest {
                return Some((Ok(Bytes::from(bytes)), None));
            }
            tokio::time::sleep(FLUSH).await;
            line.cut();
            Some((
                Err(io::Error::new(io::ErrorKind::UnexpectedEof, "truncated")),
                None,
            ))
        }
    }))
}

fn gzip(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).ok()?;
    encoder.finish().ok()
}

/// A compressed body that inflates to this many megabytes of blanks inside a JSON array.
fn zip_spaces(megabytes: usize) -> Vec<u8> {
    let block = vec![b' '; 1024 * 1024];
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let written = encoder.write_all(b"[").and_then(|()| {
        for _ in 0..megabytes {
            encoder.write_all(&block)?;
        }
        encoder.write_all(b"]")
    });
    written.and_then(|()| encoder.finish()).unwrap_or_default()
}

fn unzip(bytes: &[u8], longest: usize) -> Option<Bytes> {
    let mut plain = Vec::new();
    let mut decoder = GzDecoder::new(bytes).take(longest as u64 + 1);
    decoder.read_to_end(&mut plain).ok()?;
    (plain.len() <= longest).then(|| Bytes::from(plain))
}
