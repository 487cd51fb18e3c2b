//! What has broken other servers, by their advisories: none of it breaks this one, and each gets the
//! answer that it is owed.

use std::{fmt::Write as _, net::SocketAddr};

use sip::message::Message;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UdpSocket},
    time::timeout,
};

use crate::bed::{Node, PATIENCE, receive, try_receive};

/// A request that is well but for what is put into it.
struct Draft<'a> {
    method: &'a str,
    branch: &'a str,
    from_tag: &'a str,
    cseq: &'a str,
    /// Whole lines.
    more: &'a str,
    length: &'a str,
    body: &'a str,
}

impl Default for Draft<'_> {
    fn default() -> Self {
        Self {
            method: "OPTIONS",
            branch: "hostile",
            from_tag: "1",
            cseq: "1",
            more: "Max-Forwards: 70\r\n",
            length: "0",
            body: "",
        }
    }
}

impl Draft<'_> {
    fn write(&self, from: SocketAddr) -> String {
        let Self {
            method,
            branch,
            from_tag,
            cseq,
            more,
            length,
            body,
        } = self;
        format!(
            "{method} sip:100@callee.test SIP/2.0\r\n\
             Via: SIP/2.0/UDP {from};branch=z9hG4bK{branch};rport\r\n\
             From: <sip:a@a.test>;tag={from_tag}\r\nTo: <sip:100@callee.test>\r\n\
             Call-ID: hostile\r\nCSeq: {cseq} {method}\r\nContact: <sip:a@{from}>\r\n\
             {more}Content-Length: {length}\r\n\r\n{body}"
        )
    }

    /// The status that it gets; nothing of it may go on.
    async fn refused(&self) -> Option<u16> {
        let node = Node::start().await;
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let text = self.write(socket.local_addr().unwrap());
        socket.send_to(text.as_bytes(), node.address).await.unwrap();
        let status = node.answer(&socket).await.unwrap();
        assert_eq!(try_receive(&node.host), None);
        node.running.stop(PATIENCE).await;
        status
    }

    /// What goes on of it.
    async fn passed(&self) -> Message {
        let node = Node::start().await;
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let text = self.write(socket.local_addr().unwrap());
        socket.send_to(text.as_bytes(), node.address).await.unwrap();
        let passed = receive(&node.host).await;
        let busy = passed.respond(486).to_tag("busy").build().unwrap();
        let bytes = busy.as_bytes();
        node.host.send_to(bytes, node.address).await.unwrap();
        assert_eq!(node.answer(&socket).await, Ok(Some(486)));
        node.running.stop(PATIENCE).await;
        passed
    }
}

/// CVE-2017-9372: 400 digits and more in CSeq.
#[tokio::test]
async fn a_cseq_of_500_digits_is_refused() {
    let cseq = "1".repeat(500);
    let draft = Draft {
        cseq: &cseq,
        ..Draft::default()
    };
    assert_eq!(draft.refused().await, Some(400));
}

/// CVE-2018-8828: a long From tag and a long branch.
#[tokio::test]
async fn long_tags_and_branches_pass_unchanged() {
    let long = "a".repeat(2000);
    let draft = Draft {
        from_tag: &long,
        branch: &long,
        ..Draft::default()
    };
    let passed = draft.passed().await;
    assert_eq!(passed.from().unwrap().tag(), Some(long.as_str()));
    let branch = format!("z9hG4bK{long}");
    let theirs = passed.vias().nth(1).unwrap().unwrap();
    assert_eq!(theirs.branch(), Some(branch.as_str()));
}

#[tokio::test]
async fn a_header_longer_than_any_limit_is_dropped() {
    let long = "a".repeat(40_000);
    let draft = Draft {
        from_tag: &long,
        ..Draft::default()
    };
    // It is left out of what is framed, and without a From there is nobody to answer.
    assert_eq!(draft.refused().await, None);
}

