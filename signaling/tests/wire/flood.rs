//! Floods of strangers: what is kept of them is bounded, and calls of others go on.

use std::{sync::Arc, time::Duration};

use sip::{
    digest::{Answer, Challenge, Secret, answer},
    message::Message,
};
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpSocket, UdpSocket},
    task::JoinSet,
    time::timeout,
};

use crate::bed::{Node, PATIENCE, receive};

/// No trunk has it.
const STRANGER: &str = "127.0.0.2:0";
/// Enough of each method for every bucket to be empty.
const FLOOD: usize = 1_500;

/// A request in a stranger's name, each in a call of its own.
fn request(method: &str, transport: &str, number: usize) -> String {
    format!(
        "{method} sip:100@node.test SIP/2.0\r\n\
         Via: SIP/2.0/{transport} 127.0.0.2;branch=z9hG4bK{method}{number};rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:100@node.test>;tag=1\r\nTo: <sip:100@node.test>\r\n\
         Call-ID: {method}-{number}\r\nCSeq: 1 {method}\r\nContact: <sip:100@127.0.0.2>\r\n\
         Content-Length: 0\r\n\r\n"
    )
}

/// A call of a trunk's, that goes to the trunk's host.
async fn call(node: &Node, caller: &UdpSocket, number: usize) -> Message {
    let from = caller.local_addr().unwrap();
    let invite = format!(
        "INVITE sip:100@127.0.0.1 SIP/2.0\r\n\
         Via: SIP/2.0/UDP {from};branch=z9hG4bKcall{number};rport\r\nMax-Forwards: 70\r\n\
         From: <sip:a@a.test>;tag=1\r\nTo: <sip:100@127.0.0.1>\r\nCall-ID: call-{number}\r\n\
         CSeq: 1 INVITE\r\nContact: <sip:a@{from}>\r\nContent-Length: 0\r\n\r\n"
    );
    caller
        .send_to(invite.as_bytes(), node.address)
        .await
        .unwrap();
    loop {
        let passed = receive(&node.host).await;
        // What was not answered yet comes again.
        if passed.call_id() == Ok(format!("call-{number}").as_str()) {
            return passed;
        }
    }
}

/// The host's refusal, which has to reach the caller.
async fn refuse(node: &Node, caller: &UdpSocket, invite: &Message) {
    let busy = invite.respond(486).to_tag("busy").build().unwrap();
    let sent = node.host.send_to(busy.as_bytes(), node.address).await;
    sent.unwrap();
    loop {
        let response = receive(caller).await;
        if response.status() != Some(100) && response.call_id() == invite.call_id() {
            assert_eq!(response.status(), Some(486));
            return;
        }
    }
}

/// The sum of a metric's samples.
fn value(page: &str, name: &str) -> f64 {
    let lines = page.lines().filter(|line| line.starts_with(name));
    let values = lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
    values.sum()
}

/// Registers a phone by digest, sending again until it is done.
async fn register(node: Arc<Node>, index: usize) {
    let socket = UdpSocket::bind(STRANGER).await.unwrap();
    let from = socket.local_addr().unwrap();
    let mut authorization = String::new();
    let mut cseq = 1;
    loop {
        let text = format!(
            "REGISTER sip:node.test SIP/2.0\r\n\
             Via: SIP/2.0/UDP {from};branch=z9hG4bK{index}.{cseq};rport\r\nMax-Forwards: 70\r\n\
             From: <sip:phone{index}@node.test>;tag=1\r\nTo: <sip:phone{index}@node.test>\r\n\
             Call-ID: {index}\r\nCSeq: {cseq} REGISTER\r\nContact: <sip:phone{index}@{from}>\r\n\
             {authorization}Content-Length: 0\r\n\r\n"
        );
        let sent = socket.send_to(text.as_bytes(), node.address).await;
        sent.unwrap();
        let heard = timeout(Duration::from_millis(200), receive(&socket)).await;
        match heard.ok().map(|response| (response.status(), response)) {
            // A challenge that came twice is answered once.
            Some((Some(401), challenge)) if authorization.is_empty() => {
                let user = format!("phone{index}");
                let asked = Answer {
                    username: &user,
                    secret: Secret::Password(&user),
                    realm: Some("node.test"),
                    method: "REGISTER",
                    uri: "sip:node.test",
                    body: b"",
                    cnonce: "1",
                    nc: 1,
                };
                let (value, _) = answer(&Challenge::of_response(&challenge), &asked).unwrap();
                authorization = format!("Authorization: {value}\r\n");
                cseq += 1;
            }
            Some((Some(200), _)) => return,
            Some((Some(401), _)) | None => {}
            Some((status, _)) => panic!("phone {index} was told {status:?}"),
        }
    }
}

