//! Callers over TCP who close their connection, or their side of it, before they have an answer.

use sip::{
    header::HeaderName,
    message::{Message, Method},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::bed::{Node, PATIENCE, receive};

/// Sends an INVITE to the node's host by a connection of its own, and has the host ring: the connection,
/// and the INVITE as the host got it.
async fn ring(node: &Node, sent_by: &str) -> (TcpStream, Message) {
    let mut caller = TcpStream::connect(node.tcp).await.unwrap();
    let text = format!(
        "INVITE sip:100@{} SIP/2.0\r\nVia: SIP/2.0/TCP {sent_by};branch=z9hG4bKi\r\n\
         Max-Forwards: 70\r\nFrom: <sip:a@a.test>;tag=1\r\nTo: <sip:100@a.test>\r\nCall-ID: closing\r\n\
         CSeq: 1 INVITE\r\nContact: <sip:a@{sent_by}>\r\nContent-Length: 0\r\n\r\n",
        node.tcp
    );
    caller.write_all(text.as_bytes()).await.unwrap();
    let invite = receive(&node.host).await;
    assert_eq!(invite.method(), Some(&Method::Invite));
    respond(node, &invite, 180).await;
    while !read(&mut caller).await.starts_with("SIP/2.0 180") {}
    (caller, invite)
}

async fn respond(node: &Node, request: &Message, status: u16) {
    let response = request.respond(status).to_tag("callee");
    let contact = format!("<sip:100@{}>", node.host.local_addr().unwrap());
    let response = response.header(HeaderName::Contact, contact).build();
    let bytes = response.unwrap().into_bytes();
    node.host.send_to(&bytes, node.address).await.unwrap();
}

async fn read(stream: &mut TcpStream) -> String {
    let mut buffer = [0; 4096];
    let read = timeout(PATIENCE, stream.read(&mut buffer)).await;
    let length = read.expect("an answer").unwrap();
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_who_has_closed_hears_of_his_call_where_he_listens() {
    let node = Node::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let sent_by = listener.local_addr().unwrap().to_string();
    let (caller, invite) = ring(&node, &sent_by).await;
    drop(caller);
    let (mut later, _) = timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
    assert!(read(&mut later).await.starts_with("SIP/2.0 180"));
    respond(&node, &invite, 486).await;
    assert!(read(&mut later).await.starts_with("SIP/2.0 486"));
    node.running.stop(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_rung_for_a_caller_who_has_closed_and_listens_nowhere() {
    let node = Node::start().await;
    // Bound, so that nobody else is there, and takes no connection.
    let nowhere = tokio::net::TcpSocket::new_v4().unwrap();
    nowhere.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let sent_by = nowhere.local_addr().unwrap().to_string();
    let (caller, invite) = ring(&node, &sent_by).await;
    drop(caller);
    let cancel = receive(&node.host).await;
    assert_eq!(cancel.method(), Some(&Method::Cancel));
    assert_eq!(cancel.call_id(), invite.call_id());
    node.running.stop(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_who_says_no_more_is_answered_by_the_same_connection() {
    let node = Node::start().await;
    let (mut caller, invite) = ring(&node, "127.0.0.1:9").await;
    caller.shutdown().await.unwrap();
    respond(&node, &invite, 486).await;
    assert!(read(&mut caller).await.starts_with("SIP/2.0 486"));
    assert_eq!(read(&mut caller).await, "");
    node.running.stop(PATIENCE).await;
}
