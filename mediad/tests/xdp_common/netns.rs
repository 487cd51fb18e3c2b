//! Network namespaces and veth pairs of a test's own. They have no names, so they are gone with the
//! test, however it ends.
#![expect(unsafe_code, reason = "unshare and setns have no safe face in std")]

use std::{fs::File, io, os::fd::AsRawFd as _, process::Command, thread};

/// A network namespace.
pub(crate) struct Namespace {
    file: File,
}

impl Namespace {
    pub(crate) fn new() -> Self {
        let file = thread::spawn(|| {
            // SAFETY: changes this new thread only.
            let result = unsafe { libc::unshare(libc::CLONE_NEWNET) };
            assert_eq!(result, 0, "{}", last_error());
            File::open("/proc/thread-self/ns/net").unwrap()
        });
        let namespace = Self {
            file: file.join().unwrap(),
        };
        namespace.ip("link set lo up");
        namespace
    }

    /// Runs `work` on a thread in this namespace.
    pub(crate) fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let fd = self.file.as_raw_fd();
        thread::scope(|scope| {
            let inside = scope.spawn(move || {
                // SAFETY: changes this new thread only; the descriptor is open as long as `self`.
                let result = unsafe { libc::setns(fd, libc::CLONE_NEWNET) };
                assert_eq!(result, 0, "{}", last_error());
                work()
            });
            match inside.join() {
                Ok(done) => done,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// `ip ARGUMENTS` in here.
    pub(crate) fn ip(&self, arguments: &str) {
        self.run("ip", arguments);
    }

    /// A program in here, which must succeed.
    pub(crate) fn run(&self, program: &str, arguments: &str) {
        let output = self.enter(|| Command::new(program).args(arguments.split(' ')).output());
        let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {arguments}: {told}");
    }

    /// Makes a veth pair: `name` here and `peer` in `other`, both up. Their MAC addresses are
    /// 02:00:00:00:`net`:01 and :02, and the peer sends whole checksums and tags, as a wire has
    /// them.
    pub(crate) fn veth(&self, name: &str, other: &Self, peer: &str, net: u8) {
        let target = format!("/proc/{}/fd/{}", std::process::id(), other.file.as_raw_fd());
        self.ip(&format!(
            "link add {name} address 02:00:00:00:{net:02x}:01 type veth \
             peer name {peer} address 02:00:00:00:{net:02x}:02 netns {target}"
        ));
        for (namespace, device) in [(self, name), (other, peer)] {
            namespace.run("ethtool", &format!("-K {device} tx off txvlan off"));
            namespace.ip(&format!("link set {device} up"));
        }
    }
}

fn last_error() -> io::Error {
    io::Error::last_os_error()
}
