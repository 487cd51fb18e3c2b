//! mediad as a process: as an ordinary user and as root, and how it ends.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path as FilePath, PathBuf},
    thread,
};

use control::{Client, Endpoint, Fault, FaultCode};
use loadtest::process::{Interrupt, Process, Signal, Tool};

use super::*;

const SETCAP: Tool = Tool {
    name: "setcap",
    package: "libcap2-bin",
};
const SETPRIV: Tool = Tool {
    name: "setpriv",
    package: "util-linux",
};
/// A user that this machine need not have.
const USER: u32 = 61_234;
const CAPABILITIES: &str = "cap_bpf,cap_net_admin,cap_perfmon";
/// The bits of those in `/proc/PID/status`.
const BITS: &str = "000000c000001000";
const PINS: &str = "/sys/fs/bpf/tandem/tandem";

/// A mediad that runs, or did.
struct Mediad {
    process: Process,
    client: Client<Media>,
}

impl Handler<Media> for Mediad {
    fn handle(
        &self,
        request: Request,
    ) -> impl Future<Output = Result<Response, Fault>> + Send + 'static {
        let client = self.client.clone();
        async move {
            let answer = client.request(request).await;
            answer.map_err(|error| Fault::new(FaultCode::Internal, error.to_string()))
        }
    }
}

/// What its processes are started with.
struct Stage {
    folder: tempfile::TempDir,
    user: u32,
}

impl Stage {
    /// Everything belongs to `user`, who has a bpffs folder of the node's own.
    fn new(user: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(folder.path(), mode).unwrap();
        chown(folder.path(), Some(user), None).unwrap();
        Self { folder, user }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("media.sock")
    }

    fn command(&self, program: &FilePath) -> Command {
        let mut command = match self.user {
            0 => Command::new(program),
            user => {
                let mut command = SETPRIV.command();
                let user = user.to_string();
                command.args(["--reuid", &user, "--regid", &user, "--clear-groups"]);
                command.arg(program);
                command
            }
        };
        command.args(["--address", "10.9.9.9", "--ports", "30000-30099"]);
        command.args(["--interface", "a0,b0", "--datapath", "xdp", "--shards", "1"]);
        command
            .arg("--control")
            .arg(format!("unix:{}", self.socket().display()));
        command
    }

    async fn start(&self, mut command: Command, log: &str) -> Mediad {
        let log = self.folder.path().join(log);
        let mut process = Process::start(&mut command, &log).unwrap();
        let start = Instant::now();
        // What one before has left of its socket does not answer.
        let client = loop {
            let ended = process.ended();
            assert!(ended.is_none(), "{ended:?}: {}", process.output());
            match Client::connect_now(Endpoint::Unix(self.socket())).await {
                Ok(client) => break client,
                Err(error) => assert!(start.elapsed() < Duration::from_secs(20), "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        let mediad = Mediad { process, client };
        // It serves when it has started.
        while mediad.handle(Request::Status).await.is_err() {}
        mediad
    }
}

impl Mediad {
    async fn status(&self) -> MediaStatus {
        match self.handle(Request::Status).await.unwrap() {
            Response::Status(status) => status,
            other => panic!("{other:?}"),
        }
    }

    /// The lines of all its threads' status that begin with `key`; one if they are alike.
    fn of_threads(&self, key: &str) -> Vec<String> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.process.pid())).unwrap();
        let mut all: Vec<String> = tasks
            .map(|task| {
                let status = fs::read_to_string(task.unwrap().path().join("status")).unwrap();
                let mut lines = status.lines();
                let line = lines.find_map(|line| line.strip_prefix(key)).unwrap();
                line.trim().to_owned()
            })
            .collect();
        assert!(all.len() > 4, "shards, workers, the log: {all:?}");
        all.dedup();
        all
    }

    fn ends_well(mut self) -> String {
        let ended = self
            .process
            .wait(Duration::from_secs(5), &Interrupt::default());
        assert!(ended.unwrap().success(), "{}", self.process.output());
        self.process.output()
    }
}

/// What is said, and whether it went well.
fn detach(mut command: Command) -> (bool, String) {
    let output = command.arg("--detach").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.success(), said)
}

/// No program is on the interfaces, and no pin is left.
fn nothing_stays() {
    assert!(!fs::exists(PINS).unwrap());
    // The kernel lets go of a link whose pin was removed after a grace period.
    let is_clean = || {
        let links = Command::new("ip").args(["link", "show"]).output().unwrap();
        let links = String::from_utf8(links.stdout).unwrap();
        assert!(links.contains("a0@"), "{links}");
        !links.contains("xdp")
    };
    let start = Instant::now();
    while !is_clean() {
        assert!(start.elapsed() < Duration::from_secs(2), "XDP is still on");
        thread::sleep(Duration::from_millis(10));
    }
}