/// CVE-2020-28361: white space before the colon must not hide a header.
#[tokio::test]
async fn odd_white_space_hides_no_header() {
    for more in [
        "Max-Forwards : 0\r\n",
        "Max-Forwards\t:0\r\n",
        "mAX-fORWARDS \t :\r\n 0\r\n",
    ] {
        let draft = Draft {
            method: "MESSAGE",
            more,
            ..Draft::default()
        };
        assert_eq!(draft.refused().await, Some(483), "{more:?}");
    }
    let draft = Draft {
        more: "Max-Forwards: 70\r\nContent-Length : 5\r\n",
        ..Draft::default()
    };
    assert_eq!(draft.refused().await, Some(400));
}

#[tokio::test]
async fn a_body_shorter_than_it_says_is_refused_and_a_longer_one_is_cut() {
    let short = Draft {
        method: "MESSAGE",
        length: "500",
        body: "hello",
        ..Draft::default()
    };
    assert_eq!(short.refused().await, Some(400));
    let long = Draft {
        method: "MESSAGE",
        length: "5",
        body: "helloINVITE sip:smuggled@callee.test SIP/2.0\r\n",
        ..Draft::default()
    };
    assert_eq!(long.passed().await.body(), &b"hello"[..]);
}

/// CVE-2018-7284: more Accept headers than an array had room for.
#[tokio::test]
async fn many_accept_headers_pass_and_too_many_are_refused() {
    let mut more = "Max-Forwards: 70\r\nEvent: presence\r\n".to_owned();
    for number in 0..200 {
        write!(more, "Accept: application/x-{number}\r\n").unwrap();
    }
    let draft = Draft {
        method: "SUBSCRIBE",
        more: &more,
        ..Draft::default()
    };
    let passed = draft.passed().await;
    let accepts = passed.headers_named("Accept");
    assert_eq!(accepts.count(), 200);
    let more = more.repeat(3);
    let draft = Draft {
        method: "SUBSCRIBE",
        more: &more,
        ..Draft::default()
    };
    assert_eq!(draft.refused().await, Some(513));
}

#[tokio::test]
async fn as_many_vias_as_a_datagram_holds_are_refused() {
    let mut more = "Max-Forwards: 70\r\nVia: SIP/2.0/UDP a".to_owned();
    for _ in 0..3000 {
        more.push_str(",SIP/2.0/UDP a");
    }
    more.push_str("\r\n");
    let draft = Draft {
        more: &more,
        ..Draft::default()
    };
    assert_eq!(draft.refused().await, Some(513));
}

/// CVE-2023-28098: credentials that made a parser fall over.
#[tokio::test]
async fn broken_credentials_break_nothing() {
    for value in [
        "",
        "Digest",
        "Digest ,,,=,\"",
        "Digest username=\"a\\",
        "Digest username=\"a\", nonce=, response=\"\", qop=auth, nc=zz",
        "Digest response=\"\u{fc}\u{0}\"",
        "Basic YTpi",
    ] {
        for name in ["Authorization", "Proxy-Authorization"] {
            let more = format!("Max-Forwards: 70\r\n{name}: {value}\r\n");
            let draft = Draft {
                method: "REGISTER",
                more: &more,
                ..Draft::default()
            };
            let status = draft.refused().await;
            let refused = status.is_some_and(|status| (400..500).contains(&status));
            assert!(refused, "{name}: {value:?} got {status:?}");
        }
    }
}

#[tokio::test]
async fn what_is_no_sip_at_all_is_not_answered() {
    let node = Node::start().await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let giant = vec![b'A'; 65_000];
    for bytes in [
        &b""[..],
        &b"\0"[..],
        &b"\r\n\r\n\r\n"[..],
        &b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..],
        &b"SIP/2.0"[..],
        &b"INVITE"[..],
        &b"INVITE sip:a SIP/2.0\r\n\r\n"[..],
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        &giant[..],
    ] {
        socket.send_to(bytes, node.address).await.unwrap();
        assert_eq!(node.answer(&socket).await, Ok(None), "{bytes:?}");
    }
    node.running.stop(PATIENCE).await;
}

