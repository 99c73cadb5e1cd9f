//! A member of the fleet whose every word the test chooses, true or not.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use shared::kernel::ids::{BootId, NodeId};
use shared::proto::config_sync_client::ConfigSyncClient;
use shared::proto::enrollment_client::EnrollmentClient;
use shared::proto::usage_client::UsageClient;
use shared::proto::{
    ControlMessage, EnrollRequest, Hello, NodeMessage, Resume, UsageAck, UsageBatch, control_message, node_message,
};
use shared::wire::{MESSAGE_LIMIT, SCHEMA_MAX, SCHEMA_MIN};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::GrpcService as _;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status, Streaming};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Who speaks, and over which connection.
#[derive(Clone)]
pub struct ByHand {
    channel: Channel,
    token: Option<MetadataValue<Ascii>>,
    /// What it is called in the fleet; with a join token alone, what it calls itself.
    pub id: NodeId,
    /// This start of it.
    pub boot: BootId,
}

/// One open call.
pub struct Talk<Say, Hear> {
    /// What is said; dropped, nothing more is.
    pub says: mpsc::Sender<Say>,
    /// What is heard.
    pub hears: Streaming<Hear>,
}

impl ByHand {
    /// Over a connection without TLS, showing a join token if there is one.
    pub async fn joined(grpc: &str, token: Option<&str>) -> Self {
        let endpoint = Endpoint::from_shared(grpc.to_owned()).expect("an address");
        let channel = endpoint.connect().await.unwrap_or_else(|error| panic!("{grpc}: {error:?}"));
        let token = token.map(|token| format!("Bearer {token}").parse().expect("a token for a header"));
        Self { channel, token, id: NodeId::generate(), boot: BootId::generate() }
    }

    /// Enrols with a join token, and comes with the certificate.
    pub async fn enrolled(grpc: &str, token: &str) -> Self {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
        let csr = CertificateParams::default().serialize_request(&key).expect("a request for a certificate");
        let request =
            EnrollRequest { join_token: token.to_owned(), csr_der: csr.der().to_vec(), facts: Default::default() };
        let anonymous = over_tls(grpc, trusting_all().with_no_client_auth()).await;
        let answer = EnrollmentClient::new(anonymous).enroll(request).await.expect("a certificate").into_inner();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialized_der().to_vec()));
        let shown = vec![CertificateDer::from(answer.certificate_der)];
        let channel = over_tls(grpc, trusting_all().with_client_auth_cert(shown, key).expect("a pair")).await;
        let id = NodeId::from_bytes(&answer.node_id).expect("a node's id");
        Self { channel, token: None, id, boot: BootId::generate() }
    }

    fn call<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(token) = &self.token {
            request.metadata_mut().insert("authorization", token.clone());
        }
        request
    }

    /// Opens the stream of the catalog.
    ///
    /// # Errors
    /// What the control plane answers instead.
    pub async fn sync(&self) -> Result<Talk<NodeMessage, ControlMessage>, Status> {
        let (says, receiver) = mpsc::channel(64);
        let mut client = ConfigSyncClient::new(self.channel.clone())
            .max_decoding_message_size(MESSAGE_LIMIT)
            .max_encoding_message_size(usize::MAX);
        let hears = client.sync(self.call(ReceiverStream::new(receiver))).await?.into_inner();
        Ok(Talk { says, hears })
    }

    /// Opens the stream of usage.
    ///
    /// # Errors
    /// What the control plane answers instead.
    pub async fn report(&self) -> Result<Talk<UsageBatch, UsageAck>, Status> {
        let (says, receiver) = mpsc::channel(64);
        let mut client = UsageClient::new(self.channel.clone()).max_encoding_message_size(usize::MAX);
        let hears = client.report(self.call(ReceiverStream::new(receiver))).await?.into_inner();
        Ok(Talk { says, hears })
    }

    /// Sends bytes as the body of a call; the status that comes back.
    pub async fn frames(&self, path: &str, headers: &[(String, String)], body: Vec<u8>) -> (Code, String) {
        let mut request = http::Request::post(format!("http://control-plane{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        if let Some(token) = &self.token {
            request = request.header("authorization", token.to_str().expect("a token"));
        }
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request.body(tonic::body::Body::new(Full::new(Bytes::from(body)))).expect("a request");
        let mut channel = self.channel.clone();
        let answer = timeout(PATIENCE, async {
            std::future::poll_fn(|context| channel.poll_ready(context)).await.map_err(|error| error.to_string())?;
            let response = channel.call(request).await.map_err(|error| error.to_string())?;
            let (head, body) = response.into_parts();
            let trailers = body.collect().await.map_err(|error| error.to_string())?.trailers().cloned();
            Ok::<_, String>(Status::from_header_map(&head.headers).or_else(|| Status::from_header_map(&trailers?)))
        });
        match answer.await {
            Ok(Ok(Some(status))) => (status.code(), status.message().to_owned()),
            Ok(Ok(None)) => (Code::Unknown, "no status".to_owned()),
            Ok(Err(broken)) => (Code::Unknown, broken),
            Err(_) => panic!("{path}: no answer within {PATIENCE:?}"),
        }
    }

    /// What a node says first.
    #[must_use]
    pub fn hello(&self, resume: Option<Resume>) -> Hello {
        Hello {
            node_id: self.id.to_bytes(),
            boot_id: self.boot.to_bytes(),
            build: "by hand".to_owned(),
            schema_min: SCHEMA_MIN,
            schema_max: SCHEMA_MAX,
            labels: Default::default(),
            resume,
        }
    }
}

