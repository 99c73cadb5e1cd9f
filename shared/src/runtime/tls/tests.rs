//! Certificates against real handshakes: good, replaced under load, broken, and clients that speak something else.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use axum::Router;
use axum::routing::get;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::*;
use crate::runtime::listen::{HttpLimits, Port, bind, serve};
use crate::runtime::readiness::Readiness;
use crate::runtime::shutdown::DrainTiming;

/// A folder that goes away with its test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("gatewright-tls-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn files(&self) -> TlsFiles {
        TlsFiles { certificate: self.0.join("tls.crt"), key: self.0.join("tls.key") }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A certificate for `localhost` and its key, as PEM.
fn pair() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
}

fn der(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

/// A client that trusts these certificates.
fn client(trusted: &[&str], protocols: &[&str], versions: &[&'static SupportedProtocolVersion]) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    for pem in trusted {
        roots.add(der(pem)).unwrap();
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    TlsConnector::from(Arc::new(config))
}

const BOTH: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];

async fn connect(
    client: &TlsConnector,
    address: SocketAddr,
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    client.connect(ServerName::try_from("localhost").unwrap(), stream).await
}

/// One request on a connection of its own; gives the certificate that the server showed.
async fn once(client: &TlsConnector, address: SocketAddr) -> std::io::Result<CertificateDer<'static>> {
    let mut stream = connect(client, address).await?;
    let shown = stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned();
    stream.write_all(b"GET /hello HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("hello"), "{answer}");
    Ok(shown)
}

struct Server {
    address: SocketAddr,
    tls: Tls,
    _folder: Folder,
    shutdown: Shutdown,
}

fn start(folder: Folder) -> Server {
    let timing = DrainTiming { min_drain: Duration::ZERO, ..DrainTiming::default() };
    let shutdown = Shutdown::new(Readiness::new(), timing);
    let limits = HttpLimits { header_read: Duration::from_millis(700), ..HttpLimits::default() };
    let tls = Tls::load(folder.files()).unwrap();
    tls.watch(&shutdown);
    let port = Port { limits, tls: Some(tls.clone()), ..Port::default() };
    let listener = bind("127.0.0.1:0".parse().unwrap(), "--listen").unwrap();
    let address = listener.local_addr().unwrap();
    let routes = Router::new().route("/hello", get(|| async { "hello" }));
    tokio::spawn(serve(listener, routes, port, shutdown.clone()));
    Server { address, tls, _folder: folder, shutdown }
}

fn started(name: &str) -> (Server, String) {
    let (folder, (certificate, key)) = (Folder::new(name), pair());
    write(&folder.files().certificate, &certificate);
    write(&folder.files().key, &key);
    (start(folder), certificate)
}

#[tokio::test]
async fn both_versions_of_http_and_tls_are_spoken() {
    let (server, certificate) = started("versions");
    for versions in [&BOTH[..1], &BOTH[1..], BOTH] {
        once(&client(&[&certificate], &["http/1.1"], versions), server.address).await.unwrap();
        once(&client(&[&certificate], &[], versions), server.address).await.unwrap();
        let stream = connect(&client(&[&certificate], &["h2", "http/1.1"], versions), server.address).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(H2));
        let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (mut sender, connection) = handshake.await.unwrap();
        tokio::spawn(connection);
        let request = Request::get("https://localhost/hello").body(Empty::<bytes::Bytes>::new()).unwrap();
        let answer = sender.send_request(request).await.unwrap();
        assert_eq!(answer.version(), http::Version::HTTP_2);
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "hello");
    }
    let unknown = connect(&client(&[&certificate], &["spdy/3"], BOTH), server.address).await;
    assert!(unknown.is_err(), "nothing in common");
}

