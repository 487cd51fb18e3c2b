//! What is wrong with a certificate of ours, in words that say what to do.

use std::path::{Path, PathBuf};

/// Why a section of the configuration cannot be used for TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or is no PEM.
    #[error("[{section}]: cannot read {path}: {reason}")]
    Read {
        /// Who names it.
        section: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A file was read and is of no use.
    #[error("[{section}]: cannot use {path}: {reason}")]
    Use {
        /// Who names it.
        section: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The library cannot be set up for a section.
    #[error("[{0}]: {1}")]
    Setup(&'static str, rustls::Error),
}

impl TlsError {
    /// A file of `section` was read, and the library refuses it.
    pub fn unusable(section: &'static str, path: &Path, error: &rustls::Error) -> Self {
        let reason = match error {
            rustls::Error::InconsistentKeys(_) => {
                "the key is not that of the certificate".to_owned()
            }
            other => other.to_string(),
        };
        Self::Use {
            section,
            path: path.to_owned(),
            reason,
        }
    }
}
