//! The front with a real engine behind it, asked as a proxy asks.

mod bed;
mod calls;
mod hostile;
mod transports;
mod verbs;
