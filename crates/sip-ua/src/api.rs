//! What an application says to the endpoint and hears from it. Bodies are opaque bytes here.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::message::Message;

/// How SIP messages travel.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Transport {
    /// Datagrams (RFC 3261 §18).
    Udp,
    /// A byte stream framed by Content-Length.
    Tcp,
    /// The same inside TLS (RFC 3261 §26.2).
    Tls,
    /// WebSocket, one message a frame (RFC 7118).
    Ws,
    /// WebSocket inside TLS.
    Wss,
}

impl Transport {
    /// In lower case, as in configuration, logs and SRV labels.
    pub fn name(self) -> &'static str {
        match self {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
            Transport::Tls => "tls",
            Transport::Ws => "ws",
            Transport::Wss => "wss",
        }
    }

    /// In a Via field (RFC 3261 §20.42, RFC 7118 §4.2).
    pub(crate) fn via(self) -> &'static str {
        match self {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
            Transport::Tls => "TLS",
            Transport::Ws => "WS",
            Transport::Wss => "WSS",
        }
    }

    /// As the parameter of a Contact URI, separator included (RFC 3261 §19.1.1, RFC 7118 §5.2.1: `ws` with and without TLS).
    pub fn param(self) -> &'static str {
        match self {
            Transport::Udp => "",
            Transport::Tcp => ";transport=tcp",
            Transport::Tls => ";transport=tls",
            Transport::Ws | Transport::Wss => ";transport=ws",
        }
    }

    /// Where a server listens unless something says otherwise (RFC 3261 §18.2.1, RFC 7118 §5.2).
    pub fn default_port(self) -> u16 {
        match self {
            Transport::Udp | Transport::Tcp => 5060,
            Transport::Tls => 5061,
            Transport::Ws => 80,
            Transport::Wss => 443,
        }
    }

    /// Whether messages can be lost, reordered or cut short; the others are streams with a connection.
    pub fn is_datagram(self) -> bool {
        self == Transport::Udp
    }
}

/// One stream connection, numbered by whoever owns the sockets.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ConnectionId(pub u64);

/// The path a message came by, and the way back along it (RFC 3581, RFC 5626).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Flow {
    /// How it travels.
    pub transport: Transport,
    /// Our address on this path, as the peer reached it (never a wildcard).
    pub local: SocketAddr,
    /// The peer's address as seen by our socket.
    pub remote: SocketAddr,
    /// The connection, for streams.
    pub connection: Option<ConnectionId>,
}

/// Who must be at the other end of a TLS connection, numbered by whoever owns the sockets: a name to be proven, and by which
/// authorities (RFC 5922).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct TlsPeer(pub u16);

/// Where a new request is to go. The shell has resolved names already.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Target {
    /// Along an existing flow: a registered contact behind NAT, or a connection.
    Flow(Flow),
    /// To an address; the shell opens or reuses a connection for streams.
    Address {
        /// How to get there.
        transport: Transport,
        /// Where.
        remote: SocketAddr,
        /// Our address on the way there. None: what the listener is bound to or advertises; needed only where a
        /// listener is bound to a wildcard and advertises nothing.
        local: Option<IpAddr>,
    },
    /// To an address over TLS, once the peer has shown who it is.
    Tls {
        /// Who it must be.
        peer: TlsPeer,
        /// Where.
        remote: SocketAddr,
        /// As above.
        local: Option<IpAddr>,
    },
}

impl Target {
    /// How messages to it travel.
    pub fn transport(&self) -> Transport {
        match self {
            Target::Flow(flow) => flow.transport,
            Target::Address { transport, .. } => *transport,
            Target::Tls { .. } => Transport::Tls,
        }
    }

    /// The peer's address.
    pub fn remote(&self) -> SocketAddr {
        match self {
            Target::Flow(flow) => flow.remote,
            Target::Address { remote, .. } | Target::Tls { remote, .. } => *remote,
        }
    }

