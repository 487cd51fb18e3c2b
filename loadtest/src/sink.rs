//! The ears of SIPp.
//!
//! SIPp plays a pcap file from raw sockets and listens on none of the ports that its SDP names, so the
//! kernel would answer what arrives with ICMP "port unreachable". A phone listens. A sink does it in
//! SIPp's place and counts. Only the first media port (and the second above it) is SIPp's own.

use std::{
    io,
    net::{IpAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// How often the sockets are emptied; a default buffer holds over a second of one stream.
const ROUND: Duration = Duration::from_millis(20);

/// UDP sockets that take everything, until dropped.
#[derive(Debug)]
pub struct Sink {
    heard: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    worker: Option<JoinHandle<()>>,
}

impl Sink {
    /// Listens on `count` ports of `ip`: `first` and every fourth port after it, as SIPp's
    /// `[auto_media_port]` counts. To be called inside of the namespace that has the address.
    pub fn listen(ip: IpAddr, first: u16, count: u16) -> io::Result<Self> {
        let sockets = (0..count)
            .map(|index| {
                let port = index.checked_mul(4).and_then(|by| first.checked_add(by));
                let port = port.ok_or(io::ErrorKind::AddrNotAvailable)?;
                let socket = UdpSocket::bind((ip, port))?;
                socket.set_nonblocking(true)?;
                Ok(socket)
            })
            .collect::<io::Result<Vec<_>>>()?;
        let heard = Arc::new(AtomicU64::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let worker = thread::Builder::new().name("sink".to_owned()).spawn({
            let (heard, stop) = (Arc::clone(&heard), Arc::clone(&stop));
            move || {
                while !stop.load(Ordering::Relaxed) {
                    let count: u64 = sockets.iter().map(empty).sum();
                    heard.fetch_add(count, Ordering::Relaxed);
                    thread::sleep(ROUND);
                }
            }
        })?;
        Ok(Self {
            heard,
            stop,
            worker: Some(worker),
        })
    }

    /// Datagrams so far.
    pub fn heard(&self) -> u64 {
        self.heard.load(Ordering::Relaxed)
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(worker) = self.worker.take() {
            // It has nothing that panics, and a drop could tell no one.
            let _ended = worker.join();
        }
    }
}

/// Takes all that waits on a socket. An error such as ICMP's ends the round, not the sink.
fn empty(socket: &UdpSocket) -> u64 {
    let mut buffer = [0; 2048];
    let mut count = 0;
    while socket.recv(&mut buffer).is_ok() {
        count += 1;
    }
    count
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, time::Instant};

    use super::*;

    #[test]
    fn it_hears_every_port() {
        let ip = IpAddr::V4(Ipv4Addr::LOCALHOST);
        // A free range by trying: other tests take ports at the same time.
        let (first, sink) = (30_000..60_000)
            .step_by(64)
            .find_map(|first| Some((first, Sink::listen(ip, first, 3).ok()?)))
            .unwrap();
        let sender = UdpSocket::bind((ip, 0)).unwrap();
        for port in [first, first + 4, first + 8] {
            sender.send_to(b"x", (ip, port)).unwrap();
        }
        let end = Instant::now() + Duration::from_secs(5);
        while sink.heard() < 3 && Instant::now() < end {
            thread::sleep(ROUND);
        }
        assert_eq!(sink.heard(), 3);
    }
}
