//! Calls that are recorded, and whose RTCP is overheard, while they stay on XDP.

use super::*;

pub(super) async fn record(
    engine: &Engine,
    name: Option<&str>,
    format: RecordFormat,
) -> Option<String> {
    let request = Request::Record(Record {
        id: ID,
        name: name.map(str::to_owned),
        format,
        pause: Pause::Resume,
    });
    match engine.handle(request).await.unwrap() {
        Response::Recording(path) => path,
        other => panic!("{other:?}"),
    }
}

/// Talks at the pace of speech; what both have said.
fn speak(alice: &mut Party, bob: &mut Party, info: &SessionInfo, count: u16) -> [Vec<Vec<u8>>; 2] {
    let mut said = [Vec::new(), Vec::new()];
    for _ in 0..count {
        said[0].push(alice.send(info.a.rtp));
        said[1].push(bob.send(info.b.rtp));
        assert_eq!(receive(&bob.rtp).0, *said[0].last().unwrap());
        assert_eq!(receive(&alice.rtp).0, *said[1].last().unwrap());
        std::thread::sleep(Duration::from_millis(20));
    }
    said
}

/// A call that is recorded stays on the program, sample for sample and frame for frame.
pub(super) async fn a_call_on_xdp_is_recorded(bed: &Bed) {
    let folder = tempfile::tempdir().unwrap();
    let engine = start_with(&format!("recordings = \"{}\"\n", folder.path().display())).await;
    let (mut alice, mut bob) = (bed.party(&bed.caller, 1), bed.party(&bed.callee, 2));
    let info = create(&engine, &alice, &bob).await;
    talk_until_offloaded(&engine, &mut alice, &mut bob, &info).await;
    let before = stats(&engine).await;
    let wav = record(&engine, Some("call"), RecordFormat::Wav).await;
    let said = speak(&mut alice, &mut bob, &info, 35);
    assert_eq!(record(&engine, None, RecordFormat::Wav).await, None);
    talk(&mut alice, &mut bob, &info, 5);
    let pcap = record(&engine, Some("call"), RecordFormat::Pcap).await;
    let sent = speak(&mut alice, &mut bob, &info, 5);
    assert_eq!(record(&engine, None, RecordFormat::Wav).await, None);
    let after = stats(&engine).await;
    for (before, after) in [(before.from_a, after.from_a), (before.from_b, after.from_b)] {
        assert_eq!(after.packets_xdp - before.packets_xdp, 45);
        assert_eq!(after.packets - before.packets, 45);
        assert_eq!(after.lost, 0);
    }
    let page = engine.metrics();
    assert!(page.contains("reason=\"tap_full\"} 0\n"), "{page}");
    engine.stop().await;

    let wav = std::fs::read(wav.unwrap()).unwrap();
    for (channel, said) in said.iter().enumerate() {
        let frames = wav[rtp::record::HEADER..].chunks_exact(4);
        let heard: Vec<_> = frames
            .map(|frame| i16::from_le_bytes([frame[channel * 2], frame[channel * 2 + 1]]))
            .collect();
        let payload = said.iter().flat_map(|packet| &packet[12..]);
        let said: Vec<_> = payload
            .map(|octet| rtp::g711::decode_ulaw(*octet))
            .collect();
        let start = heard.iter().position(|sample| *sample != 0).unwrap();
        assert_eq!(heard[start..start + said.len()], said, "{channel}");
        let rest = &heard[start + said.len()..];
        assert!(rest.iter().all(|sample| *sample == 0), "{channel}");
    }
    let pcap = std::fs::read(pcap.unwrap()).unwrap();
    let frames = frames(&pcap);
    assert_eq!(frames.len(), 10);
    let header = if bed.v6 { 62 } else { 42 };
    for (local, said) in [info.a.rtp, info.b.rtp].iter().zip(sent) {
        let port = local.port().to_be_bytes();
        let came = frames
            .iter()
            .filter(|frame| frame[header - 6..header - 4] == port);
        let payloads: Vec<_> = came.clone().map(|frame| frame[header..].to_vec()).collect();
        assert_eq!(payloads, said);
        // As they were on the wire: with addresses that only the link knows.
        let known = came.filter(|frame| frame[..6] != [0; 6] && frame[6..12] != [0; 6]);
        assert_eq!(known.count(), 5);
    }
}