    /// Our address on the way there, where it is known.
    pub fn local_ip(&self) -> Option<IpAddr> {
        match self {
            Target::Flow(flow) => Some(flow.local.ip()),
            Target::Address { local, .. } | Target::Tls { local, .. } => *local,
        }
    }
}

/// One INVITE session (a dialog or one about to be), named for its whole life.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct SipLeg(u64);

impl SipLeg {
    /// A leg that the application starts; it numbers these itself, each number once.
    pub fn outgoing(n: u64) -> Self {
        SipLeg(n << 1)
    }

    /// A leg that a peer started; the endpoint numbers these.
    pub fn incoming(n: u64) -> Self {
        SipLeg(n << 1 | 1)
    }
}

/// A request outside INVITE dialogs that waits for the application's answer. Answer each once.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct RequestToken(pub u64);

/// One registration of ours at a trunk; the application numbers them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct RegistrationId(pub u32);

/// One OPTIONS of ours; the application numbers them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PingId(pub u32);

/// One REFER of a peer, from its arrival to the last NOTIFY about it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ReferId(pub u64);

/// Whom a REFER wants to be called (RFC 3515 §2.1).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Referral {
    /// The URI of Refer-To without its headers.
    pub to: String,
    /// The dialog that the call shall take over (RFC 3891), if one is named.
    pub replaces: Option<ReplacedDialog>,
    /// Whoever refers wants not to be known to whom is called (RFC 3892 §3, RFC 3323 §4.2).
    pub private: bool,
}

/// What a Replaces header names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReplacedDialog {
    /// A leg of ours.
    Leg(SipLeg),
    /// Nothing that is known here.
    Unknown,
}

/// What became of a REFER of ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReferOutcome {
    /// The peer refuses to refer itself, with this status; none: it did not answer.
    Refused(Option<u16>),
    /// It goes on: the status of the peer's new call, 100-199.
    Progress(u16),
    /// Final: the status of the peer's new call, 200-699; none: the peer does not tell.
    Done(Option<u16>),
}

/// A message body with its type.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Body {
    /// The Content-Type value.
    pub content_type: String,
    /// The bytes.
    pub bytes: Vec<u8>,
}

impl Body {
    /// A session description.
    pub fn sdp(bytes: Vec<u8>) -> Body {
        Body { content_type: "application/sdp".into(), bytes }
    }
}

/// What we authenticate with when challenged (RFC 8760: the strongest algorithm offered that we can do).
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Digest user name.
    pub username: String,
    /// The secret.
    pub password: String,
    /// Answer challenges of this realm only; none: of every realm.
    pub realm: Option<String>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials(…)")
    }
}

/// Extra header fields, in order; names as they shall be written.
pub type Headers = Vec<(&'static str, String)>;

/// Whether our INVITE asks for reliable provisional responses (RFC 3262). Reliable ones are acknowledged in any case.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Reliable100 {
    /// Not mentioned.
    Off,
    /// `Supported: 100rel`: the callee chooses.
    #[default]
    Supported,
    /// `Require: 100rel`: a callee that cannot answers 420.
    Required,
}

/// Which side refreshes a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refresher {
    /// We do.
    Us,
    /// The peer does.
    Peer,
}

/// How session timers (RFC 4028) are used on one leg.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SessionTimer {
    /// Neither asked for nor agreed to, unless the peer requires it.
    Off,
    /// Asked for and agreed to.
    On {
        /// Session-Expires in seconds, 90 or more.
        interval: u32,
        /// Min-SE in seconds, 90 or more.
        min_se: u32,
        /// Who refreshes where the choice is ours; none: the peer may choose.
        refresher: Option<Refresher>,
    },
}

impl Default for SessionTimer {
    /// What RFC 4028 §4 recommends, and the smallest interval there is (§5).
    fn default() -> Self {
        SessionTimer::On { interval: 1800, min_se: 90, refresher: None }
    }
}

