//! Taking over what the configuration says now, where the API is a process of its own. In one process with
//! the others it is a part of signaling's reload.

use std::fmt;

use control::Config;

use crate::tls::Tls;

/// Reads the configuration again; the reasons where it cannot be used.
pub type Reread = Box<dyn Fn() -> Result<Config, Vec<String>> + Send + Sync>;
/// Uses what was read before.
pub type TakeOver = Box<dyn FnOnce() + Send>;

/// How the API reads its own part again.
pub(crate) struct Reload {
    reread: Reread,
    tls: Option<Tls>,
}

impl Reload {
    pub(crate) fn new(reread: Reread, tls: Option<Tls>) -> Self {
        Self { reread, tls }
    }

    /// Checks what there is now. Nothing is changed until it is taken over.
    pub(crate) fn read(&self) -> Result<TakeOver, Vec<String>> {
        let config = (self.reread)()?;
        read(self.tls.as_ref(), &config).map_err(|error| vec![error])
    }

    /// Takes it over, where it is good; the log tells.
    pub(crate) fn run(&self) {
        match self.read() {
            Ok(take_over) => {
                take_over();
                tracing::info!("the API's certificate was read again");
            }
            Err(reasons) => {
                for reason in reasons {
                    tracing::error!("not reloaded: {reason}");
                }
            }
        }
    }
}

impl fmt::Debug for Reload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Reload").field(&self.tls).finish()
    }
}

/// Reads what of `config` can be taken over while the API runs, which is its certificate; whether it has one
/// is the start's to say.
///
/// # Errors
/// Why the certificate cannot be used.
pub fn read(tls: Option<&Tls>, config: &Config) -> Result<TakeOver, String> {
    let (Some(tls), Some(files)) = (tls, &config.api.tls) else {
        return Ok(Box::new(|| {}));
    };
    let read = Tls::load(files).map_err(|error| error.to_string())?;
    let tls = tls.clone();
    Ok(Box::new(move || tls.take_over(&read)))
}