/// Phones behind one address that nobody knows yet, all at once, and far more than a stranger may ask:
/// none is shut out for the others, and calls go on meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_village_behind_one_address_comes_back_after_a_power_cut() {
    const PHONES: usize = 600;
    let node = Arc::new(Node::of_phones(PHONES).await);
    let caller = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut phones = JoinSet::new();
    for index in 0..PHONES {
        phones.spawn(register(node.clone(), index));
    }
    let mut number = 0;
    let all = async {
        while !phones.is_empty() {
            let waits = timeout(Duration::from_millis(50), phones.join_next());
            if let Ok(Some(joined)) = waits.await {
                joined.unwrap();
            }
            number += 1;
            if number % 100 == 1 {
                let invite = call(&node, &caller, number).await;
                refuse(&node, &caller, &invite).await;
            }
        }
    };
    timeout(Duration::from_secs(60), all).await.unwrap();
    let page = node.running.metrics();
    assert!(
        value(&page, "tandem_sip_drops_total{reason=\"rate-limit\"}") > 0.0,
        "{page}"
    );
    let flood = value(&page, "tandem_sip_bans_total{reason=\"flood\"}");
    assert_eq!(value(&page, "tandem_sip_bans_total"), flood, "{page}");
    assert_eq!(value(&page, "tandem_sip_bans_active "), 0.0, "{page}");
}

/// Expects that a call outlives the flood, that another comes through it, and that nothing but these
/// two is kept.
async fn survives(flood: impl AsyncFn(&Node)) {
    let node = Node::guarded().await;
    let caller = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let first = call(&node, &caller, 1).await;
    flood(&node).await;
    refuse(&node, &caller, &first).await;
    let second = call(&node, &caller, 2).await;
    refuse(&node, &caller, &second).await;

    let page = node.running.metrics();
    assert!(
        value(&page, "tandem_sip_drops_total{reason=\"rate-limit\"}") > 0.0,
        "{page}"
    );
    // Both sides of two calls at most.
    assert!(value(&page, "tandem_sip_transactions ") <= 4.0, "{page}");
    assert!(node.running.calls().await <= 2);
    node.running.stop(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_a_stranger_over_udp() {
    survives(async |node| {
        let stranger = UdpSocket::bind(STRANGER).await.unwrap();
        for number in 0..FLOOD {
            for method in ["INVITE", "REGISTER"] {
                let text = request(method, "UDP", number);
                let sent = stranger.send_to(text.as_bytes(), node.address).await;
                sent.unwrap();
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Responses, and what seems to belong to dialogs, are cheap to make up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_a_stranger_that_begins_nothing() {
    survives(async |node| {
        let stranger = UdpSocket::bind(STRANGER).await.unwrap();
        for number in 0..FLOOD {
            let request = request("BYE", "UDP", number);
            let within =
                request.replace("To: <sip:100@node.test>", "To: <sip:100@node.test>;tag=2");
            let (_, rest) = within.split_once("\r\n").unwrap();
            let response = format!("SIP/2.0 200 OK\r\n{rest}");
            for text in [within, response] {
                let sent = stranger.send_to(text.as_bytes(), node.address).await;
                sent.unwrap();
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_a_stranger_over_tcp() {
    survives(async |node| {
        for part in 0..5 {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind(STRANGER.parse().unwrap()).unwrap();
            // Once it is banned, it is refused.
            let Ok(mut stream) = socket.connect(node.tcp).await else {
                continue;
            };
            let numbers = part * FLOOD / 5..(part + 1) * FLOOD / 5;
            let flood: String = numbers
                .flat_map(|number| ["INVITE", "REGISTER"].map(|method| (method, number)))
                .map(|(method, number)| request(method, "TCP", number))
                .collect();
            drop(stream.write_all(flood.as_bytes()).await);
        }
    })
    .await;
}

/// Or this node would be a means to flood others with more than one can send.
#[tokio::test]
async fn a_challenge_is_not_much_longer_than_what_it_answers() {
    let node = Node::guarded().await;
    let stranger = UdpSocket::bind(STRANGER).await.unwrap();
    for (method, status) in [("REGISTER", 401), ("INVITE", 407)] {
        let text = request(method, "UDP", 1);
        let sent = stranger.send_to(text.as_bytes(), node.address).await;
        sent.unwrap();
        let challenge = receive(&stranger).await;
        assert_eq!(challenge.status(), Some(status));
        let length = challenge.as_bytes().len();
        assert!(
            length * 2 <= text.len() * 3,
            "{length} bytes for {}:\n{}",
            text.len(),
            String::from_utf8_lossy(challenge.as_bytes())
        );
    }
    node.running.stop(PATIENCE).await;
}
