//! HTTPS, with certificates of an authority that a test makes.

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use api::Tls;
use control::config::CertificateFiles;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::bed::{Bed, KEY};

const PATIENCE: Duration = Duration::from_secs(30);

struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self {
            issuer: CertifiedIssuer::self_signed(params, key).unwrap(),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// Writes a certificate for a host, in the place of the one before.
    fn issue(&self, host: &str) -> CertificateFiles {
        let key = KeyPair::generate().unwrap();
        let hosts = vec![host.to_owned(), "127.0.0.1".to_owned()];
        let params = CertificateParams::new(hosts).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let path = |name: &str| -> PathBuf { self.folder.path().join(name) };
        let files = CertificateFiles {
            certificate: path("api.pem"),
            key: path("api.key"),
        };
        fs::write(&files.certificate, certificate.pem()).unwrap();
        fs::write(&files.key, key.serialize_pem()).unwrap();
        files
    }

    fn connector(&self) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Arc::new(config).into()
    }

    async fn connect(&self, bed: &Bed, host: &'static str) -> TlsStream<TcpStream> {
        let stream = TcpStream::connect(bed.address).await.unwrap();
        let name = ServerName::try_from(host).unwrap();
        self.connector().connect(name, stream).await.unwrap()
    }
}

/// Asks over a connection that stays.
async fn ask(stream: &mut TlsStream<TcpStream>) -> String {
    let request =
        format!("GET /v1/calls HTTP/1.1\r\nHost: node.test\r\nAuthorization: Bearer {KEY}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"}") {
        assert!(stream.read_buf(&mut answer).await.unwrap() > 0);
    }
    String::from_utf8(answer).unwrap()
}

fn shown(stream: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    let certificates = stream.get_ref().1.peer_certificates().unwrap();
    certificates[0].clone().into_owned()
}

#[tokio::test]
async fn the_api_is_served_by_https_and_by_nothing_else() {
    let authority = Authority::new();
    let tls = Tls::load(&authority.issue("node.test")).unwrap();
    let bed = Bed::start_as(|api| api.tls = Some(tls)).await;
    let root = reqwest::Certificate::from_der(authority.issuer.der()).unwrap();
    let client = reqwest::Client::builder()
        .tls_certs_only([root])
        .build()
        .unwrap();
    let url = |path: &str| format!("https://{}{path}", bed.address);
    for (path, wanted) in [
        ("/", "<!doctype html>"),
        ("/healthz", ""),
        ("/v1/calls", "items"),
    ] {
        let answer = client.get(url(path)).bearer_auth(KEY).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        let body = answer.text().await.unwrap();
        assert!(body.contains(wanted), "{path}: {body}");
    }
    // Where a change came from is known as ever.
    let body = r#"{"id": "acme", "name": "Acme"}"#;
    let asked = client.post(url("/v1/tenants")).bearer_auth(KEY).body(body);
    let made = asked.header("content-type", "application/json").send();
    assert_eq!(made.await.unwrap().status(), 201);
    let changes = client.get(url("/v1/audit")).bearer_auth(KEY).send();
    let changes = changes.await.unwrap().text().await.unwrap();
    assert!(changes.contains("\"source\":\"127.0.0.1\""), "{changes}");

    let plain = reqwest::get(format!("http://{}/healthz", bed.address)).await;
    assert!(plain.is_err(), "{plain:?}");
    let page = client.get(url("/metrics")).send().await.unwrap();
    let page = page.text().await.unwrap();
    let gauge = "tandem_tls_certificate_expires_seconds{listener=\"api\",name=\"node.test\"} ";
    assert!(page.contains(gauge), "{page}");
    assert!(
        page.contains("tandem_api_tls_handshake_failures_total 1"),
        "{page}"
    );
    bed.stop().await;
}

#[tokio::test]
async fn a_reload_changes_what_new_connections_get_and_no_other() {
    let authority = Authority::new();
    let files = authority.issue("old.test");
    let tls = Tls::load(&files).unwrap();
    let bed = Bed::start_as(|api| api.tls = Some(tls.clone())).await;
    let mut old = authority.connect(&bed, "old.test").await;
    assert!(ask(&mut old).await.starts_with("HTTP/1.1 200 "));

    authority.issue("new.test");
    tls.take_over(&Tls::load(&files).unwrap());
    assert!(ask(&mut old).await.starts_with("HTTP/1.1 200 "));
    let mut new = authority.connect(&bed, "new.test").await;
    assert_ne!(shown(&old), shown(&new));
    assert!(ask(&mut new).await.starts_with("HTTP/1.1 200 "));

    // Files that cannot be used are told, and change nothing.
    fs::write(&files.key, "no key").unwrap();
    let error = Tls::load(&files).unwrap_err().to_string();
    assert!(
        error.contains("[api.tls]") && error.contains("api.key"),
        "{error}"
    );
    let mut again = authority.connect(&bed, "new.test").await;
    assert!(ask(&mut again).await.starts_with("HTTP/1.1 200 "));
    bed.stop().await;
}

#[tokio::test]
async fn who_never_ends_a_handshake_keeps_nobody_else_out() {
    const MOST: usize = 32;
    let authority = Authority::new();
    let tls = Tls::load(&authority.issue("node.test")).unwrap();
    let bed = Bed::start_as(|api| api.tls = Some(tls)).await;
    let mut hanging = Vec::new();
    for _ in 0..=MOST {
        hanging.push(TcpStream::connect(bed.address).await.unwrap());
    }
    // One is too many, and closed at once.
    let mut last = hanging.pop().unwrap();
    let closed = timeout(PATIENCE, last.read(&mut [0; 1])).await.unwrap();
    assert!(matches!(closed, Ok(0) | Err(_)), "{closed:?}");
    // Whoever comes from elsewhere is served.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let stream = socket.connect(bed.address).await.unwrap();
    let name = ServerName::try_from("node.test").unwrap();
    let mut stream = authority.connector().connect(name, stream).await.unwrap();
    assert!(ask(&mut stream).await.starts_with("HTTP/1.1 200 "));
    bed.stop().await;
}

#[tokio::test]
async fn a_proxy_shakes_hands_for_many_clients() {
    const MOST_OF_ONE: usize = 32;
    let authority = Authority::new();
    let tls = Tls::load(&authority.issue("node.test")).unwrap();
    let bed = Bed::start_as(|api| {
        api.tls = Some(tls);
        api.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
    })
    .await;
    let mut hanging = Vec::new();
    for _ in 0..MOST_OF_ONE + 8 {
        hanging.push(TcpStream::connect(bed.address).await.unwrap());
    }
    let mut stream = authority.connect(&bed, "node.test").await;
    assert!(ask(&mut stream).await.starts_with("HTTP/1.1 200 "));
    drop(hanging);
    bed.stop().await;
}
