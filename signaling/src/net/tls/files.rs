//! Reads PEM files.

use std::path::Path;

use control::config::CertificateFiles;
use rustls::{
    RootCertStore,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject as _},
    },
};

use super::TlsError;

/// A certificate with those that signed it, and its key.
pub(super) fn pair(
    paths: &CertificateFiles,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
    let chain = certificates(&paths.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&paths.key).map_err(|error| read(&paths.key, &error))?;
    Ok((chain, key))
}

/// Who signs.
pub(super) fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| TlsError::Use {
            path: path.to_owned(),
            reason: error.to_string(),
        })?;
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path)
        .map_err(|error| read(path, &error))?
        .collect();
    let found = found.map_err(|error| read(path, &error))?;
    if found.is_empty() {
        return Err(read(path, &pem::Error::NoItemsFound));
    }
    Ok(found)
}

fn read(path: &Path, error: &pem::Error) -> TlsError {
    let reason = match error {
        pem::Error::Io(error) => error.to_string(),
        pem::Error::NoItemsFound => "there is no PEM block of that kind in it".to_owned(),
        // Not the library's words: they may quote the file, and the file may be a key.
        _ => "it is no good PEM".to_owned(),
    };
    TlsError::Read {
        path: path.to_owned(),
        reason,
    }
}
