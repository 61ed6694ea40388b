//! Who is told in tests: a web hook's receiver and a mail server, both on loopback.

use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// One request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> &str {
        let mut headers = self.headers.iter();
        &headers.find(|(known, _)| known == name).unwrap().1
    }
}

/// Answers every request with the status it is told to.
pub(crate) struct Receiver {
    pub(crate) port: u16,
    status: Arc<Mutex<u16>>,
    had: Arc<Mutex<Vec<Request>>>,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let receiver = Self {
            port: listener.local_addr().unwrap().port(),
            status: Arc::new(Mutex::new(204)),
            had: Arc::default(),
        };
        let (status, had) = (Arc::clone(&receiver.status), Arc::clone(&receiver.had));
        #[expect(clippy::disallowed_methods, reason = "the test's own server")]
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                serve(stream, &status, &had).await;
            }
        });
        receiver
    }

    pub(crate) fn answers(&self, status: u16) {
        *self.status.lock().unwrap() = status;
    }

    pub(crate) fn had(&self) -> Vec<Request> {
        self.had.lock().unwrap().clone()
    }
}

async fn serve(stream: TcpStream, status: &Mutex<u16>, had: &Mutex<Vec<Request>>) {
    let mut stream = BufReader::new(stream);
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        if line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.trim().split_once(": ") {
            headers.push((name.to_lowercase(), value.to_owned()));
        }
    }
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length = length.map_or(0, |(_, length)| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    // Noted before the answer, after which a test may look.
    had.lock().unwrap().push(Request { headers, body });
    let status = *status.lock().unwrap();
    let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    stream.write_all(answer.as_bytes()).await.unwrap();
}

/// A mail server that takes what it is given, save for one recipient. It speaks no TLS.
pub(crate) struct MailServer {
    pub(crate) port: u16,
    had: Arc<Mutex<Vec<String>>>,
}

impl MailServer {
    pub(crate) async fn start(refused: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            port: listener.local_addr().unwrap().port(),
            had: Arc::default(),
        };
        let had = Arc::clone(&server.had);
        #[expect(clippy::disallowed_methods, reason = "the test's own server")]
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                converse(stream, refused, &had).await;
            }
        });
        server
    }

    /// The messages taken so far, headers and all.
    pub(crate) fn had(&self) -> Vec<String> {
        self.had.lock().unwrap().clone()
    }
}

/// One conversation; none when it ended early.
async fn converse(stream: TcpStream, refused: &str, had: &Mutex<Vec<String>>) -> Option<()> {
    let mut stream = BufReader::new(stream);
    stream.write_all(b"220 mail.test ESMTP\r\n").await.ok()?;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
            return Some(());
        }
        let command = line.trim_end();
        let answer = if command.starts_with("EHLO") {
            "250-mail.test\r\n250 8BITMIME\r\n".to_owned()
        } else if command.starts_with("RCPT") && command.contains(refused) {
            format!("550 5.1.1 <{refused}> is unknown here\r\n")
        } else if command == "DATA" {
            stream.write_all(b"354 go on\r\n").await.ok()?;
            let mut text = String::new();
            while !text.ends_with("\r\n.\r\n") {
                if stream.read_line(&mut text).await.ok()? == 0 {
                    return None;
                }
            }
            had.lock().unwrap().push(text);
            "250 taken\r\n".to_owned()
        } else {
            "250 fine\r\n".to_owned()
        };
        stream.write_all(answer.as_bytes()).await.ok()?;
    }
}
