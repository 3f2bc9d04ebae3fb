//! A sans-IO SIP user agent: messages, transactions, dialogs, digest, registration.
