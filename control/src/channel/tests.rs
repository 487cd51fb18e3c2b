use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    time::timeout,
};

use super::{
    wire::{self, Hello, WireError},
    *,
};

#[derive(Debug)]
struct Echo;

impl Protocol for Echo {
    const NAME: &'static str = "echo";
    const VERSION: u16 = 3;
    type Request = String;
    type Response = String;
    type Event = u32;
}

/// Answers `slow` late, `wrong` with a fault, and everything else at once.
#[derive(Default)]
struct Parrot(AtomicU32);

impl Handler<Echo> for Parrot {
    fn handle(
        &self,
        request: String,
    ) -> impl Future<Output = Result<String, Fault>> + Send + 'static {
        let number = self.0.fetch_add(1, Ordering::Relaxed);
        async move {
            match request.as_str() {
                "slow" => tokio::time::sleep(Duration::from_millis(50)).await,
                "wrong" => return Err(Fault::new(FaultCode::Invalid, "not that")),
                "huge" => return Ok("x".repeat(MAX_FRAME + 1)),
                _ => {}
            }
            Ok(format!("{number} {request}"))
        }
    }
}

fn start(listener: Listener) -> (tokio::task::JoinHandle<()>, Events<Echo>) {
    let events = Events::new();
    let task = tokio::spawn(serve(listener, Arc::new(Parrot::default()), events.clone()));
    (task, events)
}

#[tokio::test]
async fn requests_are_pipelined_and_answered_in_any_order() {
    let (listener, endpoint) = Endpoint::memory();
    let (_task, _events) = start(listener);
    let client = Client::<Echo>::connect(endpoint);
    let slow = tokio::spawn({
        let client = client.clone();
        async move { client.request("slow".to_owned()).await }
    });
    tokio::task::yield_now().await;
    let quick = client.request("quick".to_owned()).await.unwrap();
    assert!(!slow.is_finished(), "the quick one overtakes");
    assert_eq!(slow.await.unwrap().unwrap(), "0 slow");
    assert_eq!(quick, "1 quick");
    assert_eq!(
        client.request("wrong".to_owned()).await,
        Err(RequestError::Fault(Fault::new(
            FaultCode::Invalid,
            "not that"
        )))
    );
    let Err(RequestError::Fault(fault)) = client.request("huge".to_owned()).await else {
        panic!("an answer that fits no frame is a fault");
    };
    assert_eq!(fault.code, FaultCode::Unsupported);
}

#[tokio::test]
async fn neither_end_waits_for_the_other_to_read() {
    let (listener, endpoint) = Endpoint::memory();
    let (_task, _events) = start(listener);
    let client = Client::<Echo>::connect(endpoint);
    // Several times what the pipe holds, in both directions at once.
    let long = "x".repeat(100_000);
    let requests = (0..100).map(|_| client.request(long.clone()));
    for answer in futures_util::future::join_all(requests).await {
        assert!(answer.unwrap().ends_with(&long));
    }
}

#[tokio::test]
async fn frames_come_in_pieces_and_several_at_once() {
    let (mut one_by_one, pieces) = tokio::io::duplex(1);
    let mut bytes = Vec::new();
    for text in ["one", "", "three"] {
        wire::encode(&text, &mut bytes).unwrap();
    }
    let mut at_once = wire::FrameReader::new(bytes.as_slice());
    let writing = async {
        one_by_one
            .write_all(&bytes[..bytes.len() - 1])
            .await
            .unwrap();
        drop(one_by_one);
    };
    let reading = async {
        let mut frames = wire::FrameReader::new(pieces);
        let mut seen = Vec::new();
        let end = loop {
            match frames.fill().await {
                Ok(true) => {
                    while let Some(frame) = frames.next::<String>().unwrap() {
                        seen.push(frame);
                    }
                }
                end => break end,
            }
        };
        assert_eq!(seen, ["one", ""]);
        // The last one was cut short.
        assert!(matches!(end, Err(WireError::Io(_))), "{end:?}");
    };
    tokio::join!(writing, reading);
    assert!(at_once.fill().await.unwrap());
    for text in ["one", "", "three"] {
        assert_eq!(at_once.next().unwrap(), Some(text.to_owned()));
    }
    assert_eq!(at_once.next::<String>().unwrap(), None);
    assert!(!at_once.fill().await.unwrap());
}

#[tokio::test]
async fn who_makes_events_knows_whether_anybody_listens() {
    let (listener, endpoint) = Endpoint::memory();
    let (_task, events) = start(listener);
    let client = Client::<Echo>::connect(endpoint);
    client.request("one".to_owned()).await.unwrap();
    assert!(!events.has_listeners());
    let mut notices = client.notices();
    client.request("two".to_owned()).await.unwrap();
    assert!(events.has_listeners());
    events.push(7);
    while notices.recv().await.unwrap() != Notice::Event(7) {}

    // That nobody listens shows with the next event at the latest.
    drop(notices);
    events.push(8);
    let gone = async {
        while events.has_listeners() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(20), gone).await.unwrap();
    let _notices = client.notices();
    client.request("three".to_owned()).await.unwrap();
    assert!(events.has_listeners());
    drop(client);
    let gone = async {
        while events.has_listeners() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(20), gone).await.unwrap();
}

