//! The `webtrunk` binary.

fn main() {}
