//! What admission and the registrar work with, shared by all workers.

use std::{
    collections::HashMap,
    io,
    net::IpAddr,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use arc_swap::ArcSwap;
use control::{
    channel::Events,
    config::{self, Config, DigestHash},
    signal::Signal,
};
use sip::{
    digest::{Credentials, Freshness, Hash, Nonce, NonceSecret, Nonces, ReplayGuard, Use},
    registrar::{Bounds, Capacity, WhenFull},
};

use super::Cache;
use crate::{lasting, location::Location};

/// Parts of the memory of used nonces, each behind a lock of its own.
const GUARDS: usize = 16;
/// Nonces that are remembered as used, over all parts, before their lifetime is over.
const USED: usize = 2_000_000;
/// Nonces that are remembered for having lifted a stranger: strangers may answer 8,000 a second, and who is
/// forgotten for others is one again.
const LIFTED: usize = 262_144;

/// Who may do what, and where phones are.
#[derive(Debug)]
pub(crate) struct Access {
    pub(crate) accounts: Arc<Cache>,
    pub(crate) location: Arc<Location>,
    rules: ArcSwap<Rules>,
    nonces: Nonces,
    used: Vec<Mutex<ReplayGuard>>,
    /// Whether their answers were right or not.
    lifted: Vec<Mutex<ReplayGuard>>,
    /// For the mark of whom a nonce was given to.
    salt: u64,
}

/// What a reload may replace.
#[derive(Debug)]
struct Rules {
    bounds: Bounds,
    capacity: Capacity,
    hashes: Arc<[Hash]>,
    by_domain: HashMap<String, Arc<[Hash]>>,
}

/// The secret of nonces cannot be kept.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot keep the secret of nonces in {path}: {error}; set [sip.auth] nonce_secret, or make the \
         data directory writable"
)]
pub struct SecretError {
    path: PathBuf,
    error: io::Error,
}

impl Access {
    /// From a configuration that was checked. `now` in seconds since 1970.
    pub(crate) fn new(
        config: &Config,
        secret: NonceSecret,
        now: u64,
        events: Events<Signal>,
    ) -> Self {
        let auth = &config.sip.auth;
        let registrar = &config.sip.registrar;
        let lifetime = u64::from(auth.nonce_lifetime);
        let guards = |most: usize| {
            let guard = || Mutex::new(ReplayGuard::new(lifetime, most / GUARDS, now));
            (0..GUARDS).map(|_| guard()).collect()
        };
        let salt = secret.0.chunks(8).fold(0u64, |salt, chunk| {
            let mut bytes = [0; 8];
            bytes[..chunk.len()].copy_from_slice(chunk);
            salt.rotate_left(17) ^ u64::from_be_bytes(bytes)
        });
        Self {
            accounts: Arc::default(),
            location: Arc::new(Location::new(wide(registrar.max_bindings), events)),
            rules: ArcSwap::from_pointee(Rules::new(config)),
            nonces: Nonces::new(secret, lifetime),
            used: guards(USED),
            lifted: guards(LIFTED),
            salt,
        }
    }

    /// Takes over what can change while the node runs: `[sip.registrar]`, and the algorithms of
    /// `[sip.auth]`.
    pub(crate) fn reload(&self, config: &Config) {
        self.location
            .set_most(wide(config.sip.registrar.max_bindings));
        self.rules.store(Arc::new(Rules::new(config)));
    }

    /// How long a registration may be.
    pub(crate) fn bounds(&self) -> Bounds {
        self.rules.load().bounds
    }

    /// How many contacts a user may have, `own` being what its profile says.
    pub(crate) fn capacity(&self, own: Option<u32>) -> Capacity {
        let capacity = self.rules.load().capacity;
        let most = own.map_or(capacity.most, wide);
        Capacity { most, ..capacity }
    }

    /// The algorithms that a domain offers, in order.
    pub(crate) fn hashes(&self, realm: &str) -> Arc<[Hash]> {
        let rules = self.rules.load();
        rules.by_domain.get(realm).unwrap_or(&rules.hashes).clone()
    }

    /// A nonce for whoever is at `source`. `random` is 64 bits of that.
    pub(crate) fn nonce(&self, now: u64, random: u64, realm: &str, source: IpAddr) -> String {
        let nonce = Nonce {
            issued: now,
            unique: random,
            mark: self.mark(source),
        };
        self.nonces.issue(nonce, realm)
    }

    /// What a nonce that came back is worth.
    pub(crate) fn judge(&self, now: u64, nonce: &str, realm: &str) -> Freshness {
        self.nonces.judge(now, nonce, realm)
    }

