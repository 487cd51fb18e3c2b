//! Calls that are recorded.

use rtp::{g711, record::HEADER};

use super::*;

on_both_backends! {
    both_parties_are_recorded_as_they_are_heard;
    what_cannot_be_recorded_is_refused;
    packets_are_recorded_as_they_came_and_not_in_pauses;
    a_paused_recording_is_silent_or_shorter;
    a_disk_that_takes_no_file_refuses_no_pause;
    the_way_to_each_party_is_known_by_the_rtcp_that_passes;
}

async fn record(bed: &Bed, name: Option<&str>) -> Result<Option<String>, Fault> {
    record_as(bed, name, RecordFormat::Wav, Pause::Resume).await
}

async fn record_as(
    bed: &Bed,
    name: Option<&str>,
    format: RecordFormat,
    pause: Pause,
) -> Result<Option<String>, Fault> {
    let request = Record {
        id: session(1),
        name: name.map(str::to_owned),
        format,
        pause,
    };
    match bed.ask(Request::Record(request)).await? {
        Response::Recording(path) => Ok(path),
        other => panic!("{other:?}"),
    }
}

async fn both_parties_are_recorded_as_they_are_heard(datapath: &str) {
    let folder = tempfile::tempdir().unwrap();
    let recordings = folder.path().join("made");
    let more = format!("recordings = \"{}\"\n", recordings.display());
    let bed = Bed::with(datapath, 40, &more).await;
    let (mut alice, mut bob) = (Party::new(1), Party::new(2));
    let info = bed
        .create(1, Some(alice.described()), Some(bob.described()))
        .await;
    let path = record(&bed, Some("call-1")).await.unwrap().unwrap();
    assert_eq!(path, recordings.join("call-1.wav").display().to_string());
    // Asked again, it is the same, and nothing else is there.
    assert_eq!(
        record(&bed, Some("call-1")).await.unwrap(),
        Some(path.clone())
    );
    let (mut left, mut right) = (Vec::new(), Vec::new());
    for _ in 0..20 {
        let said = alice.send(info.a.rtp);
        left.extend(said[12..].iter().map(|octet| g711::decode_ulaw(*octet)));
        bob.receive();
        let said = bob.send(info.b.rtp);
        right.extend(said[12..].iter().map(|octet| g711::decode_ulaw(*octet)));
        alice.receive();
        std::thread::sleep(Duration::from_millis(20));
    }
    // Of who is muted there is nothing.
    bed.mute(1, true, false).await;
    alice.send(info.a.rtp);
    assert_eq!(record(&bed, None).await.unwrap(), None);
    bob.send(info.b.rtp);
    let again = record(&bed, Some("call-1")).await.unwrap();
    assert!(again.unwrap().ends_with("call-1-2.wav"));
    bed.engine.stop().await;

    let mut names: Vec<_> = std::fs::read_dir(&recordings)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, [".recordings", "call-1-2.wav", "call-1.wav"]);
    let wav = std::fs::read(&path).unwrap();
    let octets = u32::try_from(wav.len() - HEADER).unwrap();
    assert_eq!(wav[40..HEADER], octets.to_le_bytes());
    let channel = |at: usize| -> Vec<i16> {
        let frames = wav[HEADER..].chunks(4);
        frames
            .map(|frame| i16::from_le_bytes([frame[at], frame[at + 1]]))
            .collect()
    };
    for (channel, said) in [(channel(0), left), (channel(2), right)] {
        // Where a busy machine has spoken too late there is silence, too.
        let heard = |all: Vec<i16>| all.into_iter().filter(|sample| *sample != 0).collect();
        let (kept, said): (Vec<i16>, Vec<i16>) = (heard(channel), heard(said));
        assert!(!said.is_empty() && kept == said);
    }
}