/// A disk without room for a second of audio ends the recording, and nothing else.
pub(super) async fn a_full_disk_ends_a_recording_and_no_call(bed: &Bed) {
    let folder = tempfile::tempdir().unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=8k", "tmpfs"])
        .arg(folder.path())
        .status();
    assert!(mounted.unwrap().success());
    let engine = start_with(&format!("recordings = \"{}\"\n", folder.path().display())).await;
    let (listener, endpoint) = control::Endpoint::memory();
    let server = channel::serve(listener, Arc::new(engine.clone()), engine.events());
    tokio::spawn(server);
    let client = control::Client::<Media>::connect(endpoint);
    let mut notices = client.notices();
    notices.recv().await.unwrap();
    let (mut alice, mut bob) = (bed.party(&bed.caller, 1), bed.party(&bed.callee, 2));
    let info = create(&engine, &alice, &bob).await;
    talk_until_offloaded(&engine, &mut alice, &mut bob, &info).await;
    let before = stats(&engine).await;
    let path = record(&engine, Some("call"), RecordFormat::Wav).await;
    let mut said = 0;
    let reason = loop {
        speak(&mut alice, &mut bob, &info, 5);
        said += 5;
        // The client's task, and the events of the call before.
        tokio::time::sleep(Duration::from_millis(1)).await;
        match notices.try_recv() {
            Ok(control::Notice::Event(Event::RecordingFailed { id: ID, reason })) => break reason,
            _ => assert!(said < 200, "a recording that the disk did not take goes on"),
        }
    };
    assert!(reason.contains("No space left"), "{reason}");
    speak(&mut alice, &mut bob, &info, 5);
    let after = stats(&engine).await;
    let by_xdp = after.from_a.packets_xdp - before.from_a.packets_xdp;
    assert_eq!((by_xdp, after.from_a.lost), (said + 5, 0));
    engine.stop().await;
    // What there was room for is a file.
    let wav = std::fs::read(path.unwrap()).unwrap();
    assert_eq!(&wav[..4], b"RIFF");
    let octets = u32::from_le_bytes(wav[40..44].try_into().unwrap());
    assert_eq!(octets as usize, wav.len() - rtp::record::HEADER);
    let unmounted = Command::new("umount").arg(folder.path()).status();
    assert!(unmounted.unwrap().success());
}

fn frames(pcap: &[u8]) -> Vec<Vec<u8>> {
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

/// RTCP that the program forwards tells the time to a party and back.
pub(super) async fn the_round_trip_is_known_on_xdp(bed: &Bed) {
    let engine = start().await;
    let (mut alice, mut bob) = (bed.party(&bed.caller, 1), bed.party(&bed.callee, 2));
    let info = create(&engine, &alice, &bob).await;
    talk_until_offloaded(&engine, &mut alice, &mut bob, &info).await;
    let report = |ntp: u64, last_sr: u32| {
        let info = rtp::rtcp::SenderInfo {
            ntp,
            ..rtp::rtcp::SenderInfo::default()
        };
        let block = rtp::rtcp::ReportBlock {
            last_sr,
            ..rtp::rtcp::ReportBlock::default()
        };
        let mut octets = Vec::new();
        rtp::rtcp::write_report(1, Some(info), &[block], &mut octets);
        octets
    };
    let exchange = |ntp: u64, last_sr: u32| {
        let sent = report(ntp, 0);
        alice.rtcp.send_to(&sent, info.a.rtcp).unwrap();
        assert_eq!(receive(&bob.rtcp).0, sent);
        std::thread::sleep(Duration::from_millis(40));
        let answer = report(1, last_sr);
        bob.rtcp.send_to(&answer, info.b.rtcp).unwrap();
        assert_eq!(receive(&alice.rtcp).0, answer);
    };
    // The first of each is learned from.
    exchange(7 << 16, 0);
    exchange(8 << 16, 0);
    assert_eq!(stats(&engine).await.from_b.rtt_us, None);
    let forwarded = || {
        let page = engine.metrics();
        let label = "tandem_xdp_packets_total{action=\"forwarded\",reason=\"rtcp_redirect\"} ";
        let line = page.lines().find_map(|line| line.strip_prefix(label));
        line.unwrap().parse::<u64>().unwrap()
    };
    let before = forwarded();
    exchange(9 << 16, 9);
    assert_eq!(forwarded() - before, 2);
    let start = Instant::now();
    let rtt = loop {
        if let Some(rtt) = stats(&engine).await.from_b.rtt_us {
            break rtt;
        }
        assert!(start.elapsed() < Duration::from_secs(3));
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert!((40_000..400_000).contains(&rtt), "{rtt}");
    engine.stop().await;
}
