//! The binary between browsers, softphones and trunks, and what is heard.

mod announced;
mod browser_calls;
mod browser_defect;
mod browser_jssip;
mod browser_looks;
mod browser_records;
mod browser_sipjs;
mod browser_transfer;
mod connections;
mod demo;
mod drift;
mod drivers;
mod encrypted;
mod first_call;
mod libraries;
mod quality;
mod recorded;
mod rust_browser;
mod softphone;
mod softphone_linphone;
mod tables;
mod wideband;
