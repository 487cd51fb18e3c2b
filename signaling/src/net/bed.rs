//! What the tests of connections share: a listener, a certificate authority, clients.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use control::config::{self, CertificateFiles, Transport};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    SanType,
};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use sip::{
    message::Message,
    transaction::{Layer, Timers, TransactionId},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Arrival, Certified, Dispatcher, Flow, Inbox, Names, Open, Sender, Shared, Tls,
    connections::{self, Connections, Parts},
    lanes::lanes,
    limits::Limits,
};
use crate::{defence::Defence, metrics::Metrics};

pub(super) const PATIENCE: Duration = Duration::from_secs(30);
pub(super) const OPTIONS: &str = "OPTIONS sip:node SIP/2.0\r\n\
    Via: SIP/2.0/TCP a.test;branch=z9hG4bK1\r\nFrom: <sip:a@a.test>;tag=1\r\nTo: <sip:node>\r\n\
    Call-ID: c1\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n";

/// A node's connections.
pub(super) struct Bed {
    pub(super) connections: Connections,
    pub(super) local: SocketAddr,
    pub(super) shared: Shared,
    pub(super) metrics: Arc<Metrics>,
    pub(super) arrived: Inbox,
    pub(super) defence: Arc<Defence>,
    pub(super) stop: CancellationToken,
}

/// One that listens over `transport`, configured as `change` has it.
pub(super) fn bed(transport: Transport, change: impl FnOnce(&mut config::Sip)) -> Bed {
    let mut sip = config::Sip::default();
    change(&mut sip);
    let metrics = Arc::new(Metrics::new().unwrap());
    let (worker, arrived) = lanes();
    let defence = Arc::new(Defence::new(
        &sip.defence,
        Duration::from_millis(sip.t1),
        Instant::now(),
    ));
    let stop = CancellationToken::new();
    let shared = Shared {
        tls: Tls::load(&sip.tls).unwrap(),
        names: Names::default(),
        certified: Certified::default(),
        open: Open::default(),
    };
    let tracker = TaskTracker::new();
    let connections = Connections::new(Parts {
        limits: Limits::new(&sip),
        origins: sip.websocket.origins.clone(),
        shared: shared.clone(),
        dispatcher: Dispatcher::new(vec![worker], defence.clone(), metrics.clone()),
        metrics: metrics.clone(),
        tracker: tracker.clone(),
        stop: stop.clone(),
    });
    let bound = connections::bind(transport, "127.0.0.1:0".parse().unwrap()).unwrap();
    let local = bound.local;
    tracker.spawn(connections.clone().accept(bound.listen().unwrap()));
    Bed {
        connections,
        local,
        shared,
        metrics,
        arrived,
        defence,
        stop,
    }
}

impl Bed {
    /// The next thing that came.
    pub(super) async fn arrival(&mut self) -> Arrival {
        timeout(PATIENCE, self.arrived.next())
            .await
            .unwrap()
            .unwrap()
    }

    /// The flow of the next message.
    pub(super) async fn message(&mut self) -> Flow {
        match self.arrival().await {
            Arrival::Framed {
                flow,
                message: Ok(_),
            } => flow,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn send(&self, flow: &Flow, text: &'static str) {
        let sender = Sender {
            worker: 0,
            transaction: None,
        };
        self.connections
            .send(flow, Bytes::from_static(text.as_bytes()), sender);
    }

    /// Waits until the metrics page has a line.
    pub(super) async fn counted(&self, line: &str) {
        let there = async {
            while !self.metrics.text().lines().any(|one| one == line) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if timeout(PATIENCE, there).await.is_err() {
            panic!("no {line} in\n{}", self.metrics.text());
        }
    }
}

pub(super) async fn read_some(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut buffer = [0; 2048];
    let read = timeout(PATIENCE, stream.read(&mut buffer)).await.unwrap();
    let length = read.unwrap_or(0);
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

/// A certificate authority with files.
pub(super) struct Authority {
    pub(super) folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
    der: CertificateDer<'static>,
}

impl Authority {
    pub(super) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "test authority");
        let certificate = params.self_signed(&key).unwrap();
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join("ca.pem"), certificate.pem()).unwrap();
        Self {
            folder,
            issuer: Issuer::new(params, key),
            der: certificate.der().clone(),
        }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// A certificate for `names`, in files that begin with the first of them.
    pub(super) fn issue(&self, names: &[&str]) -> CertificateFiles {
        self.issue_as(names[0], names)
    }

    pub(super) fn issue_as(&self, file: &str, names: &[&str]) -> CertificateFiles {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        for name in names {
            params.subject_alt_names.push(match name.split_once(':') {
                Some(_) => SanType::URI((*name).try_into().unwrap()),
                None => match name.parse() {
                    Ok(ip) => SanType::IpAddress(ip),
                    Err(_) => SanType::DnsName((*name).try_into().unwrap()),
                },
            });
        }
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        write(self.folder.path(), file, &certificate.pem(), &key)
    }

    /// A client's side of TLS that trusts this authority, and shows a certificate where it has one.
    pub(super) fn connector(&self, shows: Option<&CertificateFiles>) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match shows {
            None => builder.with_no_client_auth(),
            Some(files) => {
                let chain = CertificateDer::pem_file_iter(&files.certificate).unwrap();
                let chain = chain.map(Result::unwrap).collect();
                let key = PrivateKeyDer::from_pem_file(&files.key).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        TlsConnector::from(Arc::new(config))
    }

    /// Connects to `to` and asks for `name`.
    pub(super) async fn connect(
        &self,
        to: SocketAddr,
        name: &str,
        shows: Option<&CertificateFiles>,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(to).await?;
        let name = ServerName::try_from(name.to_owned()).unwrap();
        timeout(PATIENCE, self.connector(shows).connect(name, stream))
            .await
            .unwrap()
    }
}

/// A certificate that nobody but itself signed.
pub(super) fn self_signed(folder: &Path, name: &str) -> CertificateFiles {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    write(folder, &format!("self-{name}"), &certificate.pem(), &key)
}

fn write(folder: &Path, file: &str, pem: &str, key: &KeyPair) -> CertificateFiles {
    let files = CertificateFiles {
        certificate: folder.join(format!("{file}.pem")),
        key: folder.join(format!("{file}.key")),
    };
    fs::write(&files.certificate, pem).unwrap();
    fs::write(&files.key, key.serialize_pem()).unwrap();
    files
}

/// Names a transaction that waits for an answer.
pub(super) fn transaction() -> TransactionId {
    let mut layer = Layer::new(Timers::default(), 1);
    let place = "127.0.0.1:5060".parse().unwrap();
    let request = Message::parse(OPTIONS.into()).unwrap();
    let flow = Flow::to(Transport::Udp, place, place);
    TransactionId::Client(layer.send_request(Instant::now(), flow, request).unwrap())
}
