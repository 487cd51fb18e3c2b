//! What senders' reports count in one stream, and more payload types than the program has room for.

use rtp::rtcp::{self, SenderInfo};

use super::*;

const MS: u64 = 1_000_000;
const CLOCK: u32 = 8_000;

/// Who sends RTP and reports of it.
struct Sender {
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
    packets: u32,
    octets: u32,
}

impl Sender {
    const fn new(ssrc: u32) -> Self {
        Self {
            ssrc,
            sequence: 65_500,
            timestamp: 7,
            packets: 0,
            octets: 0,
        }
    }

    fn send(&mut self, towards: &mut Towards, now: u64, payload: usize, kind: Kind) {
        let mut packet = vec![0x80, 0];
        packet.extend(self.sequence.to_be_bytes());
        packet.extend(self.timestamp.to_be_bytes());
        packet.extend(self.ssrc.to_be_bytes());
        packet.resize(12 + payload, 0xff);
        let sent = towards.renumber(&mut packet, now, ebpf_abi::tick(CLOCK), kind);
        assert!(sent.is_ok());
        self.sequence = self.sequence.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(160);
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add(u32::try_from(payload).unwrap());
    }

    /// What its report says once it is in the stream's numbers.
    fn report(&self, towards: &mut Towards) -> (u32, [u32; 2]) {
        let info = SenderInfo {
            packets: self.packets,
            octets: self.octets,
            ..SenderInfo::default()
        };
        let mut octets = Vec::new();
        rtcp::write_report(self.ssrc, Some(info), &[], &mut octets);
        let stream = towards.stream().unwrap();
        let len = rtcp::renumber(&mut octets, Some((&stream, &mut towards.told)), None);
        let packets = rtcp::parse(&octets[..len]).unwrap();
        let rtcp::Packet::SenderReport { ssrc, info, .. } = &packets[0] else {
            panic!("{packets:?}");
        };
        (*ssrc, [info.packets, info.octets])
    }
}

#[test]
fn a_senders_counts_are_those_of_the_stream_whoever_speaks() {
    let mut towards = Towards::default();
    towards.be_one_stream(true, 0);
    let own = towards.stream().unwrap().ssrc;
    let mut now = 1_000 * MS;
    let (mut all, mut octets) = (0, 0);
    let mut speak = |sender: &mut Sender, towards: &mut Towards, payload, kind| {
        for _ in 0..50 {
            sender.send(towards, now, payload, kind);
            now += 20 * MS;
        }
    };
    // An announcement of the node, of which no report is made; then a party, for a minute.
    let mut node = Sender::new(7);
    speak(&mut node, &mut towards, 160, Kind::Own);
    let mut first = Sender::new(1);
    all += 50;
    octets += 50 * 160;
    for _ in 0..60 {
        speak(&mut first, &mut towards, 160, Kind::Relayed);
        all += 50;
        octets += 50 * 160;
        assert_eq!(first.report(&mut towards), (own, [all, octets]));
    }
    // Another one in its place, who has sent for long and in smaller packets, and says so twice.
    let mut second = Sender::new(2);
    (second.packets, second.octets) = (u32::MAX - 100, 1 << 31);
    let mut before = octets;
    for turn in 0..10 {
        speak(&mut second, &mut towards, 20, Kind::Relayed);
        all += 50;
        let (ssrc, [packets, octets]) = second.report(&mut towards);
        assert_eq!((ssrc, packets), (own, all));
        assert!(octets >= before, "{octets} after {before}");
        // The first report has no earlier one to measure the packets by.
        assert!(turn == 0 || octets == before + 50 * 20);
        before = octets;
        assert_eq!(second.report(&mut towards), (own, [all, octets]));
    }
    // The first one's report comes late.
    assert_eq!(first.report(&mut towards), (own, [all, before]));

    // A process that comes after this one goes on with the numbers that are there, and with the count of packets.
    let mut adopted = Towards {
        place: Place::Own(Box::new(towards.read())),
        ..Towards::default()
    };
    adopted.look();
    speak(&mut second, &mut adopted, 20, Kind::Relayed);
    assert_eq!(second.report(&mut adopted).1[0], all + 50);
}

#[test]
fn a_stream_of_which_nothing_was_sent_has_no_packets() {
    let mut towards = Towards::default();
    towards.be_one_stream(true, 0);
    assert_eq!(towards.stream().unwrap().packets, 0);
    Sender::new(1).send(&mut towards, MS, 160, Kind::Relayed);
    assert_eq!(towards.stream().unwrap().packets, 1);
}

#[test]
fn payload_types_beyond_those_of_the_program_are_changed_by_a_shard() {
    let mut towards = Towards::default();
    let changed = |towards: &mut Towards, payload_type: u8| {
        let mut packet = [0; 12];
        packet[..2].copy_from_slice(&[0x80, 0x80 | payload_type]);
        let sent = towards.renumber(&mut packet, MS, 0, Kind::Relayed);
        assert!(sent.is_ok());
        assert_eq!(packet[1] & 0x80, 0x80, "the marker stays");
        packet[1] & 0x7f
    };
    let pairs = |count: u8| (0..count).map(|nth| [96 + nth, 110 + nth]);
    towards.change_types(pairs(6));
    assert!(towards.fits_program());
    assert_eq!(
        (changed(&mut towards, 101), changed(&mut towards, 102)),
        (115, 102)
    );
    // One named twice, or the same on both sides, takes no room.
    towards.change_types(pairs(6).chain([[96, 1], [8, 8]]));
    assert!(towards.fits_program());
    assert_eq!(changed(&mut towards, 96), 110);
    towards.change_types(pairs(8));
    assert!(!towards.fits_program());
    for payload_type in 96..104 {
        assert_eq!(changed(&mut towards, payload_type), payload_type + 14);
    }
    assert_eq!(changed(&mut towards, 104), 104);
    towards.change_types(pairs(1));
    assert!(towards.fits_program());
    assert_eq!(
        (changed(&mut towards, 96), changed(&mut towards, 103)),
        (110, 103)
    );
    towards.change_types(pairs(8));
    towards.stop();
    assert!(towards.fits_program() && !towards.is_active());
}
