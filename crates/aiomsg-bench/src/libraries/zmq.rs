//! libzmq, by its binding. Its calls block, and there is nothing else to do.

use std::future::Future;
use std::sync::LazyLock;

use bytes::Bytes;

use super::on_one_thread;
use crate::library::{Library, Role, Way};

pub struct Zmq;

pub struct ZmqMessage(zmq::Message);

impl AsRef<[u8]> for ZmqMessage {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// All sockets of a process share its thread for I/O.
static CONTEXT: LazyLock<zmq::Context> = LazyLock::new(zmq::Context::new);

impl Library for Zmq {
    type Socket = zmq::Socket;
    type Message = ZmqMessage;

    fn block_on<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> T {
        on_one_thread(task)
    }

    async fn open(role: Role, way: Way, address: &str) -> zmq::Socket {
        let kind = match role {
            Role::Push | Role::Idle => zmq::PUSH,
            Role::Pull { .. } | Role::Hold { .. } => zmq::PULL,
            Role::Publish { .. } => zmq::XPUB,
            Role::Subscribe => zmq::SUB,
            Role::Ask => zmq::REQ,
            Role::Answer => zmq::REP,
        };
        let socket = CONTEXT.socket(kind).expect("a socket");
        if matches!(role, Role::Publish { .. } | Role::Subscribe) {
            // With a bound it would drop messages.
            socket.set_sndhwm(0).and_then(|()| socket.set_rcvhwm(0)).expect("an option");
        }
        if matches!(role, Role::Publish { .. }) {
            // Otherwise only the first of equal subscriptions is told.
            socket.set_xpub_verbose(true).expect("an option");
        }
        if let Some(interval) = role.heartbeats() {
            socket.set_heartbeat_ivl(interval.as_millis() as i32).expect("an option");
        }
        let endpoint = format!("tcp://{address}");
        match way {
            Way::Bind => {
                socket.bind(&endpoint).expect("a free port");
                crate::ends::say_ready();
            }
            Way::Connect => socket.connect(&endpoint).expect("an address"),
        }
        match role {
            Role::Publish { subscribers } => {
                for _ in 0..subscribers {
                    socket.recv_msg(0).expect("a subscription");
                }
            }
            Role::Subscribe => socket.set_subscribe(b"").expect("a subscriber"),
            _ => {}
        }
        socket
    }

    async fn send(socket: &mut zmq::Socket, payload: &Bytes) {
        socket.send(&payload[..], 0).expect("open");
    }

    async fn offer(socket: &mut zmq::Socket, payload: &Bytes) {
        match socket.send(&payload[..], zmq::DONTWAIT) {
            Ok(()) | Err(zmq::Error::EAGAIN) => {}
            Err(error) => panic!("{error}"),
        }
    }

    async fn receive(socket: &mut zmq::Socket) -> ZmqMessage {
        ZmqMessage(socket.recv_msg(0).expect("open"))
    }

    async fn send_on(socket: &mut zmq::Socket, message: ZmqMessage) {
        socket.send(message.0, 0).expect("open");
    }
}
