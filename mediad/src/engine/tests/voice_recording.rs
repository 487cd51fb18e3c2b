//! Recordings of parties of programmable voice, compared with what was said.

use rtp::{g711, wav::Wav};
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::*;

on_both_backends! {
    a_party_is_recorded_after_the_tone_until_it_is_silent;
    both_sides_of_joined_parties_are_recorded_until_the_session_ends;
    pauses_are_left_out_and_a_second_recording_goes_on;
}

struct Tested {
    bed: Bed,
    ears: Ears,
    folder: tempfile::TempDir,
    told: Vec<VoiceEvent>,
}

impl Tested {
    async fn new(datapath: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let more = format!("recordings = \"{}\"\n", folder.path().display());
        let bed = Bed::with(datapath, 40, &more).await;
        let ears = bed.listen().await;
        Self {
            bed,
            ears,
            folder,
            told: Vec::new(),
        }
    }

    async fn order(&self, orders: Vec<VoiceOrder>) {
        let id = session(1);
        let answer = self.bed.ask(Request::Voice(Voice { id, orders })).await;
        assert!(matches!(answer, Ok(Response::Session(_))), "{answer:?}");
    }

    /// Waits for an event that is not yet seen.
    async fn event(&mut self) -> VoiceEvent {
        until("an event", async || {
            let heard = self.ears.heard().into_iter();
            self.told.extend(heard.filter_map(|event| match event {
                Event::Voice { event, .. } => Some(event),
                _ => None,
            }));
            !self.told.is_empty()
        })
        .await;
        self.told.remove(0)
    }

    async fn recorded(&mut self) -> Recorded {
        match self.event().await {
            VoiceEvent::Recorded {
                result: Ok(recorded),
                ..
            } => recorded,
            other => panic!("{other:?}"),
        }
    }

