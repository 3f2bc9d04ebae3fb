//! SDP, RTP, codecs, DTMF and the MediaCall that owns every leg of one call.
