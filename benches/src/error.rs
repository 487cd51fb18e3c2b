//! Why a side-by-side run could not be made.

use std::io;

use loadtest::{bed::BedError, node::NodeError, process::ProcessError};

/// What kept a bench from measuring.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The bed could not be made.
    #[error(transparent)]
    Bed(#[from] BedError),
    /// The node did not start or answer.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// Another program could not be started, or failed.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// A socket or a file failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The bare XDP program could not be attached.
    #[error(transparent)]
    Xdp(#[from] mediad::xdp::XdpError),
    /// A server or a generator did not do what it was started for.
    #[error("{0}")]
    Run(String),
}