async fn an_ordinary_user_with_file_capabilities_relays_on_xdp(bed: &Bed) {
    Tool::require(&[SETCAP, SETPRIV]).unwrap();
    let stage = Stage::new(USER);
    let program = stage.folder.path().join("mediad");
    fs::copy(env!("CARGO_BIN_EXE_mediad"), &program).unwrap();
    let mut setcap = SETCAP.command();
    let setcap = setcap.arg(format!("{CAPABILITIES}=ep")).arg(&program);
    assert!(setcap.status().unwrap().success());
    // As an operator makes it for the user.
    fs::create_dir("/sys/fs/bpf/tandem").unwrap();
    chown("/sys/fs/bpf/tandem", Some(USER), Some(USER)).unwrap();

    let mut first = stage.start(stage.command(&program), "first.log").await;
    assert_eq!(
        first.of_threads("Uid:").concat().split('\t').next(),
        Some("61234")
    );
    for set in ["CapEff:", "CapPrm:"] {
        assert_eq!(first.of_threads(set), [BITS], "{set}");
    }
    for set in ["CapInh:", "CapAmb:"] {
        assert_eq!(first.of_threads(set), ["0000000000000000"], "{set}");
    }
    assert_eq!(first.of_threads("NoNewPrivs:"), ["1"]);
    let (mut alice, mut bob) = (bed.party(&bed.caller, 1), bed.party(&bed.callee, 2));
    let info = create(&first, &alice, &bob).await;
    talk_until_offloaded(&first, &mut alice, &mut bob, &info).await;
    // A ban writes a map, long after the start.
    let bans = Request::Bans(Bans::default());
    let banned = first.handle(bans).await.unwrap();
    assert!(matches!(banned, Response::Banned { in_force: true, .. }));

    // A graceful end with a call: it flows on, nobody takes the program from under it, the next one adopts it.
    let (done, said) = detach(stage.command(&program));
    assert!(!done && said.contains("stop it first"), "{said}");
    first.process.signal(Signal::TERM);
    let log = first.ends_well();
    assert!(log.contains("the next mediad adopts them"), "{log}");
    talk(&mut alice, &mut bob, &info, 20);
    let (done, said) = detach(stage.command(&program));
    assert!(!done && said.contains("1 calls flow by XDP"), "{said}");
    let mut second = stage.start(stage.command(&program), "second.log").await;
    assert_eq!(second.status().await.adopted, 1);
    talk(&mut alice, &mut bob, &info, 20);
    assert_eq!(stats(&second).await.from_a.lost, 0);

    // Drained: no other call, and its end with this one.
    second.process.signal(Signal::USR1);
    while !second.status().await.draining {}
    let other = Create {
        id: SessionId([8; 16]),
        owner: "test".into(),
        a: alice.leg(),
        b: bob.leg(),
        apart: false,
    };
    let refused = second.handle(Request::Create(other)).await.unwrap_err();
    assert!(refused.message.contains("draining"), "{refused:?}");
    talk(&mut alice, &mut bob, &info, 20);
    second.handle(Request::Delete(ID)).await.unwrap();
    let log = second.ends_well();
    assert!(log.contains("drained: no session is left"), "{log}");
    nothing_stays();
}

async fn root_keeps_what_xdp_needs_and_becomes_another_user(bed: &Bed) {
    let program = FilePath::new(env!("CARGO_BIN_EXE_mediad"));
    let stage = Stage::new(0);
    let nobody = stage.folder.path().join("nobody");
    fs::create_dir(&nobody).unwrap();
    let id = Command::new("id").args(["-u", "nobody"]).output().unwrap();
    let id: u32 = String::from_utf8(id.stdout)
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    chown(stage.folder.path(), Some(id), None).unwrap();
    // As systemd mounts it.
    let closed = fs::Permissions::from_mode(0o700);
    fs::set_permissions("/sys/fs/bpf", closed).unwrap();

    let mut command = stage.command(program);
    command.args(["--user", "nobody"]);
    let mut mediad = stage.start(command, "user.log").await;
    let uid = id.to_string();
    assert_eq!(mediad.of_threads("Uid:"), [[uid.as_str(); 4].join("\t")]);
    for set in ["CapEff:", "CapPrm:", "CapBnd:"] {
        assert_eq!(mediad.of_threads(set), [BITS], "{set}");
    }
    assert_eq!(mediad.of_threads("NoNewPrivs:"), ["1"]);
    let (mut alice, mut bob) = (bed.party(&bed.caller, 1), bed.party(&bed.callee, 2));
    let info = create(&mediad, &alice, &bob).await;
    talk_until_offloaded(&mediad, &mut alice, &mut bob, &info).await;
    mediad.process.signal(Signal::KILL);
    mediad
        .process
        .wait(Duration::from_secs(5), &Interrupt::default())
        .unwrap();
    talk(&mut alice, &mut bob, &info, 5);

    // The call is given up on: all of it goes.
    let (done, said) = detach(stage.command(program));
    assert!(!done && said.contains("--force"), "{said}");
    let mut command = stage.command(program);
    command.arg("--force");
    let (done, said) = detach(command);
    assert!(done && said.contains("interfaces=2"), "{said}");
    nothing_stays();
    let (done, said) = detach(stage.command(program));
    assert!(done && said.contains("nothing to take down"), "{said}");

    // Who stays root has no more capabilities than that either, and needs its own files.
    chown(stage.folder.path(), Some(0), None).unwrap();
    let mut root = stage.start(stage.command(program), "root.log").await;
    for set in ["CapEff:", "CapPrm:", "CapBnd:"] {
        assert_eq!(root.of_threads(set), [BITS], "{set}");
    }
    root.process.signal(Signal::TERM);
    root.ends_well();
    nothing_stays();
}

#[test]
fn an_ordinary_user_relays_and_drains() {
    on_a_node(false, an_ordinary_user_with_file_capabilities_relays_on_xdp);
}

#[test]
fn privileges_are_dropped_after_the_start() {
    on_a_node(false, root_keeps_what_xdp_needs_and_becomes_another_user);
}
