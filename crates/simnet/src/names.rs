//! A name for everything that is done to and by the switch, to see that nothing is left out.

use b2bua::SignalIn;
use media_bridge::control::{Command as Media, Event as MediaEvent};
use sip_ua::{Command, Event, LegEnd, RegistrationState};
use webrtc_peer::signalling::{FromBrowser, ToBrowser};

/// Every name that a sufficient number of seeds brings up.
pub const OPERATIONS: &[&str] = &[
    "in:media-overloaded",
    "in:shut-down",
    "in:trunk-targets",
    "out:close-browser",
    "browser:opened",
    "browser:closed",
    "browser:hello",
    "browser:call",
    "browser:offer",
    "browser:answer",
    "browser:decline",
    "browser:bye",
    "browser:dtmf",
    "browser:hold",
    "browser:resume",
    "browser:candidate",
    "browser:ping",
    "said:welcome",
    "said:error",
    "said:sdp",
    "said:state",
    "said:incoming",
    "said:dtmf",
    "said:held",
    "said:ended",
    "said:pong",
    "sip:invite",
    "sip:provisional",
    "sip:early-media",
    "sip:answered",
    "sip:acked",
    "sip:acked-answer",
    "sip:reinvite",
    "sip:info",
    "sip:register",
    "sip:flow-closed",
    "sip:registered",
    "sip:unregistered",
    "sip:registration-trying",
    "sip:refused",
    "sip:unreachable",
    "sip:cancelled",
    "sip:bye",
    "sip:local",
    "out:invite",
    "out:provisional",
    "out:answer",
    "out:reject",
    "out:hang-up",
    "out:accept-reinvite",
    "out:reject-reinvite",
    "out:respond",
    "out:register",
    "out:unregister",
    "media:local-sdp",
    "media:negotiated",
    "media:direction",
    "media:refused",
    "media:connected",
    "media:lost",
    "media:silent",
    "media:dtmf",
    "media:stats",
    "media:closed",
    "media:crashed",
    "ask:answer",
    "ask:offer",
    "ask:set-answer",
    "ask:set-source",
    "ask:dtmf",
    "ask:remove",
    "ask:adopt",
    "ask:close",
    "browser:transfer-to",
    "browser:transfer-with",
    "said:transfer",
    "said:party",
    "sip:refer",
    "sip:referred",
    "out:accept-refer",
    "out:reject-refer",
    "out:refer-status",
    "out:refer",
];

pub(crate) fn of_signal(input: &SignalIn) -> &'static str {
    match input {
        SignalIn::Opened { .. } => "browser:opened",
        SignalIn::Closed => "browser:closed",
        SignalIn::Message(message) => match message {
            FromBrowser::Hello { .. } => "browser:hello",
            FromBrowser::Call { .. } => "browser:call",
            FromBrowser::Offer { .. } => "browser:offer",
            FromBrowser::Answer { .. } => "browser:answer",
            FromBrowser::Decline { .. } => "browser:decline",
            FromBrowser::Bye { .. } => "browser:bye",
            FromBrowser::Dtmf { .. } => "browser:dtmf",
            FromBrowser::Hold { .. } => "browser:hold",
            FromBrowser::Resume { .. } => "browser:resume",
            FromBrowser::Transfer { to: Some(_), .. } => "browser:transfer-to",
            FromBrowser::Transfer { .. } => "browser:transfer-with",
            FromBrowser::Candidate { .. } => "browser:candidate",
            FromBrowser::Ping {} => "browser:ping",
        },
    }
}

pub(crate) fn of_said(message: &ToBrowser) -> &'static str {
    match message {
        ToBrowser::Welcome { .. } => "said:welcome",
        ToBrowser::Error { .. } => "said:error",
        ToBrowser::Sdp { .. } => "said:sdp",
        ToBrowser::State { .. } => "said:state",
        ToBrowser::Transfer { .. } => "said:transfer",
        ToBrowser::Party { .. } => "said:party",
        ToBrowser::Incoming { .. } => "said:incoming",
        ToBrowser::Dtmf { .. } => "said:dtmf",
        ToBrowser::Held { .. } => "said:held",
        ToBrowser::Ended { .. } => "said:ended",
        ToBrowser::Pong {} => "said:pong",
    }
}

