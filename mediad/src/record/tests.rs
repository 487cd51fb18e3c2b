//! Recordings on full disks, in several files, and in order.

use std::fs::OpenOptions;
use std::time::Duration;

use rtp::record;

use super::content::{HOLD, create};
use super::file::EVERY;
use super::*;

fn on_a_full_disk(content: Content, told: Told) -> Writing {
    let file = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let lost = Arc::new(AtomicU64::new(0));
    let mut writing = Writing::new(file, "/dev/full".into(), content, lost, told);
    writing.content.start(0);
    writing
}

fn frame(arrival: u64) -> Captured {
    Captured {
        recording: 0,
        arrival,
        len: 60,
        kept: 60,
        frame: [7; LARGE],
    }
}

#[test]
fn a_full_disk_ends_a_calls_recording_and_leaves_what_is_written() {
    for content in [Content::wav(Form::CALL), Content::pcap()] {
        let (tell, told) = std::sync::mpsc::channel();
        let told_of = Told::Call(Box::new(move |why| tell.send(why).unwrap()));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let header = content.header();
        std::fs::write(&path, &header).unwrap();
        let mut writing = on_a_full_disk(content, told_of);
        writing.path = path.clone();
        let mut out = Vec::new();
        writing.go_on(2 * EVERY, &mut out);
        assert!(
            !writing.is_over(2 * EVERY),
            "there is nothing to be written yet"
        );
        writing.capture(frame(3 * EVERY));
        writing.go_on(6 * EVERY, &mut out);
        assert!(writing.is_over(6 * EVERY));
        // A file on that disk can be truncated still.
        writing.file = OpenOptions::new().write(true).open(&path).unwrap();
        writing.finish(6 * EVERY, true, false, &mut out).close();
        let why = told.try_recv().unwrap();
        assert!(why.contains("No space left"), "{why}");
        assert_eq!(std::fs::read(&path).unwrap().len(), header.len());
    }
}

#[test]
fn a_recording_goes_on_in_another_file_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for (name, content, rotation) in [
        ("p", Content::pcap(), (Duration::ZERO, 1)),
        ("w", Content::wav(Form::CALL), (Duration::from_secs(1), 0)),
    ] {
        let (tell, told) = std::sync::mpsc::channel();
        let (_, path, file) = create(folder.path(), name, 1..=1, &content).unwrap();
        let ending = content.ending();
        // Somebody else's.
        std::fs::write(folder.path().join(format!("{name}-3.{ending}")), b"").unwrap();
        let lost = Arc::new(AtomicU64::new(0));
        let of_call = Told::Call(Box::new(|why| panic!("{why}")));
        let mut writing = Writing::new(file, path.clone(), content, lost, of_call);
        let (after, octets) = rotation;
        let place = Place::new(path.clone());
        let parts = Parts::new(
            Rotation { after, octets },
            (folder.path(), name, 1),
            place.clone(),
            Box::new(move |path| tell.send(path).unwrap()),
        );
        writing = writing.with_parts(parts);
        writing.content.start(1);
        let (mut out, mut now, mut complete) = (Vec::new(), 1, Vec::new());
        for _ in 0..11 {
            writing.capture(frame(now));
            now += EVERY;
            let part = writing.go_on(now, &mut out);
            if let Some(part) = part {
                complete.push((part.path.clone(), part.octets));
                part.close();
            }
        }
        let last = writing.finish(now, false, false, &mut out);
        complete.push((last.path.clone(), last.octets));
        last.close();
        let told: Vec<_> = told.try_iter().collect();
        let numbered = |number: u32| folder.path().join(format!("{name}-{number}.{ending}"));
        let files: Vec<_> = complete.iter().map(|(path, _)| path.clone()).collect();
        assert_eq!(files[0], path);
        assert_eq!(files[1..], told, "each is told");
        assert_eq!(
            (told[0].clone(), told[1].clone()),
            (numbered(2), numbered(4))
        );
        assert_eq!(place.path(), told[told.len() - 1]);
        let sum: u64 = complete.iter().map(|(_, octets)| octets).sum();
        let header = match ending {
            // A frame for each time, and 2.75 s of both parties.
            "pcap" => {
                assert_eq!(sum, 11 * (16 + 60));
                pcap::HEADER as u64
            }
            _ => {
                assert_eq!(sum, 2_750 * 8 * 4);
                assert_eq!(complete.len(), 3);
                record::HEADER as u64
            }
        };
        for (path, octets) in &complete {
            let file = std::fs::read(path).unwrap();
            assert_eq!(file.len() as u64, header + octets);
            if ending == "wav" {
                assert_eq!(file[..record::HEADER], record::header(2, *octets));
            }
        }
    }
}

#[test]
fn frames_are_written_in_order_and_not_in_pauses() {
    let mut content = Content::pcap();
    let put = |content: &mut Content, at| {
        let Content::Pcap(capture) = content else {
            unreachable!("it was made so");
        };
        capture.put(frame(at));
    };
    // What comes before it has begun is not in it.
    put(&mut content, 6);
    content.start(5);
    for at in [7, 6, 4] {
        put(&mut content, at);
    }
    content.pause(10, Pause::Skip);
    for at in [11, 9] {
        put(&mut content, at);
    }
    content.pause(20, Pause::Resume);
    for at in [HOLD + 30, 21, 19] {
        put(&mut content, at);
    }
    let epoch = match &content {
        Content::Pcap(capture) => capture.epoch,
        Content::Wav { .. } => 0,
    };
    let times = |out: &[u8]| -> Vec<u64> {
        let word = |octets: &[u8]| u64::from(u32::from_le_bytes(octets.try_into().unwrap()));
        let frames = out.chunks(16 + 60);
        let time = |frame: &[u8]| word(&frame[..4]) * 1_000_000_000 + word(&frame[4..8]);
        frames.map(|frame| time(frame) - epoch).collect()
    };
    let mut out = Vec::new();
    content.take(HOLD + 25, &mut out);
    assert_eq!(times(&out), [6, 7, 9, 21]);
    out.clear();
    content.finish(0, &mut out);
    assert_eq!(times(&out), [HOLD + 30]);
}

