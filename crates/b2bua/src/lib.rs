//! The sans-IO switch: calls, routing, registrar state, admission, CDR facts.
