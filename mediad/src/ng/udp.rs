//! A message a datagram.

use std::{io, sync::Arc, time::Duration};

use ng::frame;
use tokio::{net::UdpSocket, sync::Semaphore};
use tracing::warn;

use super::desk::{Desk, Ticket};

/// The longest datagram that is read, in bytes: UDP's most.
const MAX_DATAGRAM: usize = 65_535;
/// Requests that are worked on at once; further ones wait in the socket.
const PIPELINE: usize = 256;

/// Answers datagrams until the socket cannot be used any more.
pub(super) async fn serve(socket: UdpSocket, desk: Arc<Desk>) -> io::Result<()> {
    let socket = Arc::new(socket);
    let pipeline = Arc::new(Semaphore::new(PIPELINE));
    let mut buffer = vec![0; MAX_DATAGRAM];
    loop {
        let Ok(permit) = Arc::clone(&pipeline).acquire_owned().await else {
            return Ok(());
        };
        let (length, client) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            // An ICMP error of an answer that went nowhere.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => continue,
            // Calls go on without the proxy for as long as this lasts.
            Err(error) => {
                warn!(%error, "cannot read NG requests");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        if !desk.allows(client.ip()) {
            continue;
        }
        let Some((cookie, body)) = frame::split(&buffer[..length]) else {
            desk.malformed();
            continue;
        };
        let ticket = desk.look(client.ip(), cookie);
        if let Ticket::Working(_) = ticket {
            // The first copy's answer will do.
            continue;
        }
        let (cookie, body) = (cookie.to_vec(), body.to_vec());
        let (socket, desk) = (socket.clone(), desk.clone());
        // In a box: the work is large, and a task would be moved about with it.
        tokio::spawn(Box::pin(async move {
            let answer = match ticket {
                Ticket::New(key) => desk.work(&key, &cookie, &body).await,
                Ticket::Answered(answer) => answer,
                Ticket::Working(_) => return,
            };
            if let Err(error) = socket.send_to(&answer, client).await {
                warn!(%client, %error, "cannot answer an NG request");
            }
            drop(permit);
        }));
    }
}
