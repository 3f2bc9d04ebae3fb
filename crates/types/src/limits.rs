//! Every bound of every queue and table, with what happens when it is full.

use std::time::Duration;

/// Largest SIP message on a stream, header and body together (bytes). Larger: 513 if it can be answered, then the connection is closed.
pub const SIP_MESSAGE_BYTES: usize = 64 * 1024;
/// Most header fields in one SIP message. More: 400.
pub const SIP_HEADERS: usize = 256;
/// Longest Request-URI (bytes). Longer: 414.
pub const SIP_URI_BYTES: usize = 4_096;
/// SIP server and client transactions alive at once: each stays half a minute for repetitions, about 1.2 kB, so a call makes
/// a hundred seconds of them. Full: new requests get 503 with Retry-After.
pub const SIP_TRANSACTIONS: usize = 500_000;
/// SIP dialogs alive at once. Full: new INVITEs get 503 with Retry-After.
pub const SIP_DIALOGS: usize = 50_000;
/// REFERs of one SIP leg that are undecided or reported on. Full: 503 with Retry-After.
pub const REFERS_PER_LEG: usize = 4;
/// Accepted SIP stream connections. Full: the one idle longest is closed.
pub const SIP_CONNECTIONS: usize = 10_000;
/// Connections that one address opens (of IPv6: one customer's network), SIP over TCP and TLS counted apart from HTTP with its
/// WebSockets; this machine's own are not counted. Full: further ones are closed at once and counted.
pub const CONNECTIONS_PER_ADDRESS: usize = 1_000;
/// Messages waiting for one slow SIP stream reader. Full: the connection is closed, nobody else waits.
pub const SIP_WRITER_QUEUE: usize = 64;
/// Dialled numbers whose meaning is remembered. Full: all are forgotten and read anew.
pub const NUMBERS_READ: usize = 4_096;
/// Addresses of one trunk, from DNS. More: the first in order are used.
pub const TRUNK_TARGETS: usize = 16;
/// How long a trunk's server may say nothing at all to a request before another one is tried, and to OPTIONS before it counts
/// as gone.
pub const TRUNK_SILENCE: Duration = Duration::from_secs(4);
/// A SIP peer that sends no audio for so long is asked whether it is still there.
pub const PEER_SILENCE: Duration = Duration::from_secs(30);
/// SIP messages read from sockets that wait for the endpoint. Full: stream readers wait, datagrams stay in the kernel's buffer.
pub const SIP_INBOUND: usize = 1_024;
/// Addresses remembered for not taking SIP over TCP. Full: all are forgotten and tried again.
pub const SIP_NO_TCP: usize = 1_000;
/// How long opening a SIP stream connection may take before its messages are given up.
pub const SIP_CONNECT_DEADLINE: Duration = Duration::from_secs(3);
/// How long a TLS handshake under SIP may take, with opening the connection where we open it. Later: it is closed.
pub const SIP_TLS_DEADLINE: Duration = Duration::from_secs(8);
/// How long a SIP message may take from its first to its last byte on a stream, and the first message from the connection's
/// start. Later: the connection is closed.
pub const SIP_MESSAGE_DEADLINE: Duration = Duration::from_secs(32);
/// How long a SIP stream connection may bring nothing before it is closed: longer than a registration lives.
pub const SIP_IDLE: Duration = Duration::from_secs(2 * 3600);
/// How often a SIP WebSocket from which nothing comes is pinged (RFC 6455 §5.5.2).
pub const SIP_WS_PING: Duration = Duration::from_secs(25);
/// How long the answer to that may take. Later: the connection is closed, its contact suspended.
pub const SIP_WS_PONG: Duration = Duration::from_secs(10);
/// How long one SIP stream write may take before the connection is closed.
pub const SIP_WRITE_DEADLINE: Duration = Duration::from_secs(5);
/// Addresses whose SIP requests are counted against a flood. Full: the one counted longest is forgotten and begins anew.
pub const SIP_SOURCES: usize = 10_000;
/// Contacts one user may register. Full: 403 with a sentence; a contact with the same instance replaces.
pub const CONTACTS_PER_USER: usize = 10;
/// Digest nonces remembered for replay checks. Full: the oldest is forgotten and answered `stale=true`.
pub const NONCES: usize = 20_000;
/// Addresses and users whose wrong passwords are remembered. Full: the oldest is forgotten.
pub const FAILURE_TABLE: usize = 10_000;
/// Longest delay after wrong passwords.
pub const FAILURE_DELAY: Duration = Duration::from_secs(3);
/// HTTP connections at once, WebSockets among them. Full: further ones wait in the kernel's queue.
pub const HTTP_CONNECTIONS: usize = 25_000;
/// Browser sessions at once. Full: the WebSocket is refused with 503.
pub const SESSIONS: usize = 20_000;
/// What is read of a WebSocket at once (bytes); each connection holds as much.
pub const WEBSOCKET_READ: usize = 8 * 1024;
/// Largest browser signalling message (bytes). Larger: error `too-large`, then closed.
pub const SIGNAL_MESSAGE_BYTES: usize = 64 * 1024;
/// How long a browser may stay connected without a sign-in. Later: its WebSocket is closed.
pub const SIGNAL_HELLO_DEADLINE: Duration = Duration::from_secs(15);
/// How long a signed-in browser may be silent (a page in the background still pings once a minute). Later: closed.
pub const SIGNAL_IDLE: Duration = Duration::from_secs(150);
/// Longest call id that a browser may choose (characters). Longer: error `bad-message`.
pub const SIGNAL_CALL_ID: usize = 32;
/// Longest dialled number or name, and longest user name and password (bytes). Longer: error `bad-message`.
pub const SIGNAL_FIELD: usize = 256;
/// Signalling messages waiting for one slow browser. Full: its WebSocket is closed.
pub const SIGNAL_QUEUE: usize = 64;
/// Calls at once through the gateway. Full: 503 with Retry-After, or `busy-gateway` to a browser.
pub const CALLS: usize = 10_000;
/// Calls for help beyond those. Full: as above.
pub const EMERGENCY_CALLS: usize = 100;
/// Legs of one call (every device that rings is one). Full: further devices do not ring.
pub const LEGS_PER_CALL: usize = 16;
/// Calls one browser session may have at once, ringing ones counted. Full: error `too-many-calls`.
pub const CALLS_PER_SESSION: usize = 8;
/// Commands waiting for one media worker. Full: the call that asked ends with `GatewayOverloaded`.
pub const WORKER_COMMANDS: usize = 4_096;
/// Commands to one call that wait because a leg of it is still coming from another call. Full: the leg counts as lost.
pub const COMMANDS_BEHIND_A_LEG: usize = 64;
/// Datagrams of browsers that one media worker was handed by others, whose sockets they came on. Full: the oldest is dropped.
pub const WORKER_PARCELS: usize = 1_024;
/// Notes for one media worker about legs that are with others and use its browser socket, a few for each that moves. Full:
/// the note is lost; what it was about then hears nothing of its browser, and ends as such a leg does.
pub const WORKER_LETTERS: usize = 1_024;
/// Events waiting from one media worker. Full: statistics are dropped first; the worker never blocks.
pub const WORKER_EVENTS: usize = 8_192;
/// Streams (SSRCs) protected or opened with one SRTP master key. Full: packets of further ones are dropped and counted.
pub const SRTP_SOURCES: usize = 64;
/// Sound files that a configuration names. More: an error at start.
pub const SOUNDS: usize = 64;
/// Largest sound file (bytes) and longest sound; both rates of it stay in memory, 48 kB a second. More: an error at start.
pub const SOUND_BYTES: u64 = 128 << 20;
/// See [`SOUND_BYTES`].
pub const SOUND_DURATION: Duration = Duration::from_secs(600);
/// Packets waiting to be played in one jitter buffer, of what is recorded. Full: the oldest is given up.
pub const PLAYOUT_PACKETS: usize = 64;
/// Frames of 20 ms of all recordings together that wait for the disk, 1.3 kB each. Full: a gap, which the record of the call names.
pub const RECORDING_FRAMES: usize = 2_048;
/// Recordings that the people of one call may begin and end. Full: a further one is refused with an error.
pub const CALL_RECORDINGS: u16 = 32;
/// Audio of one callee that came before anybody could hear it: half a second of any codec in use (bytes). Full: the
/// oldest is dropped and counted.
pub const EARLY_BYTES: usize = 8 * 1024;
/// How far a callee's audio may be ahead of its answer. What came sooner is no part of the talk: dropped and counted.
pub const EARLY_LEAD: Duration = Duration::from_millis(100);
/// How long after its answer a callee's audio is kept for a listener who is still being connected. Later: it goes unheard.
pub const EARLY_KEPT: Duration = Duration::from_millis(400);
/// Packets held back for reordering on one leg. Full: the oldest is released.
pub const REORDER_PACKETS: usize = 16;
/// Digits queued for sending on one leg. Full: further digits are refused with an error.
pub const DTMF_QUEUE: usize = 32;
/// CDR lines waiting for the disk. Full: lines are written to the log instead, none is lost silently.
pub const CDR_QUEUE: usize = 1_024;
/// How long a stopping gateway lets calls go on unless it is configured otherwise: systemd kills what has not ended 90 s
/// after SIGTERM (`TimeoutStopSec`), and records and BYEs need a few of them. Later: they are ended.
pub const DRAIN_DURATION: Duration = Duration::from_secs(80);
/// How long one call may last.
pub const CALL_DURATION: Duration = Duration::from_secs(4 * 3600);
/// How long a call may ring before it ends as not answered.
pub const RING_DURATION: Duration = Duration::from_secs(120);
/// How long a call may stay in `Closing` before its legs are dropped without ceremony.
pub const CLOSING_DURATION: Duration = Duration::from_secs(34);
/// Addresses of one browser session, ours and theirs each. Full: theirs that was checked longest ago is forgotten; a further one of ours is not answered.
pub const PEER_ADDRESSES: usize = 16;
/// How long nothing authentic may come from a browser before its path counts as lost, which is told and ends nothing (RFC 7675
/// §5.1: consent is asked for every five seconds).
pub const PATH_LOST: Duration = Duration::from_secs(15);
/// The same before the browser counts as gone, which ends its part of the call.
pub const PEER_GONE: Duration = Duration::from_secs(30);
/// DTLS datagrams of ours that wait until a browser has nominated a path. Full: dropped, and repeated by DTLS itself.
pub const PEER_HELD: usize = 16;
/// Datagrams of a browser's handshake that are known again. Full: the oldest is forgotten, and its copy would be answered.
pub const PEER_SEEN: usize = 64;
/// Datagrams to browsers that wait for the end of a worker's turn. Full: they are sent at once.
pub const BROWSER_BATCH: usize = 32;
/// TCP connections of browsers to one worker. Full: further ones are closed at once and counted.
pub const TCP_BROWSERS: usize = 4_096;
/// Those among them that have not shown an authentic connectivity check, in all and from one address; this machine's own are not
/// counted by address. Full: further ones are closed at once and counted.
pub const TCP_STRANGERS: usize = 512;
/// See [`TCP_STRANGERS`].
pub const TCP_STRANGERS_PER_ADDRESS: usize = 32;
/// How long a TCP connection may be no session's: before its first authentic check, and after its session is over. Later: it is
/// closed.
pub const TCP_STRANGER_TIME: Duration = Duration::from_secs(10);
/// Bytes that wait for a browser that reads slowly from its TCP connection, beyond what the system takes: about a second of
/// audio. Full: datagrams are dropped and counted, as a full socket would.
pub const TCP_BACKLOG: usize = 8_192;
/// Datagrams that leave by a TCP connection of another worker and wait for that one. Full: the oldest are dropped and counted.
pub const TCP_DEPARTURES: usize = 1_024;
/// Browser sessions on one worker's socket. Full: the leg is refused.
pub const DEMUX_SESSIONS: usize = 20_000;
/// Outputs of one media call between two polls of its worker. Full: datagrams are dropped, as a full socket would.
pub const CALL_OUTPUTS: usize = 1_024;
