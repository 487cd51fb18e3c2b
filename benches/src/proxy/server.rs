//! The proxies that have their turns.

use std::{fmt::Write as _, net::SocketAddr, path::Path};

use clap::ValueEnum;

use crate::{
    error::BenchError,
    server::{self, Memory, Running},
};

/// As its users tune it; the file says how.
const KAMAILIO_CFG: &str = include_str!("../../peers/kamailio/proxy.cfg");

/// One of the servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Server {
    /// Kamailio with `tm`, `rr` and `dialog`, tuned.
    Kamailio,
    /// The same with the allocator that Debian's package starts it with.
    KamailioUntuned,
    /// Tandem's `signaling`: with its call detail records, which go to SQLite.
    Tandem,
}

impl Server {
    /// In the order of their turns.
    pub const ALL: [Self; 3] = [Self::Kamailio, Self::KamailioUntuned, Self::Tandem];

    /// For tables and the report.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kamailio => "kamailio",
            Self::KamailioUntuned => "kamailio, untuned",
            Self::Tandem => "tandem",
        }
    }

    /// Starts it at `own`, to lead calls to `callees`.
    pub(super) fn start(
        self,
        own: SocketAddr,
        callees: &[SocketAddr],
        programs: &Path,
        folder: &Path,
    ) -> Result<Running, BenchError> {
        let mut command = match self {
            Self::Kamailio => server::kamailio(KAMAILIO_CFG, Memory::Fast, own, folder)?,
            Self::KamailioUntuned => server::kamailio(KAMAILIO_CFG, Memory::Checked, own, folder)?,
            Self::Tandem => server::tandem(&routes(callees), own, programs, folder)?,
        };
        Running::start(&mut command, own, folder)
    }
}

/// The number that is called is 1 and the port of who answers. Media is bypassed, as by the other.
fn routes(callees: &[SocketAddr]) -> String {
    let mut config = String::new();
    for callee in callees {
        let port = callee.port();
        // A string cannot fail to be written to.
        let _written = write!(
            config,
            "[[trunks]]\nname = \"t{port}\"\nhosts = [\"{callee}\"]\nallow = [\"127.0.0.1\"]\n\
             [[routes]]\nprefix = \"1{port}\"\ntrunks = [\"t{port}\"]\nmedia = \"bypass\"\n"
        );
    }
    config
}
