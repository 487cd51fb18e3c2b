//! What phones send, broken in thousands of ways, comes to the ports of a call that is up.

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};

use super::*;

/// Broken datagrams of each run; the same ones every time.
const COUNT: usize = 3_000;
const SEED: u64 = 0x7a9d_e3b1;
/// Packets of the call come after so many, so that no socket's buffer is ever full.
const BURST: usize = 8;

/// As they were captured: what is sent in a call beside plain audio.
const CAPTURED: [&[u8]; 10] = [
    // PCMU with the marker, and with two contributing sources and an extension (RFC 8285).
    b"\x80\x80\x00\x01\x00\x00\x00\xa0\x01\x02\x03\x04\xff\x7e\x7d\x7c\x7b\x7a\x79\x78",
    b"\x92\x00\x00\x02\x00\x00\x01\x40\x01\x02\x03\x04\x00\x00\x00\x09\x00\x00\x00\x0a\xbe\xde\x00\x01\x10\x8f\x00\x00\xff\x7e",
    // Padding of four octets, and comfort noise (RFC 3389).
    b"\xa0\x00\x00\x03\x00\x00\x01\xe0\x01\x02\x03\x04\xff\x7e\x7d\x7c\x00\x00\x00\x04",
    b"\x80\x0d\x00\x04\x00\x00\x02\x80\x01\x02\x03\x04\x40",
    // The digit 5 ends (RFC 4733).
    b"\x80\x65\x00\x05\x00\x00\x03\x20\x01\x02\x03\x04\x05\x8a\x03\x20",
    // A sender report with a block, with an SDES behind it.
    b"\x81\xc8\x00\x0c\x01\x02\x03\x04\xe8\xd5\x11\x22\x33\x44\x55\x66\x00\x00\x00\xa0\x00\x00\x00\x05\x00\x00\x03\x20\
      \x00\x00\x00\x09\x00\x00\x00\x00\x00\x00\x00\x05\x00\x00\x00\x01\x11\x22\x33\x44\x00\x00\x10\x00\
      \x81\xca\x00\x03\x01\x02\x03\x04\x01\x02\x61\x62\x00\x00\x00\x00",
    // An extended report with a VoIP block (RFC 3611), and a BYE with a reason.
    b"\x80\xcf\x00\x0a\x01\x02\x03\x04\x07\x00\x00\x08\x00\x00\x00\x09\x01\x02\x03\x04\x00\x05\x00\x06\x00\x07\x00\x08\
      \x7f\x7f\x7f\x10\x7f\x7f\x7f\x7f\x00\x00\x00\x3c\x00\x50",
    b"\x81\xcb\x00\x02\x01\x02\x03\x04\x03\x62\x79\x65",
    // A STUN binding request, and the start of a DTLS handshake.
    b"\x00\x01\x00\x08\x21\x12\xa4\x42\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x80\x28\x00\x04\x12\x34\x56\x78",
    b"\x16\xfe\xff\x00\x00\x00\x00\x00\x00\x00\x00\x00\x10\x01\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x04\xfe\xfd\x00\x00",
];

/// One of them, broken in one to four places, most of these in its headers.
fn mutant(random: &mut StdRng) -> Vec<u8> {
    let mut packet = CAPTURED.choose(random).unwrap().to_vec();
    for _ in 0..random.random_range(1..5) {
        let headers = packet.len().min(24);
        match random.random_range(0..6) {
            0 => packet.truncate(random.random_range(0..=packet.len())),
            1 => packet.extend((0..random.random_range(0..1_200)).map(|_| random.random::<u8>())),
            2 => {
                let other = CAPTURED.choose(random).unwrap();
                packet.extend_from_slice(&other[..random.random_range(0..other.len())]);
            }
            _ if headers == 0 => {}
            3 => packet[random.random_range(0..headers)] = 0,
            4 => packet[random.random_range(0..headers)] = 0xff,
            _ => packet[random.random_range(0..headers)] ^= 1 << random.random_range(0..8),
        }
    }
    packet.truncate(1_400);
    packet
}

/// Sends the next packet of a stream; it arrives as it was, whatever comes before it.
fn heard(from: &mut Party, to: SocketAddr, other: &Party) {
    let sent = from.send(to);
    while receive(&other.rtp).0 != sent {}
}

/// All datagrams on media ports that were counted, whatever became of them.
fn counted(engine: &Engine) -> u64 {
    let page = engine.metrics();
    let lines = page.lines();
    let all = lines.filter_map(|line| line.strip_prefix("tandem_media_packets_total{"));
    all.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .sum()
}

/// The same once the shard has published all of it.
async fn settled(engine: &Engine) -> u64 {
    let mut last = counted(engine);
    loop {
        tokio::time::sleep(Duration::from_millis(300)).await;
        match counted(engine) {
            same if same == last => return same,
            more => last = more,
        }
    }
}

async fn nothing_that_is_broken_harms_a_call(bed: &Bed, datapath: &str) {
    // Who may send as much as it likes: it is not the cap that is tested.
    let engine = start_on(datapath, "rate_cap = 0\n").await;
    let (mut alice, mut bob) = (bed.party(&bed.caller, 1), bed.party(&bed.callee, 2));
    let info = create(&engine, &alice, &bob).await;
    match datapath {
        "xdp" => talk_until_offloaded(&engine, &mut alice, &mut bob, &info).await,
        _ => talk(&mut alice, &mut bob, &info, 5),
    }
    let stranger = bed.party(&bed.caller, 1);
    let before = settled(&engine).await;
    let mut random = StdRng::seed_from_u64(SEED);
    let mut sent = 0;
    for number in 0..COUNT {
        let packet = mutant(&mut random);
        // The party itself, and one that it does not know; on either port.
        let who = [&alice, &stranger][number % 2];
        let (socket, to) = match number % 4 / 2 {
            0 => (&who.rtp, info.a.rtp),
            _ => (&who.rtcp, info.a.rtcp),
        };
        socket.send_to(&packet, to).unwrap();
        sent += 1;
        if number % BURST == 0 {
            heard(&mut alice, info.a.rtp, &bob);
            heard(&mut bob, info.b.rtp, &alice);
            sent += 2;
        }
    }
    talk_after(&mut alice, &mut bob, &info);
    sent += 2;
    assert_eq!(settled(&engine).await - before, sent, "each is counted");
    let last = stats(&engine).await;
    assert_eq!(last.from_b.packets, u64::from(bob.sequence));
    assert_eq!((last.from_b.lost, last.from_b.refused), (0, 0));
    assert!(last.from_a.refused > 0, "{last:?}");
    engine.stop().await;
}

fn talk_after(alice: &mut Party, bob: &mut Party, info: &SessionInfo) {
    heard(alice, info.a.rtp, bob);
    heard(bob, info.b.rtp, alice);
}

#[test]
fn on_xdp() {
    on_a_node(false, async |bed: &Bed| {
        nothing_that_is_broken_harms_a_call(bed, "xdp").await;
    });
}

#[test]
fn on_io_uring() {
    on_a_node(false, async |bed: &Bed| {
        nothing_that_is_broken_harms_a_call(bed, "io-uring").await;
    });
}
