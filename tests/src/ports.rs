//! Ports of this machine.

use std::net::SocketAddr;

/// A port where nobody listens. As long as the second part is there, nobody gets it who asks for any free one, and who
/// asks for this one does.
///
/// # Panics
/// If the machine has none.
pub fn free_address() -> (SocketAddr, socket2::Socket) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.set_reuse_address(true).expect("not bound yet");
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a free port");
    let address = socket.local_addr().ok().and_then(|address| address.as_socket()).expect("bound");
    (address, socket)
}
