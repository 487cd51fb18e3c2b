//! Phones of users: baresip, behind a NAT and over every transport.

use std::{
    env, fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use loadtest::{
    bed::{Bed, Family, Layout, Namespace},
    node::{Config, Form, Node},
    process::{Interrupt, Process, Tool},
    sipp::{Agent, Scenario},
};
use rcgen::CertifiedKey;

use crate::stage::Stage;

const BARESIP: Tool = Tool {
    name: "baresip",
    package: "baresip-core",
};
const USERS: [&str; 2] = ["carol", "dave"];
const PATIENCE: Duration = Duration::from_secs(15);

/// A phone that answers at once, and sends back the audio that it hears.
struct Baresip {
    process: Process,
    folder: PathBuf,
}

impl Baresip {
    /// `user`'s phone at `local`; it registers with `node` over `transport`, and dials where it is told to.
    fn start(
        space: Option<&Namespace>,
        folder: &Path,
        (user, local): (&str, SocketAddr),
        (node, transport): (SocketAddr, &str),
        dial: Option<&str>,
    ) -> Self {
        let folder = folder.join(format!("{user}-{transport}"));
        fs::create_dir_all(&folder).unwrap();
        let ports = local.port() + 1000;
        let config = format!(
            "poll_method epoll\nsip_listen {local}\nrtp_ports {ports}-{}\naudio_channels 1\n\
             audio_player aubridge,{user}\naudio_source aubridge,{user}\naudio_alert aubridge,none\n\
             module_path /usr/lib/baresip/modules\nmodule g711.so\nmodule aubridge.so\nmodule_tmp account.so\n\
             module_app menu.so\n",
            ports + 100
        );
        fs::write(folder.join("config"), config).unwrap();
        let account = format!(
            "<sip:{user}@example.test;transport={transport}>;auth_pass=secret;answermode=auto;\
             outbound=\"sip:{node};transport={transport}\";regint=3600\n"
        );
        fs::write(folder.join("accounts"), account).unwrap();
        let mut command = match space {
            Some(space) => space.command(BARESIP.name),
            None => BARESIP.command(),
        };
        command.arg("-f").arg(&folder);
        if let Some(uri) = dial {
            command.args(["-e", &format!("/dial {uri}")]);
        }
        let process = Process::start(&mut command, &folder.join("log")).unwrap();
        Self { process, folder }
    }

    /// Waits until it says so.
    fn says(&self, what: &str, node: &Node<'_>) {
        let end = Instant::now() + PATIENCE;
        while !self.process.output().contains(what) {
            assert!(
                Instant::now() < end,
                "{} does not say \"{what}\":\n{}\nthe node:\n{}",
                self.folder.display(),
                self.process.output(),
                node.log()
            );
            thread::sleep(Duration::from_millis(50));
        }
    }
}

fn users() -> String {
    let of = |name| {
        format!("[[users]]\nname = \"{name}\"\ndomain = \"example.test\"\npassword = \"secret\"\n")
    };
    USERS.map(of).concat()
}

/// Whether the phone is there; in CI it has to be.
fn has_baresip() -> bool {
    let missing = Tool::require(&[BARESIP]).err();
    if let Some(why) = &missing {
        assert!(env::var_os("CI").is_none(), "{why}");
        eprintln!("skipped: {why}");
    }
    missing.is_none()
}

/// What the router remembers of UDP, and for how long nothing but keepalives is sent.
const MEMORY: Duration = Duration::from_secs(8);
const SILENCE: Duration = Duration::from_secs(20);

/// Registers a phone behind a NAT, is silent for longer than the NAT remembers, and plays `caller` from
/// the other side.
fn after_silence(keepalive: &str, caller: Scenario) {
    if !has_baresip() {
        return;
    }
    let Some(mut stage) = Stage::new(Layout::default(), Family::V4, "auto") else {
        return;
    };
    let home = stage.bed.home(MEMORY).unwrap();
    // What comes from the router's address is no trunk's.
    stage.config.allow = vec![stage.bed.callee_ip(Family::V4)];
    stage.config.t1 = 100;
    stage.config.more = users()
        + &format!(
            "[[numbers]]\nnumber = \"700\"\nuser = \"carol@example.test\"\n\
             [sip.keepalive]\nmethod = \"{keepalive}\"\ninterval = 5\n"
        );
    let node = stage.node();
    let (folder, place) = (stage.folder.path(), (Bed::HOME, 5060).into());
    let server = (stage.config.sip, "udp");
    let phone = Baresip::start(Some(&home), folder, ("carol", place), server, None);
    phone.says("200 OK", &node);
    thread::sleep(SILENCE);
    let agent = Agent {
        number: "700".to_owned(),
        target: Some(stage.config.sip),
        ..Agent::new(caller, stage.callee_sip())
    };
    let calling = agent.start(Some(stage.bed.callee()), folder).unwrap();
    let outcome = calling.finish(PATIENCE * 2, &Interrupt::default()).unwrap();
    assert!(outcome.all_well(1), "{outcome:#?}\n{}", node.log());
}

#[test]
fn a_phone_behind_a_nat_is_called_after_a_silence_that_keepalives_bridge() {
    after_silence("options", Scenario::Caller);
}

#[test]
fn line_ends_keep_the_way_as_well() {
    after_silence("crlf", Scenario::Caller);
}

/// So the two above show that it is the keepalives that do it.
#[test]
fn without_keepalives_the_way_is_lost() {
    after_silence("off", Scenario::CallerRefused(500));
}

/// Two phones of one transport on loopback: both register, one calls the other, both hear something.
fn call_over(transport: &str, number: u8) {
    if !has_baresip() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let node_ip = Ipv4Addr::new(127, 94, number, 1);
    let phone = |host| SocketAddr::from((Ipv4Addr::new(127, 94, number, host), 5070));
    let mut more = users();
    if transport == "tls" {
        let CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed(vec!["example.test".to_owned()]).unwrap();
        let (chain, key) = (folder.join("chain.pem"), folder.join("key.pem"));
        fs::write(&chain, cert.pem()).unwrap();
        fs::write(&key, signing_key.serialize_pem()).unwrap();
        more += &format!(
            "[[sip.tls.certificates]]\ncertificate = {:?}\nkey = {:?}\n",
            chain.display().to_string(),
            key.display().to_string()
        );
    }
    let sip = SocketAddr::from((node_ip, 5060));
    let server = match transport {
        "tls" => SocketAddr::from((node_ip, 5061)),
        _ => sip,
    };
    let config = Config {
        name: format!("phones-{transport}"),
        sip,
        listen: match transport {
            "tls" => vec![format!("tls:{server}")],
            _ => Vec::new(),
        },
        t1: 500,
        media: node_ip.into(),
        media_ports: (41_100, 41_163),
        interfaces: Vec::new(),
        datapath: "auto".to_owned(),
        media_timeout: 60,
        api: (node_ip, 8080).into(),
        allow: vec![IpAddr::from([127, 94, number, 9])],
        hosts: vec![format!("127.94.{number}.9")],
        ring_timeout: 60,
        more,
    };
    let programs = Path::new(env!("CARGO_BIN_EXE_tandem")).parent().unwrap();
    let (form, patience) = (Form::Together, Interrupt::default());
    let node = Node::start(form, programs, &config, None, folder, &patience)
        .unwrap_or_else(|error| panic!("{error}"));
    let server = (server, transport);
    let dave = Baresip::start(None, folder, ("dave", phone(3)), server, None);
    dave.says("200 OK", &node);
    let uri = format!("sip:dave@example.test;transport={transport}");
    let carol = Baresip::start(None, folder, ("carol", phone(2)), server, Some(&uri));
    carol.says("Call established", &node);
    dave.says("Call established", &node);
    // Both send what they hear: it is silence, but packets.
    let end = Instant::now() + PATIENCE;
    while node
        .metrics()
        .unwrap()
        .sum("tandem_media_packets_total", &[])
        < 100.0
    {
        assert!(Instant::now() < end, "no media:\n{}", node.log());
        thread::sleep(Duration::from_millis(100));
    }
    let page = node.metrics().unwrap();
    for table in ["tandem_calls_active", "tandem_registered_contacts"] {
        assert!(page.sum(table, &[]) > 0.0, "{table}");
    }
}

#[test]
fn two_phones_over_udp() {
    call_over("udp", 1);
}

#[test]
fn two_phones_over_tcp() {
    call_over("tcp", 2);
}

#[test]
fn two_phones_over_tls() {
    call_over("tls", 3);
}
