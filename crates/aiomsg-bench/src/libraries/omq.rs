//! omq on one thread of tokio.

use std::future::Future;

use bytes::Bytes;
use omq_tokio::{Message, Options, SocketType};

use super::on_one_thread;
use crate::library::{Library, Role, Way};

/// With `TRY`, messages are sent and received without waiting as long as that goes, which is faster.
pub struct Omq<const TRY: bool>;

pub struct OmqMessage(Message);

impl AsRef<[u8]> for OmqMessage {
    fn as_ref(&self) -> &[u8] {
        self.0.get(0).expect("one part")
    }
}

impl<const TRY: bool> Library for Omq<TRY> {
    type Socket = omq_tokio::Socket;
    type Message = OmqMessage;

    fn block_on<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> T {
        on_one_thread(task)
    }

    async fn open(role: Role, way: Way, address: &str) -> Self::Socket {
        let kind = match role {
            Role::Push | Role::Idle => SocketType::Push,
            Role::Pull { .. } | Role::Hold { .. } => SocketType::Pull,
            Role::Publish { .. } => SocketType::XPub,
            Role::Subscribe => SocketType::Sub,
            Role::Ask => SocketType::Req,
            Role::Answer => SocketType::Rep,
        };
        let options = Options {
            xpub_nodrop: matches!(role, Role::Publish { .. }),
            heartbeat_interval: role.heartbeats(),
            ..Options::default()
        };
        let socket = omq_tokio::Socket::new(kind, options);
        let endpoint = format!("tcp://{address}");
        match way {
            Way::Bind => {
                socket.bind(endpoint.as_str()).await.expect("a free port");
                crate::ends::say_ready();
            }
            Way::Connect => socket.connect(endpoint.as_str()).await.expect("an address"),
        }
        match role {
            Role::Publish { subscribers } => {
                for _ in 0..subscribers {
                    socket.recv().await.expect("a subscription");
                }
            }
            Role::Subscribe => socket.subscribe("").await.expect("a subscriber"),
            _ => {}
        }
        socket
    }

    async fn send(socket: &mut Self::Socket, payload: &Bytes) {
        Self::send_on(socket, OmqMessage(Message::single(payload.clone()))).await;
    }

    async fn offer(socket: &mut Self::Socket, payload: &Bytes) {
        match socket.try_send(Message::single(payload.clone())) {
            Ok(()) | Err(omq_tokio::TrySendError::Full(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }

    async fn receive(socket: &mut Self::Socket) -> OmqMessage {
        if TRY && let Ok(message) = socket.try_recv() {
            return OmqMessage(message);
        }
        OmqMessage(socket.recv().await.expect("open"))
    }

    async fn send_on(socket: &mut Self::Socket, message: OmqMessage) {
        let mut message = message.0;
        if TRY {
            match socket.try_send(message) {
                Ok(()) => return,
                Err(omq_tokio::TrySendError::Full(back)) => message = back,
                Err(error) => panic!("{error}"),
            }
        }
        socket.send(message).await.expect("open");
    }
}
