//! The front with a real engine behind it, asked as a proxy asks.

mod bed;
mod calls;
mod filters;
mod hostile;
mod listening;
mod transports;
mod verbs;
