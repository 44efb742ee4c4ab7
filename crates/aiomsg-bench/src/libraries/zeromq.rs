//! The pure Rust zeromq, on one thread of tokio.

use std::future::Future;

use bytes::Bytes;
use zeromq::{
    PubSocket, PullSocket, PushSocket, RepSocket, ReqSocket, Socket as _, SocketRecv, SocketSend, SubSocket,
    ZmqError, ZmqMessage,
};

use super::on_one_thread;
use crate::library::{Library, Role, Way};

/// To publish never waits: whoever does nothing else keeps the thread from sending anything. So many messages at a time
/// are what it writes at once.
const TURN: usize = 128;

pub struct Zeromq;

pub enum Socket {
    /// And where it connects to.
    Push(PushSocket, String),
    Pull(PullSocket),
    /// And how many messages it was given.
    Publish(PubSocket, usize),
    Subscribe(SubSocket),
    Ask(ReqSocket),
    Answer(RepSocket),
}

pub struct ZeromqMessage(ZmqMessage);

impl AsRef<[u8]> for ZeromqMessage {
    fn as_ref(&self) -> &[u8] {
        self.0.get(0).expect("one frame")
    }
}

fn endpoint(address: &str) -> String {
    format!("tcp://{address}")
}

async fn attach<S: zeromq::Socket>(way: Way, address: &str) -> S {
    let mut socket = S::new();
    let endpoint = endpoint(address);
    match way {
        Way::Bind => {
            socket.bind(&endpoint).await.expect("a free port");
            crate::ends::say_ready();
        }
        Way::Connect => socket.connect(&endpoint).await.expect("somebody listens"),
    }
    socket
}

impl Library for Zeromq {
    type Socket = Socket;
    type Message = ZeromqMessage;

    fn block_on<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> T {
        on_one_thread(task)
    }

    async fn open(role: Role, way: Way, address: &str) -> Socket {
        match role {
            Role::Push | Role::Idle => Socket::Push(attach(way, address).await, endpoint(address)),
            Role::Pull { .. } | Role::Hold { .. } => Socket::Pull(attach(way, address).await),
            Role::Publish { .. } => {
                let socket = attach(way, address).await;
                // It does not tell who has subscribed.
                tokio::time::sleep(std::time::Duration::from_millis(500)).await;
                Socket::Publish(socket, 0)
            }
            Role::Subscribe => {
                let mut socket: SubSocket = attach(way, address).await;
                socket.subscribe("").await.expect("a subscriber");
                Socket::Subscribe(socket)
            }
            Role::Ask => Socket::Ask(attach(way, address).await),
            Role::Answer => Socket::Answer(attach(way, address).await),
        }
    }

    async fn send(socket: &mut Socket, payload: &Bytes) {
        Self::send_on(socket, ZeromqMessage(payload.clone().into())).await;
    }

    async fn offer(socket: &mut Socket, payload: &Bytes) {
        match socket {
            Socket::Push(socket, endpoint) => {
                // It does not connect again by itself. Without a peer it gives the message back.
                if let Err(ZmqError::ReturnToSender { .. }) = socket.send(payload.clone().into()).await {
                    drop(socket.connect(endpoint).await);
                }
            }
            _ => panic!("it is not asked for this"),
        }
    }

    async fn receive(socket: &mut Socket) -> ZeromqMessage {
        let message = match socket {
            Socket::Pull(socket) => socket.recv().await,
            Socket::Subscribe(socket) => socket.recv().await,
            Socket::Ask(socket) => socket.recv().await,
            Socket::Answer(socket) => socket.recv().await,
            Socket::Push(..) | Socket::Publish(..) => panic!("it only sends"),
        };
        ZeromqMessage(message.expect("open"))
    }

    async fn send_on(socket: &mut Socket, message: ZeromqMessage) {
        let mut message = message.0;
        loop {
            let sent = match socket {
                Socket::Push(socket, _) => socket.send(message).await,
                Socket::Publish(socket, given) => {
                    *given += 1;
                    if given.is_multiple_of(TURN) {
                        tokio::task::yield_now().await;
                    }
                    socket.send(message).await
                }
                Socket::Ask(socket) => socket.send(message).await,
                Socket::Answer(socket) => socket.send(message).await,
                Socket::Pull(_) | Socket::Subscribe(_) => panic!("it only receives"),
            };
            match sent {
                Ok(()) => return,
                // Nobody is there yet.
                Err(ZmqError::ReturnToSender { message: back, .. }) => message = back,
                Err(error) => panic!("{error}"),
            }
            tokio::task::yield_now().await;
        }
    }
}