#[tokio::test]
async fn who_speaks_something_else_is_told_or_dropped() {
    let (server, certificate) = started("strangers");
    let begin = Instant::now();
    let mut plain = TcpStream::connect(server.address).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    plain.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("https_required"), "{answer}");
    // HTTP/2 was agreed on, HTTP/1 is spoken.
    let mut liar = connect(&client(&[&certificate], &["h2"], BOTH), server.address).await.unwrap();
    liar.write_all(b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert!(matches!(liar.read(&mut [0; 16]).await, Ok(0) | Err(_)));
    let mut silent = TcpStream::connect(server.address).await.unwrap();
    let mut half = TcpStream::connect(server.address).await.unwrap();
    half.write_all(&[0x16, 0x03, 0x01, 0x01]).await.unwrap();
    let mut garbage = TcpStream::connect(server.address).await.unwrap();
    garbage.write_all(&[0x16, 0xff, 0xff, 0, 4, 1, 2, 3, 4]).await.unwrap();
    for stream in [&mut silent, &mut half, &mut garbage] {
        while matches!(stream.read(&mut [0; 64]).await, Ok(read) if read > 0) {}
    }
    let mut mute = connect(&client(&[&certificate], &["http/1.1"], BOTH), server.address).await.unwrap();
    assert!(matches!(mute.read(&mut [0; 16]).await, Ok(0) | Err(_)));
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
    once(&client(&[&certificate], &["http/1.1"], BOTH), server.address).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_replaced_under_load() {
    let (server, old) = started("reload");
    let (new, new_key) = pair();
    let trusting = client(&[&old, &new], &["http/1.1"], BOTH);
    let (stop, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let load: Vec<_> = (0..4)
        .map(|_| {
            let (trusting, stop, calls, address) = (trusting.clone(), stop.clone(), calls.clone(), server.address);
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    once(&trusting, address).await.unwrap();
                    calls.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let shows = |wanted: CertificateDer<'static>| {
        let (trusting, address) = (trusting.clone(), server.address);
        async move {
            let begin = Instant::now();
            while once(&trusting, address).await.unwrap() != wanted {
                assert!(begin.elapsed() < Duration::from_secs(5), "not replaced");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    };
    let files = server.tls.files.clone();
    // Half a pair for a while, then nonsense, then nothing: the old one stays.
    write(&files.certificate, &new);
    tokio::time::sleep(LOOK + LOOK / 2).await;
    assert_eq!(once(&trusting, server.address).await.unwrap(), der(&old));
    write(&files.certificate, "nonsense");
    std::fs::remove_file(&files.key).unwrap();
    tokio::time::sleep(LOOK + LOOK / 2).await;
    assert_eq!(once(&trusting, server.address).await.unwrap(), der(&old));
    write(&files.certificate, &new);
    write(&files.key, &new_key);
    shows(der(&new)).await;
    stop.store(true, Ordering::Relaxed);
    for task in load {
        task.await.unwrap();
    }
    assert!(calls.load(Ordering::Relaxed) > 20, "{calls:?}");
    server.shutdown.begin();
}

#[test]
fn wrong_files_are_named() {
    let folder = Folder::new("wrong");
    let (files, (certificate, key), (other, _)) = (folder.files(), pair(), pair());
    let problem = || {
        let error = Tls::load(files.clone()).unwrap_err();
        let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        format!("{error}: {cause}")
    };
    let missing = problem();
    assert!(
        missing.contains(
            "tls.crt (--tls-certificate, GATEWRIGHT_TLS_CERTIFICATE, settings.tls.certificate) cannot be read"
        ),
        "{missing}"
    );
    write(&files.certificate, &key);
    write(&files.key, &key);
    assert!(problem().contains("tls.crt") && problem().contains("holds no certificate"), "{}", problem());
    write(&files.certificate, &other);
    assert!(problem().contains("cannot be used together") && problem().contains("KeyMismatch"), "{}", problem());
    write(&files.key, &certificate);
    assert!(problem().contains("tls.key") && problem().contains("holds no private key"), "{}", problem());
    write(&files.key, "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n");
    assert!(problem().contains("is encrypted"), "{}", problem());
    assert!(!problem().contains("MIIB"));
}