/// Sends a stream, and gives what the node answers until it closes the connection or has answered
/// `count` times.
async fn stream(node: &Node, bytes: &[u8], count: usize) -> Vec<String> {
    let mut stream = TcpStream::connect(node.tcp).await.unwrap();
    let (mut reader, mut writer) = stream.split();
    // The node may close before it has read everything.
    let write = async { drop(writer.write_all(bytes).await) };
    let read = async {
        let mut answers = String::new();
        let mut chunk = vec![0; 65_536];
        while answers.matches("SIP/2.0 ").count() < count
            && let Ok(length @ 1..) = reader.read(&mut chunk).await
        {
            answers.push_str(&String::from_utf8_lossy(&chunk[..length]));
        }
        let lines = answers.lines().filter(|line| line.starts_with("SIP/2.0 "));
        lines.map(str::to_owned).collect()
    };
    let done = timeout(PATIENCE * 4, async { tokio::join!(write, read).1 });
    done.await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_vias_on_a_stream_are_refused() {
    let node = Node::start().await;
    let more = format!(
        "Max-Forwards: 70\r\n{}",
        "v: SIP/2.0/TCP a.test;branch=z9hG4bK1\r\n".repeat(10_000)
    );
    let draft = Draft {
        more: &more,
        ..Draft::default()
    };
    let text = draft.write(node.tcp).replace("SIP/2.0/UDP", "SIP/2.0/TCP");
    let answers = stream(&node, text.as_bytes(), 1).await;
    assert_eq!(answers, ["SIP/2.0 513 Message Too Large"]);
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    assert_eq!(node.answer(&socket).await, Ok(None));
    node.running.stop(PATIENCE).await;
}

/// CVE-2020-28327: INVITEs over TCP from somebody who goes away before they are answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_invites_over_tcp_leaves_nothing_behind() {
    let node = Node::start().await;
    let mut flood = String::new();
    for number in 0..500 {
        let branch = format!("flood{number}");
        let draft = Draft {
            method: "INVITE",
            branch: &branch,
            // Refused at once: there is no number in it.
            more: "Max-Forwards: 0\r\n",
            ..Draft::default()
        };
        let text = draft.write(node.tcp).replace("SIP/2.0/UDP", "SIP/2.0/TCP");
        flood.push_str(&text.replace("Call-ID: hostile", &format!("Call-ID: flood{number}")));
    }
    for _ in 0..4 {
        let mut stream = TcpStream::connect(node.tcp).await.unwrap();
        stream.write_all(flood.as_bytes()).await.unwrap();
        drop(stream);
    }
    let answers = stream(&node, flood.as_bytes(), 500).await;
    assert_eq!(answers, vec!["SIP/2.0 483 Too Many Hops"; 500]);
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    assert_eq!(node.answer(&socket).await, Ok(None));
    assert_eq!(node.running.calls().await, 0);
    node.running.stop(PATIENCE).await;
}

/// CVE-2021-41145: REGISTERs as fast as they can be sent took a server's memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_registers_keeps_no_state() {
    let node = Node::start().await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let from = socket.local_addr().unwrap();
    for number in 0..3000 {
        let branch = format!("flood{number}");
        let draft = Draft {
            method: "REGISTER",
            branch: &branch,
            ..Draft::default()
        };
        let text = draft.write(from);
        socket.send_to(text.as_bytes(), node.address).await.unwrap();
        if number % 50 == 0 {
            while try_receive(&socket).is_some() {}
            tokio::task::yield_now().await;
        }
    }
    while try_receive(&socket).is_some() {}
    assert!(node.answer(&socket).await.is_ok());
    assert_eq!(node.running.calls().await, 0);
    node.running.stop(PATIENCE).await;
}