#[tokio::test]
async fn a_client_outlives_its_server() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("echo.sock");
    let (task, events) = start(Endpoint::listen(&path).unwrap());
    let client = Client::<Echo>::connect(Endpoint::Unix(path.clone()));
    let mut notices = client.notices();
    assert_eq!(client.request("one".to_owned()).await.unwrap(), "0 one");
    events.push(7);
    let mut seen = Vec::new();
    while seen.last() != Some(&Notice::Event(7)) {
        seen.push(notices.recv().await.unwrap());
    }

    task.abort();
    drop(task.await);
    let asked_while_down = tokio::spawn({
        let client = client.clone();
        async move { client.request("two".to_owned()).await }
    });
    while notices.recv().await.unwrap() != Notice::Disconnected {}
    let (_task, _events) = start(Endpoint::listen(&path).unwrap());
    assert_eq!(asked_while_down.await.unwrap().unwrap(), "0 two");
    assert!(matches!(
        notices.recv().await.unwrap(),
        Notice::Connected { .. }
    ));
}

#[tokio::test]
async fn a_server_that_stops_hangs_up() {
    let (listener, endpoint) = Endpoint::memory();
    let (task, _events) = start(listener);
    let mut stream = endpoint.connect().await.unwrap();
    let hello = Hello {
        version: 3,
        protocol: "echo".to_owned(),
    };
    hello.write(&mut stream).await.unwrap();
    drop(wire::Welcome::read(&mut stream).await.unwrap());
    task.abort();
    let mut rest = Vec::new();
    let end = timeout(Duration::from_secs(20), stream.read_to_end(&mut rest)).await;
    assert_eq!(
        end.expect("the connection ends with its server").unwrap(),
        0
    );
}

#[tokio::test]
async fn another_version_is_refused_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("echo.sock");
    let (_task, _events) = start(Endpoint::listen(&path).unwrap());

    let mut stream = UnixStream::connect(&path).await.unwrap();
    let hello = Hello {
        version: 4,
        protocol: "echo".to_owned(),
    };
    hello.write(&mut stream).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let text = String::from_utf8_lossy(&answer);
    assert!(
        text.contains("version 3") && text.contains("version 4"),
        "{text}"
    );

    let refused = Client::<crate::media::Media>::connect_now(Endpoint::Unix(path))
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("speaks 'echo'"), "{refused}");
}

#[tokio::test]
async fn who_leaves_with_something_unread_has_left_and_not_failed() {
    let (mut server, client) = UnixStream::pair().unwrap();
    server.write_all(b"an event").await.unwrap();
    drop(client);
    let read = wire::FrameReader::new(&mut server).fill().await;
    assert!(read.unwrap_err().is_farewell());
    let written = server.write_all(b"another").await.unwrap_err();
    assert!(WireError::from(written).is_farewell());
    assert!(!WireError::TooLong(0).is_farewell());
}

#[tokio::test]
async fn nonsense_costs_its_sender_the_connection_and_no_one_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("echo.sock");
    let (_task, _events) = start(Endpoint::listen(&path).unwrap());
    let client = Client::<Echo>::connect(Endpoint::Unix(path.clone()));
    assert_eq!(client.request("one".to_owned()).await.unwrap(), "0 one");

    let mut hello = Vec::new();
    Hello {
        version: 3,
        protocol: "echo".to_owned(),
    }
    .write(&mut hello)
    .await
    .unwrap();
    for after in [
        b"GET / HTTP/1.1\r\n\r\n".as_slice(),
        &[0xff; 64],
        &[2, 0, 0, 0, 1, 9],
    ] {
        let mut stream = UnixStream::connect(&path).await.unwrap();
        let mut bytes = hello.clone();
        bytes.extend(after);
        if after.starts_with(b"GET") {
            bytes = after.to_vec();
        }
        stream.write_all(&bytes).await.unwrap();
        let mut rest = Vec::new();
        timeout(Duration::from_secs(20), stream.read_to_end(&mut rest))
            .await
            .expect("the server hangs up")
            .ok();
    }
    assert_eq!(client.request("two".to_owned()).await.unwrap(), "1 two");
}

#[tokio::test]
async fn a_socket_in_use_is_not_taken_and_a_dead_one_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("echo.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let first = Endpoint::listen(&path).expect("a dead socket's file is replaced");
    let error = Endpoint::listen(&path).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    drop(first);
    assert!(!path.exists(), "the file goes with its listener");
}

#[tokio::test]
async fn a_server_may_have_clients_in_its_process_and_at_a_socket() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("echo.sock");
    let (memory, within) = Endpoint::memory();
    let listener = memory.and(Endpoint::listen(&path).unwrap());
    let (task, _events) = start(listener);
    for (number, endpoint) in (0..).zip([within, Endpoint::Unix(path.clone())]) {
        let client = Client::<Echo>::connect(endpoint);
        let answer = client.request("hello".to_owned()).await.unwrap();
        assert_eq!(answer, format!("{number} hello"));
    }
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    assert!(!path.exists(), "the socket's file goes with it");
}
