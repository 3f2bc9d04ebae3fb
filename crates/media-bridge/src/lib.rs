//! SDP, RTP, codecs, DTMF and the `MediaCall` that owns every leg of one call. Sans-IO.

pub mod call;
pub mod codec;
pub mod control;
pub mod dtmf;
pub mod effort;
pub mod quality;
pub mod rtp;
pub mod sdp;
pub mod sound;
pub mod srtp;
pub mod tone;