    fn file(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.folder.path().join(name)).unwrap()
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

fn record(job: u32, name: &str) -> VoiceRecord {
    VoiceRecord {
        job,
        name: name.to_owned(),
        side: Side::A,
        says: true,
        hears: false,
        channels: 1,
        silence_ms: None,
        beep: false,
        trim: false,
    }
}

/// Sends noise for so many packets, one each 20 ms; what it was.
async fn say(party: &mut Party, to: SocketAddr, packets: usize) -> Vec<i16> {
    let mut pace = interval(Duration::from_millis(20));
    pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut said = Vec::new();
    for _ in 0..packets {
        pace.tick().await;
        let packet = party.send(to);
        said.extend(packet[12..].iter().map(|octet| g711::decode_ulaw(*octet)));
    }
    pace.tick().await;
    said
}

/// Left and right of a recording with two channels.
fn channels(file: &[u8]) -> [Vec<i16>; 2] {
    let (frames, rest) = file[44..].as_chunks::<4>();
    assert!(rest.is_empty());
    let channel = |at: usize| {
        let sample = |frame: &[u8; 4]| i16::from_le_bytes([frame[at], frame[at + 1]]);
        frames.iter().map(sample).collect()
    };
    [channel(0), channel(2)]
}

/// Where what was said begins and ends in a recording that has all packets of it, in their order. Where this process was
/// held up, there may be silence in between.
#[track_caller]
fn span(recorded: &[i16], said: &[i16]) -> std::ops::Range<usize> {
    let (mut begin, mut end) = (None, 0);
    for packet in said.chunks(160) {
        let at = end + find(&recorded[end..], packet).expect("every packet");
        begin = begin.or(Some(at));
        end = at + packet.len();
    }
    begin.unwrap_or(end)..end
}

/// Where `part` is in `whole`, sample for sample.
fn find(whole: &[i16], part: &[i16]) -> Option<usize> {
    whole.windows(part.len()).position(|window| window == part)
}

async fn a_party_is_recorded_after_the_tone_until_it_is_silent(datapath: &str) {
    let mut tested = Tested::new(datapath).await;
    let mut alice = Party::new(1);
    let info = tested.bed.create(1, Some(alice.described()), None).await;
    let order = VoiceOrder::Record(VoiceRecord {
        silence_ms: Some(400),
        beep: true,
        trim: true,
        ..record(5, "REone")
    });
    // The control channel may bring it twice.
    tested.order(vec![VoiceOrder::Attach, order.clone()]).await;
    tested.order(vec![order]).await;
    // What is said into the tone is not recorded.
    let before = say(&mut alice, info.a.rtp, 10).await;
    assert_eq!(
        tested.event().await,
        VoiceEvent::RecordingStarted { job: 5 }
    );
    let mut tone = Vec::new();
    alice.rtp.set_nonblocking(true).unwrap();
    while let Ok(len) = alice.rtp.recv(&mut [0; 2048]) {
        tone.push(len);
    }
    assert_eq!(tone, [172; 15], "300 ms of it");

    sleep(Duration::from_millis(100)).await;
    let said = say(&mut alice, info.a.rtp, 30).await;
    let ended = Instant::now();
    let recorded = tested.recorded().await;
    let silent = ended.elapsed();
    assert!(silent > Duration::from_millis(300), "{silent:?}");
    assert!(recorded.by_itself);
    let file = tested.file("REone.wav");
    assert_eq!(recorded.octets, file.len() as u64);
    let wav = Wav::parse(&file).unwrap();
    assert_eq!((wav.rate, wav.channels), (8_000, 1));
    let heard: Vec<i16> = wav.mono().collect();
    assert_eq!(recorded.ms, heard.len() as u64 / 8);
    let at = span(&heard, &said);
    // Of the silence 150 ms are left at most.
    assert!(at.start <= 1_200, "{at:?}");
    assert!(heard.len() - at.end <= 1_200, "{at:?}");
    assert_eq!(find(&heard, &before[..160]), None);
    // It is over: what is stopped now is of nothing, and there is one event of it.
    tested.order(vec![VoiceOrder::Stop { job: 5 }]).await;
    say(&mut alice, info.a.rtp, 2).await;
    assert_eq!(tested.ears.heard(), []);
}

async fn both_sides_of_joined_parties_are_recorded_until_the_session_ends(datapath: &str) {
    let mut tested = Tested::new(datapath).await;
    let (mut alice, mut bob) = (Party::new(1), Party::new(2));
    let info = tested
        .bed
        .create(1, Some(alice.described()), Some(bob.described()))
        .await;
    let both = |job, name, channels| {
        VoiceOrder::Record(VoiceRecord {
            hears: true,
            channels,
            ..record(job, name)
        })
    };
    let orders = vec![
        VoiceOrder::Join(true),
        both(1, "REdual", 2),
        both(2, "REmono", 1),
    ];
    tested.order(orders).await;
    for _ in 0..2 {
        let started = tested.event().await;
        assert!(matches!(started, VoiceEvent::RecordingStarted { .. }));
    }
    let (left, right) = tokio::join!(
        say(&mut alice, info.a.rtp, 20),
        say(&mut bob, info.b.rtp, 20)
    );
    assert_eq!(bob.receive().0.len(), 172, "they hear each other");
    // She hears a file in the place of him.
    let clip: Vec<i16> = (0..1_600).map(|n| (n % 50) * 100).collect();
    let path = tested.folder.path().join("clip.wav");
    let data: Vec<u8> = clip.iter().flat_map(|s| s.to_le_bytes()).collect();
    let header = rtp::record::header(1, data.len() as u64);
    std::fs::write(&path, [&header[..], &data].concat()).unwrap();
    let play = VoiceOrder::Play(Play {
        job: 9,
        hears: Side::A,
        audio: Audio::File(path.display().to_string()),
        loops: 1,
        start: 0,
        limit_ms: 0,
    });
    // What this process was late with has its place.
    sleep(Duration::from_millis(200)).await;
    tested.order(vec![play]).await;
    let unheard = say(&mut bob, info.b.rtp, 3).await;
    let played = VoiceEvent::Played {
        job: 9,
        result: Ok(()),
    };
    assert_eq!(tested.event().await, played);
    let ended = tested.bed.ask(Request::Delete(session(1))).await;
    assert!(matches!(ended, Ok(Response::Stats(_))), "{ended:?}");
    let lengths = [tested.recorded().await, tested.recorded().await];
    assert!(lengths.iter().all(|recorded| !recorded.by_itself));

    let dual = tested.file("REdual.wav");
    let [says, hears] = channels(&dual);
    assert!(lengths.iter().any(|one| one.ms == says.len() as u64 / 8));
    let (at, of) = (span(&says, &left).start, span(&hears, &right).start);
    assert!(at.abs_diff(of) < 400, "they spoke at once: {at} {of}");
    let played: Vec<i16> = clip
        .iter()
        .map(|sample| g711::decode_ulaw(g711::encode_ulaw(*sample)))
        .collect();
    span(&hears, &played);
    assert_eq!(find(&hears, &unheard[320..]), None);
    // What is mixed is the sum of both. When each recording began rounds to a sample, for each party.
    let mono: Vec<i16> = Wav::parse(&tested.file("REmono.wav"))
        .unwrap()
        .mono()
        .collect();
    let from = at.max(of);
    let is_sum = (from - 1..=from + 1).any(|from_left| {
        let pairs = says[from_left..].iter().zip(&hears[from..]).take(160);
        let sum: Vec<i16> = pairs.map(|(a, b)| a.saturating_add(*b)).collect();
        find(&mono, &sum).is_some()
    });
    assert!(is_sum);
}

async fn pauses_are_left_out_and_a_second_recording_goes_on(datapath: &str) {
    let mut tested = Tested::new(datapath).await;
    let mut alice = Party::new(1);
    let info = tested.bed.create(1, Some(alice.described()), None).await;
    let orders = [(1, "REskip"), (2, "REall")].map(|(job, name)| record(job, name));
    let orders = orders.into_iter().map(VoiceOrder::Record).collect();
    tested.order(orders).await;
    for _ in 0..2 {
        tested.event().await;
    }
    let first = say(&mut alice, info.a.rtp, 10).await;
    let job = 1;
    let how = Pause::Skip;
    tested.order(vec![VoiceOrder::Pause { job, how }]).await;
    let second = say(&mut alice, info.a.rtp, 20).await;
    let how = Pause::Resume;
    tested.order(vec![VoiceOrder::Pause { job, how }]).await;
    let third = say(&mut alice, info.a.rtp, 10).await;
    let stop = |job| VoiceOrder::Stop { job };
    tested.order(vec![stop(1), stop(2)]).await;
    let (one, other) = (tested.recorded().await, tested.recorded().await);
    let skipped = one.ms.abs_diff(other.ms);
    assert!((300..500).contains(&skipped), "{skipped}");
    let heard = |name| -> Vec<i16> { Wav::parse(&tested.file(name)).unwrap().mono().collect() };
    let (skip, all) = (heard("REskip.wav"), heard("REall.wav"));
    span(&skip, &[&first[..1_280], &third[320..]].concat());
    assert_eq!(find(&skip, &second[1_600..1_760]), None);
    span(&all, &[first, second, third].concat());
}

#[tokio::test]
async fn where_nothing_is_recorded_there_is_no_file_and_the_call_goes_on() {
    let mut tested = Tested::new("sockets").await;
    let alice = Party::new(1);
    let info = tested.bed.create(1, Some(alice.described()), None).await;
    let trouble = |event: VoiceEvent| match event {
        VoiceEvent::Recorded {
            result: Err(AudioTrouble::Engine(why)),
            ..
        } => why,
        other => panic!("{other:?}"),
    };
    // Nobody speaks; the third is stopped while its file is made; the fourth during its tone.
    let silent = VoiceRecord {
        silence_ms: Some(100),
        ..record(1, "REsilent")
    };
    let trimmed = VoiceRecord {
        trim: true,
        ..record(2, "REtrim")
    };
    let orders = vec![VoiceOrder::Record(silent), VoiceOrder::Record(trimmed)];
    tested.order(orders).await;
    let started = [tested.event().await, tested.event().await];
    assert!(
        started
            .iter()
            .all(|event| matches!(event, VoiceEvent::RecordingStarted { .. })),
        "{started:?}"
    );
    let nothing = |by_itself| Recorded {
        ms: 0,
        octets: 0,
        by_itself,
    };
    assert_eq!(tested.recorded().await, nothing(true));
    tested.order(vec![VoiceOrder::Stop { job: 2 }]).await;
    assert_eq!(tested.recorded().await, nothing(false));
    let stop = VoiceOrder::Stop { job: 3 };
    let early = VoiceOrder::Record(record(3, "REearly"));
    tested.order(vec![early, stop]).await;
    assert_eq!(tested.recorded().await, nothing(false));
    let beep = VoiceOrder::Record(VoiceRecord {
        beep: true,
        ..record(4, "REbeep")
    });
    tested.order(vec![beep]).await;
    alice.rtp.set_nonblocking(true).unwrap();
    until("the tone", async || alice.rtp.recv(&mut [0; 2048]).is_ok()).await;
    alice.rtp.set_nonblocking(false).unwrap();
    tested.order(vec![VoiceOrder::Stop { job: 4 }]).await;
    assert_eq!(tested.recorded().await, nothing(false));
    assert_eq!(tested.names(), [".recordings"]);

    // A name that is there, or is none.
    let path = tested.folder.path().join("REthere.wav");
    std::fs::write(&path, "x").unwrap();
    for (job, name) in [(5, "REthere"), (6, "../x")] {
        let order = VoiceOrder::Record(record(job, name));
        tested.order(vec![order]).await;
        assert!(trouble(tested.event().await).contains("[media] recordings"));
    }
    assert_eq!(std::fs::read(&path).unwrap(), b"x");
    let secret = Remote {
        secure: true,
        ..alice.described()
    };
    tested.bed.modify(1, Some(secret), None).await;
    let order = VoiceOrder::Record(record(7, "REsecret"));
    tested.order(vec![order]).await;
    assert!(trouble(tested.event().await).contains("encrypted"));
    tested.bed.modify(1, Some(alice.described()), None).await;
    // The folder is gone.
    std::fs::remove_dir_all(tested.folder.path()).unwrap();
    let order = VoiceOrder::Record(record(8, "REgone"));
    tested.order(vec![order]).await;
    assert!(trouble(tested.event().await).contains("No such file"));
    let mut bob = Party::new(2);
    tested.bed.modify(1, None, Some(bob.described())).await;
    tested.order(vec![VoiceOrder::Join(true)]).await;
    let sent = bob.send(info.b.rtp);
    let heard = std::iter::repeat_with(|| alice.receive().0).find(|packet| *packet == sent);
    assert_eq!(heard, Some(sent));

    let bed = Bed::new("sockets").await;
    let ears = bed.listen().await;
    let mut tested = Tested {
        bed,
        ears,
        ..tested
    };
    tested.bed.create(1, Some(alice.described()), None).await;
    let order = VoiceOrder::Record(record(1, "REnowhere"));
    tested.order(vec![order]).await;
    assert!(trouble(tested.event().await).contains("set [media] recordings"));
}
