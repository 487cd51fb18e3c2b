//! How a command ends: its exit code, and what is said when it failed.

use std::{io, process::ExitCode};

use control::channel::{RequestError, WireError};

use crate::output::printable;

/// How a command that did its work ends. Scripts rely on the numbers; `tandem --help` lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// What was asked for is done.
    Done,
    /// It could not be done; the reason is on standard error.
    Failed,
    /// The call was not answered.
    NotAnswered,
    /// The call was answered, and no audio was heard.
    Silent,
    /// The command line makes no sense.
    Usage,
    /// Ctrl-C before there was anything to end properly.
    Interrupted,
}

impl Exit {
    /// The process's exit code. clap ends with 2 by itself, too.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::NotAnswered => 3,
            Self::Silent => 4,
            Self::Interrupted => 130,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a command could not do its work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// Standard output is gone.
    #[error("cannot write the output: {0}")]
    Output(#[source] io::Error),
    /// The configuration cannot be used; each error is a line.
    #[error("{path}:\n{error}")]
    Config {
        /// As it was found or given.
        path: String,
        /// What is wrong with it.
        error: control::config::ConfigError,
    },
    /// No node answers where one should be.
    #[error(
        "no node answers at {endpoint} ({error}): start one with 'tandem run', or name another with --config FILE or --control unix:PATH"
    )]
    NoNode {
        /// Where it was looked for.
        endpoint: String,
        /// What the connection said.
        error: WireError,
    },
    /// The node did not do what it was asked.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The API's handlers would not do it; each reason is a line.
    #[error(transparent)]
    Refused(#[from] api::LocalError),
    /// The database did not do it.
    #[error(transparent)]
    Store(#[from] store::StoreError),
    /// There is no backup, or it was not put back.
    #[error(transparent)]
    Backup(#[from] store::BackupError),
    /// The command line makes no sense, which clap could not see.
    #[error("{0}")]
    Usage(String),
    /// Anything else, told whole.
    #[error("{0}")]
    Other(String),
}

impl Failure {
    /// A failure that is told by `message`.
    pub(crate) fn other(message: impl Into<String>) -> Self {
        Self::Other(message.into())
    }

    /// A command line that makes no sense.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::Usage(message.into())
    }

    /// What the process ends with.
    pub(crate) const fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) => Exit::Usage,
            _ => Exit::Failed,
        }
    }

    /// Says why on standard error. Some of the words may come from the network.
    pub(crate) fn tell(&self) {
        for line in self.to_string().lines() {
            eprintln!("tandem: {}", printable(line));
        }
    }

    /// What happened to `what`, and what the system said.
    pub(crate) fn io(what: impl std::fmt::Display, error: &io::Error) -> Self {
        Self::Other(format!("{what}: {error}"))
    }

    /// Whether the reader of our output has left, as `tandem calls | head` does: nothing is wrong.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}
