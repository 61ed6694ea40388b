//! What the HTTP client of every connector does not put up with: certificates that prove nothing, and
//! servers that take for ever.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use consentd::connector::http::{Body, Call, Http, Limits, Method, authorities};
use consentd::connector::{Fault, FaultClass};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use secrecy::SecretString;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::{self, ServerConfig};

/// Time for a whole call.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);

/// A certificate authority that nobody knows but whoever is given its certificate.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    /// A certificate for these names, valid until the first of January of that year.
    fn certify(&self, names: &[&str], until: i32) -> (CertificateDer<'static>, KeyPair) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.der().clone(), key)
    }

    fn trusted(&self) -> Vec<consentd::connector::http::Certificate> {
        authorities(self.pem.as_bytes()).unwrap()
    }
}

/// A server with that certificate, and what was read of requests once the connection was safe.
async fn serve(
    (certificate, key): (CertificateDer<'static>, KeyPair),
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> (String, Arc<Mutex<String>>) {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate],
            PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        )
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    let told = Arc::new(Mutex::new(String::new()));
    let heard = Arc::clone(&told);
    #[expect(clippy::disallowed_methods, reason = "the test's own server")]
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let mut request = [0; 4_096];
            let read = stream.read(&mut request).await.unwrap_or(0);
            heard
                .lock()
                .unwrap()
                .push_str(&String::from_utf8_lossy(&request[..read]));
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";
            // A client that has what it wants may be gone.
            stream.write_all(answer).await.ok();
            stream.shutdown().await.ok();
        }
    });
    (url, told)
}

async fn ask(
    url: &str,
    trusted: Vec<consentd::connector::http::Certificate>,
) -> Result<u16, Fault> {
    let limits = Limits {
        system: "crm".to_owned(),
        request_timeout: REQUEST_TIMEOUT,
        connect_timeout: REQUEST_TIMEOUT,
        max_body_bytes: 1_024,
        max_concurrent: 1,
        max_calls_per_sec: 100,
    };
    let token = SecretString::from("a-token");
    let call = Call {
        kind: "query",
        method: Method::GET,
        url: url.parse().unwrap(),
        headers: Vec::new(),
        bearer: Some(&token),
        secrets: Vec::new(),
        body: Body::None,
    };
    let answer = Http::trusting(limits, trusted)?.send(call).await?;
    Ok(answer.status)
}

#[tokio::test]
async fn bad_input_13_a_certificate_that_proves_nothing_is_refused() {
    let (ours, other) = (Authority::new(), Authority::new());
    let self_signed = {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        (params.self_signed(&key).unwrap().der().clone(), key)
    };
    for (sentence, certificate) in [
        ("expired", ours.certify(&["127.0.0.1"], 2024)),
        ("of another host", ours.certify(&["crm.example.com"], 2099)),
        (
            "of an unknown authority",
            other.certify(&["127.0.0.1"], 2099),
        ),
        ("signed by itself", self_signed),
    ] {
        let (url, told) = serve(certificate, rustls::ALL_VERSIONS).await;
        let fault = ask(&url, ours.trusted()).await.unwrap_err();
        assert_eq!(
            (fault.class, fault.code.as_str(), fault.maybe_sent),
            (FaultClass::ContractBroken, "tls", false),
            "{sentence}: {fault}"
        );
        assert!(
            fault.message.contains("certificate is not accepted"),
            "{sentence}: {fault}"
        );
        assert_eq!(*told.lock().unwrap(), "", "{sentence}: nothing was said");
    }
}

#[tokio::test]
async fn a_private_authority_counts_only_where_it_is_configured() {
    let ours = Authority::new();
    for version in rustls::ALL_VERSIONS {
        let (url, told) = serve(ours.certify(&["127.0.0.1"], 2099), &[version]).await;
        assert_eq!(ask(&url, ours.trusted()).await.unwrap(), 200);
        assert!(told.lock().unwrap().contains("Bearer a-token"));
        let fault = ask(&url, Vec::new()).await.unwrap_err();
        assert_eq!(fault.code, "tls", "{fault}");
    }
}

/// A server that knows no newer version than TLS 1.0 answers the first message of a newer client with
/// an alert.
#[tokio::test]
async fn bad_input_13_an_old_version_of_tls_is_not_fallen_back_to() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut hello = [0; 1_024];
        let read = stream.read(&mut hello).unwrap();
        // Alert, TLS 1.0, two bytes: fatal, protocol version.
        stream.write_all(&[21, 3, 1, 0, 2, 2, 70]).unwrap();
        drop(stream);
        listener.set_nonblocking(true).unwrap();
        (hello[..read].to_vec(), listener.accept().is_err())
    });
    let fault = ask(&url, Vec::new()).await.unwrap_err();
    assert_eq!(
        (fault.class, fault.maybe_sent),
        (FaultClass::Retryable, false),
        "{fault}"
    );
    let (hello, only_once) = server.join().unwrap();
    assert_eq!(hello[0], 22, "a handshake, and nothing in the clear");
    assert!(only_once, "it is not tried again with less");
    assert!(!hello.windows(7).any(|part| part == b"a-token"));
}

/// Bytes keep coming, so that no pause between two of them is long, but never the end.
#[tokio::test]
async fn bad_input_07_headers_that_drip_in_for_ever_are_not_waited_for() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let drip = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let asked = stream.read(&mut [0; 4_096]).await.unwrap();
        assert!(asked > 0);
        let head: &[u8] = b"HTTP/1.1 200 OK\r\nx-drip: ";
        let mut sent = stream.write_all(head).await;
        while sent.is_ok() {
            tokio::time::sleep(Duration::from_millis(100)).await;
            sent = stream.write_all(b"a").await;
        }
    };
    let (answer, ()) = tokio::join!(ask(&url, Vec::new()), drip);
    let fault = answer.unwrap_err();
    assert_eq!(
        (fault.class, fault.code.as_str(), fault.maybe_sent),
        (FaultClass::Retryable, "timeout", true),
        "{fault}"
    );
}
