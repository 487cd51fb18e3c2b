//! Calls that are recorded.

use rtp::{g711, record::HEADER};

use super::*;

on_both_backends! {
    both_parties_are_recorded_as_they_are_heard;
    what_cannot_be_recorded_is_refused;
}

async fn record(bed: &Bed, name: Option<&str>) -> Result<Option<String>, Fault> {
    let request = Record {
        id: session(1),
        name: name.map(str::to_owned),
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
        let start = channel.iter().position(|sample| *sample != 0).unwrap();
        // Silence may be said first.
        let lead = said.iter().position(|sample| *sample != 0).unwrap();
        assert_eq!(channel[start..start + said.len() - lead], said[lead..]);
        assert!(
            channel[start + said.len() - lead..]
                .iter()
                .all(|sample| *sample == 0)
        );
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
