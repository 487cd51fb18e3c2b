//! The program as people and scripts meet it.

// All of it is a test, helpers too: `cfg(test)` says so to clippy.
#[cfg(test)]
mod agents;
#[cfg(test)]
mod call;
#[cfg(test)]
mod cli;
#[cfg(test)]
mod common;
mod contract;
#[cfg(test)]
mod dashboard;
#[cfg(test)]
mod edit;
#[cfg(test)]
mod keys;
#[cfg(test)]
mod node;
#[cfg(test)]
mod operate;
#[cfg(test)]
mod phone;
#[cfg(test)]
mod pipecat;
#[cfg(test)]
mod plans;
#[cfg(test)]
mod privileges;
#[cfg(test)]
mod recording;
#[cfg(test)]
mod reload;
#[cfg(test)]
mod rest;
#[cfg(test)]
mod rest_accounts;
#[cfg(test)]
mod rest_applications;
#[cfg(test)]
mod rest_recordings;
#[cfg(test)]
mod rest_routing;
#[cfg(test)]
mod run;
#[cfg(test)]
mod transfer;
#[cfg(test)]
mod voice;
#[cfg(test)]
mod voice_json;
#[cfg(test)]
mod voice_sdk;
#[cfg(test)]
mod voice_sipp;
#[cfg(test)]
mod voice_streams;
#[cfg(test)]
mod websocket;
