//! Reads PEM files.

use std::path::Path;

use rustls::{
    RootCertStore,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject as _},
    },
};

use super::TlsError;
use crate::config::CertificateFiles;

/// A certificate with those that signed it, and its key.
///
/// # Errors
/// The file that cannot be read, and why.
pub fn pair(
    section: &'static str,
    paths: &CertificateFiles,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
    let chain = certificates(section, &paths.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&paths.key)
        .map_err(|error| read(section, &paths.key, &error))?;
    Ok((chain, key))
}

/// Who signs.
///
/// # Errors
/// Why the file cannot be used.
pub fn roots(section: &'static str, path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(section, path)? {
        let added = roots.add(certificate);
        added.map_err(|error| TlsError::unusable(section, path, &error))?;
    }
    Ok(roots)
}

fn certificates(
    section: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path)
        .map_err(|error| read(section, path, &error))?
        .collect();
    let found = found.map_err(|error| read(section, path, &error))?;
    if found.is_empty() {
        return Err(read(section, path, &pem::Error::NoItemsFound));
    }
    Ok(found)
}

fn read(section: &'static str, path: &Path, error: &pem::Error) -> TlsError {
    let reason = match error {
        pem::Error::Io(error) => error.to_string(),
        pem::Error::NoItemsFound => "there is no PEM block of that kind in it".to_owned(),
        // Not the library's words: they may quote the file, and the file may be a key.
        _ => "it is no good PEM".to_owned(),
    };
    TlsError::Read {
        section,
        path: path.to_owned(),
        reason,
    }
}
