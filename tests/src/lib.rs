//! End-to-end test tools.
