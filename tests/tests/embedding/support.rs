//! The other end of an example: a socket of one adapter or the other, or a bad line.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;

use aiomsg_driver::{Runtime, Socket};
use aiomsg_tests::program::DEADLINE;
use bytes::Bytes;

/// Runs a test with sockets of each adapter.
macro_rules! on_both {
    ($($test:ident),+ $(,)?) => {
        mod on_tokio {
            $(#[test]
            fn $test() {
                let runtime = tokio::runtime::Runtime::new().expect("threads");
                runtime.block_on(super::$test::<aiomsg_tokio::Tokio>());
            })+
        }
        mod on_smol {
            $(#[test]
            fn $test() {
                smol::block_on(super::$test::<aiomsg_smol::Smol>());
            })+
        }
    };
}
pub(crate) use on_both;

/// A socket that sends each message back, and its address.
pub(crate) async fn echo_server<R: Runtime>(address: &str) -> (Socket<R>, String) {
    let socket = socket::<R>();
    let address = socket.bind(address).await.expect("a free port").to_string();
    let server = socket.clone();
    socket.runtime().spawn(async move {
        while let Ok(received) = server.recv_from().await {
            // Who has gone needs no echo.
            let _ = server.send_to(received.identity, received.payload).await;
        }
    });
    (socket, address)
}

pub(crate) fn socket<R: Runtime>() -> Socket<R> {
    Socket::<R>::builder().build().expect("the defaults are right")
}

/// A socket that keeps a connection to `address`.
pub(crate) fn client<R: Runtime>(address: &str) -> Socket<R> {
    let socket = socket::<R>();
    socket.connect(address).expect("an address");
    socket
}

/// Waits for what must come.
pub(crate) async fn soon<R: Runtime, T: Send>(
    socket: &Socket<R>,
    future: impl Future<Output = T> + Send,
) -> T {
    socket.runtime().timeout(DEADLINE, future).await.expect("it did not come in time")
}

/// Sends messages all at once, and waits for their echoes.
pub(crate) async fn exchange<R: Runtime>(socket: &Socket<R>, messages: impl IntoIterator<Item = Bytes>) {
    let messages: Vec<Bytes> = messages.into_iter().collect();
    for message in &messages {
        soon(socket, socket.send(message.clone())).await.expect("the socket is open");
    }
    for message in messages {
        let echo = soon(socket, socket.recv()).await.expect("the socket is open");
        assert!(echo == message, "{} bytes for {}", echo.len(), message.len());
    }
}

/// A line to `address` that carries no more than three bytes at a time. Returns where it begins.
pub(crate) fn slow_line(address: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let own = listener.local_addr().expect("it is bound").to_string();
    thread::spawn(move || {
        let (near, _) = listener.accept().expect("somebody connects");
        let far = TcpStream::connect(address).expect("somebody listens");
        for (from, to) in [(&near, &far), (&far, &near)] {
            let (mut from, mut to) = (from.try_clone().expect("a copy"), to.try_clone().expect("a copy"));
            thread::spawn(move || {
                to.set_nodelay(true).expect("it is open");
                let mut bytes = [0; 3];
                while let Ok(read @ 1..) = from.read(&mut bytes) {
                    if to.write_all(&bytes[..read]).is_err() {
                        break;
                    }
                }
                let _ = to.shutdown(Shutdown::Write);
            });
        }
    });
    own
}