/// A new call.
#[derive(Clone, Debug)]
pub struct Invite {
    /// Where the request is sent first.
    pub target: Target,
    /// The Request-URI.
    pub uri: String,
    /// The From field's value without tag, e.g. `"Alice" <sip:alice@example.com>`.
    pub from: String,
    /// The To field's value.
    pub to: String,
    /// User part of our Contact; empty for none.
    pub contact_user: String,
    /// Route values in order: the outbound proxies (RFC 3261 §8.1.2).
    pub routes: Vec<String>,
    /// Reliable provisional responses.
    pub reliable: Reliable100,
    /// Session timers.
    pub timer: SessionTimer,
    /// Further fields. `Max-Forwards` takes the place of our own: a call that passes us keeps counting (RFC 7332 §4).
    pub headers: Headers,
    /// Our offer.
    pub body: Option<Body>,
    /// Used once per challenge; none: a challenge is a failure.
    pub credentials: Option<Credentials>,
}

/// A registration to keep alive at a trunk (RFC 3261 §10.2).
#[derive(Clone, Debug)]
pub struct Register {
    /// Where REGISTER goes.
    pub target: Target,
    /// The registrar, e.g. `sip:sip.example.net`: no user part (RFC 3261 §10.2).
    pub registrar: String,
    /// The address of record, e.g. `sip:4930123@sip.example.net`.
    pub aor: String,
    /// User part of our Contact.
    pub contact_user: String,
    /// Route values in order: the outbound proxies (RFC 3261 §8.1.2).
    pub routes: Vec<String>,
    /// Secrets.
    pub credentials: Option<Credentials>,
    /// Expiry to ask for, in seconds.
    pub expires: u32,
    /// How long the registrar may say nothing at all before the registration has failed: 32 s at the longest (timer F,
    /// RFC 3261 §17.1.2.2), less where another one can be asked.
    pub patience: Duration,
    /// How often something is sent to keep the way open where the registrar agrees to nothing else (RFC 5626 §4.4, RFC 6223);
    /// none: never.
    pub keep_alive: Option<Duration>,
    /// Who we are however often we start, e.g. `urn:uuid:…`: outbound is asked for (RFC 5626 §4.2). None: it is not.
    pub instance: Option<String>,
}

