//! The sans-IO switch: calls, routing, registrar state, admission, CDR facts.
//!
//! One [`Switch`] owns all calls; whoever drives it feeds events of the SIP endpoint, of browsers and of the media
//! plane, and carries out what [`Switch::poll_output`] says.

mod access;
mod auth;
mod ban;
mod browsers;
mod call;
mod config;
mod dialplan;
mod explain;
mod failover;
mod guard;
mod identity;
mod inbound;
mod later;
mod lookup;
mod national;
mod number;
mod output;
mod profile;
mod register;
mod registrar;
mod route;
mod session;
mod shared;
mod switch;
mod targets;
mod transfer;
mod trunks;
mod users;
mod workers;

pub use access::{DropReason, Screen};
pub use call::{ANSWER_MEDIA, MEDIA_REPLY, TRUNK_PATIENCE, complaint, remarks, two_decimals, unconnected};
pub use config::{
    Countries, Did, IpNet, RouteConfig, RouteFrom, RouteTo, SwitchConfig, Treatment, TrunkConfig,
    TrunkRegistration, UserConfig,
};
pub use dialplan::{Country, load_number_plans};
pub use explain::{Explanation, explain};
pub use number::{DIALLED_CHARS, Pattern, Rewrite, clean, same_number};
pub use output::{Cdr, CdrParty, CdrTransfer, CloseWhy, Level, Output, Recording, SignalIn};
pub use profile::{
    CodecPolicy, ForwardHeader, IdentityHeader, KeepAlive, NumberFormat, PrivateFrom, TrunkProfile,
};
pub use registrar::{Binding, DEFAULT_EXPIRES, FLOW_GRACE, MAX_EXPIRES, MIN_EXPIRES, Registrar};
pub use sip_ua::digest::Secret;
pub use switch::{CallStage, Held, Switch};
pub use targets::{
    FIRST_PAUSE, LONGEST_PAUSE, LONGEST_RETRY_AFTER, PING_EVERY, PING_FAILED, TargetStatus, TrunkTarget,
};
pub use trunks::TrunkStatus;
pub use users::Users;
pub use workers::{FULL_LOAD, ROOM_AGAIN, WorkerLoad};
