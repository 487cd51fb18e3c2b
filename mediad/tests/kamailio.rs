//! Kamailio as Debian has it, with its rtpengine module, drives mediad: SIPp's calls go through both, and their audio
//! through mediad.
//!
//! It needs root (SIPp plays captures by raw sockets), Kamailio and SIPp. Without these it is skipped, but not where
//! `CI` is set.

#![expect(
    clippy::unwrap_used,
    reason = "functions that only tests call, which clippy does not see"
)]

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use loadtest::{
    audio::{self, Voice},
    http,
    metrics::Page,
    process::{Interrupt, Process, Signal, Tool},
    sipp::{Agent, Hold, Media, Scenario},
};

const KAMAILIO: Tool = Tool {
    name: "kamailio",
    package: "kamailio",
};
const MODULES: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu/kamailio/modules/",
    "/usr/lib/aarch64-linux-gnu/kamailio/modules/",
    "/usr/lib64/kamailio/modules/",
];

/// A script as the module's documentation has it. The number that is called chooses the flags.
const SCRIPT: &str = r#"
debug=2
log_stderror=yes
children=2
disable_tcp=yes
auto_aliases=no
listen=udp:@PROXY@
mpath="@MODULES@"
loadmodule "tm.so"
loadmodule "tmx.so"
loadmodule "corex.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "textops.so"
loadmodule "maxfwd.so"
loadmodule "siputils.so"
loadmodule "rtpengine.so"
modparam("rtpengine", "rtpengine_sock", "udp:@NG@")
modparam("rtpengine", "rtpengine_retr", 2)
modparam("rtpengine", "extra_id_pv", "$avp(branch)")
route[FLAGS] {
    if ($rU == "2" || $avp(rich) == "1") {
        $avp(rich) = "1";
        $var(flags) = "replace-origin replace-session-connection ICE=remove RTP/AVP trust-address symmetric via-branch=1 rtcp-mux-demux no-rtcp-attribute port-latching loop-protect codec-strip-PCMU";
    } else {
        $var(flags) = "replace-origin replace-session-connection ICE=remove RTP/AVP";
    }
}
request_route {
    if (!mf_process_maxfwd_header("10")) { sl_send_reply("483", "Too Many Hops"); exit; }
    if (is_method("CANCEL")) {
        rtpengine_delete();
        if (t_check_trans()) t_relay();
        exit;
    }
    if (has_totag()) {
        if (loose_route()) {
            if (is_method("BYE")) rtpengine_delete();
            if (is_method("INVITE")) {
                route(FLAGS);
                rtpengine_manage("$var(flags)");
                t_on_reply("MEDIA");
            }
            t_relay();
            exit;
        }
        if (is_method("ACK") && t_check_trans()) t_relay();
        exit;
    }
    record_route();
    if (is_method("INVITE")) {
        t_newtran();
        if ($rU == "3") {
            # Two phones, each with media of its own.
            $ru = "sip:3@@CALLEE@";
            append_branch("sip:3@@OTHER@");
            t_on_branch("FORK");
            t_on_reply("FORKED");
            t_relay();
            exit;
        }
        route(FLAGS);
        if (!rtpengine_manage("$var(flags)")) { t_reply("500", "No Media"); exit; }
        t_on_reply("MEDIA");
        t_on_failure("FREE");
    }
    $du = "sip:@CALLEE@";
    t_relay();
}
onreply_route[MEDIA] {
    if (has_body("application/sdp")) {
        route(FLAGS);
        rtpengine_manage("$var(flags)");
    }
}
branch_route[FORK] {
    $avp(branch) = @via[1].branch + $T_branch_idx;
    rtpengine_offer("replace-origin ICE=remove RTP/AVP via-branch=extra");
}
onreply_route[FORKED] {
    $avp(branch) = @via[2].branch + $T_branch_idx;
    if (has_body("application/sdp")) rtpengine_answer("replace-origin ICE=remove RTP/AVP via-branch=extra");
}
failure_route[FREE] {
    rtpengine_delete();
}
"#;

