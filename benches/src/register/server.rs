//! Who has turns.

use std::{fmt::Write as _, net::SocketAddr, path::Path, process::Command};

use clap::ValueEnum;

use super::{echo::Reading, generator::Sizes};
use crate::{
    error::BenchError,
    server::{self, Memory, Running},
};

/// As its users tune it; the file says how.
const KAMAILIO_CFG: &str = include_str!("../../peers/kamailio/registrar.cfg");

/// One of the servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Server {
    /// Kamailio with `auth`, `registrar` and `usrloc` in memory, tuned.
    Kamailio,
    /// The same with the allocator that Debian's package starts it with.
    KamailioUntuned,
    /// Tandem's `signaling`; bindings are written behind to SQLite.
    Tandem,
    /// A UDP echo that reads a datagram at a time.
    Echo,
    /// A UDP echo that reads as `signaling` does: what waits, by one call.
    EchoBatched,
}

impl Server {
    /// In the order of their turns.
    pub const ALL: [Self; 5] = [
        Self::Kamailio,
        Self::KamailioUntuned,
        Self::Tandem,
        Self::Echo,
        Self::EchoBatched,
    ];

    /// For tables and the report.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kamailio => "kamailio",
            Self::KamailioUntuned => "kamailio, untuned",
            Self::Tandem => "tandem",
            Self::Echo => "echo",
            Self::EchoBatched => "echo, batched",
        }
    }

    /// Whether it is a registrar, and no echo.
    pub const fn registers(self) -> bool {
        !matches!(self, Self::Echo | Self::EchoBatched)
    }

    /// Starts it at `own` with so many users; an echo answers with `sizes`.
    pub(super) fn start(
        self,
        own: SocketAddr,
        users: u32,
        sizes: Sizes,
        programs: &Path,
        folder: &Path,
    ) -> Result<Running, BenchError> {
        let kamailio = |memory| {
            let config = KAMAILIO_CFG.replace("< USERS", &format!("< {users}"));
            server::kamailio(&config, memory, own, folder)
        };
        let mut command = match self {
            Self::Kamailio => kamailio(Memory::Fast)?,
            Self::KamailioUntuned => kamailio(Memory::Checked)?,
            Self::Tandem => server::tandem(&accounts(users), own, programs, folder)?,
            Self::Echo => echo(own, Reading::Single, sizes)?,
            Self::EchoBatched => echo(own, Reading::Batch, sizes)?,
        };
        Running::start(&mut command, own, folder)
    }
}

/// MD5 is what both ask for: the other knows it only, unless told otherwise, and phones do.
fn accounts(users: u32) -> String {
    let mut config = "domains = [\"bench.test\"]\n[sip.auth]\nalgorithms = [\"MD5\"]\n".to_owned();
    for user in 0..users {
        // A string cannot fail to be written to.
        let _written = write!(
            config,
            "[[users]]\nname = \"u{user}\"\npassword = \"secret\"\n"
        );
    }
    config
}

/// This program again, as an echo.
fn echo(own: SocketAddr, reading: Reading, sizes: Sizes) -> Result<Command, BenchError> {
    let mut command = Command::new(std::env::current_exe()?);
    let reading = match reading {
        Reading::Single => "single",
        Reading::Batch => "batch",
    };
    command.args(["--echo", reading, "--at", &own.to_string()]);
    let Sizes {
        asked,
        challenged,
        proven,
        accepted,
    } = sizes;
    let sizes = [asked, challenged, proven, accepted].map(|size| size.to_string());
    command.args(["--sizes", &sizes.join(",")]);
    Ok(command)
}
