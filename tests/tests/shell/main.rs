//! The binary as a person runs it: command line, configuration, pages and records.

mod advertise;
mod calls;
mod config;
mod crowded;
mod demo;
mod http;
mod signin;
mod stopping;
