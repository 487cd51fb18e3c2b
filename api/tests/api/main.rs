//! The API over real HTTP, before daemons that speak the real control channel.

#![expect(
    clippy::unwrap_used,
    reason = "a test says \"this cannot fail\" the short way"
)]

mod access;
mod bed;
mod cors;
mod erasures;
mod events;
mod hostile;
mod http;
mod operators;
mod sdk;
mod tenants;
mod tls;
mod tokens;
mod twilio;
mod webhooks;