/// What the application asks of the endpoint.
#[derive(Clone, Debug)]
pub enum Command {
    /// Start a call.
    Invite(SipLeg, Box<Invite>),
    /// How session timers are used on an incoming call; before it is answered.
    SetTimer {
        /// Which call.
        leg: SipLeg,
        /// How.
        timer: SessionTimer,
    },
    /// Send a 1xx for an incoming call; with a body it is early media.
    Provisional {
        /// Which call.
        leg: SipLeg,
        /// 180 or 183.
        status: u16,
        /// Our answer.
        body: Option<Body>,
    },
    /// Answer an incoming call with 200; retransmitted until ACK (RFC 3261 §13.3.1.4).
    Answer {
        /// Which call.
        leg: SipLeg,
        /// Our answer, or our offer where the INVITE had none.
        body: Body,
    },
    /// Refuse an incoming call that is not yet answered.
    Reject {
        /// Which call.
        leg: SipLeg,
        /// 300-699.
        status: u16,
        /// Reason phrase; empty for the standard one.
        reason: String,
        /// Challenge, Warning, Retry-After, Reason.
        headers: Headers,
    },
    /// End a leg in whatever state it is: CANCEL, BYE, or 487/480 to a call not yet answered. Ending twice is fine.
    HangUp {
        /// Which call.
        leg: SipLeg,
        /// A `Reason` header value (RFC 3326), if any.
        reason: Option<String>,
    },
    /// Offer a new session: by re-INVITE in an answered call; to a caller not yet answered by UPDATE (RFC 3311), once its
    /// offer has a reliable answer. `ReinviteDone` tells the outcome, at once with 491 where it is not the time.
    Reinvite {
        /// Which call.
        leg: SipLeg,
        /// The offer.
        body: Body,
    },
    /// Answer the peer's re-INVITE or UPDATE.
    AcceptReinvite {
        /// Which call.
        leg: SipLeg,
        /// Our answer.
        body: Body,
    },
    /// Refuse the peer's re-INVITE; the session stays as it was.
    RejectReinvite {
        /// Which call.
        leg: SipLeg,
        /// 488, 491, 500 …
        status: u16,
        /// Warning and the like.
        headers: Headers,
    },
    /// Send INFO inside the dialog.
    Info {
        /// Which call.
        leg: SipLeg,
        /// E.g. application/dtmf-relay.
        body: Body,
    },
    /// Ask by OPTIONS inside the dialog whether the peer is still there (RFC 3261 §11.2); if it is not, the leg ends as
    /// unreachable.
    Probe {
        /// Which call.
        leg: SipLeg,
    },
    /// Take the peer's REFER: 202, and NOTIFY 100 unless it wants none (RFC 3515 §2.4.2, RFC 4488).
    AcceptRefer {
        /// Which REFER.
        refer: ReferId,
    },
    /// Refuse the peer's REFER.
    RejectRefer {
        /// Which REFER.
        refer: ReferId,
        /// 300-699.
        status: u16,
        /// Reason phrase; empty for the standard one.
        reason: String,
    },
    /// Tell the peer how the call goes that its REFER asked for; a final status is the last (RFC 3515 §2.4.5).
    ReferStatus {
        /// Which REFER.
        refer: ReferId,
        /// 100-699.
        status: u16,
    },
    /// Ask the peer to call someone else (RFC 3515).
    Refer {
        /// Which call.
        leg: SipLeg,
        /// The Refer-To URI.
        to: String,
        /// The Referred-By URI (RFC 3892); empty for none.
        referred_by: String,
    },
    /// Answer a request outside dialogs (REGISTER, MESSAGE …).
    Respond {
        /// Which request.
        token: RequestToken,
        /// 200-699.
        status: u16,
        /// Reason phrase; empty for the standard one.
        reason: String,
        /// Further fields.
        headers: Headers,
    },
    /// Register and keep registered.
    Register(RegistrationId, Box<Register>),
    /// Remove a registration (Expires: 0) and forget it; one that failed is forgotten without a word, since by now the same
    /// contact may be registered elsewhere.
    Unregister(RegistrationId),
    /// Ask whether a peer is there, by OPTIONS (RFC 3261 §11).
    Ping {
        /// For the answer.
        ping: PingId,
        /// Where to.
        target: Target,
        /// The Request-URI, e.g. `sip:sip.example.net`.
        uri: String,
    },
}

/// Why a dialog or call attempt is over, from the peer or the transaction layer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LegEnd {
    /// Final failure response to our INVITE.
    Refused {
        /// 300-699.
        status: u16,
        /// Its reason phrase; of a challenge that stays unanswered, with why.
        reason: String,
        /// Q.850 cause of a Reason header, if any.
        q850: Option<u8>,
        /// Seconds, if the peer said when to try again.
        retry_after: Option<u32>,
    },
    /// No final answer to our INVITE in time (timer B), or the transport failed; the peer of a call says nothing any more.
    Unreachable {
        /// What the transport said, in words; none: there was silence.
        why: Option<String>,
    },
    /// The peer cancelled its INVITE.
    Cancelled {
        /// Its Reason value, if any.
        reason: Option<String>,
    },
    /// The peer sent BYE.
    Bye {
        /// Q.850 cause of a Reason header, if any.
        q850: Option<u8>,
    },
    /// We hung up and the peer has confirmed, or was given up on.
    Local,
    /// Our 200 was never acknowledged; BYE was sent (RFC 3261 §13.3.1.4). Or a provisional response was not that the caller
    /// wanted to acknowledge; 504 was sent (RFC 3262 §3).
    NoAck,
}

