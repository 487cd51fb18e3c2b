//! TLS: which certificates this node shows, whose it accepts, and both again after a reload.
//!
//! A reload builds everything anew and swaps it in whole: connections that are up keep what they were
//! set up with, those that follow get the new. A file that cannot be used leaves all as it was.

mod error;

use std::{net::IpAddr, sync::Arc};

use arc_swap::ArcSwap;
use control::{
    config::{self, ClientAuth},
    tls::{self, BySni, Expiry},
};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, ServerName},
    server::{NoClientAuth, WebPkiClientVerifier, danger::ClientCertVerifier},
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

pub use control::tls::TlsError;
pub(super) use control::tls::names_of;
#[cfg(test)]
use error::explain;
pub(super) use error::explain_io;

/// Which part of the configuration this is.
const SECTION: &str = "sip.tls";

/// What connections are set up with. Clones share it, and a reload changes it for all.
#[derive(Clone, Debug)]
pub(crate) struct Tls(Arc<ArcSwap<State>>);

#[derive(Debug)]
struct State {
    /// `None` where the node has no certificate.
    server: Option<Arc<ServerConfig>>,
    client: Arc<ClientConfig>,
    expiries: Vec<Expiry>,
}

impl Tls {
    /// Reads `config`'s files.
    pub(crate) fn load(config: &config::Tls) -> Result<Self, TlsError> {
        let state = State::load(config)?;
        Ok(Self(Arc::new(ArcSwap::from_pointee(state))))
    }

    /// Uses what `other` has read, for the connections that follow.
    pub(crate) fn take_over(&self, other: &Self) {
        self.0.store(other.0.load_full());
    }

    /// For a connection that came; `None` where the node has no certificate.
    pub(super) fn acceptor(&self) -> Option<TlsAcceptor> {
        self.0.load().server.clone().map(TlsAcceptor::from)
    }

    /// For a connection that this node makes.
    pub(super) fn connector(&self) -> TlsConnector {
        self.0.load().client.clone().into()
    }

    /// Every certificate's name and the seconds that it is still good for; negative after its end.
    pub(crate) fn expiries(&self) -> Vec<(String, i64)> {
        let state = self.0.load();
        let left = |expiry: &Expiry| (expiry.name.clone(), expiry.left());
        state.expiries.iter().map(left).collect()
    }
}

/// The name that a certificate must have: the host's, or its address.
pub(super) fn server_name(name: Option<&str>, ip: IpAddr) -> ServerName<'static> {
    name.and_then(|name| ServerName::try_from(name.to_owned()).ok())
        .unwrap_or_else(|| ServerName::IpAddress(ip.into()))
}

impl State {
    fn load(config: &config::Tls) -> Result<Self, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut expiries = Vec::new();
        let server = server(config, &provider, &mut expiries)?;
        let client = client(config, &provider, &mut expiries)?;
        tls::warn_of_ends(&expiries);
        Ok(Self {
            server,
            client,
            expiries,
        })
    }
}

fn server(
    config: &config::Tls,
    provider: &Arc<CryptoProvider>,
    expiries: &mut Vec<Expiry>,
) -> Result<Option<Arc<ServerConfig>>, TlsError> {
    if config.certificates.is_empty() {
        return Ok(None);
    }
    let certificates = BySni::load(SECTION, &config.certificates, provider, expiries)?;
    let verifier = clients(config, provider)?;
    let mut server = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::Setup(SECTION, error))?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(certificates));
    // A phone that comes back needs no new key exchange, and this node remembers nothing for it.
    server.ticketer =
        aws_lc_rs::Ticketer::new().map_err(|error| TlsError::Setup(SECTION, error))?;
    server.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    Ok(Some(Arc::new(server)))
}

fn clients(
    config: &config::Tls,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let Some(path) = config
        .client_ca
        .as_ref()
        .filter(|_| config.client_auth != ClientAuth::Off)
    else {
        return Ok(Arc::new(NoClientAuth));
    };
    let roots = Arc::new(tls::roots(SECTION, path)?);
    let builder = WebPkiClientVerifier::builder_with_provider(roots, provider.clone());
    let builder = match config.client_auth {
        ClientAuth::Required => builder,
        ClientAuth::Optional | ClientAuth::Off => builder.allow_unauthenticated(),
    };
    builder.build().map_err(|error| TlsError::Use {
        section: SECTION,
        path: path.clone(),
        reason: error.to_string(),
    })
}

fn client(
    config: &config::Tls,
    provider: &Arc<CryptoProvider>,
    expiries: &mut Vec<Expiry>,
) -> Result<Arc<ClientConfig>, TlsError> {
    let roots = match &config.ca {
        Some(path) => tls::roots(SECTION, path)?,
        None => system_roots(),
    };
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::Setup(SECTION, error))?
        .with_root_certificates(roots);
    let client = match &config.client {
        None => builder.with_no_client_auth(),
        Some(paths) => {
            let (chain, key) = tls::pair(SECTION, paths)?;
            expiries.extend(chain.first().and_then(|first| Expiry::of(first, paths)));
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| TlsError::unusable(SECTION, &paths.certificate, &error))?
        }
    };
    Ok(Arc::new(client))
}

fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::debug!(%error, "cannot read some of the system's certificates");
    }
    roots.add_parsable_certificates(found.certs);
    roots
}

/// The names in the verified certificate of a peer.
pub(super) fn peer_names(certificates: Option<&[CertificateDer<'_>]>) -> Vec<String> {
    let first = certificates.and_then(<[_]>::first);
    first.map(|first| names_of(first)).unwrap_or_default()
}

#[cfg(test)]
mod tests;
