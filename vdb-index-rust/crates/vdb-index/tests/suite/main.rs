//! The indexes against slow twins.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on is a test that fails")]
#![allow(clippy::print_stdout, reason = "what a failing test says")]
#![allow(unreachable_pub, reason = "one binary, whose modules share what they need")]

mod brute;
mod common;
mod damage;
mod ivf;
mod largest;
mod specimen;