async fn what_cannot_be_recorded_is_refused(datapath: &str) {
    let bed = Bed::new(datapath).await;
    bed.try_create(1).await.unwrap();
    let fault = record(&bed, Some("x")).await.unwrap_err();
    assert_eq!(fault.code, FaultCode::Conflict);
    assert!(fault.message.contains("[media] recordings"), "{fault}");
    assert_eq!(record(&bed, None).await, Ok(None));

    let folder = tempfile::tempdir().unwrap();
    let more = format!("recordings = \"{}\"\n", folder.path().display());
    let bed = Bed::with(datapath, 40, &more).await;
    let fault = record(&bed, Some("x")).await.unwrap_err();
    assert_eq!(fault.code, FaultCode::NotFound);
    let opus = |party: &Party| {
        let mut remote = party.described();
        remote.format.encoding = "opus".into();
        remote
    };
    let (alice, bob) = (Party::new(1), Party::new(2));
    bed.create(1, Some(opus(&alice)), Some(opus(&bob))).await;
    let secret = Remote {
        secure: true,
        ..bob.described()
    };
    for (callee, part) in [(None, "G.711"), (Some(secret), "SRTP")] {
        bed.modify(1, None, callee).await;
        let fault = record(&bed, Some("x")).await.unwrap_err();
        assert_eq!(fault.code, FaultCode::Conflict);
        assert!(fault.message.contains(part), "{fault}");
    }
    for name in ["", "../x", "a b", "x.wav"] {
        let fault = record(&bed, Some(name)).await.unwrap_err();
        assert_eq!(fault.code, FaultCode::Conflict, "{name}");
    }
    bed.engine.stop().await;
    let left = std::fs::read_dir(folder.path()).unwrap();
    assert_eq!(left.count(), 1, "the mark alone");
}

/// The frames of a pcap file.
fn frames(pcap: &[u8]) -> Vec<Vec<u8>> {
    assert_eq!(pcap[..4], 0xa1b2_3c4d_u32.to_le_bytes());
    let mut rest = &pcap[24..];
    let mut frames = Vec::new();
    while let Some((head, after)) = rest.split_first_chunk::<16>() {
        let len = u32::from_le_bytes(head[8..12].try_into().unwrap()) as usize;
        let (frame, after) = after.split_at(len);
        frames.push(frame.to_vec());
        rest = after;
    }
    frames
}

async fn packets_are_recorded_as_they_came_and_not_in_pauses(datapath: &str) {
    let folder = tempfile::tempdir().unwrap();
    let more = format!("recordings = \"{}\"\n", folder.path().display());
    let bed = Bed::with(datapath, 40, &more).await;
    let (mut alice, mut bob) = (Party::new(1), Party::new(2));
    // Nobody has to understand it.
    let opus = |party: &Party| {
        let mut remote = party.described();
        remote.format.encoding = "opus".into();
        Some(remote)
    };
    let info = bed.create(1, opus(&alice), opus(&bob)).await;
    let pcap = async |pause| {
        let made = record_as(&bed, Some("call"), RecordFormat::Pcap, pause).await;
        made.unwrap().unwrap()
    };
    let path = pcap(Pause::Resume).await;
    assert!(path.ends_with("/call.pcap"), "{path}");
    let mut sent = Vec::new();
    let mut talk = |kept: bool| {
        let said = alice.send(info.a.rtp);
        bob.receive();
        let reply = bob.send(info.b.rtp);
        alice.receive();
        let ends = [(alice.address(), info.a.rtp), (bob.address(), info.b.rtp)];
        let packets = ends.into_iter().zip([said, reply]);
        sent.extend(packets.filter(|_| kept));
        std::thread::sleep(Duration::from_millis(1));
    };
    talk(true);
    talk(true);
    let begun = pcap(Pause::Skip).await;
    assert_eq!(begun, path, "it is the same recording");
    talk(false);
    pcap(Pause::Resume).await;
    talk(true);
    let report = [0x80, 201, 0, 1, 0, 0, 0, 9];
    alice.rtcp.send_to(&report, info.a.rtcp).unwrap();
    receive(&bob.rtcp);
    let from = alice.rtcp.local_addr().unwrap();
    sent.push(((from, info.a.rtcp), report.to_vec()));
    assert_eq!(record(&bed, None).await, Ok(None));
    bed.engine.stop().await;

    let frames = frames(&std::fs::read(&path).unwrap());
    assert_eq!(frames.len(), sent.len());
    for (frame, ((from, to), payload)) in frames.iter().zip(sent) {
        assert_eq!(frame[12..15], [8, 0, 0x45]);
        assert_eq!(frame[26..34], [127, 0, 0, 1, 127, 0, 0, 1]);
        let ports = [from.port(), to.port()].map(u16::to_be_bytes);
        assert_eq!(frame[34..38], ports.concat());
        assert_eq!(frame[42..], payload);
    }
}

