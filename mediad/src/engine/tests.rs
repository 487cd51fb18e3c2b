//! The engine with its shards, over loopback sockets: what peers and strangers see.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use control::Config;
use control::channel::Handler;
use control::media::*;

use super::*;

mod bed;
mod faults;
mod interfaces;
mod kept;
mod keys;
mod numbers;
mod recording;
mod relaying;
mod socket;
mod sources;
mod speech;
mod streams;
mod treated;
mod voice;
mod voice_recording;

use bed::*;
