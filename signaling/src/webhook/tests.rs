use std::{
    net::SocketAddr,
    time::{Duration, Instant, SystemTime},
};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{ServerConfig, pki_types::PrivateKeyDer};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;
use voice::{
    call::{Action, Call, Direction, Entry, Setup},
    form::Params,
    sid::{Kind, Sid},
    twiml::{Link, Method},
};

use super::*;

/// What an interpreter asks first, by this URL.
fn request(url: &str, method: Method) -> Request {
    let setup = Setup {
        uuid: [1; 16],
        account: Sid::new(Kind::Account, [2; 16]),
        token: "0123456789abcdef".to_owned(),
        direction: Direction::Inbound,
        from: "+15550100".to_owned(),
        to: "+15550199".to_owned(),
        caller_name: None,
        forwarded_from: None,
        extra: Params::new(),
        entry: Entry::Url(Link {
            url: url.to_owned(),
            method,
        }),
        fallback: None,
        status: None,
        record: None,
        api: "https://api.test/".to_owned(),
        started: SystemTime::UNIX_EPOCH,
        time_limit: Duration::from_secs(60),
        plain_streams: false,
    };
    let mut call = Call::new(setup, Instant::now());
    loop {
        match call.poll_action() {
            Some(Action::Request(request)) => return *request,
            Some(_) => {}
            None => unreachable!("it asks for a document"),
        }
    }
}

fn client() -> Client {
    Client::trusting(RootCertStore::empty(), &Voice::default()).unwrap()
}

/// A server that reads a head, answers each connection with `answer`, and hands on what it read.
async fn server(answer: &'static [u8]) -> (SocketAddr, tokio::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let (told, asked) = tokio::sync::mpsc::channel(16);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            told.send(read(&mut stream).await).await.unwrap();
            stream.write_all(answer).await.unwrap();
        }
    });
    (at, asked)
}

/// A request, up to the end of its body.
async fn read(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    loop {
        let now = String::from_utf8_lossy(&text).into_owned();
        if let Some((head, body)) = now.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(": ")?;
                name.eq_ignore_ascii_case("content-length")
                    .then(|| value.parse::<usize>().unwrap())
            });
            if body.len() >= length.unwrap_or(0) {
                return now;
            }
        }
        if stream.read_buf(&mut text).await.unwrap() == 0 {
            return now;
        }
    }
}

#[tokio::test]
async fn what_is_asked_by_http_is_not_asked_of_a_socket() {
    let mut request = request("http://127.0.0.1:1/", Method::Post);
    request.url = "ws://127.0.0.1:1/".to_owned();
    let result = client().ask(request, false).await;
    assert_eq!(result, Err(RequestError::Protocol));
}

#[tokio::test]
async fn a_form_is_posted_and_the_document_taken() {
    let (at, mut asked) = server(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: 11\r\n\r\n<Response/>",
    )
    .await;
    let url = format!("http://me:secret@{at}/voice?a=b#rc=2");
    let response = client()
        .ask(request(&url, Method::Post), false)
        .await
        .unwrap();
    assert_eq!(response.status, 200);
    assert_eq!(response.content_type.as_deref(), Some("text/xml"));
    assert_eq!(response.body, b"<Response/>");
    let asked = asked.recv().await.unwrap();
    let (head, body) = asked.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /voice?a=b HTTP/1.1\r\n"), "{head}");
    let lower = head.to_ascii_lowercase();
    assert!(lower.contains(&format!("\r\nhost: {at}\r\n")), "{head}");
    assert!(head.contains("Basic bWU6c2VjcmV0"), "{head}");
    assert!(lower.contains("\r\nx-twilio-signature: "), "{head}");
    assert!(!head.contains("secret"), "{head}");
    assert!(body.contains("From=%2B15550100"), "{body}");
}

#[tokio::test]
async fn a_redirection_is_handed_on_and_not_followed() {
    let (at, mut asked) =
        server(b"HTTP/1.1 302 Found\r\nLocation: http://other.test/\r\nContent-Length: 0\r\n\r\n")
            .await;
    let request = request(&format!("http://{at}/"), Method::Get);
    let response = client().ask(request, false).await.unwrap();
    assert_eq!(response.status, 302);
    assert_eq!(response.location.as_deref(), Some("http://other.test/"));
    assert!(asked.recv().await.unwrap().starts_with("GET /?"));
    assert!(asked.try_recv().is_err(), "it asked again");
}