pub(crate) fn of_event(event: &Event) -> &'static str {
    match event {
        Event::Invite { .. } => "sip:invite",
        Event::Trying { .. } => "sip:trying",
        Event::Provisional { body: None, .. } => "sip:provisional",
        Event::Provisional { body: Some(_), .. } => "sip:early-media",
        Event::Answered { .. } => "sip:answered",
        Event::Acked { body: None, .. } => "sip:acked",
        Event::Acked { body: Some(_), .. } => "sip:acked-answer",
        Event::Reinvite { .. } => "sip:reinvite",
        Event::ReinviteDone { .. } => "sip:reinvite-done",
        Event::Info { .. } => "sip:info",
        Event::Refer { .. } => "sip:refer",
        Event::Referred { .. } => "sip:referred",
        Event::Register { .. } => "sip:register",
        Event::Registration { state, .. } => match state {
            RegistrationState::Trying => "sip:registration-trying",
            RegistrationState::Registered { .. } => "sip:registered",
            RegistrationState::Failed { .. } => "sip:registration-failed",
            RegistrationState::Unregistered => "sip:unregistered",
        },
        Event::Pong { .. } => "sip:pong",
        Event::FlowClosed { .. } => "sip:flow-closed",
        Event::Ended { end, .. } => match end {
            LegEnd::Refused { .. } => "sip:refused",
            LegEnd::Unreachable => "sip:unreachable",
            LegEnd::Cancelled { .. } => "sip:cancelled",
            LegEnd::Bye { .. } => "sip:bye",
            LegEnd::Local => "sip:local",
            LegEnd::NoAck => "sip:no-ack",
        },
    }
}

pub(crate) fn of_command(command: &Command) -> &'static str {
    match command {
        Command::Invite(..) => "out:invite",
        Command::SetTimer { .. } => "out:set-timer",
        Command::Provisional { .. } => "out:provisional",
        Command::Answer { .. } => "out:answer",
        Command::Reject { .. } => "out:reject",
        Command::HangUp { .. } => "out:hang-up",
        Command::Reinvite { .. } => "out:reinvite",
        Command::AcceptReinvite { .. } => "out:accept-reinvite",
        Command::RejectReinvite { .. } => "out:reject-reinvite",
        Command::Info { .. } => "out:info",
        Command::AcceptRefer { .. } => "out:accept-refer",
        Command::RejectRefer { .. } => "out:reject-refer",
        Command::ReferStatus { .. } => "out:refer-status",
        Command::Refer { .. } => "out:refer",
        Command::Respond { .. } => "out:respond",
        Command::Register(..) => "out:register",
        Command::Unregister(_) => "out:unregister",
        Command::Ping { .. } => "out:ping",
    }
}

pub(crate) fn of_media(event: &MediaEvent) -> &'static str {
    match event {
        MediaEvent::LocalSdp { .. } => "media:local-sdp",
        MediaEvent::Negotiated { .. } => "media:negotiated",
        MediaEvent::Direction { .. } => "media:direction",
        MediaEvent::Refused { .. } => "media:refused",
        MediaEvent::Connected { .. } => "media:connected",
        MediaEvent::Lost { .. } => "media:lost",
        MediaEvent::Silent { .. } => "media:silent",
        MediaEvent::Dtmf { .. } => "media:dtmf",
        MediaEvent::Stats { .. } => "media:stats",
        MediaEvent::Closed => "media:closed",
        MediaEvent::Crashed => "media:crashed",
    }
}

pub(crate) fn of_media_command(command: &Media) -> &'static str {
    match command {
        Media::Answer { .. } => "ask:answer",
        Media::Offer { .. } => "ask:offer",
        Media::SetAnswer { .. } => "ask:set-answer",
        Media::SetSource { .. } => "ask:set-source",
        Media::SendDtmf { .. } | Media::Pressed { .. } => "ask:dtmf",
        Media::Adopt { .. } => "ask:adopt",
        Media::Remove { .. } => "ask:remove",
        Media::Close => "ask:close",
    }
}