impl<Say, Hear> Talk<Say, Hear> {
    /// Says something; false when nobody listens any more.
    pub async fn say(&self, what: Say) -> bool {
        self.says.send(what).await.is_ok()
    }

    /// The next thing heard; nothing when the call is over.
    ///
    /// # Errors
    /// How it ended.
    pub async fn hear(&mut self) -> Result<Option<Hear>, Status> {
        timeout(PATIENCE, self.hears.message()).await.expect("something is heard")
    }

    /// How the call ends, whatever is heard before.
    pub async fn end(&mut self) -> Status {
        loop {
            match self.hear().await {
                Ok(Some(_)) => {}
                Ok(None) => return Status::ok(""),
                Err(status) => return status,
            }
        }
    }
}

impl Talk<NodeMessage, ControlMessage> {
    /// Says one of a node's messages.
    pub async fn tell(&self, message: node_message::Message) -> bool {
        self.say(NodeMessage { message: Some(message) }).await
    }

    /// The next message that is no sign of life.
    ///
    /// # Errors
    /// How the call ended.
    pub async fn told(&mut self) -> Result<control_message::Message, Status> {
        loop {
            match self.hear().await? {
                Some(ControlMessage { message: Some(control_message::Message::Heartbeat(_)), .. }) => {}
                Some(ControlMessage { message: Some(message), .. }) => return Ok(message),
                Some(ControlMessage { message: None, .. }) => {}
                None => return Err(Status::ok("the call is over")),
            }
        }
    }
}

async fn over_tls(grpc: &str, mut config: ClientConfig) -> Channel {
    config.alpn_protocols = vec![b"h2".to_vec()];
    let place = grpc.split_once("://").expect("an address").1.to_owned();
    let connector = TlsConnector::from(Arc::new(config));
    let dial = tower::service_fn(move |_: http::Uri| {
        let (place, connector) = (place.clone(), connector.clone());
        async move {
            let stream = TcpStream::connect(&place).await?;
            let name = ServerName::try_from("localhost").expect("a name");
            Ok::<_, std::io::Error>(TokioIo::new(connector.connect(name, stream).await?))
        }
    });
    let endpoint = Endpoint::from_static("http://control-plane");
    endpoint.connect_with_connector(dial).await.unwrap_or_else(|error| panic!("{grpc}: {error:?}"))
}

type Builder = rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>;

fn trusting_all() -> Builder {
    let provider = Arc::new(aws_lc_rs::default_provider());
    ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
}

/// Whom the test speaks to it knows without a certificate.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