#[tokio::test]
async fn of_an_endless_body_no_more_is_read_than_is_too_much() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        // Until the other side has enough.
        while stream.write_all(&[b'a'; 4096]).await.is_ok() {}
    });
    let request = request(&format!("http://{at}/"), Method::Post);
    let response = client().ask(request, false).await.unwrap();
    assert_eq!(response.body.len(), MAX_DOCUMENT + 1);
    timeout(Duration::from_secs(10), serving)
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn what_does_not_answer_in_time_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    // The kernel accepts, and nobody answers.
    let asked = request(&format!("http://{at}/#rt=300"), Method::Post);
    let start = Instant::now();
    let result = client().ask(asked, false).await;
    assert_eq!(result, Err(RequestError::Timeout));
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(300), "{took:?}");
    assert!(took < Duration::from_secs(4), "{took:?}");

    // A handshake that nobody answers is a connection that is not made.
    let asked = request(&format!("https://{at}/#ct=300"), Method::Post);
    let result = client().ask(asked, false).await;
    assert_eq!(result, Err(RequestError::Connect));
}

#[tokio::test]
async fn each_failure_has_its_name() {
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let (nonsense, _asked) = server(b"nonsense\r\n\r\n").await;
    for (url, expected) in [
        (format!("http://{closed}/"), RequestError::Connect),
        (format!("http://{nonsense}/"), RequestError::Protocol),
        ("http://nobody.invalid/".to_owned(), RequestError::Host),
    ] {
        let result = client().ask(request(&url, Method::Post), false).await;
        assert_eq!(result, Err(expected), "{url}");
    }
}

#[tokio::test]
async fn a_certificate_has_to_be_good_for_the_host() {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(signing_key.serialize_der().into());
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let mut head = [0; 2048];
            let _ = stream.read(&mut head).await;
            let answer = b"HTTP/1.1 204 No Content\r\n\r\n";
            let _ = stream.write_all(answer).await;
            let _ = stream.shutdown().await;
        }
    });
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    let trusting = Client::trusting(roots, &Voice::default()).unwrap();
    let ask = |client: Client, url: String| async move {
        let asked = request(&url, Method::Get);
        client
            .ask(asked, false)
            .await
            .map(|response| response.status)
    };
    let good = format!("https://localhost:{port}/");
    assert_eq!(ask(trusting.clone(), good.clone()).await, Ok(204));
    // It is another host's, or of nobody that is known.
    let other = format!("https://127.0.0.1:{port}/");
    assert_eq!(ask(trusting, other).await, Err(RequestError::Tls));
    assert_eq!(ask(client(), good).await, Err(RequestError::Tls));
}

#[tokio::test]
async fn a_tenant_asks_public_addresses_and_what_is_allowed() {
    let (at, mut asked) = server(b"HTTP/1.1 204 No Content\r\n\r\n").await;
    let port = at.port();
    for host in [
        "127.0.0.1",
        "127.1",
        "0x7f000001",
        "localhost",
        "[::ffff:127.0.0.1]",
    ] {
        let asked = request(&format!("http://{host}:{port}/"), Method::Get);
        let result = client().ask(asked, true).await;
        assert_eq!(result, Err(RequestError::Refused), "{host}");
    }
    assert!(asked.try_recv().is_err(), "it was asked");
    let config = Voice {
        allow: vec!["127.0.0.0/8".parse().unwrap()],
        ..Voice::default()
    };
    let allowing = Client::trusting(RootCertStore::empty(), &config).unwrap();
    let request = request(&format!("http://127.1:{port}/"), Method::Get);
    assert_eq!(allowing.ask(request, true).await.unwrap().status, 204);
}

#[tokio::test]
async fn too_much_under_way_is_refused_and_what_ends_makes_room() {
    let client = client();
    let hosts = &client.shared.hosts;
    let taken: Vec<_> = (0..MOST_OF_HOST)
        .map(|_| OfHost::take(hosts, "127.0.0.1:9".to_owned()).unwrap())
        .collect();
    let asked = || request("http://127.0.0.1:9/", Method::Get);
    assert_eq!(client.ask(asked(), false).await, Err(RequestError::Refused));
    drop(taken);
    assert!(hosts.lock().is_empty());
    assert_ne!(client.ask(asked(), false).await, Err(RequestError::Refused));

    let all = client
        .shared
        .free
        .acquire_many(u32::try_from(MOST).unwrap())
        .await;
    assert_eq!(client.ask(asked(), false).await, Err(RequestError::Refused));
    drop(all);
    assert_ne!(client.ask(asked(), false).await, Err(RequestError::Refused));
}