/// State of one registration of ours.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RegistrationState {
    /// Being tried.
    Trying,
    /// Accepted by the registrar until it must be refreshed.
    Registered {
        /// Granted seconds.
        expires: u32,
    },
    /// Refused or unreachable; tried again after a pause.
    Failed {
        /// The status, or none when unreachable.
        status: Option<u16>,
        /// In words.
        why: String,
        /// Seconds until the next try.
        retry_in: u32,
    },
    /// Removed.
    Unregistered,
}

/// What the application hears.
#[derive(Clone, Debug)]
pub enum Event {
    /// A new call. 100 Trying has been sent. Mandatory fields are valid; auth and routing are the application's.
    Invite {
        /// Its name from now on.
        leg: SipLeg,
        /// The whole request.
        request: Arc<Message>,
        /// How it came.
        flow: Flow,
        /// The leg of ours that it takes over (RFC 3891); its dialog fits. Whether the caller may is the application's.
        replaces: Option<SipLeg>,
    },
    /// 100 to our INVITE: the peer is there and looks after it; at most once per call.
    Trying {
        /// Which call.
        leg: SipLeg,
    },
    /// A 1xx (not 100) to our INVITE.
    Provisional {
        /// Which call.
        leg: SipLeg,
        /// 101-199.
        status: u16,
        /// Early media answer.
        body: Option<Body>,
    },
    /// 2xx to our INVITE; ACK is already sent.
    Answered {
        /// Which call.
        leg: SipLeg,
        /// Their answer.
        body: Option<Body>,
    },
    /// ACK to our 2xx, or with a body the PRACK that answers an offer of ours (RFC 3262 §5).
    Acked {
        /// Which call.
        leg: SipLeg,
        /// Answer to a late offer.
        body: Option<Body>,
    },
    /// The peer's re-INVITE, or its UPDATE with an offer (RFC 3311): answer with `AcceptReinvite` or `RejectReinvite`.
    Reinvite {
        /// Which call.
        leg: SipLeg,
        /// Their offer, or none: we offer.
        body: Option<Body>,
    },
    /// Outcome of our offer: the answer, or the status that refused it (the old session stays).
    ReinviteDone {
        /// Which call.
        leg: SipLeg,
        /// Answer or refusal.
        result: Result<Option<Body>, u16>,
    },
    /// INFO inside the dialog; 200 is already sent.
    Info {
        /// Which call.
        leg: SipLeg,
        /// Its body.
        body: Body,
    },
    /// The peer wants us to call someone: answer with `AcceptRefer` or `RejectRefer`.
    Refer {
        /// Which call.
        leg: SipLeg,
        /// For the answer.
        refer: ReferId,
        /// Whom.
        referral: Referral,
    },
    /// What became of our REFER. `Refused` and `Done` are the last of it.
    Referred {
        /// Which call.
        leg: SipLeg,
        /// What.
        outcome: ReferOutcome,
    },
    /// The leg is over. Exactly once per leg, last of its events.
    Ended {
        /// Which call.
        leg: SipLeg,
        /// Why.
        end: LegEnd,
    },
    /// REGISTER: answer with `Respond`.
    Register {
        /// For the answer.
        token: RequestToken,
        /// The whole request.
        request: Arc<Message>,
        /// How it came.
        flow: Flow,
    },
    /// A registration of ours changed state.
    Registration {
        /// Which.
        id: RegistrationId,
        /// To what.
        state: RegistrationState,
    },
    /// The answer to `Ping`; any status says that the peer is there.
    Pong {
        /// Which.
        ping: PingId,
        /// The status, or none: nothing came within `limits::TRUNK_SILENCE`, or the transport failed.
        status: Option<u16>,
    },
    /// A stream connection is gone: contacts bound to it are unreachable (RFC 5626).
    FlowClosed {
        /// Which.
        flow: Flow,
    },
}
