use std::fmt;

macro_rules! methods {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// A request method. Case-sensitive (RFC 3261 §7.1).
        #[derive(Clone, PartialEq, Eq, Hash, Debug)]
        pub enum Method {
            $($(#[$doc])* $name,)*
            /// Any other token, kept as it came.
            Other(Box<str>),
        }

        impl Method {
            /// As it is written.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Method::$name => $text,)*
                    Method::Other(text) => text,
                }
            }
        }

        impl From<&str> for Method {
            fn from(text: &str) -> Method {
                match text {
                    $($text => Method::$name,)*
                    other => Method::Other(other.into()),
                }
            }
        }
    };
}

methods! {
    /// RFC 3261 §13.
    Invite = "INVITE",
    /// RFC 3261 §13.
    Ack = "ACK",
    /// RFC 3261 §15.
    Bye = "BYE",
    /// RFC 3261 §9.
    Cancel = "CANCEL",
    /// RFC 3261 §10.
    Register = "REGISTER",
    /// RFC 3261 §11.
    Options = "OPTIONS",
    /// RFC 6086.
    Info = "INFO",
    /// RFC 3262.
    Prack = "PRACK",
    /// RFC 3311.
    Update = "UPDATE",
    /// RFC 3515.
    Refer = "REFER",
    /// RFC 6665.
    Subscribe = "SUBSCRIBE",
    /// RFC 6665.
    Notify = "NOTIFY",
    /// RFC 3428.
    Message = "MESSAGE",
    /// RFC 3903.
    Publish = "PUBLISH",
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