#[test]
fn the_header_of_a_file_that_grows_says_what_is_heard_but_for_a_second() {
    let folder = tempfile::tempdir().unwrap();
    let content = Content::wav(Form::CALL);
    let (_, path, file) = create(folder.path(), "c", 1..=1, &content).unwrap();
    let lost = Arc::new(AtomicU64::new(0));
    let mut writing = Writing::new(file, path.clone(), content, lost, Told::Nobody);
    writing.content.start(1);
    let (mut out, mut now) = (Vec::new(), 1);
    for _ in 0..20 {
        now += EVERY;
        assert!(writing.go_on(now, &mut out).is_none());
        // As a process that is killed now leaves it.
        let file = std::fs::read(&path).unwrap();
        let written = (file.len() - record::HEADER) as u64;
        let second = 32_000;
        let told: Vec<_> = (written.saturating_sub(second - 1)..=written)
            .filter(|octets| file[..record::HEADER] == record::header(2, *octets))
            .collect();
        assert_eq!(told.len(), 1, "{now} ns, {written} octets");
        assert_eq!(told[0] == 0, written == 0, "{now} ns");
    }
}

#[test]
fn a_recording_of_one_file_ends_where_that_can_be_no_larger_and_is_whole() {
    let (tell, told) = std::sync::mpsc::channel();
    let report: Report = Box::new(move |result| tell.send(result).unwrap());
    let folder = tempfile::tempdir().unwrap();
    let content = Content::wav(Form::CALL);
    let (_, path, file) = create(folder.path(), "RE1", 1..=1, &content).unwrap();
    let lost = Arc::new(AtomicU64::new(0));
    let mut writing = Writing::new(file, path.clone(), content, lost, Told::Order(report));
    // 32 octets in a millisecond.
    writing.most = 32_000;
    writing.content.start(1);
    let (mut out, mut now) = (Vec::new(), 1);
    while !writing.is_over(now) {
        now += EVERY;
        assert!(
            writing.go_on(now, &mut out).is_none(),
            "it has no other file"
        );
        assert!(now < 10 * EVERY, "it does not end");
    }
    writing.finish(now, true, false, &mut out).close();
    let recorded = told.try_recv().unwrap().unwrap();
    assert!(recorded.by_itself);
    assert!((1_000..=1_500).contains(&recorded.ms), "{recorded:?}");
    let sound = recorded.ms * 32;
    assert_eq!(recorded.octets, record::HEADER as u64 + sound);
    let file = std::fs::read(path).unwrap();
    assert_eq!(file.len() as u64, recorded.octets);
    assert_eq!(file[..record::HEADER], record::header(2, sound));
}

#[test]
fn a_full_disk_ends_a_recording_that_somebody_waits_for() {
    let (tell, told) = std::sync::mpsc::channel();
    let report: Report = Box::new(move |result| tell.send(result).unwrap());
    let mut writing = on_a_full_disk(Content::wav(Form::CALL), Told::Order(report));
    let folder = tempfile::tempdir().unwrap();
    writing.path = folder.path().join("a.wav");
    std::fs::write(&writing.path, b"RIFF").unwrap();
    let (path, mut out) = (writing.path.clone(), Vec::new());
    assert!(!writing.is_over(2 * EVERY));
    writing.go_on(6 * EVERY, &mut out);
    assert!(writing.is_over(6 * EVERY));
    writing.finish(6 * EVERY, true, false, &mut out).close();
    let why = told.try_recv().unwrap().unwrap_err();
    assert!(why.contains("No space left"), "{why}");
    assert!(!path.exists());
}

fn datagram(payload: &[u8]) -> Datagram<'_> {
    let address = SocketAddr::from(([192, 0, 2, 1], 4000));
    Datagram {
        source: address,
        local: address,
        payload,
        arrival: 0,
    }
}

#[test]
fn a_queue_that_is_full_loses_packets_and_holds_nobody_up() {
    let (audio, _heard) = crossbeam_channel::bounded(1);
    let (orders, _told) = crossbeam_channel::unbounded();
    let recording = Arc::new(Recording {
        number: 0,
        place: Place::default(),
        lost: Arc::new(AtomicU64::new(0)),
        unwanted: AtomicBool::new(false),
        orders,
    });
    let (frames, _captured) = crossbeam_channel::bounded(1);
    let tap = Tap {
        audio,
        frames,
        format: RecordFormat::Wav,
        channel: 0,
        recording: recording.clone(),
    };
    let lost = || recording.lost.load(Ordering::Relaxed);
    for (payload_type, len, expected) in
        [(0, 160, 0), (0, 160, 1), (8, LONGEST + 1, 2), (101, 4, 2)]
    {
        let mut octets = Vec::new();
        let mut stream = rtp::Packetizer::new(payload_type, 1, 1, 1);
        stream.packet(&vec![0; len], 160, &mut octets);
        tap.take(&datagram(&octets));
        assert_eq!(lost(), expected);
    }
    let tap = Tap {
        format: RecordFormat::Pcap,
        ..tap
    };
    for (len, expected) in [(160, 2), (160, 3), (LARGE, 4)] {
        tap.take(&datagram(&vec![0x80; len]));
        assert_eq!(lost(), expected);
    }
}