async fn a_paused_recording_is_silent_or_shorter(datapath: &str) {
    let folder = tempfile::tempdir().unwrap();
    let more = format!("recordings = \"{}\"\n", folder.path().display());
    let mut lengths = Vec::new();
    for pause in [Pause::Silence, Pause::Skip] {
        let bed = Bed::with(datapath, 40, &more).await;
        let (mut alice, bob) = (Party::new(1), Party::new(2));
        let info = bed
            .create(1, Some(alice.described()), Some(bob.described()))
            .await;
        let name = Some("paused");
        let path = record(&bed, name).await.unwrap().unwrap();
        record_as(&bed, name, RecordFormat::Wav, pause)
            .await
            .unwrap();
        for _ in 0..10 {
            alice.send(info.a.rtp);
            bob.receive();
            std::thread::sleep(Duration::from_millis(20));
        }
        record(&bed, None).await.unwrap();
        bed.engine.stop().await;
        let wav = std::fs::read(&path).unwrap();
        assert!(wav[HEADER..].iter().all(|octet| *octet == 0));
        lengths.push(wav.len());
    }
    // 200 ms of stereo, but for what was before the pause.
    assert!(lengths[0] > HEADER + 180 * 32, "{lengths:?}");
    assert!(lengths[1] < HEADER + 100 * 32, "{lengths:?}");
}

/// A pause makes no file, so that nothing of the disk is in its way.
async fn a_disk_that_takes_no_file_refuses_no_pause(datapath: &str) {
    let folder = tempfile::tempdir().unwrap();
    let recordings = folder.path().join("made");
    let more = format!("recordings = \"{}\"\n", recordings.display());
    let bed = Bed::with(datapath, 40, &more).await;
    let (alice, bob) = (Party::new(1), Party::new(2));
    bed.create(1, Some(alice.described()), Some(bob.described()))
        .await;
    let path = record(&bed, Some("call")).await.unwrap();
    std::fs::rename(&recordings, folder.path().join("gone")).unwrap();
    for pause in [Pause::Silence, Pause::Resume] {
        let paused = record_as(&bed, Some("call"), RecordFormat::Wav, pause).await;
        assert_eq!(paused.unwrap(), path);
    }
    record(&bed, None).await.unwrap();
    let fault = record(&bed, Some("call")).await.unwrap_err();
    assert_eq!(fault.code, FaultCode::Conflict);
    bed.engine.stop().await;
}

async fn the_way_to_each_party_is_known_by_the_rtcp_that_passes(datapath: &str) {
    let bed = Bed::new(datapath).await;
    let (alice, mut bob) = (Party::new(1), Party::new(2));
    let info = bed
        .create(1, Some(alice.described()), Some(bob.muxing()))
        .await;
    bob.send(info.b.rtp);
    alice.receive();
    let report = |ntp: u64, last_sr: u32, delay_ms: u32| {
        let info = rtp::rtcp::SenderInfo {
            ntp,
            ..rtp::rtcp::SenderInfo::default()
        };
        let block = rtp::rtcp::ReportBlock {
            last_sr,
            delay_since_last_sr: delay_ms * 65_536 / 1_000,
            ..rtp::rtcp::ReportBlock::default()
        };
        let mut octets = Vec::new();
        rtp::rtcp::write_report(1, Some(info), &[block], &mut octets);
        octets
    };
    assert_eq!(bed.stats(1).await.from_b.rtt_us, None);
    let sent = report(0x1111_2222_3333_4444, 0, 0);
    alice.rtcp.send_to(&sent, info.a.rtcp).unwrap();
    assert_eq!(bob.receive().0, sent);
    // Bob is 100 ms away, as he says that he has had it for 20 ms; he muxes.
    std::thread::sleep(Duration::from_millis(120));
    let answer = report(0x5555_6666_7777_8888, 0x2222_3333, 20);
    bob.rtp.send_to(&answer, info.b.rtp).unwrap();
    assert_eq!(receive(&alice.rtcp).0, answer);
    let stats = bed.stats(1).await;
    let rtt = stats.from_b.rtt_us.unwrap();
    assert!((95_000..400_000).contains(&rtt), "{rtt}");
    assert_eq!(stats.from_a.rtt_us, None);
    // Alice answers at once.
    let last = report(0x9999_aaaa_bbbb_cccc, 0x6666_7777, 0);
    alice.rtcp.send_to(&last, info.a.rtcp).unwrap();
    bob.receive();
    let rtt = bed.stats(1).await.from_a.rtt_us.unwrap();
    assert!(rtt < 200_000, "{rtt}");
    bed.engine.stop().await;
}
