//! The program as people and scripts meet it.

mod call;
mod cli;
mod common;
mod run;
