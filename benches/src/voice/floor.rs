//! What a call costs at least: a bare program that does what the kernel has to do for a bridged call, and nothing else. It
//! receives each RTP packet, writes as many octets to a TCP connection as a message of raw audio has, and sends a packet
//! for as many that come back.

use std::{
    collections::HashMap,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::event::epoll;

use super::{SETTLE, phones::TURN, probe::FRAME};
use crate::{cpu, error::BenchError};

/// Octets of a packet of RTP, and of a masked message of raw audio.
const PACKET: usize = 12 + FRAME;
const MESSAGE: usize = 8 + 2 * FRAME;

/// The bare program: `calls` at once, by a server at `to`. Says the ports of the calls, a line each, and goes on until its
/// standard input ends.
///
/// # Errors
/// A socket fails.
pub fn bare(calls: usize, to: SocketAddr) -> io::Result<()> {
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let mut bridges = Vec::with_capacity(calls);
    let mut ports = Vec::with_capacity(calls);
    for number in 0..u64::try_from(calls).unwrap_or(0) {
        let rtp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let tcp = TcpStream::connect(to)?;
        tcp.set_nodelay(true)?;
        tcp.set_nonblocking(true)?;
        rtp.set_nonblocking(true)?;
        ports.push(rtp.local_addr()?.port());
        let data = |at| epoll::EventData::new_u64(number * 2 + at);
        epoll::add(&poll, &rtp, data(0), epoll::EventFlags::IN)?;
        epoll::add(&poll, &tcp, data(1), epoll::EventFlags::IN)?;
        bridges.push((rtp, tcp, None));
    }
    let mut told = io::stdout().lock();
    for port in ports {
        writeln!(told, "{port}")?;
    }
    drop(told);
    thread::spawn(|| {
        // Whoever has started it is gone, or wants no more.
        let _ended = io::stdin().read(&mut [0]);
        std::process::exit(0);
    });
    let mut events = Vec::with_capacity(256);
    let (mut packet, mut message) = ([0; 2_048], [0; 2_048]);
    loop {
        events.clear();
        epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), None)?;
        for event in &events {
            let number = event.data.u64();
            let bridge = bridges.get_mut(usize::try_from(number / 2).unwrap_or(usize::MAX));
            let Some((rtp, tcp, party)) = bridge else {
                continue;
            };
            if number % 2 == 0 {
                let Ok((_, from)) = rtp.recv_from(&mut packet) else {
                    continue;
                };
                *party = Some(from);
                tcp.write_all(&message[..MESSAGE])?;
            } else if let (Ok(_), Some(party)) = (tcp.read(&mut message), *party) {
                rtp.send_to(&packet[..PACKET], party)?;
            }
        }
    }
}

/// Hundredths of a core that a call of the bare program takes.
pub(super) fn measure(program: &Path, calls: usize, time: Duration) -> Result<f64, BenchError> {
    let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let at = server.local_addr()?;
    let run = Arc::new(AtomicBool::new(true));
    thread::spawn(move || echo(&server, calls));
    let mut child = Command::new(program)
        .args(["--calls", &calls.to_string(), "--bare", &at.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let lines = child.stdout.take().map(BufReader::new);
    let lines = lines.into_iter().flat_map(BufReader::lines).take(calls);
    let ports: Vec<u16> = lines.filter_map(|line| line.ok()?.parse().ok()).collect();
    if ports.len() < calls {
        return Err(BenchError::Run(
            "the bare program does not start".to_owned(),
        ));
    }
    let talking = Arc::clone(&run);
    let talking = thread::spawn(move || talk(&ports, &talking));
    thread::sleep(SETTLE);
    let (before, begin) = (cpu::of_process(child.id())?, Instant::now());
    thread::sleep(time);
    let ran = cpu::of_process(child.id())?.saturating_sub(before);
    let share = ran.as_secs_f64() / begin.elapsed().as_secs_f64() * 100.0 / calls as f64;
    run.store(false, Ordering::Release);
    drop(child.stdin.take());
    child.wait()?;
    let returned = talking.join();
    let returned = returned.map_err(|_| BenchError::Run("a thread has panicked".to_owned()))?;
    let wanted = calls as f64 * time.as_secs_f64() / TURN.as_secs_f64();
    if (returned as f64) < wanted * 0.9 {
        return Err(BenchError::Run(format!(
            "the bare program returned {returned} packets of {wanted}"
        )));
    }
    Ok(share)
}

/// The server, which sends back what it gets until the connections end.
fn echo(server: &TcpListener, calls: usize) {
    let poll = || -> io::Result<()> {
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut connections = HashMap::new();
        for number in 0..u64::try_from(calls).unwrap_or(0) {
            let (tcp, _) = server.accept()?;
            tcp.set_nodelay(true)?;
            let data = epoll::EventData::new_u64(number);
            epoll::add(&poll, &tcp, data, epoll::EventFlags::IN)?;
            connections.insert(number, tcp);
        }
        let mut events = Vec::with_capacity(256);
        let mut message = [0; 2_048];
        while !connections.is_empty() {
            events.clear();
            epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), None)?;
            for event in &events {
                let number = event.data.u64();
                let Some(tcp) = connections.get_mut(&number) else {
                    continue;
                };
                match tcp.read(&mut message) {
                    Ok(len) if len > 0 => tcp.write_all(&message[..len])?,
                    _ => drop(connections.remove(&number)),
                }
            }
        }
        Ok(())
    };
    // Who is not served is counted as missing.
    let _ended = poll();
}

/// The phones; how many packets came back.
fn talk(ports: &[u16], run: &Arc<AtomicBool>) -> u64 {
    let Ok(socket) = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)) else {
        return 0;
    };
    let listening = socket.try_clone().and_then(|socket| {
        socket.set_read_timeout(Some(Duration::from_millis(50)))?;
        Ok(socket)
    });
    let goes_on = Arc::clone(run);
    let heard = thread::spawn(move || {
        let mut count = 0;
        let Ok(listening) = listening else {
            return count;
        };
        while goes_on.load(Ordering::Acquire) {
            count += u64::from(listening.recv(&mut [0; 2_048]).is_ok());
        }
        count
    });
    let begin = Instant::now();
    let count = u32::try_from(ports.len()).unwrap_or(1);
    let packets = (0_u32..).flat_map(|turn| ports.iter().zip(0_u32..).map(move |it| (turn, it)));
    for (turn, (port, call)) in packets {
        let due = begin + TURN * turn + TURN * call / count;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if !run.load(Ordering::Acquire) {
            break;
        }
        // What does not arrive is missed.
        let _sent = socket.send_to(&[0x80; PACKET], (Ipv4Addr::LOCALHOST, *port));
    }
    heard.join().unwrap_or(0)
}
