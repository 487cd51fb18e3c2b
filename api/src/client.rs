//! Requests that this program makes over HTTP.

use std::time::Duration;

use reqwest::{Client, ClientBuilder, redirect::Policy};

/// Who makes requests, each of which may take so long.
///
/// # Errors
/// If TLS cannot be set up.
pub(crate) fn new(patience: Duration) -> Result<Client, reqwest::Error> {
    with(patience, |client| client)
}

/// The same, with something more.
///
/// # Errors
/// As [`new`].
pub(crate) fn with(
    patience: Duration,
    more: impl Fn(ClientBuilder) -> ClientBuilder,
) -> Result<Client, reqwest::Error> {
    let builder = || {
        more(Client::builder())
            // Who answers with a redirection would lead an event and its signature elsewhere, or have keys read
            // from elsewhere.
            .redirect(Policy::none())
            .timeout(patience)
            .user_agent(concat!("Tandem/", env!("CARGO_PKG_VERSION")))
    };
    builder().build().or_else(|error| {
        let reason = told(&error);
        tracing::warn!(
            reason,
            "nothing is asked or told by https: install the system's certificates (ca-certificates)"
        );
        builder().tls_certs_only([]).build()
    })
}

/// An error and what is behind it, in one line.
pub(crate) fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
