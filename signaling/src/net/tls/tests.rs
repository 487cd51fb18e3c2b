use std::fs;

use control::config::Transport;
use tokio::{io::AsyncWriteExt as _, net::TcpListener, time::timeout};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::net::{
    Arrival, Flow,
    bed::{Authority, OPTIONS, PATIENCE, bed, read_some, self_signed},
};

#[tokio::test]
async fn a_client_gets_the_certificate_that_has_the_name_it_asks_for() {
    let authority = Authority::new();
    let (first, second) = (
        authority.issue(&["one.test"]),
        authority.issue(&["two.test", "*.three.test"]),
    );
    let mut bed = bed(Transport::Tls, |sip| {
        sip.tls.certificates = vec![first, second];
    });
    for (asked, shown) in [
        ("one.test", "one.test"),
        ("two.test", "two.test"),
        ("TWO.test", "two.test"),
        ("a.three.test", "two.test"),
    ] {
        let mut peer = authority.connect(bed.local, asked, None).await.unwrap();
        let names = peer_names(peer.get_ref().1.peer_certificates());
        assert_eq!(names[0], shown, "{asked}");
        peer.write_all(OPTIONS.as_bytes()).await.unwrap();
        let flow = bed.message().await;
        assert_eq!(flow.transport, Transport::Tls);
        bed.send(&flow, "answer");
        assert_eq!(read_some(&mut peer).await, "answer");
        drop(peer);
        assert!(matches!(bed.arrival().await, Arrival::Closed { .. }));
    }
    // The default does not have that name: the client says so, and is right.
    assert!(
        authority
            .connect(bed.local, "a.b.three.test", None)
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_client_that_has_taken_leave_is_told_what_it_is_owed() {
    let authority = Authority::new();
    let files = authority.issue(&["one.test"]);
    let mut bed = bed(Transport::Tls, |sip| sip.tls.certificates = vec![files]);
    let mut peer = authority
        .connect(bed.local, "one.test", None)
        .await
        .unwrap();
    peer.write_all(OPTIONS.as_bytes()).await.unwrap();
    peer.shutdown().await.unwrap();
    let flow = bed.message().await;
    bed.send(&flow, "SIP/2.0 200 OK\r\n");
    assert_eq!(read_some(&mut peer).await, "SIP/2.0 200 OK\r\n");
    assert!(matches!(bed.arrival().await, Arrival::Closed { .. }));
}

#[tokio::test]
async fn clients_show_a_certificate_of_the_right_authority_or_have_no_connection() {
    let (authority, strange) = (Authority::new(), Authority::new());
    let files = authority.issue(&["node.test"]);
    let client = authority.issue_as("client", &["sip:gw.carrier.test", "gw2.carrier.test"]);
    let foreign = strange.issue(&["gw.carrier.test"]);
    let mut bed = bed(Transport::Tls, |sip| {
        sip.tls.certificates = vec![files];
        sip.tls.client_auth = ClientAuth::Required;
        sip.tls.client_ca = Some(authority.path());
    });
    for shows in [None, Some(&foreign)] {
        // In TLS 1.3 a client hears of its refusal when it reads.
        if let Ok(mut peer) = authority.connect(bed.local, "node.test", shows).await {
            drop(peer.write_all(OPTIONS.as_bytes()).await);
            assert_eq!(read_some(&mut peer).await, "");
        }
    }
    bed.counted("tandem_tls_handshake_failures_total 2").await;

    let mut peer = authority
        .connect(bed.local, "node.test", Some(&client))
        .await
        .unwrap();
    peer.write_all(OPTIONS.as_bytes()).await.unwrap();
    let flow = bed.message().await;
    let names = bed.shared.certified.names(&flow).unwrap();
    assert_eq!(names[..], ["gw.carrier.test", "gw2.carrier.test"]);
    drop(peer);
    assert!(matches!(bed.arrival().await, Arrival::Closed { .. }));
    assert_eq!(bed.shared.certified.names(&flow), None);
}

#[tokio::test]
async fn a_reload_changes_what_new_connections_get_and_no_other() {
    let authority = Authority::new();
    let files = authority.issue_as("node", &["old.test"]);
    let mut sip = config::Sip::default();
    sip.tls.certificates = vec![files];
    let tls = sip.tls.clone();
    let mut bed = bed(Transport::Tls, |own| *own = sip);
    let mut old = authority
        .connect(bed.local, "old.test", None)
        .await
        .unwrap();

    authority.issue_as("node", &["new.test"]);
    bed.shared.tls.take_over(&Tls::load(&tls).unwrap());
    let new = authority
        .connect(bed.local, "new.test", None)
        .await
        .unwrap();
    assert_eq!(
        peer_names(new.get_ref().1.peer_certificates()),
        ["new.test"]
    );
    old.write_all(OPTIONS.as_bytes()).await.unwrap();
    let flow = bed.message().await;
    bed.send(&flow, "still here");
    assert_eq!(read_some(&mut old).await, "still here");

    let expiries = bed.shared.tls.expiries();
    assert_eq!(expiries[0].0, "new.test");
    assert!(expiries[0].1 > 0);

    // A file that cannot be used leaves all as it is.
    fs::write(&tls.certificates[0].key, "no key").unwrap();
    let error = Tls::load(&tls).unwrap_err().to_string();
    assert!(
        error.contains("node.key") && error.contains("PEM"),
        "{error}"
    );
    authority
        .connect(bed.local, "new.test", None)
        .await
        .unwrap();
}

#[test]
fn what_is_wrong_with_a_file_is_told() {
    let authority = Authority::new();
    let (one, two) = (
        authority.issue(&["one.test"]),
        authority.issue(&["two.test"]),
    );
    let mixed = config::CertificateFiles {
        key: two.key,
        ..one.clone()
    };
    let missing = config::CertificateFiles {
        certificate: "/nowhere/a.pem".into(),
        ..one
    };
    for (files, wanted) in [
        (mixed, "the key is not that of the certificate"),
        (missing, "cannot read /nowhere/a.pem: No such file"),
    ] {
        let tls = config::Tls {
            certificates: vec![files],
            ..config::Tls::default()
        };
        let error = Tls::load(&tls).unwrap_err().to_string();
        assert!(error.contains(wanted), "{error}");
    }
}

/// A carrier's host, with the certificate of `files`.
async fn carrier(files: &config::CertificateFiles) -> (TcpListener, TlsAcceptor) {
    let tls = Tls::load(&config::Tls {
        certificates: vec![files.clone()],
        ..config::Tls::default()
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    (listener, tls.unwrap().acceptor().unwrap())
}

#[tokio::test]
async fn a_host_is_believed_only_with_a_certificate_of_its_name_by_whom_we_trust() {
    let (authority, strange) = (Authority::new(), Authority::new());
    let good = authority.issue(&["gw.carrier.test"]);
    let cases = [
        (good.clone(), true),
        (authority.issue(&["gw.other.test"]), false),
        (strange.issue(&["gw.carrier.test"]), false),
        (
            self_signed(authority.folder.path(), "gw.carrier.test"),
            false,
        ),
    ];
    for (files, trusted) in cases {
        let bed = bed(Transport::Tls, |sip| {
            sip.tls.certificates = vec![good.clone()];
            sip.tls.ca = Some(authority.path());
        });
        let (listener, acceptor) = carrier(&files).await;
        let place = listener.local_addr().unwrap();
        let mut flow = Flow::to(Transport::Tls, bed.local, place);
        flow.name = bed.shared.names.id("gw.carrier.test");
        bed.send(&flow, "request");
        let (stream, _) = timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
        let accepted = timeout(PATIENCE, acceptor.accept(stream)).await.unwrap();
        let heard = match accepted {
            Ok(mut stream) => read_some(&mut stream).await,
            Err(_) => String::new(),
        };
        assert_eq!(heard == "request", trusted, "{files:?}");
        if !trusted {
            bed.counted("tandem_tls_handshake_failures_total 1").await;
        }
    }
}

#[test]
fn what_is_wrong_with_a_peer_is_told_in_words_that_help() {
    use rustls::{CertificateError, Error};

    let unknown = explain(&Error::InvalidCertificate(CertificateError::UnknownIssuer));
    assert!(
        unknown.contains("self-signed") && unknown.contains("[sip.tls]"),
        "{unknown}"
    );
    let expired = explain(&Error::InvalidCertificate(CertificateError::Expired));
    assert!(expired.contains("ended"), "{expired}");
}

/// Phones that are registered and say nothing: run alone and in release, for the figure.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures the process's memory, so it has to be alone in it"]
async fn an_idle_connection_takes_less_than_30_kilobytes() {
    fn resident() -> usize {
        let statm = fs::read_to_string("/proc/self/statm").unwrap();
        let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
        pages * 4_096
    }
    const WARM: usize = 200;
    const COUNT: usize = 2_000;
    let authority = Authority::new();
    let files = authority.issue(&["node.test"]);
    crate::net::limits::raise_descriptors(2 * (WARM + COUNT));
    let mut bed = bed(Transport::Tls, |sip| {
        sip.tls.certificates = vec![files];
        sip.connections.per_source = WARM + COUNT;
    });
    let mut idle = Vec::with_capacity(WARM + COUNT);
    let mut before = 0;
    for nth in 0..WARM + COUNT {
        if nth == WARM {
            before = resident();
        }
        let connected = authority.connect(bed.local, "node.test", None).await;
        let mut peer = connected.unwrap();
        peer.write_all(OPTIONS.as_bytes()).await.unwrap();
        let flow = bed.message().await;
        bed.send(&flow, "answer");
        assert_eq!(read_some(&mut peer).await, "answer");
        // The client's side of it is not what is measured.
        idle.push(peer.into_inner().0);
    }
    let each = (resident() - before) / COUNT;
    println!("{each} bytes a connection, the kernel's not included");
    assert!(each <= 30 << 10, "{each}");
}