fn at(host: u8, port: u16) -> SocketAddr {
    (Ipv4Addr::new(127, 97, 0, host), port).into()
}

struct Bed {
    folder: tempfile::TempDir,
    mediad: Process,
    kamailio: Process,
}

impl Bed {
    /// `None` where this machine cannot have one.
    fn new() -> Option<Self> {
        let missing = Tool::require(&[KAMAILIO, Tool::SIPP]).err();
        let missing = missing.map(|why| why.to_string());
        let is_root = is_root_here();
        let missing = missing.or_else(|| (!is_root).then(|| "this is not root".to_owned()));
        if let Some(why) = missing {
            assert!(std::env::var_os("CI").is_none(), "{why}");
            eprintln!("skipped: {why}");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let mut command = Command::new(env!("CARGO_BIN_EXE_mediad"));
        command.args(["--address", "127.97.0.1", "--ports", "30000-30063"]);
        command.args(["--datapath", "sockets", "--shards", "1"]);
        command.args(["--ng", &format!("udp:{}", at(1, 2223))]);
        command.args(["--ng", &format!("tcp:{}", at(1, 2224))]);
        command.args(["--metrics", &at(1, 9901).to_string()]);
        command
            .arg("--control")
            .arg(format!("unix:{}", path.join("media.sock").display()));
        let mediad = Process::start(&mut command, &path.join("mediad.log")).unwrap();

        let modules = MODULES
            .into_iter()
            .find(|folder| Path::new(folder).exists());
        let script = SCRIPT
            .replace("@PROXY@", &at(2, 5060).to_string())
            .replace("@CALLEE@", &at(4, 5060).to_string())
            .replace("@OTHER@", &at(5, 5060).to_string())
            .replace("@NG@", &at(1, 2223).to_string())
            .replace("@MODULES@", modules.unwrap());
        std::fs::write(path.join("kamailio.cfg"), script).unwrap();
        let mut command = KAMAILIO.command();
        command.args(["-DD", "-E", "-m", "32", "-M", "4", "-f"]);
        command.arg(path.join("kamailio.cfg")).arg("-Y").arg(path);
        let kamailio = Process::start(&mut command, &path.join("kamailio.log")).unwrap();
        let mut bed = Self {
            folder,
            mediad,
            kamailio,
        };
        // Kamailio asks whether its relay is there.
        bed.until("Kamailio has pinged mediad", |bed| {
            bed.requests("ping", "ok") > 0.0
        });
        Some(bed)
    }

    fn metrics(&self) -> Page {
        let client = http::Client {
            space: None,
            address: at(1, 9901),
            key: "",
        };
        Page::parse(&client.get("/metrics").unwrap_or_default())
    }

    fn requests(&self, command: &str, result: &str) -> f64 {
        let labels = [("command", command), ("result", result)];
        self.metrics().sum("tandem_ng_requests_total", &labels)
    }

    fn until(&mut self, what: &str, so: impl Fn(&Self) -> bool) {
        let end = Instant::now() + Duration::from_secs(10);
        while !so(self) {
            let late = Instant::now() > end;
            let ended = self.mediad.ended().is_some() || self.kamailio.ended().is_some();
            assert!(!late && !ended, "never: {what}\n{}", self.logs());
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn logs(&self) -> String {
        format!(
            "mediad:\n{}\nkamailio:\n{}",
            self.mediad.output(),
            self.kamailio.output()
        )
    }

    fn agent(&self, scenario: Scenario, host: u8, voice: Voice) -> Agent {
        let pcap = self.folder.path().join(format!("{host}.pcap"));
        audio::write_pcap(&pcap, voice, 0, audio::RATE).unwrap();
        Agent {
            media: Media::Pcap(vec![pcap]),
            talk: Duration::from_millis(1200),
            media_port: 20_000 + u16::from(host) * 1000,
            ..Agent::new(scenario, at(host, 5060))
        }
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        // The parent ends its workers at SIGTERM, and leaves them where it is killed.
        drop(self.kamailio.stop(Signal::TERM, Duration::from_secs(3)));
    }
}

/// Whether this is root, as the id of the process's folder says.
fn is_root_here() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

#[test]
fn kamailios_calls_go_through_mediad() {
    let Some(mut bed) = Bed::new() else { return };
    for (number, calls) in [("1", 3), ("2", 2)] {
        let callee = Agent {
            calls,
            ..bed.agent(Scenario::Callee, 4, Voice::CALLEE)
        };
        let caller = Agent {
            target: Some(at(2, 5060)),
            number: number.to_owned(),
            calls,
            ..bed.agent(Scenario::Caller, 3, Voice::CALLER)
        };
        let callee = callee.start(None, bed.folder.path()).unwrap();
        thread::sleep(Duration::from_millis(300));
        let caller = caller.start(None, bed.folder.path()).unwrap();
        let caller = caller
            .finish(Duration::from_secs(20), &Interrupt::default())
            .unwrap();
        let callee = callee.stop(Duration::from_secs(3));
        let calls = u64::from(calls);
        assert!(
            caller.all_well(calls) && callee.all_well(calls),
            "{caller:#?}\n{callee:#?}\n{}",
            bed.logs()
        );
    }
    // Both parties' audio of five calls, of a second each, but for what came before the other's source was known.
    bed.until("the audio is counted", |bed| {
        let labels = [("result", "forwarded")];
        let forwarded = bed.metrics().sum("tandem_media_packets_total", &labels);
        forwarded > 5.0 * 2.0 * f64::from(audio::RATE) * 0.9
    });
    // Hold and its end, a caller who gives up, and a fork whose callee hangs up.
    let hold = Hold::SendOnly;
    for (number, caller, callees) in [
        (
            "1",
            Scenario::CallerHolds(hold),
            vec![Scenario::CalleeHeld(hold)],
        ),
        ("1", Scenario::CallerCancels, vec![Scenario::CalleeRings]),
        (
            "3",
            Scenario::CallerWaits,
            vec![Scenario::CalleeHangsUp, Scenario::CalleeRings],
        ),
    ] {
        let callees: Vec<_> = (4..)
            .zip(callees)
            .map(|(host, scenario)| {
                let callee = Agent {
                    talk: Duration::from_millis(300),
                    ..bed.agent(scenario, host, Voice::CALLEE)
                };
                callee.start(None, bed.folder.path()).unwrap()
            })
            .collect();
        let caller = Agent {
            target: Some(at(2, 5060)),
            number: number.to_owned(),
            talk: Duration::from_millis(300),
            ..bed.agent(caller, 3, Voice::CALLER)
        };
        thread::sleep(Duration::from_millis(200));
        let caller = caller.start(None, bed.folder.path()).unwrap();
        let caller = caller
            .finish(Duration::from_secs(20), &Interrupt::default())
            .unwrap();
        assert!(caller.all_well(1), "{caller:#?}\n{}", bed.logs());
        for callee in callees {
            let callee = callee.stop(Duration::from_secs(3));
            assert!(callee.all_well(1), "{callee:#?}\n{}", bed.logs());
        }
    }
    for command in ["offer", "answer", "delete"] {
        assert!(
            bed.requests(command, "ok") >= 5.0,
            "{command}\n{}",
            bed.logs()
        );
        assert_eq!(bed.requests(command, "error"), 0.0, "{}", bed.logs());
    }
    bed.until("nothing is left", |bed| {
        bed.metrics().sum("tandem_media_ports_used", &[]) == 0.0
    });
    assert!(!bed.logs().contains("unknown option"), "{}", bed.logs());
}
