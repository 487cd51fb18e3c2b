//! Certificates: whose they are, until when, and which of ours a client gets.

use std::{collections::HashMap, sync::Arc};

use rustls::{
    crypto::CryptoProvider,
    pki_types::CertificateDer,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use x509_parser::{extensions::GeneralName, prelude::parse_x509_certificate};

use super::{TlsError, files};
use crate::config::CertificateFiles;

/// The end of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// Its first name, or its file.
    pub name: String,
    /// Seconds since 1970.
    pub at: i64,
}

impl Expiry {
    /// That of a certificate that was read from `paths`; `None` where it cannot be made out.
    pub fn of(certificate: &CertificateDer<'_>, paths: &CertificateFiles) -> Option<Self> {
        let (_, parsed) = parse_x509_certificate(certificate).ok()?;
        let name = names_of(certificate).into_iter().next();
        Some(Self {
            name: name.unwrap_or_else(|| paths.certificate.display().to_string()),
            at: parsed.validity().not_after.timestamp(),
        })
    }
}

/// The hosts that a certificate is for, in lower case: those of its `sip:` URIs and its DNS names (RFC
/// 5922 section 7.1), else its common name.
pub fn names_of(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok((_, parsed)) = parse_x509_certificate(certificate) else {
        return Vec::new();
    };
    let mut names = Vec::new();
    if let Ok(Some(alternatives)) = parsed.subject_alternative_name() {
        for name in &alternatives.value.general_names {
            match name {
                GeneralName::DNSName(name) => names.push(name.to_ascii_lowercase()),
                GeneralName::URI(uri) => {
                    let host = uri
                        .split_once(':')
                        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("sip"));
                    // With a user part it is a person's, not a host's.
                    let host = host.filter(|(_, host)| !host.contains('@'));
                    names.extend(host.map(|(_, host)| host.to_ascii_lowercase()));
                }
                _ => {}
            }
        }
    }
    if names.is_empty() {
        let common = parsed.subject().iter_common_name().next();
        let common = common.and_then(|name| name.as_str().ok());
        names.extend(common.map(str::to_ascii_lowercase));
    }
    names
}

/// Our certificates by the name that a client asks for.
#[derive(Debug)]
pub struct BySni {
    names: HashMap<String, Arc<CertifiedKey>>,
    default: Arc<CertifiedKey>,
}

impl BySni {
    /// Reads them; the first is for who asks for no name that is there. `section` of the configuration names
    /// the files.
    ///
    /// # Errors
    /// The first file that cannot be used, and why.
    pub fn load(
        section: &'static str,
        files: &[CertificateFiles],
        provider: &CryptoProvider,
        expiries: &mut Vec<Expiry>,
    ) -> Result<Self, TlsError> {
        let mut names = HashMap::new();
        let mut default = None;
        for paths in files {
            let (chain, key) = files::pair(section, paths)?;
            expiries.extend(chain.first().and_then(|first| Expiry::of(first, paths)));
            let wanted = chain.first().map(|first| names_of(first));
            let certified = CertifiedKey::from_der(chain, key, provider)
                .map_err(|error| TlsError::unusable(section, &paths.certificate, &error))?;
            let certified = Arc::new(certified);
            for name in wanted.unwrap_or_default() {
                names.entry(name).or_insert_with(|| certified.clone());
            }
            default.get_or_insert(certified);
        }
        let default = default.ok_or_else(|| {
            let none = rustls::Error::General("no certificate is configured".into());
            TlsError::Setup(section, none)
        })?;
        Ok(Self { names, default })
    }

    fn find(&self, name: &str) -> Arc<CertifiedKey> {
        let name = name.to_ascii_lowercase();
        let exact = self.names.get(&name);
        // A wildcard stands for one label.
        let wild = || {
            let (_, rest) = name.split_once('.')?;
            self.names.get(&format!("*.{rest}"))
        };
        exact.or_else(wild).unwrap_or(&self.default).clone()
    }
}

impl ResolvesServerCert for BySni {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(match hello.server_name() {
            Some(name) => self.find(name),
            None => self.default.clone(),
        })
    }
}
