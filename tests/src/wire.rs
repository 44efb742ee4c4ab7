//! The bytes of both dialects as a peer writes and reads them, apart from the core's own code.

use aiomsg_proto::Identity;

/// The payload that is a classic heartbeat.
pub const CLASSIC_HEARTBEAT: &[u8] = b"aiomsg-heartbeat";

/// A frame: a length, big-endian, and that many bytes.
pub fn frame(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).expect("a short frame");
    [&length.to_be_bytes(), body].concat()
}

/// A v1 HELLO.
pub fn hello(identity: Identity) -> Vec<u8> {
    frame(&[&[1, 1], identity.as_bytes().as_slice()].concat())
}

/// A v1 DATA.
pub fn data(payload: &[u8]) -> Vec<u8> {
    frame(&[&[3], payload].concat())
}

/// A v1 DATA_REQ.
pub fn data_req(id: [u8; 16], payload: &[u8]) -> Vec<u8> {
    frame(&[&[4], id.as_slice(), payload].concat())
}

/// A v1 HEARTBEAT.
pub fn heartbeat() -> Vec<u8> {
    frame(&[2])
}

/// A v1 ACK.
pub fn ack(id: [u8; 16]) -> Vec<u8> {
    frame(&[&[5], id.as_slice()].concat())
}

/// The bodies of the whole frames in `bytes`.
///
/// # Panics
/// If there is something behind the last whole frame; use [`partial_frames`] where that may be.
pub fn frames(bytes: &[u8]) -> Vec<Vec<u8>> {
    let (frames, rest) = partial_frames(bytes);
    assert!(rest.is_empty(), "{} bytes behind the last whole frame", rest.len());
    frames
}

/// The bodies of the whole frames at the front of `bytes`, and the rest.
pub fn partial_frames(mut bytes: &[u8]) -> (Vec<Vec<u8>>, &[u8]) {
    let mut frames = Vec::new();
    while let Some((prefix, rest)) = bytes.split_first_chunk()
        && let Some((body, rest)) = rest.split_at_checked(u32::from_be_bytes(*prefix) as usize)
    {
        frames.push(body.to_vec());
        bytes = rest;
    }
    (frames, bytes)
}

/// The payloads of the DATA frames in `bytes`, a v1 stream with its HELLO.
pub fn v1_payloads(bytes: &[u8]) -> Vec<Vec<u8>> {
    let data =
        |frame: Vec<u8>| frame.split_first().filter(|(kind, _)| **kind == 3).map(|(_, body)| body.to_vec());
    partial_frames(bytes).0.into_iter().filter_map(data).collect()
}

/// What the 2019 Python packages make of a frame behind the identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Classic {
    /// Given to the application.
    Delivered(Vec<u8>),
    /// Given to the application without its header, and acknowledged under this id.
    Requested(Vec<u8>, Vec<u8>),
    /// Taken for an acknowledgement, whatever stands behind its mark.
    Acknowledged(Vec<u8>),
    /// Swallowed.
    Heartbeat,
    /// Taken for the end of the connection.
    Hangup,
}

/// Understands frames behind the identity as the Python packages from 2019.4.2 on do: whatever matches
/// `.{16}\0(REQ|REP)\0` at its start has a header, whoever put it there.
pub fn classic(frame: &[u8]) -> Classic {
    if frame.is_empty() {
        return Classic::Hangup;
    }
    if frame == CLASSIC_HEARTBEAT {
        return Classic::Heartbeat;
    }
    match (frame.get(..16), frame.get(16..21), frame.get(21..)) {
        (Some(id), Some(b"\0REQ\0"), Some(body)) => Classic::Requested(id.to_vec(), body.to_vec()),
        (Some(id), Some(b"\0REP\0"), Some(_)) => Classic::Acknowledged(id.to_vec()),
        _ => Classic::Delivered(frame.to_vec()),
    }
}

/// What the application of a classic peer gets of `bytes`, a stream with the identity in front.
///
/// # Panics
/// If the peer would have taken something for the end of the connection.
pub fn classic_payloads(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut payloads = Vec::new();
    for frame in frames(bytes).into_iter().skip(1) {
        match classic(&frame) {
            Classic::Delivered(payload) | Classic::Requested(_, payload) => payloads.push(payload),
            Classic::Acknowledged(_) | Classic::Heartbeat => {}
            Classic::Hangup => panic!("a classic peer takes an empty frame for the end of the connection"),
        }
    }
    payloads
}
