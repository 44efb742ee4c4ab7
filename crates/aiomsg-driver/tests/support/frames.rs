//! What a peer sends that is no socket.

pub(crate) fn frame(body: &[u8]) -> Vec<u8> {
    let mut frame = (body.len() as u32).to_be_bytes().to_vec();
    frame.extend_from_slice(body);
    frame
}

/// It says who it is.
pub(crate) fn hello(identity: u8) -> Vec<u8> {
    let mut body = vec![1, 1];
    body.extend_from_slice(&[identity; 16]);
    frame(&body)
}

/// A message that is not to be acknowledged.
pub(crate) fn data(payload: &[u8]) -> Vec<u8> {
    let mut body = vec![3];
    body.extend_from_slice(payload);
    frame(&body)
}
