//! What every test here stands on: a bed, a node's configuration, parties, and captures.

use std::{
    env,
    fs::{self, File},
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use loadtest::{
    audio::{self, Voice},
    bed::{Bed, BedError, Family, Layout, Namespace},
    capture::{
        Capture, Traffic,
        delivery::{self, CallAudio},
    },
    node::{Config, Form, Node},
    process::{Interrupt, Tool},
    sink::Sink,
    sipp::{Agent, Media, Outcome, Running, Scenario},
};
use serde_json::Value;

/// Media ports of both parties; the ears listen on the first few calls' ones.
pub(crate) const CALLER_MEDIA: u16 = 20_000;
pub(crate) const CALLEE_MEDIA: u16 = 30_000;
const EARS: u16 = 15;
/// The node's media ports: sixteen sessions, so that all of them can be tried by a stranger.
pub(crate) const NODE_MEDIA: (u16, u16) = (40_000, 40_063);

/// A bed with parties on it, and a node about to be started.
pub(crate) struct Stage {
    pub(crate) bed: Bed,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) config: Config,
    pub(crate) family: Family,
    ears: Vec<Sink>,
    _turn: File,
}

/// Waits until fewer than two tests of this machine have a stage. Most of what one does is to wait
/// for audio, but media of one must not be late because many others have the processor.
fn turn() -> File {
    loop {
        for name in ["tandem-e2e.0.lock", "tandem-e2e.1.lock"] {
            let turn = File::create(env::temp_dir().join(name)).unwrap();
            if turn.try_lock().is_ok() {
                return turn;
            }
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// What was captured at both parties.
pub(crate) struct Recorded {
    at_caller: Vec<u8>,
    at_callee: Vec<u8>,
}

impl Stage {
    /// `None` where this machine cannot have one.
    pub(crate) fn new(layout: Layout, family: Family, datapath: &str) -> Option<Self> {
        let missing = Tool::require(&[Tool::SIPP, Tool::TCPDUMP]).map_err(BedError::from);
        let turn = turn();
        let bed = match missing.and_then(|()| Bed::new(layout)) {
            Ok(bed) => bed,
            Err(why @ BedError::NoVlan) => {
                eprintln!("skipped: {why}");
                return None;
            }
            Err(why) => {
                assert!(env::var_os("CI").is_none(), "{why}");
                eprintln!("skipped: {why}");
                return None;
            }
        };
        let config = Config {
            media_ports: NODE_MEDIA,
            datapath: datapath.to_owned(),
            ..Config::on_bed(&bed, family)
        };
        let ear = |space: &Namespace, ip, first: u16| {
            space
                .enter(|| Sink::listen(ip, first + 4, EARS))
                .unwrap()
                .unwrap()
        };
        let ears = vec![
            ear(bed.caller(), bed.caller_ip(family), CALLER_MEDIA),
            ear(bed.callee(), bed.callee_ip(family), CALLEE_MEDIA),
        ];
        Some(Self {
            bed,
            folder: tempfile::tempdir().unwrap(),
            config,
            family,
            ears,
            _turn: turn,
        })
    }

    /// IPv4 over XDP, the common case.
    pub(crate) fn xdp() -> Option<Self> {
        Self::new(Layout::default(), Family::V4, "xdp")
    }

    /// Starts the node in one process.
    pub(crate) fn node(&self) -> Node<'_> {
        self.node_as(Form::Together)
    }

    /// Starts the node. Its separate programs are beside `tandem` once the workspace is built.
    pub(crate) fn node_as(&self, form: Form) -> Node<'_> {
        Node::start(
            form,
            Path::new(env!("CARGO_BIN_EXE_tandem")).parent().unwrap(),
            &self.config,
            Some(self.bed.node()),
            self.folder.path(),
            &Interrupt::default(),
        )
        .unwrap_or_else(|error| panic!("{error}"))
    }

    pub(crate) fn caller_sip(&self) -> SocketAddr {
        (self.bed.caller_ip(self.family), 5060).into()
    }

    pub(crate) fn callee_sip(&self) -> SocketAddr {
        (self.bed.callee_ip(self.family), 5060).into()
    }

    /// A caller with `seconds` of audio, twice where the scenario talks twice.
    pub(crate) fn caller(&self, scenario: Scenario, seconds: u32) -> Agent {
        Agent {
            target: Some(self.config.sip),
            media: self.media("caller", Voice::CALLER, seconds),
            media_port: CALLER_MEDIA,
            talk: Duration::from_millis(u64::from(seconds) * 1000 + 1000),
            ..Agent::new(scenario, self.caller_sip())
        }
    }

    /// A callee with as much.
    pub(crate) fn callee(&self, scenario: Scenario, seconds: u32) -> Agent {
        Agent {
            media: self.media("callee", Voice::CALLEE, seconds),
            media_port: CALLEE_MEDIA,
            ..Agent::new(scenario, self.callee_sip())
        }
    }

    fn media(&self, name: &str, voice: Voice, seconds: u32) -> Media {
        if seconds == 0 {
            return Media::Silent;
        }
        let count = seconds * audio::RATE;
        let part = |number: u32| -> PathBuf {
            let path = self.folder.path().join(format!("{name}-{number}.pcap"));
            audio::write_pcap(&path, voice, number * count, count).unwrap();
            path
        };
        Media::Pcap(vec![part(0), part(1)])
    }

    /// Starts the callee, and the caller once the callee listens.
    pub(crate) fn start(&self, caller: &Agent, callee: &Agent) -> (Running, Running) {
        let folder = self.folder.path();
        let callee = callee.start(Some(self.bed.callee()), folder).unwrap();
        std::thread::sleep(Duration::from_millis(400));
        let caller = caller.start(Some(self.bed.caller()), folder).unwrap();
        (caller, callee)
    }

    /// Runs both to their ends.
    pub(crate) fn play(&self, caller: &Agent, callee: &Agent) -> (Outcome, Outcome) {
        finish(self.start(caller, callee))
    }

    /// Records at both parties from now on.
    pub(crate) fn record(&self) -> (Capture, Capture) {
        let start = |space, name| {
            let link = self.bed.party_interface();
            Capture::start(Some(space), link, None, self.folder.path(), name).unwrap()
        };
        let at_caller = start(self.bed.caller(), "at-caller");
        (at_caller, start(self.bed.callee(), "at-callee"))
    }

    /// Datagrams that the ears of both parties took.
    pub(crate) fn heard(&self) -> u64 {
        self.ears.iter().map(Sink::heard).sum()
    }
}

/// Waits for both to end by themselves.
pub(crate) fn finish((caller, callee): (Running, Running)) -> (Outcome, Outcome) {
    let limit = Duration::from_secs(90);
    let caller = caller.finish(limit, &Interrupt::default()).unwrap();
    (caller, callee.stop(Duration::from_secs(5)))
}

/// Expects that every call of both went as its scenario says.
pub(crate) fn all_well(outcome: &(Outcome, Outcome), calls: u64, node: &Node<'_>) {
    let (caller, callee) = outcome;
    assert!(
        caller.all_well(calls) && callee.all_well(calls),
        "caller: {caller:#?}\ncallee: {callee:#?}\nnode:\n{}",
        node.log()
    );
}

impl Recorded {
    /// Ends the captures.
    pub(crate) fn of((at_caller, at_callee): (Capture, Capture)) -> Self {
        let read = |capture: Capture| fs::read(capture.finish().unwrap()).unwrap();
        Self {
            at_caller: read(at_caller),
            at_callee: read(at_callee),
        }
    }

    pub(crate) fn at_caller(&self) -> Traffic<'_> {
        Traffic::read(&self.at_caller).unwrap()
    }

    pub(crate) fn at_callee(&self) -> Traffic<'_> {
        Traffic::read(&self.at_callee).unwrap()
    }

    /// Expects that `packets` of RTP went each way in each of `calls` calls, that each of them arrived
    /// as it was sent, and that every checksum on the wires is right.
    pub(crate) fn perfect(&self, stage: &Stage, calls: usize, packets: u64) -> Vec<CallAudio> {
        let (at_caller, at_callee) = (self.at_caller(), self.at_callee());
        assert_eq!(at_caller.bad_checksums, [], "at the caller");
        assert_eq!(at_callee.bad_checksums, [], "at the callee");
        let found = delivery::calls(
            &at_caller,
            SocketAddr::new(stage.caller_sip().ip(), 0),
            &at_callee,
            SocketAddr::new(stage.callee_sip().ip(), 0),
        );
        assert_eq!(found.len(), calls, "calls with media");
        for call in &found {
            for way in [call.forward, call.backward] {
                assert!(way.perfect(), "{call:#?}");
                assert_eq!(way.sent, packets, "{call:#?}");
            }
            let node = [call.media.node_for_caller, call.media.node_for_callee];
            for address in node {
                assert_eq!(address.ip(), stage.config.media, "{call:#?}");
                let ports = NODE_MEDIA.0..=NODE_MEDIA.1;
                assert!(ports.contains(&address.port()), "{call:#?}");
            }
        }
        found
    }
}

/// Waits until `what` is so, 10 s at most.
pub(crate) fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !so() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Expects that the node has neither a call nor a media port in use any more.
pub(crate) fn nothing_left(node: &Node<'_>) {
    eventually("all calls and media sessions are gone", || {
        let page = node.metrics().unwrap();
        let left = [
            "tandem_calls_active",
            "tandem_media_sessions",
            "tandem_media_ports_used",
        ];
        left.iter().all(|name| page.sum(name, &[]) == 0.0)
    });
}

/// The CDRs once there are `count`, newest first.
pub(crate) fn cdrs(node: &Node<'_>, count: usize) -> Vec<Value> {
    let mut items = Vec::new();
    eventually("the CDRs are written", || {
        let list: Value = serde_json::from_str(&node.get("/v1/cdrs").unwrap()).unwrap();
        items = list["items"].as_array().unwrap().clone();
        items.len() >= count
    });
    assert_eq!(items.len(), count, "{items:#?}");
    items
}