    /// Whether credentials are of a kind that their realm asks for.
    pub(crate) fn is_offered(&self, credentials: &Credentials<'_>) -> bool {
        let offered = self.hashes(&credentials.realm);
        !credentials.userhash && offered.contains(&credentials.algorithm.hash)
    }

    /// Whether a nonce was given to this very address.
    pub(crate) fn is_given_to(&self, nonce: &Nonce, source: IpAddr) -> bool {
        nonce.mark == self.mark(source)
    }

    /// Right credentials use a nonce, in the request of this [`ReplayGuard::admit`] hash.
    pub(crate) fn admit(&self, now: u64, nonce: Nonce, nc: Option<u32>, request: u32) -> Use {
        self.guard(&nonce).admit(now, nonce, nc, request)
    }

    /// What used a nonce was refused: sent again, it is judged again.
    pub(crate) fn withdraw(&self, nonce: &Nonce) {
        self.guard(nonce).withdraw(nonce);
    }

    /// Whether a nonce lifts its source out of the strangers: each does once, whatever the credentials that
    /// it comes with turn out to be.
    pub(crate) fn lifts(&self, now: u64, nonce: Nonce) -> bool {
        lock(&self.lifted, &nonce).admit(now, nonce, None, 0) == Use::First
    }

    fn guard(&self, nonce: &Nonce) -> MutexGuard<'_, ReplayGuard> {
        lock(&self.used, nonce)
    }

    fn mark(&self, source: IpAddr) -> u32 {
        use std::hash::Hasher as _;
        let mut hasher = std::hash::DefaultHasher::new();
        hasher.write_u64(self.salt);
        match source.to_canonical() {
            IpAddr::V4(address) => hasher.write(&address.octets()),
            IpAddr::V6(address) => hasher.write(&address.octets()),
        }
        // 24 bits, which is what a nonce has room for.
        u32::try_from(hasher.finish() >> 40).unwrap_or_default()
    }
}

impl Rules {
    fn new(config: &Config) -> Self {
        let (auth, registrar) = (&config.sip.auth, &config.sip.registrar);
        let by_domain = auth.by_domain.iter();
        Self {
            bounds: Bounds {
                min: registrar.min_expires,
                default: registrar.default_expires,
                max: registrar.max_expires,
            },
            capacity: Capacity {
                most: wide(registrar.max_contacts),
                when_full: match registrar.when_full {
                    config::WhenFull::Refuse => WhenFull::Refuse,
                    config::WhenFull::ReplaceOldest => WhenFull::ReplaceOldest,
                },
            },
            hashes: hashes(&auth.algorithms),
            by_domain: by_domain
                .map(|(domain, list)| (domain.to_ascii_lowercase(), hashes(list)))
                .collect(),
        }
    }
}

/// The secret of nonces: what `[sip.auth] nonce_secret` says, or 256 random bits that are made at the
/// first start and kept in the data directory.
///
/// # Errors
/// If they cannot be kept.
pub(crate) fn secret(config: &Config) -> Result<NonceSecret, SecretError> {
    use sip::digest::{Ha1, Hash as Function};
    if let Some(text) = &config.sip.auth.nonce_secret {
        // Any text to a key: through the hash that is at hand.
        let digest = Ha1::new(Function::Sha256, "nonce secret", "", text);
        let mut key = [0; 32];
        for (byte, pair) in key.iter_mut().zip(digest.expose().as_bytes().chunks(2)) {
            let pair = std::str::from_utf8(pair).unwrap_or_default();
            *byte = u8::from_str_radix(pair, 16).unwrap_or_default();
        }
        return Ok(NonceSecret(key));
    }
    let path = config.node.data_dir.join("nonce.secret");
    let random: [[u8; 16]; 2] = [rand::random(), rand::random()];
    let key = lasting::kept(&path, random.as_flattened()).and_then(|kept| {
        let key = kept.first_chunk().copied();
        key.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    });
    key.map(NonceSecret)
        .map_err(|error| SecretError { path, error })
}

fn lock<'g>(guards: &'g [Mutex<ReplayGuard>], nonce: &Nonce) -> MutexGuard<'g, ReplayGuard> {
    let index = usize::try_from(nonce.unique).unwrap_or(0) % GUARDS;
    let guard = guards[index].lock();
    // Nothing panics while it holds the lock.
    guard.unwrap_or_else(PoisonError::into_inner)
}

fn hashes(list: &[DigestHash]) -> Arc<[Hash]> {
    let hash = |hash: &DigestHash| match hash {
        DigestHash::Md5 => Hash::Md5,
        DigestHash::Sha256 => Hash::Sha256,
        DigestHash::Sha512_256 => Hash::Sha512_256,
    };
    list.iter().map(hash).collect()
}

fn wide(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
